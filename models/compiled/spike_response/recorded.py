"""Compiled passes over recorded spikes: the network's step with every spike given (teacher forcing)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, inner, kernel
from organoid.models.compiled.spike_response.step import end_step, prepare, take_recorded
from organoid.models.spike_response.terms.population import add_count, add_spikes_to_population, write_features
from organoid.models.spike_response.terms.registry import add_added
from organoid.models.spike_response.terms.traces import add_spike


class Span(NamedTuple):
    """Which part of a recording a pass steps through, and what it keeps.

    Parameters
    ----------
    start, stop : int
        Bins ``[start, stop)``.
    observed : ndarray of bool, shape (n_bins,)
    edges : ndarray of int64, shape (n_blocks + 1,)
        Blocks in time.
    wanted : ndarray of int64, shape (n_rows,)
        Bins whose features are kept, rising.
    """

    start: int
    stop: int
    observed: NDArray[np.bool_]
    edges: NDArray[np.int64]
    wanted: NDArray[np.int64]


@kernel(nogil=True)
def sweep(
    par: Any, state: Any, inputs: Any, nothing: float, span: Any, rows: NDArray[Any], spike_term: NDArray[Any]
) -> None:
    """Step through some bins, keep the features of wanted ones in `rows`, and add those at spikes to `spike_term`.

    Features are unit traces (time constant by time constant), those of the population, and 1.
    """
    scratch, at = prepare(par, inputs, span.start, nothing), np.zeros(2, dtype=np.int64)
    for t in range(span.start, span.stop):
        take_recorded(inputs, t, scratch)
        _keep(state, scratch, span, t, at, rows, spike_term)
        end_step(par, state, t, scratch)


@borrowing()
def _keep(
    state: Any, scratch: Any, span: Any, t: int, at: NDArray[Any], rows: NDArray[Any], spike_term: NDArray[Any]
) -> None:
    """Keep the features of a bin where they are wanted; `at` holds the next row, and the block."""
    spikes, features, edges = scratch.spikes, scratch.room.population.features, span.edges
    while at[1] < edges.size - 2 and t >= edges[at[1] + 1]:
        at[1] += 1
    n_spikes, row = spikes.begin[1], at[0]
    scored = n_spikes > 0 and span.observed[t] and spike_term.shape[0] > 0
    sampled = row < span.wanted.size and span.wanted[row] == t
    if sampled or scored:
        write_features(scratch.room.population, state.memory.population, 1)
    if sampled:
        _write_row(state.traces, features, rows[row])
        at[0] += 1
    if scored:
        for spike in range(n_spikes):
            _add_row(state.traces, features, spike_term[at[1], spikes.which[spike]])


@borrowing()
def _write_row(traces: NDArray[Any], features: NDArray[Any], out: NDArray[Any]) -> None:
    n_tau, n = traces.shape
    for k in range(n_tau):
        for j in range(n):
            out[k * n + j] = traces[k, j]
    for f in range(features.size):
        out[n_tau * n + f] = features[f]
    out[n_tau * n + features.size] = 1.0


@borrowing()
def _add_row(traces: NDArray[Any], features: NDArray[Any], out: NDArray[Any]) -> None:
    n_tau, n = traces.shape
    for k in range(n_tau):
        for j in range(n):
            out[k * n + j] += traces[k, j]
    for f in range(features.size):
        out[n_tau * n + f] += features[f]
    out[n_tau * n + features.size] += 1.0


@kernel(nogil=True)
def collect(
    par: Any, state: Any, inputs: Any, span: Any, out_traces: NDArray[Any], out_population: NDArray[Any]
) -> None:
    """Step through some bins, and keep the traces of units and of the population before the wanted ones.

    Nothing else is asked of the step, so of its parts only those that change these run, on arrays taken out of their
    tuples beforehand.
    """
    scratch, traces, population = prepare(par, inputs, span.start, 0.0), state.traces, state.memory.population
    spikes, steps, units = scratch.spikes, inputs.steps, inputs.units
    decay, jump, saturation = scratch.decay, scratch.jump, par.saturation
    regions, slow = par.fields.region.size, par.fields.decay
    at, row, wanted = scratch.cursor[0], 0, span.wanted
    for t in range(span.start, span.stop):
        if row < wanted.size and wanted[row] == t:
            _copy(traces, population, out_traces[row], out_population[row])
            row += 1
        first = at
        _decay(traces, decay)
        while at < steps.size and steps[at] == t:
            add_spike(traces, units[at], saturation, jump)
            at += 1
        if regions:
            _take(units, first, at, spikes)
            add_spikes_to_population(par.fields, scratch.room.population, spikes, population)
        else:
            add_count(slow, float(at - first), population)


@inner()
def _take(units: NDArray[Any], first: int, end: int, spikes: Any) -> None:
    """Take the recorded spikes from `first` on as those of a step."""
    for k in range(first, end):
        spikes.which[k - first], spikes.weight[k - first] = units[k], 1.0
    spikes.begin[1] = end - first
    spikes.entering[0] = end - first


@inner()
def _decay(traces: NDArray[Any], decay: NDArray[Any]) -> None:
    """Let traces decay; none is rounded to 0, as they are kept in single precision."""
    for k in range(traces.shape[0]):
        row, factor = traces[k], decay[k]
        for j in range(row.size):
            row[j] *= factor


@inner()
def _copy(
    traces: NDArray[Any], population: NDArray[Any], out_traces: NDArray[Any], out_population: NDArray[Any]
) -> None:
    for k in range(traces.shape[0]):
        for j in range(traces.shape[1]):
            out_traces[k, j] = traces[k, j]
    for m in range(population.size):
        out_population[m] = population[m]


@kernel(nogil=True)
def contributions(par: Any, state: Any, inputs: Any, start: int, out: NDArray[Any]) -> None:
    """Step through the bins from `start` on, and add what added terms add to the potentials to the rows of `out`."""
    scratch = prepare(par, inputs, start, 0.0)
    for row in range(out.shape[0]):
        add_added(par.added, state.memory.added, 1, out[row])
        take_recorded(inputs, start + row, scratch)
        end_step(par, state, start + row, scratch)
