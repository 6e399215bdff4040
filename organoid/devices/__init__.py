"""Devices a protocol can run on, by name."""

from organoid.closed_loop.contracts import Device
from organoid.culture.readout import Readout
from organoid.devices.cortical_labs import CorticalLabs
from organoid.devices.replayed_recording import ReplayedRecording
from organoid.devices.simulated_culture import CultureSnapshot, SimulatedCulture

DEVICES: dict[str, type[Device]] = {
    "simulated_culture": SimulatedCulture,
    "replayed_recording": ReplayedRecording,
    "cortical_labs": CorticalLabs,
}

__all__ = ["DEVICES", "CorticalLabs", "CultureSnapshot", "Readout", "ReplayedRecording", "SimulatedCulture"]
