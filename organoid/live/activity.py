"""`LiveActivity`: what a page shows of a session, kept in a bounded memory by an observer.

The session's thread only adds numbers and appends to a deque; it never waits for a reader. Readers copy the deque,
which is one step of the interpreter.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop import Command, DeviceInfo, Tick

BIN_S = 0.1
WINDOW_S = 20.0
MAX_ROWS = 128
_MAX_STIMULI = 2_000


class StoppedByPage(KeyboardInterrupt):
    """The stop button of the live page was pressed: the session ends as if interrupted at the keyboard."""


class Bin(NamedTuple):
    """Spikes of each row in a bin that begins `number` bins after the start."""

    number: int
    counts: list[int]


class LiveActivity:
    """An observer that keeps the last 20 s: spikes of each unit in bins of 0.1 s, stimuli, numbers, deadlines.

    Parameters
    ----------
    title : str
        What the page says it follows.
    """

    def __init__(self, title: str = "") -> None:
        self._title = title
        self._bins: deque[Bin] = deque(maxlen=round(WINDOW_S / BIN_S))
        self._stimuli: deque[tuple[float, int, str]] = deque(maxlen=_MAX_STIMULI)
        self._numbers: dict[str, float] = {}
        self._totals = {"ticks": 0, "spikes": 0, "pulses": 0, "late": 0, "missed": 0}
        self._row_of: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._bin, self._time, self._per_bin = 0, 0.0, 1.0
        self._slowest_ms, self._status = 0.0, "running"
        self._info: dict[str, Any] = {}
        self._stop = False

    def stop(self) -> None:
        """Ask the session to end at its next tick."""
        self._stop = True

    def finish(self, status: str) -> None:
        """Say how the session ended."""
        self._status = status

    def on_tick(self, tick: Tick, commands: Sequence[Command]) -> None:
        """Take a tick.

        Raises
        ------
        StoppedByPage
            If `stop` was called.
        """
        if tick.index == 0:
            self._begin(tick.info)
        block = tick.block
        self._add(block.spike_frames, block.spike_units)
        while block.stop_frame >= (self._bin + 1) * self._per_bin:
            self._close_bin()
        for item in block.delivered:
            at = float(tick.info.to_seconds(item.frame))
            self._stimuli.append((at, item.command.pulse.electrodes[0], item.command.label))
        self._time = tick.time
        self._totals["ticks"] += 1
        self._totals["spikes"] += int(block.spike_units.size)
        self._totals["pulses"] += len(block.delivered)
        if self._stop:
            raise StoppedByPage(f"stopped by the live page at {tick.time:g} s")

    def on_row(self, numbers: Mapping[str, float], n_late: int, missed: bool, wall_decide: float) -> None:
        """Take what the protocol reported at a tick, and its deadline."""
        self._numbers = dict(numbers)
        self._totals["late"] += n_late
        self._totals["missed"] += missed
        self._slowest_ms = max(self._slowest_ms, 1e3 * wall_decide)

    def _begin(self, info: DeviceInfo) -> None:
        self._per_bin = BIN_S * float(info.frame_rate)
        n_rows = min(info.n_units, MAX_ROWS)
        self._row_of = np.arange(info.n_units) * n_rows // max(info.n_units, 1)
        self._counts = np.zeros(n_rows, dtype=np.int64)
        self._info = {"device": info.name, "n_units": info.n_units, "n_rows": n_rows}

    def _add(self, frames: NDArray[np.int64], units: NDArray[np.int64]) -> None:
        """Count spikes, closing bins on the way: a block may be longer than a bin."""
        while frames.size:
            n = int(np.searchsorted(frames, (self._bin + 1) * self._per_bin))
            self._counts += np.bincount(self._row_of[units[:n]], minlength=self._counts.size)
            frames, units = frames[n:], units[n:]
            if frames.size:
                self._close_bin()

    def _close_bin(self) -> None:
        self._bins.append(Bin(self._bin, self._counts.tolist()))
        self._counts = np.zeros_like(self._counts)
        self._bin += 1

    def state(self, after: int = -1) -> dict[str, Any]:
        """Return what a page needs, with the bins after number `after`, as plain JSON values."""
        bins = [item for item in self._bins.copy() if item.number > after]
        stimuli = [item for item in self._stimuli.copy() if item[0] > self._time - WINDOW_S]
        finite = {name: value if value - value == 0 else None for name, value in self._numbers.items()}
        return {
            "title": self._title,
            "status": self._status,
            "time_s": self._time,
            "bin_s": BIN_S,
            "window_s": WINDOW_S,
            "first_bin": bins[0].number if bins else after + 1,
            "bins": [item.counts for item in bins],
            "stimuli": [[time, electrode, label] for time, electrode, label in stimuli],
            "numbers": finite,
            "totals": dict(self._totals),
            "slowest_decision_ms": self._slowest_ms,
            **self._info,
        }
