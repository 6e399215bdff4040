r"""Couplings through filters of finite length: raised cosines, or traces that begin after a delay.

A spike of unit ``j`` adds :math:`\sum_b A_{bji}\, \phi_b(l)` to the drive of unit ``i``, ``l`` steps later, for
every lag from 1 to the longest. What is still to come waits in a ring, one row per step.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing


def resting_future(lags: NDArray[Any], n_units: int, copies: int) -> NDArray[np.float64]:
    """Return a ring that holds nothing, shape (n_lags, copies * n_units)."""
    return np.zeros((lags.shape[1], copies * n_units))


@borrowing()
def add_from_filters(future: NDArray[Any], step: int, drive: NDArray[Any]) -> None:
    """Add what filters bring in a step to the drive; it leaves the ring."""
    if not future.shape[0]:
        return
    now = future[step % future.shape[0]]
    for i in range(now.size):
        drive[i] += now[i]
        now[i] = 0.0


@borrowing()
def add_spikes_to_filters(
    lags: NDArray[Any], weights: NDArray[Any], spikes: Any, step: int, future: NDArray[Any]
) -> None:
    """Let the spikes of a step enter the ring."""
    n_lags, n = future.shape[0], weights.shape[1]
    for c in range(spikes.own.size if n_lags else 0):
        last = -1
        for s in range(spikes.begin[c], spikes.begin[c + 1]):
            if spikes.which[s] == last:
                continue
            last = spikes.which[s]
            for b in range(lags.shape[0]):
                from_unit = weights[b, last - c * n]
                for lag in range(1, n_lags + 1):
                    gain = spikes.counts[last] * lags[b, lag - 1]
                    if gain == 0.0:
                        continue
                    row = future[(step + lag) % n_lags, c * n : (c + 1) * n]
                    for i in range(n):
                        row[i] += gain * from_unit[i]
