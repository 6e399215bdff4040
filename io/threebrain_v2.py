"""3Brain BXR v2 and BRW v3: ``/3BRecInfo`` with variables, chip and channels; spikes in ``/3BResults``.

``SpikeChIDs`` index the rows of ``3BMeaStreams/Raw/Chs`` (Row and Col from 1): no public file settles from
what number they count, so 0 is assumed with a note.
"""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import member
from organoid.io.frames import frame_times, rate_of
from organoid.io.numbering import distinct_in
from organoid.io.registry import NoSpikesError
from organoid.io.source import array, columns, holds, number_at
from organoid.io.window import covering_window, inferred_window
from organoid.recording import SpikeRecording

EVENTS = "3BResults/3BChEvents"
VARIABLES = "3BRecInfo/3BRecVars"
MARKS = "3BUserInfo/ExpMarkers"
CHANNELS = "3BRecInfo/3BMeaStreams/Raw/Chs"
PITCH = 42.0


def read_v2(h5: h5py.File) -> SpikeRecording:
    """Read the spikes of a BXR v2 file."""
    notes: list[str] = []
    if not holds(h5, f"{EVENTS}/SpikeTimes"):
        raise NoSpikesError(f"recognised, holds no detected spikes (no dataset '{EVENTS}/SpikeTimes')")
    rate = rate_of(h5, f"{VARIABLES}/SamplingRate")
    if rate is None:
        raise RecordingError(f"dataset '{VARIABLES}/SamplingRate' is missing, so frames cannot be turned into seconds")
    numbers, units = distinct_in(h5, f"{EVENTS}/SpikeChIDs")
    frames = array(h5, f"{EVENTS}/SpikeTimes", ndim=1)
    if units.size != frames.size:
        raise RecordingError(
            f"the counts do not add up: SpikeTimes holds {frames.size} spikes, SpikeChIDs {units.size} channels"
        )
    _, first, last, spikes = frame_times(frames, 0, rate, f"{EVENTS}/SpikeTimes", in_place=True, notes=notes)
    marks = member(h5, MARKS)
    if isinstance(marks, h5py.Dataset) and marks.size:
        notes.append(
            f"{MARKS} holds {marks.size} marks of the user; their layout is not published, so they are left out"
        )
    start, stop = _window(h5, first, last, rate, notes)
    return SpikeRecording(
        spikes,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=_unit_columns(h5, numbers, notes),
        metadata=_metadata(h5, notes),
        notes=notes,
    )


def _window(h5: h5py.File, first: float, last: float, rate: float, notes: list[str]) -> tuple[float, float]:
    frames = number_at(h5, f"{VARIABLES}/NRecFrames", notes)
    if frames is None or not 0 < frames < 2**52:
        return inferred_window(first, last, notes, rate)
    return covering_window((0.0, frames / rate), first, last, "NRecFrames", notes, rate)


def _unit_columns(h5: h5py.File, numbers: NDArray[np.int64], notes: list[str]) -> dict[str, Any]:
    x, y = np.full(numbers.size, np.nan), np.full(numbers.size, np.nan)
    try:
        chs = columns(h5, CHANNELS, ("Row", "Col"))
    except RecordingError as error:
        notes.append(f"positions unknown: {error}")
    else:
        known = (numbers >= 0) & (numbers < chs["Row"].size)
        x[known] = (chs["Col"][numbers[known]].astype(float) - 1) * PITCH
        y[known] = (chs["Row"][numbers[known]].astype(float) - 1) * PITCH
        notes.append(
            f"positions inferred: SpikeChIDs are taken as 0-based rows of the channel table, electrodes {PITCH:g} um "
            "apart (not settled)"
        )
        if not known.all():
            notes.append(f"{int(np.sum(~known))} of {numbers.size} channels are not in the table: position unknown")
    return {"name": [f"ch{number}" for number in numbers.tolist()], "channel": numbers, "x_um": x, "y_um": y}


def _metadata(h5: h5py.File, notes: list[str]) -> dict[str, Any]:
    chip = {key: number_at(h5, f"3BRecInfo/3BMeaChip/{key}", notes) for key in ("NRows", "NCols")}
    return {"format": "3brain", **{key: value for key, value in chip.items() if value is not None}}
