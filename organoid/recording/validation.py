"""Checks and defaults `SpikeRecording` applies to what it is given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording.tables import (
    ELECTRODE_COLUMNS,
    STIMULUS_COLUMNS,
    UNIT_COLUMNS,
    Table,
    checked,
    conform,
    framed,
    n_rows,
)
from organoid.recording.ticks import to_ticks

_MANY_SPIKES = 10_000
_BLOCK = 1 << 15


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def check_sampling_rate(rate: float | None) -> float | None:
    """Return the rate as float, or None; reject anything not positive."""
    if rate is None:
        return None
    if not (np.isfinite(rate) and rate > 0):
        raise RecordingError(f"sampling_rate {rate!r} Hz; expected a positive number, or None if unknown")
    return float(rate)


class Rising:
    """Read-only finite times that are known never to fall: they are not gone over again."""

    __slots__ = ("times",)

    def __init__(self, times: NDArray[np.float64]) -> None:
        self.times = times


def check_spikes(times: ArrayLike | Rising, units: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return float64 times and whole-number units of one length."""
    try:
        t = times.times if isinstance(times, Rising) else np.asarray(times, dtype=np.float64)
        u = np.asarray(units)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"spike times must be numbers (s) and spike units whole numbers: {error}") from None
    if t.ndim != 1 or u.ndim != 1 or t.shape != u.shape:
        raise RecordingError(f"spike_times has shape {t.shape}, spike_units {u.shape}; expected two equal lengths")
    if u.size and u.dtype.kind not in "iu":
        raise RecordingError(f"spike_units has type {u.dtype}; expected whole numbers (unit indices from 0)")
    return t, u if u.size else u.astype(np.int64)


