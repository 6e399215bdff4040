"""The integer clock: seconds become whole ticks once, and every window comparison runs on ticks.

A tick is one sample of the recording, or 1 us where no sampling rate is known. Bins and windows
are half-open, ``[start, stop)``.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError

DEFAULT_TICK_RATE = 1e6
LARGEST_EXACT_TICK = 2.0**53


def to_ticks(times: ArrayLike, tick_rate: float) -> NDArray[np.int64]:
    """Round times to whole ticks.

    Parameters
    ----------
    times : array_like, s
    tick_rate : float
        Ticks per second, Hz.

    Returns
    -------
    ndarray of int64, same shape

    Raises
    ------
    RecordingError
        If a time is so large that its tick has no exact floating-point value.
    """
    ticks = np.rint(np.asarray(times, dtype=np.float64) * tick_rate)
    if ticks.size and not np.abs(ticks).max() < LARGEST_EXACT_TICK:
        raise RecordingError(
            f"a time of {np.abs(np.asarray(times, float)).max():g} s cannot be counted in ticks of "
            f"{1 / tick_rate:g} s; expected times below {LARGEST_EXACT_TICK / tick_rate:.3g} s "
            "(are they in samples or milliseconds instead of seconds?)"
        )
    return ticks.astype(np.int64)


def holds_between(spans: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each ``[begin, end)`` whether it lies inside one of the ordered, disjoint `spans`; all in ticks."""
    k = np.searchsorted(spans[:, 0], begin, side="right") - 1
    inside = k >= 0
    inside[inside] = end[inside] <= spans[k[inside], 1]
    return np.asarray(inside, dtype=bool)


class BinGrid:
    """Whole bins of one width inside ``[start_tick, stop_tick)``; a last partial bin is left out.

    Bin ``k`` covers the ticks from ``rint(k w)`` up to, not including, ``rint((k + 1) w)`` after the
    start, with ``w`` the width in ticks; the rounding never accumulates.

    Parameters
    ----------
    start_tick, stop_tick : int
        Window, in ticks.
    bin_width : float
        Width of a bin, s.
    tick_rate : float
        Ticks per second, Hz.
    """

    def __init__(self, start_tick: int, stop_tick: int, bin_width: float, tick_rate: float) -> None:
        self.width = bin_width * tick_rate
        if not (np.isfinite(self.width) and self.width >= 1 - 1e-9):
            raise RecordingError(
                f"bin_width {bin_width!r} s is shorter than one tick of the recording "
                f"({1 / tick_rate:g} s) or not a number; give a longer one"
            )
        self.start_tick = int(start_tick)
        self.stop_tick = int(stop_tick)
        span = max(self.stop_tick - self.start_tick, 0)
        n_bins = int(span / self.width) + 1
        while n_bins > 0 and np.rint(n_bins * self.width) > span:
            n_bins -= 1
        self.n_bins = n_bins

    def edges(self, first: int = 0) -> NDArray[np.int64]:
        """Return the edges from bin `first` (negative: before the start) to the last, in ticks."""
        steps: NDArray[np.int64] = np.rint(np.arange(first, self.n_bins + 1) * self.width).astype(np.int64)
        return steps + self.start_tick

    def index(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bin of each tick; ticks outside the grid get -1."""
        bins = self.position(ticks)
        return np.where((bins >= 0) & (bins < self.n_bins), bins, -1)

    def position(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bin of each tick as if bins went on for ever on both sides."""
        offset = ticks - self.start_tick
        bins = np.floor(offset / self.width).astype(np.int64)
        bins += np.rint((bins + 1) * self.width) <= offset
        bins -= np.rint(bins * self.width) > offset
        return bins
