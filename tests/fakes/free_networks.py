"""Trained networks for tests of what they do when left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from organoid.models import LIF, AdaptiveLIF, AdaptiveLIFParameters, LIFParameters
from organoid.models.free_running import Advance
from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.simulators.stepwise import free_network

N, DT = 7, 0.002
CELLS = [
    LIFParameters(),
    LIFParameters(reset="subtract", refractory=0.0, delay=0.006),
    LIFParameters(refractory=0.008, delay=0.01, tau_syn=(0.003,)),
    AdaptiveLIFParameters(increment=0.3),
    AdaptiveLIFParameters(
        LIFParameters(reset="subtract", refractory=0.004, tau_syn=(0.003, 0.02, 0.1)), tau_adapt=0.05
    ),
]


def trained(fixed: LIFParameters | AdaptiveLIFParameters, *, n: int = N, seed: int = 0, **options: Any) -> Any:
    """A lively network: strong weights of both signs, differing biases and noise."""
    model: Any = (LIF if isinstance(fixed, LIFParameters) else AdaptiveLIF)(n, DT, fixed, seed=seed, **options)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        model.synapses.weight.mul_(3)
        model.bias.copy_(torch.from_numpy(rng.uniform(1.0, 1.8, n)))
        model.log_noise.add_(torch.from_numpy(rng.normal(0, 0.3, n)))
    return model.double()


def lively(n: int = N, seed: int = 0) -> LIFSimulator:
    network = free_network(trained(CELLS[3], n=n, seed=seed))
    assert isinstance(network, LIFSimulator)
    return network


def raster(advance: Advance, n_steps: int, n: int = N) -> NDArray[np.float64]:
    out = np.zeros((n_steps, n))
    np.add.at(out, (advance.steps, advance.units), 1)
    return out


def lively_of(model: Any) -> LIFSimulator:
    network = free_network(model)
    assert isinstance(network, LIFSimulator)
    return network


class Bare:
    """A model that is no network of ours."""
