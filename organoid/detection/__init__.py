"""From voltage to spikes: sources of voltage, band pass, threshold, artefacts; sorting is left to SpikeInterface."""

from organoid.detection.detector import detect
from organoid.detection.settings import DetectionSettings
from organoid.detection.sources import open_voltage
from organoid.detection.voltage import ArrayVoltage, Voltage
from organoid.recording.artefacts import find_pulses

__all__ = ["ArrayVoltage", "DetectionSettings", "Voltage", "detect", "find_pulses", "open_voltage"]
