"""NWB (HDF5): the units table with its ragged spike times, electrodes, observation and stimulus intervals.

``units/spike_times_index`` holds the cumulative ends of each unit's part of ``units/spike_times``, often in
a one-byte type. NWB stores no recording length: the window is taken from observation intervals, epochs or
recorded voltage (their extent only; voltage is never read), else from the spikes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, member, members
from organoid.io.entries import choose
from organoid.io.exchange import KEY, from_context
from organoid.io.labels import COLUMNS as LABELS
from organoid.io.numbering import unit_per_spike
from organoid.io.nwb_intervals import (
    SPIKELAB_LENGTH,
    epochs_span,
    event_table,
    observed_spans,
    recorded_spans,
    spikelab_span,
    stimulus_table,
)
from organoid.io.ragged import ragged_ends
from organoid.io.registry import Entry, Evidence, Format, NoSpikesError
from organoid.io.source import Source, array, group, holds, open_hdf5, scalar, text, text_at, text_attribute, texts
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE
from organoid.recording.validation import clip

_TEXTS = ("identifier", "session_description", "session_start_time", "timestamps_reference_time")
_SUBJECT = ("species", "age", "genotype", "sex", "subject_id", "strain")
_ELECTRODES = "general/extracellular_ephys/electrodes"


def recognises(source: Source) -> bool:
    """Tell an NWB file by its version attribute, or a units table alone by SpikeLab's attribute beside it."""
    if source.marked("nwb_version"):
        return True
    units = group(source.h5, "units") if source.h5 is not None and source.marked(SPIKELAB_LENGTH) else None
    return units is not None and holds(units, "spike_times") and holds(units, "spike_times_index")


