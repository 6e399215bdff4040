"""Datasets that grow while a session runs: rows wait in memory and are written at a flush."""

from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 16384
Convert = Callable[[list[Any], int], Any]


class AppendableDataset:
    """One resizable dataset and the rows that wait for it.

    Parameters
    ----------
    group : h5py.Group
    name : str
    dtype : dtype
    row_shape : tuple of int
        Shape of one row.
    convert : callable, optional
        ``convert(waiting, first)`` turns what waits into rows, the first of which is number `first`. Default: what
        waits is the rows.
    """

    def __init__(
        self, group: h5py.Group, name: str, dtype: Any, row_shape: tuple[int, ...] = (), convert: Convert | None = None
    ) -> None:
        self._convert = convert
        self._dtype = np.dtype(dtype)
        self._row_bytes = self._dtype.itemsize * int(np.prod(row_shape, dtype=int))
        rows = max(16, CHUNK_BYTES // self._row_bytes)
        self.dataset = group.create_dataset(
            name, shape=(0, *row_shape), maxshape=(None, *row_shape), chunks=(rows, *row_shape), dtype=dtype
        )
        self._shape = row_shape
        # One attribute, replaced as a whole: an interrupt between two statements can neither lose nor double rows.
        self._state: tuple[int, list[Any]] = (0, [])
        self.n_rows: int = 0

    @property
    def waiting_bytes(self) -> int:
        """Size of the rows that wait."""
        return int((self.n_rows - self._state[0]) * self._row_bytes)

    def append(self, row: Any, n_rows: int = 1) -> int:
        """Add one row (a tuple where the row has fields), or what will be converted to some; returns its number."""
        self._state[1].append(row)
        self.n_rows += n_rows
        return self.n_rows - n_rows

    def extend(self, rows: Sequence[Any] | NDArray[Any]) -> int:
        """Add several rows; returns the number of the first of them."""
        first = self.n_rows
        self._state[1].extend(rows)
        self.n_rows = first + len(rows)
        return first

    def write(self) -> None:
        """Write waiting rows and hand them to the operating system."""
        written, waiting = self._state
        if not waiting:
            return
        found = waiting if self._convert is None else self._convert(waiting, written)
        rows = np.asarray(found, dtype=self._dtype).reshape(-1, *self._shape)
        self._write_rows(written, rows)
        self._state = (written + len(rows), [])

    def _write_rows(self, first: int, rows: NDArray[Any]) -> None:
        """Write rows behind the first ones; by h5py's lower interface, which takes a fraction of the time."""
        dataset = self.dataset.id
        dataset.set_extent((first + len(rows), *self._shape))
        space = dataset.get_space()
        space.select_hyperslab((first,) + (0,) * len(self._shape), rows.shape)
        dataset.write(h5py.h5s.create_simple(rows.shape), space, np.ascontiguousarray(rows))
        dataset.flush()
