"""Compiled free run of one spike-response network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, kernel
from organoid.models.compiled.spike_response.step import begin_step, end_step, potential, prepare, sample
from organoid.models.spike_response.terms.traces import NOTHING

ACTIVITY_TAU = 2.0  # s, memory of the population rate that is watched for runaway
_CHUNK_SPIKES = 65536


@kernel(nogil=True)
def run(par: Any, state: Any, inputs: Any, first_step: int, done: int, activity: float) -> Any:
    """Run on from step `done` of the call until its end, a full buffer, or a runaway.

    Returns
    -------
    steps, units : ndarray of int64
        Spikes of the network's own.
    done : int
        Steps done so far.
    activity : float
        Leaky population rate, spikes/s.
    runaway : bool
    """
    scratch = prepare(par, inputs, done, NOTHING)
    room = _CHUNK_SPIKES + int(np.sum(par.capacity))
    steps, units = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    leak, n_out, runaway = np.exp(-par.dt / ACTIVITY_TAU), 0, False
    while done < inputs.volley.size and n_out < _CHUNK_SPIKES and not runaway:
        step = first_step + done
        begin_step(inputs, done, scratch)
        potential(par, state, inputs, step, done, scratch)
        sample(par, inputs, step, scratch)
        n_out = _write_own(scratch, done, steps, units, n_out)
        activity = activity * leak + end_step(par, state, step, scratch) / ACTIVITY_TAU
        done += 1
        runaway = activity > par.rate_limit
    return steps[:n_out], units[:n_out], done, activity, runaway


@borrowing()
def _write_own(scratch: Any, t: int, steps: NDArray[Any], units: NDArray[Any], n_out: int) -> int:
    """Write the spikes a step drew to the output, and return how far it is filled."""
    spikes, forced = scratch.spikes, scratch.forced
    if not spikes.own[0]:
        return n_out
    for i in range(forced.size):
        for _ in range(spikes.counts[i] - forced[i]):
            steps[n_out], units[n_out] = t, i
            n_out += 1
    return n_out
