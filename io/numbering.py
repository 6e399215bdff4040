"""From the numbers a file uses for channels or clusters to unit indices without gaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.recording_checks import highest

_LARGEST_TABLE = 1 << 22
_FIRST = 1 << 14  # enough to meet all units of a busy recording


def distinct(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the distinct numbers, ascending, and the place of each number among them.

    The same as ``np.unique(numbers, return_inverse=True)``, without a sort where the numbers are small, and
    with the places in the shortest type that holds them, read-only: neither need be copied again.

    Parameters
    ----------
    numbers : ndarray of whole numbers, one axis

    Returns
    -------
    (ndarray of int64, ndarray of unsigned whole numbers)
    """
    whole = numbers if numbers.dtype.kind in "iu" else numbers.astype(np.int64)
    high = highest(whole)
    if not 0 <= high < _LARGEST_TABLE:
        found, places = np.unique(whole.astype(np.int64), return_inverse=True)
        places = places.astype(np.min_scalar_type(found.size))
    else:
        places = whole.astype(np.min_scalar_type(high))
        used = _used(places, high)
        found = np.flatnonzero(used)
        if found.size < used.size:
            places = (np.cumsum(used) - 1).astype(places.dtype)[places]
    places.flags.writeable = False
    return found, places


def _used(numbers: NDArray[Any], high: int) -> NDArray[np.bool_]:
    """Tell which of the numbers 0 to `high` occur: usually the first of them show it."""
    used: NDArray[np.bool_] = np.zeros(high + 1, dtype=bool)
    used[numbers[:_FIRST]] = True
    if not used.all():
        used[numbers] = True
    return used


def are_whole(numbers: NDArray[Any]) -> bool:
    """Tell whether all are whole numbers that fit 64 bits, whatever their type."""
    return numbers.dtype.kind in "iub" or bool(np.all((numbers == np.rint(numbers)) & (np.abs(numbers) < 2.0**62)))


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the parts end to end; one part as it is, so that arrays of many spikes are not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(list(parts))


def unit_per_spike(sizes: ArrayLike) -> NDArray[Any]:
    """Return the unit of each spike where the spikes of one unit stand after those of the other."""
    n = np.size(sizes)
    return np.repeat(np.arange(n, dtype=np.min_scalar_type(n)), np.asarray(sizes, dtype=np.int64))
