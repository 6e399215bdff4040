"""Which units take part in network bursts."""

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.network import network_bursts
from organoid.statistics.trains import ratio, trains


def participation(
    rec: SpikeRecording, bursts: pd.DataFrame | None = None, *, min_spikes: int = 2, backbone: float = 0.8
) -> pd.DataFrame:
    """Return how often each unit takes part in network bursts; those that do nearly always are the backbone.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bursts : DataFrame, optional
        start_s and stop_s (both included). Default: `network_bursts`.
    min_spikes : int
        A unit takes part in a burst with this many spikes in it.
    backbone : float
        Fraction of bursts from which on a unit belongs to the backbone.

    Returns
    -------
    DataFrame
        One row per unit: unit, name, fraction (of bursts it takes part in), spikes_per_burst (mean over all bursts),
        latency_s (median time from a burst's start to its first spike in it), fraction_of_spikes (its spikes that lie
        in bursts), backbone. NaN without bursts or spikes.

    References
    ----------
    T. Sharf et al., "Functional neuronal circuitry and oscillatory dynamics in human brain organoids", 2022 (backbone
    units).

    Examples
    --------
    >>> rec = SpikeRecording([1.0, 1.1, 1.2], [0, 0, 1], n_units=2, t_stop=2.0)
    >>> participation(rec, pd.DataFrame({"start_s": [0.9], "stop_s": [1.5]}))["fraction"].tolist()
    [1.0, 0.0]
    """
    if min_spikes < 1 or not 0 < backbone <= 1:
        raise RecordingError(f"min_spikes {min_spikes}, backbone {backbone}; expected 1 or more, and above 0 up to 1")
    table = network_bursts(rec, n_shifts=0) if bursts is None else bursts
    edges = np.rint(table[["start_s", "stop_s"]].to_numpy(dtype=float) * rec.tick_rate).astype(np.int64)
    seen = trains(rec)
    burst = np.searchsorted(edges[:, 0], seen.ticks, side="right") - 1
    inside = burst >= 0
    inside[inside] = seen.ticks[inside] <= edges[burst[inside], 1]
    unit, burst, ticks = seen.units[inside], burst[inside], seen.ticks[inside]
    shape = (rec.n_units, len(table))
    counts = np.bincount(unit * len(table) + burst, minlength=shape[0] * shape[1]).reshape(shape)
    fraction = ratio(np.sum(counts >= min_spikes, axis=1), len(table))
    return pd.DataFrame(
        {
            "unit": np.arange(rec.n_units),
            "name": rec.units["name"].to_numpy(),
            "fraction": fraction,
            "spikes_per_burst": ratio(counts.sum(axis=1), len(table)),
            "latency_s": _latency(unit, burst, (ticks - edges[burst, 0]) / rec.tick_rate, rec.n_units),
            "fraction_of_spikes": ratio(counts.sum(axis=1), seen.n_spikes),
            "backbone": fraction >= backbone,
        }
    )


def _latency(unit: np.ndarray, burst: np.ndarray, lag: np.ndarray, n_units: int) -> np.ndarray:
    """Return each unit's median first spike; spikes come by unit, then time."""
    first = np.flatnonzero((np.diff(unit, prepend=-1) != 0) | (np.diff(burst, prepend=-1) != 0))
    median = pd.Series(lag[first]).groupby(unit[first]).median()
    return median.reindex(range(n_units)).to_numpy(dtype=float)
