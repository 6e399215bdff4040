"""Compiled steps of large sparse networks: tiles of units over blocks of steps, threads split by receiver.

A spike acts ``d`` steps later at the earliest, ``d`` the shortest delay. So a block of ``d`` steps needs nothing from
the same block: each tile of units runs through the whole block while its state stays in the innermost cache, and
threads meet at its ends only. What is on its way lies in a ring of ``longest delay`` rows; a row is added to the
currents in its step and cleared.

Every sum onto a unit is taken by one thread in one order: step of the spike, sender, connection. Neither the number of
threads nor the cut of a run can change a bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import inner, kernel
from organoid.models.compiled.event.barrier import Barrier, meet, new_barrier
from organoid.models.compiled.event.cells import plain, receive, rich, start_drive
from organoid.models.compiled.event.noise import gaussian, logistic
from organoid.models.compiled.event.prefetch import prefetch

Array = NDArray[np.float64]
Index = NDArray[np.int64]

TILE = 512  # units; even, so that a pair of random numbers is never cut
LONGEST_BLOCK = 64  # steps
_ROOM = 65536  # spikes handed out at once
_AHEAD, _LINE = 2, 16  # connections of the second next spike are fetched, a line of the cache (64 bytes) at a time


class Arrays(NamedTuple):
    """State changed in place; see `organoid.models.simulators.event_driven.EventLIFState`."""

    voltage: Array
    adaptation: Array
    refractory: Index
    current: Array
    ring: Array


class Way(NamedTuple):
    """What decides which branch of the kernels runs, and their random streams."""

    noise_key: np.uint64
    escape_key: np.uint64
    noisy: bool
    rich: bool  # cells that differ, adapt, or have a soft threshold


class Forced(NamedTuple):
    """Forced spikes: units of all of the call, and where those of each step of a block end, shape (steps + 1,)."""

    units: Index
    ends: Index


class Scratch(NamedTuple):
    """What is found during a block; a spike is ``unit``, or ``-1 - unit`` where it was forced."""

    units: NDArray[np.int32]  # (n_tiles, steps * TILE): spikes of each tile
    counts: Index  # (n_tiles, steps): their number in each step
    sent: NDArray[np.int32]  # (steps * n_units,): spikes of all tiles in order
    ends: Index  # (steps + 1,): where those of each step end
    sizes: Index  # (1,): steps of the block whose spikes are not delivered yet


def make_scratch(n_units: int, n_steps: int) -> Scratch:
    """Return room for blocks of so many steps; memory is touched only where there are spikes."""
    n_tiles = -(-n_units // TILE)
    return Scratch(
        np.empty((n_tiles, n_steps * TILE), dtype=np.int32),
        np.empty((n_tiles, n_steps), dtype=np.int64),
        np.empty(n_steps * n_units, dtype=np.int32),
        np.zeros(n_steps + 1, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )


DONE, FOUND, CROSSED, RUNAWAY = 0, 1, 2, 3


class Course(NamedTuple):
    """How far a call has come."""

    counts: Index  # (4,): steps done, spikes found, connections crossed, whether it ran away
    activity: Array  # (1,): population rate
    out: Index  # (2, room): steps and units of the network's own spikes
    gate: Barrier


def new_course(scratch: Scratch, activity: float) -> Course:
    """Return the beginning of a call."""
    out = np.empty((2, _ROOM + scratch.sent.size), dtype=np.int64)
    return Course(np.zeros(4, dtype=np.int64), np.array([activity]), out, new_barrier())


@kernel(nogil=True, error_model="numpy")
def _deliver(ring: Array, rows: Any, bound: Index, part: int, scratch: Scratch, first_step: int) -> None:
    """Send the spikes of the last block to the receivers of one part."""
    target, weight, delay, sent, ends = rows.target, rows.weight, rows.delay, scratch.sent, scratch.ends
    n_rows, uniform, sent_all = ring.shape[0], rows.delay.size == 1, ends[scratch.sizes[0]]
    for t in range(scratch.sizes[0]):
        step = first_step + t
        row = ring[(step + np.int64(delay[0])) % n_rows]
        for s in range(ends[t], ends[t + 1]):
            unit = _unit(sent[s])
            first, last = bound[unit, part], bound[unit, part + 1]
            if s + _AHEAD < sent_all:
                soon = _unit(sent[s + _AHEAD])
                for c in range(bound[soon, part], bound[soon, part + 1], _LINE):
                    prefetch(target, c)
                    prefetch(weight, c)
            if uniform:
                for c in range(first, last):
                    row[target[c]] += weight[c]
            else:
                for c in range(first, last):
                    ring[(step + np.int64(delay[c])) % n_rows, target[c]] += weight[c]


@kernel(inline="always")
def _unit(spike: np.int32) -> int:
    """Return the unit of a spike, forced or not."""
    signed = int(spike)
    return signed if signed >= 0 else -1 - signed


@inner(nogil=True, error_model="numpy")
def _force(par: Any, a: Arrays, unit: int, before: Array, drive: float) -> None:
    """Make a unit spike that did not by itself; `before` is its potential, adaptation, refractory steps."""
    now = before[0]
    if before[2] <= 0:
        now = par.membrane_decay[unit] * now + (1.0 - par.membrane_decay[unit]) * drive
    over = now - (par.threshold[unit] + par.increment[unit] * before[1])
    a.voltage[unit] = 0.0 if par.hard_reset else over
    a.refractory[unit] = par.refractory
    a.adaptation[unit] = par.adaptation_decay[unit] * before[1] + 1.0


@inner(nogil=True)
def _remember(a: Arrays, unit: int, low: int, high: int, before: Array) -> None:
    """Write what `_force` needs to know of a unit, if it is one of the tile."""
    if low <= unit < high:
        before[0], before[1], before[2] = a.voltage[unit], a.adaptation[unit], a.refractory[unit]


@inner(nogil=True)
def _collect(fired: NDArray[np.uint8], low: int, out: NDArray[np.int32], place: int) -> int:
    """Append the units that spiked, -1 - unit where it was forced; return the new end."""
    words = fired.view(np.uint64)
    for w in range(words.size):
        if words[w]:
            for i in range(8 * w, 8 * w + 8):
                if fired[i]:
                    out[place] = low + i if fired[i] == 1 else -1 - (low + i)
                    place += 1
    return place


@inner(nogil=True)
def _run_tile(
    par: Any, a: Arrays, way: Way, tile: int, first_step: int, n_steps: int, forced: Forced, scratch: Scratch
) -> None:
    """Take one tile through one block."""
    n = a.voltage.size
    low, high = tile * TILE, min((tile + 1) * TILE, n)
    even, n_pairs, n_rows = high - low + (high - low) % 2, (n + 1) // 2, a.ring.shape[0]
    voltage, refractory, adaptation = a.voltage[low:high], a.refractory[low:high], a.adaptation[low:high]
    bias, sd, increment = par.bias[low:high], par.noise_sd[low:high], par.increment[low:high]
    keep, threshold, forget = par.membrane_decay[low:high], par.threshold[low:high], par.adaptation_decay[low:high]
    fired = np.zeros(TILE, dtype=np.uint8)
    n_received = par.synapse_decay.size if way.rich else par.synapse_decay.size - 1  # `plain` receives the last
    # Without noise and other currents the drive is the bias itself, and stays it.
    steady = not way.noisy and n_received == 0
    drive = bias if steady else np.empty(high - low)
    xi, luck = np.zeros(even, dtype=np.float32), np.zeros(even, dtype=np.float32)
    origin = forced.ends[0]
    before = np.empty((forced.ends[-1] - origin, 3))
    place, counts, out = 0, scratch.counts[tile], scratch.units[tile]
    for t in range(n_steps):
        step, pushed, until = first_step + t, forced.ends[t], forced.ends[t + 1]
        for f in range(pushed, until):
            _remember(a, forced.units[f], low, high, before[f - origin])
        if way.noisy:
            gaussian(way.noise_key, step, n_pairs, low // 2, xi)
            start_drive(bias, sd, xi, drive)
        elif not steady:
            for i in range(high - low):
                drive[i] = bias[i]
        for k in range(n_received):
            arriving = a.ring[step % n_rows, k * n + low : k * n + high]
            receive(par.synapse_decay[k], a.current[k, low:high], arriving, drive)
        if way.rich:
            if par.escape_width > 0.0:
                logistic(way.escape_key, step, n_pairs, low // 2, luck)
            total = rich(par, voltage, refractory, adaptation, keep, threshold, forget, increment, drive, luck, fired)
        else:
            total = plain(
                keep[0],
                threshold[0],
                par.refractory,
                par.hard_reset,
                par.synapse_decay[n_received],
                a.current[n_received, low:high],
                a.ring[step % n_rows, n_received * n + low : n_received * n + high],
                voltage,
                refractory,
                drive,
                fired,
            )
        for f in range(pushed, until):
            unit = forced.units[f]
            if low <= unit < high:
                if fired[unit - low] == 0:
                    received = drive[unit - low] + (0.0 if way.rich else a.current[n_received, unit])
                    _force(par, a, unit, before[f - origin], received)
                fired[unit - low], total = 2, total + 1
        begin = place
        if total > 0:
            place = _collect(fired, low, out, place)
        counts[t] = place - begin


@kernel(nogil=True)
def _run_part(
    par: Any,
    rows: Any,
    a: Arrays,
    way: Way,
    bound: Index,
    part: int,
    tiles: Index,
    first_step: int,
    n_steps: int,
    forced: Forced,
    scratch: Scratch,
) -> None:
    """Deliver the last block's spikes to one part of the units, then take it through the next block."""
    _deliver(a.ring, rows, bound, part, scratch, first_step - scratch.sizes[0])
    for tile in range(tiles[part], tiles[part + 1]):
        _run_tile(par, a, way, tile, first_step, n_steps, forced, scratch)


