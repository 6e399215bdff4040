"""Spiking models by name.

Adding one: its own file and its line here. A member is called as ``MODELS[name](n_units, dt, seed=seed)`` and
keeps the `TrainableModel` contract; the tests run over this table.
"""

from __future__ import annotations

from collections.abc import Callable

from organoid.models.adaptive_lif import AdaptiveLIF
from organoid.models.adex import AdEx
from organoid.models.base import TrainableModel
from organoid.models.izhikevich import Izhikevich
from organoid.models.lif import LIF

MODELS: dict[str, Callable[..., TrainableModel]] = {
    "lif": LIF,
    "adaptive_lif": AdaptiveLIF,
    "adex": AdEx,
    "izhikevich": Izhikevich,
}
