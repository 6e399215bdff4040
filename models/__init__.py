"""Spiking network models: neurons, synapses, surrogate gradients and the contract they keep."""

from organoid.models.backend import backend, support_table
from organoid.models.contracts import SpikingModel, TrainableModel, Trajectory, check_model
from organoid.models.culture_lif.module import CultureLIF, CultureLIFConstants
from organoid.models.neurons.adaptive_lif import AdaptiveLIF, AdaptiveLIFParameters
from organoid.models.neurons.adex import AdEx, AdExParameters
from organoid.models.neurons.escape_noise_lif import EscapeNoiseLIF
from organoid.models.neurons.izhikevich import Izhikevich, IzhikevichParameters
from organoid.models.neurons.leaky_readout import LeakyReadout
from organoid.models.neurons.lif import LIF, LIFParameters
from organoid.models.registry import MODELS, SYNAPSES
from organoid.models.simulators.event_builder import event_lif, to_event_driven
from organoid.models.simulators.event_connections import Connections, random_connections
from organoid.models.simulators.event_driven import EventDrivenLIF
from organoid.models.surrogate import SURROGATES, SpikeFunction, Surrogate
from organoid.models.synapses.connectivity import distance_mask, random_mask, small_world_mask
from organoid.models.synapses.dales_law import DalesLaw
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.models.synapses.plasticity import (
    CombinedRule,
    HomeostaticScaling,
    PairSTDP,
    PlasticityRule,
    PlasticNetwork,
    RewardModulatedSTDP,
    TripletSTDP,
)
from organoid.models.synapses.short_term import ShortTermPlasticity, ShortTermSparseSynapses, ShortTermSynapses
from organoid.models.synapses.sparse import SparseSynapses

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
    "CultureLIF",
    "CultureLIFConstants",
    "EventDrivenLIF",
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
    "CombinedRule",
    "TrainableModel",
    "Trajectory",
    "TripletSTDP",
    "backend",
    "check_model",
    "distance_mask",
    "to_event_driven",
    "event_lif",
    "random_connections",
    "random_mask",
    "small_world_mask",
    "support_table",
]
