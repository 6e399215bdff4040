"""SpikeLab / SpikeData HDF5: ragged, paired, one dataset per unit, and workspace groups.

The unit of time is not stored. SpikeLab writes seconds by default for ragged and per-unit files and
milliseconds for paired ones and workspaces; ``length_ms`` tells them apart where it is there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, attribute, member, members
from organoid.io.entries import choose
from organoid.io.numbering import are_whole, distinct, unit_per_spike
from organoid.io.ragged import ragged_ends
from organoid.io.registry import Entry, Evidence, Format
from organoid.io.source import Source, array, group, is_dataset, open_hdf5, scalar, text
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording

RAGGED = ("spike_times", "spike_times_index")
PAIRED = ("idces", "times")
RASTER = "raster"
_OTHER_ATTRIBUTES = ("nwb_version", "organoid_kind", "PYTABLES_FORMAT_VERSION", "McsHdf5ProtocolType")
_OTHER_MEMBERS = ("sCount", "data_store", "3BRecInfo")
_MARGIN = 1.001  # rounding of a length


def recognises(source: Source) -> bool:
    """Tell a SpikeLab file by ragged, paired or per-unit spike times, or the type mark of a workspace."""
    h5 = source.h5
    if h5 is None or source.marked(*_OTHER_ATTRIBUTES) or not source.names.isdisjoint(_OTHER_MEMBERS):
        return False
    return _layout(h5) is not None or bool(_workspace(h5))


def _layout(h5: h5py.Group) -> str | None:
    held = set(members(h5))  # opening what is not there is slow
    for name, wanted in (("ragged", RAGGED), ("paired", PAIRED)):
        if held.issuperset(wanted) and all(is_dataset(h5, key) for key in wanted):
            return name
    if RASTER in held and is_dataset(h5, RASTER) and _of_raster(h5, "bin_size_ms") is not None:
        return "raster"
    units = group(h5, "units") if "units" in held else None
    names = members(units) if units is not None else []
    if units is not None and names and all(name.isdecimal() and is_dataset(units, name) for name in names):
        return "units"
    return None


def _workspace(h5: h5py.File) -> dict[Entry, h5py.Group]:
    """Return the groups of a workspace that are SpikeData objects, at the top or one level down."""
    found: dict[Entry, h5py.Group] = {}
    for name in members(h5):
        top = group(h5, name)
        if top is None:
            continue
        for path in (name, *(f"{name}/{inner}" for inner in members(top))):
            if (held := _object(h5, path)) is not None:
                found[(None, path)] = held
    return found


def _object(h5: h5py.File, path: str) -> h5py.Group | None:
    """Return a group if it is marked as a SpikeData object and holds one."""
    try:
        marked = h5py.h5a.exists(h5.id, b"__type__", obj_name=path.encode())
    except DAMAGE:
        return None
    held = group(h5, path) if marked else None
    is_object = held is not None and text(attribute(held, "__type__")) == "SpikeData" and _layout(held) == "ragged"
    return held if is_object else None


def entries(path: Path) -> Sequence[Entry]:
    """Return the SpikeData objects of a workspace, or the one recording of a file."""
    with open_hdf5(path) as h5:
        return [(None, None)] if _layout(h5) is not None else list(_workspace(h5))


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a SpikeLab file; `recording` names one object of a workspace."""
    if well is not None:
        raise RecordingError("a SpikeLab file names no wells")
    with open_hdf5(path) as h5:
        if _layout(h5) is not None and recording is None:
            return _read(h5, h5, "root")
        (_, name), found = choose(_workspace(h5), None, recording)
        return _read(h5, found, str(name))


def _read(h5: h5py.File, held: h5py.Group, name: str) -> SpikeRecording:
    notes: list[str] = []
    layout = str(_layout(held))
    take = {"ragged": _ragged, "paired": _paired, "units": _per_unit, "raster": _raster}[layout]
    times, units, names = take(held, notes)
    where = {"ragged": RAGGED[0], "paired": PAIRED[1]}.get(layout, layout)
    first_and_last(times, where)
    length, start = _milliseconds(held, "length_ms", notes), _milliseconds(held, "start_time", notes)
    scale = _scale(times, layout, held is not h5, length, start or 0.0, notes)
    seconds = times * scale if scale == 1 else times / 1000
    first, last = first_and_last(seconds, where)
    if length is None:
        window = inferred_window(first, last, notes)
    else:
        begin = (start or 0.0) / 1000
        window = covering_window((begin, begin + length / 1000), first, last, "start_time and length_ms", notes)
    return SpikeRecording(
        seconds,
        units,
        t_start=window[0],
        t_stop=window[1],
        units=pd.DataFrame({"name": names}),
        metadata={"format": "spikelab", "layout": layout, "object": name},
        notes=notes,
    )


