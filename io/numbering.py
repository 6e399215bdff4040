"""From the numbers a file uses for channels or clusters to unit indices without gaps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import parts
from organoid.io.source import numeric
from organoid.recording.validation import highest

_LARGEST_TABLE = 1 << 22
_FIRST = 1 << 14  # enough to meet all units of a busy recording


def distinct(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the distinct numbers, ascending, and the place of each number among them.

    The same as ``np.unique(numbers, return_inverse=True)``, without a sort where the numbers are small, and
    with the places in the shortest type that holds them, read-only: neither need be copied again.

    Parameters
    ----------
    numbers : ndarray of integers, one axis

    Returns
    -------
    (ndarray of int64, ndarray of unsigned integers)
    """
    return distinct_of_parts(numbers.size, lambda: iter([numbers]))


def distinct_in(h5: h5py.Group, name: str, kinds: str = "iu") -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return what `distinct` returns for a dataset of integers, one axis.

    Raises
    ------
    RecordingError
        Naming the dataset, what it is and what was expected.
    """
    found = numeric(h5, name, ndim=1, kinds=kinds)
    return distinct_of_parts(found.size or 0, lambda: as_integers(parts(found, name), name))


def as_integers(held: Iterable[NDArray[Any]], name: str) -> Iterator[NDArray[Any]]:
    """Yield the parts again, rejecting numbers that are not whole."""
    for part in held:
        if not are_whole(part):
            raise RecordingError(f"{name!r} holds numbers that are not whole")
        yield part


def distinct_of_parts(size: int, held: Callable[[], Iterator[NDArray[Any]]]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return what `distinct` returns for numbers that come in parts, which may share their memory.

    Parameters
    ----------
    size : int
        Of all parts together.
    held : callable
        Gives the parts, again if it is called again.
    """
    places = _shortest(size, held())
    if places is None:
        whole = np.concatenate([part.astype(np.int64) for part in held()])
        found, places = np.unique(whole, return_inverse=True)
        places = places.astype(np.min_scalar_type(found.size))
    else:
        used = _used(places)
        found = np.flatnonzero(used)
        if found.size < used.size:
            places = (np.cumsum(used) - 1).astype(places.dtype)[places]
    places.flags.writeable = False
    return found, places


def _shortest(size: int, held: Iterator[NDArray[Any]]) -> NDArray[Any] | None:
    """Return the numbers in the shortest type that holds them; None if one is negative or too large for a table."""
    short: NDArray[Any] = np.empty(0, np.uint8)
    begin = 0
    for part in held:
        short = np.empty(size, np.uint8) if begin == 0 else short  # not before the first part shows that it is there
        whole = part if part.dtype.kind in "iu" else part.astype(np.int64)
        high = highest(whole)
        if whole.size and not 0 <= high < _LARGEST_TABLE:
            return None
        if high > np.iinfo(short.dtype).max:
            short = short.astype(np.min_scalar_type(high))
        short[begin : begin + whole.size] = whole
        begin += whole.size
    return short


def _used(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the numbers from 0 to the largest occur: usually the first of them show it."""
    used: NDArray[np.bool_] = np.zeros(highest(numbers) + 1, dtype=bool)
    used[numbers[:_FIRST]] = True
    if not used.all():
        used[numbers] = True
    return used


def are_whole(numbers: NDArray[Any]) -> bool:
    """Return whether all are integers that fit 64 bits, whatever their type."""
    return numbers.dtype.kind in "iub" or bool(np.all((numbers == np.rint(numbers)) & (np.abs(numbers) < 2.0**62)))


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the parts end to end; one part as it is, so that arrays of many spikes are not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(list(parts))


def unit_per_spike(sizes: ArrayLike) -> NDArray[Any]:
    """Return the unit of each spike where the spikes of one unit stand after those of the other."""
    n = np.size(sizes)
    return np.repeat(np.arange(n, dtype=np.min_scalar_type(n)), np.asarray(sizes, dtype=np.int64))
