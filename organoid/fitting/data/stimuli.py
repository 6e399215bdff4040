"""Recorded stimuli in bins."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.recording import SpikeRecording
from organoid.recording.ticks import BinGrid, to_ticks

Array = NDArray[np.float64]
Index = NDArray[np.int64]

UNKNOWN = -1  # electrode of pulses that name none


@dataclass(frozen=True)
class RecordedPulses:
    """Stimuli in bins, in order of time; one entry a pulse and electrode.

    Parameters
    ----------
    bins : ndarray of int64, shape (n_pulses,)
        The bin each pulse begins in.
    electrodes : ndarray of int64, shape (n_pulses,)
        Number of the electrode, -1 where none is known.
    amplitudes : ndarray, shape (n_pulses,)
        Size of the amplitude, in the pulse's unit; NaN where unknown.
    units : ndarray of str, shape (n_pulses,)
        "A", "V", or "" where unknown.
    """

    bins: Index
    electrodes: Index
    amplitudes: Array
    units: NDArray[np.str_]

    @classmethod
    def none(cls) -> "RecordedPulses":
        """Return no pulses."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0), np.empty(0, dtype=np.str_))

    def before(self, n_bins: int) -> "RecordedPulses":
        """Return the pulses of the first bins."""
        n = int(np.searchsorted(self.bins, n_bins))
        return RecordedPulses(self.bins[:n], self.electrodes[:n], self.amplitudes[:n], self.units[:n])

    def track(self, kernels: StimulusKernels) -> PulseTrack:
        """Return the pulses that have a kernel."""
        return kernels.track(self.bins, self.electrodes, self.amplitudes, self.units)


def recorded_pulses(rec: SpikeRecording, grid: BinGrid, n_back: int) -> RecordedPulses:
    """Return the stimuli of a recording in bins, counted from `n_back` bins before the grid."""
    table = rec.stimuli
    if not len(table):
        return RecordedPulses.none()
    bins = grid.position(to_ticks(table["time_s"].to_numpy(dtype=float), rec.tick_rate)) + n_back
    units = table["amplitude_unit"].fillna("").to_numpy(dtype=np.str_)
    amplitudes = np.abs(table["amplitude"].to_numpy(dtype=np.float64))
    order = np.argsort(bins, kind="stable")
    order = order[(bins[order] >= 0) & (bins[order] < n_back + grid.n_bins)]
    electrodes = electrode_numbers(table, rec.electrodes)
    return RecordedPulses(bins[order], electrodes[order], amplitudes[order], units[order])


def electrode_numbers(stimuli: pd.DataFrame, electrodes: pd.DataFrame) -> Index:
    """Return the electrode of every stimulus: its number, else that of its channel, else the channel, else -1."""
    named = electrodes[["channel", "electrode"]].dropna().drop_duplicates("channel").astype("int64")
    of_channel = dict(zip(named["channel"], named["electrode"]))
    channel = stimuli["channel"]
    by_channel = channel.map(of_channel).astype("Int64").fillna(channel)
    return np.asarray(stimuli["electrode"].fillna(by_channel).fillna(UNKNOWN).to_numpy(dtype=np.int64))


def phase_widths(stimuli: pd.DataFrame) -> Array:
    """Return the width of the largest phase of every stimulus, s; NaN where unknown.

    From the column ``waveform`` where there is one, else half of ``duration_s``, which are two phases.
    """
    widths = stimuli["duration_s"].to_numpy(dtype=np.float64, na_value=np.nan) / 2
    if "waveform" in stimuli:
        for k, text in enumerate(stimuli["waveform"]):
            if isinstance(text, str):
                phases = [(abs(amplitude), width) for amplitude, width in json.loads(text)]
                widths[k] = max(phases)[1]
    return np.where(widths > 0, widths, np.nan)
