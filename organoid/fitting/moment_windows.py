"""Short free runs from recorded states: what the network does, against what the culture did.

Many windows start from the traces the recorded spikes leave at their start. In each the network runs
freely; the sums of features over its spikes are compared with those over the recorded spikes of the
same stretches. Windows are shared out in a fixed number of parts, so that sums do not depend on the
number of threads.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.compiled import kernel
from organoid.fitting.forced_pass import Basis, sweep
from organoid.fitting.history import History
from organoid.fitting.moment_kernels import free_windows
from organoid.models.counter_rng import stream_key
from organoid.models.escape_lif import EscapeLIFParameters
from organoid.models.field_kernels import feed_regions, room_for_regions
from organoid.models.stimulus_kernels import NO_PULSES, PulseTrack, StimulusKernels

Array = NDArray[np.float64]

_PARTS = 8
_IN_STEP = 4, 16  # windows that run in step, at least (where there are several) and at most
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
        Spikes a window may hold after each bin: beyond twice what any stretch of the recording held, it tells
        nothing but that the network is wild, and is given up.
    """

    bins: NDArray[np.int64]
    traces: NDArray[np.float32]
    population: NDArray[np.float32]
    allowed: Array


@kernel(nogil=True)
def _collect(
    bins: NDArray[Any],
    units: NDArray[Any],
    n_bins: int,
    wanted: NDArray[Any],
    decay: NDArray[Any],
    saturation: float,
    fields: Any,
    population: NDArray[Any],
    out_traces: NDArray[Any],
    out_population: NDArray[Any],
) -> None:
    n_tau, n = out_traces.shape[1], out_traces.shape[2]
    traces, entering = np.zeros((n_tau, n)), room_for_regions(fields)
    at, row = 0, 0
    for t in range(n_bins):
        if row < wanted.size and wanted[row] == t:
            for k in range(n_tau):
                for j in range(n):
                    out_traces[row, k, j] = traces[k, j]
            for m in range(population.size):
                out_population[row, m] = population[m]
            row += 1
        here = at
        for k in range(n_tau):
            for j in range(n):
                traces[k, j] *= decay[k]
        while at < bins.size and bins[at] == t:
            for k in range(n_tau):
                traces[k, units[at]] += 1.0 - traces[k, units[at]] / saturation
            if entering.size:
                entering[fields.home[units[at]]] += 1.0
            at += 1
        for m in range(population.size - fields.region.size):
            population[m] = population[m] * fields.decay[m] + (at - here)
        feed_regions(fields, entering, population)


