"""The project's own HDF5 layout: names, and how a recording is put into and taken from a group.

`docs/reference/file-format.md` describes the layout for people; this module is the only code that knows it.
Files, session journals and fits share it.
"""

import json
import re
import zlib
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, attributes, member, members, whole
from organoid.recording import SpikeRecording
from organoid.recording.tables import EVENT_COLUMNS, kind_of

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
EVENTS = "events"
METADATA = "metadata"
NOTES = "notes"
SAMPLING_RATE = "sampling_rate"  # root attribute; NaN where unknown
COLUMNS = "columns"  # attribute of a table
COLUMN_KIND = "kind"  # attribute of a column
MISSING = "missing"  # sub-group of a table: which rows of a column are missing
FLAGGED = "flagged"  # attribute of a table: the columns with flags in `MISSING`; older files are without it
CHECKSUM = "crc32"  # attribute of groups and datasets; files without it are read all the same

TABLES = (UNITS, ELECTRODES, STIMULI, EVENTS)
REQUIRED = (SPIKE_TIMES, SPIKE_UNITS, WINDOW, UNITS)
OPTIONAL = (OBSERVED, ELECTRODES, STIMULI, METADATA, NOTES)  # without EVENTS: absent means none
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def mark(group: h5py.Group, kind: str, version: str) -> None:
    """Write the root attributes that tell what the file is."""
    group.attrs[KIND] = kind
    group.attrs[VERSION] = LAYOUT_VERSION
    group.attrs[WRITTEN_BY] = f"organoid {version}"


def write_recording(group: h5py.Group, rec: SpikeRecording) -> None:
    """Write a recording into an empty group and seal it with checksums."""
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    options = packed if rec.n_spikes else {}
    group.create_dataset(SPIKE_TIMES, data=rec.spike_times, **options)
    group.create_dataset(SPIKE_UNITS, data=rec.spike_units.astype(np.int32), **options)
    write_context(group, rec)
    write_table(group, STIMULI, rec.stimuli)
    events = rec.events
    if len(events) or len(events.columns) > len(EVENT_COLUMNS):
        write_table(group, EVENTS, events)
    seal(group)


def write_context(group: h5py.Group, rec: SpikeRecording) -> None:
    """Write everything of a recording but its spikes and stimuli."""
    group.attrs[SAMPLING_RATE] = np.nan if rec.sampling_rate is None else rec.sampling_rate
    group.create_dataset(WINDOW, data=np.array([rec.t_start, rec.t_stop]))
    group.create_dataset(OBSERVED, data=rec.observed, maxshape=(None, 2), chunks=(64, 2))
    write_table(group, UNITS, rec.units)
    write_table(group, ELECTRODES, rec.electrodes)
    group.create_dataset(METADATA, data=json.dumps(rec.metadata))
    group.create_dataset(NOTES, data=json.dumps(rec.notes))


def write_table(group: h5py.Group, name: str, table: pd.DataFrame) -> None:
    """Write a table as one dataset a column."""
    sub = group.create_group(name)
    sub.attrs[COLUMNS] = json.dumps(list(table.columns))
    for place, column in enumerate(table.columns):
        stored = dataset_name(column, place)
        kind = kind_of(table[column])
        missing = table[column].isna().to_numpy(dtype=bool)
        data = _plain_values(table[column], kind)
        dataset = sub.create_dataset(stored, data=data, dtype=h5py.string_dtype() if kind == "text" else None)
        dataset.attrs[COLUMN_KIND] = kind
        if kind in ("text", "integer") and missing.any():
            sub.create_dataset(f"{MISSING}/{stored}", data=missing)
    if MISSING in sub:
        sub.attrs[FLAGGED] = json.dumps(sorted(sub[MISSING]))


def dataset_name(column: str, place: int) -> str:
    """Return the dataset a column is stored under: its own name, or ``@place`` where that is no plain name."""
    return column if _PLAIN_NAME.fullmatch(column) and column != MISSING else f"@{place}"


def _plain_values(values: "pd.Series[Any]", kind: str) -> Any:
    if kind == "text":
        return values.astype(object).where(values.notna(), "").tolist()
    if kind == "integer":
        return values.fillna(0).to_numpy(dtype=np.int64)
    return values.to_numpy(dtype=bool if kind == "flag" else np.float64)


def seal(group: h5py.Group) -> None:
    """Give a finished group and everything in it the checksum that readers compare."""
    inside: list[h5py.Group | h5py.Dataset] = [group]
    group.visititems(lambda name, item: inside.append(item))
    for item in inside:
        values = item[()] if isinstance(item, h5py.Dataset) else _names(item)
        item.attrs[CHECKSUM] = np.uint32(_checksum(item, dict(item.attrs.items()), values))


