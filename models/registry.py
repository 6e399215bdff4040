"""Spiking models, and kinds of synapses, by name.

Adding one: its own file and its line here. A member is called as ``MODELS[name](n_units, dt, seed=seed)`` and
keeps the `TrainableModel` contract; the tests run over this table.
"""

from __future__ import annotations

from collections.abc import Callable

from organoid.models.contracts import TrainableModel
from organoid.models.culture_lif.module import CultureLIF
from organoid.models.neurons.adaptive_lif import AdaptiveLIF
from organoid.models.neurons.adex import AdEx
from organoid.models.neurons.escape_noise_lif import EscapeNoiseLIF
from organoid.models.neurons.izhikevich import Izhikevich
from organoid.models.neurons.lif import LIF
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.models.synapses.short_term import ShortTermSparseSynapses, ShortTermSynapses
from organoid.models.synapses.sparse import SparseSynapses

MODELS: dict[str, Callable[..., TrainableModel]] = {
    "lif": LIF,
    "adaptive_lif": AdaptiveLIF,
    "escape_lif": EscapeNoiseLIF,
    "culture_lif": CultureLIF,
    "adex": AdEx,
    "izhikevich": Izhikevich,
}
"""Trainable models; each is called as ``MODELS[name](n_units, dt, seed=seed)``."""

SYNAPSES: dict[str, type[ExponentialSynapses]] = {
    "exponential": ExponentialSynapses,
    "sparse": SparseSynapses,
    "short_term": ShortTermSynapses,
    "short_term_sparse": ShortTermSparseSynapses,
}
"""Synapses, called as `ExponentialSynapses` is, for the ``synapses`` of a model."""
