"""CARMEN / sjemea HDF5: spike trains of many published cultures and retinas.

Layout (Eglen et al. 2014, doi:10.1186/2047-217X-3-3): ``/spikes`` f8 s, unit after unit; ``/sCount``
spikes per unit; ``/epos`` (2, N) um; optional ``/names``, ``/array``, ``/recordingtime``, ``/meta``,
``/summary``; files from 48-well plates add one row per well of ``/well``, ``/treatment``, ``/dose``, ...

No sampling rate is stored. Where ``/recordingtime`` is absent the window is inferred: it starts at 0,
or at the first spike if that comes later than a tenth of the last spike's time (the clock did not start
with the recording), and stops one tick after the last spike. ``/summary/duration`` is never used.
"""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, member, members, whole
from organoid.io.numbering import unit_per_spike
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source, array, group, holds, open_hdf5, scalar, text, texts
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording

ADULT = 500  # the age some files give adult animals, not days
META_NUMBERS = ("age",)
META_FIELDS = ("age", "species", "strain", "genotype", "region", "cond", "DIV0", "key")
WELL_COLUMNS = ("treatment", "dose", "size", "units")
_WELL_NAME = re.compile(r"([A-P]\d{1,2})_\d{2}\D*\d*")
_GRID_LABEL = re.compile(r"\d+x\d+_(\d+)um")


