"""Avalanches of spikes, and how many spikes one spike brings about."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, positive, span_of

_LARGEST_LAG = 100


def avalanches(rec: SpikeRecording, bin_width: float | None = None) -> pd.DataFrame:
    """Find runs of bins with spikes of any unit, bounded by empty bins on both sides.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bin_width : float, optional, s
        Default: the mean interval between successive spikes of any unit.

    Returns
    -------
    DataFrame
        One row per avalanche: start_s (of its first bin), n_bins, duration_s, size (spikes), n_units (distinct).
        An avalanche that touches an end of the observed time is left out: it was not seen whole.
        ``.attrs["bin_width"]`` holds the width used, NaN where there are too few spikes for one.

    References
    ----------
    J. M. Beggs, D. Plenz, "Neuronal avalanches in neocortical circuits", 2003.

    Examples
    --------
    >>> rec = SpikeRecording([0.011, 0.012, 0.021, 0.055], [0, 1, 0, 1], t_stop=0.1)
    >>> avalanches(rec, 0.01)["size"].tolist()
    [3, 1]
    """
    spans = observed_spans(rec)
    k = span_of(rec.spike_ticks, spans)
    ticks, units, k = rec.spike_ticks[k >= 0], rec.spike_units[k >= 0], k[k >= 0]
    width = _mean_interval(ticks, rec.tick_rate) if bin_width is None else positive(bin_width, "bin_width")
    if np.isnan(width):
        empty = np.zeros(0, dtype=np.int64)
        return _table(rec, empty, empty, empty, empty, float("nan"))
    step = width * rec.tick_rate
    if step < 1 - 1e-9:
        raise RecordingError(f"bin_width {width!r} s is shorter than one tick of the recording; give a longer one")
    bins = np.floor((ticks - spans[k, 0]) / step + 1e-9).astype(np.int64)
    breaks = np.flatnonzero((np.diff(k) > 0) | (np.diff(bins) > 1))
    first = np.concatenate([[0], breaks + 1])[: ticks.size]
    last = np.append(breaks, ticks.size - 1)[: ticks.size]
    n_bins = np.floor((spans[:, 1] - spans[:, 0]) / step + 1e-9).astype(np.int64)  # whole bins
    whole = (bins[first] > 0) & (bins[last] < n_bins[k[first]] - 1)
    first, last = first[whole], last[whole]
    distinct = np.array([np.unique(units[a : b + 1]).size for a, b in zip(first, last)], dtype=np.int64)
    start = spans[k[first], 0] + np.rint(bins[first] * step).astype(np.int64)
    return _table(rec, start, bins[last] - bins[first] + 1, last - first + 1, distinct, width)


def _mean_interval(ticks: NDArray[np.int64], tick_rate: float) -> float:
    if ticks.size < 2 or ticks[-1] == ticks[0]:
        return float("nan")
    return max(float((ticks[-1] - ticks[0]) / (ticks.size - 1) / tick_rate), 1 / tick_rate)


def _table(
    rec: SpikeRecording,
    start: NDArray[np.int64],
    n_bins: NDArray[np.int64],
    size: NDArray[np.int64],
    n_units: NDArray[np.int64],
    width: float,
) -> pd.DataFrame:
    duration = n_bins * width if n_bins.size else np.zeros(0)
    table = pd.DataFrame(
        {"start_s": start / rec.tick_rate, "n_bins": n_bins, "duration_s": duration, "size": size, "n_units": n_units}
    )
    table.attrs["bin_width"] = width
    return table


def branching_ratio(counts: ArrayLike, max_lag: int | None = None) -> "pd.Series[Any]":
    """Estimate the branching ratio from few recorded units, by regressions at several lags.

    ``r_k`` is the slope of the regression of ``A_{t+k}`` on ``A_t``; under subsampling ``r_k = b m^k``, so that ``m``
    comes out right where ``r_1`` does not. Network bursts make the shape of ``r_k``, and with it the fitted function,
    the result: look at ``r_k``, and at ``m`` with an offset beside it.

    Parameters
    ----------
    counts : array_like, shape (n_bins,) or (n_bins, n_units)
        Spikes in bins, of all units or of each (then summed); for example ``rec.counts(0.004)``.
    max_lag : int, optional
        Default: 100 bins, or a quarter of the bins where that is less.

    Returns
    -------
    Series
        m, b (fit of ``b m^k``), m_offset, b_offset, offset (fit of ``b m^k + offset``), lags and r_k (arrays).
        NaN where counts do not vary or are too few.

    Raises
    ------
    RecordingError
        If `counts` is no array of counts.

    References
    ----------
    J. Wilting, V. Priesemann, "Inferring collective dynamical states from widely unobserved systems", 2018.

    Examples
    --------
    >>> found = branching_ratio([4, 2, 1, 0] * 50)
    >>> found["r_k"].size
    50
    """
    activity = np.asarray(counts, dtype=np.float64)
    activity = activity.sum(axis=1) if activity.ndim == 2 else activity
    if activity.ndim != 1 or not np.all(np.isfinite(activity)):
        raise RecordingError(
            f"counts of shape {np.shape(counts)}; expected finite counts, (n_bins,) or (n_bins, n_units)"
        )
    longest = min(_LARGEST_LAG, activity.size // 4) if max_lag is None else int(max_lag)
    if max_lag is not None and not 1 <= longest < activity.size:
        raise RecordingError(f"max_lag is {max_lag}; expected 1 or more, and fewer than the {activity.size} bins")
    lags = np.arange(1, longest + 1)
    slopes = np.array([_slope(activity[:-k], activity[k:]) for k in lags.tolist()], dtype=float)
    values: dict[str, Any] = {**_exponential(lags, slopes), "lags": lags, "r_k": slopes}
    return pd.Series(values, dtype=object)


def _slope(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    away = before - before.mean()
    spread = float(away @ away)
    return float(away @ (after - after.mean()) / spread) if spread > 0 else float("nan")


def _exponential(lags: NDArray[np.int64], slopes: NDArray[np.float64]) -> dict[str, float]:
    from scipy.optimize import curve_fit

    names = ("m", "b", "m_offset", "b_offset", "offset")
    undefined = dict.fromkeys(names, float("nan"))
    if lags.size < 4 or not np.all(np.isfinite(slopes)):
        return undefined
    start = float(np.clip(slopes[1] / slopes[0], 0.1, 0.99)) if slopes[0] > 0 else 0.5
    size = float(np.clip(slopes[0] / start, -1.5, 1.5))
    try:
        plain, _ = curve_fit(_decay, lags, slopes, (size, start), bounds=([-2, 0], [2, 1.2]))
        b, m = map(float, plain)
        shifted, _ = curve_fit(_decay, lags, slopes, (b, min(m, 0.999), 0.0), bounds=([-2, 0, -1], [2, 1.2, 1]))
    except RuntimeError:  # no convergence: undefined
        return undefined
    bo, mo, c = map(float, shifted)
    return dict(zip(names, (m, b, mo, bo, c)))


def _decay(k: Any, b: float, m: float, c: float = 0.0) -> Any:
    """Return ``b m**k + c``."""
    return b * m**k + c
