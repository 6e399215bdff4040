"""What every statistic starts from: the spikes that were seen, unit by unit, and the intervals between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.recording.ticks import to_ticks

_GRID_TOLERANCE = 1e-3  # of a tick: what floating-point times may be off by


@dataclass(frozen=True)
class Trains:
    """Spikes inside the observed time, ordered by unit, then by time.

    Parameters
    ----------
    ticks, units : ndarray of int64, shape (n,)
    times : ndarray, shape (n,), s
    spans : ndarray of int64, shape (n,)
        Which observed segment each spike lies in.
    n_units : int
    tick_rate : float, Hz
    """

    ticks: NDArray[np.int64]
    units: NDArray[np.int64]
    times: NDArray[np.float64]
    spans: NDArray[np.int64]
    n_units: int
    tick_rate: float

    @property
    def n_spikes(self) -> NDArray[np.int64]:
        """Spikes of each unit, shape (n_units,)."""
        return np.bincount(self.units, minlength=self.n_units).astype(np.int64)

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Where each unit begins and ends: unit k owns ``[bounds[k], bounds[k + 1])``."""
        return np.concatenate([[0], np.cumsum(self.n_spikes)]).astype(np.int64)


@dataclass(frozen=True)
class Intervals:
    """Intervals between neighbouring spikes of one unit; none spans a hole in the observed time.

    Parameters
    ----------
    durations : ndarray, shape (n,), s
    units : ndarray of int64, shape (n,)
    follows : ndarray of bool, shape (n,)
        Whether the interval starts where the one before it in the array ends.
    n_units : int
    """

    durations: NDArray[np.float64]
    units: NDArray[np.int64]
    follows: NDArray[np.bool_]
    n_units: int

    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return adjacent intervals as (first, second, unit)."""
        second = np.flatnonzero(self.follows)
        return self.durations[second - 1], self.durations[second], self.units[second]


def observed_spans(rec: SpikeRecording) -> NDArray[np.int64]:
    """Return the observed segments in ticks, touching ones joined; shape (n, 2)."""
    spans = to_ticks(rec.observed, rec.tick_rate)
    spans = spans[spans[:, 0] < spans[:, 1]]
    if len(spans) < 2:
        return spans
    apart = spans[1:, 0] > spans[:-1, 1]
    starts = spans[np.concatenate([[True], apart]), 0]
    stops = spans[np.concatenate([apart, [True]]), 1]
    return np.column_stack([starts, stops])


def span_of(ticks: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the segment each tick lies in, -1 where it lies in none."""
    index = np.searchsorted(spans[:, 0], ticks, side="right") - 1
    inside = index >= 0
    inside[inside] = ticks[inside] < spans[index[inside], 1]
    return np.where(inside, index, -1).astype(np.int64)


def observed_before(ticks: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many observed ticks lie before each tick."""
    if not len(spans):
        return np.zeros_like(ticks)
    lengths = spans[:, 1] - spans[:, 0]
    before = np.concatenate([[0], np.cumsum(lengths)])
    k = np.searchsorted(spans[:, 0], ticks, side="right") - 1
    inside = np.minimum(ticks - spans[k, 0], lengths[k])
    return np.where(k >= 0, before[k] + inside, 0).astype(np.int64)


def trains(rec: SpikeRecording) -> Trains:
    """Return the spikes inside the observed time, ordered by unit, then by time."""
    spans = span_of(rec.spike_ticks, observed_spans(rec))
    seen = np.flatnonzero(spans >= 0)
    units = rec.spike_units[seen]
    small = np.int16 if rec.n_units < 2**15 else np.int64  # numpy sorts 16-bit keys by radix
    order = seen[np.argsort(units.astype(small), kind="stable")]
    return Trains(
        ticks=rec.spike_ticks[order],
        units=rec.spike_units[order],
        times=rec.spike_times[order],
        spans=spans[order],
        n_units=rec.n_units,
        tick_rate=rec.tick_rate,
    )


def intervals(rec: SpikeRecording) -> Intervals:
    """Return the inter-spike intervals of all units, ordered by unit, then by time."""
    seen = trains(rec)
    joined = (seen.units[1:] == seen.units[:-1]) & (seen.spans[1:] == seen.spans[:-1])
    where = np.flatnonzero(joined)
    follows = np.zeros(where.size, dtype=bool)
    follows[1:] = np.diff(where) == 1
    return Intervals(
        durations=seen.times[where + 1] - seen.times[where],
        units=seen.units[where],
        follows=follows,
        n_units=rec.n_units,
    )


def snapped(seconds: NDArray[np.float64], tick_rate: float) -> NDArray[np.float64]:
    """Return times in ticks, whole where they are whole but for floating-point noise."""
    ticks = seconds * tick_rate
    whole = np.rint(ticks)
    return np.where(np.abs(ticks - whole) < _GRID_TOLERANCE, whole, ticks)


def unit_mean(values: NDArray[np.float64], units: NDArray[np.int64], n_units: int) -> NDArray[np.float64]:
    """Return the mean of `values` unit by unit, NaN where a unit has none; shape (n_units,)."""
    return ratio(np.bincount(units, weights=values, minlength=n_units), np.bincount(units, minlength=n_units))


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Return numerator / denominator, NaN where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def positive(value: float, name: str) -> float:
    """Return `value`, rejecting anything that is not a finite number above zero."""
    if not (np.isfinite(value) and value > 0):
        raise RecordingError(f"{name} is {value!r} s; expected a time above 0 s")
    return float(value)


def whole_ticks(value: float, name: str, tick_rate: float) -> int:
    """Return a time of zero or more in whole ticks."""
    if not (np.isfinite(value) and value >= 0):
        raise RecordingError(f"{name} is {value!r} s; expected a time of 0 s or more")
    return int(to_ticks(value, tick_rate))
