"""Recorded states from which windows of a culture LIF network start."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.culture_lif.columns import Columns
from organoid.fitting.data.history import History
from organoid.fitting.free_run.window_states import allowed_spikes
from organoid.models.culture_lif.forced_pass import collect_forced

Array = NDArray[np.float64]

_MAX_STATES = 10_000
_MAX_BYTES = 1.0e8


@dataclass(frozen=True)
class CultureStates:
    """All that a culture LIF network remembers of recorded spikes, but for its potentials, at points of the recording.

    Parameters
    ----------
    bins : ndarray of int64, shape (n_states,)
    traces, depleted : ndarray of float32, shape (n_states, n_types, n_units)
    raised : ndarray of float32, shape (n_states, n_traces, n_units)
    population : ndarray of float32, shape (n_states, n_fields)
    allowed : ndarray, shape (longest,)
        Spikes a window may hold after each bin before it is given up.
    """

    bins: NDArray[np.int64]
    traces: NDArray[np.float32]
    depleted: NDArray[np.float32]
    raised: NDArray[np.float32]
    population: NDArray[np.float32]
    allowed: Array

    def arrays(self, state: int, weights: Array) -> tuple[Array, ...]:
        """Return potentials of 0, traces, depletion, synaptic currents, threshold traces and population traces."""
        traces = self.traces[state].astype(np.float64)
        drive = np.einsum("kj,kji->ki", traces, weights)
        others = (self.raised, self.population)
        raised, population = (values[state].astype(np.float64) for values in others)
        return np.zeros(traces.shape[1]), traces, self.depleted[state].astype(np.float64), drive, raised, population


def collect_culture_states(training: History, columns: Columns, longest: int) -> CultureStates:
    """Return states at even distances, after each of which `longest` bins were observed.

    Parameters
    ----------
    training : History
    columns : Columns
    longest : int
        Bins of the longest window, what comes before it included.
    """
    p, n = columns.template, training.n_units
    width = 4 * ((2 * p.tau.size + p.threshold_tau.size) * n + p.fields.mean.size)
    last = max(training.n_bins - longest, 1)
    n_states = int(np.clip(_MAX_BYTES / width, 1, _MAX_STATES))
    bins = np.unique(np.linspace(0, last - 1, min(n_states, last)).astype(np.int64))
    unseen = np.concatenate([[0], np.cumsum(~training.observed)])
    bins = bins[unseen[np.minimum(bins + longest, training.n_bins)] == unseen[bins]]
    shape = bins.size, p.tau.size, n
    traces, depleted = np.empty(shape, np.float32), np.empty(shape, np.float32)
    raised = np.empty((bins.size, p.threshold_tau.size, n), np.float32)
    population = np.empty((bins.size, p.fields.mean.size), np.float32)
    collect_forced(
        p,
        training.bins,
        training.units,
        training.n_bins,
        bins,
        traces,
        depleted,
        raised,
        population,
        np.empty((0, 1), np.float32),
    )
    return CultureStates(bins, traces, depleted, raised, population, allowed_spikes(training, longest))
