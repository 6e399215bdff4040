"""Lists of marked units, step by step: those that spike, those near threshold; almost all others are neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel

Array = NDArray[np.floating[Any]]
Flags = NDArray[np.uint8]
Index = NDArray[np.int32]


def part(function: Callable[..., Any], fastmath: Any = False) -> Any:
    """Compile a part of other compiled functions; without a door for Python, which takes longest to compile."""
    return numba.njit(fastmath=fastmath, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


class Marks(NamedTuple):
    """Units marked in the steps of a block of copies.

    Parameters
    ----------
    unit : ndarray of int32, shape (capacity,)
    value : ndarray, shape (capacity,) or (0,)
        A number each: what a spike passes on (1 where empty), or a distance to threshold.
    bounds : ndarray of int64, shape (step x copy + 1,)
        Row ``step * copies + copy`` owns the units from there to the next bound.
    """

    unit: Index
    value: Array
    bounds: NDArray[np.int64]


def room(n_rows: int, capacity: int, dtype: Any, *, values: bool) -> Marks:
    """Return an empty list."""
    bounds = np.zeros(n_rows + 1, np.int64)
    return Marks(np.empty(capacity, np.int32), np.empty(capacity if values else 0, dtype), bounds)


def grown(marks: Marks, row: int, more: int, *, values: bool) -> Marks:
    """Return a list with its entries before ``row`` and room for ``more``, at least twice as much where it is full."""
    used = int(marks.bounds[row])
    if used + more <= marks.unit.size:
        return marks
    bigger = room(marks.bounds.size - 1, 2 * used + more, marks.value.dtype, values=values)
    bigger.unit[:used], bigger.bounds[:] = marks.unit[:used], marks.bounds
    if values:
        bigger.value[:used] = marks.value[:used]
    return bigger


def flags_for(copies: int, n: int) -> NDArray[np.uint64]:
    """Return a row of flags for each copy, eight units to a word, all 0."""
    return np.zeros((copies, (n + 7) // 8), np.uint64)


# Compiled within other loops only.
flags_for_lanes = part(flags_for)


@part
def has_room(marks: Marks, row: int, lanes: int) -> bool:
    """Return whether every unit could be marked in the next step."""
    return bool(marks.bounds[row] + lanes <= marks.unit.size)


@part
def mark(row: int, n: int, words: NDArray[np.uint64], values: Array, marks: Marks) -> None:
    """List the flagged units of a step, and their values (lane,) where values are listed."""
    flags = words.view(np.uint8)
    count = np.uint64(marks.bounds[row])  # without a sign, so that no index is checked for one
    for b in range(words.shape[0]):
        first = np.int64(count)
        for w in range(words.shape[1]):
            if words[b, w] != 0:
                for i in range(8 * w, 8 * w + 8):
                    if flags[b, i] > 0:
                        marks.unit[count] = i
                        count += np.uint64(1)
        if marks.value.size > 0:
            for e in range(first, np.int64(count)):
                marks.value[e] = values[b * n + marks.unit[e]]
        row += 1
        marks.bounds[row] = count


@kernel(nogil=True)
def list_spikes(spikes: Array, marks: Marks) -> None:
    """List the non-zero entries of known spikes (copy, time, unit)."""
    count, row = 0, 0
    for t in range(spikes.shape[1]):
        for b in range(spikes.shape[0]):
            for i in range(spikes.shape[2]):
                if spikes[b, t, i] != 0:
                    marks.unit[count] = i
                    marks.value[count] = spikes[b, t, i]
                    count += 1
            row += 1
            marks.bounds[row] = count
