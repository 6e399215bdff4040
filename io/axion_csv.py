"""Axion "spike list" exports: CSV, many wells in one file.

The file is not one table: the columns before "Time (s)" hold a block of settings beside the first
spikes, and other exports end with a footer. Electrode ``D3_31`` is column 3, row 1 of well D3.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.encodings import encoding_of
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source
from organoid.io.window import DOUBTFUL_SILENCE, covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE

TIME, ELECTRODE = "time (s)", "electrode"
_ELECTRODE_NAME = re.compile(r"([A-Z]{1,2}\d{1,2})_(\d{2,3})")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_HEADER_LINES = 20
_HEAD_BYTES = 4096
_PLAIN_NAME = re.compile(r"[A-Za-z][\w.-]{0,15}|\d{1,5}")  # an electrode of a layout this reader does not know


def recognises(source: Source) -> bool:
    """Tell a spike list by a header line that names a time and an electrode."""
    lines = source.start.splitlines()[:_HEADER_LINES]
    return any(_header(line) is not None for line in lines)


def _header(line: str) -> tuple[str, int, int] | None:
    """Return the separator and the columns of time and electrode, if the line is the header."""
    for separator in (",", ";", "\t"):
        cells = [cell.strip().strip('"').lower() for cell in line.split(separator)]
        if TIME in cells and ELECTRODE in cells:
            return separator, cells.index(TIME), cells.index(ELECTRODE)
    return None


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a spike list; `well` selects one culture."""
    if recording is not None:
        raise RecordingError("a spike list holds one recording without a name")
    rec = _read(path)
    return rec if well is None else rec.select(well=well)


def _lines(path: Path) -> Iterator[str]:
    """Yield lines of any ending, carriage returns alone included."""
    with open(path, "rb") as raw:
        encoding = encoding_of(raw.read(_HEAD_BYTES))
    with open(path, encoding=encoding, errors="replace", newline=None) as text:
        yield from text


def _read(path: Path) -> SpikeRecording:
    notes: list[str] = []
    lines = _lines(path)
    found = next((held for line in lines if (held := _header(line)) is not None), None)
    if found is None:
        raise RecordingError("no header line with 'Time (s)' and 'Electrode'")
    separator, time_column, electrode_column = found
    settings: dict[str, str] = {}
    rows: list[tuple[int, float, str]] = []
    unread: list[tuple[int, str]] = []
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=separator), start=2):
            if time_column >= 2 and len(row) > 1 and row[0].strip():
                settings[row[0].strip()] = row[1].strip()
            time, electrode = _cell(row, time_column), _cell(row, electrode_column)
            if not time and not electrode:
                continue
            value = _number(time, separator)
            if value is None or not _PLAIN_NAME.fullmatch(electrode):
                unread.append((number, f"{time!r} {electrode!r}"))
                continue
            rows.append((number, value, electrode))
    except csv.Error as error:
        raise RecordingError(f"the list is damaged after {len(rows)} spikes: {error}") from None
    known = [_ELECTRODE_NAME.fullmatch(electrode) is not None for _, _, electrode in rows]
    if any(known):  # names of another kind then are no electrodes
        odd = [row for row, fits in zip(rows, known) if not fits]
        unread = sorted([*unread, *((number, f"{time:g} {name!r}") for number, time, name in odd)])
        rows = [row for row, fits in zip(rows, known) if fits]
    if unread:
        notes.append(
            f"{len(unread)} rows are no spikes (a footer?) and left out; the first is row {unread[0][0]}: "
            f"{unread[0][1]}"
        )
    if unread and not rows:
        raise RecordingError(
            f"none of the {len(unread)} rows is a spike; the first is row {unread[0][0]}: {unread[0][1]} (expected a "
            "time in s and the name of an electrode, such as 1.25 and A1_11)"
        )
    times = np.array([time for _, time, _ in rows], dtype=np.float64)
    return _build(times, [electrode for _, _, electrode in rows], settings, notes)


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if len(row) > column else ""


