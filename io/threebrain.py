"""3Brain results: BXR v3 (``Well_*/SpikeTimes``) and v2 (``3BResults``); BRW raw files are recognised.

All wells of a file share one clock and come as one recording with wells. Unsettled by any public file:
whether channel indices start at 0 (as ``StoredChIdxs`` does) and run along rows; both are assumed, with a note.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, member, members
from organoid.io.frames import Seconds, checked_rate, frame_times
from organoid.io.numbering import distinct_in, joined
from organoid.io.registry import Evidence, Format, NoSpikesError
from organoid.io.source import Source, array, group, holds, number_attribute, open_hdf5, scalar, text, text_at
from organoid.io.supplied import supplied
from organoid.io.threebrain_v2 import read_v2
from organoid.io.window import covering_window, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.validation import clip

SIDE = 64  # electrodes along one side of the chip
PITCHES = {"accura": 60.0, "coreplate": 60.0, "stimulo": 81.0}
DEFAULT_PITCH = 42.0
SETTINGS = "ExperimentSettings"
WELL = "Well_"  # begins the name of each well's group


def recognises(source: Source) -> bool:
    """Tell a 3Brain file by its recording information, or its wells beside settings or spikes."""
    h5 = source.h5
    if h5 is None or "3BRecInfo" in source.names:
        return h5 is not None
    wells = [well for name in source.names if name.startswith(WELL) and (well := group(h5, name)) is not None]
    return bool(wells) and (
        SETTINGS in source.names or any(holds(well, "SpikeTimes") and holds(well, "SpikeChIdxs") for well in wells)
    )


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a BXR file; `well` selects one culture ("A1")."""
    if recording is not None:
        raise RecordingError("a 3Brain file holds one recording without a name")
    with open_hdf5(path) as h5:
        rec = read_v2(h5) if "3BRecInfo" in h5 else _read(h5)
    return rec if well is None else rec.select(well=well.removeprefix(WELL))


def _wells(h5: h5py.File) -> dict[str, h5py.Group]:
    found = {name: group(h5, name) for name in members(h5) if name.startswith(WELL)}
    return {name: well for name, well in found.items() if well is not None}


def _read(h5: h5py.File) -> SpikeRecording:
    notes: list[str] = []
    held = _wells(h5)
    wells = [name for name, well in held.items() if holds(well, "SpikeTimes")]
    if not wells:
        raise NoSpikesError(
            f"recognised, holds no detected spikes (no SpikeTimes in {', '.join(held) or 'any Well_*'})"
        )
    settings = _settings(h5, notes)
    rate = _rate(h5, settings, notes)
    model = str(_inside(settings, "MeaPlate", "Model") or "")
    parts = [_read_well(held[well], well, rate, model, notes) for well in wells]
    times = joined([seconds.times for seconds, _, _ in parts])
    tables = [table for _, _, table in parts]
    shifts = np.cumsum([0] + [len(table["name"]) for table in tables])
    spans = _recorded_spans(h5, rate, notes)
    first = float(np.nanmin([seconds.first for seconds, _, _ in parts])) if times.size else np.nan
    last = float(np.nanmax([seconds.last for seconds, _, _ in parts])) if times.size else np.nan
    start, stop = _window(first, last, spans, rate, notes)
    if len(wells) < len(held):
        notes.append(f"wells without detected spikes are left out: {sorted(set(held) - set(wells))}")
    if events := _inside(settings, "TimelineEvents"):
        notes.append(f"{len(events)} timeline events are in the metadata; their layout is not published")
    return SpikeRecording(
        parts[0][0].spikes if len(parts) == 1 else times,
        joined([units + shift if shift else units for (_, units, _), shift in zip(parts, shifts)]),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units={column: joined([table[column] for table in tables]) for column in tables[0]},
        observed=None if spans is None else clip(spans, start, stop),
        metadata=_metadata(h5, settings, model, events, notes),
        notes=notes,
    )


