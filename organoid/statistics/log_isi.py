"""Bursts of single units by the histogram of logarithmic inter-spike intervals."""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.bursts import burst_table, runs_of_intervals
from organoid.statistics.trains import intervals, snapped, trains

_BINS_PER_DECADE = 10
_SHORTEST = 1e-3  # s; shorter intervals are left out of the histogram
_LONGEST_THRESHOLD = 1.0  # s
_APART = 2  # bins between peaks


def bursts_log_isi(
    rec: SpikeRecording, *, cutoff: float = 0.1, void: float = 0.7, min_spikes: int = 3, min_intervals: int = 20
) -> pd.DataFrame:
    """Find each unit's bursts by a threshold read off its own histogram of log intervals.

    The histogram of log10 ISI (10 bins per decade from 1 ms, smoothed by weights 1/4, 1/2, 1/4) has a peak of intervals
    within bursts, the largest below `cutoff`. The threshold is the minimum between it and the first later peak
    for which the void parameter ``1 - min / sqrt(peak1 peak2)`` is at least `void`. A threshold below `cutoff` is used
    as it is; with one up to 1 s, bursts are found at `cutoff` and extended by spikes within the threshold; with none,
    the `cutoff` itself is used, and the unit is marked as a fallback. A unit without a peak below `cutoff` has no
    bursts.

    Parameters
    ----------
    rec : SpikeRecording
    cutoff : float, s
        Longest interval in a burst's core.
    void : float
        How well two peaks must be separated, 0 to 1.
    min_spikes : int
    min_intervals : int
        Units with fewer intervals of 1 ms or more use the cutoff (a fallback): their histogram says nothing.

    Returns
    -------
    DataFrame
        One row per burst: unit, start_s, stop_s, n_spikes, as `bursts_max_interval`. ``.attrs["thresholds"]`` holds the
        parameters, ``.attrs["isi_threshold_s"]`` and ``.attrs["fallback"]`` a list with one entry per unit (NaN where
        there is no threshold).

    Raises
    ------
    RecordingError
        If a parameter makes no sense.

    References
    ----------
    V. Pasquale, S. Martinoia, M. Chiappalone, "A self-adapting approach for the detection of bursts and network bursts
    in neuronal cultures", 2010.

    Examples
    --------
    >>> times = [t + 0.01 * k for t in (1.0, 3.0, 5.0, 7.0, 9.0) for k in range(8)]
    >>> len(bursts_log_isi(SpikeRecording(times, [0] * 40, t_stop=10.0)))
    5
    """
    if not (cutoff > _SHORTEST and 0 <= void <= 1 and min_spikes >= 2):
        raise RecordingError(
            f"cutoff {cutoff} s, void {void}, min_spikes {min_spikes}; expected a cutoff above 1 ms, a void of 0 to "
            f"1 and "
            "2 spikes or more"
        )
    isi = intervals(rec)
    bounds = np.searchsorted(isi.units, np.arange(rec.n_units + 1))
    found = [_threshold(isi.durations[a:b], cutoff, void, min_intervals) for a, b in pairwise(bounds)]
    thresholds = np.array([threshold for threshold, _ in found], dtype=float)
    fallback = [bool(fell) for _, fell in found]
    core = np.where(np.isnan(thresholds), np.where(fallback, cutoff, 0.0), np.minimum(thresholds, cutoff))
    reach = np.where(np.isnan(thresholds), core, np.maximum(thresholds, core))
    table = _extended(rec, core, reach, min_spikes)
    table.attrs["thresholds"] = {"cutoff": float(cutoff), "void": float(void), "min_spikes": int(min_spikes)}
    table.attrs["isi_threshold_s"] = thresholds.tolist()
    table.attrs["fallback"] = fallback
    return table


def _threshold(isi: NDArray[np.float64], cutoff: float, void: float, min_intervals: int) -> tuple[float, bool]:
    """Return the threshold of one unit, s, NaN where there is none, and whether the cutoff stands in for it."""
    longer = isi[isi >= _SHORTEST]
    if longer.size < max(min_intervals, 1):
        return float("nan"), bool(isi.size)
    bins = np.floor(np.log10(longer / _SHORTEST) * _BINS_PER_DECADE + 1e-9).astype(np.int64)
    counts = np.convolve(np.bincount(bins, minlength=bins.max() + 3).astype(float), [0.25, 0.5, 0.25])[1:-1]
    centre = _SHORTEST * 10 ** ((np.arange(counts.size) + 0.5) / _BINS_PER_DECADE)
    peaks = _peaks(counts)
    early = peaks[centre[peaks] < cutoff]
    if not early.size:
        return float("nan"), False
    first = int(early[np.argmax(counts[early])])
    for later in peaks[peaks > first].tolist():
        lowest = first + int(np.argmin(counts[first : later + 1]))
        if 1 - counts[lowest] / np.sqrt(counts[first] * counts[later]) >= void:
            threshold = float(centre[lowest])
            return (threshold, False) if threshold < _LONGEST_THRESHOLD else (float("nan"), True)
    return float("nan"), True


def _peaks(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return local maxima (a plateau's first bin), the higher of two that are closer than `_APART`."""
    padded = np.concatenate([[0.0], counts, [0.0]])
    change = np.flatnonzero(np.diff(padded))
    steps = np.sign(np.diff(padded)[change])
    tops = change[:-1][(steps[:-1] > 0) & (steps[1:] < 0)]
    kept: list[int] = []
    for top in tops[np.argsort(-counts[tops], kind="stable")].tolist():
        if all(abs(top - other) >= _APART for other in kept):
            kept.append(top)
    return np.array(sorted(kept), dtype=np.int64)


def _extended(
    rec: SpikeRecording, core: NDArray[np.float64], reach: NDArray[np.float64], min_spikes: int
) -> pd.DataFrame:
    """Return bursts of intervals up to `reach` that hold a core: `min_spikes` with intervals up to `core`."""
    seen = trains(rec)
    core_ticks, reach_ticks = snapped(core, rec.tick_rate), snapped(reach, rec.tick_rate)
    first, last = runs_of_intervals(seen, core_ticks)
    big = last - first + 1 >= min_spikes
    cores = first[big]
    first, last = runs_of_intervals(seen, reach_ticks)
    held = np.searchsorted(cores, last, side="right") > np.searchsorted(cores, first)
    return burst_table(seen, first[held], last[held])
