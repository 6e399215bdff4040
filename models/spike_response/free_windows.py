"""Free windows of a network, compiled; see `run_windows`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.models.compiled.spike_response.step import Input, State
from organoid.models.compiled.spike_response.windows import free_windows
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.brake import NO_BRAKE
from organoid.models.spike_response.terms.registry import resting_memory
from organoid.models.spike_response.terms.stimulus import PulseInput

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_NOWHERE = np.empty(0, dtype=np.int64)


def run_windows(
    parameters: SpikeResponseParameters,
    traces: NDArray[Any],
    population: NDArray[Any],
    keys: NDArray[np.uint64],
    allowed: Array,
    pulses: PulseInput,
    starts: Index,
) -> tuple[Array, Index]:
    """Run windows freely, in step, and add up features times spikes.

    Parameters
    ----------
    parameters : SpikeResponseParameters
    traces : ndarray, shape (n_windows, n_tau, n_units)
        Where each window starts.
    population : ndarray, shape (n_windows, n_fields)
    keys : ndarray of uint64, shape (n_windows,)
        Random streams.
    allowed : ndarray, shape (n_steps,)
        Spikes a window may hold after each bin; with more it is given up.
    pulses : PulseInput
        Pulses that act on all windows ...
    starts : ndarray of int64, shape (n_windows,)
        ... which start in these steps, counted as the pulses'.

    Returns
    -------
    sums : ndarray, shape (n_units, n_features)
        Over bins and windows: unit traces (time constant by time constant), features of the population, and 1.
    done : ndarray of int64, shape (n_windows,)
        Bins run: fewer than `n_steps` where a window was given up.
    """
    parameters = parameters._replace(brake=NO_BRAKE, added=())  # recorded states hold no memory of them
    n_tau, n = parameters.tau.size, parameters.bias.size
    start = np.ascontiguousarray(traces.transpose(1, 0, 2), dtype=np.float64)
    drive = np.stack([start[k] @ parameters.weights[k] for k in range(n_tau)])
    memory = resting_memory(parameters, [int(key) for key in keys])
    memory = memory._replace(population=np.ascontiguousarray(population.T, dtype=np.float64).ravel())
    state = State(start.reshape(n_tau, -1), drive.reshape(n_tau, -1), memory)
    inputs = Input(keys, _NOWHERE, _NOWHERE, 1.0, np.empty(0), _NOWHERE, np.empty((0, n)), pulses, starts)
    sums = np.zeros((n, n_tau * n + parameters.fields.n_features + 1))
    return sums, np.asarray(free_windows(parameters, state, inputs, allowed, sums))
