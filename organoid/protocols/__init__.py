"""Protocols by name, their binding to electrodes, and the dry run."""

from organoid.protocols.base import ConfiguredProtocol, Parameters
from organoid.protocols.binding import Binding, BindingError, Stimulus, default_electrodes
from organoid.protocols.periodic_pulses import PeriodicPulses
from organoid.protocols.plan import DryRun, dry_run
from organoid.protocols.rate_clamp import RateClamp
from organoid.protocols.registry import (
    load_protocol,
    protocol_class,
    protocol_classes,
    protocol_names,
    rebuild_protocol,
)

__all__ = [
    "Binding",
    "BindingError",
    "ConfiguredProtocol",
    "DryRun",
    "Parameters",
    "PeriodicPulses",
    "RateClamp",
    "Stimulus",
    "default_electrodes",
    "dry_run",
    "load_protocol",
    "protocol_class",
    "protocol_classes",
    "protocol_names",
    "rebuild_protocol",
]
