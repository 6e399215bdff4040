"""Pong: a culture moves the paddle; a hit is answered by a predictable stimulus, a miss by an unpredictable one.

Rules and stimuli after Kagan et al. (2022), "DishBrain": eight sensory electrodes tell the ball's place (which
electrode) and its distance (4 to 40 Hz); two motor regions vote up and down; a hit is followed by 100 ms at 100 Hz
on all sensory electrodes, a miss by 4 s of pulses at random electrodes and times, 5 Hz, twice as strong (75 and 150 mV
there). Sizes and speeds of ball and paddle are choices of this implementation.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from organoid.closed_loop import Command, DeviceInfo, SessionError, Tick
from organoid.protocols import base, coding, pong_game
from organoid.protocols.binding import default_electrodes
from organoid.stimulation import Pulse

_PREDICTABLE, _UNPREDICTABLE = 1, 2


class PongParameters(base.Parameters):
    """Parameters of `Pong`.

    Parameters
    ----------
    feedback : {"stimulus", "silent", "none", "random"}
        After a hit or a miss: the stimuli of the game; silence as long as they last; nothing, and play goes on; or,
        shuffled, the stimulus of a hit or a miss at random.
    policy : {"culture", "random", "oracle", "still"}
        What moves the paddle; all but the first are references that do not look at the spikes.
    n_sensory : int
        Sensory electrodes, where the binding of site "sensory" names none.
    encoder : str or dict
        How ball height and distance become pulses, see `organoid.protocols.coding`.
    decoder : str or dict
        How spikes become movement, up positive; its first output counts. Default: two regions vote, each against its
        own mean rate of the last minute, so that the busier one does not hold the paddle at an edge.
    ball_speed : float
        Field widths per second.
    paddle_speed : float
        Field heights per second at full vote.
    paddle_height : float
        Fraction of the field.
    gain : float
        Votes are multiplied by this and cut to [-1, 1].
    centre : float, s
        The culture's votes count relative to their mean over about so long: what is always so does not move the paddle.
    hit_rate, miss_rate : float, Hz
    hit_duration, miss_duration : float, s
    first_part : float
        The beginning of a session that is compared with the rest (5 of 20 minutes there).
    """

    tick_rate: float = Field(default=100.0, gt=0)
    feedback: Literal["stimulus", "silent", "none", "random"] = "stimulus"
    policy: Literal["culture", "random", "oracle", "still"] = "culture"
    n_sensory: int = Field(default=8, ge=2)
    encoder: str | dict[str, Any] = Field(default_factory=lambda: {"kind": "place"})
    decoder: str | dict[str, Any] = Field(default_factory=lambda: {"kind": "population_vector", "baseline": 60.0})
    ball_speed: float = Field(default=0.8, gt=0)
    paddle_speed: float = Field(default=1.0, gt=0)
    paddle_height: float = Field(default=0.25, gt=0, le=1)
    gain: float = Field(default=4.0, gt=0)
    centre: float = Field(default=60.0, gt=0)
    hit_rate: float = Field(default=100.0, gt=0)
    hit_duration: float = Field(default=0.1, gt=0)
    miss_rate: float = Field(default=5.0, gt=0)
    miss_duration: float = Field(default=4.0, gt=0)
    first_part: float = Field(default=0.25, gt=0, lt=1)


class Pong(base.ConfiguredProtocol):
    """Play Pong; sites "sensory", stimuli "sensory", "predictable" and "unpredictable".

    The outcome has hits, misses, aces, long rallies (more than three hits), the mean rally (hits per serve that ended)
    and the mean rally of the first part and of the rest.

    Examples
    --------
    >>> Pong(feedback="silent").parameters.miss_duration
    4.0
    """

    name = "pong"
    Parameters = PongParameters
    parameters: PongParameters
    site_names = ("sensory",)
    stimulus_names = ("sensory", "predictable", "unpredictable")

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind sites, encoder and decoder; serve the first ball."""
        p = self.parameters
        if info.n_units < 2 and p.policy == "culture":
            raise SessionError(f"{info.name} has {info.n_units} units; two are needed, one to vote up and one down")
        state = {
            **self._bound(info),
            "encoder": None,
            "decoder": coding.decoder(p.decoder).start(info) if p.policy == "culture" else {},
            "game": pong_game.new_games(rng.random((1, 2)), p.ball_speed),
            "phase": 0,
            "left": 0.0,
            "due": 0.0,
            "stimuli": 0,
            "rallies": (),
            "time": 0.0,
            "action": 0.0,
            "usual": coding.empty_window(1),  # of the votes
        }
        return state

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Move the paddle, play on, and command the stimuli until the next decision."""
        p, dt = self.parameters, tick.duration
        action, decoded, usual = self._action(tick, state, dt)
        playing = np.array([state["phase"] == 0])
        before = state["game"]
        game, hit, miss = pong_game.step(before, np.array([action]), dt, p.paddle_speed, p.paddle_height, playing)
        state = {**state, "game": game, "decoder": decoded, "time": tick.time, "action": action, "usual": usual}
        if miss[0]:
            state["rallies"] = (*state["rallies"], (tick.time, int(before.rally[0])))
        if hit[0] or miss[0]:
            state = self._answer(tick, state, bool(hit[0]))
        return self._stimuli(tick, state, dt)

    def _action(self, tick: Tick, state: dict[str, Any], dt: float) -> tuple[float, dict[str, Any], dict[str, Any]]:
        """Return how the paddle moves, the decoder's state, and the culture's usual vote."""
        p = self.parameters
        if p.policy == "culture":
            values, decoded = coding.decoder(p.decoder).decode(tick.counts, dt, state["decoder"])
            vote = float(np.clip(p.gain * values[0], -1.0, 1.0))
            mean, usual = coding.windowed(np.array([vote * dt]), dt, p.centre, state["usual"])
            return float(np.clip(vote - mean[0], -1.0, 1.0)), decoded, usual
        if p.policy == "random":
            drawn = tick.rng.standard_normal()
            return float(np.clip(0.95 * state["action"] + 0.5 * drawn, -1.0, 1.0)), {}, state["usual"]
        follow = pong_game.oracle(state["game"], dt, p.paddle_speed) if p.policy == "oracle" else np.zeros(1)
        return float(follow[0]), {}, state["usual"]

    def _answer(self, tick: Tick, state: dict[str, Any], hit: bool) -> dict[str, Any]:
        """Return the state after a hit or a miss: which feedback begins, and the next serve."""
        p = self.parameters
        if not hit:
            u = tick.rng.random((1, 2))
            state = {**state, "game": pong_game.serve(state["game"], np.ones(1, dtype=bool), u, p.ball_speed)}
        if p.feedback == "none":
            return state
        good = bool(tick.rng.random() < 0.5) if p.feedback == "random" else hit
        phase = _PREDICTABLE if good else _UNPREDICTABLE
        return {**state, "phase": phase, "left": p.hit_duration if good else p.miss_duration, "due": 0.0}

    def _stimuli(self, tick: Tick, state: dict[str, Any], dt: float) -> tuple[list[Command], dict[str, Any]]:
        if state["phase"] == 0:
            return self._sense(tick, state)
        p = self.parameters
        commands: list[Command] = []
        due, good = state["due"], state["phase"] == _PREDICTABLE
        rate = p.hit_rate if good else p.miss_rate
        span = min(dt, state["left"])
        while due < span - 1e-9:
            if p.feedback != "silent":
                frame = tick.block.stop_frame + round(due * float(tick.info.frame_rate))
                pulse, label = (state["predictable"], "predictable") if good else (self._anywhere(tick, state), "miss")
                commands.append(Command(pulse, frame, label))
            due += 1.0 / rate if good else float(tick.rng.exponential(1.0 / rate))
        left = state["left"] - dt
        over = left <= 1e-9
        following = {"phase": 0 if over else state["phase"], "left": max(left, 0.0), "due": max(due - dt, 0.0)}
        return commands, {**state, **following, "stimuli": state["stimuli"] + len(commands)}

    def _anywhere(self, tick: Tick, state: dict[str, Any]) -> Pulse:
        pulses: tuple[Pulse, ...] = state["unpredictable"]
        return pulses[int(tick.rng.integers(len(pulses)))]

    def _sense(self, tick: Tick, state: dict[str, Any]) -> tuple[list[Command], dict[str, Any]]:
        """Command the pulses that tell where the ball is."""
        block, game = tick.block, state["game"]
        stop = block.stop_frame + (block.stop_frame - block.start_frame)
        values = np.array([game.y[0], 1.0 - game.x[0]])
        encoder = coding.encoder(self.parameters.encoder)
        events, after = encoder.encode(values, block.stop_frame, stop, tick.info.frame_rate, state["encoder"])
        commands = [Command(state["sensory"][site], frame, "sensory") for frame, site in events]
        return commands, {**state, "encoder": after, "stimuli": state["stimuli"] + len(commands)}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return ball, paddle, movement and score."""
        game = state["game"]
        numbers = {name: float(getattr(game, name)[0]) for name in ("x", "y", "paddle", "hits", "misses", "rally")}
        return {**numbers, "action": state["action"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the score."""
        game, rallies = state["game"], np.array(state["rallies"], dtype=np.float64).reshape(-1, 2)
        first = rallies[:, 0] <= self.parameters.first_part * state["time"]
        parts = {"mean_rally": rallies[:, 1], "first": rallies[first, 1], "rest": rallies[~first, 1]}
        means = {name: float(values.mean()) if values.size else float("nan") for name, values in parts.items()}
        counts = {name: int(getattr(game, name)[0]) for name in ("hits", "misses", "aces", "long_rallies", "longest")}
        n = counts["hits"] + counts["misses"]
        return {
            **counts,
            "hit_fraction": counts["hits"] / n if n else float("nan"),
            "mean_rally": means["mean_rally"],
            "mean_rally_first": means["first"],
            "mean_rally_rest": means["rest"],
            "rallies": rallies[:, 1],
            "stimuli": state["stimuli"],
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the most pulses of each kind; which electrodes of a site get them is the game's to say."""
        p, bound = self.parameters, self._bound(info)
        highest = float(getattr(coding.encoder(p.encoder), "highest", p.tick_rate))
        sensory = int(duration * highest * 1.1) + len(bound["sensory"])
        rows = [("sensory", pulse, sensory, True) for pulse in bound["sensory"]]
        if p.feedback in ("stimulus", "random"):
            rows.append(("sensory", bound["predictable"], int(duration * p.hit_rate) + 1, True))
            wrong = int(duration * p.miss_rate * 2) + 20
            rows += [("sensory", pulse, wrong, True) for pulse in bound["unpredictable"]]
        return base.plan_table(rows)

    def _bound(self, info: DeviceInfo) -> dict[str, Any]:
        """Return the pulses of all sites: sensory electrodes in order of their height on the array."""
        p = self.parameters
        n_sites = coding.encoder(p.encoder).n_sites(2)
        electrodes = self.binding.electrodes("sensory", info, max(p.n_sensory, n_sites))
        if len(electrodes) < n_sites:
            raise SessionError(f"the encoder needs {n_sites} sensory electrodes; there are {len(electrodes)}")
        if "sensory" not in self.binding.sites:
            electrodes = _by_height(default_electrodes(info, max(p.n_sensory, n_sites)), info)[:n_sites]
        strong = self.binding.pulse("unpredictable", electrodes[:1], info)
        if "unpredictable" not in self.binding.stimuli:
            strong = self.binding.checked("unpredictable", info.profile.snapped(strong), info)
        weaker = self._pulse("sensory", electrodes, info, strong)
        return {
            "sensory": tuple(weaker.on(electrode) for electrode in electrodes),
            "predictable": self._pulse("predictable", electrodes, info, strong).on(electrodes),
            "unpredictable": tuple(strong.on(electrode) for electrode in electrodes),
        }

    def _pulse(self, name: str, electrodes: Sequence[int], info: DeviceInfo, strong: Pulse) -> Pulse:
        """Return the pulse a binding names, else half the amplitude of the unpredictable one."""
        if name in self.binding.stimuli:
            return self.binding.pulse(name, electrodes, info)
        return self.binding.checked(name, info.profile.snapped(strong.scaled(0.5).on(electrodes)), info)


def _by_height(electrodes: Sequence[int], info: DeviceInfo) -> tuple[int, ...]:
    y: NDArray[np.float64] = info.electrodes["y_um"].to_numpy(dtype=float, na_value=np.nan)
    return tuple(sorted(electrodes, key=lambda electrode: (np.nan_to_num(y[electrode], nan=np.inf), electrode)))


PROTOCOL = Pong
