"""What a mapping may say, checked: a TOML file that tells where a layout of one's own keeps its spikes.

    times = "spikes/t"           # dataset, variable, column or array; "trains/*" is one dataset per unit
    units = "spikes/unit"        # unit of each time (flat), or
    first_unit = 1               # unit numbers are places in the lists below, counted from 0 or 1
    index = "spikes/ends"        # ends (or counts) of each unit's part of the times (ragged)
    time_unit = "ms"             # s (default), ms, us or samples
    one_based = true             # samples count from 1, as in MATLAB
    sampling_rate = 20000        # a number, or the name of what holds it; "@rate" is an attribute

See docs/how-to/own-layout.md. Errors name the line.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from organoid.errors import RecordingError
from organoid.io.encodings import decoded

UNITS_OF_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "samples": None}
_NAMES = ("times", "units", "index", "counts", "names", "channel", "electrode", "x_um", "y_um", "well", "label")
_TEXTS = (*_NAMES, "time_unit", "delimiter")
_NUMBERS = ("sampling_rate", "t_start", "t_stop")
_FIRST = (0, 1)
_TABLES = {"stimuli": ("times", "electrode", "channel", "amplitude", "duration"), "events": ("times", "kind", "label")}
_KNOWN = (*_TEXTS, *_NUMBERS, "one_based", "first_unit", "metadata", *_TABLES)
_LARGEST = 1 << 20


@dataclass(frozen=True)
class LayoutMapping:
    """A checked mapping; names are those of datasets, variables, columns or arrays, ``@`` begins an attribute."""

    said: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    source: str = "the mapping"

    def name(self, key: str) -> str | None:
        """Return the name a key gives, or None."""
        value = self.said.get(key)
        return None if value is None else str(value)

    def where(self, key: str) -> str:
        """Return the place of a key, for errors."""
        line = self.lines.get(key)
        return f"{self.source}, line {line} ({key})" if line else f"{self.source} ({key})"

    def fail(self, key: str, problem: str) -> RecordingError:
        """Return the error that says what is wrong with one line."""
        return RecordingError(f"{self.where(key)}: {problem}")


def read_mapping(given: str | PathLike[str] | Mapping[str, Any]) -> LayoutMapping:
    """Return a mapping from a TOML file or its content.

    Raises
    ------
    FileNotFoundError
    RecordingError
        Naming the line that cannot be right.
    """
    if isinstance(given, Mapping):
        return _checked(LayoutMapping(dict(given)))
    path = Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path} (mapping)")
    if path.stat().st_size > _LARGEST:
        raise RecordingError(f"{path}: {path.stat().st_size} bytes are too long for a mapping")
    text = decoded(path.read_bytes())
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecordingError(f"{path} is no TOML text: {error}") from None
    return _checked(LayoutMapping(said, _lines(text), path.name))


def _lines(text: str) -> dict[str, int]:
    """Return the line each key stands on; keys of a table as ``table.key``."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[([\w.-]+)\]", line):
            table = match[1]
            found.setdefault(table, number)
        elif match := re.match(r"\s*([\w-]+|\"[^\"]*\")\s*=", line):
            key = match[1].strip('"')
            found.setdefault(f"{table}.{key}" if table else key, number)
    return found


def _checked(mapping: LayoutMapping) -> LayoutMapping:
    for key, value in mapping.said.items():
        if key not in _KNOWN:
            raise mapping.fail(key, f"there is no such entry; entries are {', '.join(_KNOWN)}")
        if key in _TEXTS and (not isinstance(value, str) or not value):
            raise mapping.fail(key, f"{value!r} is no name; expected a text")
        if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float | str)):
            raise mapping.fail(key, f"{value!r} is neither a number nor the name of what holds one")
    if "times" not in mapping.said:
        raise RecordingError(f"{mapping.source} has no entry times: say where the spike times are")
    unit = mapping.said.get("time_unit", "s")
    if unit not in UNITS_OF_TIME:
        raise mapping.fail("time_unit", f"{unit!r} is no unit of time; expected {', '.join(UNITS_OF_TIME)}")
    both = [key for key in ("units", "index", "counts") if key in mapping.said]
    if len(both) > 1:
        raise mapping.fail(both[1], f"stands beside {both[0]}; give one of units, index and counts")
    if mapping.said.get("first_unit", 0) not in _FIRST:
        raise mapping.fail("first_unit", f"is {mapping.said['first_unit']!r}; units count from 0 or from 1")
    for table, keys in _TABLES.items():
        _check_table(mapping, table, keys)
    if not isinstance(mapping.said.get("metadata", {}), dict):
        raise mapping.fail("metadata", "is no table; expected [metadata] and lines of name = value")
    return mapping


def _check_table(mapping: LayoutMapping, table: str, keys: tuple[str, ...]) -> None:
    held = mapping.said.get(table)
    if held is None:
        return
    if isinstance(held, str):
        mapping.said[table] = {"times": held}
        return
    if not isinstance(held, dict) or "times" not in held:
        raise mapping.fail(table, "has no times; expected the name of what holds them, or a table with an entry times")
    for key, value in held.items():
        if key not in keys:
            raise mapping.fail(f"{table}.{key}", f"there is no such entry; entries are {', '.join(keys)}")
        if not isinstance(value, str):
            raise mapping.fail(f"{table}.{key}", f"{value!r} is no name; expected a text")
