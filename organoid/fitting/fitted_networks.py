"""The networks that a likelihood fit makes, and what both can do: expect counts on recorded history, get responses."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.culture_lif.prediction import culture_expected_counts
from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.prediction import expected_counts
from organoid.models.culture_lif.network import CultureLIFNetwork
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.models.spike_response.terms.brake import Brake
from organoid.models.spike_response.terms.stimulus import StimulusKernels

FittedNetwork = SpikeResponseNetwork | CultureLIFNetwork


def as_fitted(network: FreeRunningNetwork) -> FittedNetwork:
    """Return a network that filters of pulses can be fitted to.

    Raises
    ------
    FitError
        If it is of another kind.
    """
    if isinstance(network, SpikeResponseNetwork | CultureLIFNetwork):
        return network
    raise FitError(
        f"the network for simulation is a {type(network).__name__}, whose response to pulses cannot be calibrated; "
        "expected the network of a fit with loss='likelihood' (model='escape_lif' or 'culture_lif')"
    )


def with_response(
    network: FittedNetwork, stimulus: StimulusKernels | None, brake: Brake | None = None
) -> FittedNetwork:
    """Return the network with another response to pulses, and another brake if given."""
    if isinstance(network, CultureLIFNetwork):
        own = network.parameters if brake is None else network.parameters._replace(brake=brake)
        return CultureLIFNetwork(own, stimulus)
    parameters = network.parameters if brake is None else network.parameters._replace(brake=brake)
    return SpikeResponseNetwork(parameters, stimulus)


def expected_on_record(
    history: History, network: FittedNetwork, start: int, stop: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield expected counts of the bins ``[start, stop)``, each from earlier spikes and pulses up to it.

    Yields
    ------
    first_bin : int
    expected : ndarray, shape (n, n_units)
    """
    if isinstance(network, CultureLIFNetwork):
        return culture_expected_counts(history, network.parameters, start, stop, network.stimulus)
    return expected_counts(history, network.parameters, start, stop, network.stimulus)
