"""Pynapple: a recording to and from a TsGroup and interval sets."""

from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.interop.partner import partner
from organoid.io.exchange import trains
from organoid.recording import SpikeRecording

_OWN = ("rate",)  # pynapple computes it


def to_pynapple(rec: SpikeRecording) -> Any:
    """Return a TsGroup: unit `k` of the recording is number `k`, its columns are metadata, its support is the window.

    The support is the whole window and not `observed`, because pynapple would drop spikes outside of it; see
    `to_pynapple_intervals`.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    pynapple.TsGroup
    """
    nap = partner("pynapple")
    support = nap.IntervalSet(rec.t_start, rec.t_stop)
    group = {k: nap.Ts(times, time_support=support) for k, times in enumerate(trains(rec))}
    columns = {
        name: rec.units[name].astype(object).where(rec.units[name].notna(), None).to_list()
        for name in rec.units.columns
        if name not in _OWN and rec.units[name].notna().any()
    }
    return nap.TsGroup(group, time_support=support, metadata=pd.DataFrame(columns, index=range(rec.n_units)))


def to_pynapple_intervals(rec: SpikeRecording) -> dict[str, Any]:
    """Return what was observed, and the times of stimuli and events.

    Returns
    -------
    dict
        ``observed`` (IntervalSet), ``stimuli`` and ``events`` (Ts; absent where there are none).
    """
    nap = partner("pynapple")
    found: dict[str, Any] = {"observed": nap.IntervalSet(rec.observed[:, 0], rec.observed[:, 1])}
    for name in ("stimuli", "events"):
        table = getattr(rec, name)
        if len(table):
            found[name] = nap.Ts(table["time_s"].to_numpy())
    return found


def from_pynapple(
    group: Any,
    *,
    observed: Any = None,
    stimuli: Any = None,
    events: Any = None,
    sampling_rate: float | None = None,
    metadata: dict[str, Any] | None = None,
) -> SpikeRecording:
    """Return the recording of a TsGroup; its support is the window, holes in it (or `observed`) are not observed.

    Parameters
    ----------
    group : pynapple.TsGroup
    observed : pynapple.IntervalSet, optional
    stimuli, events : pynapple.Ts or DataFrame, optional
    sampling_rate : float, optional, Hz
    metadata : dict, optional

    Returns
    -------
    SpikeRecording
    """
    nap = partner("pynapple")
    if not isinstance(group, nap.TsGroup):
        raise RecordingError(f"{type(group).__name__} is no TsGroup of pynapple")
    keys = list(group.keys())
    parts = [np.asarray(group[key].times(), dtype=np.float64) for key in keys]
    support = np.asarray(group.time_support.values, dtype=np.float64)
    seen = support if observed is None else np.asarray(observed.values, dtype=np.float64)
    times = np.concatenate([np.empty(0), *parts])
    stop = float(support[-1, 1])
    if times.size and times.max() >= stop:  # pynapple's intervals are closed
        stop = float(times.max()) + 1 / (sampling_rate or 1e6)
    return SpikeRecording(
        times,
        np.repeat(np.arange(len(parts)), [part.size for part in parts]),
        n_units=len(parts),
        t_start=float(support[0, 0]),
        t_stop=stop,
        sampling_rate=sampling_rate,
        units=_units(group, keys),
        stimuli=_times(stimuli),
        events=_times(events),
        observed=seen,
        metadata=metadata or {"format": "pynapple"},
        notes=["from a TsGroup of pynapple"],
    )


def _units(group: Any, keys: list[Any]) -> pd.DataFrame:
    """Return the columns of a TsGroup as a table of units."""
    held = group.metadata
    table = pd.DataFrame(
        {name: held[name].to_list() for name in held.columns if name not in _OWN}, index=range(len(keys))
    )
    for name in ("channel", "electrode"):
        if name in table:
            table[name] = pd.array([None if pd.isna(v) else int(v) for v in table[name]], dtype="Int64")
    return table if "name" in table else table.assign(name=[str(key) for key in keys])


def _times(given: Any) -> pd.DataFrame | None:
    if given is None or isinstance(given, pd.DataFrame):
        return given
    return pd.DataFrame({"time_s": np.asarray(given.times(), dtype=np.float64)})
