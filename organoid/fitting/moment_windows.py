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
from organoid.models.counter_rng import stream_key, uniform_at
from organoid.models.escape_kernels import (
    draw,
    fade,
    pack_fields,
    pack_products,
    pack_units,
    potentials,
    receive,
)
from organoid.models.escape_lif import EscapeLIFParameters

Array = NDArray[np.float64]

_PARTS = 8
_MAX_STATES = 20_000
_MAX_BYTES = 6.4e7  # of their traces, in recordings of very many units
MAX_OCCUPANCY = 0.12  # of all unit-bins, plus ...
EXTRA_SPIKES = 2000  # ... above which a window is given up


@dataclass(frozen=True)
class RecordedStates:
    """Traces at points of the training part from which a window can start.

    Parameters
    ----------
    bins : ndarray of int64, shape (n_states,)
    traces : ndarray of float32, shape (n_states, n_tau, n_units)
    population : ndarray of float32, shape (n_states, n_fields)
    """

    bins: NDArray[np.int64]
    traces: NDArray[np.float32]
    population: NDArray[np.float32]


@kernel(nogil=True)
def _collect(
    bins: NDArray[Any],
    units: NDArray[Any],
    n_bins: int,
    wanted: NDArray[Any],
    decay: NDArray[Any],
    saturation: float,
    field_decay: NDArray[Any],
    population: NDArray[Any],
    out_traces: NDArray[Any],
    out_population: NDArray[Any],
) -> None:
    n_tau, n = out_traces.shape[1], out_traces.shape[2]
    traces = np.zeros((n_tau, n))
    at, row = 0, 0
    for t in range(n_bins):
        if row < wanted.size and wanted[row] == t:
            out_traces[row] = traces
            out_population[row] = population
            row += 1
        here = at
        for k in range(n_tau):
            for j in range(n):
                traces[k, j] *= decay[k]
        while at < bins.size and bins[at] == t:
            for k in range(n_tau):
                traces[k, units[at]] += 1.0 - traces[k, units[at]] / saturation
            at += 1
        for m in range(population.size):
            population[m] = population[m] * field_decay[m] + (at - here)


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
        basis.fields.decay,
        basis.fields.mean.copy(),
        traces,
        population,
    )
    return RecordedStates(wanted, traces, population)


@kernel(nogil=True)
def _free_window(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    key: np.uint64,
    n_steps: int,
    moments: NDArray[Any],
) -> int:
    """Run freely and add the features at every spike to `moments[unit]`; return the bins done."""
    n_tau, n = traces.shape
    units, fields, products = pack_units(par), pack_fields(par.fields), pack_products(par.fields)
    weights, field_weights, saturation, capacity = par.weights, par.field_weights, par.saturation, par.capacity
    decay, field_decay = np.exp(-par.dt / par.tau), par.fields.decay
    features = np.empty(par.field_weights.shape[0])
    v, jump = np.empty(n), np.empty(n_tau)
    counts = np.empty(n, dtype=np.int64)
    total = 0
    for t in range(n_steps):
        potentials(units, field_weights, fields, products, drive, population, features, v)
        base = np.uint64(t) * np.uint64(n)
        own = 0
        for i in range(n):
            counts[i] = draw(uniform_at(key, base + np.uint64(i)), v[i], capacity[i])
            if counts[i] > 0:
                own += counts[i]
                target = moments[i]
                for k in range(n_tau):
                    row, into = traces[k], target[k * n : (k + 1) * n]
                    for j in range(n):
                        into[j] += counts[i] * row[j]
                into = target[n_tau * n :]
                for f in range(features.size):
                    into[f] += counts[i] * features[f]
                target[-1] += counts[i]
        fade(traces, decay)
        fade(drive, decay)
        receive(weights, saturation, traces, drive, counts, jump)
        for m in range(population.size):
            population[m] = population[m] * field_decay[m] + own
        total += own
        if total > MAX_OCCUPANCY * n * (t + 1) + EXTRA_SPIKES:
            return t + 1
    return n_steps


@dataclass(frozen=True)
class Moments:
    """Mean over bins of features times spikes, shape (n_features, n_units); and how windows ended.

    Parameters
    ----------
    simulated, recorded : ndarray, shape (n_features, n_units)
    share_given_up : float
        Share of windows that were stopped for firing far too much.
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
        Windows stopped for firing far too much.
    """

    sums: Array
    n_bins: int
    n_given_up: int


def compare_windows(
    training: History,
    parameters: EscapeLIFParameters,
    states: RecordedStates,
    chosen: NDArray[np.int64],
    n_steps: int,
    seed: int,
    *,
    device: str | None = None,
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
    """
    basis = Basis(parameters.tau, parameters.saturation, parameters.fields)
    parts = [part for part in np.array_split(chosen, _PARTS) if part.size]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        replayed = list(pool.map(lambda part: _replay(training, basis, states, part, n_steps), parts))
        if device is None:
            ran = list(pool.map(lambda part: _run_part(parameters, states, part, n_steps, seed), parts))
        else:
            from organoid.fitting.moment_torch import run_windows

            ran = [run_windows(parameters, states, chosen, n_steps, seed, device)]
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
    parameters: EscapeLIFParameters, states: RecordedStates, part: NDArray[np.int64], n_steps: int, seed: int
) -> Windows:
    n_tau, n = parameters.tau.size, parameters.bias.size
    sums = np.zeros((n, n_tau * n + parameters.fields.n_features + 1))
    n_bins, n_given_up = 0, 0
    for state in part:
        traces, population = states.traces[state].astype(np.float64), states.population[state].astype(np.float64)
        drive = np.stack([traces[k] @ parameters.weights[k] for k in range(n_tau)])
        done = _free_window(parameters, traces, drive, population, stream_key(seed, int(state)), n_steps, sums)
        n_bins += done
        n_given_up += done < n_steps
    return Windows(sums, n_bins, n_given_up)
