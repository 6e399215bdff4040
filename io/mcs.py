"""Multi Channel Systems HDF5 (protocol type "RawData"): spikes, events, pauses; voltage is never read.

Spikes are time stamps in ``TimeStampStream``; in older files in an ``EventStream`` of sub-type
"SpikeTimeStamp"; else the stamps of the cut-outs in ``SegmentStream``. Rows of the info tables come in
any order and are joined by id. What the stimulator reports (sub-type "StgSideband") are stimuli; digital ports and
marks of the user are events.
Recordings of CMOS-MEA systems are another layout and are rejected.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, members
from organoid.io.entries import choose
from organoid.io.mcs_positions import channel_positions
from organoid.io.mcs_streams import SpikeStream, marks_of, observed_spans, spike_streams
from organoid.io.numbering import unit_per_spike
from organoid.io.registry import Entry, Evidence, Format, NoSpikesError
from organoid.io.source import Source, group, number_attribute, open_hdf5, scalar, text, text_attribute
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE
from organoid.recording.validation import clip

PROTOCOL = "McsHdf5ProtocolType"
CMOS_MARKS = ("ID.Type", "ID.TypeID")
_TEXTS = ("ProgramName", "ProgramVersion", "MeaName", "MeaLayout", "MeaSN", "Comment")
_NET_EPOCH_TICKS = 621355968000000000  # 100 ns ticks from year 1 to 1970


def recognises(source: Source) -> bool:
    """Tell an MCS file by its protocol attribute, a CMOS-MEA file by its type attributes."""
    return source.marked(PROTOCOL, *CMOS_MARKS)


def entries(path: Path) -> Sequence[Entry]:
    """Return the recordings."""
    with open_hdf5(path) as h5:
        return list(_recordings(h5))


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read one recording, by name ("Recording_0") or number ("0")."""
    with open_hdf5(path) as h5:
        entry, found = choose(_recordings(h5), None, recording)
        rec = _read(h5, found, str(entry[1]))
    return rec if well is None else rec.select(well=well)


def _recordings(h5: h5py.File) -> dict[Entry, h5py.Group]:
    kind = text(attribute(h5, PROTOCOL))
    if PROTOCOL not in h5.attrs:
        raise RecordingError("this is a CMOS-MEA recording (.cmcr/.cmtr), another layout that is not read")
    if kind != "RawData":
        raise RecordingError(f"attribute {PROTOCOL!r} is {kind!r}; only 'RawData' is read")
    data = group(h5, "Data")
    names = [] if data is None else members(data)
    held: dict[Entry, h5py.Group] = {}
    for name in names:
        found = group(h5, f"Data/{name}")
        if name.startswith("Recording_") and found is not None:
            held[(None, name)] = found
    if not held:
        raise RecordingError(f"group 'Data' holds no Recording_x; it holds {', '.join(names) or 'nothing'}")
    return held


def _read(h5: h5py.File, found: h5py.Group, name: str) -> SpikeRecording:
    notes: list[str] = []
    streams = spike_streams(found, notes)
    stimuli, events = marks_of(found, notes)
    if not streams:
        raise NoSpikesError(f"recognised, holds no detected spikes ({name} has no stream of spike time stamps)")
    times = np.concatenate([np.empty(0)] + [part for stream in streams for part in stream.times])
    units = _unit_table(h5, streams, notes)
    sizes = [part.size for stream in streams for part in stream.times]
    spans, rate = observed_spans(found, {stream.source for stream in streams}, notes)
    start, stop = _window(found, times, spans, rate or DEFAULT_TICK_RATE, notes)
    observed = None if spans is None else clip(spans, start, stop)
    n_unseen = 0 if observed is None else _unseen(times, observed)
    if n_unseen:
        notes.append(f"{n_unseen} of {times.size} spikes lie where no voltage was recorded; kept, unobserved")
    _note_outside(stimuli, start, stop, notes)
    return SpikeRecording(
        times,
        unit_per_spike(sizes),
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=units,
        stimuli=stimuli,
        events=events,
        observed=observed,
        metadata=_metadata(h5, name, notes),
        notes=notes,
    )


