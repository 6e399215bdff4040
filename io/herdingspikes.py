"""HerdingSpikes 2, sorted: ``times`` (frames), ``cluster_id``, ``centres`` (units, 2), ``Sampling``."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from organoid.errors import RecordingError
from organoid.io.frames import frame_times, rate_of
from organoid.io.numbering import distinct_in
from organoid.io.registry import Evidence, Format, NoSpikesError
from organoid.io.source import Source, array, open_hdf5
from organoid.io.window import inferred_window
from organoid.recording import SpikeRecording


def recognises(source: Source) -> bool:
    """Tell a HerdingSpikes file by its datasets ``times`` and ``cluster_id``."""
    return source.has_datasets("times", "cluster_id")


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read the clusters of a sorted file."""
    if well is not None or recording is not None:
        raise RecordingError("a HerdingSpikes file holds one recording of one culture; neither has a name")
    with open_hdf5(path) as h5:
        return _read(h5)


def _read(h5: h5py.File) -> SpikeRecording:
    notes: list[str] = []
    numbers, units = distinct_in(h5, "cluster_id", "fiu")
    frames = array(h5, "times", ndim=1)
    if frames.size and not units.size:
        raise NoSpikesError(f"recognised, holds {frames.size} detected events that were not sorted into clusters")
    if units.size != frames.size:
        raise RecordingError(f"the counts do not add up: {frames.size} times, {units.size} cluster_id")
    rate = rate_of(h5, "Sampling")
    if rate is None:
        raise RecordingError("dataset 'Sampling' is missing, so frames cannot be turned into seconds")
    _, first, last, spikes = frame_times(frames, 0, rate, "times", in_place=True, notes=notes)
    start, stop = inferred_window(first, last, notes, rate)
    table: dict[str, Any] = {"name": [str(number) for number in numbers.tolist()]}
    try:
        centres = array(h5, "centres", ndim=2).astype(np.float64)
        places = np.full((numbers.size, 2), np.nan)
        known = (numbers >= 0) & (numbers < len(centres))
        places[known] = centres[numbers[known], :2]
        table |= {"centre_x": places[:, 0], "centre_y": places[:, 1]}
        notes.append("centres are given as stored (columns centre_x, centre_y): their unit and order are not settled")
    except (RecordingError, IndexError, ValueError) as error:
        notes.append(f"positions unknown: {error}")
    return SpikeRecording(
        spikes,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=table,
        metadata={"format": "herdingspikes"},
        notes=notes,
    )


FORMAT = Format(
    name="herdingspikes",
    title="HerdingSpikes 2, sorted",
    evidence=Evidence.LAYOUT_ONLY,
    recognises=recognises,
    read=read,
)
