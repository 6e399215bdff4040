"""From the numbers a file uses for channels or clusters to unit indices without gaps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_TABLE = 1 << 22


def distinct(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct numbers, ascending, and the place of each number among them.

    The same as ``np.unique(numbers, return_inverse=True)``, without a sort where the numbers are small.

    Parameters
    ----------
    numbers : ndarray of whole numbers, one axis

    Returns
    -------
    (ndarray of int64, ndarray of int64)
    """
    if not numbers.size or numbers.min() < 0 or numbers.max() >= _LARGEST_TABLE:
        found, places = np.unique(numbers.astype(np.int64), return_inverse=True)
        return found, places.astype(np.int64)
    used = np.zeros(int(numbers.max()) + 1, dtype=bool)
    used[numbers] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[numbers]


def unit_per_spike(sizes: NDArray[np.int64]) -> NDArray[Any]:
    """Return the unit of each spike where the spikes of one unit stand after those of the other."""
    return np.repeat(np.arange(sizes.size, dtype=np.min_scalar_type(sizes.size)), sizes)
