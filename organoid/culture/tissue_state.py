"""What a simulated tissue remembers, and what it did."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.models.spike_response.terms.pulse_track import NO_PULSES, PulseTrack

Index = NDArray[np.int64]
_NEVER = np.iinfo(np.int64).min // 4


def _no_index() -> Index:
    return np.empty(0, dtype=np.int64)


class TissueState(NamedTuple):
    """State of a tissue at the start of frame `frame`. Arrays are never changed in place.

    Parameters
    ----------
    network : object
        State of the network before step `step`.
    step, frame : int
        ``step`` is the step that `frame` lies in.
    keys : tuple of int
        Random streams: frames inside steps, recruitment, latencies, whether a pulse is answered.
    forced_steps, forced_units : ndarray of int64
        Direct spikes the network has not been told yet.
    volley_steps, volleys : ndarray
        Volleys it has not been told yet.
    direct_frames, direct_units : ndarray of int64
        Direct spikes that are still to come.
    last_spike : ndarray of int64, shape (n_units,)
        Frame of the last spike of each unit.
    n_pulses : int
        Pulses given so far.
    runaway : bool
        Whether the network ran away; nothing can follow.
    pulses : PulseTrack
        Pulses that act through kernels, as long as they do.
    resource : ndarray, shape (n_electrodes,)
        What the last pulse on each electrode left of its resource; empty before the first pulse.
    last_pulse : ndarray of int64, shape (n_electrodes,)
        Frame of that pulse.
    """

    network: Any
    step: int
    frame: int
    keys: tuple[int, int, int, int]
    forced_steps: Index
    forced_units: Index
    volley_steps: Index
    volleys: NDArray[np.float64]
    direct_frames: Index
    direct_units: Index
    last_spike: Index
    n_pulses: int = 0
    runaway: bool = False
    pulses: PulseTrack = NO_PULSES
    resource: NDArray[np.float64] = np.empty(0)
    last_pulse: Index = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class TissueBlock:
    """What a tissue did in the frames ``[start_frame, stop_frame)``.

    Parameters
    ----------
    spike_frames, spike_units : ndarray of int64, shape (n_spikes,)
        In order of frames.
    direct : ndarray of bool, shape (n_spikes,)
        Which spikes a pulse forced.
    state : TissueState
        At `stop_frame`, which is earlier than asked where the network ran away.
    """

    start_frame: int
    stop_frame: int
    spike_frames: Index
    spike_units: Index
    direct: NDArray[np.bool_]
    state: TissueState
