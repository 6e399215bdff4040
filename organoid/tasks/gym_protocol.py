"""`GymProtocol`: any gymnasium environment played by a culture."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from organoid.closed_loop import Command, DeviceInfo, SessionError, Tick
from organoid.closed_loop.ticks import as_fraction
from organoid.protocols import base, coding
from organoid.protocols.binding import BindingError
from organoid.protocols.coding import Decoder, Encoder, Event
from organoid.stimulation import Pulse
from organoid.tasks import spaces
from organoid.tasks.episodes import Episodes, Step
from organoid.tasks.feedback import Feedback
from organoid.tasks.feedback import feedback as feedback_part
from organoid.tasks.spaces import gymnasium

State = dict[str, Any]


class GymParameters(base.Parameters):
    """Parameters of `GymProtocol`.

    Parameters
    ----------
    env : str
        Name of a registered environment, or what its specification says as JSON.
    env_options : dict
        Passed to ``gymnasium.make``.
    encoder, decoder, feedback : dict
        Kind and parameters of the parts (see `organoid.protocols.coding` and `organoid.tasks.feedback`).
    observed : list of (index, low, high), optional
        Which numbers of the flat observation the culture is given, and what becomes 0 and 1 (low may be above high).
        Default: all, within the bounds of the environment.
    ticks_per_step : int
        Ticks between two steps of the environment.
    """

    tick_rate: float = Field(default=50.0, gt=0)
    env: str = "MountainCar-v0"
    env_options: dict[str, Any] = Field(default_factory=dict)
    encoder: dict[str, Any] = Field(default_factory=lambda: {"kind": "rate"})
    decoder: dict[str, Any] | None = None
    feedback: dict[str, Any] = Field(default_factory=lambda: {"kind": "events"})
    observed: tuple[tuple[int, float, float], ...] | None = None
    ticks_per_step: int = Field(default=5, ge=1)


class GymProtocol(base.ConfiguredProtocol):
    """A culture plays an environment: observations to pulses, spikes to actions, success and failure to feedback.

    The encoder's sites are the electrodes of site "stimulation", in their order. Every episode is begun with a seed
    drawn from the session's, so that a session replays; the environment must be deterministic after ``reset(seed)``.

    Parameters
    ----------
    env : str or gymnasium.Env
        A registered name, or an environment that ``gymnasium.make`` made. One made otherwise works, too, but the
        session can then be replayed only with ``replay(..., protocol=...)``.
    encoder, decoder, feedback : object, str or dict
        Parts, their kinds, or their kinds and parameters. Default decoder: as many groups of units as the actions need.
    sites, stimuli : mapping, optional
        Binding of site "stimulation" and stimulus "pulse".
    **parameters
        See `GymParameters`.

    Examples
    --------
    >>> GymProtocol("MountainCar-v0", encoder="place").parameters.encoder["kind"]
    'place'
    """

    name = "gym"
    Parameters = GymParameters
    parameters: GymParameters

    def __init__(
        self,
        env: Any = None,
        encoder: "Encoder | str | Mapping[str, Any] | None" = None,
        decoder: "Decoder | str | Mapping[str, Any] | None" = None,
        feedback: "Feedback | str | Mapping[str, Any] | None" = None,
        *,
        sites: Mapping[str, Any] | None = None,
        stimuli: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        named = None if env is None else _name_of(env)
        defaults = self.Parameters()
        self._encoder = coding.encoder(defaults.encoder if encoder is None else encoder)
        self._feedback = feedback_part(defaults.feedback if feedback is None else feedback)
        parts = {"encoder": coding.to_dict(self._encoder), "feedback": coding.to_dict(self._feedback)}
        chosen = parts | ({} if named is None else {"env": named}) | parameters
        super().__init__(sites=sites, stimuli=stimuli, **chosen)
        self._episodes = Episodes(lambda: _make(self.parameters) if env is None or isinstance(env, str) else env)
        space = self._episodes.env.action_space
        self._decoder = spaces.default_decoder(space) if decoder is None else coding.decoder(decoder)
        spaces.check_outputs(space, self._decoder.n_outputs)
        self._observed = self._choose_observed()
        full = {"decoder": coding.to_dict(self._decoder), "observed": self._observed}
        self.parameters = self.parameters.model_copy(update=full)

    def _choose_observed(self) -> spaces.Observed:
        space, given = self._episodes.env.observation_space, self.parameters.observed
        if given is None:
            return spaces.all_observed(space)
        return spaces.check_observed(given, math.prod(gymnasium().spaces.flatten_space(space).shape))

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> State:
        """Bind sites and units, and begin the first episode."""
        pulses = self._bound(info)
        state = {"seed": int(rng.integers(2**31)), "episode": -1, "pulses": pulses, "rest_until": 0, "wait": 0}
        state |= {"encoder": None, "decoder": self._decoder.start(info), "reward": 0.0, "lengths": (), "returns": ()}
        return self._begin(state)

    def decide(self, tick: Tick, state: State) -> tuple[Sequence[Command], State]:
        """Decode; step the environment where a step is due; encode what it shows, or give feedback."""
        values, decoded = self._decoder.decode(tick.counts, tick.duration, state["decoder"])
        state = {**state, "decoder": decoded}
        now, rate = tick.block.stop_frame, tick.info.frame_rate
        following = int((tick.index + 2) * rate / as_fraction(self.tick_rate, "tick_rate"))
        if now < state["rest_until"]:
            return [], state
        state = {**state, "wait": state["wait"] + 1}
        if state["wait"] >= self.parameters.ticks_per_step:
            events, state = self._step(state, values, now, rate)
            if events or now < state["rest_until"]:
                return self._commands(events, state, "feedback"), state
        given = spaces.fractions_of(state["observation"], self._observed)
        events, phase = self._encoder.encode(given, now, following, rate, state["encoder"])
        return self._commands(events, state, "observation"), {**state, "encoder": phase}

    def _step(self, state: State, values: coding.Array, now: int, rate: Fraction) -> tuple[list[Event], State]:
        """Take one step of the environment; return the feedback, in frames of the session."""
        rng = np.random.default_rng([state["seed"], state["episode"], len(state["actions"])])
        action = spaces.action_of(self._episodes.env.action_space, values, rng)
        step = self._episodes.step(state["episode_seed"], state["actions"], action)
        ended = (step.terminated, step.truncated)
        found, frames = self._feedback.respond(step.reward, *ended, len(state["pulses"]), rate, rng)
        state = self._after(state, step)
        events = [(now + frame, site) for frame, site in found]
        return events, {**state, "rest_until": now + frames, "wait": 0}

    def _after(self, state: State, step: Step) -> State:
        state = {
            **state,
            "observation": step.observation,
            "actions": step.actions,
            "reward": step.reward,
            "return": state["return"] + step.reward,
        }
        if not (step.terminated or step.truncated):
            return state
        lengths, returns = (*state["lengths"], len(step.actions)), (*state["returns"], state["return"])
        return self._begin({**state, "lengths": lengths, "returns": returns})

    def _begin(self, state: State) -> State:
        episode = state["episode"] + 1
        seed = int(np.random.default_rng([state["seed"], episode]).integers(2**31))
        new = {"episode": episode, "episode_seed": seed, "actions": (), "return": 0.0}
        return {**state, **new, "observation": self._episodes.begin(seed)}

    @staticmethod
    def _commands(events: Sequence[Event], state: State, label: str) -> list[Command]:
        return [Command(state["pulses"][site], frame, label) for frame, site in events]

    def report(self, state: State) -> dict[str, float]:
        """Return the number of the episode, its steps and return so far, and the last reward."""
        steps = len(state["actions"])
        return {"episode": state["episode"], "steps": steps, "return": state["return"], "reward": state["reward"]}

    def finish(self, state: State) -> dict[str, Any]:
        """Return the episodes that ended, their lengths (steps) and returns, and the means."""
        mean = {name: float(np.mean(state[name])) if state[name] else math.nan for name in ("lengths", "returns")}
        return {
            "episodes": len(state["lengths"]),
            "mean_length": mean["lengths"],
            "mean_return": mean["returns"],
            "lengths": list(state["lengths"]),
            "returns": list(state["returns"]),
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the most pulses that can be given in a session of `duration` s."""
        highest = getattr(self._encoder, "highest", self.tick_rate)
        n = math.ceil(duration * (highest + self._feedback.highest_rate())) + 1
        return base.plan_table([("stimulation", pulse, n, True) for pulse in self._bound(info)])

    def _bound(self, info: DeviceInfo) -> tuple[Pulse, ...]:
        n = self._encoder.n_sites(len(self._observed))
        pulses = self.pulses(info, n, 0.0)
        if len(pulses) != n:
            raise BindingError(
                f"the {self._encoder.kind} code of {len(self._observed)} numbers needs {n} electrodes, site "
                f"'stimulation' has {len(pulses)} on {info.name}; name as many, or choose numbers with observed="
            )
        fastest = max(getattr(self._encoder, "highest", self.tick_rate), self._feedback.highest_rate())
        if fastest > info.profile.max_rate:
            raise BindingError(
                f"encoder and feedback give up to {fastest:g} pulses per s on an electrode; {info.name} allows "
                f"{info.profile.max_rate:g}"
            )
        return pulses


def _name_of(env: Any) -> str:
    """Return an environment's name, or its specification as JSON; empty where it has none."""
    if isinstance(env, str):
        return env
    spec = getattr(env, "spec", None)
    if spec is None:
        return ""
    if not spec.kwargs and not spec.additional_wrappers:
        return str(spec.id)
    try:
        return str(spec.to_json())
    except (TypeError, ValueError):
        return ""


def _make(parameters: GymParameters) -> Any:
    gym, name = gymnasium(), parameters.env
    if not name:
        raise SessionError(
            "the environment of this session has no registered name; run the replay with the protocol itself: "
            "replay(path, protocol=GymProtocol(env, ...))"
        )
    try:
        spec = gym.envs.registration.EnvSpec.from_json(name) if name.startswith("{") else name
        return gym.make(spec, disable_env_checker=True, **parameters.env_options)
    except gym.error.Error as error:
        raise SessionError(f"the environment {name!r} cannot be made: {error}") from None


PROTOCOL = GymProtocol