def _settings(h5: h5py.File, notes: list[str]) -> dict[str, Any]:
    said = text_at(h5, SETTINGS, notes)
    if not said:
        return {}
    try:
        found = json.loads(said)
    except (ValueError, RecursionError) as error:
        notes.append(f"{SETTINGS} is not JSON text and is ignored: {error}")
        return {}
    if isinstance(found, dict):
        return found
    notes.append(f"{SETTINGS} is not a JSON object and is ignored")
    return {}


def _inside(settings: dict[str, Any], *keys: str) -> Any:
    value: Any = settings
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _rate(h5: h5py.File, settings: dict[str, Any], notes: list[str]) -> float:
    """Return the frame rate as stored, which is not round."""
    stored = scalar(attribute(h5, "SamplingRate"))
    said = scalar(_inside(settings, "TimeConverter", "FrameRate"))
    if stored is not None and said is not None and abs(stored - said) > 1e-6 * abs(said):
        notes.append(f"attribute SamplingRate is {stored} Hz, but {SETTINGS} says {said} Hz; the attribute is used")
    rate = said if stored is None else stored
    return checked_rate(rate, f"attribute 'SamplingRate' or FrameRate in {SETTINGS!r}", rate)


def _read_well(
    well: h5py.Group, name: str, rate: float, model: str, notes: list[str]
) -> tuple[Seconds, NDArray[Any], dict[str, NDArray[Any]]]:
    """Return the spike times of one well, the unit of each, and the columns of the table of units."""
    keys, units = _channel_units(well, name, notes)
    frames = array(well, "SpikeTimes", ndim=1)
    if units.size != frames.size:
        raise RecordingError(
            f"the counts do not add up: {name}/SpikeTimes holds {frames.size} spikes, SpikeChIdxs {units.size}"
        )
    x, y = grid_positions(keys[0], SIDE, pitch_of(model, notes), name, notes)
    _check_stored(well, name, keys[0], notes)
    several = bool(np.any(keys[1] != keys[1, :1]))
    names = np.array([f"ch{channel}" + (f"_{unit}" if several else "") for channel, unit in keys.T.tolist()])
    wells = np.full(names.size, name.removeprefix(WELL))
    table = {"name": names, "channel": keys[0], "x_um": x, "y_um": y, "well": wells, "sorted": keys[1]}
    return frame_times(frames, 0, rate, f"{name}/SpikeTimes", in_place=True, notes=notes), units, table


