"""One step of the spike-response network, written once: of a free run, of free windows and of recorded spikes.

A step is ``begin_step`` (what enters from outside), ``potential``, ``sample`` and ``end_step`` (what spikes leave
behind). Several copies of one network may run in step: they lie side by side in memory, so that one pass over a row
serves them all with vector instructions. What is added to the potential is a term, see
`organoid.models.spike_response.terms`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, inner, kernel
from organoid.models.compiled.spike_response.sampling import draw, place_draws, screen
from organoid.models.spike_response.terms.registry import (
    Memory,
    Room,
    add_to_drive,
    add_unbounded,
    prepare_terms,
    update_terms,
    write_inputs,
)
from organoid.models.spike_response.terms.spikes import Spikes, no_spikes
from organoid.models.spike_response.terms.stimulus import PulseInput, add_evoked
from organoid.models.spike_response.terms.traces import add_spikes_to_traces, decay_rows, write_drive

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class State(NamedTuple):
    """What networks remember from step to step; changed in place.

    Parameters
    ----------
    traces, drive : ndarray, shape (n_tau, n_copies * n_units)
    memory : Memory
        Of the terms.
    """

    traces: Array
    drive: Array
    memory: Memory


class Input(NamedTuple):
    """What enters from outside; steps count from the start of the call.

    Parameters
    ----------
    keys : ndarray of uint64, shape (n_copies,)
        Random streams of the spikes.
    steps, units : ndarray of int64, shape (n_forced,)
        Spikes that are forced on the first copy, in order of steps.
    weight : float
        How much a forced spike counts in the population.
    volley : ndarray, shape (n_steps,) or (0,)
        Spikes of neurons unseen, which enter the population.
    drive_steps, drive : ndarray, shapes (n_driven,) and (n_driven, n_units)
        What is added to the potentials of the first copy, and when.
    pulses : PulseInput
        Pulses that act on all copies ...
    starts : ndarray of int64, shape (n_copies,)
        ... which start in these steps, counted as the pulses'; empty where there are no pulses.
    """

    keys: NDArray[np.uint64]
    steps: Index
    units: Index
    weight: float
    volley: Array
    drive_steps: Index
    drive: Array
    pulses: PulseInput
    starts: Index


class Units(NamedTuple):
    """Constants of all units, copy by copy."""

    bias: Array
    low: Array
    high: Array
    ceiling: Array
    capacity: Array


class Scratch(NamedTuple):
    """What is worked out once, and room to work in.

    Parameters
    ----------
    units : Units
    decay : ndarray, shape (n_tau,)
    room : Room
        Of the terms.
    spikes : Spikes
        Of the step.
    forced, v, inputs, left, bound, may_fire, places : ndarray, shape (n_copies * n_units,)
        Forced spikes, ``V``, what terms add to the clipped drive; the others see `screen`.
    going : ndarray of bool, shape (n_copies,)
        Copies that run on; the others no longer spike.
    nothing : float
        Traces not above it become 0.
    jump, evoked : ndarray
    cursor : ndarray of int64, shape (3,)
        Forced spikes and driven steps so far, and forced spikes of this step.
    now, n_pulses : ndarray of int64, shape (n_copies,)
        Where each copy stands in the steps of pulses, and pulses up to then.
    """

    units: Units
    decay: Array
    room: Room
    spikes: Spikes
    forced: Index
    v: Array
    inputs: Array
    left: Array
    bound: NDArray[np.int32]
    may_fire: NDArray[np.bool_]
    places: NDArray[np.uint64]
    going: NDArray[np.bool_]
    nothing: float
    jump: Array
    evoked: Array
    cursor: Index
    now: Index
    n_pulses: Index


@kernel()
def prepare(par: Any, inputs: Any, done: int, nothing: float) -> Any:
    """Return what steps need, from step `done` on; traces not above `nothing` become 0."""
    copies, n = inputs.keys.size, par.bias.size
    size = copies * n
    places, cursor = np.empty(size, dtype=np.uint64), np.zeros(3, dtype=np.int64)
    for c in range(copies):
        place_draws(inputs.keys[c], n, places[c * n : (c + 1) * n])
    cursor[0], cursor[1] = np.searchsorted(inputs.steps, done), np.searchsorted(inputs.drive_steps, done)
    return Scratch(
        Units(
            _repeat(par.bias, copies),
            _repeat(par.drive_low, copies),
            _repeat(par.drive_high, copies),
            _repeat(par.ceiling, copies),
            _repeat(par.capacity, copies),
        ),
        np.exp(-par.dt / par.tau),
        prepare_terms(par, copies),
        no_spikes(copies, n, copies * int(np.sum(par.capacity)) + inputs.steps.size),
        np.zeros(size, dtype=np.int64),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.bool_),
        places,
        np.ones(copies, dtype=np.bool_),
        nothing,
        np.empty(par.tau.size),
        np.empty(n),
        cursor,
        inputs.starts.copy(),
        np.searchsorted(inputs.pulses.steps, inputs.starts, side="right"),
    )


@inner()
def _repeat(values: NDArray[Any], copies: int) -> NDArray[Any]:
    out = np.empty(copies * values.size)
    for at in range(out.size):
        out[at] = values[at % values.size]
    return out


@borrowing()
def begin_step(inputs: Any, t: int, scratch: Any) -> None:
    """Force the spikes of step number `t` on the first copy; they come before those it draws."""
    cursor, forced = scratch.cursor, scratch.forced
    if cursor[2]:
        forced[:] = 0
        cursor[2] = 0
    while cursor[0] < inputs.steps.size and inputs.steps[cursor[0]] == t:
        forced[inputs.units[cursor[0]]] += 1
        cursor[0] += 1
        cursor[2] += 1
    if inputs.volley.size:
        scratch.spikes.unseen[0] = inputs.volley[t]


@borrowing()
def potential(par: Any, state: Any, inputs: Any, step: int, t: int, scratch: Any) -> None:
    """Write ``V`` of every unit; see `organoid.models.spike_response.network` for the equation."""
    units, v, added = scratch.units, scratch.v, scratch.inputs
    write_inputs(par, scratch.room, state.memory, inputs.keys.size, added)
    write_drive(state.drive, v)
    add_to_drive(par, scratch.room, state.memory, step, v)
    _bound(units.bias, units.low, units.high, units.ceiling, added, v)
    cursor = scratch.cursor
    driven = cursor[1] < inputs.drive_steps.size and inputs.drive_steps[cursor[1]] == t
    add_unbounded(par, state.memory, driven, inputs.keys.size, v)
    if driven:
        row = inputs.drive[cursor[1]]
        for i in range(row.size):
            v[i] += row[i]
        cursor[1] += 1
    if inputs.pulses.steps.size:
        add_evoked(inputs.pulses, scratch.now, scratch.n_pulses, scratch.evoked, v)


@kernel()
def _bound(
    bias: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    ceiling: NDArray[Any],
    added: NDArray[Any],
    v: NDArray[Any],
) -> None:
    """Clip the drive that `v` holds, add bias and inputs, and hold the sum below the ceiling."""
    for i in range(v.size):
        v[i] = min(bias[i] + min(max(v[i], low[i]), high[i]) + added[i], ceiling[i])


@borrowing()
def sample(par: Any, inputs: Any, step: int, scratch: Any) -> None:
    """Draw the spikes of every copy that runs on, and list them beside those that were forced."""
    spikes, n, forced = scratch.spikes, par.bias.size, scratch.forced
    screen(
        scratch.places,
        step,
        n,
        scratch.v,
        scratch.units.capacity,
        scratch.left,
        scratch.bound,
        scratch.may_fire,
    )
    at = 0
    for c in range(scratch.going.size):
        own, n_forced = 0, scratch.cursor[2] if c == 0 else 0
        for i in range(c * n, (c + 1) * n if scratch.going[c] else c * n):
            if not scratch.may_fire[i] and forced[i] == 0:
                spikes.counts[i] = 0
                continue
            drawn = 0
            if scratch.may_fire[i]:
                drawn = draw(scratch.left[i], scratch.v[i], par.capacity[i - c * n] - forced[i])
            spikes.counts[i] = forced[i] + drawn
            for _ in range(forced[i]):
                spikes.which[at], spikes.weight[at] = i, inputs.weight
                at += 1
            for _ in range(drawn):
                spikes.which[at], spikes.weight[at] = i, 1.0
                at += 1
            own += drawn
        spikes.begin[c + 1] = at
        spikes.own[c] = own
        spikes.entering[c] = own + inputs.weight * n_forced + spikes.unseen[c]


@borrowing()
def take_recorded(inputs: Any, t: int, scratch: Any) -> None:
    """Take the spikes of a step from a recording instead (teacher forcing): those that are to be forced."""
    cursor, spikes, n = scratch.cursor, scratch.spikes, 0
    while cursor[0] < inputs.steps.size and inputs.steps[cursor[0]] == t:
        spikes.which[n], spikes.weight[n] = inputs.units[cursor[0]], 1.0
        cursor[0] += 1
        n += 1
    spikes.begin[1] = n
    spikes.entering[0] = n


@borrowing()
def end_step(par: Any, state: Any, step: int, scratch: Any) -> int:
    """Let traces and drive decay, and the spikes of the step enter them and what terms remember; return how many."""
    decay_rows(state.traces, scratch.decay, scratch.nothing)
    decay_rows(state.drive, scratch.decay, scratch.nothing)
    add_spikes_to_traces(par.weights, par.saturation, scratch.spikes, scratch.jump, state.traces, state.drive)
    update_terms(par, scratch.room, scratch.spikes, step, state.memory)
    n_spikes: int = scratch.spikes.begin[-1]
    return n_spikes
