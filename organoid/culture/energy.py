"""Synaptic operations: connections that spikes cross, the measure of energy of neuromorphic hardware."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.spike_response.network import SpikeResponseNetwork


def fan_out(network: Any) -> NDArray[np.int64] | None:
    """Return how many other units each unit is connected to; None where that is not known.

    Parameters
    ----------
    network : FreeRunningNetwork or preset

    Returns
    -------
    ndarray of int64, shape (n_units,), or None
    """
    inner = getattr(network, "network", network)
    if not isinstance(inner, SpikeResponseNetwork | LIFSimulator):
        return None
    parameters: Any = inner.parameters
    connected = np.any(np.asarray(parameters.weights) != 0, axis=0)
    lagged = getattr(parameters, "lag_weights", None)
    if lagged is not None and np.size(lagged):
        connected = connected | np.any(np.asarray(lagged) != 0, axis=0)
    np.fill_diagonal(connected, False)
    return np.asarray(connected.sum(axis=1), dtype=np.int64)


def synaptic_operations(network: Any, spike_units: NDArray[np.int64]) -> int | None:
    """Return the connections crossed by some spikes; None where the network does not say."""
    targets = fan_out(network)
    return None if targets is None else int(targets[spike_units].sum())