def _checksum(item: h5py.Group | h5py.Dataset, attributes: dict[str, Any], values: Any) -> int:
    """Return the CRC-32 of the attributes and the content: raw bytes of numbers, UTF-8 texts joined by NUL."""
    plain = sorted((str(name), str(value)) for name, value in attributes.items() if name != CHECKSUM)
    kind = [item.dtype.str, list(item.shape)] if isinstance(item, h5py.Dataset) else []
    start = zlib.crc32(json.dumps([plain, kind]).encode())
    if isinstance(values, np.number | np.bool_) or (isinstance(values, np.ndarray) and values.dtype.kind != "O"):
        return zlib.crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data, start)
    texts = [values] if isinstance(values, bytes | str) else list(values)
    return zlib.crc32(b"\x00".join(text if isinstance(text, bytes) else str(text).encode() for text in texts), start)


def _names(group: h5py.Group) -> list[str]:
    return members(group)


def _check(item: h5py.Group | h5py.Dataset, name: str, values: Any) -> dict[str, Any]:
    """Compare the checksum of an object, if it has one, and return its attributes."""
    found = attributes(item, name)
    if CHECKSUM not in found:
        if CHECKSUM in item.parent.attrs and item.parent != item:
            raise RecordingError(f"{name!r} has no checksum, though the rest of the file has: it was replaced")
    elif not _equal(found[CHECKSUM], _checksum(item, found, values)):
        raise RecordingError(
            f"{name!r} does not match its checksum: it was damaged or edited after writing "
            "(to read it anyway, delete the attributes crc32 of all objects)"
        )
    return found


def _equal(stored: Any, computed: int) -> bool:
    return isinstance(stored, np.integer) and int(stored) == computed


def _values(group: h5py.Group, name: str) -> tuple[Any, dict[str, Any]]:
    """Return what a dataset holds, as stored, and its attributes, after comparing its checksum."""
    dataset, path = member(group, name), f"{group.name}/{name}".lstrip("/")
    if not isinstance(dataset, h5py.Dataset):
        raise RecordingError(f"dataset {path!r} is missing or not a dataset")
    values = whole(dataset, path)
    return values, _check(dataset, path, values)


def _numbers(group: h5py.Group, name: str, ndim: int, kinds: str = "fiu") -> Any:
    values = np.asarray(_values(group, name)[0])
    if values.ndim != ndim or values.dtype.kind not in kinds:
        raise RecordingError(
            f"dataset {name!r} has shape {values.shape} and type {values.dtype}; see docs/reference/file-format.md"
        )
    return values


def read_recording(group: h5py.Group, *, interrupted: bool = False) -> SpikeRecording:
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
    held = _names(group)
    said = _check(group, "/", held)
    times, units = _numbers(group, SPIKE_TIMES, 1), _numbers(group, SPIKE_UNITS, 1, "iu")
    times.flags.writeable = units.flags.writeable = False  # ours alone: need not be copied
    window = _numbers(group, WINDOW, 1)
    if window.shape != (2,) or not np.all(np.abs(window) < 1e15):
        raise RecordingError(f"dataset {WINDOW!r} is {window[:4].tolist()}; expected t_start and t_stop, s")
    n = min(times.size, units.size) if interrupted else times.size
    if not interrupted and times.shape != units.shape:
        raise RecordingError(f"{SPIKE_TIMES!r} has shape {times.shape} but {SPIKE_UNITS!r} {units.shape}")
    notes = read_json(group, NOTES, [])
    if not isinstance(notes, list):
        raise RecordingError(f"dataset {NOTES!r} is not a JSON list")
    notes += [f"the file holds no {name!r}" for name in OPTIONAL if name not in held]
    if times.size != units.size:
        notes.append(_cut_short("spikes", [times.size, units.size]))
    observed = _numbers(group, OBSERVED, 2) if OBSERVED in held else None
    seen = np.append(times[:1], np.ravel(observed if observed is not None else window)[:1])
    if CHECKSUM not in said and window[0] < 0 and np.all(seen >= 0):
        notes.append(f"the window starts at {window[0]:g} s, but nothing was observed before time 0")
    tables = {name: read_table(group, name, interrupted=interrupted, notes=notes) for name in TABLES if name in held}
    return SpikeRecording(
        times if times.size == n else times[:n],
        units if units.size == n else units[:n],
        t_start=float(window[0]),
        t_stop=float(window[1]),
        sampling_rate=_take_rate(said, interrupted, notes),
        units=tables[UNITS],
        electrodes=tables.get(ELECTRODES),
        stimuli=tables.get(STIMULI),
        events=tables.get(EVENTS),
        observed=observed,
        metadata=read_json(group, METADATA, {}),
        notes=notes,
    )


