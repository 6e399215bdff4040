"""Spiking network models: neurons, synapses, surrogate gradients and the contract they keep."""

from organoid.models.adaptive_lif import AdaptiveLIF, AdaptiveLIFParameters
from organoid.models.base import SpikingModel, TrainableModel, Trajectory, check_model
from organoid.models.lif import LIF, LIFParameters
from organoid.models.registry import MODELS
from organoid.models.surrogate import SURROGATES, SpikeFunction, Surrogate

__all__ = [
    "LIF",
    "MODELS",
    "SURROGATES",
    "AdaptiveLIF",
    "AdaptiveLIFParameters",
    "LIFParameters",
    "SpikeFunction",
    "SpikingModel",
    "Surrogate",
    "TrainableModel",
    "Trajectory",
    "check_model",
]
