"""Cortical Labs CL1 recordings: spikes and stimulation pulses in frames, data streams listed.

A PyTables file. ``/spikes`` (timestamp, channel, samples) and ``/stims`` (timestamp, channel) count frames
from the start of the recording; the waveforms are not read. Pickled attributes are never unpickled.
"""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, members
from organoid.io.frames import Seconds, checked_rate, frame_times
from organoid.io.numbering import distinct
from organoid.io.registry import Evidence, Format, NoSpikesError
from organoid.io.source import (
    Source,
    array,
    columns,
    group,
    holds,
    number_attribute,
    open_hdf5,
    scalar,
    text_attribute,
)
from organoid.io.window import covering_window, inferred_window
from organoid.recording import SpikeRecording

GRID = 8  # channel = column * 8 + row
GROUND, REFERENCE = (0, 7, 56, 63), 4
# A session whose last pulse or log entry is followed by this many of its longest pauses is doubted.
_DOUBTFUL_PAUSES = 5
_TEXTS = ("created_utc", "ended_utc", "hostname", "project_id", "cell_batch_id")
_RELATIVE = re.compile(rb"stim_and_spike_timestamps_relative_to_start.*?(I01|\x88|I00|\x89)", re.DOTALL)


def recognises(source: Source) -> bool:
    """Tell a CL1 file by PyTables' mark and a frame rate."""
    return source.marked("PYTABLES_FORMAT_VERSION") and source.marked("frames_per_second", "uV_per_sample_unit")


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a CL1 recording."""
    if recording is not None or well is not None:
        raise RecordingError("a CL1 file holds one recording of one culture; neither has a name")
    with open_hdf5(path) as h5:
        return _read(h5)


def _read(h5: h5py.File) -> SpikeRecording:
    notes: list[str] = []
    rate = _rate(h5, notes)
    if not holds(h5, "spikes"):
        raise NoSpikesError("recognised, holds no detected spikes (no table 'spikes')")
    held = {name: columns(h5, name, ("timestamp", "channel")) for name in ("spikes", "stims") if holds(h5, name)}
    for name, rows in held.items():
        _check_rows(h5, name, rows, notes)
    if "stims" not in held:
        notes.append("no table 'stims': stimulation was not stored")
    origin = _origin(h5, held, notes)
    times = {name: frame_times(rows["timestamp"], origin, rate, name, notes=notes) for name, rows in held.items()}
    start, stop = _window(h5, times["spikes"], rate, notes)
    channels, units = distinct(held["spikes"]["channel"])
    _note_channels(channels, units, h5, notes)
    streams, logged = _data_streams(h5, origin, rate, notes)
    pulses = times["stims"].times if "stims" in times else np.empty(0)
    _note_interruption(np.concatenate([pulses, logged]), stop, notes)
    return SpikeRecording(
        times["spikes"].spikes,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=_places(channels).assign(name=[f"ch{channel}" for channel in channels]),
        electrodes=_electrodes(),
        stimuli=_stimuli(pulses, held, start, stop, notes),
        metadata=_metadata(h5, streams, notes),
        notes=notes,
    )


def _rate(h5: h5py.File, notes: list[str]) -> float:
    names = ("frames_per_second", "sampling_frequency")
    rates = {name: scalar(attribute(h5, name)) for name in names}
    known = {rate for rate in rates.values() if rate is not None}
    if len(known) != 1 or None in rates.values():
        notes.append(f"the frame rate is stored as {rates}; the first number is used")
    first = next((rate for rate in rates.values() if rate is not None), None)
    return checked_rate(first, "attribute 'frames_per_second'", attribute(h5, names[0]))


def _check_rows(h5: h5py.File, name: str, rows: dict[str, NDArray[Any]], notes: list[str]) -> None:
    said = scalar(attribute(h5[name], "NROWS"))
    if said is not None and said != rows["timestamp"].size:
        notes.append(f"{name}: attribute NROWS says {said:g} rows, the table holds {rows['timestamp'].size}")


def _origin(h5: h5py.File, held: dict[str, dict[str, NDArray[Any]]], notes: list[str]) -> int:
    """Return the frame that is time 0: frames count from the start unless the file says otherwise."""
    start = scalar(attribute(h5, "start_timestamp"))
    raw = attribute(h5, "file_format")
    raw = raw if isinstance(raw, str | bytes) else b""
    said = _RELATIVE.search(raw.encode("latin-1", "replace") if isinstance(raw, str) else raw)
    if said is not None:
        relative = said[1] in (b"I01", b"\x88")
    else:
        latest = max((float(rows["timestamp"].max()) for rows in held.values() if rows["timestamp"].size), default=0.0)
        length = scalar(attribute(h5, "duration_frames"))
        relative = start is None or length is None or latest < max(length, start)
        notes.append(
            "the file does not say what its frames count from; "
            + ("taken from the start of the recording" if relative else "start_timestamp is taken as time 0")
        )
    if relative:
        return 0
    if start is None:
        raise RecordingError("attribute 'start_timestamp' is missing, but frames do not count from the start")
    if said is not None:
        notes.append(f"frames count from the device's start; start_timestamp ({start:g}) is taken as time 0")
    return int(start)


def _window(h5: h5py.File, spikes: Seconds, rate: float, notes: list[str]) -> tuple[float, float]:
    first, last = spikes.first, spikes.last
    frames = scalar(attribute(h5, "duration_frames"))
    ends = [scalar(attribute(h5, name)) for name in ("start_timestamp", "end_timestamp")]
    span = None if ends[0] is None or ends[1] is None else ends[1] - ends[0]
    if span is None:
        notes.append("start_timestamp or end_timestamp is missing: was the recording cut off?")
    elif frames is not None and span != frames:
        notes.append(f"duration_frames is {frames:g}, but end_timestamp - start_timestamp {span:g}")
    seconds = scalar(attribute(h5, "duration_seconds"))
    if frames is not None and seconds is not None and abs(frames / rate - seconds) > max(1e-3, 1e-3 * abs(seconds)):
        notes.append(f"duration_frames at {rate:g} Hz is {frames / rate:g} s, but duration_seconds {seconds:g} s")
    length = next((value for value in (frames, span) if value is not None and 0 < value < 2**52), None)
    if length is None:
        notes.append("duration_frames is missing or not a positive number")
        return inferred_window(first, last, notes, rate)
    if length != frames:
        notes.append("t_stop inferred: duration_frames is missing; end_timestamp is used")
    return covering_window((0.0, length / rate), first, last, "duration_frames", notes, rate)


def _places(channels: NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame(
        {"channel": channels, "electrode": channels, "grid_column": channels // GRID, "grid_row": channels % GRID}
    )


def _electrodes() -> pd.DataFrame:
    table = _places(np.arange(GRID * GRID))
    return table.assign(can_stimulate=~table["channel"].isin([*GROUND, REFERENCE]))


def _note_channels(channels: NDArray[np.int64], units: NDArray[np.int64], h5: h5py.File, notes: list[str]) -> None:
    """Note spikes on channels that cannot have any; `units` is the place of each spike among the `channels`."""
    notes.append("the electrode distance is not stored: positions are unknown, grid_column and grid_row are given")
    said = scalar(attribute(h5, "channel_count"))
    if said != GRID * GRID:
        notes.append(f"attribute channel_count is {said}; the layout of the electrodes is that of 64 channels")
    silent = np.isin(channels, [*GROUND, REFERENCE])
    beyond = (channels < 0) | (channels >= GRID * GRID)
    for odd, what in ((silent, "ground or reference channels"), (beyond, "channels that do not exist")):
        if odd.any():
            notes.append(f"{int(odd[units].sum())} of {units.size} spikes are on {what}; kept")


def _stimuli(
    pulses: NDArray[np.float64],
    held: dict[str, dict[str, NDArray[Any]]],
    start: float,
    stop: float,
    notes: list[str],
) -> pd.DataFrame | None:
    if "stims" not in held:
        return None
    n_outside = int(((pulses < start) | (pulses >= stop)).sum())
    if n_outside:
        notes.append(f"stims: {n_outside} of {pulses.size} pulses lie outside the window; kept")
    if pulses.size:
        notes.append("stims: one row a pulse and channel; amplitude, width and polarity are not stored")
    channel = held["stims"]["channel"].astype(np.int64)
    return pd.DataFrame({"time_s": pulses, "channel": channel, "electrode": channel})


def _data_streams(
    h5: h5py.File, origin: int, rate: float, notes: list[str]
) -> tuple[dict[str, dict[str, Any]], NDArray[np.float64]]:
    """Return what the data streams hold, by name, and the times of their entries; their bytes are not decoded."""
    parent = group(h5, "data_stream")
    streams: dict[str, dict[str, Any]] = {}
    logged = [np.empty(0)]
    for name in members(parent) if parent is not None else []:
        where = f"data_stream/{name}"
        try:
            index = columns(h5, f"{where}/index", ("timestamp", "start_index", "end_index"))
            n_bytes = array(h5, f"{where}/data", ndim=1).size
            times, first, last, _ = frame_times(index["timestamp"], origin, rate, f"{where}/index")
        except RecordingError as error:
            notes.append(f"data stream {name!r} left out: {error}")
            continue
        n_bad = int(((index["start_index"] > index["end_index"]) | (index["end_index"] > n_bytes)).sum())
        if n_bad:
            notes.append(f"data stream {name!r}: {n_bad} of {times.size} entries point outside its bytes")
        elif times.size and int(index["end_index"].max()) != n_bytes:
            notes.append(f"data stream {name!r}: its entries end at byte {index['end_index'].max()} of {n_bytes}")
        ends = {"first_s": first, "last_s": last} if times.size else {}
        streams[name] = {"n_entries": int(times.size), "n_bytes": int(n_bytes), **ends}
        logged.append(times)
    if not streams:
        notes.append("no data streams")
    return streams, np.concatenate(logged)


def _note_interruption(events: NDArray[np.float64], stop: float, notes: list[str]) -> None:
    """Note a session whose pulses and log stop long before its end: its program may have died."""
    if events.size < 2:
        return
    times = np.sort(events)
    longest, after = float(max(np.diff(times).max(), times[0])), stop - float(times[-1])
    if after > 0.1 * stop and after > _DOUBTFUL_PAUSES * longest:
        notes.append(
            f"pulses and log entries stop at {times[-1]:.3f} s, {after:.3f} s before the end, after pauses of at most "
            f"{longest:.3f} s: the session may have been interrupted there, although the file goes on"
        )


def _metadata(h5: h5py.File, streams: dict[str, dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"format": "cl1"}
    for name in _TEXTS:
        fields[name] = text_attribute(h5, name, notes)
    fields["uV_per_sample_unit"] = number_attribute(h5, "uV_per_sample_unit", notes, 1e-6, 1e3)
    return {**fields, "data_streams": streams}


FORMAT = Format(
    name="cl1",
    title="Cortical Labs CL1",
    evidence=Evidence.SIMULATOR,
    recognises=recognises,
    read=read,
)
