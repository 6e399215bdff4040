"""Kilosort / phy output: a folder or a zip archive of it.

``spike_times.npy`` (samples), ``spike_clusters.npy`` (else ``spike_templates.npy``), ``params.py`` (parsed for
constants, never run), ``cluster_*.tsv`` and, for positions, ``channel_map.npy`` and ``channel_positions.npy``.
"""

import ast
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.frames import checked_rate, frame_times
from organoid.io.npy import Files, open_files
from organoid.io.numbering import as_integers, distinct_of_parts
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source
from organoid.io.window import inferred_window
from organoid.recording import SpikeRecording

TIMES = "spike_times.npy"
_LARGEST_TEMPLATES = 1 << 28


def recognises(source: Source) -> bool:
    """Tell a phy folder, or a zip archive of one, by its spike times."""
    if source.h5 is not None or not (source.path.is_dir() or source.head.startswith(b"PK")):
        return False
    with open_files(source.path, TIMES) as files:
        return files is not None


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a phy folder or zip archive."""
    if recording is not None or well is not None:
        raise RecordingError("a phy folder holds one recording of one culture; neither has a name")
    with open_files(path, TIMES) as files:
        if files is None:
            raise RecordingError(f"file {TIMES!r} is missing")
        return _read(files)


def _read(files: Files) -> SpikeRecording:
    notes: list[str] = []
    params = _params(files)
    rate = checked_rate(params.get("sample_rate"), "params.py", params.get("sample_rate"))
    numbers, units = _clusters(files, notes)
    samples = files.array(TIMES).ravel()
    if units.size != samples.size:
        raise RecordingError(
            f"the counts do not add up: {TIMES!r} holds {samples.size} spikes, the clusters are those of {units.size}"
        )
    times, first, last, spikes = frame_times(samples, 0, rate, TIMES, in_place=True)
    if first < 0:
        notes.append(f"{int(np.sum(times < 0))} of {times.size} spikes lie before sample 0; kept")
    start, stop = inferred_window(first, last, notes, rate)
    return SpikeRecording(
        spikes,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=_unit_columns(files, numbers, notes),
        metadata={"format": "phy", "params": params},
        notes=notes,
    )


def _params(files: Files) -> dict[str, Any]:
    """Return the constants assigned in params.py."""
    if "params.py" not in files.names:
        raise RecordingError("file 'params.py' is missing, so samples cannot be turned into seconds (sample_rate)")
    try:
        tree = ast.parse(files.text("params.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RecordingError(f"file 'params.py' is not a list of settings: {error}") from None
    found: dict[str, Any] = {}
    for line in tree.body:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            try:
                value = ast.literal_eval(line.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, str | int | float | bool):
                found[line.targets[0].id] = value
    if isinstance(found.get("sample_rate", None), bool | str) or "sample_rate" not in found:
        raise RecordingError("file 'params.py' sets no sample_rate to a number")
    try:
        found["sample_rate"] = float(found["sample_rate"])
    except OverflowError:
        raise RecordingError("file 'params.py' sets sample_rate to a number too large for any clock") from None
    return found


def _clusters(files: Files, notes: list[str]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the distinct clusters and which of them each spike is in."""
    name = next((name for name in ("spike_clusters.npy", "spike_templates.npy") if name in files.names), None)
    if name is None:
        raise RecordingError("neither 'spike_clusters.npy' nor 'spike_templates.npy' is there")
    if name == "spike_templates.npy":
        notes.append("no spike_clusters.npy: units are the templates of the sorter")
    size, parts = files.parts(name)
    return distinct_of_parts(size, lambda: as_integers(parts(), name))


