"""Voltage that SpikeInterface opens: its recordings, and the folders it saves (extra ``interop``)."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.detection.voltage import Run, Voltage
from organoid.errors import RecordingError


class SpikeInterfaceVoltage(Voltage):
    """The one segment of a SpikeInterface recording.

    Parameters
    ----------
    recording : spikeinterface.core.BaseRecording
    """

    def __init__(self, recording: Any) -> None:
        if not hasattr(recording, "get_traces") or not hasattr(recording, "get_sampling_frequency"):
            raise RecordingError(
                f"{type(recording).__name__} is no source of voltage; expected a path, a Voltage or a recording of "
                "SpikeInterface"
            )
        if recording.get_num_segments() != 1:
            raise RecordingError(
                f"the recording has {recording.get_num_segments()} segments; take one: recording.select_segments([0])"
            )
        self.recording = recording
        names = [str(channel) for channel in recording.channel_ids]
        places = pd.DataFrame({"name": names})
        if recording.has_probe():
            xy = np.asarray(recording.get_channel_locations())
            places = places.assign(x_um=xy[:, 0], y_um=xy[:, 1])
        rate = float(recording.get_sampling_frequency())
        start = float(recording.get_start_time(0)) if hasattr(recording, "get_start_time") else 0.0
        gains, offsets = recording.get_channel_gains(), recording.get_channel_offsets()
        known = gains is not None and offsets is not None
        notes = [] if known else ["the recording gives no gains: voltage is in counts, not volt"]
        super().__init__(
            rate, places, [Run(0, int(recording.get_num_frames()), start)], None, {"format": "voltage"}, notes
        )
        self.gains = np.asarray(gains, dtype=float) * 1e-6 if known else np.ones(len(names))
        self.offsets = np.asarray(offsets, dtype=float) * 1e-6 if known else np.zeros(len(names))

    def read(self, begin: int, end: int) -> NDArray[np.floating[Any]]:
        """Return some rows, V."""
        traces = self.recording.get_traces(segment_index=0, start_frame=begin, end_frame=end)
        return np.asarray(traces, dtype=np.float64) * self.gains + self.offsets


def load_folder(path: Path) -> Voltage:
    """Return the voltage of a folder that SpikeInterface saved."""
    try:
        load = import_module("spikeinterface.core").load
    except ImportError:
        raise RecordingError(
            f'{path} is a folder; voltage in folders needs SpikeInterface: pip install "organoid[interop]"'
        ) from None
    try:
        return SpikeInterfaceVoltage(load(path))
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(f"{path} is no folder that SpikeInterface saved: {error}") from None
