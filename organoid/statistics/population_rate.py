"""Bursts of the population rate: intervals in which the summed activity rises well above its mean.

The free-run check of fits compares a recording and its simulation by this detector, whose thresholds come from the
recording and whose limits were set with it. It counts whatever lifts the summed rate, a single busy unit included;
`organoid.statistics.network_bursts` is the detector for statements about a culture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, span_of

_BINS_PER_SECOND = 1000
_LOW_ABOVE_MEAN_HZ = 5.0
_HIGH_ABOVE_HZ = 20.0
_HIGH_TIMES_MEAN = 4.0


def population_rate_bursts(
    rec: SpikeRecording,
    thresholds: Mapping[str, float] | None = None,
    *,
    well: str | None = None,
    smoothing: float = 0.1,
) -> pd.DataFrame:
    """Find bursts of the population by two thresholds on its smoothed rate (hysteresis).

    ``p(t)`` is the number of spikes of all units in 1 ms bins, averaged over a boxcar of `smoothing`.
    A burst is an interval of ``p > low`` that somewhere has ``p > high``, with ``low = m + 5 Hz`` and
    ``high = 4 m + 20 Hz``, ``m`` the mean population rate. One threshold alone would cut a burst
    whose rate dips into several. Thresholds are absolute population rates: those found on a recording
    can be used on a simulation of the same units, and a silent simulation then has no bursts.

    No burst spans a hole in `observed`; time outside it counts as silence for the boxcar.

    Parameters
    ----------
    rec : SpikeRecording
    thresholds : mapping, optional
        ``low_hz``, ``high_hz`` (and ``smoothing_s``) as found in ``.attrs["thresholds"]`` of an earlier
        result. Default: computed from this recording.
    well : str, optional
        Which culture, in a recording of several.
    smoothing : float, s
        Length of the boxcar, a whole number of ms; `thresholds` that name theirs win.

    Returns
    -------
    DataFrame
        One row a burst: start_s, peak_s (highest p), stop_s, n_spikes, n_units (distinct units that
        fire in it). ``.attrs["thresholds"]`` holds low_hz, high_hz, smoothing_s.

    Raises
    ------
    RecordingError
        If the recording holds several wells and none is named, or the thresholds make no sense.
    """
    culture = rec.culture(well)
    smoothing = float((thresholds or {}).get("smoothing_s", smoothing))
    activity = _activity(culture, smoothing)
    used = _thresholds(activity, smoothing) if thresholds is None else _checked(thresholds, smoothing)
    first, last = _hysteresis(activity.rate, used["low_hz"], used["high_hz"])
    table = _describe(culture, activity, first, last)
    table.attrs["thresholds"] = used
    return table


@dataclass(frozen=True)
class _Activity:
    """Population rate in 1 ms bins, observed segments one after the other, silence between them."""

    rate: NDArray[np.float64]
    first_bin: NDArray[np.int64]  # of each segment
    spans: NDArray[np.int64]  # segments, ticks
    bin_ticks: float
    mean_hz: float

    def tick(self, bins: NDArray[np.int64]) -> NDArray[np.int64]:
        """First tick of each bin; for one past a segment's last bin, the segment's end."""
        k = np.searchsorted(self.first_bin, bins, side="right") - 1
        inside = np.ceil((bins - self.first_bin[k]) * self.bin_ticks).astype(np.int64)
        ticks: NDArray[np.int64] = np.minimum(self.spans[k, 0] + inside, self.spans[k, 1])
        return ticks


def _activity(rec: SpikeRecording, smoothing: float) -> _Activity:
    half = smoothing * _BINS_PER_SECOND / 2
    width = round(2 * half)
    if not (np.isfinite(half) and width >= 1 and abs(2 * half - width) < 1e-6):
        raise RecordingError(f"smoothing is {smoothing!r} s; expected a whole number of milliseconds above 0")
    spans = observed_spans(rec)
    bin_ticks = rec.tick_rate / _BINS_PER_SECOND
    n_bins = np.ceil((spans[:, 1] - spans[:, 0]) / bin_ticks).astype(np.int64)
    first_bin = (np.cumsum(n_bins + width) - n_bins).astype(np.int64)
    total = int(np.sum(n_bins + width)) + width
    k = span_of(rec.spike_ticks, spans)
    seen = k >= 0
    offset = np.floor((rec.spike_ticks[seen] - spans[k[seen], 0]) / bin_ticks).astype(np.int64)
    counts = np.bincount(first_bin[k[seen]] + offset, minlength=total)
    running = np.concatenate([[0], np.cumsum(counts)])
    rate = np.zeros(total)
    left = width // 2
    rate[left : left + total - width + 1] = (running[width:] - running[:-width]) * (_BINS_PER_SECOND / width)
    _silence_padding(rate, first_bin, n_bins)
    duration = np.sum(spans[:, 1] - spans[:, 0]) / rec.tick_rate
    mean = float(np.sum(seen) / duration) if duration > 0 else float("nan")
    return _Activity(rate, first_bin, spans, bin_ticks, mean)


def _silence_padding(rate: NDArray[np.float64], first_bin: NDArray[np.int64], n_bins: NDArray[np.int64]) -> None:
    edges = np.zeros(rate.size + 1, dtype=np.int8)
    edges[first_bin] += 1
    edges[first_bin + n_bins] -= 1
    rate[np.cumsum(edges[:-1]) == 0] = 0.0


def _thresholds(activity: _Activity, smoothing: float) -> dict[str, float]:
    mean = activity.mean_hz
    return {
        "low_hz": mean + _LOW_ABOVE_MEAN_HZ,
        "high_hz": _HIGH_TIMES_MEAN * mean + _HIGH_ABOVE_HZ,
        "smoothing_s": smoothing,
    }


def _checked(thresholds: Mapping[str, float], smoothing: float) -> dict[str, float]:
    missing = {"low_hz", "high_hz"} - set(thresholds)
    if missing:
        raise RecordingError(f"thresholds lack {sorted(missing)}; expected low_hz and high_hz, population rates in Hz")
    low, high = float(thresholds["low_hz"]), float(thresholds["high_hz"])
    if not 0 <= low <= high:
        raise RecordingError(f"thresholds low_hz {low}, high_hz {high}; expected 0 <= low_hz <= high_hz")
    return {"low_hz": low, "high_hz": high, "smoothing_s": smoothing}


def _hysteresis(rate: NDArray[np.float64], low: float, high: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and one-past-last bin of each segment above `low` that reaches above `high`."""
    steps = np.diff((rate > low).astype(np.int8), prepend=0, append=0)
    first, last = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    peaks = np.searchsorted(np.flatnonzero(rate > high), np.column_stack([first, last]))
    reached = peaks[:, 0] < peaks[:, 1]
    return first[reached], last[reached]


def _describe(
    rec: SpikeRecording, activity: _Activity, first: NDArray[np.int64], last: NDArray[np.int64]
) -> pd.DataFrame:
    peak = np.array([a + int(np.argmax(activity.rate[a:b])) for a, b in zip(first, last)], dtype=np.int64)
    start, stop = activity.tick(first), activity.tick(last)
    begin, end = np.searchsorted(rec.spike_ticks, start), np.searchsorted(rec.spike_ticks, stop)
    distinct = [np.unique(rec.spike_units[a:b]).size for a, b in zip(begin, end)]
    return pd.DataFrame(
        {
            "start_s": start / rec.tick_rate,
            "peak_s": activity.tick(peak) / rec.tick_rate,
            "stop_s": stop / rec.tick_rate,
            "n_spikes": (end - begin).astype(np.int64),
            "n_units": np.array(distinct, dtype=np.int64),
        }
    )
