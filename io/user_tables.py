"""Times of stimuli or events as a user has them: a CSV with almost any header, a table, or bare numbers."""

import csv
import re
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid.errors import RecordingError
from organoid.io.encodings import decoded

_LARGEST = 1 << 28
_TIME = (
    "time_s",
    "time",
    "t",
    "times",
    "onset",
    "onset_s",
    "start_time",
    "start",
    "start_s",
    "timestamp",
    "timestamps",
)
_SCALES = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6}
_NAMES = {
    "duration": "duration_s",
    "width": "duration_s",
    "current": "amplitude",
    "unit": "amplitude_unit",
    "type": "kind",
    "name": "label",
    "message": "label",
    "description": "label",
    "text": "label",
}
_HEADER = re.compile(r"^(.*?)[\s_]*(?:[\(\[]\s*(\w+|µs)\s*[\)\]])?$")
_UNIT_END = re.compile(r"^(.+)_(s|ms|us)$")
_NUMBERED = re.compile(r"^([^\W\d]+[_ -]?)(\d+)$")
_ABSENT = ("", "na", "nan", "none", "<na>", "-")
_INTEGERS, _NUMBERS = ("electrode", "channel", "waveform_id"), ("duration_s", "amplitude")


def times_table(given: Any, what: str) -> pd.DataFrame:
    """Return what a user gave as a table with a column time_s.

    Parameters
    ----------
    given : path, DataFrame or array_like of s
    what : str
        "stimuli" or "events", for errors.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If it holds no times, naming what was expected.
    """
    if isinstance(given, str | PathLike):
        return _from_file(Path(given), what)
    if isinstance(given, pd.DataFrame):
        return _named(given, what)
    try:
        times = np.asarray(given, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise RecordingError(f"{what} are {type(given).__name__}; expected a file, a table or times in s") from None
    return _checked(pd.DataFrame({"time_s": times}), what)


def _from_file(path: Path, what: str) -> pd.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path} ({what})")
    if path.stat().st_size > _LARGEST:
        raise RecordingError(f"{path} ({what}): {path.stat().st_size} bytes are too long for a list of times")
    try:
        return _named(_rows(decoded(path.read_bytes())), what)
    except RecordingError as error:
        raise RecordingError(f"{path} ({what}): {error}") from None


def _rows(text: str) -> pd.DataFrame:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise RecordingError("the file holds no rows")
    separator = max(",;\t", key=lines[0].count) if any(mark in lines[0] for mark in ",;\t") else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as error:
        raise RecordingError(f"no readable CSV text: {error}") from None
    if _is_number(rows[0][0], separator):
        return pd.DataFrame({"time_s": [_number(row[0] if row else "", separator) for row in rows]})
    width = len(rows[0])
    table = pd.DataFrame([(row + [""] * width)[:width] for row in rows[1:]], columns=rows[0])
    return table if separator == "," else table.map(lambda cell: cell.replace(",", "."))


def _is_number(cell: str, separator: str) -> bool:
    return bool(np.isfinite(_number(cell, separator)))


def _number(cell: Any, separator: str = ",") -> float:
    try:
        return float(str(cell).replace(",", ".") if separator != "," else cell)
    except ValueError:
        return float("nan")


def _named(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return the table under the names of this package, times and durations in seconds."""
    out: dict[str, Any] = {}
    for column in table.columns:
        name, scale = _meaning(str(column))
        if name in out:
            continue
        values: Any = table[column]
        if name == "time_s" or name in _NUMBERS:
            numbers = np.array([_number(value) for value in values], dtype=np.float64)
            values = numbers * scale if name in ("time_s", "duration_s") else numbers
        elif name in _INTEGERS:
            values = _integers(values, str(column))
        out[name] = values.reset_index(drop=True) if isinstance(values, pd.Series) else values
    if "time_s" not in out:
        columns = ", ".join(map(str, table.columns)) or "none"
        raise RecordingError(f"no column of times; its columns are {columns}; expected time_s (or time_ms)")
    return _checked(pd.DataFrame(out), what)


def _integers(values: Any, column: str) -> Any:
    """Return integers; of names that differ by their number alone (ch_33, ch_36) the number."""
    named = [_NUMBERED.match(str(value).strip()) for value in values]
    prefixes = {match[1].lower() for match in named if match and match[1]}
    numbers = [
        int(match[2]) if match and match[1] and len(prefixes) == 1 else _number(value)
        for match, value in zip(named, values, strict=True)
    ]
    for value, number in zip(values, numbers, strict=True):
        if np.isnan(number) and not pd.isna(value) and str(value).strip().lower() not in _ABSENT:
            raise RecordingError(
                f"column {column} holds {str(value)!r}; expected whole numbers, or names such as ch_33"
            )
    return pd.array([int(number) if np.isfinite(number) else None for number in numbers], dtype="Int64")


def _meaning(column: str) -> tuple[str, float]:
    """Return the name this package uses for a column, and the seconds in its unit."""
    plain = column.strip().lower()
    match = _HEADER.match(plain)
    name, unit = (match[1], match[2]) if match and match[2] in _SCALES else (plain, None)
    if unit is None and (ending := _UNIT_END.match(name)):
        name, unit = ending[1], ending[2]
    name = name.strip().replace(" ", "_")
    if name in _TIME:
        return "time_s", _SCALES.get(unit or "s", 1.0)
    name = _NAMES.get(name, name)
    return (
        (name, _SCALES.get(unit or "s", 1.0)) if name != "duration" else ("duration_s", _SCALES.get(unit or "s", 1.0))
    )


def _checked(table: pd.DataFrame, what: str) -> pd.DataFrame:
    bad = ~np.isfinite(table["time_s"].to_numpy(dtype=float))
    if bad.all():
        raise RecordingError(f"none of the {len(table)} {what} has a time in s")
    if bad.any():
        raise RecordingError(
            f"{int(bad.sum())} of {len(table)} {what} have no time; the first is row {int(np.argmax(bad)) + 1}"
        )
    return table.sort_values("time_s", kind="stable", ignore_index=True)
