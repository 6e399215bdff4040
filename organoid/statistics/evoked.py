"""What follows an event: rates around it and the first spike after it."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.recording.ticks import BinGrid, to_ticks
from organoid.statistics.trains import observed_before, observed_spans, ratio, trains

_SEEN_SHARE = 0.5  # of a trial's window that must have been observed for the trial to count


def psth(rec: SpikeRecording, events: ArrayLike, window: tuple[float, float], bin_width: float) -> pd.DataFrame:
    """Return the mean rate of each unit around events (peri-stimulus time histogram).

    ``rate_i(k) = spikes of i in bin k of all trials / (trials in which the bin was observed * bin_width)``

    Parameters
    ----------
    rec : SpikeRecording
    events : array_like, shape (n_events,), s
    window : (float, float), s
        Start and stop relative to the event, e.g. ``(-0.1, 0.4)``; half-open.
    bin_width : float, s
        Bins are half-open and start at the window's start; a last partial bin is dropped.

    Returns
    -------
    DataFrame, Hz
        One row per bin, one column per unit (0, 1, ...); the index ``time_s`` is the bin's start relative
        to the event. NaN where a bin was never fully observed. ``.attrs`` holds n_events, bin_width.

    Raises
    ------
    RecordingError
        If the window is not a window or an event time is not finite.
    """
    start, stop = to_ticks(_window(window), rec.tick_rate)
    grid = BinGrid(int(start), int(stop), bin_width, rec.tick_rate)
    edges = grid.edges()
    moments = _event_ticks(events, rec.tick_rate)
    observed = _observed_bins(moments, edges, observed_spans(rec))
    trial, units, lags = _around(rec, moments, int(edges[0]), int(edges[-1]) - 1)
    bins = np.searchsorted(edges, lags, side="right") - 1
    keep = observed[trial, bins]
    flat = np.bincount(bins[keep] * rec.n_units + units[keep], minlength=grid.n_bins * rec.n_units)
    seconds = observed.sum(axis=0)[:, None] * (np.diff(edges) / rec.tick_rate)[:, None]
    rates = ratio(flat.reshape(grid.n_bins, rec.n_units), seconds)
    index = pd.Index(edges[:-1] / rec.tick_rate, name="time_s", dtype=float)
    table = pd.DataFrame(rates, index=index, columns=pd.RangeIndex(rec.n_units, name="unit"))
    table.attrs.update(n_events=int(moments.size), bin_width=float(bin_width))
    return table


def first_spikes(rec: SpikeRecording, events: ArrayLike, window: float | tuple[float, float]) -> NDArray[np.float64]:
    """Return the time from each event to each unit's first spike after it.

    Parameters
    ----------
    rec : SpikeRecording
    events : array_like, shape (n_events,), s
    window : float or (float, float), s
        ``w`` looks in ``(0, w]``, strictly after the event; ``(a, b)`` looks in ``(a, b]``.

    Returns
    -------
    ndarray, shape (n_events, n_units), s
        NaN where no spike came.
    """
    after, until = to_ticks(_window(window), rec.tick_rate)
    moments = _event_ticks(events, rec.tick_rate)
    trial, units, lags = _around(rec, moments, int(after) + 1, int(until))
    out = np.full((moments.size, rec.n_units), np.inf)
    np.minimum.at(out, (trial, units), lags / rec.tick_rate)
    return np.where(np.isinf(out), np.nan, out)


def response_latency(rec: SpikeRecording, events: ArrayLike, window: float | tuple[float, float]) -> pd.DataFrame:
    """Summarise how surely, how fast and how precisely each unit answers events.

    Parameters
    ----------
    rec : SpikeRecording
    events : array_like, shape (n_events,), s
    window : float or (float, float), s
        Where to look for the first spike, as in `first_spikes`.

    Returns
    -------
    DataFrame
        One row per unit: unit, n_trials (events of whose window at least half was observed),
        probability (share of trials with a spike), latency_s (median of first spikes), jitter_s
        (their standard deviation); NaN where undefined.
    """
    after, until = to_ticks(_window(window), rec.tick_rate)
    moments = _event_ticks(events, rec.tick_rate)
    spans = observed_spans(rec)
    observed = observed_before(moments + until + 1, spans) - observed_before(moments + after + 1, spans)
    latencies = first_spikes(rec, events, window)[observed >= _SEEN_SHARE * (until - after)]
    answered = np.isfinite(latencies).sum(axis=0)
    columns = [column[np.isfinite(column)] for column in latencies.T]
    return pd.DataFrame(
        {
            "unit": np.arange(rec.n_units),
            "n_trials": np.full(rec.n_units, len(latencies)),
            "probability": ratio(answered, np.full(rec.n_units, len(latencies))),
            "latency_s": np.array([np.median(c) if c.size else np.nan for c in columns], dtype=float),
            "jitter_s": np.array([np.std(c) if c.size > 1 else np.nan for c in columns], dtype=float),
        }
    )


def _window(window: float | tuple[float, float]) -> NDArray[np.float64]:
    pair = np.array([0.0, window] if np.isscalar(window) else window, dtype=np.float64)
    if pair.shape != (2,) or not np.all(np.isfinite(pair)) or pair[0] >= pair[1]:
        raise RecordingError(f"window is {window!r}; expected (start, stop) in s with start < stop")
    return pair


def _event_ticks(events: ArrayLike, tick_rate: float) -> NDArray[np.int64]:
    times = np.asarray(events, dtype=np.float64)
    if times.ndim != 1 or not np.all(np.isfinite(times)):
        raise RecordingError(f"events of shape {times.shape}; expected a row of finite times in s")
    return to_ticks(times, tick_rate)


def _around(
    rec: SpikeRecording, moments: NDArray[np.int64], first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return trial, unit and lag in ticks of every seen spike with ``first <= lag <= last``."""
    seen = trains(rec)
    order = np.argsort(seen.ticks, kind="stable")
    ticks, units = seen.ticks[order], seen.units[order]
    begin = np.searchsorted(ticks, moments + first, side="left")
    length = np.maximum(np.searchsorted(ticks, moments + last, side="right") - begin, 0)
    trial = np.repeat(np.arange(moments.size), length)
    spike = np.arange(trial.size) - np.repeat(np.cumsum(length) - length, length) + begin[trial]
    return trial, units[spike], ticks[spike] - moments[trial]


def _observed_bins(moments: NDArray[np.int64], edges: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each trial and bin whether all of the bin was observed; shape (n_events, n_bins)."""
    left, right = moments[:, None] + edges[:-1], moments[:, None] + edges[1:]
    if not len(spans):
        return np.zeros(left.shape, dtype=bool)
    k = np.searchsorted(spans[:, 0], left, side="right") - 1
    return np.asarray((k >= 0) & (right <= spans[k, 1]), dtype=bool)
