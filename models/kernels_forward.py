"""Compiled forward pass of the canonical network: currents by spike, cells by vector.

A step touches the weights of a presynaptic unit only when it spikes: the currents of the targets decay as vectors, and
each arriving spike adds one row of weights. A call advances a block of copies; within a step the cells of all its
copies stand side by side in one vector ("lane" below: copy times unit), which is long even where a network is small.
Copies never mix, so results do not depend on how a batch is cut into blocks. All arrays are C-contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from organoid.models.counter_rng import uniform_at

from organoid.compiled import kernel

Array = NDArray[np.floating[Any]]
Index = NDArray[np.int32]


def part(function: Callable[..., Any], fastmath: Any = False) -> Any:
    """Compile a part of other compiled functions; without a door for Python, which takes longest to compile."""
    return numba.njit(fastmath=fastmath, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


_BLOCK = 64  # units looked at together for a spike
_TINY = 1e-30  # thresholds; currents below count as 0: numbers near the smallest ones take many times longer


REORDERED = {"reassoc", "contract", "nsz"}  # for sums alone: in any order, so that they can be vectorised


class Constants(NamedTuple):
    """Numbers of the network.

    Parameters
    ----------
    keep, take : ndarray, shape (lane,)
        What is left of a potential after a step, and what it takes of the drive.
    threshold, increment, fade : ndarray, shape (lane,)
        Threshold, its rise per spike, what is left of the adaptation after a step.
    synapse_decay : ndarray, shape (tau,)
        What is left of a current after a step.
    n_refractory, delay : int
        Steps.
    hard, adaptive, detach : bool
        Hard reset (else by subtraction); whether the threshold adapts; whether gradients pass by the reset.
    """

    keep: Array
    take: Array
    threshold: Array
    increment: Array
    fade: Array
    synapse_decay: Array
    n_refractory: int
    delay: int
    hard: bool
    adaptive: bool
    detach: bool


class Cells(NamedTuple):
    """State, changed in place: (lane,), and current (tau, lane)."""

    voltage: Array
    refractory: Array
    adaptation: Array
    current: Array


class Draws(NamedTuple):
    """Escape noise: stream and step (batch, 2), of no copies where spikes are not drawn; slope of the logistic."""

    stream: NDArray[np.int64]
    slope: float


class Events(NamedTuple):
    """Spikes that travel, by the step they are emitted in.

    Parameters
    ----------
    unit : ndarray of int32, shape (batch, capacity)
        Presynaptic units.
    amount : ndarray, shape (batch, capacity) or (batch, 0)
        What each passes on; 1 where empty.
    bounds : ndarray of int64, shape (batch, time + 1)
        Step t owns ``bounds[b, t]`` to ``bounds[b, t + 1]``.
    """

    unit: Index
    amount: Array
    bounds: NDArray[np.int64]


class Record(NamedTuple):
    """What happened, (batch, time, unit); empty where it is not asked for, currents (batch, tau, time, unit)."""

    spikes: Array
    distance: Array
    held: NDArray[np.uint8]
    adaptation: Array
    currents: Array


@kernel(nogil=True)
def list_events(spikes: Array, events: Events) -> None:
    """List the non-zero entries of known spikes (batch, time, unit)."""
    for b in range(spikes.shape[0]):
        count = 0
        for t in range(spikes.shape[1]):
            events.bounds[b, t] = count
            for i in range(spikes.shape[2]):
                if spikes[b, t, i] != 0:
                    events.unit[b, count] = i
                    events.amount[b, count] = spikes[b, t, i]
                    count += 1
        events.bounds[b, spikes.shape[1]] = count


@kernel(nogil=True)
def run_forward(
    x: Array,
    bias: Array,
    weight: Array,
    c: Constants,
    draws: Draws,
    cells: Cells,
    inject: Array,
    events: Events,
    forced: bool,
    record: Record,
) -> None:
    """Advance a block over x (batch, time, unit); ``inject`` (batch, step, tau, unit) arrives in its first steps."""
    n_batch, n_steps, n = x.shape
    lanes, dtype = n_batch * n, x.dtype
    total, voltage, threshold = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, dtype)
    distance, spikes, held = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, np.uint8)
    for i in range(lanes):
        threshold[i] = c.threshold[i]
    for b in range(n_batch):
        events.bounds[b, 0] = 0
    for t in range(n_steps):
        _drive(t, x, bias, total)
        _arrive(t, weight, c, cells.current, inject, events, total)
        if record.currents.shape[2] > 0:
            _put_currents(cells.current, t, record.currents)
        if c.adaptive:
            put(cells.adaptation, t, record.adaptation)
            _thresholds(c, cells.adaptation, threshold)
        _integrate(c, cells.voltage, total, voltage)
        if c.n_refractory > 0:
            _hold(cells.refractory, cells.voltage, voltage, held)
            put(held, t, record.held)
        _fire(voltage, threshold, distance, spikes)
        if draws.stream.shape[0] > 0:
            _draw(t, n, draws, distance, spikes)
        if c.n_refractory > 0:
            _refract(c.n_refractory, held, spikes, cells.refractory)
        _reset(c.hard, voltage, threshold, spikes, cells.voltage)
        if c.adaptive:
            _adapt(c.fade, spikes, cells.adaptation)
        put(distance, t, record.distance)
        put(spikes, t, record.spikes)
        if not forced:
            for b in range(n_batch):
                _emit(b, t, record.spikes[b, t], events)


@part
def put(lane: Array, t: int, out: Array) -> None:
    """Write lanes to step ``t`` of (batch, time, unit)."""
    # Assigning a slice would compile the formatting of an error message with it: seconds.
    n = out.shape[2]
    for b in range(out.shape[0]):
        for i in range(n):
            out[b, t, i] = lane[b * n + i]


@part
def _put_currents(lanes: Array, t: int, out: Array) -> None:
    n = out.shape[3]
    for b in range(out.shape[0]):
        for k in range(out.shape[1]):
            for i in range(n):
                out[b, k, t, i] = lanes[k, b * n + i]


@part
def take(values: Array, t: int, lane: Array) -> None:
    """Read step ``t`` of (batch, time, unit) into lanes."""
    n = values.shape[2]
    for b in range(values.shape[0]):
        for i in range(n):
            lane[b * n + i] = values[b, t, i]


@part
def _drive(t: int, x: Array, bias: Array, total: Array) -> None:
    n = x.shape[2]
    for b in range(x.shape[0]):
        for i in range(n):
            total[b * n + i] = bias[i] + x[b, t, i]


@part
def _arrive(t: int, weight: Array, c: Constants, current: Array, inject: Array, events: Events, total: Array) -> None:
    """Let the currents decay, add what arrives, and add the currents to the drive."""
    zero, tiny, n = total.dtype.type(0), total.dtype.type(_TINY), weight.shape[2]
    for k in range(current.shape[0]):
        decay, row = c.synapse_decay[k], current[k]
        for i in range(row.size):
            row[i] = decay * row[i] if abs(row[i]) > tiny else zero
        if t < inject.shape[1]:
            for b in range(inject.shape[0]):
                for i in range(n):
                    row[b * n + i] += inject[b, t, k, i]
        if t >= c.delay:
            for b in range(events.bounds.shape[0]):
                for e in range(events.bounds[b, t - c.delay], events.bounds[b, t - c.delay + 1]):
                    amount = events.amount[b, e] if events.amount.shape[1] > 0 else total.dtype.type(1)
                    _add(amount, weight, k, events.unit[b, e], b * n, row)
        for i in range(row.size):
            total[i] += row[i]


@part
def _add(amount: float, weight: Array, k: int, j: int, start: int, row: Array) -> None:
    for i in range(weight.shape[2]):
        row[start + i] += amount * weight[k, j, i]


@part
def _thresholds(c: Constants, a: Array, threshold: Array) -> None:
    for i in range(a.size):
        threshold[i] = c.threshold[i] + c.increment[i] * a[i]


@part
def _integrate(c: Constants, v: Array, total: Array, voltage: Array) -> None:
    for i in range(v.size):
        voltage[i] = c.keep[i] * v[i] + c.take[i] * total[i]


@part
def _hold(r: Array, v: Array, voltage: Array, held: NDArray[np.uint8]) -> None:
    for i in range(r.size):
        held[i] = np.uint8(1) if r[i] > 0 else np.uint8(0)
    for i in range(r.size):
        voltage[i] = v[i] if r[i] > 0 else voltage[i]


@part
def _fire(voltage: Array, threshold: Array, distance: Array, spikes: Array) -> None:
    for i in range(voltage.size):
        distance[i] = voltage[i] - threshold[i]
    zero, one = spikes.dtype.type(0), spikes.dtype.type(1)
    for i in range(voltage.size):
        spikes[i] = one if distance[i] >= 0 else zero


@part
def _draw(t: int, n: int, draws: Draws, distance: Array, spikes: Array) -> None:
    """Draw spikes with logistic probability; the numbers depend on stream, step and unit only."""
    zero, one = spikes.dtype.type(0), spikes.dtype.type(1)
    for b in range(draws.stream.shape[0]):
        key, first = np.uint64(draws.stream[b, 0]), np.uint64(draws.stream[b, 1] + t) * np.uint64(n)
        for i in range(n):
            probability = 1 / (1 + math.exp(-draws.slope * distance[b * n + i]))
            spikes[b * n + i] = one if uniform_at(key, first + np.uint64(i)) < probability else zero


@part
def _refract(n_refractory: int, held: NDArray[np.uint8], spikes: Array, r: Array) -> None:
    zero, one, full = spikes.dtype.type(0), spikes.dtype.type(1), spikes.dtype.type(n_refractory)
    for i in range(r.size):
        spikes[i] = zero if held[i] > 0 else spikes[i]
    for i in range(r.size):
        r[i] = full if spikes[i] > 0 else max(r[i] - one, zero)


@part
def _reset(hard: bool, voltage: Array, threshold: Array, spikes: Array, v: Array) -> None:
    one = v.dtype.type(1)
    if hard:
        for i in range(v.size):
            v[i] = voltage[i] * (one - spikes[i])
    else:
        for i in range(v.size):
            v[i] = voltage[i] - spikes[i] * threshold[i]


@part
def _adapt(fade: Array, spikes: Array, a: Array) -> None:
    for i in range(a.size):
        a[i] = fade[i] * a[i] + spikes[i]


def _sum_of(values: Array, start: int, stop: int) -> Any:
    total = values.dtype.type(0)
    for i in range(start, stop):
        total += values[i]
    return total


_sum = part(_sum_of, fastmath=REORDERED)


@part
def _emit(b: int, t: int, spikes: Array, events: Events) -> None:
    """Append this step's spikes to the list."""
    count = events.bounds[b, t]
    for start in range(0, spikes.size, _BLOCK):
        stop = min(start + _BLOCK, spikes.size)
        if _sum(spikes, start, stop) > 0:
            for i in range(start, stop):
                if spikes[i] > 0:
                    events.unit[b, count] = i
                    count += 1
    events.bounds[b, t + 1] = count


@kernel(nogil=True)
def final_traces(n_steps: int, delay: int, decay: Array, events: Events, trace: Array) -> None:
    """Add to the presynaptic traces (batch, tau, unit) what the listed spikes leave after the last step."""
    powers = np.ones((decay.size, n_steps), trace.dtype)
    for k in range(decay.size):
        for t in range(1, n_steps):
            powers[k, t] = powers[k, t - 1] * decay[k]
    for b in range(trace.shape[0]):
        for t in range(n_steps - delay):
            for e in range(events.bounds[b, t], events.bounds[b, t + 1]):
                amount = events.amount[b, e] if events.amount.shape[1] > 0 else trace.dtype.type(1)
                for k in range(decay.size):
                    trace[b, k, events.unit[b, e]] += amount * powers[k, n_steps - 1 - delay - t]