def _number(cell: str, separator: str) -> float | None:
    try:
        value = float(cell.replace(",", ".") if separator != "," else cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _build(
    times: NDArray[np.float64], electrodes: list[str], settings: dict[str, str], notes: list[str]
) -> SpikeRecording:
    names, units = np.unique(np.array(electrodes, dtype=str), return_inverse=True)
    parts = [_ELECTRODE_NAME.fullmatch(str(name)) for name in names]
    n_plain = sum(part is None for part in parts)
    if n_plain:
        first = next(str(name) for name, part in zip(names, parts) if part is None)
        notes.append(
            f"{n_plain} of {names.size} electrodes are not named by well, column and row ({first!r}): "
            "their wells are unknown"
        )
    if np.any(np.diff(times) < 0):
        notes.append(f"times step back {int(np.sum(np.diff(times) < 0))} times; they were sorted")
    notes.append("positions unknown: a spike list gives the place on the grid of a well, not the distance")
    rate = _rate(settings, notes)
    start, stop = _window(times, rate or DEFAULT_TICK_RATE, settings, notes)
    table = pd.DataFrame(
        {
            "name": names,
            "electrode": pd.array([None if part is None else int(part[2]) for part in parts], dtype="Int64"),
            "well": pd.array([None if part is None else part[1] for part in parts], dtype="str"),
            "grid_column": pd.array([None if part is None else int(part[2][0]) for part in parts], dtype="Int64"),
            "grid_row": pd.array([None if part is None else int(part[2][1:]) for part in parts], dtype="Int64"),
        }
    )
    return SpikeRecording(
        times,
        units,
        t_start=start,
        t_stop=stop,
        sampling_rate=rate,
        units=table,
        metadata={"format": "axion-csv", "settings": settings},
        notes=notes,
    )


def _rate(settings: dict[str, str], notes: list[str]) -> float | None:
    said = settings.get("Sampling Frequency", "")
    match = re.fullmatch(r"([\d.]+)\s*(k?)Hz", said.replace(",", "."))  # "12,5 kHz" where commas are decimal
    try:
        rate = float(match[1]) * (1000 if match[2] else 1) if match else 0.0
    except ValueError:
        rate = 0.0
    if not 1 <= rate <= 1e9:
        notes.append(f"sampling rate unknown: the settings say {said!r}")
        return None
    return rate


def _window(
    times: NDArray[np.float64], tick_rate: float, settings: dict[str, str], notes: list[str]
) -> tuple[float, float]:
    """Return the exported section, unless the list was plainly cut after it was exported."""
    first, last = first_and_last(times, "Time (s)")
    said = settings.get("Actual File Section Run", "")
    ends = [seconds(part) for part in said.split(" to ")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
        notes.append(f"the exported section is not known: the settings say {said!r}")
        return inferred_window(first, last, notes, tick_rate)
    begin, end = ends[0], ends[1]
    if first < begin and last < end - begin:
        notes.append(f"times count from the start of the exported section ({said}), not of the recording")
        begin, end = 0.0, end - begin
    if end - last > DOUBTFUL_SILENCE * (end - begin):
        notes.append(
            f"the settings say that {said} was exported, but the last of {times.size} spikes comes at {last:.6f} s: "
            "the list seems to have been cut"
        )
        return inferred_window(first, last, notes, tick_rate)
    return covering_window((begin, end), first, last, "Actual File Section Run", notes, tick_rate)


def seconds(text: str) -> float | None:
    """Return the seconds in a text such as "18m2s", or None."""
    match = _DURATION.fullmatch(text.strip().replace(",", "."))
    if match is None or not any(match.groups()):
        return None
    return sum(float(part) * scale for part, scale in zip(match.groups(), _SECONDS.values()) if part)


FORMAT = Format(
    name="axion-csv",
    title="Axion spike list (CSV)",
    evidence=Evidence.REAL_FILES,
    recognises=recognises,
    read=read,
)
