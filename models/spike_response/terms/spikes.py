"""The spikes of one step, as all terms of the network see them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import inner


class Spikes(NamedTuple):
    """Spikes of one step of a network, or of several copies side by side; unit ``i`` of copy ``c`` is ``c n + i``.

    Parameters
    ----------
    which : ndarray of int64, shape (at least n_spikes,)
        Unit of every spike, in order; a unit that spikes twice comes twice.
    weight : ndarray, same shape
        What each counts in the population: 1, or the weight of spikes that were forced on the network.
    begin : ndarray of int64, shape (n_copies + 1,)
        Where the spikes of each copy begin in `which`.
    counts : ndarray of int64, shape (n_copies * n_units,)
        Spikes of every unit; not filled where spikes are recorded ones.
    own : ndarray, shape (n_copies,)
        Spikes of each copy that it drew itself.
    entering : ndarray, shape (n_copies,)
        What enters the traces of the population: weights of all spikes, and what `unseen` neurons add.
    unseen : ndarray, shape (n_copies,)
    """

    which: NDArray[np.int64]
    weight: NDArray[np.float64]
    begin: NDArray[np.int64]
    counts: NDArray[np.int64]
    own: NDArray[np.float64]
    entering: NDArray[np.float64]
    unseen: NDArray[np.float64]


@inner()
def no_spikes(copies: int, n_units: int, most: int) -> Any:
    """Return room for `most` spikes of a step."""
    return Spikes(
        np.empty(most, dtype=np.int64),
        np.empty(most),
        np.zeros(copies + 1, dtype=np.int64),
        np.zeros(copies * n_units, dtype=np.int64),
        np.zeros(copies),
        np.zeros(copies),
        np.zeros(copies),
    )
