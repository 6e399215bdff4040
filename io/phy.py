"""Kilosort / phy output: a folder or a zip archive of it.

``spike_times.npy`` (samples), ``spike_clusters.npy`` (else ``spike_templates.npy``), ``params.py`` (parsed for
constants, never run), ``cluster_*.tsv`` and, for positions, ``channel_map.npy``,
``channel_positions.npy`` and the templates.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.frames import checked_rate, frame_times
from organoid.io.npy import Files, open_files
from organoid.io.numbering import as_integers, distinct_of_parts
from organoid.io.phy_tables import cluster_info, params, peak_channels, whole
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source
from organoid.io.window import inferred_window
from organoid.recording import SpikeRecording

TIMES = "spike_times.npy"


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
    settings = params(files, notes)
    stored = settings.get("sample_rate")
    known = stored if isinstance(stored, float) else None
    rate = checked_rate(known, "sample_rate in 'params.py'", _shown(files, stored))
    numbers, units = _clusters(files, notes)
    samples = files.array(TIMES).ravel()
    if units.size != samples.size:
        raise RecordingError(
            f"the counts do not add up: {TIMES!r} holds {samples.size} spikes, the clusters are those of {units.size}"
        )
    times, first, last, spikes = frame_times(samples, 0, rate, TIMES, in_place=True, notes=notes)
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
        metadata={"format": "phy", "params": settings},
        notes=notes,
    )


def _shown(files: Files, stored: Any) -> Any:
    """Return what an error says of a sampling rate that is none."""
    if "params.py" not in files.names:
        return "(params.py is missing)"
    return "(it is not set)" if stored is None else stored


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
    info = cluster_info(files, notes)
    labels = [info.get(int(number), {}) for number in numbers]
    groups = [label.get("group") or label.get("KSLabel") or "unsorted" for label in labels]
    n_unlisted = sum(int(number) not in info for number in numbers)
    if n_unlisted:
        notes.append(f"{n_unlisted} of {numbers.size} clusters are in no .tsv file; their group is 'unsorted'")
    channels = [whole(label.get("ch") or label.get("channel")) for label in labels]
    if not any(channel is not None for channel in channels):
        channels = peak_channels(files, numbers, notes)
    x, y = _positions(files, channels, notes)
    names = [str(number) for number in numbers.tolist()]
    unknown = np.array([channel is None for channel in channels], dtype=bool)
    numbered = pd.arrays.IntegerArray(np.array([channel or 0 for channel in channels], dtype=np.int64), unknown)
    return {"name": names, "channel": numbered, "x_um": x, "y_um": y, "group": groups}


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
