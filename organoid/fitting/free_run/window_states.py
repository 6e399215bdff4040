"""Recorded states from which free windows start, and what windows give back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.features import Basis
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels

Array = NDArray[np.float64]

_MAX_STATES = 20_000
_A_FEW = 20  # spikes
_MAX_BYTES = 6.4e7  # of their traces, in recordings of very many units


@dataclass(frozen=True)
class RecordedStates:
    """Traces at points of the training part from which a window can start.

    Parameters
    ----------
    bins : ndarray of int64, shape (n_states,)
    traces : ndarray of float32, shape (n_states, n_tau, n_units)
    population : ndarray of float32, shape (n_states, n_fields)
    allowed : ndarray, shape (longest,)
        Spikes a window may hold after each bin: beyond twice what any segment of the recording held, it tells
        nothing but that the network runs away, and is ended.
    """

    bins: NDArray[np.int64]
    traces: NDArray[np.float32]
    population: NDArray[np.float32]
    allowed: Array


def collect_states(training: History, basis: Basis, longest: int) -> RecordedStates:
    """Keep the traces at evenly spaced bins (up to 20,000) from which `longest` observed bins follow."""
    n_states = min(_MAX_STATES, int(_MAX_BYTES / (4 * basis.tau.size * training.n_units)))
    stride = max(1, training.n_bins // n_states)
    wanted = np.arange(0, max(training.n_bins - longest, 1), stride)
    unseen = np.concatenate([[0], np.cumsum(~training.observed)])
    wanted = wanted[unseen[np.minimum(wanted + longest, training.n_bins)] == unseen[wanted]]
    traces, population = basis.follower(training).collect(training.n_bins, wanted)
    return RecordedStates(wanted, traces, population, allowed_spikes(training, longest))


def allowed_spikes(training: History, longest: int) -> Array:
    """Return twice the most spikes in any segment, by its length in bins (rounded up to a power of 2), and a few."""
    spikes = np.concatenate([[0], np.cumsum(np.bincount(training.bins, minlength=training.n_bins))])
    lengths = 2 ** np.arange(int(np.ceil(np.log2(max(longest, 2)))) + 1)
    most = [int((spikes[k:] - spikes[:-k]).max()) if k < spikes.size else int(spikes[-1]) for k in lengths]
    return 2.0 * np.array(most)[np.searchsorted(lengths, np.arange(1, longest + 1))] + _A_FEW


@dataclass(frozen=True)
class Windows:
    """Sums over the bins of free windows.

    Parameters
    ----------
    sums : ndarray, shape (n_units, n_features)
        Of features times spikes.
    n_bins : int
        Bins run.
    n_given_up : int
        Windows given up for firing far too much.
    """

    sums: Array
    n_bins: int
    n_given_up: int


@dataclass(frozen=True)
class Response:
    """Recorded pulses, and how they act."""

    track: PulseTrack
    stimulus: StimulusKernels

    @classmethod
    def to_recorded(cls, training: History, stimulus: StimulusKernels | None) -> "Response | None":
        """Return the response to the pulses of a recording; None without kernels."""
        if stimulus is None:
            return None
        return cls(training.pulses.track(stimulus), stimulus)
