"""What is in a file, as JSON-able values, without asking which part of it is meant."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from organoid.errors import RecordingError
from organoid.io.labels import chosen, label_counts
from organoid.io.registry import Format, NoSpikesError, detect_format, entries_of, read_as
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.recording import SpikeRecording

NO_SPIKES = "recognised, holds no detected spikes"


def file_info(path: str | PathLike[str], options: ReadOptions = DEFAULT) -> dict[str, Any]:
    """Describe a file: format, counts, window, notes, wells and recordings.

    Parameters
    ----------
    path : path
    options : ReadOptions, optional
        What the user supplies; counts are those of the units it takes.

    Returns
    -------
    dict
        JSON-able: file, format, title, n_units, n_spikes, n_stimuli, n_events, labels (of all units, those left
        out by them included, with their numbers), t_start (smallest), t_stop
        (largest), sampling_rate (None if unknown or not the same everywhere), wells, notes, metadata
        (None if there are several recordings) and entries (well, recording, n_units, n_spikes). Counts
        are totals over the entries.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If the format is unknown, or nothing of the file can be read.
    """
    file = Path(path)
    fmt = detect_format(file, options)
    choices = list(entries_of(fmt, file))
    several = len(choices) > 1
    notes: list[str] = []
    found: list[tuple[str | None, str | None, SpikeRecording]] = []
    failures: list[RecordingError] = []
    labels: Counter[str] = Counter()
    for well, recording in choices:
        label = f"{_entry_label(well, recording)}: " if several else ""
        try:
            rec = read_as(fmt, file, well, recording, replace(options, labels=None, exclude=()))
            labels.update(label_counts(rec))
            rec = chosen(rec, options.labels, options.exclude)
        except RecordingError as error:
            failures.append(error)
            notes.append(label + (NO_SPIKES if isinstance(error, NoSpikesError) else str(error)))
        else:
            found.append((well, recording, rec))
            notes += [label + note for note in rec.notes]
    if not found and failures and not all(isinstance(error, NoSpikesError) for error in failures):
        raise failures[0]
    return {"file": str(file), **_totals(fmt, found), "labels": dict(labels), "notes": notes}


def _totals(fmt: Format, found: Sequence[tuple[str | None, str | None, SpikeRecording]]) -> dict[str, Any]:
    recs = [rec for _, _, rec in found]
    rates = {rec.sampling_rate for rec in recs}
    entries = [row for well, recording, rec in found for row in _rows(well, recording, rec)]
    return {
        "format": fmt.name,
        "title": fmt.title,
        "n_units": sum(rec.n_units for rec in recs),
        "n_spikes": sum(rec.n_spikes for rec in recs),
        "n_stimuli": sum(len(rec.stimuli) for rec in recs),
        "n_events": sum(len(rec.events) for rec in recs),
        "t_start": min((rec.t_start for rec in recs), default=None),
        "t_stop": max((rec.t_stop for rec in recs), default=None),
        "sampling_rate": rates.pop() if len(rates) == 1 else None,
        "wells": list(dict.fromkeys(row["well"] for row in entries if row["well"] is not None)),
        "entries": entries,
        "metadata": recs[0].metadata if len(recs) == 1 else None,
    }


def _rows(well: str | None, recording: str | None, rec: SpikeRecording) -> list[dict[str, Any]]:
    """Return one row per well of a recording, or one row where it names no wells."""
    names = rec.units["well"]
    units = [names.isna().to_numpy()] + [(names == name).fillna(False).to_numpy() for name in rec.wells]
    rows = []
    for name, mask in zip([None, *rec.wells], units):
        if mask.any() or (name is None and not rec.wells):
            n_spikes = int(mask[rec.spike_units].sum())
            rows.append(
                {"well": name or well, "recording": recording, "n_units": int(mask.sum()), "n_spikes": n_spikes}
            )
    return rows


def _entry_label(well: str | None, recording: str | None) -> str:
    return " ".join(part for part in (well, recording) if part) or "recording"