def spikes_in_order(times: ArrayLike | Rising, units: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return both checked, sorted in time, equal times in their order, read-only; reject NaN and infinite times.

    What already is sorted and read-only is not copied, and units stay as short as they come:
    memory that is new to a process costs more than what is done with it.
    """
    return _sorted(*check_spikes(times, units), rising=isinstance(times, Rising))


def widened(units: NDArray[Any]) -> NDArray[np.int64]:
    """Return unit indices as int64, read-only."""
    wide = units.astype(np.int64, copy=False)
    wide.flags.writeable = False
    return wide


def _sorted(
    times: NDArray[np.float64], units: NDArray[Any], *, rising: bool
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Sort both; NaN compares false with everything and sorts to the end, so the ends show whether all are finite."""
    short = units if units.itemsize < 8 and units.dtype.isnative else units.astype(np.int64, copy=False)
    if rising or never_fall(times):
        by_time = times if _unchangeable(times) else times.copy()
        by_unit = short if short is not units or _unchangeable(units) else units.copy()
    else:
        order, by_time = time_order(times)
        by_unit = _narrow(short)[order]
    if by_time.size and not np.isfinite(by_time[[0, -1]]).all():
        raise RecordingError(f"{int(np.sum(~np.isfinite(times)))} of {times.size} spike times are NaN or infinite")
    by_time.flags.writeable = by_unit.flags.writeable = False
    return by_time, by_unit


def never_fall(numbers: NDArray[Any]) -> bool:
    """Return whether no number is smaller than the one before; false if one is NaN and there are several."""
    before, after = numbers[:-1], numbers[1:]
    told = np.empty(min(after.size, _BLOCK), dtype=bool)  # used again and again: stays in the cache
    for k in range(0, after.size, _BLOCK):
        rises = told[: after.size - k]
        np.greater_equal(after[k : k + _BLOCK], before[k : k + _BLOCK], out=rises)
        if not rises.all():
            return False
    return True


def ends(numbers: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest of some numbers, NaN if one is NaN: the two ends where they are in order."""
    if never_fall(numbers):
        return float(numbers[0]), float(numbers[-1])
    return float(numbers.min()), float(numbers.max())


def _unchangeable(array: NDArray[Any]) -> bool:
    """Return whether an array is read-only, as is what it looks at, down to memory that holds little else."""
    root: Any = array
    while isinstance(root, np.ndarray) and not root.flags.writeable:
        if root.base is None:
            return bool(root.flags.owndata) and root.nbytes <= 2 * array.nbytes
        root = root.base
    return isinstance(root, bytes) and len(root) <= 2 * array.nbytes


def time_order(times: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what ``np.argsort(times, kind="stable")`` returns, in about half the time, and the sorted times.

    Each time, scaled to an integer, and its place share one 64-bit number; numpy sorts these much faster
    than it sorts indirectly. The few times so close that they share a number are put right by a sort of what
    is then nearly sorted.
    """
    place_bits = times.size.bit_length()
    first, last = (times.min(), times.max()) if times.size > _MANY_SPIKES else (0.0, 0.0)
    if not 2.0**-900 < last - first < np.inf:
        order = np.argsort(times, kind="stable")
        return order, times[order]
    scaled = times - first
    scaled *= 2.0 ** (62 - place_bits) / (last - first)
    packed = scaled.astype(np.int64)
    packed <<= place_bits
    packed |= np.arange(times.size)
    packed.sort()
    packed &= (1 << place_bits) - 1
    by_time = times[packed]
    if not never_fall(by_time):  # times that share a number
        packed = packed[np.argsort(by_time, kind="stable")]
        by_time = times[packed]
    return packed, by_time


def _narrow(units: NDArray[Any]) -> NDArray[Any]:
    """Return the indices in two bytes where they fit: gathering them in another order is then much faster."""
    small = units.itemsize > 2 and units.min() >= 0 and units.max() < 2**15
    return units.astype(np.int16) if small else units


def highest(numbers: NDArray[Any]) -> int:
    """Return the largest of some integers; -1 if there are none or one is negative."""
    if not numbers.size:
        return -1
    # Seen as unsigned, negative numbers are the largest: one pass tells both.
    high = int(numbers.view(numbers.dtype.str.replace("i", "u")).max())
    return high if numbers.dtype.kind == "u" or high < 1 << (8 * numbers.itemsize - 1) else -1


def check_n_units(n_units: int | None, units: Table | None, index: NDArray[Any]) -> int:
    """Return the number of units that fits the spikes and the table."""
    high = highest(index)
    if n_units is None:
        n_units = n_rows(units) if units is not None else high + 1
    if index.size and not 0 <= high < n_units:
        raise RecordingError(f"spike_units run from {index.min()} to {index.max()}, but there are {n_units} units")
    if units is not None and n_rows(units) != n_units:
        raise RecordingError(f"the table of units has {n_rows(units)} rows, but there are {n_units} units")
    return int(n_units)


def check_window(
    times: NDArray[np.float64], t_start: float | None, t_stop: float | None, tick_rate: float
) -> tuple[float, float, tuple[str, ...]]:
    """Return the window of sorted spikes and a note where its end had to be inferred; all spikes must lie inside."""
    first, last = (float(times[0]), float(times[-1])) if times.size else (0.0, 0.0)
    first_tick, last_tick = (int(tick) for tick in to_ticks([first, last], tick_rate))
    start = min(0.0, first) if t_start is None else float(t_start)
    notes: tuple[str, ...] = ()
    if t_stop is None:
        t_stop = max((last_tick + 1) / tick_rate if times.size else start, start)
        notes = ("t_stop inferred: one tick after the last spike",)
    stop = float(t_stop)
    if not (np.isfinite(start) and np.isfinite(stop) and stop >= start):
        raise RecordingError(f"window [{start}, {stop}) s is not a window; expected t_start <= t_stop, finite")
    begin, end = (int(tick) for tick in to_ticks([start, stop], tick_rate))
    if times.size and not begin <= first_tick <= last_tick < end:
        ticks = to_ticks(times, tick_rate)
        raise RecordingError(
            f"{int(np.sum((ticks < begin) | (ticks >= end)))} of {times.size} spikes lie outside the window "
            f"[{start}, {stop}) s (spikes run from {first} to {last} s); widen the window or select first"
        )
    return start, stop, notes


def check_observed(observed: ArrayLike | None, start: float, stop: float) -> NDArray[np.float64]:
    """Return the observed intervals, ordered, disjoint and inside the window."""
    if observed is None:
        spans = np.array([[start, stop]], dtype=np.float64) if stop > start else np.empty((0, 2))
    else:
        spans = np.asarray(observed, dtype=np.float64).reshape(-1, 2)
    if not np.all(np.isfinite(spans)) or np.any(spans[:, 0] >= spans[:, 1]):
        raise RecordingError("observed must be intervals (start, stop) in s with start < stop, finite")
    if np.any(spans[1:, 0] < spans[:-1, 1]):
        raise RecordingError("observed intervals must be in order of time and must not overlap")
    if spans.size and (spans[0, 0] < start or spans[-1, 1] > stop):
        raise RecordingError(f"observed [{spans[0, 0]}, {spans[-1, 1]}) s reaches outside [{start}, {stop}) s")
    return frozen(spans)


def clip(spans: NDArray[np.float64], start: float, stop: float) -> NDArray[np.float64]:
    """Cut intervals to ``[start, stop)``."""
    clipped = np.clip(spans, start, stop)
    return clipped[clipped[:, 0] < clipped[:, 1]]


def unit_table(units: Table | None, n_units: int) -> pd.DataFrame:
    """Return the table of units with every promised column."""
    return framed(unit_columns(units, n_units))


def unit_columns(units: Table | None, n_units: int) -> Table:
    """Return what `unit_table` returns, maybe not yet as a frame."""
    if units is not None and "name" in units:
        return checked(units, UNIT_COLUMNS, "units")
    names = [f"unit_{k}" for k in range(n_units)]
    table = units.assign(name=names) if isinstance(units, pd.DataFrame) else {**(units or {}), "name": names}
    return checked(table, UNIT_COLUMNS, "units")


def electrode_table(electrodes: Table | None, units: pd.DataFrame) -> pd.DataFrame:
    """Conform the given table; without one, list the electrodes the units were seen on."""
    if electrodes is not None:
        return conform(electrodes, ELECTRODE_COLUMNS, "electrodes")
    held = {name: units[name].array for name in ("channel", "electrode", "x_um", "y_um", "well")}
    rows = zip(*([None if value is pd.NA or value != value else value for value in column] for column in held.values()))
    first: dict[tuple[Any, ...], int] = {}
    for k, row in enumerate(rows):
        if row[:4] != (None,) * 4:
            first.setdefault(row, k)
    places = np.array(list(first.values()), dtype=np.intp)
    columns: dict[str, Any] = {name: column.take(places) for name, column in held.items()}
    return pd.DataFrame({**columns, "can_stimulate": np.ones(places.size, dtype=bool)}, index=range(places.size))


def stimulus_table(stimuli: Table | None) -> pd.DataFrame:
    """Return the table of stimuli with every promised column; their times must be known."""
    return timed_table(stimuli, STIMULUS_COLUMNS, "stimuli")


def timed_table(rows: Table | None, columns: dict[str, str], what: str) -> pd.DataFrame:
    """Return a table of stimuli or events with every promised column; every row has a finite time."""
    table = conform(rows, columns, what)
    if rows is None:
        return table
    n_bad = int(np.sum(~np.isfinite(table["time_s"].to_numpy(dtype=float))))
    if n_bad:
        raise RecordingError(f"{n_bad} of {len(table)} {what} have no finite time_s; leave them out or give a time")
    return table


def unit_indices(units: Any, names: "pd.Series[Any]") -> NDArray[np.int64]:
    """Return the indices meant by unit indices, unit names or a mask."""
    asked = np.asarray(units)
    if asked.dtype == bool:
        if asked.shape != (len(names),):
            raise RecordingError(f"mask of shape {asked.shape} given for {len(names)} units")
        return np.flatnonzero(asked)
    if asked.size == 0:
        return np.empty(0, dtype=np.int64)
    if asked.dtype.kind in "OUST":
        asked = _indices_by_name([str(name) for name in asked], names)
    if asked.dtype.kind not in "iu" or asked.min() < 0 or asked.max() >= len(names):
        raise RecordingError(f"units {asked.tolist()} asked for; expected whole numbers 0..{len(names) - 1}")
    if np.unique(asked).size != asked.size:
        raise RecordingError("the same unit is asked for more than once")
    return asked.astype(np.int64)


def _indices_by_name(asked: list[str], names: "pd.Series[Any]") -> NDArray[np.int64]:
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(str(name), []).append(index)
    missing = [name for name in asked if len(by_name.get(name, [])) != 1]
    if missing:
        some = ", ".join(list(by_name)[:8])
        raise RecordingError(f"no single unit is named {missing[0]!r}; names begin with {some}")
    return np.array([by_name[name][0] for name in asked], dtype=np.int64)


def rows_of_well(electrodes: pd.DataFrame, well: str) -> pd.DataFrame:
    """Return the electrodes of one well."""
    return electrodes[(electrodes["well"] == well).to_numpy(dtype=bool)].reset_index(drop=True)


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as plain JSON-able values."""
    try:
        return dict(json.loads(json.dumps(dict(metadata or {}), default=_plain)))
    except (TypeError, ValueError) as error:
        raise RecordingError(f"metadata must be a mapping of JSON-able values: {error}") from None


def same_metadata(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two mappings hold the same, NaN being equal to NaN."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def check_well(well: str, wells: Sequence[str]) -> str:
    """Return the name of a well; raise `RecordingError` where there is none of that name."""
    if well not in wells:
        choices = ", ".join(wells) or "none (this recording names no wells)"
        raise RecordingError(f"no well {well!r} in this recording; choices: {choices}")
    return well


def check_one_culture(wells: Sequence[str]) -> None:
    """Raise `RecordingError` where a recording holds several wells."""
    if len(wells) > 1:
        raise RecordingError(
            f"this recording holds {len(wells)} wells, which are separate cultures: {', '.join(wells)}; "
            "name one with well="
        )