def entries(path: Path) -> Sequence[Entry]:
    """Return the units tables: the file's own, or those of its processing modules."""
    with open_hdf5(path) as h5:
        return list(_tables(h5)) or [(None, None)]


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a units table; `recording` names one of several in processing modules."""
    with open_hdf5(path) as h5:
        tables = _tables(h5)
        if not tables:
            raise NoSpikesError("recognised, holds no detected spikes (no units table)")
        (_, name), units = choose(tables, None, recording)
        rec = _own(h5, units, str(name)) or _read(h5, units, str(name))
    return rec if well is None else rec.select(well=well)


def _tables(h5: h5py.File) -> dict[Entry, h5py.Group]:
    own = group(h5, "units")
    if own is not None:
        return {(None, "units"): own}
    found: dict[Entry, h5py.Group] = {}
    processing = group(h5, "processing")
    for module in members(processing) if processing is not None else []:
        inside = group(h5, f"processing/{module}")
        for name in members(inside) if inside is not None else []:
            table = group(h5, f"processing/{module}/{name}")
            if table is not None and (text(attribute(table, "neurodata_type")) == "Units" or "spike_times" in table):
                found[(None, f"processing/{module}/{name}")] = table
    return found


def _own(h5: h5py.File, units: h5py.Group, name: str) -> SpikeRecording | None:
    """Return the recording of a file that this package wrote, from its spikes and what lies beside them."""
    where = f"scratch/{KEY}"
    if name != "units" or not isinstance(member(h5, where), h5py.Dataset):
        return None
    times = array(units, "spike_times", ndim=1).astype(np.float64, copy=False)
    sizes = np.diff(ragged_ends(units, "spike_times_index", times.size, _n_units(units), []), prepend=0)
    first_and_last(times, "spike_times")
    try:
        return from_context(times, unit_per_spike(sizes), text_at(h5, where))
    except RecordingError:
        return None  # edited with other tools: read like any other file


def _read(h5: h5py.File, units: h5py.Group, name: str) -> SpikeRecording:
    notes: list[str] = []
    if holds(h5, f"scratch/{KEY}"):
        notes.append(f"scratch/{KEY} does not fit the units: the file was changed after organoid wrote it")
    if not holds(units, "spike_times"):
        raise NoSpikesError(f"recognised, holds no detected spikes ({name} has no column spike_times)")
    times = array(units, "spike_times", ndim=1).astype(np.float64, copy=False)
    n_units = _n_units(units)
    ends = ragged_ends(units, "spike_times_index", times.size, n_units, notes)
    sizes = np.diff(ends, prepend=0)
    first, last = first_and_last(times, "spike_times")
    if first < 0:
        notes.append(f"{int(np.sum(times < 0))} of {times.size} spikes lie before time 0; kept")
    observed = observed_spans(units, sizes.size, notes)
    rate = _rate(units, notes)
    recorded = recorded_spans(h5, notes)
    if observed is None and recorded is not None and len(recorded[0]) > 1:
        observed = recorded[0]
    start, stop = _window(h5, observed, recorded, (first, last), rate or DEFAULT_TICK_RATE, notes)
    _note_unseen(times, observed, notes)
    electrodes = _electrodes(h5, notes)
    return SpikeRecording(
        times,
        unit_per_spike(sizes),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=_unit_table(units, sizes.size, electrodes, notes),
        electrodes=electrodes,
        stimuli=stimulus_table(h5, notes),
        events=event_table(h5, notes),
        observed=None if observed is None else clip(observed, start, stop),
        metadata=_metadata(h5, name, notes),
        notes=notes,
    )


def _n_units(units: h5py.Group) -> int | None:
    found = member(units, "id")
    return int(found.shape[0]) if isinstance(found, h5py.Dataset) and found.ndim == 1 else None


def _window(
    h5: h5py.File,
    observed: NDArray[np.float64] | None,
    recorded: tuple[NDArray[np.float64], str] | None,
    ends: tuple[float, float],
    tick_rate: float,
    notes: list[str],
) -> tuple[float, float]:
    if observed is not None and len(observed):
        where = recorded[1] if recorded is not None and observed is recorded[0] else "units/obs_intervals"
        stored, source = (float(observed[0, 0]), float(observed[-1, 1])), where
    else:
        extent = None if recorded is None else ((float(recorded[0][0, 0]), float(recorded[0][-1, 1])), recorded[1])
        found = spikelab_span(h5, notes) or epochs_span(h5, notes) or extent
        if found is None:
            return inferred_window(*ends, notes, tick_rate)
        stored, source = found
    notes.append(f"NWB stores no recording length; the window is that of {source}")
    return covering_window(stored, *ends, source, notes, tick_rate)


def _note_unseen(times: NDArray[np.float64], observed: NDArray[np.float64] | None, notes: list[str]) -> None:
    """Note spikes at times when nothing was observed."""
    if observed is None or not len(observed):
        return
    k = np.searchsorted(observed[:, 0], times, side="right") - 1
    n_unseen = int(np.sum((k < 0) | (times >= observed[np.maximum(k, 0), 1])))
    if n_unseen:
        notes.append(f"{n_unseen} of {times.size} spikes lie outside the observed times; kept, unobserved")


def _rate(units: h5py.Group, notes: list[str]) -> float | None:
    """Return 1 / resolution, if the spike times say what they are multiples of."""
    resolution = scalar(attribute(units["spike_times"], "resolution"))
    if resolution is None or not 1e-9 <= resolution <= 1:
        notes.append(f"sampling rate unknown: attribute resolution of spike_times is {resolution}")
        return None
    return 1 / resolution


def _electrodes(h5: h5py.File, notes: list[str]) -> pd.DataFrame | None:
    """Return the electrodes table, rows in file order."""
    table = group(h5, _ELECTRODES)
    if table is None:
        notes.append("no electrodes table: positions unknown")
        return None
    try:
        ids = array(table, "id", ndim=1, kinds="iu").astype(np.int64)
        held = {key: _column(table, key, ids.size, notes) for key in ("x", "y")}
    except RecordingError as error:
        notes.append(f"electrodes table ignored: {error}")
        return None
    if ids.size and not np.any(np.nan_to_num([held["x"], held["y"]])):
        notes.append("electrode positions are all 0 or unknown; taken as unknown")
        held = {key: np.full(ids.size, np.nan) for key in held}
    return pd.DataFrame({"electrode": ids, "x_um": held["x"], "y_um": held["y"]})


def _column(table: h5py.Group, key: str, n: int, notes: list[str]) -> NDArray[np.float64]:
    name = key if key in table else f"rel_{key}"
    try:
        values = array(table, name, ndim=1).astype(np.float64)
        if values.size == n:
            return values
        notes.append(f"electrodes/{name} has {values.size} rows, the table {n}; ignored")
    except RecordingError as error:
        notes.append(f"electrode positions unknown: {error}")
    return np.full(n, np.nan)


def _unit_table(units: h5py.Group, n: int, electrodes: pd.DataFrame | None, notes: list[str]) -> pd.DataFrame:
    try:
        ids = array(units, "id", ndim=1, kinds="iu").astype(np.int64)
    except RecordingError as error:
        notes.append(f"units are named by their order: {error}")
        ids = np.arange(n)
    if ids.size != n:
        notes.append(f"units are named by their order: id has {ids.size} rows for {n} units")
        ids = np.arange(n)
    table = pd.DataFrame({"name": [str(number) for number in ids], "unit_id": ids})
    table = table.assign(**_labels(units, n, notes))
    rows = _first_electrodes(units, n, electrodes, notes)
    if rows is None or electrodes is None:
        return table
    placed = electrodes.reindex(rows).reset_index(drop=True)
    return table.assign(electrode=placed["electrode"].astype("Int64"), x_um=placed["x_um"], y_um=placed["y_um"])


def _labels(units: h5py.Group, n: int, notes: list[str]) -> dict[str, list[str]]:
    """Return the columns that may hold what a sorter or curator thought of each unit."""
    found: dict[str, list[str]] = {}
    for name in (*LABELS, "unit_name"):
        if not holds(units, name):
            continue
        try:
            said = texts(array(units, name, ndim=1, kinds="SO"))
        except RecordingError as error:
            notes.append(f"column {name} of the units ignored: {error}")
            continue
        if len(said) == n:
            found["name" if name == "unit_name" else name] = said
        else:
            notes.append(f"column {name} of the units ignored: {len(said)} values for {n} units")
    return found


def _first_electrodes(
    units: h5py.Group, n: int, electrodes: pd.DataFrame | None, notes: list[str]
) -> NDArray[np.int64] | None:
    """Return the row of the first electrode each unit lists (-1 for none): rows, not ids."""
    if electrodes is None:
        return None
    if not holds(units, "electrodes"):
        notes.append("units list no electrodes: their positions are unknown")
        return None
    try:
        rows = array(units, "electrodes", ndim=1, kinds="iu").astype(np.int64)
        if holds(units, "electrodes_index"):
            ends = ragged_ends(units, "electrodes_index", rows.size, n, notes)
        else:
            ends = np.arange(1, rows.size + 1)
        numbers = electrodes["electrode"].to_numpy()
        ids_given = bool(np.any(rows >= numbers.size)) and bool(np.isin(rows, numbers).all())  # as SpikeLab writes
        if ids_given:
            order = np.argsort(numbers, kind="stable")
            rows = order[np.searchsorted(numbers[order], rows)]
        if ends.size != n or np.any((rows < 0) | (rows >= len(electrodes))):
            raise RecordingError(f"dataset 'electrodes' lists rows outside the {len(electrodes)} of the table")
    except RecordingError as error:
        notes.append(f"positions of units unknown: {error}")
        return None
    sizes = np.diff(ends, prepend=0)
    if ids_given:
        notes.append("units/electrodes holds ids of electrodes, not rows of their table")
    if np.any(sizes > 1):
        notes.append(f"{int(np.sum(sizes > 1))} of {n} units list several electrodes; the first is their position")
    return np.array([rows[end - size] if size else -1 for end, size in zip(ends, sizes)], dtype=np.int64)


def _metadata(h5: h5py.File, name: str, notes: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"format": "nwb", "nwb_version": text_attribute(h5, "nwb_version", notes), "table": name}
    for key in _TEXTS:
        said = text_at(h5, key, notes)
        if said:
            fields[key] = said
    subject = {key: said for key in _SUBJECT if (said := text_at(h5, f"general/subject/{key}"))}
    if len(subject) < len(_SUBJECT):
        notes.append(f"general/subject does not say: {', '.join(key for key in _SUBJECT if key not in subject)}")
    return {**fields, **({"subject": subject} if subject else {})}


FORMAT = Format(
    name="nwb",
    title="Neurodata Without Borders, units table",
    evidence=f"units and epochs: {Evidence.REAL_FILES}; other parts: {Evidence.LAYOUT_ONLY}",
    recognises=recognises,
    read=read,
    entries=entries,
)
