"""Bursts of single units by the time that N consecutive spikes take."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.bursts import burst_table
from organoid.statistics.trains import Trains, positive, snapped, trains


def bursts_isi_n(rec: SpikeRecording, n: int = 10, isi_n: float = 0.1) -> pd.DataFrame:
    """Find each unit's bursts as spikes of which `n` in a row take at most `isi_n`.

    A spike is in a burst if some ``n`` consecutive spikes that contain it span ``isi_n`` or less. Consecutive such
    spikes are one burst, but a new one begins at a spike that comes more than `isi_n` after the one ``n - 1`` before
    it, once the burst has ``n`` spikes. Bursts at either end of the observed time are found; none spans a hole in it.

    Parameters
    ----------
    rec : SpikeRecording
    n : int
        Spikes, 2 or more.
    isi_n : float, s

    Returns
    -------
    DataFrame
        One row per burst: unit, start_s, stop_s, n_spikes, as `bursts_max_interval`. ``.attrs["thresholds"]`` holds the
        parameters.

    Raises
    ------
    RecordingError
        If a parameter makes no sense.

    References
    ----------
    D. J. Bakkum, M. Radivojevic, U. Frey, F. Franke, A. Hierlemann, H. Takahashi, "Parameters for burst detection",
    2014.

    Examples
    --------
    >>> times = [1.0 + 0.005 * k for k in range(12)] + [3.0, 4.0]
    >>> bursts_isi_n(SpikeRecording(times, [0] * 14, t_stop=5.0))["n_spikes"].tolist()
    [12]
    """
    if n < 2:
        raise RecordingError(f"n is {n}; expected 2 spikes or more")
    seen = trains(rec)
    (reach,) = snapped(np.array([positive(isi_n, "isi_n")]), rec.tick_rate)
    near = _near(seen, n, float(reach))
    covered = np.zeros(seen.ticks.size + 1, dtype=np.int64)
    where = np.flatnonzero(near)
    np.add.at(covered, where, 1)
    np.add.at(covered, where + n, -1)
    inside = np.cumsum(covered[:-1]) > 0
    first, last = _groups(seen, inside, near, n)
    table = burst_table(seen, first, last)
    table.attrs["thresholds"] = {"n": int(n), "isi_n": float(isi_n)}
    return table


def _near(seen: Trains, n: int, reach: float) -> NDArray[np.bool_]:
    """Return for each spike whether it and the next n - 1 of its unit lie within `reach` and in one observed span."""
    near = np.zeros(seen.ticks.size, dtype=bool)
    if seen.ticks.size >= n:
        head, tail = slice(None, seen.ticks.size - n + 1), slice(n - 1, None)
        same = (seen.units[head] == seen.units[tail]) & (seen.spans[head] == seen.spans[tail])
        near[head] = same & (seen.ticks[tail] - seen.ticks[head] <= reach)
    return near


def _groups(
    seen: Trains, inside: NDArray[np.bool_], near: NDArray[np.bool_], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last spike of each burst; spikes left over with fewer than n are dropped."""
    begins = inside.copy()
    joined = inside[1:] & inside[:-1] & (seen.units[1:] == seen.units[:-1]) & (seen.spans[1:] == seen.spans[:-1])
    begins[1:] &= ~joined
    starts = np.flatnonzero(begins)
    ends = np.flatnonzero(inside & np.append(~joined, True)[: inside.size]) if inside.size else starts
    first: list[int] = []
    last: list[int] = []
    for start, end in zip(starts.tolist(), ends.tolist()):
        at = start
        breaks = np.flatnonzero(~near[start : end - n + 2]) + start + n - 1  # spikes whose N-back interval is too long
        for spike in breaks.tolist():
            if spike - at >= n:
                first.append(at)
                last.append(spike - 1)
                at = spike
        if end - at + 1 >= n:
            first.append(at)
            last.append(end)
    return np.array(first, dtype=np.int64), np.array(last, dtype=np.int64)