def collect_states(training: History, basis: Basis, longest: int) -> RecordedStates:
    """Keep the traces at evenly spaced bins (up to 20,000) from which `longest` observed bins follow."""
    n_states = min(_MAX_STATES, int(_MAX_BYTES / (4 * basis.tau.size * training.n_units)))
    stride = max(1, training.n_bins // n_states)
    wanted = np.arange(0, max(training.n_bins - longest, 1), stride)
    unseen = np.concatenate([[0], np.cumsum(~training.observed)])
    wanted = wanted[unseen[np.minimum(wanted + longest, training.n_bins)] == unseen[wanted]]
    traces = np.empty((wanted.size, basis.tau.size, training.n_units), dtype=np.float32)
    population = np.empty((wanted.size, basis.fields.decay.size), dtype=np.float32)
    _collect(
        training.bins,
        training.units,
        training.n_bins,
        wanted,
        np.exp(-training.bin_width / basis.tau),
        basis.saturation,
        basis.fields,
        basis.fields.mean.copy(),
        traces,
        population,
    )
    return RecordedStates(wanted, traces, population, _allowed(training, longest))


def _allowed(training: History, longest: int) -> Array:
    """Return twice the most spikes in any stretch, by its length in bins (rounded up to a power of 2), and a few."""
    spikes = np.concatenate([[0], np.cumsum(np.bincount(training.bins, minlength=training.n_bins))])
    lengths = 2 ** np.arange(int(np.ceil(np.log2(max(longest, 2)))) + 1)
    most = [int((spikes[k:] - spikes[:-k]).max()) if k < spikes.size else int(spikes[-1]) for k in lengths]
    return 2.0 * np.array(most)[np.searchsorted(lengths, np.arange(1, longest + 1))] + _A_FEW


@dataclass(frozen=True)
class Moments:
    """Mean over bins of features times spikes, shape (n_features, n_units); and how windows ended.

    Parameters
    ----------
    simulated, recorded : ndarray, shape (n_features, n_units)
    share_given_up : float
        Share of windows that were given up for firing far too much.
    """

    simulated: Array
    recorded: Array
    share_given_up: float


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

    @property
    def packed(self) -> tuple[NDArray[Any], ...]:
        """What compiled loops take."""
        track, kernels = self.track, self.stimulus
        return track.steps, track.curves, track.sizes, kernels.curves, kernels.low, kernels.high


def _no_response(n_units: int) -> tuple[NDArray[Any], ...]:
    nothing = np.zeros(n_units)
    return NO_PULSES.steps, NO_PULSES.curves, NO_PULSES.sizes, np.zeros((1, 1, n_units)), nothing, nothing


def compare_windows(
    training: History,
    parameters: EscapeLIFParameters,
    states: RecordedStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    seed: int,
    *,
    device: str | None = None,
    stimulus: StimulusKernels | None = None,
) -> Moments:
    """Run windows of `n_steps` bins from the chosen states, and replay the recording beside them.

    Parameters
    ----------
    training : History
    parameters : EscapeLIFParameters
    states : RecordedStates
    chosen : ndarray of int64, shape (n_windows,)
        Which states; the same one may be chosen twice.
    n_steps : int
    seed : int
    device : str, optional
        Where torch runs all windows as one batch ("cpu", "cuda"). Default: compiled loops on the processors. Both
        draw from the same distribution, not the same spikes.
    stimulus : StimulusKernels, optional
        How the recorded pulses, which come in the windows when they came in the recording, act on the network.
    """
    response = Response.to_recorded(training, stimulus)
    basis = Basis(parameters.tau, parameters.saturation, parameters.fields)
    parts = [part for part in np.array_split(chosen, _PARTS) if part.size]
    few, many = _IN_STEP
    in_step = np.array_split(chosen, max(min(_PARTS, chosen.size // few), -(-chosen.size // many), 1))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        replayed = list(pool.map(lambda part: _replay(training, basis, states, part, n_steps), parts))
        if device is None:
            ran = list(pool.map(lambda part: _run_part(parameters, states, part, n_steps, seed, response), in_step))
        else:
            from organoid.fitting.moment_torch import run_windows

            ran = [run_windows(parameters, states, chosen, n_steps, seed, device, response)]
    simulated = np.sum([part.sums for part in ran], axis=0) / max(sum(part.n_bins for part in ran), 1)
    recorded = np.sum(replayed, axis=0) / (chosen.size * n_steps)
    return Moments(simulated.T, recorded.T, sum(part.n_given_up for part in ran) / chosen.size)


def _replay(training: History, basis: Basis, states: RecordedStates, part: NDArray[np.int64], n_steps: int) -> Array:
    """Return the sums of features over the recorded spikes of some windows, shape (n_units, n_features)."""
    sums = np.zeros((1, training.n_units, basis.n_features(training.n_units)))
    for state in part:
        traces, population = states.traces[state].astype(np.float64), states.population[state].astype(np.float64)
        start = int(states.bins[state])
        sweep(training, basis, start, start + n_steps, traces, population, sums)
    return np.asarray(sums[0])


def _run_part(
    parameters: EscapeLIFParameters,
    states: RecordedStates,
    part: NDArray[np.int64],
    n_steps: int,
    seed: int,
    response: "Response | None",
) -> Windows:
    n_tau, n = parameters.tau.size, parameters.bias.size
    sums, done = np.zeros((n, n_tau * n + parameters.fields.n_features + 1)), np.empty(part.size, dtype=np.int64)
    traces = np.ascontiguousarray(states.traces[part].transpose(1, 0, 2), dtype=np.float64)
    population = np.ascontiguousarray(states.population[part].T, dtype=np.float64)
    drive = np.stack([traces[k] @ parameters.weights[k] for k in range(n_tau)])
    keys = np.array([stream_key(seed, int(state)) for state in part], dtype=np.uint64)
    pulses = _no_response(n) if response is None else response.packed
    free_windows(
        parameters, traces, drive, population, keys, states.allowed[:n_steps], sums, done, states.bins[part], pulses
    )
    return Windows(sums, int(done.sum()), int((done < n_steps).sum()))