def _channel_units(well: h5py.Group, name: str, notes: list[str]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the distinct pairs of channel and sorted unit, shape (2, n), and the pair of each spike."""
    numbers, places = distinct_in(well, "SpikeChIdxs")
    sorted_as = None if supplied().sorted_units is False else _sorted_units(well, name, places.size, notes)
    if sorted_as is None or not np.any(sorted_as):
        return np.stack([numbers, np.zeros_like(numbers)]), places
    pairs, units = np.unique(np.stack([numbers[places], sorted_as.astype(np.int64)]), axis=1, return_inverse=True)
    return pairs, units.ravel().astype(np.int64)


def _sorted_units(well: h5py.Group, name: str, n: int, notes: list[str]) -> NDArray[Any] | None:
    """Return the sorted unit of each spike; None where there was no sorting."""
    if not isinstance(member(well, "SpikeUnits"), h5py.Dataset):
        return None
    try:
        numbers = array(well, "SpikeUnits", ndim=1, kinds="iu")
    except RecordingError as error:
        notes.append(f"{name}: units are channels: {error}")
        return None
    if numbers.size != n:
        notes.append(f"{name}: units are channels: SpikeUnits holds {numbers.size} values for {n} spikes")
        return None
    if n and np.any(numbers != numbers[0]):
        notes.append(f"{name}: SpikeUnits tells several units of a channel apart; numbering is not published")
    return numbers


def _check_stored(well: h5py.Group, name: str, channels: NDArray[np.int64], notes: list[str]) -> None:
    try:
        stored = array(well, "StoredChIdxs", ndim=1, kinds="iu").astype(np.int64)
    except RecordingError as error:
        notes.append(f"{name}: which channels were recorded is not known: {error}")
        return
    n_bad = int(np.sum(~np.isin(channels, stored)))
    if n_bad:
        notes.append(f"{name}: {n_bad} of {channels.size} units are on channels that StoredChIdxs does not list")


def pitch_of(model: str, notes: list[str]) -> float:
    """Return the electrode distance of a chip model, um; 42 with a note where the model is not known."""
    for word, pitch in PITCHES.items():
        if word in model.lower():
            return pitch
    note = f"electrode distance of {DEFAULT_PITCH:g} um assumed; the chip model is {model or 'not stored'!r}"
    if note not in notes:
        notes.append(note)
    return DEFAULT_PITCH


def grid_positions(
    channels: NDArray[np.int64], side: int, pitch: float, name: str, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y, um, of 0-based indices that run along rows; NaN for those off the grid."""
    notes.append(f"{name}: positions inferred: channel indices start at 0 and run along rows of {side} (not settled)")
    on_grid = (channels >= 0) & (channels < side * side)
    n_off = int(np.sum(~on_grid))
    if n_off:
        notes.append(f"{name}: {n_off} of {channels.size} units have channel indices off the grid: position unknown")
    column, row = channels % side, channels // side
    return np.where(on_grid, column * pitch, np.nan), np.where(on_grid, row * pitch, np.nan)


def _recorded_spans(h5: h5py.File, rate: float, notes: list[str]) -> NDArray[np.float64] | None:
    """Return when frames were recorded, from the table of chunks."""
    try:
        chunks = array(h5, "TOC", ndim=2, kinds="iu").astype(np.float64)
        if chunks.shape[1] != 2 or not len(chunks) or np.any(chunks[:, 0] >= chunks[:, 1]):
            raise RecordingError(f"dataset 'TOC' (shape {chunks.shape}) does not hold start and end frames")
        if np.any(chunks[1:, 0] < chunks[:-1, 1]) or np.abs(chunks).max() > 2**52:
            raise RecordingError("dataset 'TOC' is not in order of time")
    except RecordingError as error:
        notes.append(f"when frames were recorded is not known: {error}")
        return None
    new = np.concatenate([[True], chunks[1:, 0] > chunks[:-1, 1]])
    last = np.append(np.flatnonzero(new)[1:], len(chunks)) - 1
    if new.sum() > 1:
        notes.append(f"the recording has {new.sum() - 1} gaps between chunks; they are holes in `observed`")
    if chunks[0, 0] != 0:
        notes.append(f"TOC: the recording starts at frame {chunks[0, 0]:g}, not 0; times are kept as stored")
    return np.stack([chunks[new, 0], chunks[last, 1]], axis=1) / rate


def _window(
    first: float, last: float, spans: NDArray[np.float64] | None, rate: float, notes: list[str]
) -> tuple[float, float]:
    if spans is None:
        return inferred_window(first, last, notes, rate)
    return covering_window((float(spans[0, 0]), float(spans[-1, 1])), first, last, "TOC", notes, rate)


def _metadata(h5: h5py.File, settings: dict[str, Any], model: str, events: Any, notes: list[str]) -> dict[str, Any]:
    fields = {"format": "3brain", "model": model, "version": number_attribute(h5, "Version", notes, 1, 1e6)}
    for key in ("BiologicalModel", "ExperimentType", "ExperimentDateTime"):
        if isinstance(settings.get(key), str):
            fields[key] = text(settings[key])
    return {**fields, **({"timeline_events": events} if events else {})}


FORMAT = Format(
    name="3brain",
    title="3Brain BXR / BRW",
    evidence=f"BRW (recognised, raw only), BXR v2: {Evidence.REAL_FILES}; BXR v3: {Evidence.LAYOUT_ONLY}",
    recognises=recognises,
    read=read,
)
