"""Compiled free windows of the spike-response network: several run in step, so that a pass serves them all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, kernel
from organoid.models.compiled.spike_response.step import end_step, potential, prepare, sample
from organoid.models.spike_response.terms.traces import NOTHING


@borrowing()
def _add_moments(state: Any, scratch: Any, moments: NDArray[Any]) -> None:
    """Add the features of every window at its spikes of this step to `moments[unit]`."""
    for w in range(scratch.going.size):
        if scratch.spikes.own[w]:
            _add_window(state.traces, scratch.room.population.features, w, scratch.spikes.counts, moments)


@borrowing()
def _add_window(
    traces: NDArray[Any], features: NDArray[Any], window: int, counts: NDArray[Any], moments: NDArray[Any]
) -> None:
    n_tau, n, copies = traces.shape[0], moments.shape[0], counts.size // moments.shape[0]
    first = window * n
    for i in range(n):
        if counts[first + i] == 0:
            continue
        target, count = moments[i], counts[first + i]
        for k in range(n_tau):
            row, into = traces[k, first : first + n], target[k * n : (k + 1) * n]
            for j in range(n):
                into[j] += count * row[j]
        into = target[n_tau * n :]
        for f in range(features.size // copies):
            into[f] += count * features[f * copies + window]
        target[-1] += count


@borrowing()
def _stop_wild(scratch: Any, t: int, most: float, total: NDArray[Any], done: NDArray[Any]) -> None:
    """Stop the windows that hold more than `most` spikes after step number `t`."""
    going = scratch.going
    for w in range(going.size):
        total[w] += scratch.spikes.own[w]
        if going[w] and total[w] > most:
            going[w], done[w] = False, t + 1


@kernel(nogil=True)
def free_windows(par: Any, state: Any, inputs: Any, allowed: NDArray[Any], moments: NDArray[Any]) -> NDArray[np.int64]:
    """Run windows freely, one a copy, and add the features at every spike to `moments[unit]`.

    Parameters
    ----------
    par : SpikeResponseParameters
    state : State
        Of every window, changed in place.
    inputs : Input
        Random streams, and recorded pulses.
    allowed : ndarray, shape (n_steps,)
        Spikes a window may hold after each bin; with more it is given up.
    moments : ndarray, shape (n_units, n_features)

    Returns
    -------
    done : ndarray of int64, shape (n_windows,)
        Bins run: fewer than `n_steps` where a window was given up.
    """
    scratch, n_steps = prepare(par, inputs, 0, NOTHING), allowed.size
    done, total = np.full(inputs.keys.size, n_steps), np.zeros(inputs.keys.size)
    for t in range(n_steps):
        potential(par, state, inputs, t, t, scratch)
        sample(par, inputs, t, scratch)
        _add_moments(state, scratch, moments)
        end_step(par, state, t, scratch)
        _stop_wild(scratch, t, allowed[t], total, done)
    return done