@inner(nogil=True)
def _gather(scratch: Scratch, n_steps: int, start: Index) -> int:
    """Put the spikes of all tiles in order of steps, then units; return the connections they will cross."""
    n_tiles = scratch.counts.shape[0]
    read = np.zeros(n_tiles, dtype=np.int64)
    place, crossed = 0, 0
    for t in range(n_steps):
        for tile in range(n_tiles):
            for _ in range(scratch.counts[tile, t]):
                spike = scratch.units[tile, read[tile]]
                unit = _unit(spike)
                scratch.sent[place] = spike
                crossed += start[unit + 1] - start[unit]
                read[tile] += 1
                place += 1
        scratch.ends[t + 1] = place
    scratch.sizes[0] = n_steps
    return crossed


@inner(nogil=True)
def _ends_in(inj_steps: Index, done: int, n_steps: int) -> Index:
    """Return where the forced spikes of each step of a block end, counted from the start of the call."""
    ends = np.empty(n_steps + 1, dtype=np.int64)
    place = 0
    for t in range(n_steps + 1):
        while place < inj_steps.size and inj_steps[place] < done + t:
            place += 1
        ends[t] = place
    return ends


@inner(nogil=True)
def _hand_out(scratch: Scratch, n_steps: int, done: int, out: NDArray[np.int64], n_out: int) -> int:
    """Append the network's own spikes (step, unit) to the output; return its new length."""
    for t in range(n_steps):
        for s in range(scratch.ends[t], scratch.ends[t + 1]):
            if scratch.sent[s] >= 0:
                out[0, n_out], out[1, n_out] = done + t, scratch.sent[s]
                n_out += 1
    return n_out


