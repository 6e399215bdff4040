"""From what a reader returns to what a user gets: rate, labels, stimuli and events as supplied, doubts as notes."""

from pathlib import Path
from typing import Any

import pandas as pd

from organoid.errors import RecordingError
from organoid.io.clock import doubts
from organoid.io.labels import chosen
from organoid.io.supplied import ReadOptions
from organoid.io.user_tables import times_table
from organoid.recording import SpikeRecording
from organoid.recording.artefacts import find_pulses
from organoid.recording.tables import EVENT_COLUMNS

EVENTS, ARTEFACTS = "events", "artefacts"


def completed(rec: SpikeRecording, options: ReadOptions, *, own: bool = False) -> SpikeRecording:
    """Return a recording with what the user supplied, and notes on what is implausible in it.

    Parameters
    ----------
    rec : SpikeRecording
    options : ReadOptions
    own : bool
        The file is of this package: what it holds was judged before.
    """
    rec = _with_rate(rec, options.sampling_rate)
    if not own and (found := doubts(rec)):
        rec = rec.replace(notes=[*rec.notes, *found])
    rec = chosen(rec, options.labels, options.exclude)
    if options.events is not None:
        rec = _with_events(rec, options.events)
    return rec if options.stimuli is None else _with_stimuli(rec, options.stimuli)


def _with_rate(rec: SpikeRecording, rate: float | None) -> SpikeRecording:
    """Return the recording at the user's sampling rate; frames were counted with it already."""
    if rate is None:
        return rec
    note = f"the sampling rate of {rate:g} Hz was supplied by the user"
    return rec.replace(sampling_rate=float(rate), notes=[*rec.notes, note])


def _with_events(rec: SpikeRecording, given: Any) -> SpikeRecording:
    table = times_table(given, "events")
    columns = [name for name in table if name in EVENT_COLUMNS or name not in rec.events]
    table = table[columns].assign(kind=table["kind"] if "kind" in table else "supplied")
    held = [part for part in (rec.events, table) if len(part)]
    merged = pd.concat(held).sort_values("time_s", kind="stable", ignore_index=True)
    return rec.replace(events=merged, notes=[*rec.notes, f"{len(table)} events were supplied by the user"])


def _with_stimuli(rec: SpikeRecording, given: Any) -> SpikeRecording:
    if isinstance(given, str | Path) and _is_log(Path(given)):
        from organoid.io.stimulation_log import attach_log

        return attach_log(rec, Path(given))
    table, source = _stimulus_table(rec, given)
    table = table.drop(columns=[name for name in ("kind", "label") if name in table])
    outside = int(((table["time_s"] < rec.t_start) | (table["time_s"] >= rec.t_stop)).sum())
    notes = [f"{len(table)} stimuli from {source}"]
    if outside:
        notes.append(f"{outside} of {len(table)} stimuli from {source} lie outside the recording; kept")
    held = [part for part in (rec.stimuli, table) if len(part)]
    merged = pd.concat(held).sort_values("time_s", kind="stable", ignore_index=True) if held else None
    return rec.replace(stimuli=merged, notes=[*rec.notes, *notes])


def _is_log(path: Path) -> bool:
    """Return whether a file is a stimulation log of a known kind rather than a list of times."""
    from organoid.io.stimulation_log import is_log

    return path.is_file() and is_log(path)


def _stimulus_table(rec: SpikeRecording, given: Any) -> tuple[pd.DataFrame, str]:
    """Return the stimuli a user means, and where they come from."""
    word = given if isinstance(given, str) and not Path(given).exists() else ""
    if word == ARTEFACTS:
        return find_pulses(rec), "simultaneous spikes on many units"
    if word == EVENTS or word.startswith(f"{EVENTS}:"):
        return _of_events(rec, word.removeprefix(EVENTS).removeprefix(":")), f"the events {word!r} of the file"
    table = times_table(given, "stimuli")
    return table, Path(given).name if isinstance(given, str | Path) else "the user"


def _of_events(rec: SpikeRecording, kind: str) -> pd.DataFrame:
    """Return the events of one kind (or label, or all) as stimuli."""
    events = rec.events
    named = (events["kind"] == kind) | (events["label"] == kind)
    found = events if not kind else events[named.fillna(False).to_numpy(dtype=bool)]
    if not len(found):
        kinds = ", ".join(sorted({str(name) for name in events["kind"].dropna()})) or "none"
        raise RecordingError(f"the file holds no events {kind!r} to take as stimuli; kinds of events: {kinds}")
    return found.reset_index(drop=True)
