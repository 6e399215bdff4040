"""Stimuli and their limits: pulses, trains, device profiles and the guard."""

from organoid.stimulation.charge import charge_density, shannon_k
from organoid.stimulation.guard import GuardHistory, StimulationGuard, Verdict
from organoid.stimulation.profiles import PROFILES, DeviceProfile, device_profile, register_profile
from organoid.stimulation.pulses import Phase, Pulse, PulseTrain, RecordedPulse
from organoid.stimulation.table import pulses_from_table, stimulus_table

__all__ = [
    "PROFILES",
    "DeviceProfile",
    "GuardHistory",
    "Phase",
    "Pulse",
    "PulseTrain",
    "RecordedPulse",
    "StimulationGuard",
    "Verdict",
    "charge_density",
    "device_profile",
    "pulses_from_table",
    "register_profile",
    "shannon_k",
    "stimulus_table",
]