def _unit_table(h5: h5py.File, streams: list[SpikeStream], notes: list[str]) -> pd.DataFrame:
    several = len(streams) > 1
    if several:
        names = "; ".join(stream.label for stream in streams)
        notes.append(f"{len(streams)} spike streams are kept side by side, and may hold the same spikes: {names}")
    rows = [
        {
            "name": f"{unit.label} {stream.label}" if several else unit.label,
            "channel": unit.channel,
            "group": unit.group,
        }
        for stream in streams
        for unit in stream.units
    ]
    table = pd.DataFrame(rows, columns=["name", "channel", "group"])
    labels = [unit.label for stream in streams for unit in stream.units]
    x, y = channel_positions(labels, text(attribute(group(h5, "Data") or h5, "MeaName")), notes)
    return table.assign(channel=table["channel"].astype("Int64"), x_um=x, y_um=y)


def _window(
    found: h5py.Group,
    times: NDArray[np.float64],
    spans: NDArray[np.float64] | None,
    tick_rate: float,
    notes: list[str],
) -> tuple[float, float]:
    """Return the window from the start stamp and the duration, which must hold the spikes."""
    first, last = first_and_last(times, "stamps")
    said = scalar(attribute(found, "TimeStamp"))
    duration = scalar(attribute(found, "Duration"))
    if said is None:
        notes.append("attribute TimeStamp (start of the recording) is missing or not a number; 0 is assumed")
    start = (said or 0.0) * 1e-6
    if start:
        notes.append(f"attribute TimeStamp starts the recording at {start:g} s; times are kept as stored")
    if start and not (np.isnan(first) or first >= start):
        notes.append(f"the recording starts at {start:g} s, but its spikes earlier: time 0 is taken as its start")
        start = 0.0
    if duration is not None and 0 < duration < 1e15:
        return covering_window(
            (start, start + duration * 1e-6), first, last, "TimeStamp and Duration", notes, tick_rate
        )
    notes.append("attribute Duration is missing or not a positive number")
    if spans is not None and spans.size:
        return covering_window((start, float(spans[-1, 1])), first, last, "the recorded voltage", notes, tick_rate)
    return inferred_window(first, last, notes, tick_rate)


def _unseen(times: NDArray[np.float64], spans: NDArray[np.float64]) -> int:
    """Return how many times lie outside the spans, on whole microseconds."""
    if times.size and len(spans) == 1 and spans[0, 0] <= times.min() and times.max() < spans[0, 1] - 1e-6:
        return 0
    stamps, edges = np.rint(times * 1e6), np.rint(spans * 1e6)
    k = np.searchsorted(edges[:, 0], stamps, side="right") - 1
    inside = k >= 0
    inside[inside] = stamps[inside] < edges[k[inside], 1]
    return int(np.sum(~inside))


def _note_outside(stimuli: pd.DataFrame, start: float, stop: float, notes: list[str]) -> None:
    n_outside = int(((stimuli["time_s"] < start) | (stimuli["time_s"] >= stop)).sum())
    if n_outside:
        notes.append(f"{n_outside} of {len(stimuli)} stimuli lie outside the window; kept")


def _metadata(h5: h5py.File, name: str, notes: list[str]) -> dict[str, Any]:
    data = group(h5, "Data") or h5
    fields: dict[str, Any] = {"format": "mcs", "recording": name}
    for key in _TEXTS:
        if said := text_attribute(data, key, notes):
            fields[key] = said
    ticks = number_attribute(data, "DateInTicks", notes, _NET_EPOCH_TICKS, 4e18)
    if ticks is not None:
        fields["unix_time_s"] = (ticks - _NET_EPOCH_TICKS) * 1e-7
    return fields


FORMAT = Format(
    name="mcs",
    title="Multi Channel Systems HDF5",
    evidence=f"time stamps, segments, digital events: {Evidence.REAL_FILES}; older files with spikes in an "
    f"EventStream, pauses: {Evidence.LAYOUT_ONLY}",
    recognises=recognises,
    read=read,
    entries=entries,
)
