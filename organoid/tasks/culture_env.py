"""`CultureEnv`: a culture as a gymnasium environment, for training stimulation policies."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop import Command, Device, SessionError, TickClock
from organoid.closed_loop.blocks import check_block
from organoid.closed_loop.command_filter import CommandFilter
from organoid.protocols import Binding
from organoid.stimulation import Pulse
from organoid.tasks.spaces import gymnasium

_gym = gymnasium()
_HIGHEST_RATE = 1000.0  # Hz per unit: no neuron fires faster, so that counts have an upper bound

Reward = Callable[[NDArray[np.float32], int], float]


class CultureEnv(_gym.Env):  # type: ignore[misc,name-defined]
    """A culture as an environment: an action is a pulse or none, an observation the spikes that followed.

    Action 0 gives no pulse, action k the k-th pulse of `pulses`. Every pulse passes the guard of the device's profile
    first, as in a session; one that is rejected is not delivered and ``info["reason"]`` says why. A network that runs
    away ends the episode (terminated); its time limit truncates it.

    Parameters
    ----------
    device : Device
        Started at every reset, closed by `close`.
    step : float, s
        Length of a step.
    episode : float, s
        Length of an episode.
    pulses : sequence of Pulse, optional
        What can be given. Default: the device's default pulse on each of `n_electrodes` electrodes chosen by rule.
    n_electrodes : int
        How many electrodes to choose where `pulses` are not given.
    target_rate : float, Hz
        Without `reward`, a step's reward is minus the distance of the mean rate per unit from this.
    reward : callable, optional
        ``reward(counts, action) -> float``, with the spike count of each unit in the step.

    Attributes
    ----------
    action_space : Discrete
        ``1 + len(pulses)`` actions.
    observation_space : Box
        Spike counts of the last step, shape (n_units,), float32.

    Examples
    --------
    >>> env = CultureEnv(organoid.SimulatedCulture(organoid.preset("bursting_culture")))  # doctest: +SKIP
    >>> counts, info = env.reset(seed=1)  # doctest: +SKIP
    >>> counts, reward, terminated, truncated, info = env.step(1)  # doctest: +SKIP
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's own declaration)
    render_mode = None

    def __init__(
        self,
        device: Device,
        *,
        step: float = 0.05,
        episode: float = 10.0,
        pulses: Sequence[Pulse] | None = None,
        n_electrodes: int = 4,
        target_rate: float = 5.0,
        reward: Reward | None = None,
    ) -> None:
        info = device.info
        if info.n_units == 0:
            raise SessionError(f"{info.name} has no units, so there is nothing to observe")
        self.device, self._info = device, info
        self._clock = TickClock.of(info.frame_rate, 1.0 / step if step > 0 else math.inf, episode)
        self.pulses = tuple(_default_pulses(device, n_electrodes) if pulses is None else pulses)
        self._seconds, self._target, self._reward = float(step), float(target_rate), reward
        highest = np.float32(math.ceil(step * _HIGHEST_RATE))
        self.action_space = _gym.spaces.Discrete(1 + len(self.pulses))
        self.observation_space = _gym.spaces.Box(0.0, highest, (info.n_units,), np.float32)
        self._highest = highest
        self._steps, self._frame, self._running = 0, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the culture again, with a seed of its own for every episode; return no spikes and the time, 0 s."""
        super().reset(seed=seed)
        self.close()
        self.device.start(int(self.np_random.integers(2**31)))
        self._filter = CommandFilter(self.device, self._clock.end_frame, deliver=True)
        self._steps, self._frame, self._running = 0, 0, True
        return np.zeros(self._info.n_units, dtype=np.float32), {"time_s": 0.0}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Give the pulse of an action, if any, and let time pass for one step.

        Returns
        -------
        observation, reward, terminated, truncated, info
            ``info`` has ``time_s``, ``accepted`` (whether the pulse was; None without one) and ``reason``.

        Raises
        ------
        SessionError
            Before `reset`, after the end of an episode, or for an action there is none of.
        """
        if not self._running:
            raise SessionError("the episode is over, or has not begun; call reset() first")
        if not self.action_space.contains(action):
            raise SessionError(f"action {action!r}; expected a whole number from 0 to {len(self.pulses)}")
        accepted, reason = self._stimulate(int(action))
        self._steps += 1
        until = self._clock.boundary(self._steps)
        block = self.device.advance(until)
        check_block(block, self._frame, until, self._info.n_units)
        self._frame = block.stop_frame
        spikes = np.bincount(block.spike_units, minlength=self._info.n_units)
        counts = np.minimum(spikes, self._highest).astype(np.float32)
        terminated, truncated = block.stop_frame < until, self._steps >= self._clock.n_ticks
        self._running = not (terminated or truncated)
        info = {"time_s": float(self._info.to_seconds(self._frame)), "accepted": accepted, "reason": reason}
        return counts, self._reward_of(counts, int(action)), terminated, truncated, info

    def _stimulate(self, action: int) -> tuple[bool | None, str]:
        if action == 0:
            return None, ""
        outcome = self._filter.pass_on([Command(self.pulses[action - 1], label="action")], self._frame, 0.0)[0]
        return outcome.accepted, outcome.reason

    def _reward_of(self, counts: NDArray[np.float32], action: int) -> float:
        if self._reward is not None:
            return float(self._reward(counts, action))
        return -abs(float(counts.mean()) / self._seconds - self._target)

    def close(self) -> None:
        """Stop stimulation and let go of the device."""
        if self._running or self._frame:
            self.device.interrupt()
            self.device.close()
        self._running, self._frame = False, 0


def _default_pulses(device: Device, n_electrodes: int) -> list[Pulse]:
    info, binding = device.info, Binding()
    electrodes = binding.electrodes("stimulation", info, n_electrodes)
    return [binding.pulse("pulse", (electrode,), info) for electrode in electrodes]
