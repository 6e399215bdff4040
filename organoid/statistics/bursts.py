"""Bursts of single units."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import Trains, snapped, trains


def bursts_max_interval(
    rec: SpikeRecording,
    max_start: float = 0.17,
    max_end: float = 0.3,
    min_interval: float = 0.2,
    min_duration: float = 0.01,
    min_spikes: int = 3,
) -> pd.DataFrame:
    """Find each unit's bursts by the maximum-interval method.

    A burst starts at an inter-spike interval ``< max_start`` and goes on until one ``> max_end``;
    bursts ``< min_interval`` apart (last spike to first spike) are merged; then those shorter than
    `min_duration` or of fewer than `min_spikes` spikes are dropped, in this order. A burst still going
    on at the end of the observed time is kept; none spans a hole in it. Compared in whole ticks.

    Parameters
    ----------
    rec : SpikeRecording
    max_start, max_end, min_interval, min_duration : float, s
    min_spikes : int

    Returns
    -------
    DataFrame
        One row a burst: unit, start_s (first spike), stop_s (last spike), n_spikes; ordered by unit,
        then time. ``.attrs["thresholds"]`` holds the parameters.

    Raises
    ------
    RecordingError
        If a parameter is negative or ``max_start > max_end``.

    References
    ----------
    C. R. Legendy, M. Salcman, "Bursts and recurrences of bursts in the spike trains of spontaneously
    active striate cortex neurons", 1985; E. Cotterill, P. Charlesworth, C. W. Thomas, O. Paulsen,
    S. J. Eglen, "A comparison of computational methods for detecting bursts in neuronal spike trains and
    their application to human stem cell-derived neuronal networks", 2016 (this method and its defaults).
    """
    used = {
        "max_start": float(max_start),
        "max_end": float(max_end),
        "min_interval": float(min_interval),
        "min_duration": float(min_duration),
        "min_spikes": int(min_spikes),
    }
    _check(used)
    seen = trains(rec)
    first, last = _runs(seen, *_in_ticks(rec, max_start, max_end))
    first, last = _merged(seen, first, last, *_in_ticks(rec, min_interval))
    (shortest,) = _in_ticks(rec, min_duration)
    keep = (seen.ticks[last] - seen.ticks[first] >= shortest) & (last - first + 1 >= min_spikes)
    first, last = first[keep], last[keep]
    table = burst_table(seen, first, last)
    table.attrs["thresholds"] = used
    return table


def burst_table(seen: Trains, first: NDArray[np.int64], last: NDArray[np.int64]) -> pd.DataFrame:
    """Return the table of bursts that run from one spike to another."""
    return pd.DataFrame(
        {
            "unit": seen.units[first],
            "start_s": seen.times[first],
            "stop_s": seen.times[last],
            "n_spikes": last - first + 1,
        }
    )


def runs_of_intervals(seen: Trains, longest: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last spike of each run of intervals up to a unit's `longest`, ticks, shape (n_units,)."""
    joined = (np.diff(seen.units) == 0) & (np.diff(seen.spans) == 0)
    joined &= np.diff(seen.ticks) <= longest[seen.units[1:]]
    edges = np.diff(joined.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)


def _check(used: dict[str, float]) -> None:
    bad = [name for name, value in used.items() if not (np.isfinite(value) and value >= 0)]
    if bad:
        raise RecordingError(f"{bad[0]} is {used[bad[0]]!r}; expected a number of 0 or more")
    if used["max_start"] > used["max_end"]:
        raise RecordingError(
            f"max_start {used['max_start']} s is longer than max_end {used['max_end']} s; "
            "the interval that starts a burst cannot be longer than the one that ends it"
        )


def _in_ticks(rec: SpikeRecording, *seconds: float) -> NDArray[np.float64]:
    return snapped(np.array(seconds, dtype=np.float64), rec.tick_rate)


def _runs(seen: Trains, start: float, end: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last spike of each run of intervals up to `end`, from its first one below `start`."""
    gap = np.diff(seen.ticks)
    joined = (np.diff(seen.units) == 0) & (np.diff(seen.spans) == 0) & (gap <= end)
    edges = np.diff(joined.astype(np.int8), prepend=0, append=0)
    run_first, run_last = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    starts = np.flatnonzero(joined & (gap < start))
    k = np.searchsorted(starts, run_first)
    found = k < np.searchsorted(starts, run_last)
    return starts[k[found]], run_last[found]


def _merged(
    seen: Trains, first: NDArray[np.int64], last: NDArray[np.int64], apart: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join neighbours closer than `apart`; spikes between them then belong to the burst."""
    if first.size < 2:
        return first, last
    same = (seen.units[first[1:]] == seen.units[last[:-1]]) & (seen.spans[first[1:]] == seen.spans[last[:-1]])
    separate = ~(same & (seen.ticks[first[1:]] - seen.ticks[last[:-1]] < apart))
    return first[np.concatenate([[True], separate])], last[np.concatenate([separate, [True]])]
