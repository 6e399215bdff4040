"""Two journals, dataset by dataset: everything but what depends on the wall clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from organoid.closed_loop.journal import schema
from organoid.hdf5 import layout

# What happened, in an order that names the cause before its consequences.
_FIRST = (
    layout.SPIKE_TIMES,
    layout.SPIKE_UNITS,
    schema.TICKS,
    schema.COMMANDS,
    schema.COMMAND_ELECTRODES,
    schema.WAVEFORMS,
)
_SEPARATE = (schema.HEADER, schema.VERSIONS, schema.SOURCE, schema.OUTCOME)  # looked at in another way
_GROWING_FROM = (layout.WINDOW, layout.OBSERVED)  # written in place at every flush


@dataclass(frozen=True)
class Difference:
    """The first place where two journals differ.

    Parameters
    ----------
    dataset : str
        Name of the dataset, with the field of its rows where it has fields.
    index : int or None
        Row; None where the dataset as a whole differs.
    recorded, rerun : object
        Both values.
    """

    dataset: str
    index: int | None
    recorded: Any
    rerun: Any

    def __str__(self) -> str:
        where = f"{self.dataset}[{self.index}]" if self.index is not None else self.dataset
        return f"{where}: recorded {self.recorded!r}, run again {self.rerun!r}"


def first_difference(
    recorded: h5py.Group, rerun: h5py.Group, *, prefix: bool = False, only: tuple[str, ...] | None = None
) -> tuple[Difference | None, int]:
    """Compare two journals.

    Parameters
    ----------
    recorded, rerun : h5py.Group
    prefix : bool
        The recorded session was cut short: its rows have to be the first ones of the other's, and what is
        written over at every flush is left out.
    only : tuple of str, optional
        Names of the datasets to compare; default: all but header, versions, source, outcome and the wall clock's.

    Returns
    -------
    Difference or None, and the number of datasets compared
    """
    names = list(_names(recorded, rerun)) if only is None else list(only)
    if prefix:
        names = [name for name in names if name not in _GROWING_FROM]
    for name in names:
        found = _compare(name, recorded.get(name), rerun.get(name), prefix)
        if found is not None:
            return found, len(names)
    return None, len(names)


def _names(*groups: h5py.Group) -> Iterator[str]:
    found: set[str] = set()
    for group in groups:
        group.visititems(lambda name, item: found.add(name) if isinstance(item, h5py.Dataset) else None)
    wall = {name for name in found if name.rpartition("/")[2].startswith(schema.WALL)}
    found -= wall | set(_SEPARATE)
    yield from [name for name in _FIRST if name in found]
    yield from sorted(found - set(_FIRST))


def _compare(name: str, a: h5py.Dataset | None, b: h5py.Dataset | None, prefix: bool) -> Difference | None:
    if a is None or b is None:
        return Difference(name, None, *("missing" if x is None else "present" for x in (a, b)))
    if a.dtype != b.dtype:
        return Difference(name, None, str(a.dtype), str(b.dtype))
    left, right = a[()], b[()]
    if left.dtype.names if isinstance(left, np.ndarray) else None:
        return _compare_fields(name, left, right, prefix)
    return _compare_arrays(name, np.asarray(left), np.asarray(right), prefix)


def _compare_fields(name: str, left: Any, right: Any, prefix: bool) -> Difference | None:
    """Compare rows with fields; the earliest row counts, then the first field."""
    fields = [field for field in left.dtype.names if not field.startswith(schema.WALL)]
    found = [_compare_arrays(f"{name}.{field}", left[field], right[field], prefix) for field in fields]
    differing = [item for item in found if item is not None]
    return min(differing, key=lambda item: -1 if item.index is None else item.index, default=None)


def _compare_arrays(name: str, left: Any, right: Any, prefix: bool) -> Difference | None:
    if left.ndim != right.ndim or left.shape[1:] != right.shape[1:]:
        return Difference(name, None, f"shape {left.shape}", f"shape {right.shape}")
    if left.ndim == 0:
        return None if left == right or _both_nan(left, right) else Difference(name, None, _value(left), _value(right))
    n = min(len(left), len(right))
    unequal = left[:n] != right[:n]
    if left.dtype.kind == "f":
        unequal &= ~(np.isnan(left[:n]) & np.isnan(right[:n]))
    rows = np.flatnonzero(unequal.reshape(n, -1).any(axis=1)) if n else np.empty(0, dtype=np.int64)
    if rows.size:
        return Difference(name, int(rows[0]), _value(left[rows[0]]), _value(right[rows[0]]))
    if len(left) > n or (len(right) > n and not prefix):
        ends = [_value(x[n]) if len(x) > n else "nothing (it ends here)" for x in (left, right)]
        return Difference(name, n, *ends)
    return None


def _both_nan(left: Any, right: Any) -> bool:
    return bool(left.dtype.kind == "f" and np.isnan(left) and np.isnan(right))


def _value(value: Any) -> Any:
    plain = value.tolist() if hasattr(value, "tolist") else value
    return plain.decode("utf-8", "replace") if isinstance(plain, bytes) else plain
