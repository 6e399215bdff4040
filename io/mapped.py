"""Reading a layout of one's own through a mapping: times flat, ragged, or one array per unit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.mapped_source import Arrays, column_of, flat_numbers, open_arrays
from organoid.io.mapping import UNITS_OF_TIME, LayoutMapping
from organoid.io.source import scalar
from organoid.io.supplied import supplied
from organoid.io.window import covering_window, first_and_last, inferred_window
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE

_COLUMNS = ("names", "channel", "electrode", "x_um", "y_um", "well", "label")
_WHOLE = ("channel", "electrode")
_TABLE_NAMES = {"times": "time_s", "duration": "duration_s"}
_FEW = 12


def read(mapping: LayoutMapping, path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a file as a mapping says; `well` selects one culture."""
    if recording is not None:
        raise RecordingError("a file read through a mapping holds one recording without a name")
    with open_arrays(path, mapping.name("delimiter")) as arrays:
        rec = _Mapped(mapping, arrays).recording()
    return rec if well is None else rec.select(well=well)


class _Mapped:
    """One file seen through one mapping."""

    def __init__(self, mapping: LayoutMapping, arrays: Arrays) -> None:
        self.mapping, self.arrays, self.notes = mapping, arrays, list[str]()
        self.rate = supplied().sampling_rate or self._number("sampling_rate")

    def recording(self) -> SpikeRecording:
        """Return the recording the mapping describes."""
        times, units, keys = self._spikes()
        seconds = self._seconds("times", times)
        first, last = first_and_last(seconds, self.mapping.said["times"])
        table = self._units(keys)
        start, stop = self._window(first, last)
        return SpikeRecording(
            seconds,
            units,
            n_units=len(keys),
            t_start=start,
            t_stop=stop,
            sampling_rate=self.rate,
            units=table,
            stimuli=self._table("stimuli"),
            events=self._table("events"),
            metadata={"format": "mapped", "mapping": self.mapping.source, **self._metadata()},
            notes=[*self.notes, f"read through {self.mapping.source}"],
        )

    def _value(self, key: str, name: str) -> Any:
        """Return what an entry names; an error says what there is instead."""
        value = column_of(self.arrays, name)
        if value is None:
            held = self.arrays.names()
            some = ", ".join(held[:_FEW]) + (f" and {len(held) - _FEW} more" if len(held) > _FEW else "")
            raise self.mapping.fail(key, f"the file holds nothing named {name!r}; it holds {some or 'nothing'}")
        return value

    def _numbers(self, key: str, name: str | None = None) -> NDArray[np.float64]:
        named = name or str(self.mapping.said[key])
        found = flat_numbers(self._value(key, named))
        if found is None:
            raise self.mapping.fail(key, f"{named!r} holds no numbers")
        return found

    def _number(self, key: str) -> float | None:
        said = self.mapping.said.get(key)
        if said is None:
            return None
        value = float(said) if isinstance(said, int | float) else scalar(self._value(key, said))
        if value is None or not np.isfinite(value) or (key == "sampling_rate" and not 1 <= value <= 1e9):
            raise self.mapping.fail(
                key, f"{said!r} gives {value!r}; expected one number" + (" of Hz" * (key[0] == "s"))
            )
        return value

    def _seconds(self, key: str, times: NDArray[np.float64]) -> NDArray[np.float64]:
        unit = self.mapping.said.get("time_unit", "s")
        scale = UNITS_OF_TIME[unit]
        if scale is not None:
            return times if scale == 1 else times / round(1 / scale) if scale < 1 else times * scale
        if self.rate is None:
            raise self.mapping.fail("time_unit", "samples need a sampling_rate: add sampling_rate = ... (Hz)")
        if not np.array_equal(times, np.rint(times)):
            raise self.mapping.fail(key, "the times are no whole numbers of samples; set time_unit to s, ms or us")
        return (times - bool(self.mapping.said.get("one_based", False))) / self.rate

    def _spikes(self) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
        """Return times as stored, the unit of each, and a key for each unit."""
        name = str(self.mapping.said["times"])
        value = self._value("times", name)
        if isinstance(value, dict | list) and not (isinstance(value, list) and value and isinstance(value[0], str)):
            return self._per_unit(value, name)
        times = flat_numbers(value)
        if times is None:
            raise self.mapping.fail("times", f"{name!r} holds no numbers")
        for key in ("index", "counts"):
            if key in self.mapping.said:
                return self._ragged(key, times)
        if "units" not in self.mapping.said:
            self.notes.append("the mapping names neither units, index nor counts: all spikes are of one unit")
            return times, np.zeros(times.size, np.int64), ["unit_0"]
        return self._flat(times)

    def _per_unit(self, value: Any, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
        held = value if isinstance(value, dict) else {f"unit_{k}": item for k, item in enumerate(value)}
        trains = {str(key): flat_numbers(item) for key, item in held.items()}
        odd = [key for key, train in trains.items() if train is None]
        if odd or not trains:
            raise self.mapping.fail(
                "times", f"{name!r} is a list whose item {odd[0] if odd else 'is missing'} is no times"
            )
        parts = [train for train in trains.values() if train is not None]
        units = np.repeat(np.arange(len(parts)), [part.size for part in parts])
        return np.concatenate(parts), units, list(trains)

    def _ragged(self, key: str, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
        ends = self._numbers(key)
        sizes = ends if key == "counts" else np.diff(ends, prepend=0)
        if key == "index" and ends.size and ends[0] == 0 and ends[-1] == times.size:
            sizes = np.diff(ends)
        whole = np.array_equal(sizes, np.rint(sizes)) and np.all(sizes >= 0)
        if not whole or sizes.sum() != times.size:
            raise self.mapping.fail(key, f"adds up to {sizes.sum():g} spikes, but there are {times.size} times")
        units = np.repeat(np.arange(sizes.size), sizes.astype(np.int64))
        return times, units, [f"unit_{k}" for k in range(sizes.size)]

    def _flat(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
        name = str(self.mapping.said["units"])
        value = self._value("units", name)
        labels = value if isinstance(value, list) else None
        numbers = None if labels is not None else flat_numbers(value)
        if numbers is not None and not np.array_equal(numbers, np.rint(numbers)):
            raise self.mapping.fail("units", f"{name!r} holds numbers that are not whole")
        keys = np.array([str(label) for label in labels]) if labels is not None else numbers
        if keys is None or keys.size != times.size:
            n = "no unit numbers or names" if keys is None else f"{keys.size} values"
            raise self.mapping.fail("units", f"{name!r} holds {n} for {times.size} times")
        silent = None if numbers is None else self._with_silent(numbers)
        if silent is not None:
            return times, *silent
        found, units = np.unique(keys, return_inverse=True)
        return times, units, [str(int(key)) if numbers is not None else str(key) for key in found.tolist()]

    def _with_silent(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[str]] | None:
        """Return units and keys where the file lists more units than fire, and unit numbers are places in that list."""
        key = next((key for key in _COLUMNS if key in self.mapping.said), None)
        if key is None or self.arrays.kind == "CSV" or not numbers.size:
            return None
        value = self._value(key, str(self.mapping.said[key]))
        n = len(value) if isinstance(value, list) else np.size(value)
        base = int(self.mapping.said.get("first_unit", numbers.min() >= 1))
        if n <= np.unique(numbers).size or numbers.min() < base or numbers.max() >= n + base:
            return None
        units = numbers.astype(np.int64) - base
        self.notes.append(
            f"{n - np.unique(units).size} of {n} listed units have no spikes; unit numbers are places in that "
            f"list, counted from {base}"
        )
        return units, [str(k + base) for k in range(n)]

    def _units(self, keys: list[str]) -> dict[str, Any]:
        """Return the columns of the table of units, one row per unit in the order of the spikes."""
        table: dict[str, Any] = {"name": keys}
        for key in _COLUMNS:
            name = self.mapping.name(key)
            if name is None:
                continue
            values = self._column(key, name, len(keys))
            table["name" if key == "names" else key] = values
        return table

    def _column(self, key: str, name: str, n: int) -> Any:
        """Return one value per unit; a CSV repeats it on every row of spikes, so the first of each unit counts."""
        value = self._value(key, name)
        numbers = flat_numbers(value)
        cells = (
            [str(item) for item in value] if isinstance(value, list) else None if numbers is None else numbers.tolist()
        )
        if cells is not None and self.arrays.kind == "CSV" and "units" in self.mapping.said:
            first = np.unique(np.asarray(self._unit_cells()), return_index=True)[1]
            cells = [cells[k] for k in first]
        if cells is None or len(cells) != n:
            n_held = "no values" if cells is None else f"{len(cells)} values"
            raise self.mapping.fail(key, f"{name!r} holds {n_held} for {n} units")
        if key in _WHOLE:
            return pd.array([int(c) if isinstance(c, float) and np.isfinite(c) else None for c in cells], dtype="Int64")
        if key in ("x_um", "y_um"):
            if numbers is None:
                raise self.mapping.fail(key, f"{name!r} holds no numbers")
            return np.asarray(cells, dtype=np.float64)
        return [str(int(c)) if isinstance(c, float) and c.is_integer() else str(c) for c in cells]

    def _unit_cells(self) -> Any:
        value = self._value("units", str(self.mapping.said["units"]))
        return [str(item) for item in value] if isinstance(value, list) else flat_numbers(value)

    def _window(self, first: float, last: float) -> tuple[float, float]:
        tick = self.rate or DEFAULT_TICK_RATE
        start, stop = self._number("t_start"), self._number("t_stop")
        if start is None and stop is None:
            return inferred_window(first, last, self.notes, tick)
        inferred = inferred_window(first, last, [], tick)
        window = (inferred[0] if start is None else start, inferred[1] if stop is None else stop)
        return covering_window(window, first, last, self.mapping.source, self.notes, tick)

    def _table(self, which: str) -> pd.DataFrame | None:
        """Return the stimuli or events a mapping names."""
        said = self.mapping.said.get(which)
        if said is None:
            return None
        columns: dict[str, Any] = {}
        for key, name in said.items():
            where = f"{which}.{key}" if f"{which}.{key}" in self.mapping.lines else which
            value = self._value(where, name)
            numbers = flat_numbers(value)
            values = numbers if numbers is not None else value
            if numbers is not None and key in ("times", "duration"):
                values = self._seconds(where, numbers)
            columns[_TABLE_NAMES.get(key, key)] = values
        sizes = {key: len(values) for key, values in columns.items()}
        if len(set(sizes.values())) > 1:
            raise self.mapping.fail(which, f"its columns have different lengths: {sizes}")
        return pd.DataFrame(columns).sort_values("time_s", kind="stable", ignore_index=True)

    def _metadata(self) -> dict[str, Any]:
        """Return metadata: plain values, and what ``@`` names."""
        found: dict[str, Any] = {}
        for key, said in self.mapping.said.get("metadata", {}).items():
            value = said
            if isinstance(said, str) and "@" in said:
                value = self._value(f"metadata.{key}", said)
            found[key] = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            if isinstance(found[key], bytes):
                found[key] = found[key].decode("utf-8", "replace")
        return found
