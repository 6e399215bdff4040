"""Neo: a recording to and from a Block with one Segment."""

from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.interop.partner import partner
from organoid.io.exchange import as_text, from_context, trains
from organoid.recording import SpikeRecording

_KEPT = "organoid_context"
_NEO_DEFAULT_HZ = 1.0  # what neo gives trains without a rate
_COLUMNS = ("channel", "electrode", "x_um", "y_um", "well", "label", "group")


def to_neo(rec: SpikeRecording) -> Any:
    """Return a Block: a SpikeTrain per unit, an Event each for stimuli and events, an Epoch of what was not observed.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    neo.Block
    """
    neo, pq = partner("neo"), partner("quantities")
    block = neo.Block(name="organoid", **{_KEPT: as_text(rec)})
    segment = neo.Segment(name="recording")
    block.segments.append(segment)
    segment.spiketrains.extend(spike_trains(rec))
    for name, table, column in (("stimuli", rec.stimuli, "waveform_id"), ("events", rec.events, "label")):
        if len(table):
            said = [str(value) if pd.notna(value) else "" for value in table[column]]
            segment.events.append(neo.Event(table["time_s"].to_numpy() * pq.s, labels=np.array(said), name=name))
    edges = np.concatenate([[rec.t_start], rec.observed.ravel(), [rec.t_stop]]).reshape(-1, 2)
    holes = edges[edges[:, 1] > edges[:, 0]]
    if len(holes):
        long = (holes[:, 1] - holes[:, 0]) * pq.s
        labels = np.array(["not observed"] * len(holes))
        segment.epochs.append(neo.Epoch(holes[:, 0] * pq.s, durations=long, labels=labels, name="holes"))
    return block


def spike_trains(rec: SpikeRecording) -> list[Any]:
    """Return a neo SpikeTrain for each unit."""
    neo, pq = partner("neo"), partner("quantities")
    rate = {} if rec.sampling_rate is None else {"sampling_rate": rec.sampling_rate * pq.Hz}
    found = []
    for k, times in enumerate(trains(rec)):
        unit = rec.units.iloc[k]
        said = {name: unit[name] for name in _COLUMNS if name in unit and pd.notna(unit[name])}
        window = {"t_start": rec.t_start * pq.s, "t_stop": rec.t_stop * pq.s}
        found.append(neo.SpikeTrain(times * pq.s, name=str(unit["name"]), **window, **rate, **said))
    return found


def from_neo(source: Any) -> SpikeRecording:
    """Return the recording of a Block, a Segment, or a list of SpikeTrains.

    Parameters
    ----------
    source : neo.Block, neo.Segment or list of neo.SpikeTrain
        A Block of several segments is several recordings: give one of its segments.

    Returns
    -------
    SpikeRecording
        Equal to the one `to_neo` was given, if the Block comes from there.
    """
    neo = partner("neo")
    segment, kept = source, None
    if isinstance(source, neo.Block):
        if len(source.segments) != 1:
            raise RecordingError(f"the Block has {len(source.segments)} segments; give one of them")
        segment, kept = source.segments[0], source.annotations.get(_KEPT)
    held = list(segment.spiketrains) if isinstance(segment, neo.Segment) else list(segment)
    if not all(isinstance(train, neo.SpikeTrain) for train in held):
        raise RecordingError(f"{type(source).__name__} holds no SpikeTrains of neo")
    parts = [np.asarray(train.rescale("s").magnitude, dtype=np.float64) for train in held]
    units = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    times = np.concatenate([np.empty(0), *parts])
    if kept is not None:
        return from_context(times, units, kept)
    return _plain(held, times, units, segment if isinstance(segment, neo.Segment) else None)


def _plain(held: list[Any], times: Any, units: Any, segment: Any) -> SpikeRecording:
    starts = [float(train.t_start.rescale("s").magnitude) for train in held] or [0.0]
    stops = [float(train.t_stop.rescale("s").magnitude) for train in held] or [0.0]
    rates = {float(train.sampling_rate.rescale("Hz").magnitude) for train in held if train.sampling_rate is not None}
    rates.discard(_NEO_DEFAULT_HZ)
    rate = rates.pop() if len(rates) == 1 else None
    stop = max(stops)
    if times.size and times.max() >= stop:  # neo's windows are closed
        stop = float(times.max()) + 1 / (rate or 1e6)
    table = {"name": [str(train.name or f"unit_{k}") for k, train in enumerate(held)]}
    extra = {
        name: [train.annotations.get(name) for train in held]
        for name in _COLUMNS
        if any(name in train.annotations for train in held)
    }
    events = [] if segment is None else [_marks(event) for event in segment.events if event.name != "stimuli"]
    stimuli = [] if segment is None else [_marks(event) for event in segment.events if event.name == "stimuli"]
    return SpikeRecording(
        times,
        units,
        n_units=len(held),
        t_start=min(starts),
        t_stop=stop,
        sampling_rate=rate,
        units={**table, **extra},
        events=pd.concat(events, ignore_index=True) if events else None,
        stimuli=pd.concat(stimuli, ignore_index=True)[["time_s"]] if stimuli else None,
        metadata={"format": "neo"},
        notes=["from spike trains of neo"],
    )


def _marks(event: Any) -> pd.DataFrame:
    times = np.asarray(event.rescale("s").magnitude, dtype=np.float64)
    labels = [str(label) for label in event.labels] if len(event.labels) == times.size else [""] * times.size
    return pd.DataFrame({"time_s": times, "kind": str(event.name or "event"), "label": labels})
