"""What couplings make of traces, bin by bin; cheap for large networks whose units feel their own history only."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

MAX_COUPLED = 400  # units; above, couplings between all pairs are not fitted


def own_history(weights: Matrix) -> Matrix | None:
    """Return the weights of own histories where a large network has no others, shape (n_kinds, n_units); else None.

    Parameters
    ----------
    weights : ndarray of float32, shape (n_kinds * n_units, n_units)
    """
    n = weights.shape[1]
    if n <= MAX_COUPLED:
        return None
    each = np.arange(n)
    blocks = weights.reshape(-1, n, n)
    own = np.ascontiguousarray(blocks[:, each, each])
    return own if np.count_nonzero(weights) == np.count_nonzero(own) else None


def coupling_drive(traces: Matrix, weights: Matrix, own: Matrix | None) -> Matrix:
    """Return the summed drive of every unit, shape (n_bins, n_units).

    Parameters
    ----------
    traces : ndarray of float32, shape (n_bins, n_kinds * n_units)
    weights : ndarray of float32, shape (n_kinds * n_units, n_units)
    own : ndarray of float32, optional
        From `own_history`.
    """
    if own is None:
        return np.asarray(traces @ weights)
    n = own.shape[1]
    drive = np.zeros((len(traces), n), dtype=np.float32)
    for kind, row in enumerate(own):
        drive += traces[:, kind * n : (kind + 1) * n] * row
    return drive