def _milliseconds(held: h5py.Group, name: str, notes: list[str]) -> float | None:
    value = scalar(attribute(held, name))
    if value is None or (name == "length_ms" and not 0 < value < 1e13) or abs(value) > 1e13:
        notes.append(f"attribute {name} is missing or not a number of ms")
        return None
    if name == "start_time" and value:
        notes.append(f"the recording starts at start_time, {value:g} ms; times are kept as stored")
    return value


def _scale(
    times: NDArray[np.float64], layout: str, workspace: bool, length: float | None, start: float, notes: list[str]
) -> float:
    """Return seconds per stored unit of time."""
    if layout == "raster":
        return 0.001
    usual = 0.001 if layout == "paired" or workspace else 1.0
    if length is None or not times.size:
        notes.append(f"the unit of time is not stored; {'s' if usual == 1 else 'ms'} assumed, SpikeLab's default")
        return usual
    end_ms = start + length * _MARGIN
    if times.max() * 1000 <= end_ms and usual == 1:
        notes.append("the unit of time is not stored; s inferred: they fit length_ms")
        return 1.0
    if times.max() > end_ms:
        notes.append("the unit of time is not stored; spikes lie beyond length_ms in s and in ms, ms is taken")
    else:
        notes.append("the unit of time is not stored; ms inferred from length_ms")
    return 0.001


def _ragged(held: h5py.Group, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[Any], list[str]]:
    times = array(held, RAGGED[0], ndim=1).astype(np.float64)
    said = scalar(attribute(held, "N"))
    ends = ragged_ends(held, RAGGED[1], times.size, None if said is None else int(said), notes)
    sizes = np.diff(ends, prepend=0)
    return times, unit_per_spike(sizes), [f"unit_{k}" for k in range(sizes.size)]


def _paired(held: h5py.Group, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    times = array(held, "times", ndim=1).astype(np.float64)
    indices = array(held, "idces", ndim=1, kinds="iu").astype(np.int64)
    if indices.size != times.size:
        raise RecordingError(f"the counts do not add up: 'times' holds {times.size} spikes, 'idces' {indices.size}")
    numbers, units = distinct(indices)
    if numbers.size and not np.array_equal(numbers, np.arange(numbers.size)):
        notes.append("idces skip some units; units without spikes are left out")
    return times, units, [f"unit_{number}" for number in numbers]


def _per_unit(held: h5py.Group, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[Any], list[str]]:
    names = sorted(members(held["units"]), key=int)
    parts = [array(held, f"units/{name}", ndim=1).astype(np.float64) for name in names]
    units = unit_per_spike([part.size for part in parts])
    return np.concatenate(parts), units, [f"unit_{name}" for name in names]


def _of_raster(held: h5py.Group, name: str) -> float | None:
    """Return a number that stands beside the raster or at its group."""
    raster = member(held, RASTER)
    value = scalar(attribute(raster, name)) if raster is not None else None
    return scalar(attribute(held, name)) if value is None else value


def _raster(held: h5py.Group, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[Any], list[str]]:
    """Return spikes at the middles of the bins that count them, ms."""
    counts = array(held, RASTER, ndim=2, kinds="fiub")
    width, origin = _of_raster(held, "bin_size_ms"), _of_raster(held, "time_origin_ms")
    if width is None or not 1e-3 <= width <= 1e6 or not are_whole(counts) or np.any((counts < 0) | (counts > 1e6)):
        raise RecordingError(
            f"dataset {RASTER!r} does not hold counts in bins of a positive width (bin_size_ms: {width})"
        )
    if origin is None:
        notes.append("attribute time_origin_ms is missing: the first bin is taken to start at 0")
    notes.append(f"spikes are known to {width:g} ms only: they are put in the middles of their bins")
    units, bins = np.nonzero(counts)
    times = (origin or 0.0) + (bins + 0.5) * width
    repeats = counts[units, bins].astype(np.int64)
    return np.repeat(times, repeats), np.repeat(units, repeats), [f"unit_{k}" for k in range(len(counts))]


FORMAT = Format(
    name="spikelab",
    title="SpikeLab / SpikeData HDF5",
    evidence=Evidence.LAYOUT_ONLY,
    recognises=recognises,
    read=read,
    entries=entries,
)
