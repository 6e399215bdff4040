"""Stimuli and their limits: pulses, trains, device profiles and the guard."""

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
    "device_profile",
    "pulses_from_table",
    "register_profile",
    "stimulus_table",
]
