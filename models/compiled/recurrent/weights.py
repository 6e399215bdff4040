"""Compiled sums over time: gradients of weights, biases and synaptic decays from that of the drive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.recurrent.cell_step import Constants
from organoid.models.compiled.recurrent.event_lists import Array, Marks, part

_FEW = 16  # steps summed in the precision of the network before they go into the double one


@kernel(nogil=True)
def run_weights(
    first: int,
    last: int,
    c: Constants,
    spiking: Marks,
    g_drive: Array,
    currents: Array,
    initial: Array,
    g_weight: Array,
    g_bias: NDArray[np.float64],
    g_decay: NDArray[np.float64],
) -> None:
    """Add up a block's gradients of targets ``first`` to ``last``: weights by arriving spike, bias, synaptic decays.

    Parameters
    ----------
    g_drive : ndarray, shape (copy, time, unit)
        Gradient of the drive.
    currents, initial : ndarray
        Currents (copy, tau, time, unit), of no steps if ``g_decay`` is not wanted, and (copy, tau, unit) before them.
    g_weight, g_bias, g_decay : ndarray
        Sums, shapes (tau, pre, post), (unit,) and (tau, unit).
    """
    n_batch, n_steps, _ = g_drive.shape
    n_tau = c.synapse_decay.size
    for b in range(n_batch):
        g, some = np.zeros((n_tau, last - first), g_drive.dtype), np.zeros(last - first, g_drive.dtype)
        for t in range(n_steps - 1, -1, -1):
            here = g_drive[b, t, first:last]
            for i in range(here.size):
                some[i] += here[i]
            if t % _FEW == 0:
                _move(some, g_bias[first:last])
            for k in range(n_tau):
                row = g[k]
                for i in range(here.size):
                    row[i] = here[i] + c.synapse_decay[k] * row[i]
                if currents.shape[2] > 0:
                    for i in range(here.size):
                        past = currents[b, k, t - 1, first + i] if t > 0 else initial[b, k, first + i]
                        g_decay[k, first + i] += row[i] * past
                if g_weight.size > 0 and t >= c.delay:
                    _to_weight((t - c.delay) * n_batch + b, k, first, spiking, row, g_weight)


@part
def _move(some: Array, total: NDArray[np.float64]) -> None:
    """Add a short sum to the long one, and empty it."""
    for i in range(some.size):
        total[i] += some[i]
    for i in range(some.size):
        some[i] = 0


@part
def _to_weight(sent: int, k: int, first: int, spiking: Marks, row: Array, g_weight: Array) -> None:
    for e in range(spiking.bounds[sent], spiking.bounds[sent + 1]):
        j = spiking.unit[e]
        total = g_weight[k, j, first : first + row.size]
        if spiking.value.size > 0:
            amount = spiking.value[e]
            for i in range(row.size):
                total[i] += amount * row[i]
        else:
            for i in range(row.size):
                total[i] += row[i]
