"""Compiled passes over recorded spikes: the network's step with every spike given (teacher forcing)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, kernel
from organoid.models.compiled.spike_response.step import end_step, prepare, take_recorded
from organoid.models.spike_response.terms.population import write_features
from organoid.models.spike_response.terms.registry import add_added


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
    """Step through some bins, and keep the traces of units and of the population before the wanted ones."""
    scratch, row = prepare(par, inputs, span.start, 0.0), 0
    for t in range(span.start, span.stop):
        row = _copy_state(state, span, t, row, out_traces, out_population)
        take_recorded(inputs, t, scratch)
        end_step(par, state, t, scratch)


@borrowing()
def _copy_state(state: Any, span: Any, t: int, row: int, out_traces: NDArray[Any], out_population: NDArray[Any]) -> int:
    """Copy the state to a row where it is wanted, and return the next row."""
    if row == span.wanted.size or span.wanted[row] != t:
        return row
    for k in range(out_traces.shape[1]):
        for j in range(out_traces.shape[2]):
            out_traces[row, k, j] = state.traces[k, j]
    for m in range(out_population.shape[1]):
        out_population[row, m] = state.memory.population[m]
    return row + 1


@kernel(nogil=True)
def contributions(par: Any, state: Any, inputs: Any, start: int, out: NDArray[Any]) -> None:
    """Step through the bins from `start` on, and add what added terms add to the potentials to the rows of `out`."""
    scratch = prepare(par, inputs, start, 0.0)
    for row in range(out.shape[0]):
        add_added(par.added, state.memory.added, 1, out[row])
        take_recorded(inputs, start + row, scratch)
        end_step(par, state, start + row, scratch)
