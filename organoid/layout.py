"""The project's own HDF5 layout: names, and how a recording is put into and taken from a group.

`docs/format.md` describes the layout for people; this module is the only code that knows it.
Files, session journals and fits share it.
"""

import json
from typing import Any

import h5py
import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.tables import kind_of

LAYOUT_VERSION = 1
KIND = "organoid_kind"  # root attribute: "recording", "session" or "fit"
VERSION = "organoid_version"  # root attribute
WRITTEN_BY = "written_by"  # root attribute

SPIKE_TIMES = "spikes/time_s"
SPIKE_UNITS = "spikes/unit"
WINDOW = "window"
OBSERVED = "observed"
UNITS = "units"
ELECTRODES = "electrodes"
STIMULI = "stimuli"
METADATA = "metadata"
NOTES = "notes"
SAMPLING_RATE = "sampling_rate"  # root attribute; NaN where unknown
COLUMNS = "columns"  # attribute of a table
COLUMN_KIND = "kind"  # attribute of a column
MISSING = "missing"  # sub-group of a table: which rows of a column are missing

REQUIRED = (SPIKE_TIMES, SPIKE_UNITS, WINDOW, UNITS)


def mark(group: h5py.Group, kind: str, version: str) -> None:
    """Write the root attributes that tell what the file is."""
    group.attrs[KIND] = kind
    group.attrs[VERSION] = LAYOUT_VERSION
    group.attrs[WRITTEN_BY] = f"organoid {version}"


def put_recording(group: h5py.Group, rec: SpikeRecording) -> None:
    """Write a recording into an empty group."""
    options: dict[str, Any] = {"compression": "gzip", "shuffle": True} if rec.n_spikes else {}
    group.create_dataset(SPIKE_TIMES, data=rec.spike_times, **options)
    group.create_dataset(SPIKE_UNITS, data=rec.spike_units.astype(np.int32), **options)
    put_context(group, rec)
    put_table(group, STIMULI, rec.stimuli)


def put_context(group: h5py.Group, rec: SpikeRecording) -> None:
    """Write everything of a recording but its spikes and stimuli."""
    group.attrs[SAMPLING_RATE] = np.nan if rec.sampling_rate is None else rec.sampling_rate
    group.create_dataset(WINDOW, data=np.array([rec.t_start, rec.t_stop]))
    group.create_dataset(OBSERVED, data=rec.observed, maxshape=(None, 2), chunks=(64, 2))
    put_table(group, UNITS, rec.units)
    put_table(group, ELECTRODES, rec.electrodes)
    group.create_dataset(METADATA, data=json.dumps(rec.metadata))
    group.create_dataset(NOTES, data=json.dumps(rec.notes))


def put_table(group: h5py.Group, name: str, table: pd.DataFrame) -> None:
    """Write a table as one dataset a column."""
    sub = group.create_group(name)
    sub.attrs[COLUMNS] = json.dumps(list(table.columns))
    for column in table.columns:
        kind = kind_of(table[column])
        missing = table[column].isna().to_numpy(dtype=bool)
        data = _plain_values(table[column], kind)
        dataset = sub.create_dataset(column, data=data, dtype=h5py.string_dtype() if kind == "text" else None)
        dataset.attrs[COLUMN_KIND] = kind
        if kind in ("text", "integer") and missing.any():
            sub.create_dataset(f"{MISSING}/{column}", data=missing)


def _plain_values(values: "pd.Series[Any]", kind: str) -> Any:
    if kind == "text":
        return values.astype(object).where(values.notna(), "").tolist()
    if kind == "integer":
        return values.fillna(0).to_numpy(dtype=np.int64)
    return values.to_numpy(dtype=bool if kind == "flag" else np.float64)


def take_recording(group: h5py.Group, *, interrupted: bool = False) -> SpikeRecording:
    """Read a recording from a group of this layout.

    Parameters
    ----------
    group : h5py.Group
    interrupted : bool
        The writer may have been stopped between two columns: keep what all columns hold.

    Raises
    ------
    RecordingError
        Naming the dataset that is missing or does not fit.
    """
    absent = [name for name in REQUIRED if name not in group]
    if absent:
        raise RecordingError(f"dataset {absent[0]!r} is missing; an organoid file holds {', '.join(REQUIRED)}")
    times, units = group[SPIKE_TIMES][()], group[SPIKE_UNITS][()]
    window = np.asarray(group[WINDOW][()], dtype=float)
    if window.shape != (2,):
        raise RecordingError(f"dataset {WINDOW!r} has shape {window.shape}; expected (2,): t_start, t_stop")
    n = min(times.size, units.size) if interrupted else times.size
    if not interrupted and times.shape != units.shape:
        raise RecordingError(f"{SPIKE_TIMES!r} has shape {times.shape} but {SPIKE_UNITS!r} {units.shape}")
    rate = float(group.attrs.get(SAMPLING_RATE, np.nan))
    return SpikeRecording(
        times[:n],
        units[:n],
        t_start=float(window[0]),
        t_stop=float(window[1]),
        sampling_rate=None if np.isnan(rate) else rate,
        units=take_table(group, UNITS, interrupted=interrupted),
        electrodes=take_table(group, ELECTRODES, interrupted=interrupted) if ELECTRODES in group else None,
        stimuli=take_table(group, STIMULI, interrupted=interrupted) if STIMULI in group else None,
        observed=group[OBSERVED][()] if OBSERVED in group else None,
        metadata=take_json(group, METADATA, {}),
        notes=take_json(group, NOTES, []),
    )


def take_json(group: h5py.Group, name: str, default: Any) -> Any:
    """Read a JSON text dataset, or the default where there is none."""
    if name not in group:
        return default
    try:
        return json.loads(group[name].asstr()[()])
    except (TypeError, ValueError) as error:
        raise RecordingError(f"dataset {name!r} is not JSON text: {error}") from None


def take_table(group: h5py.Group, name: str, *, interrupted: bool = False) -> pd.DataFrame:
    """Read a table written by `put_table`."""
    sub = group[name]
    if not isinstance(sub, h5py.Group) or COLUMNS not in sub.attrs:
        raise RecordingError(f"{name!r} is not a table (a group with the attribute {COLUMNS!r})")
    columns = {column: _take_column(sub, column) for column in json.loads(sub.attrs[COLUMNS])}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1 and not interrupted:
        raise RecordingError(f"the columns of table {name!r} have different lengths {sorted(lengths)}")
    n = min(lengths, default=0)
    return pd.DataFrame({column: values.iloc[:n] for column, values in columns.items()})


def _take_column(sub: h5py.Group, column: str) -> "pd.Series[Any]":
    if column not in sub:
        raise RecordingError(f"column {column!r} of table {sub.name!r} is missing")
    dataset = sub[column]
    kind = dataset.attrs.get(COLUMN_KIND, "number")
    if kind == "text":
        values = pd.Series(dataset.asstr()[()], dtype="str")
    else:
        values = pd.Series(dataset[()]).astype({"integer": "Int64", "flag": "bool"}.get(kind, "float64"))
    if f"{MISSING}/{column}" in sub:
        values = values.mask(pd.Series(sub[f"{MISSING}/{column}"][()], dtype=bool))
    return values