def _unit_columns(files: Files, numbers: NDArray[np.int64], notes: list[str]) -> dict[str, Any]:
    info = _cluster_info(files, notes)
    labels = [info.get(int(number), {}) for number in numbers]
    groups = [label.get("group") or label.get("KSLabel") or "unsorted" for label in labels]
    n_unlisted = sum(int(number) not in info for number in numbers)
    if n_unlisted:
        notes.append(f"{n_unlisted} of {numbers.size} clusters are in no .tsv file; their group is 'unsorted'")
    n_noise = groups.count("noise")
    if n_noise:
        notes.append(f"{n_noise} clusters are labelled noise; kept (see the column 'group' of units)")
    channels = [_whole(label.get("ch") or label.get("channel")) for label in labels]
    if not any(channel is not None for channel in channels):
        channels = _peak_channels(files, numbers, notes)
    x, y = _positions(files, channels, notes)
    names = [str(number) for number in numbers.tolist()]
    unknown = np.array([channel is None for channel in channels], dtype=bool)
    numbered = pd.arrays.IntegerArray(np.array([channel or 0 for channel in channels], dtype=np.int64), unknown)
    return {"name": names, "channel": numbered, "x_um": x, "y_um": y, "group": groups}


def _cluster_info(files: Files, notes: list[str]) -> dict[int, dict[str, str]]:
    """Return the .tsv columns of each cluster; cluster_info.tsv wins where it exists."""
    names = sorted(name for name in files.names if name.endswith((".tsv", "cluster_groups.csv")) and "/" not in name)
    info: dict[int, dict[str, str]] = {}
    for name in ["cluster_info.tsv"] if "cluster_info.tsv" in names else names:
        try:
            rows = list(csv.DictReader(files.text(name).splitlines(), delimiter="\t"))
        except (csv.Error, RecordingError) as error:
            notes.append(f"{name} left out: {error}")
            continue
        key = next((key for key in ("cluster_id", "id") if rows and key in rows[0]), None)
        if rows and key is None:
            notes.append(f"{name} left out: it has no column cluster_id")
        for row in rows if key is not None else []:
            number = _whole(row.get(str(key)))
            if number is not None:
                info.setdefault(number, {}).update({k: v for k, v in row.items() if isinstance(v, str) and k})
    return info


def _whole(cell: Any) -> int | None:
    try:
        number = int(str(cell))
    except ValueError:
        return None
    return number if abs(number) < 2**63 else None


def _peak_channels(files: Files, numbers: NDArray[np.int64], notes: list[str]) -> list[int | None]:
    """Return the channel where each cluster's template is largest, for clusters that still are templates."""
    unknown: list[int | None] = [None] * numbers.size
    if "templates.npy" not in files.names or files.size("templates.npy") > _LARGEST_TEMPLATES:
        return unknown
    try:
        templates = files.array("templates.npy")
        channel_map = files.array("channel_map.npy").ravel().astype(np.int64)
    except RecordingError as error:
        notes.append(f"channels of clusters unknown: {error}")
        return unknown
    if templates.ndim != 3 or templates.shape[2] != channel_map.size or not templates.size:
        notes.append(f"channels of clusters unknown: templates.npy has shape {templates.shape}")
        return unknown
    peaks = channel_map[np.argmax(np.ptp(templates, axis=1), axis=1)]
    n_new = int(np.sum((numbers < 0) | (numbers >= len(peaks))))
    notes.append(f"channels are those where the templates are largest; unknown for {n_new} merged or split clusters")
    return [int(peaks[number]) if 0 <= number < len(peaks) else None for number in numbers]


def _positions(
    files: Files, channels: list[int | None], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.full(len(channels), np.nan), np.full(len(channels), np.nan)
    try:
        places = files.array("channel_positions.npy").astype(np.float64)
        channel_map = files.array("channel_map.npy").ravel().astype(np.int64)
        if places.shape != (channel_map.size, 2):
            raise RecordingError(f"channel_positions.npy has shape {places.shape} for {channel_map.size} channels")
    except RecordingError as error:
        notes.append(f"positions unknown: {error}")
        return x, y
    if channel_map.size and channel_map.min() < 0:
        notes.append("channel_map.npy holds negative channel numbers")
    rows = {int(channel): k for k, channel in enumerate(channel_map)}
    for k, channel in enumerate(channels):
        if channel in rows:
            x[k], y[k] = places[rows[channel]]
    n_bad = int(np.isnan(x).sum())
    if n_bad:
        notes.append(f"positions of {n_bad} of {len(channels)} clusters are unknown")
    return x, y


FORMAT = Format(
    name="phy",
    title="Kilosort / phy folder or zip",
    evidence=Evidence.LAYOUT_ONLY,
    recognises=recognises,
    read=read,
)
