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

    The same as ``np.unique(numbers, return_inverse=True)``, without a sort where the numbers are small. Where
    all from 0 to the largest are there, each is its own place, and the numbers come back as they are. The
    places are read-only, so that they need not be copied.

    Parameters
    ----------
    numbers : ndarray of whole numbers, one axis

    Returns
    -------
    (ndarray of int64, ndarray of whole numbers)
    """
    whole = numbers if numbers.dtype.kind in "iu" else numbers.astype(np.int64)
    high = highest(whole)
    if 0 <= high < _LARGEST_TABLE and np.count_nonzero(np.bincount(whole[:_FIRST].astype(np.int64))) == high + 1:
        whole.flags.writeable = False
        return np.arange(high + 1), whole  # the first ones show it
    own = whole.astype(np.int64)
    if not 0 <= high < _LARGEST_TABLE:
        found, own = np.unique(own, return_inverse=True)
    else:
        used = np.bincount(own) > 0
        found = np.flatnonzero(used)
        if found.size < used.size:
            own = (np.cumsum(used) - 1)[own]
    own.flags.writeable = False
    return found, own


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
