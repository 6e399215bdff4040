r"""Couplings through kernels of finite length: raised cosines, or traces that begin after a delay.

A spike of unit ``j`` adds :math:`\sum_b A_{bji}\, \phi_b(l)` to the drive of unit ``i``, ``l`` steps later, for
every lag from 1 to the longest. What is still to come waits in a ring, one row a step.
"""

from typing import Any

from numpy.typing import NDArray

from organoid.jit import kernel


@kernel()
def read_lagged(future: NDArray[Any], step: int, drive: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the drive of a step: that of traces, row by row, then what kernels bring, which leaves the ring."""
    n_tau = drive.shape[0]
    now = future[step % future.shape[0]]
    for k in range(n_tau):
        row, into = drive[k], out[k]
        for i in range(row.size):
            into[i] = row[i]
    for i in range(now.size):
        out[n_tau, i] = now[i]
        now[i] = 0.0


@kernel()
def send_lagged(
    future: NDArray[Any], step: int, lags: NDArray[Any], weights: NDArray[Any], counts: NDArray[Any]
) -> None:
    """Let the spikes of a step enter the ring."""
    n_lags = future.shape[0]
    for j in range(counts.size):
        if counts[j] == 0:
            continue
        for b in range(lags.shape[0]):
            from_j = weights[b, j]
            for lag in range(1, n_lags + 1):
                gain = counts[j] * lags[b, lag - 1]
                if gain == 0.0:
                    continue
                row = future[(step + lag) % n_lags]
                for i in range(row.size):
                    row[i] += gain * from_j[i]
