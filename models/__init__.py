"""Spiking network models: neurons, synapses, surrogate gradients and the contract they keep."""

from organoid.models.adaptive_lif import AdaptiveLIF, AdaptiveLIFParameters
from organoid.models.adex import AdEx, AdExParameters
from organoid.models.base import SpikingModel, TrainableModel, Trajectory, check_model
from organoid.models.dale import DalesLaw
from organoid.models.event_connections import Connections, random_connections
from organoid.models.event_lif import EventLIF
from organoid.models.event_network import event_form, event_lif
from organoid.models.izhikevich import Izhikevich, IzhikevichParameters
from organoid.models.kernels_backend import backend, support_table
from organoid.models.lif import LIF, LIFParameters
from organoid.models.noisy_lif import EscapeNoiseLIF
from organoid.models.plasticity import (
    HomeostaticScaling,
    PairSTDP,
    PlasticityRule,
    PlasticNetwork,
    RewardModulatedSTDP,
    Together,
    TripletSTDP,
)
from organoid.models.readout import LeakyReadout
from organoid.models.registry import MODELS, SYNAPSES
from organoid.models.short_term import ShortTermPlasticity, ShortTermSparseSynapses, ShortTermSynapses
from organoid.models.sparse_synapses import SparseSynapses
from organoid.models.surrogate import SURROGATES, SpikeFunction, Surrogate
from organoid.models.synapses import ExponentialSynapses
from organoid.models.wiring import distance_mask, random_mask, small_world_mask

__all__ = [
    "ExponentialSynapses",
    "SparseSynapses",
    "ShortTermSparseSynapses",
    "SYNAPSES",
    "EscapeNoiseLIF",
    "DalesLaw",
    "AdEx",
    "AdExParameters",
    "AdaptiveLIF",
    "AdaptiveLIFParameters",
    "Connections",
    "EventLIF",
    "HomeostaticScaling",
    "Izhikevich",
    "IzhikevichParameters",
    "LIF",
    "LIFParameters",
    "LeakyReadout",
    "MODELS",
    "PairSTDP",
    "PlasticNetwork",
    "PlasticityRule",
    "RewardModulatedSTDP",
    "SURROGATES",
    "ShortTermPlasticity",
    "ShortTermSynapses",
    "SpikeFunction",
    "SpikingModel",
    "Surrogate",
    "Together",
    "TrainableModel",
    "Trajectory",
    "TripletSTDP",
    "backend",
    "check_model",
    "distance_mask",
    "event_form",
    "event_lif",
    "random_connections",
    "random_mask",
    "small_world_mask",
    "support_table",
]
