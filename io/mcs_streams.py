"""The streams of a Multi Channel Systems recording: spikes, events, and when voltage was recorded."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, member, members
from organoid.io.source import array, group, table, text, texts
from organoid.recording.ticks import LARGEST_EXACT_TICK

SPIKE_EVENTS = "SpikeTimeStamp"
STIMULATOR = "StgSideband"
_STAMPS_PER_SECOND = 1e6
_START_STOP = re.compile(r"^(?P<source>.*?)\s+(?P<edge>start|stop)$", re.IGNORECASE)


@dataclass(frozen=True)
class Entity:
    """One entity of a stream: the unit, event or cut-outs of one source."""

    label: str
    channel: int | None
    group: int | None


@dataclass
class SpikeStream:
    """One stream of spike times, s, one array a unit."""

    label: str
    source: str
    units: list[Entity] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)


def spike_streams(recording: h5py.Group, notes: list[str]) -> list[SpikeStream]:
    """Return the streams that hold spikes; cut-outs only where no time stamps of their detector exist."""
    found = [
        _spike_stream(stream, "TimeStampEntity_", "InfoTimeStamp", "TimeStampEntityID", notes)
        for stream in _streams(recording, "TimeStampStream", notes)
    ]
    found += [
        _spike_stream(stream, "EventEntity_", "InfoEvent", "EventID", notes)
        for stream in _streams(recording, "EventStream", notes)
        if _sub_type(stream) == SPIKE_EVENTS
    ]
    empty = [stream for stream in found if not stream.units]
    for stream in empty if len(found) > 1 else []:
        notes.append(f"{stream.label!r} names no sources of spikes and is left out")
        found.remove(stream)
    for stream in _streams(recording, "SegmentStream", notes):
        if _sub_type(stream) == "Average":
            continue
        cut_outs = _spike_stream(stream, "SegmentData_ts_", "InfoSegment", "SegmentID", notes)
        twin = next((other for other in found if _same_detector(cut_outs, other)), None)
        if twin is None:
            notes.append(f"spikes taken from the stamps of the cut-outs in {cut_outs.label!r}")
            found.append(cut_outs)
        elif sum(map(len, cut_outs.times)) != sum(map(len, twin.times)):
            notes.append(
                f"{twin.label!r} holds {sum(map(len, twin.times))} spikes, but {cut_outs.label!r} of the same "
                f"detector {sum(map(len, cut_outs.times))}; the time stamps are used"
            )
    return found


def _same_detector(one: SpikeStream, other: SpikeStream) -> bool:
    if one.source and one.source == other.source:
        return True
    return len(one.times) == len(other.times) and all(map(np.array_equal, one.times, other.times))


def marks_of(recording: h5py.Group, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events that are not spikes as (stimuli, events): what the stimulator reported, and all other marks."""
    rows: list[pd.DataFrame] = []
    for stream in _streams(recording, "EventStream", notes):
        kind = _sub_type(stream)
        if kind == SPIKE_EVENTS:
            continue
        for entity, stamps in _entities(stream, "EventEntity_", "InfoEvent", "EventID", notes):
            times = _seconds(stamps[0], stream.name)
            long = stamps[1] / _STAMPS_PER_SECOND if len(stamps) > 1 else np.full(times.size, np.nan)
            held = {"time_s": times, "duration_s": long, "kind": kind or "unknown", "label": entity.label}
            rows.append(pd.DataFrame(held))
        if kind == "":
            notes.append(f"{_short(stream)}: attribute DataSubType is missing; its events are not taken as stimuli")
    if not rows:
        notes.append("the recording has no streams of events besides spikes")
    empty = pd.DataFrame({"time_s": [], "duration_s": [], "kind": [], "label": []}).astype({"kind": str, "label": str})
    marks = pd.concat([empty, *rows], ignore_index=True) if rows else empty
    marks = marks.sort_values("time_s", kind="stable", ignore_index=True)
    pulse = (marks["kind"] == STIMULATOR).to_numpy(dtype=bool) & ~marks["label"].str.contains("marker", case=False)
    stimuli, events = _pulses(marks[pulse]), marks[~pulse].reset_index(drop=True)
    if len(stimuli):
        notes.append(
            f"{len(stimuli)} events of the stimulator ({STIMULATOR}) are stimuli; what each did, the file does not say"
        )
    if len(events):
        kinds = ", ".join(sorted(set(events["kind"])))
        notes.append(
            f"{len(events)} events ({kinds}) are marks, not pulses: they are in `events`; if they are pulses, "
            "stimuli='events:KIND' takes them as such"
        )
    return stimuli.rename(columns={"kind": "source", "label": "event"}), events


