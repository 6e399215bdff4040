"""Protocols by name, their binding to electrodes, and the dry run."""

from organoid.protocols.base import ConfiguredProtocol, Parameters
from organoid.protocols.binding import Binding, BindingError, Stimulus, default_electrodes
from organoid.protocols.causal_map import CausalMap
from organoid.protocols.dose_response import DoseResponse
from organoid.protocols.force import Force
from organoid.protocols.periodic_pulses import PeriodicPulses
from organoid.protocols.plan import DryRun, dry_run
from organoid.protocols.pong import Pong
from organoid.protocols.rate_clamp import RateClamp
from organoid.protocols.registry import (
    load_protocol,
    protocol_class,
    protocol_classes,
    protocol_names,
    rebuild_protocol,
)
from organoid.protocols.tetanus import Tetanus

__all__ = [
    "Binding",
    "BindingError",
    "CausalMap",
    "ConfiguredProtocol",
    "DoseResponse",
    "DryRun",
    "Force",
    "Parameters",
    "PeriodicPulses",
    "Pong",
    "RateClamp",
    "Stimulus",
    "Tetanus",
    "default_electrodes",
    "dry_run",
    "load_protocol",
    "protocol_class",
    "protocol_classes",
    "protocol_names",
    "rebuild_protocol",
]
