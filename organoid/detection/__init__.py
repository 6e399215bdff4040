"""From voltage to spikes, and pulses found in what they leave in a recording."""

from organoid.detection.pulses import find_pulses

__all__ = ["find_pulses"]
