"""A device for rehearsals: it spikes at random, or not at all, and takes every pulse."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Block, Command, Delivered, DeviceInfo, Receipt
from organoid.stimulation import Pulse, device_profile

_SIDE, _PITCH_UM = 8, 200.0


class RehearsalDevice:
    """Units that spike independently of each other and of every pulse.

    Parameters
    ----------
    info : DeviceInfo, optional
        What it passes for; default: 64 units on an 8 x 8 grid of electrodes.
    rate : float, Hz
        Of each unit; 0 is silence.
    """

    def __init__(self, info: DeviceInfo | None = None, rate: float = 0.0) -> None:
        self.info = default_info() if info is None else info
        self.rate = rate
        self.given: dict[Pulse, int] = {}
        self.start(0)

    def start(self, seed: int) -> None:
        """Begin at frame 0."""
        self._rng = np.random.default_rng(seed)
        self._frame, self._queue = 0, list[Command]()

    def advance(self, until_frame: int) -> Block:
        """Return the spikes drawn for these frames, and the pulses that fell due."""
        start, self._frame = self._frame, until_frame
        due = [command for command in self._queue if (command.at_frame or 0) < until_frame]
        self._queue = [command for command in self._queue if (command.at_frame or 0) >= until_frame]
        for command in due:
            self.given[command.pulse] = self.given.get(command.pulse, 0) + 1
        delivered = tuple(Delivered(max(command.at_frame or 0, start), command) for command in due)
        return Block(start, until_frame, *self._spikes(start, until_frame), delivered)

    def stimulate(self, commands: Sequence[Command]) -> list[Receipt]:
        """Accept every command."""
        self._queue += commands
        return [Receipt(True, command.at_frame) for command in commands]

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Drop waiting pulses."""
        self._queue = []

    def close(self) -> None:
        """Stop."""
        self._queue = []

    def _spikes(self, start: int, until: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        expected = self.rate * self.info.n_units * float(self.info.to_seconds(until - start))
        n = int(self._rng.poisson(expected)) if expected else 0
        frames = np.sort(self._rng.integers(start, max(until, start + 1), n))
        return frames, self._rng.integers(0, max(self.info.n_units, 1), n)


def default_info() -> DeviceInfo:
    """Return 64 units at 64 electrodes, 200 um apart, with the limits of the profile "simulated"."""
    index = np.arange(_SIDE * _SIDE)
    electrodes = pd.DataFrame(
        {
            "electrode": index,
            "channel": index,
            "x_um": _PITCH_UM * (index % _SIDE),
            "y_um": _PITCH_UM * (index // _SIDE),
        }
    )
    profile = device_profile("simulated").for_electrodes(index.size)
    return DeviceInfo("rehearsal", Fraction(profile.frame_rate), electrodes, electrodes, profile)
