"""MaxWell Biosystems HDF5 (MaxOne, MaxTwo): spikes, geometry, lost frames; raw voltage is never read.

New layout (``/version`` 20190530 and later): one group a well and recording in ``/data_store``, reached
by soft links ``/wells/wellWWW/recRRRR``; ``spikes`` (frameno, channel, amplitude) on the clock of
``groups/routed/frame_nos``, whose first frame is time 0. The legacy layout is in `maxwell_legacy`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import member, members
from organoid.io.entries import choose
from organoid.io.frames import rate_of, runs_of_frames
from organoid.io.maxwell_common import build, read_electrodes, read_events, read_spikes
from organoid.io.maxwell_legacy import read_legacy
from organoid.io.registry import Entry, Evidence, Format, NoSpikesError
from organoid.io.source import Source, dataset, group, holds, number_at, open_hdf5, text_at
from organoid.recording import SpikeRecording

_SETTINGS = ("gain", "hpf", "lsb", "spike_threshold")


def recognises(source: Source) -> bool:
    """Tell a MaxWell file by its version beside a mapping, wells or a data store."""
    return "version" in source.names and not source.names.isdisjoint(("mapping", "wells", "data_store"))


def entries(path: Path) -> Sequence[Entry]:
    """Return every well and recording; a legacy file holds one without names."""
    with open_hdf5(path) as h5:
        return [(None, None)] if _is_legacy(h5) else list(_entries(h5))


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read one well of one recording, by name ("well003", "rec0000") or number ("3", "0")."""
    with open_hdf5(path) as h5:
        if _is_legacy(h5):
            if well is not None or recording is not None:
                raise RecordingError("a legacy MaxOne file holds one recording of one well; neither has a name")
            notes: list[str] = []
            return read_legacy(h5, _file_metadata(h5, notes), notes)
        held = _entries(h5)
        (name, rec), where = choose(held, well, recording, _titles(h5))
        found = group(h5, where)
        if found is None:
            raise RecordingError(f"{where!r} (well {name}, recording {rec}) is missing or a link that leads nowhere")
        return _read_entry(h5, found, name, rec)


def _is_legacy(h5: h5py.File) -> bool:
    return "mapping" in h5 and "data_store" not in h5 and "wells" not in h5


def _entries(h5: h5py.File) -> dict[Entry, str]:
    """Return where each (well, recording) lies, by the links, then by the ids in the data store."""
    held: dict[Entry, str] = {}
    dangling: dict[Entry, str] = {}
    for entry, where in _linked(h5):
        (dangling if group(h5, where) is None else held).setdefault(entry, where)
    linked = {_address(h5, where) for where in held.values()}
    for name in _names(h5, "data_store"):
        where = f"data_store/{name}"
        stored = group(h5, where)
        if stored is not None and _address(h5, where) not in linked:
            held.setdefault(_entry_by_id(stored, name), where)
    return dict(sorted({**dangling, **held}.items(), key=str))


def _linked(h5: h5py.File) -> Iterator[tuple[Entry, str]]:
    for outer in ("wells", "recordings"):
        for first in _names(h5, outer):
            for second in _names(h5, f"{outer}/{first}"):
                entry = (first, second) if outer == "wells" else (second, first)
                yield entry, f"{outer}/{first}/{second}"


def _names(h5: h5py.Group, name: str) -> list[str]:
    found = group(h5, name)
    return [] if found is None else members(found)


def _address(h5: h5py.File, where: str) -> int:
    return int(h5py.h5o.get_info(h5[where].id).addr)


def _entry_by_id(stored: h5py.Group, name: str) -> Entry:
    well, recording = number_at(stored, "well_id"), number_at(stored, "recording_id")
    return (
        None if well is None else f"well{int(well):03d}",
        name if recording is None else f"rec{int(recording):04d}",
    )


def _titles(h5: h5py.File) -> dict[str, str]:
    """Return the name people gave each well."""
    return {name: text_at(h5, f"wellplate/{name}/name") for name in _names(h5, "wellplate")}