def _pulses(marks: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pulse: marks that start one, as long as the mark that stops it says.

    A stimulator reports the start and the stop of a pulse as rows of their own (``STG 1 Single Pulse Start``).
    """
    said = marks["label"].str.strip().str.extract(_START_STOP)
    stops = marks[(said["edge"].str.lower() == "stop").to_numpy(dtype=bool)]
    starts = marks[(said["edge"].str.lower() != "stop").to_numpy(dtype=bool)].copy()
    for source in said["source"].dropna().unique():
        ends = np.sort(stops.loc[(said.loc[stops.index, "source"] == source).to_numpy(dtype=bool), "time_s"])
        rows = starts.index[(said.loc[starts.index, "source"] == source).to_numpy(dtype=bool)]
        if not ends.size or not len(rows):
            continue
        begins = starts.loc[rows, "time_s"].to_numpy()
        at = np.searchsorted(ends, begins, side="right")
        long = np.where(at < ends.size, ends[np.minimum(at, ends.size - 1)] - begins, np.nan)
        starts.loc[rows, "duration_s"] = long
    return starts.reset_index(drop=True)


def observed_spans(
    recording: h5py.Group, sources: set[str], notes: list[str]
) -> tuple[NDArray[np.float64] | None, float | None]:
    """Return when voltage was recorded, s, and the sampling rate, Hz, from the stream the spikes come from."""
    streams = [stream for stream in _streams(recording, "AnalogStream", []) if _sub_type(stream) in ("Electrode", "")]
    own = [stream for stream in streams if text(attribute(stream, "StreamGUID")) in sources]
    for stream in own or streams:
        try:
            spans = _spans_of(stream, notes)
            if not own:
                notes.append(
                    f"the voltage the spikes come from is not stored; {_short(stream)} says when they were seen"
                )
            return spans
        except RecordingError as error:
            notes.append(f"{_short(stream)} says not when it was recorded: {error}")
    notes.append("when spikes could be seen is not stored: the whole window is taken")
    return None, None


def _spans_of(stream: h5py.Group, notes: list[str]) -> tuple[NDArray[np.float64], float]:
    stamps = array(stream, "ChannelDataTimeStamps", ndim=2, kinds="iu").astype(np.int64)
    info = table(stream, "InfoChannel")
    ticks = np.unique(info["Tick"]) if "Tick" in info else np.empty(0)
    if ticks.size != 1 or not 0 < ticks[0] < 1e6 or stamps.shape[1] != 3:
        raise RecordingError(f"ChannelDataTimeStamps has shape {stamps.shape} and Tick is {ticks[:4].tolist()}")
    tick = int(ticks[0])
    starts = stamps[:, 0]
    stops = starts + (stamps[:, 2] - stamps[:, 1] + 1) * tick
    if not (np.all(stops > starts) and np.all(starts[1:] >= stops[:-1]) and np.abs(stops).max(initial=0) < 1e15):
        raise RecordingError("ChannelDataTimeStamps does not hold ordered segments")
    joined = np.concatenate([[True], starts[1:] > stops[:-1]]) if starts.size else np.empty(0, bool)
    first = np.flatnonzero(joined)
    spans = (
        np.stack([starts[first], stops[np.append(first[1:], starts.size) - 1]], axis=1) if first.size else stamps[:, :2]
    )
    if len(spans) > 1:
        notes.append(f"the recording was paused {len(spans) - 1} times; pauses are holes in `observed`")
    return spans / _STAMPS_PER_SECOND, _STAMPS_PER_SECOND / tick


def _spike_stream(stream: h5py.Group, prefix: str, info: str, key: str, notes: list[str]) -> SpikeStream:
    held = SpikeStream(text(attribute(stream, "Label")) or _short(stream), text(attribute(stream, "SourceStreamGUID")))
    for entity, stamps in _entities(stream, prefix, info, key, notes):
        times = _seconds(stamps[0], f"{_short(stream)}/{prefix}")
        if np.any(np.diff(times) < 0):
            notes.append(f"{_short(stream)}: stamps of {entity.label} are not in order; they were sorted")
        held.units.append(entity)
        held.times.append(times)
    return held


def _seconds(stamps: NDArray[np.int64], name: str) -> NDArray[np.float64]:
    if stamps.size and not np.abs(stamps.astype(np.float64)).max() < LARGEST_EXACT_TICK / 8:
        raise RecordingError(f"dataset {name!r} holds stamps up to {np.abs(stamps).max()} us, which cannot be times")
    return np.asarray(stamps / _STAMPS_PER_SECOND)


def _entities(
    stream: h5py.Group, prefix: str, info: str, key: str, notes: list[str]
) -> Iterator[tuple[Entity, NDArray[np.int64]]]:
    """Yield each entity with its stamps, joined with its info row by id, in order of id."""
    known = _info(stream, info, key, notes)
    held = {
        int(name[len(prefix) :]): name
        for name in members(stream)
        if name[len(prefix) :].isdecimal() and name.startswith(prefix)
    }
    for number in sorted({*known, *held}):
        if number not in known:
            notes.append(f"{_short(stream)}: {held[number]} has no row in {info}")
        if number not in held:
            notes.append(f"{_short(stream)}: {info} lists entity {number}, but {prefix}{number} is missing")
            yield known[number], np.empty((1, 0), np.int64)
            continue
        stored = member(stream, held[number])
        flat = isinstance(stored, h5py.Dataset) and stored.shape is not None and len(stored.shape) == 1
        stamps = np.atleast_2d(array(stream, held[number], ndim=1 if flat else 2, kinds="iu")).astype(np.int64)
        if stamps.shape[0] not in (1, 2):
            raise RecordingError(
                f"dataset {_short(stream)}/{held[number]} has shape {stamps.shape}; expected one row of stamps, "
                "and perhaps one of durations"
            )
        yield known.get(number, Entity(f"entity {number}", None, None)), stamps


def _info(stream: h5py.Group, info: str, key: str, notes: list[str]) -> dict[int, Entity]:
    try:
        held = table(stream, info)
    except RecordingError as error:
        notes.append(f"{_short(stream)}: sources unknown: {error}")
        return {}
    if key not in held or held[key].dtype.kind not in "iu":
        notes.append(f"{_short(stream)}: {info} has no column {key} of numbers; sources unknown")
        return {}
    _check_exponent(stream, held)
    n = len(held[key])
    channels = texts(held["SourceChannelIDs"]) if "SourceChannelIDs" in held else [""] * n
    labels = _labels(stream, held, channels)
    groups = held["GroupID"] if "GroupID" in held and held["GroupID"].dtype.kind in "iu" else [None] * n
    return {
        int(number): Entity(labels[k], int(channels[k]) if channels[k].isdecimal() else None, _int(groups[k]))
        for k, number in enumerate(held[key])
    }


def _labels(stream: h5py.Group, held: dict[str, Any], channels: list[str]) -> list[str]:
    """Return a label for each row: of its source channels, else looked up by channel, else by number."""
    if "SourceChannelLabels" in held:
        labels = texts(held["SourceChannelLabels"])
    else:
        by_channel = _channel_labels(stream)
        labels = [by_channel.get(channel, "") for channel in channels]
    return [label or f"channel {channel}" for label, channel in zip(labels, channels)]


def _channel_labels(stream: h5py.Group) -> dict[str, str]:
    """Return the label of each channel, from the stream's own table or that of the voltage it was made from."""
    source, tables = text(attribute(stream, "SourceStreamGUID")), []
    if isinstance(member(stream, "SourceInfoChannel"), h5py.Dataset):
        tables.append(table(stream, "SourceInfoChannel"))
    for voltage in _streams(stream.parent.parent, "AnalogStream", []):
        if source and text(attribute(voltage, "StreamGUID")) == source and "InfoChannel" in voltage:
            tables.append(table(voltage, "InfoChannel"))
    for held in tables:
        if {"ChannelID", "Label"} <= set(held):
            return {str(number): text(label) for number, label in zip(held["ChannelID"], held["Label"])}
    return {}


def _check_exponent(stream: h5py.Group, held: dict[str, Any]) -> None:
    exponents = np.unique(held["Exponent"]) if "Exponent" in held and held["Exponent"].dtype.kind in "iu" else [-6]
    units = set(texts(held["Unit"])) if "Unit" in held else {"s"}
    if list(exponents) not in ([-6], []) or units - {"s", ""}:
        raise RecordingError(f"{_short(stream)}: stamps are in 10^{list(exponents)} {units}; expected 10^-6 s")


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _streams(recording: h5py.Group, kind: str, notes: list[str]) -> Iterator[h5py.Group]:
    parent = group(recording, kind)
    for name in members(parent) if parent is not None else []:
        found = group(recording, f"{kind}/{name}")
        if found is not None:
            yield found
        else:
            notes.append(f"{kind}/{name} is not a stream or leads nowhere")


def _sub_type(stream: h5py.Group) -> str:
    return text(attribute(stream, "DataSubType"))


def _short(stream: h5py.Group) -> str:
    return "/".join(str(stream.name).split("/")[-2:])
