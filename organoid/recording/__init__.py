"""Spikes of one recording, its tables, and the ticks its times are compared in."""

from organoid.recording.joining import concatenate
from organoid.recording.recording import SpikeRecording

__all__ = ["SpikeRecording", "concatenate"]