def _read_entry(h5: h5py.File, found: h5py.Group, well: str | None, recording: str | None) -> SpikeRecording:
    notes: list[str] = []
    _check_ids(found, well, recording, notes)
    rate = rate_of(found, "settings/sampling")
    if rate is None:
        raise RecordingError(
            f"dataset '{found.name}/settings/sampling' is missing, so frames cannot be turned into seconds"
        )
    runs = _runs(found, notes)
    if not holds(found, "spikes"):
        if runs:
            raise NoSpikesError(f"recognised, holds no detected spikes (no dataset '{found.name}/spikes')")
        notes.append("recognised, holds no detected spikes and no frames")
    spikes = read_spikes(found, "spikes")
    names = {key: value for key, value in (("well", well), ("recording", recording)) if value}
    return build(
        spikes,
        runs,
        rate,
        read_electrodes(found, "settings/mapping", well, notes),
        well,
        marks=read_events(found, "events", runs[0][0] if runs else spikes.origin, rate, notes),
        wall_clock=_wall_clock(found),
        metadata={**_file_metadata(h5, notes), **_entry_metadata(h5, found, well, notes), **names},
        notes=notes,
    )


def _check_ids(found: h5py.Group, well: str | None, recording: str | None, notes: list[str]) -> None:
    for key, name in (("well_id", well), ("recording_id", recording)):
        number = number_at(found, key, notes)
        digits = "".join(filter(str.isdecimal, name or ""))
        if number is not None and digits and int(digits) != number:
            notes.append(f"{key} is {number:g}, but the entry is linked as {name}")


def _runs(found: h5py.Group, notes: list[str]) -> list[tuple[int, int]]:
    """Return the runs of recorded frames, from the group "routed" or the first that has any."""
    for name in sorted(_names(found, "groups"), key=lambda name: name != "routed"):
        where = f"groups/{name}/frame_nos"
        if not isinstance(member(found, where), h5py.Dataset):
            continue
        frames = dataset(found, where)
        if frames.ndim != 1 or frames.dtype.kind not in "iu":
            raise RecordingError(
                f"dataset {where!r} has shape {frames.shape} and type {frames.dtype}; expected whole numbers, one axis"
            )
        if frames.nbytes > 1 << 24 and frames.nbytes > 1100 * frames.id.get_storage_size():
            raise RecordingError(f"dataset {where!r} claims {frames.size:.3g} frames that the file does not store")
        return runs_of_frames(frames, where, notes)
    notes.append("no recorded group with frame_nos")
    return []


def _wall_clock(found: h5py.Group) -> float | None:
    """Return the duration by the wall clock, s."""
    start, stop = number_at(found, "start_time"), number_at(found, "stop_time")
    if start is None or stop is None or not 0 < stop - start < 1e12:
        return None
    return (stop - start) / 1000


def _file_metadata(h5: h5py.File, notes: list[str]) -> dict[str, Any]:
    names = ("version", "mxw_version", "wellplate/id", "wellplate/version")
    fields = {name.replace("/", "_"): text_at(h5, name, notes) for name in names}
    assay = {name: text_at(h5, f"assay/inputs/{name}", notes) for name in _names(h5, "assay/inputs")}
    return {"format": "maxwell", **fields, **({"assay": assay} if assay else {})}


def _entry_metadata(h5: h5py.File, found: h5py.Group, well: str | None, notes: list[str]) -> dict[str, Any]:
    numbers = {name: number_at(found, f"settings/{name}", notes) for name in _SETTINGS}
    clock = {f"{name}_ms": number_at(found, name, notes) for name in ("start_time", "stop_time")}
    titles = {f"well_{key}": text_at(h5, f"wellplate/{well}/{key}", notes) for key in ("name", "group_name")}
    return {**numbers, **clock, **(titles if well else {})}


FORMAT = Format(
    name="maxwell",
    title="MaxWell MaxOne / MaxTwo",
    evidence=f"MaxTwo: {Evidence.REAL_FILES}; MaxOne legacy: {Evidence.LAYOUT_ONLY}",
    recognises=recognises,
    read=read,
    entries=entries,
)
