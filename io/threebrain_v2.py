"""3Brain BXR v2 and BRW v3: ``/3BRecInfo`` with variables, chip and channels; spikes in ``/3BResults``.

``SpikeChIDs`` are ids of channels: in a real file ``(Row - 1) * 64 + (Col - 1)``, so positions run along rows from 0.
``SpikeUnits`` are ids of sorted units over all channels; negative ones (-2, -3, -4) mean that a spike has none.
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
from organoid.io.source import array, columns, holds, number_at, table, texts
from organoid.io.supplied import supplied
from organoid.io.window import covering_window, inferred_window
from organoid.recording import SpikeRecording

EVENTS = "3BResults/3BChEvents"
VARIABLES = "3BRecInfo/3BRecVars"
MARKS = "3BUserInfo/ExpMarkers"
IDS = "3BResults/3BInfo/MeaChs2ChIDsVector"
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
    frames = array(h5, f"{EVENTS}/SpikeTimes", ndim=1)
    numbers, units = distinct_in(h5, f"{EVENTS}/SpikeChIDs")
    if units.size != frames.size:
        raise RecordingError(
            f"the counts do not add up: SpikeTimes holds {frames.size} spikes, SpikeChIDs {units.size} channels"
        )
    held = _channel_columns(h5, numbers, notes)
    if supplied().sorted_units:
        frames, units, held = _sorted(h5, frames, units, held, notes)
    elif holds(h5, f"{EVENTS}/SpikeUnits"):
        notes.append("units are channels; sorted_units=True (--sorted) takes the sorted units of SpikeUnits")
    _, first, last, spikes = frame_times(frames, 0, rate, f"{EVENTS}/SpikeTimes", in_place=True, notes=notes)
    start, stop = _window(h5, first, last, rate, notes)
    return SpikeRecording(
        spikes,
        units,
        n_units=len(held["name"]),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=held,
        events=_events(h5, rate, notes),
        metadata=_metadata(h5, notes),
        notes=notes,
    )


def _sorted(
    h5: h5py.File, frames: NDArray[Any], channels: NDArray[Any], held: dict[str, Any], notes: list[str]
) -> tuple[NDArray[Any], NDArray[Any], dict[str, Any]]:
    """Return frames, unit of each spike and columns for the sorted units; negative ids are spikes that have none."""
    ids = array(h5, f"{EVENTS}/SpikeUnits", ndim=1, kinds="iu").astype(np.int64)
    if ids.size != frames.size:
        raise RecordingError(f"the counts do not add up: SpikeUnits holds {ids.size} values for {frames.size} spikes")
    kept = ids >= 0
    if not kept.all():
        notes.append(f"{int(np.sum(~kept))} of {ids.size} spikes have negative unit ids: the sorter gave them no unit")
    found, first, units = np.unique(ids[kept], return_index=True, return_inverse=True)
    rows = channels[kept][first].astype(np.int64)
    n_wide = int(np.sum(np.bincount(units, channels[kept] != rows[units], found.size) > 0)) if found.size else 0
    if n_wide:
        notes.append(f"{n_wide} of {found.size} sorted units have spikes on several channels; they lie at their first")
    columns: dict[str, Any] = {name: np.asarray(values)[rows] for name, values in held.items()}
    columns["name"] = [f"{name}_{unit}" for name, unit in zip(columns["name"].tolist(), found.tolist())]
    return frames[kept], units, {**columns, "sorted_unit": found}


def _events(h5: h5py.File, rate: float, notes: list[str]) -> dict[str, Any] | None:
    """Return the marks of the user as events."""
    marks = member(h5, MARKS)
    if not isinstance(marks, h5py.Dataset) or not marks.size:
        return None
    try:
        held = table(h5, MARKS)
        times = frame_times(held["MarkIn"], 0, rate, f"{MARKS}/MarkIn").times
        long = (held["MarkOut"].astype(np.float64) - held["MarkIn"]) / rate
        labels = texts(held["Desc"]) if "Desc" in held else [""] * times.size
        kinds = [f"marker type {number}" for number in held["Type"].tolist()] if "Type" in held else "marker"
    except (RecordingError, KeyError) as error:
        notes.append(f"{MARKS} holds {marks.size} marks that are left out: {error}")
        return None
    notes.append(f"{times.size} marks of the user ({MARKS}) are events")
    return {"time_s": times, "kind": list(kinds), "label": labels, "duration_s": long}


def _window(h5: h5py.File, first: float, last: float, rate: float, notes: list[str]) -> tuple[float, float]:
    frames = number_at(h5, f"{VARIABLES}/NRecFrames", notes)
    if frames is None or not 0 < frames < 2**52:
        return inferred_window(first, last, notes, rate)
    return covering_window((0.0, frames / rate), first, last, "NRecFrames", notes, rate)


def _channel_columns(h5: h5py.File, numbers: NDArray[np.int64], notes: list[str]) -> dict[str, Any]:
    x, y = np.full(numbers.size, np.nan), np.full(numbers.size, np.nan)
    try:
        rows, source = _rows_of(h5, numbers)
    except RecordingError as error:
        notes.append(f"positions unknown: {error}")
    else:
        known = rows[:, 0] > 0
        x[known], y[known] = (rows[known, 1] - 1) * PITCH, (rows[known, 0] - 1) * PITCH
        notes.append(f"positions are those of {source}, electrodes taken as {PITCH:g} um apart")
        if not known.all():
            notes.append(f"{int(np.sum(~known))} of {numbers.size} channels are not in the table: position unknown")
    return {"name": [f"ch{number}" for number in numbers.tolist()], "channel": numbers, "x_um": x, "y_um": y}


def _rows_of(h5: h5py.File, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """Return row and column (from 1; 0 for unknown) of each channel id, and where they stand.

    The table of ids is in results files; without it an id counts the rows of the channel table from 0, as it does in
    every file that has both.
    """
    places = np.zeros((numbers.size, 2), dtype=np.int64)
    if holds(h5, IDS):
        held = columns(h5, IDS, ("Row", "Col", "ID"))
        order = np.argsort(held["ID"], kind="stable")
        at = np.minimum(np.searchsorted(held["ID"][order], numbers), max(order.size - 1, 0))
        known = held["ID"][order][at] == numbers if order.size else np.zeros(numbers.size, dtype=bool)
        at, source = order[at[known]] if order.size else at[known], "the file's table of channel ids"
    else:
        held = columns(h5, CHANNELS, ("Row", "Col"))
        known = (numbers >= 0) & (numbers < held["Row"].size)
        at, source = numbers[known], "the channel table, its rows counted from 0"
    places[known] = np.stack([held["Row"][at], held["Col"][at]], axis=1)
    return places, source


def _metadata(h5: h5py.File, notes: list[str]) -> dict[str, Any]:
    chip = {key: number_at(h5, f"3BRecInfo/3BMeaChip/{key}", notes) for key in ("NRows", "NCols")}
    return {"format": "3brain", **{key: value for key, value in chip.items() if value is not None}}