def _take_rate(said: dict[str, Any], interrupted: bool, notes: list[str]) -> float | None:
    rate = said.get(SAMPLING_RATE)
    if rate is None:
        notes.append(f"the file has no attribute {SAMPLING_RATE!r}")
        return None
    if not isinstance(rate, float):
        raise RecordingError(f"attribute {SAMPLING_RATE!r} is {rate!r}; expected one floating-point number of Hz")
    if np.isnan(rate) and (interrupted or CHECKSUM not in said):  # a journal always has one; damage may look so
        notes.append(f"attribute {SAMPLING_RATE!r} is not a number: the sampling rate is unknown")
    return None if np.isnan(rate) else float(rate)


def read_json(group: h5py.Group, name: str, default: Any) -> Any:
    """Read a JSON text dataset, or the default where there is none."""
    if name not in _names(group):
        return default
    values, _ = _values(group, name)
    try:
        return json.loads(values)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"dataset {name!r} is not JSON text: {error}") from None


def _cut_short(name: str, lengths: Iterable[int]) -> str:
    """Return the note on columns of a journal whose writer was stopped between two of them."""
    found = sorted(set(lengths))
    return f"the columns of {name!r} hold {found[0]} to {found[-1]} rows; those all of them hold are kept"


def read_table(
    group: h5py.Group, name: str, *, interrupted: bool = False, notes: list[str] | None = None
) -> pd.DataFrame:
    """Read a table written by `write_table`; rows that an interrupted writer left incomplete are noted."""
    sub = group.get(name)
    if not isinstance(sub, h5py.Group) or COLUMNS not in sub.attrs:
        raise RecordingError(f"{name!r} is not a table (a group with the attribute {COLUMNS!r})")
    said = _check(sub, name, _names(sub))
    listed, masks = _listed(said, COLUMNS, name), _missing_rows(sub, name)
    if FLAGGED in said and sorted(masks) != sorted(_listed(said, FLAGGED, name)):
        raise RecordingError(f"table {name!r} has lost the flags of missing values of some columns")
    stored = {column: dataset_name(column, k) for k, column in enumerate(listed)}
    columns = {column: _take_column(sub, name, stored[column], masks, interrupted) for column in listed}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1 and not interrupted:
        raise RecordingError(f"the columns of table {name!r} have different lengths {sorted(lengths)}")
    n = min(lengths, default=0)
    if len(lengths) > 1 and notes is not None:
        notes.append(_cut_short(name, lengths))
    return pd.DataFrame({column: values[:n] for column, values in columns.items()})


def _listed(said: dict[str, Any], key: str, table: str) -> list[str]:
    try:
        return [str(column) for column in json.loads(said[key])]
    except (TypeError, ValueError) as error:
        raise RecordingError(f"attribute {key!r} of table {table!r} is not a JSON list: {error}") from None


def _missing_rows(sub: h5py.Group, table: str) -> dict[str, Any]:
    """Return which rows of which columns are missing."""
    if MISSING not in _names(sub):
        return {}
    held, path = sub.get(MISSING), f"{table}/{MISSING}"
    if not isinstance(held, h5py.Group):
        raise RecordingError(f"{path!r} is not a group of flags")
    names = _names(held)
    _check(held, path, names)
    masks = {column: np.asarray(_values(held, column)[0]) for column in names}
    odd = [column for column, mask in masks.items() if mask.dtype.kind != "b" or mask.ndim != 1]
    if odd:
        raise RecordingError(f"dataset '{path}/{odd[0]}' does not hold flags, one axis")
    return masks


def _take_column(sub: h5py.Group, table: str, column: str, masks: dict[str, Any], interrupted: bool) -> Any:
    raw, said = _values(sub, column)
    kind = said.get(COLUMN_KIND)
    if not isinstance(kind, str) or kind not in _SERIES or np.ndim(raw) != 1:
        raise RecordingError(
            f"column {column!r} of table {table!r} has shape {np.shape(raw)} and kind {kind!r}; expected one axis "
            f"and one of {', '.join(_SERIES)}"
        )
    try:
        values = _SERIES[kind](raw)
        if column in masks:
            mask = masks[column]
            if interrupted:  # the writer may have been stopped between a column and its flags
                n = min(len(values), len(mask))
                values, mask = values[:n], mask[:n]
            elif len(mask) != len(values):
                raise RecordingError(f"column {column!r} of {table!r} has {len(values)} rows, its flags {len(mask)}")
            values[mask] = None
    except DAMAGE as error:
        raise RecordingError(f"column {column!r} of table {table!r} does not hold {kind}s: {error}") from None
    return values


def _decoded(raw: Any) -> Any:
    return pd.array([text.decode("utf-8") for text in raw], dtype="str")


_SERIES: dict[Any, Any] = {
    "text": _decoded,
    "integer": lambda raw: pd.array(raw.astype(np.int64), dtype="Int64"),
    "number": lambda raw: raw.astype(np.float64, copy=False),
    "flag": lambda raw: raw.astype(bool, copy=False),
}