def recognises(source: Source) -> bool:
    """Tell a CARMEN file by its datasets ``spikes`` and ``sCount``."""
    return source.has_datasets("spikes", "sCount")


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a CARMEN file; `well` selects one culture of a plate."""
    if recording is not None:
        raise RecordingError(f"recording {recording!r} asked for; a CARMEN file holds one recording without a name")
    with open_hdf5(path) as h5:
        rec = _read(h5)
    return rec if well is None else rec.select(well=well)


def _read(h5: h5py.File) -> SpikeRecording:
    notes: list[str] = []
    times = array(h5, "spikes", ndim=1).astype(np.float64, copy=False)
    counts = _counts(h5, times.size)
    units = _units(h5, counts.size, notes)
    label = _label(h5, units, notes)
    _note_oddities(times, counts, notes)
    start, stop = _window(h5, times, notes)
    _compare_summary(h5, times.size, counts.size, stop - start, notes)
    return SpikeRecording(
        times,
        unit_per_spike(counts),
        t_start=start,
        t_stop=stop,
        units=units,
        metadata={"format": "carmen", **_metadata(h5, label, notes)},
        notes=notes,
    )


def _counts(h5: h5py.File, n_spikes: int) -> NDArray[np.int64]:
    raw = array(h5, "sCount", ndim=1)
    counts = raw.astype(np.int64) if np.all(np.isfinite(raw)) else np.array([-1])
    if np.any(counts < 0) or np.any(counts > n_spikes) or np.any(counts != raw):
        raise RecordingError(
            f"dataset 'sCount' must hold whole spike counts between 0 and the {n_spikes} of dataset 'spikes'; "
            f"it runs from {raw.min()} to {raw.max()}"
        )
    if counts.sum() != n_spikes:
        raise RecordingError(
            f"the counts do not add up: 'sCount' sums to {counts.sum()} over {counts.size} units, but 'spikes' holds "
            f"{n_spikes} times"
        )
    return counts


def _units(h5: h5py.File, n_units: int, notes: list[str]) -> pd.DataFrame:
    x, y = _positions(h5, n_units, notes)
    table = pd.DataFrame({"x_um": x, "y_um": y})
    names = _names(h5, n_units, notes)
    if names is None:
        return table
    table.insert(0, "name", names)
    wells = [_WELL_NAME.fullmatch(name) for name in names]
    if n_units and all(wells):
        table["well"] = [found.group(1) for found in wells if found]
    elif "well" in h5:
        n_bad = sum(found is None for found in wells)
        notes.append(f"names: {n_bad} of {n_units} unit names name no well, so the wells are left unknown")
    return table


def _positions(h5: h5py.File, n_units: int, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unknown = np.full((2, n_units), np.nan)
    try:
        epos = array(h5, "epos", ndim=2).astype(np.float64)
    except RecordingError as error:
        notes.append(f"positions unknown: {error}")
        return unknown[0], unknown[1]
    if epos.shape == (n_units, 2) != (2, n_units):
        notes.append(f"epos has shape {epos.shape}, read as one row per unit (the usual shape is (2, {n_units}))")
        epos = epos.T
    if epos.shape != (2, n_units):
        notes.append(f"positions unknown: epos has shape {epos.shape}, expected (2, {n_units})")
        epos = unknown
    n_bad = int(np.sum(~np.isfinite(epos).all(axis=0)))
    if n_bad and epos is not unknown:
        notes.append(f"epos: {n_bad} of {n_units} positions are not finite and left unknown")
        epos = np.where(np.isfinite(epos), epos, np.nan)
    return epos[0], epos[1]


def _names(h5: h5py.File, n_units: int, notes: list[str]) -> list[str] | None:
    try:
        names = texts(array(h5, "names", ndim=1, kinds="SO"))
    except RecordingError as error:
        notes.append(f"units are named by their order: {error}")
        return None
    if len(names) != n_units:
        notes.append(f"units are named by their order: names holds {len(names)} names for {n_units} units")
        return None
    repeated = n_units - len(set(names))
    if repeated:
        notes.append(f"names: {repeated} unit names occur more than once")
    return names


def _label(h5: h5py.File, units: pd.DataFrame, notes: list[str]) -> str | None:
    found = member(h5, "array")
    label = _field(found, "array", notes)
    if not isinstance(label, str) or not label:
        notes.append("array: no label of the electrode array")
        return None
    pitch = _GRID_LABEL.search(label)
    if pitch is None or float(pitch[1]) == 0:
        return label
    steps = np.concatenate([np.diff(np.unique(units[axis].to_numpy())) for axis in ("x_um", "y_um")])
    steps = steps[np.isfinite(steps)]
    ratio = steps / float(pitch[1])
    if steps.size and np.any(np.abs(ratio - np.rint(ratio)) > 0.02):
        notes.append(
            f"array label {label!r} is doubtful: positions lie in steps of {steps.min():g} um, "
            f"not of {pitch[1]} um; the positions are trusted"
        )
    return label


def _note_oddities(times: NDArray[np.float64], counts: NDArray[np.int64], notes: list[str]) -> None:
    if not times.size:
        notes.append("spikes: the file holds no spikes")
        return
    down = np.flatnonzero(times[1:] < times[:-1]) + 1
    ends = np.cumsum(counts)
    n_unsorted = int(np.sum(~np.isin(down, ends)))
    if n_unsorted:
        notes.append(f"spikes: times step back {n_unsorted} times within a unit; they were sorted")
    n_silent = int(np.sum(counts == 0))
    if n_silent:
        notes.append(f"sCount: {n_silent} of {counts.size} units have no spikes")


def _window(h5: h5py.File, times: NDArray[np.float64], notes: list[str]) -> tuple[float, float]:
    """Return the window: as stored, widened to hold every spike, or inferred."""
    first, last = first_and_last(times, "spikes")
    if holds(h5, "recordingtime"):
        try:
            stored = array(h5, "recordingtime", ndim=1).astype(np.float64)
        except RecordingError as error:
            notes.append(f"stored window ignored: {error}")
        else:
            if stored.shape == (2,) and np.isfinite(stored).all() and stored[0] < stored[1]:
                return covering_window((float(stored[0]), float(stored[1])), first, last, "recordingtime", notes)
            notes.append(f"stored window ignored: recordingtime is {stored[:4].tolist()}, expected start < stop")
    return inferred_window(first, last, notes)


def _compare_summary(h5: h5py.File, n_spikes: int, n_units: int, duration: float, notes: list[str]) -> None:
    summary = group(h5, "summary")
    if summary is None:
        return
    for name, held in (("N", n_units), ("totalspikes", n_spikes)):
        said = scalar(_field(member(summary, name), f"summary/{name}", notes))
        if said is not None and said != held:
            notes.append(f"summary/{name} says {said:g}, but the file holds {held}")
    said = scalar(_field(member(summary, "duration"), "summary/duration", notes))
    if said is not None and abs(said - duration) > max(1.0, 0.01 * duration):
        notes.append(f"summary/duration says {said:g} s, but the window is {duration:.6g} s long; it is not used")


def _metadata(h5: h5py.File, label: str | None, notes: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {} if label is None else {"array": label}
    meta = group(h5, "meta")
    if meta is None:
        notes.append("meta: the file says nothing about the culture (age, species, ...)")
    else:
        for name in members(meta):
            value = _field(member(meta, name), f"meta/{name}", notes)
            if value is None or isinstance(value, str) == (name in META_NUMBERS):
                notes.append(f"meta/{name} is not one {'number' if name in META_NUMBERS else 'text'} and may be wrong")
            if value is not None:
                fields[name] = value
        if fields.get("age") == ADULT:
            notes.append(f"meta/age is {ADULT}, which files of this kind write for adult animals")
        silent = [name for name in META_FIELDS if name not in fields]
        if silent:
            notes.append(f"meta does not say: {', '.join(silent)}")
    treatments = _treatments(h5, notes)
    return {**fields, "wells": treatments} if treatments else fields


def _treatments(h5: h5py.File, notes: list[str]) -> dict[str, dict[str, str]]:
    """Return what was done to each well; "NA" and blanks are left out."""
    held = [name for name in ("well", *WELL_COLUMNS) if isinstance(member(h5, name), h5py.Dataset)]
    if "well" not in held:
        if held or "channels" in h5:
            notes.append("well table left out: it has no dataset 'well'")
        return {}
    absent = [name for name in WELL_COLUMNS if name not in held]
    if absent:
        notes.append(f"well table does not say: {', '.join(absent)}")
    table: dict[str, list[str]] = {}
    for name in held:
        try:
            table[name] = texts(array(h5, name, ndim=1, kinds="SO"))
        except RecordingError as error:
            notes.append(f"well table incomplete: {error}")
    wells = table.pop("well", [])
    odd = [name for name, values in table.items() if len(values) != len(wells)]
    if odd:
        notes.append(f"well table incomplete: {', '.join(odd)} and well differ in length")
    return {
        well: {name: table[name][k] for name in table if name not in odd and table[name][k] not in ("", "NA")}
        for k, well in enumerate(wells)
    }


def _field(found: Any, name: str, notes: list[str]) -> Any:
    """Return a one-value dataset as text or number, or None (with a note if it is there but odd)."""
    if found is None:
        return None
    try:
        if isinstance(found, h5py.Dataset) and found.size == 1:
            value = whole(found, name)
            kind = np.asarray(value).dtype.kind
            return np.ravel(value)[0].item() if kind in "fiub" else text(value)
    except DAMAGE as error:
        notes.append(f"{name} cannot be read: {error}")
        return None
    notes.append(f"{name} does not hold one value and is ignored")
    return None


FORMAT = Format(
    name="carmen",
    title="CARMEN / sjemea HDF5",
    evidence=Evidence.REAL_FILES,
    recognises=recognises,
    read=read,
)