@inner(nogil=True)
def _watch(scratch: Scratch, n_steps: int, activity: float, par: Any, leak: float, tau: float) -> Any:
    """Follow the population rate; return it, and the steps until it left its bounds (or all of them)."""
    for t in range(n_steps):
        activity = activity * leak + (scratch.ends[t + 1] - scratch.ends[t]) / tau
        if activity > par.rate_limit:
            return activity, t + 1, True
    return activity, n_steps, False


@kernel(nogil=True)
def run_part(
    part: int,
    par: Any,
    rows: Any,
    a: Arrays,
    way: Way,
    split: Any,
    scratch: Scratch,
    span: Any,
    injected: Any,
    watched: Any,
    course: Course,
) -> None:
    """Advance one part of the units in place until the last step, a full output or runaway; one thread for each part.

    Parameters
    ----------
    part : int
        Part 0 also does what is done once for all.
    par : Cells
    rows : Rows
    a : Arrays
    way : Way
    split : (ndarray (n_units, n_parts + 1), ndarray (n_parts + 1,))
        Where the connections of each sender to each part start, and the tiles of each part.
    scratch : Scratch
    span : (int, int, int)
        Step number of step 0 of the call, steps of the call, steps of a block.
    injected : (ndarray, ndarray)
        Steps and units of forced spikes.
    watched : (float, float)
        Decay of the population rate in a step, and its time constant (s).
    course : Course
        How far the call has come, shared by all parts.
    """
    (first, n_steps, block), (leak, tau), (bound, tiles), count = span, watched, split, course.counts
    n_parts = tiles.size - 1
    while count[DONE] < n_steps and count[FOUND] < _ROOM and count[RUNAWAY] == 0:
        done = count[DONE]
        n = min(block, n_steps - done)
        forced = Forced(injected[1], _ends_in(injected[0], done, n))
        _run_part(par, rows, a, way, bound, part, tiles, first + done, n, forced, scratch)
        if not meet(course.gate, n_parts):
            return
        if part == 0:
            count[CROSSED] += _gather(scratch, n, rows.start)
            count[FOUND] = _hand_out(scratch, n, done, course.out, count[FOUND])
            course.activity[0], ran, runaway = _watch(scratch, n, course.activity[0], par, leak, tau)
            count[DONE] += ran
            count[RUNAWAY] = 1 if runaway else 0
        if not meet(course.gate, n_parts):
            return
    _deliver(a.ring, rows, bound, part, scratch, first + count[DONE] - scratch.sizes[0])


@kernel(nogil=True)
def bounds_of(start: Index, target: NDArray[np.uint32], n_units: int, edges: Index) -> Index:
    """Return where the connections of each sender to each range of receivers start, shape (n_units, ranges + 1)."""
    n_parts = edges.size - 1
    out = np.empty((start.size - 1, n_parts + 1), dtype=np.int64)
    for unit in range(start.size - 1):
        place = start[unit]
        for part in range(n_parts):
            out[unit, part] = place
            while place < start[unit + 1] and np.int64(target[place]) % n_units < edges[part + 1]:
                place += 1
        out[unit, n_parts] = start[unit + 1]
    return out
