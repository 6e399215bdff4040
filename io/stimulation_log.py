"""Stimulation logs kept beside a recording (CSV), attached to its stimuli.

Two kinds, told apart by their columns. Electrical: ``time`` (s since the start), ``amplitude`` (mV),
``duty_time_ms`` (holds microseconds), ``stim_electrodes`` (a list of electrodes), ``tag``; the text of the
list is parsed, never run. Optical: ``time (sec)`` (UNIX time), ``on_duration (frames)``, ...
"""

import ast
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.io.encodings import decoded
from organoid.recording import SpikeRecording

_LARGEST_LOG = 1 << 28
_HEAD = 4096
_UNIX_TIMES = 1e8  # a time beyond this is UNIX time, not seconds since the start


def is_log(path: Path) -> bool:
    """Return whether a CSV has the columns of one of the two kinds of log."""
    with open(path, "rb") as file:
        header = decoded(file.read(_HEAD)).splitlines()[:1]
    names = {name.strip().strip('"') for name in header[0].split(",")} if header else set()
    return "time (sec)" in names or {"time", "stim_electrodes"} <= names


def attach_log(rec: SpikeRecording, path: Path) -> SpikeRecording:
    """Return the recording with the stimuli of a log added to those it has.

    Parameters
    ----------
    rec : SpikeRecording
    path : path
        Stimulation log.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If it is no stimulation log, or its times cannot be placed on the clock of the recording.
    """
    notes: list[str] = []
    try:
        table = read_log(path, rec, notes)
    except RecordingError as error:
        raise RecordingError(f"{path} (stimulation log): {error}") from None
    outside = int(((table["time_s"] < rec.t_start) | (table["time_s"] >= rec.t_stop)).sum())
    notes.insert(0, f"{len(table)} stimuli attached from {path.name}")
    if outside:
        notes.append(f"{outside} of {len(table)} stimuli of {path.name} lie outside the recording; kept")
    parts = [part for part in (rec.stimuli, table) if len(part)]
    stimuli = pd.concat(parts).sort_values("time_s", kind="stable", ignore_index=True) if parts else None
    return rec.replace(
        stimuli=stimuli, metadata={**rec.metadata, "stimulation_log": path.name}, notes=[*rec.notes, *notes]
    )


def read_log(path: Path, rec: SpikeRecording, notes: list[str]) -> pd.DataFrame:
    """Read a stimulation log as a table of stimuli on the clock of a recording."""
    rows = _rows(path)
    names = set(rows[0]) if rows else set()
    if "time (sec)" in names:
        return _optical(rows, rec, notes)
    if {"time", "stim_electrodes"} <= names:
        return _electrical(rows, notes)
    raise RecordingError(
        f"no known log: its columns are {', '.join(sorted(names)) or 'none'}; expected 'time' and 'stim_electrodes', "
        "or 'time (sec)'"
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if path.stat().st_size > _LARGEST_LOG:
        raise RecordingError(f"the file is {path.stat().st_size} bytes long, too long for a log")
    lines = decoded(path.read_bytes()).splitlines()
    try:
        return [{key.strip(): value or "" for key, value in row.items() if key} for row in csv.DictReader(lines)]
    except (csv.Error, AttributeError) as error:
        raise RecordingError(f"no readable CSV text: {error}") from None


def _number(row: dict[str, str], key: str) -> float:
    try:
        return float(row.get(key, ""))
    except ValueError:
        return float("nan")


def _times(rows: list[dict[str, str]], key: str, notes: list[str]) -> tuple[np.ndarray[Any, Any], list[dict[str, str]]]:
    """Return the times, s, and the rows that have one."""
    times = np.array([_number(row, key) for row in rows])
    good = np.isfinite(times)
    if not good.all():
        notes.append(f"{int(np.sum(~good))} of {len(rows)} rows of the log have no time and are left out")
    return times[good], [row for row, fine in zip(rows, good) if fine]


def _electrical(rows: list[dict[str, str]], notes: list[str]) -> pd.DataFrame:
    times, kept = _times(rows, "time", notes)
    if times.size and np.abs(times).max() > _UNIX_TIMES:
        raise RecordingError(f"column 'time' runs to {times.max():g}, which is not seconds since the start")
    notes.append("amplitudes of the log are taken as mV and 'duty_time_ms' as microseconds a phase, as its writer does")
    table: list[dict[str, Any]] = []
    n_bad = 0
    for time, row in zip(times, kept):
        listed = _electrodes(row["stim_electrodes"])
        n_bad += listed is None
        electrodes: list[int | None] = [*listed] if listed else [None]
        for electrode in electrodes:
            table.append(
                {
                    "time_s": time,
                    "duration_s": _number(row, "duty_time_ms") * 1e-6,
                    "electrode": electrode,
                    "amplitude": _number(row, "amplitude") * 1e-3,
                    "amplitude_unit": "V",
                    "tag": row.get("tag", ""),
                }
            )
    if n_bad:
        notes.append(f"{n_bad} rows of the log have no readable list of electrodes")
    columns = ["time_s", "duration_s", "electrode", "amplitude", "amplitude_unit", "tag"]
    found = pd.DataFrame(table, columns=columns)
    return found.assign(electrode=pd.array(found["electrode"].tolist(), dtype="Int64"))


def _electrodes(cell: str) -> list[int] | None:
    """Return the integers of a list written as text."""
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    numbers = [value] if isinstance(value, int) else value
    if not isinstance(numbers, list | tuple) or not all(type(number) is int for number in numbers):
        return None
    return list(numbers)


def _optical(rows: list[dict[str, str]], rec: SpikeRecording, notes: list[str]) -> pd.DataFrame:
    times, kept = _times(rows, "time (sec)", notes)
    if times.size and times.min() > _UNIX_TIMES:
        times = times - _start_of(rec, times[0], notes)
    frames = np.array([_number(row, "on_duration (frames)") for row in kept])
    if rec.sampling_rate is None and np.isfinite(frames).any():
        notes.append("durations of the log are in frames, but the sampling rate is unknown: left unknown")
    if rec.sampling_rate is not None:
        notes.append("durations of the log are taken as frames at the recording's sampling rate")
    durations = frames / rec.sampling_rate if rec.sampling_rate else np.full(frames.size, np.nan)
    intensity = [_number(row, "intensity_fraction") for row in kept]
    return pd.DataFrame(
        {
            "time_s": times,
            "duration_s": durations,
            "intensity_fraction": np.array(intensity, dtype=float),
            "tag": pd.array([row.get("notes", "") for row in kept], dtype="str"),
        }
    )


def _start_of(rec: SpikeRecording, first: float, notes: list[str]) -> float:
    """Return the UNIX time of the recording's time 0, s; without one the first stimulus is put at its start."""
    for key, scale in (("start_time_ms", 1e-3), ("unix_time_s", 1.0)):
        value = rec.metadata.get(key)
        if isinstance(value, int | float) and value > _UNIX_TIMES:
            notes.append("times of the log are UNIX times; the recording's wall clock places them, to its precision")
            return float(value) * scale
    notes.append(
        "times of the log are UNIX times and the recording has no wall clock: the first stimulus is put at its start"
    )
    return first - rec.t_start
