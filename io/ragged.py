"""Ragged columns: one flat dataset and the ends of each row's part of it."""

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.source import array


def ragged_ends(h5: h5py.Group, name: str, n_values: int, n_rows: int | None, notes: list[str]) -> NDArray[np.int64]:
    """Return the cumulative ends of a ragged column.

    Some writers put a 0 first and so have one entry more than rows; that is told by the number of rows.

    Parameters
    ----------
    h5 : h5py.Group
    name : str
        Dataset of the ends, any type of integer.
    n_values : int
        Length of the flat dataset.
    n_rows : int or None
        Number of rows, if known.
    notes : list of str
        Appended to.

    Raises
    ------
    RecordingError
        If the ends step back or do not add up.
    """
    ends = array(h5, name, ndim=1, kinds="iu").astype(np.int64)
    if n_rows is not None and ends.size == n_rows + 1 and ends[0] == 0:
        notes.append(f"{name} begins with a 0 before the first row; left out")
        ends = ends[1:]
    if n_rows is not None and ends.size != n_rows:
        raise RecordingError(f"the counts do not add up: dataset {name!r} has {ends.size} entries for {n_rows} rows")
    last = int(ends[-1]) if ends.size else 0
    if np.any(np.diff(ends, prepend=0) < 0) or last != n_values:
        raise RecordingError(
            f"the counts do not add up: dataset {name!r} must rise to {n_values}, the number of values; it runs from "
            f"{ends.min(initial=0)} to {ends.max(initial=0)} and ends at {last}"
        )
    return ends
