"""Sortings that SpikeInterface saved: an NPZ archive, or a folder with ``spikes.npy`` and ``numpysorting_info.json``.

The archive holds, per segment, ``spike_indexes_segN`` (samples) and ``spike_labels_segN`` (unit ids); the folder one
table of (sample_index, unit_index, segment_index). Segments are separate recordings: each has a clock of its own.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.frames import checked_rate, frame_times
from organoid.io.npy import Files, open_files
from organoid.io.registry import Entry, Evidence, Format
from organoid.io.source import Source, scalar
from organoid.io.window import inferred_window
from organoid.recording import SpikeRecording

IDS, INFO, SPIKES = "unit_ids.npy", "numpysorting_info.json", "spikes.npy"
_FOLDERS = ("", "sorting")  # a saved analyzer keeps its sorting one folder down
_COLUMNS = ("sample_index", "unit_index", "segment_index")


def recognises(source: Source) -> bool:
    """Return whether a source is a saved sorting: a folder with its two files, or an archive with unit ids."""
    if source.h5 is not None:
        return False
    if source.path.is_dir():
        return _folder(source.path) is not None
    if not source.head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(source.path) as archive:
            return {IDS, "num_segment.npy"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _folder(path: Path) -> Path | None:
    return next(
        (path / name for name in _FOLDERS if all((path / name / file).is_file() for file in (INFO, SPIKES))), None
    )


def entries(path: Path) -> Sequence[Entry]:
    """Return the segments, which are separate recordings; one has no name."""
    n = _n_segments(path)
    return [(None, None)] if n == 1 else [(None, f"seg{k}") for k in range(n)]


def _n_segments(path: Path) -> int:
    folder = _folder(path) if path.is_dir() else None
    if folder is not None:
        n = _info(folder).get("num_segments", 1)
    else:
        with open_files(path, IDS) as files:
            n = None if files is None else scalar(files.array("num_segment.npy"))
    if not isinstance(n, int | float) or not 1 <= n <= 10**4 or n != int(n):
        raise RecordingError(f"the number of segments is {n!r}; expected a whole number from 1 on")
    return int(n)


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read one segment ("seg0" or "0")."""
    if well is not None:
        raise RecordingError("a saved sorting names no wells")
    n = _n_segments(path)
    names = {f"seg{k}": k for k in range(n)} | {str(k): k for k in range(n)}
    if recording is None and n > 1:
        raise RecordingError(f"this sorting holds {n} segments; say which with recording= one of seg0 to seg{n - 1}")
    if recording is not None and recording not in names:
        raise RecordingError(f"no segment {recording!r} in this sorting; choices: seg0 to seg{n - 1}")
    segment = names.get(recording or "seg0", 0)
    folder = _folder(path) if path.is_dir() else None
    if folder is not None:
        return _build(*_of_folder(folder, segment))
    with open_files(path, IDS) as files:
        if files is None:
            raise RecordingError(f"file {IDS!r} is missing")
        return _build(*_of_archive(files, segment))


Held = tuple[NDArray[Any], NDArray[np.int64], list[str], float]  # samples, unit of each spike, names of units, rate


def _info(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise RecordingError(f"file {INFO!r} is no JSON text: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("unit_ids"), list):
        raise RecordingError(f"file {INFO!r} lists no unit_ids")
    return found


def _of_folder(folder: Path, segment: int) -> Held:
    info = _info(folder)
    try:
        table = np.load(io.BytesIO((folder / SPIKES).read_bytes()), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, SyntaxError, TypeError, KeyError) as error:
        raise RecordingError(f"file {SPIKES!r} is no readable numpy array: {error}") from None
    if table.ndim != 1 or not set(_COLUMNS) <= set(table.dtype.names or ()):
        raise RecordingError(f"file {SPIKES!r} has type {table.dtype}; expected a table of {', '.join(_COLUMNS)}")
    if any(table.dtype[name].kind not in "iu" for name in _COLUMNS):
        raise RecordingError(f"file {SPIKES!r} holds numbers that are not whole")
    here = table[table["segment_index"] == segment]
    names = [str(name) for name in info["unit_ids"]]
    units = here["unit_index"].astype(np.int64)
    if units.size and not 0 <= units.min() <= units.max() < len(names):
        raise RecordingError(
            f"unit_index runs from {units.min()} to {units.max()}, but there are {len(names)} unit_ids"
        )
    rate = checked_rate(scalar(info.get("sampling_frequency")), INFO, info.get("sampling_frequency"))
    return here["sample_index"].astype(np.int64), units, names, rate


def _of_archive(files: Files, segment: int) -> Held:
    ids = files.array(IDS, "iufU").ravel()
    samples = files.array(f"spike_indexes_seg{segment}.npy", "iuf").ravel()
    labels = files.array(f"spike_labels_seg{segment}.npy", "iufU").ravel()
    if samples.size != labels.size:
        raise RecordingError(f"the counts do not add up: {samples.size} spike_indexes, {labels.size} spike_labels")
    stored = files.array("sampling_frequency.npy")
    names = [_name(value) for value in ids.tolist()]
    rows = {name: k for k, name in enumerate(names)}
    units = np.array([rows.get(_name(value), -1) for value in labels.tolist()], dtype=np.int64)
    if units.size and units.min() < 0:
        raise RecordingError(f"{int(np.sum(units < 0))} of {units.size} spikes have a label that is not in unit_ids")
    return samples, units, names, checked_rate(scalar(stored), "sampling_frequency", stored.tolist())


def _name(value: Any) -> str:
    """Return a unit id as text; labels may be stored as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _build(samples: NDArray[Any], units: NDArray[np.int64], names: list[str], rate: float) -> SpikeRecording:
    notes = ["positions unknown: a saved sorting does not hold the probe"]
    if len(set(names)) < len(names):
        raise RecordingError(f"unit_ids are not unique: {len(names)} ids, {len(set(names))} different ones")
    down = int(np.sum(np.diff(samples.astype(np.float64)) < 0))
    if down:
        notes.append(f"samples step back {down} times, which those SpikeInterface saves do not; they were sorted")
    seconds = frame_times(samples, 0, rate, "spikes", notes=notes)
    start, stop = inferred_window(seconds.first, seconds.last, notes, rate)
    return SpikeRecording(
        seconds.spikes,
        units,
        n_units=len(names),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units={"name": names},
        metadata={"format": "spikeinterface"},
        notes=notes,
    )


FORMAT = Format(
    name="spikeinterface",
    title="SpikeInterface sorting (NPZ or numpy folder)",
    evidence=f"{Evidence.PROGRAM} (SpikeInterface 0.105)",
    recognises=recognises,
    read=read,
    entries=entries,
)
