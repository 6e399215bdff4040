"""Compiled forward pass of the canonical network: currents by spike, cells by vector.

A step touches the weights of a presynaptic unit only when it spikes: the currents of the targets decay as vectors, and
each arriving spike adds one row of weights. A call advances a block of copies; within a step the cells of all its
copies stand side by side in one vector ("lane" below: copy times unit), which is long even where a network is small.
Copies never mix, so results do not depend on how a batch is cut into blocks. All arrays are C-contiguous.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.recurrent.cell_step import (
    Constants,
    Draws,
    adapt,
    draw,
    fire,
    hold,
    integrate,
    known,
    refract,
    reset,
    silence,
    thresholds,
)
from organoid.models.compiled.recurrent.event_lists import Array, Flags, Marks, flags_for_lanes, has_room, mark, part
from organoid.models.compiled.recurrent.short_term import Stores, release

_TINY = 1e-30  # thresholds; currents below count as 0: numbers near the smallest ones take many times longer


REORDERED = {"reassoc", "contract", "nsz"}  # for sums alone: in any order, so that they can be vectorised


class Cells(NamedTuple):
    """State, changed in place: (lane,), current (tau, lane), and stores of the release."""

    voltage: Array
    refractory: Array
    adaptation: Array
    current: Array
    stores: Stores


class Record(NamedTuple):
    """What happened, (batch, time, unit); empty where it is not requested, currents (batch, tau, time, unit)."""

    spikes: Array
    distance: Array
    held: Flags
    adaptation: Array
    currents: Array
    sent: Array
    missing: Array
    facilitation: Array


@kernel(nogil=True)
def run_forward(
    first: int,
    x: Array,
    bias: Array,
    weight: Array,
    c: Constants,
    draws: Draws,
    cells: Cells,
    inject: Array,
    spiking: Marks,
    forced: bool,
    near: Marks,
    support: float,
    record: Record,
) -> Any:
    """Advance a block from step ``first`` until its input or the room for marks ends; return the step reached.

    Parameters
    ----------
    first : int
        Step to start with.
    x : ndarray, shape (copy, time, unit)
        Input; ``inject`` (copy, step, tau, unit) arrives in its first steps.
    spiking : Marks
        Spikes that travel, by the step they are emitted in: given if ``forced``, else listed here.
    near : Marks
        Units nearer to threshold than ``support``, and not held, are listed here; none if it is negative.
    record : Record
        The rest of what happened.
    """
    n_batch, n_steps, n = x.shape
    lanes, dtype = n_batch * n, x.dtype
    total, voltage, threshold = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, dtype)
    distance, spikes, held = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, np.uint8)
    sent = np.empty(lanes, dtype) if c.release.size > 0 else spikes
    words, edge = flags_for_lanes(n_batch, n), dtype.type(support)
    for i in range(lanes):
        threshold[i] = c.threshold[i]
    for t in range(first, n_steps):
        row = t * n_batch
        if not ((forced or has_room(spiking, row, lanes)) and (support < 0 or has_room(near, row, lanes))):
            return t
        _drive(t, x, bias, total)
        _arrive(t, weight, c, cells.current, inject, spiking, total)
        if record.currents.shape[2] > 0:
            _put_currents(cells.current, t, record.currents)
        if c.adaptive:
            put(cells.adaptation, t, record.adaptation)
            thresholds(c, cells.adaptation, threshold)
        integrate(c, cells.voltage, total, voltage)
        if c.n_refractory > 0:
            hold(cells.refractory, cells.voltage, voltage, held)
            put(held, t, record.held)
        _spike(t, row, n, c, draws, spiking, voltage, threshold, held, distance, spikes)
        if support >= 0:
            _list_near(row, n, edge, c, distance, held, spikes, words, near)
        if c.n_refractory > 0:
            refract(c.n_refractory, spikes, cells.refractory)
        reset(c.hard, voltage, threshold, spikes, cells.voltage)
        if c.adaptive:
            adapt(c.fade, spikes, cells.adaptation)
        if record.distance.shape[1] > 0:
            put(distance, t, record.distance)
        put(spikes, t, record.spikes)
        if c.release.size > 0:
            put(cells.stores.missing, t, record.missing)
            put(cells.stores.facilitation, t, record.facilitation)
            release(c.release, spikes, cells.stores, sent)
            put(sent, t, record.sent)
        if not forced:
            _flag_spikes(n, spikes, words)
            mark(row, n, words, sent, spiking)
    return n_steps


@part
def flag_near(n: int, edge: float, distance: Array, holding: bool, held: Flags, words: NDArray[np.uint64]) -> None:
    """Flag units nearer to threshold than ``edge`` that are not held."""
    flags = words.view(np.uint8)
    for b in range(words.shape[0]):
        for i in range(n):
            flags[b, i] = np.uint8(0) if abs(distance[b * n + i]) >= edge else np.uint8(1)  # a NaN must not vanish
        if holding:
            for i in range(n):
                flags[b, i] &= np.uint8(1) - held[b * n + i]


@part
def _flag_spikes(n: int, spikes: Array, words: NDArray[np.uint64]) -> None:
    flags = words.view(np.uint8)
    for b in range(words.shape[0]):
        for i in range(n):
            flags[b, i] = np.uint8(1) if spikes[b * n + i] > 0 else np.uint8(0)


@part
def _flag_spikes_too(n: int, spikes: Array, words: NDArray[np.uint64]) -> None:
    flags = words.view(np.uint8)
    for b in range(words.shape[0]):
        for i in range(n):
            flags[b, i] |= np.uint8(1) if spikes[b * n + i] > 0 else np.uint8(0)


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
def _arrive(t: int, weight: Array, c: Constants, current: Array, inject: Array, spiking: Marks, total: Array) -> None:
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
            copies = row.size // n
            for b in range(copies):
                _deliver((t - c.delay) * copies + b, weight[k], spiking, row[b * n : (b + 1) * n])
        for i in range(row.size):
            total[i] += row[i]


@part
def _deliver(sent: int, weight: Array, spiking: Marks, current: Array) -> None:
    """Add the rows of weights of the spikes of one list, four at once, as memory can deliver several at a time."""
    e, stop = spiking.bounds[sent], spiking.bounds[sent + 1]
    while e < stop:
        if e + 4 <= stop:
            j0, j1, j2, j3 = spiking.unit[e], spiking.unit[e + 1], spiking.unit[e + 2], spiking.unit[e + 3]
            a0, a1, a2, a3 = (
                _amount(spiking, e),
                _amount(spiking, e + 1),
                _amount(spiking, e + 2),
                _amount(spiking, e + 3),
            )
            w0, w1, w2, w3 = weight[j0], weight[j1], weight[j2], weight[j3]
            for i in range(current.size):
                current[i] = (((current[i] + a0 * w0[i]) + a1 * w1[i]) + a2 * w2[i]) + a3 * w3[i]
            e += 4
        else:
            a0, w0 = _amount(spiking, e), weight[spiking.unit[e]]
            for i in range(current.size):
                current[i] += a0 * w0[i]
            e += 1


@part
def _amount(spiking: Marks, e: int) -> Any:
    return spiking.value[e] if spiking.value.size > 0 else spiking.value.dtype.type(1)


@part
def _spike(
    t: int,
    row: int,
    n: int,
    c: Constants,
    draws: Draws,
    spiking: Marks,
    voltage: Array,
    threshold: Array,
    held: Flags,
    distance: Array,
    spikes: Array,
) -> None:
    """Write the distance to threshold and the spikes of a step: crossings, recorded ones, or drawn ones."""
    fire(voltage, threshold, distance, spikes)
    if c.recorded:
        known(row, n, spiking, spikes)
    if draws.stream.shape[0] > 0:
        draw(t, n, draws, distance, spikes)
    if c.n_refractory > 0 and not c.recorded:
        silence(held, spikes)


@part
def _list_near(
    row: int,
    n: int,
    edge: Any,
    c: Constants,
    distance: Array,
    held: Flags,
    spikes: Array,
    words: Any,
    near: Marks,
) -> None:
    """List the units whose surrogate has a slope in a step."""
    flag_near(n, edge, distance, c.n_refractory > 0, held, words)
    if c.release.size > 0:
        _flag_spikes_too(n, spikes, words)
    mark(row, n, words, distance, near)


@kernel(nogil=True)
def final_traces(n_steps: int, delay: int, decay: Array, spiking: Marks, trace: Array) -> None:
    """Add to the presynaptic traces (copy, tau, unit) what the listed spikes leave after the last step."""
    powers = np.ones((decay.size, n_steps), trace.dtype)
    for k in range(decay.size):
        for t in range(1, n_steps):
            powers[k, t] = powers[k, t - 1] * decay[k]
    row = 0
    for t in range(n_steps - delay):
        for b in range(trace.shape[0]):
            for e in range(spiking.bounds[row], spiking.bounds[row + 1]):
                amount = spiking.value[e] if spiking.value.size > 0 else trace.dtype.type(1)
                for k in range(decay.size):
                    trace[b, k, spiking.unit[e]] += amount * powers[k, n_steps - 1 - delay - t]
            row += 1
