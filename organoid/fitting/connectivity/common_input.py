"""Pairs of units that fire together: one neuron seen twice, or one event that reaches both at once.

A synapse takes a millisecond; two units whose correlogram peaks at lag 0 share events, and what the one predicts of
the other in the next bins is the rest of those events. No connection can be told there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.jit import kernel

Array = NDArray[np.float64]

MAX_LAG = 0.020  # s
SHOULDER = 0.006  # s, from here on lags say how often the two meet by chance
SHARE = 0.25  # of the spikes of the rarer unit
DEVIATIONS = 5.0


@kernel(nogil=True)
def _pairs_by_lag(bins: NDArray[Any], units: NDArray[Any], n_units: int, max_lag: int) -> Any:
    """Count spikes of the second unit ``lag`` bins after one of the first; shape (first, second, max_lag + 1)."""
    counts = np.zeros((n_units, n_units, max_lag + 1), dtype=np.int64)
    oldest = 0
    for now in range(bins.size):
        while bins[now] - bins[oldest] > max_lag:
            oldest += 1
        for before in range(oldest, now):
            lag = bins[now] - bins[before]
            counts[units[before], units[now], lag] += 1
            if lag == 0:
                counts[units[now], units[before], 0] += 1
    return counts


def share_together(training: History) -> Array:
    r"""Return which share of the rarer unit's spikes comes together with one of the other.

    The excess of pairs at lags of -1, 0 and 1 bins over those at 6 to 20 ms, divided by the spikes of the rarer
    unit; 0 where there is no clear excess, or where it does not peak at lag 0 (then it may be a connection).

    Parameters
    ----------
    training : History

    Returns
    -------
    ndarray, shape (n_units, n_units)
        Symmetric, 0 on the diagonal.
    """
    n_lags = max(round(MAX_LAG / training.bin_width), 4)
    first = min(max(round(SHOULDER / training.bin_width), 3), n_lags)
    counts = _pairs_by_lag(training.bins, training.units, training.n_units, n_lags).astype(np.float64)
    chance = (counts[:, :, first:].mean(2) + counts[:, :, first:].mean(2).T) / 2
    middle = counts[:, :, 0] - chance
    beside = counts[:, :, 1:3] - chance[:, :, None]
    excess = middle + beside[:, :, 0] + beside[:, :, 0].T
    steepest = np.maximum(beside.max(2), beside.max(2).T)
    clear = (middle > 0.5 * steepest) & (excess > DEVIATIONS * np.sqrt(3 * chance + 1))
    spikes = np.bincount(training.units, minlength=training.n_units)
    rarer = np.maximum(np.minimum(spikes[:, None], spikes[None, :]), 1)
    share = np.where(clear, excess / rarer, 0.0)
    np.fill_diagonal(share, 0.0)
    return np.asarray(share)
