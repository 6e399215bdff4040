"""Compiled exact adjoint of the canonical network, backwards in time.

A spike's gradient counts only where the surrogate has a slope, so only units nearer to threshold than the surrogate's
support need the product of their weights with the gradients of the currents. All others are skipped because their
term is exactly zero; nothing is skipped because it is small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from organoid.models.kernels_forward import REORDERED, Array, Constants, Events, Index, Record, compiled, part


class Near(NamedTuple):
    """Units within the surrogate's support, listed backwards in time, in each step copy by copy.

    Parameters
    ----------
    unit : ndarray of int32, shape (capacity,)
    distance : ndarray, shape (capacity,)
        Distance to threshold.
    bounds : ndarray of int64
        Entry ``(t_stop - 1 - t) * copies + copy`` owns the units from there to the next bound.
    """

    unit: Index
    distance: Array
    bounds: NDArray[np.int64]


class Adjoint(NamedTuple):
    """Gradients carried backwards: potential and adaptation (batch, unit), currents (batch, delay, tau, unit)."""

    voltage: Array
    adaptation: Array
    current: Array


class Sums(NamedTuple):
    """Gradients of the constants of cells, (batch, unit), double precision."""

    threshold: NDArray[np.float64]
    increment: NDArray[np.float64]
    fade: NDArray[np.float64]
    keep: NDArray[np.float64]
    take: NDArray[np.float64]


@compiled
def list_near(first: int, last: int, stop: int, support: float, record: Record, near: Near) -> Any:
    """List the units near threshold in steps before ``stop`` until the list is full; return first step and count."""
    n, row, t = record.distance.shape[2], 0, stop
    count = np.uint64(0)  # without a sign, so that no index is checked for one
    inside, edge = np.empty(n, np.uint8), record.distance.dtype.type(support)
    near.bounds[0] = 0
    while t > 0 and np.int64(count) + (last - first) * n <= near.unit.size:
        t -= 1
        for b in range(first, last):
            distance = record.distance[b, t]
            _inside(edge, distance, inside)
            if record.held.shape[1] > 0:
                _not_held(record.held[b, t], inside)
            for i in range(n):
                near.unit[count] = i
                count += np.uint64(inside[i])
            for e in range(near.bounds[row], np.int64(count)):
                near.distance[e] = distance[near.unit[e]]
            row += 1
            near.bounds[row] = count
    return t, np.int64(count)


@part
def _inside(edge: float, distance: Array, inside: NDArray[np.uint8]) -> None:
    for i in range(inside.size):
        inside[i] = np.uint8(0) if abs(distance[i]) >= edge else np.uint8(1)  # a NaN must not vanish


@part
def _not_held(held: NDArray[np.uint8], inside: NDArray[np.uint8]) -> None:
    for i in range(inside.size):
        inside[i] &= np.uint8(1) - held[i]


def _dot_rows(weight: Array, j: int, current: Array, b: int, slot: int) -> Any:
    total = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        for i in range(weight.shape[2]):
            total += weight[k, j, i] * current[b, slot, k, i]
    return total


_dot = part(_dot_rows, fastmath=REORDERED)
_FEW = 16  # steps summed in the precision of the network before they go into the double one
_TILE = 64  # rows of weights that are shared by the copies while they are in the cache


@part
def _products(
    first: int, last: int, row: int, slot: int, weight: Array, near: Near, slope: Array, current: Array, out: Array
) -> None:
    """Write the gradient that each near unit's spike gets through its synapses."""
    copies = last - first
    at = np.empty(copies, np.int64)
    for c in range(copies):
        at[c] = near.bounds[row + c]
    for tile in range(_TILE, weight.shape[1] + _TILE, _TILE):
        for c in range(copies):
            e, stop = at[c], near.bounds[row + c + 1]
            while e < stop and near.unit[e] < tile:
                if slope[e] != 0:
                    out[e] = _dot(weight, near.unit[e], current, first + c, slot)
                e += 1
            at[c] = e


@compiled
def run_adjoint(
    first: int,
    last: int,
    start: int,
    stop: int,
    weight: Array,
    c: Constants,
    near: Near,
    slope: Array,
    g_spikes: Array,
    g_distance: Array,
    record: Record,
    initial: Array,
    forced: bool,
    adjoint: Adjoint,
    g_drive: Array,
    g_inject: Array,
    sums: Sums,
) -> None:
    """Go back from step ``stop`` to ``start``; fill the gradient of the drive, advance ``adjoint``, add to ``sums``."""
    n_steps, n = record.spikes.shape[1:]
    dtype = weight.dtype
    through, gap, voltage, threshold = (
        np.zeros(slope.size, dtype),
        np.empty(n, dtype),
        np.empty(n, dtype),
        np.empty(n, dtype),
    )
    for i in range(n):
        threshold[i] = c.threshold[i]
    for t in range(stop - 1, start - 1, -1):
        row, slot = (stop - 1 - t) * (last - first), t % c.delay
        if not forced and t + c.delay < n_steps:
            _products(first, last, row, slot, weight, near, slope, adjoint.current, through)
        for b in range(first, last):
            lv, la, spikes = adjoint.voltage[b], adjoint.adaptation[b], record.spikes[b, t]
            if c.adaptive:
                for i in range(n):
                    threshold[i] = c.threshold[i] + c.increment[i] * record.adaptation[b, t, i]
            _from_distance(b, t, g_distance, gap)
            _from_spikes(b, t, row + b - first, c, near, slope, through, g_spikes, lv, la, threshold, gap)
            if sums.threshold.size > 0:
                _to_threshold(b, t, c, gap, spikes, record, lv, la, sums)
            _to_voltage(c.hard, gap, spikes, lv)
            _to_drive(b, t, c, record, lv, g_drive)
            if sums.keep.size > 0:
                _to_decay(b, t, c, record, initial, g_drive, voltage, sums)
            _to_current(b, t, c, slot, g_drive, adjoint.current, g_inject)


@part
def _from_distance(b: int, t: int, g_distance: Array, gap: Array) -> None:
    """Start the gradient of the distance with what comes from outside."""
    if g_distance.shape[1] > 0:
        for i in range(gap.size):
            gap[i] = g_distance[b, t, i]
    else:
        for i in range(gap.size):
            gap[i] = 0


@part
def _from_spikes(
    b: int,
    t: int,
    row: int,
    c: Constants,
    near: Near,
    slope: Array,
    through: Array,
    g_spikes: Array,
    lv: Array,
    la: Array,
    threshold: Array,
    gap: Array,
) -> None:
    """Add what comes through the spikes of near units: outside, synapses, adaptation, reset."""
    for e in range(near.bounds[row], near.bounds[row + 1]):
        i = near.unit[e]
        ds = through[e]
        if g_spikes.shape[1] > 0:
            ds += g_spikes[b, t, i]
        if c.adaptive:
            ds += la[i]
        if not c.detach:
            ds -= lv[i] * (near.distance[e] + threshold[i] if c.hard else threshold[i])
        gap[i] += slope[e] * ds


@part
def _to_threshold(
    b: int, t: int, c: Constants, gap: Array, spikes: Array, record: Record, lv: Array, la: Array, sums: Sums
) -> None:
    """Gradient of the threshold and, through it, of adaptation."""
    zero = gap.dtype.type(0)
    for i in range(gap.size):
        d = -gap[i] - (zero if c.hard else lv[i] * spikes[i])
        sums.threshold[b, i] += d
        if c.adaptive:
            a = record.adaptation[b, t, i]
            sums.increment[b, i] += d * a
            sums.fade[b, i] += la[i] * a
            la[i] = c.fade[i] * la[i] + d * c.increment[i]


@part
def _to_voltage(hard: bool, gap: Array, spikes: Array, lv: Array) -> None:
    """Turn the gradient of the potential after the reset into that of the potential before it."""
    one = lv.dtype.type(1)
    if hard:
        for i in range(lv.size):
            lv[i] = gap[i] + lv[i] * (one - spikes[i])
    else:
        for i in range(lv.size):
            lv[i] = gap[i] + lv[i]


@part
def _to_drive(b: int, t: int, c: Constants, record: Record, lv: Array, g_drive: Array) -> None:
    """Gradient of the drive, and of the potential one step earlier; a held potential takes no drive."""
    out = g_drive[b, t]
    for i in range(lv.size):
        out[i] = c.take[i] * lv[i]
    if record.held.shape[1] == 0:
        for i in range(lv.size):
            lv[i] *= c.keep[i]
        return
    held, zero = record.held[b, t], lv.dtype.type(0)
    for i in range(lv.size):
        out[i] = zero if held[i] > 0 else out[i]
    for i in range(lv.size):
        lv[i] = lv[i] if held[i] > 0 else c.keep[i] * lv[i]


@part
def _to_decay(
    b: int, t: int, c: Constants, record: Record, initial: Array, g_drive: Array, before: Array, sums: Sums
) -> None:
    """Gradients of ``keep`` and ``take``; the potential and the drive are worked out from the distances."""
    for i in range(before.size):
        before[i] = initial[b, i] if t == 0 else _after_reset(b, t - 1, i, c, record)
        now = record.distance[b, t, i] + _threshold_at(b, t, i, c, record)
        d = g_drive[b, t, i] / c.take[i]
        sums.keep[b, i] += d * before[i]
        sums.take[b, i] += d * (now - c.keep[i] * before[i]) / c.take[i]


@part
def _threshold_at(b: int, t: int, i: int, c: Constants, record: Record) -> Any:
    return c.threshold[i] + (c.increment[i] * record.adaptation[b, t, i] if c.adaptive else c.threshold.dtype.type(0))


@part
def _after_reset(b: int, t: int, i: int, c: Constants, record: Record) -> Any:
    threshold = _threshold_at(b, t, i, c, record)
    voltage = record.distance[b, t, i] + threshold
    return voltage - record.spikes[b, t, i] * (voltage if c.hard else threshold)


@part
def _to_current(b: int, t: int, c: Constants, slot: int, g_drive: Array, current: Array, g_inject: Array) -> None:
    """Gradient of the currents: of this step's drive, and of the current one step later."""
    after = (t + 1) % c.delay
    for k in range(current.shape[2]):
        decay, now, later, part = c.synapse_decay[k], current[b, slot, k], current[b, after, k], g_drive[b, t]
        if after == slot:  # one row: nothing for the compiler to suspect of overlapping
            for i in range(now.size):
                now[i] = part[i] + decay * now[i]
        else:
            for i in range(now.size):
                now[i] = part[i] + decay * later[i]
        if t < g_inject.shape[1]:
            for i in range(now.size):
                g_inject[b, t, k, i] = now[i]


@compiled
def run_weights(
    first: int,
    last: int,
    c: Constants,
    events: Events,
    g_drive: Array,
    currents: Array,
    initial: Array,
    g_weight: Array,
    g_bias: NDArray[np.float64],
    g_decay: NDArray[np.float64],
) -> None:
    """Add up the gradients of targets ``first`` to ``last``: weights by arriving spike, bias, synaptic decays.

    Parameters
    ----------
    g_drive : ndarray, shape (batch, time, unit)
        Gradient of the drive.
    currents, initial : ndarray
        Currents (batch, time, tau, unit) and (batch, tau, unit) before the run; empty if ``g_decay`` is not wanted.
    g_weight, g_bias, g_decay : ndarray
        Sums, shapes (tau, pre, post), (unit,) and (tau, unit).
    """
    n_batch, n_steps, _ = g_drive.shape
    n_tau = c.synapse_decay.size
    for b in range(n_batch):
        g, some = np.zeros((n_tau, last - first), g_drive.dtype), np.zeros(last - first, g_drive.dtype)
        for t in range(n_steps - 1, -1, -1):
            part = g_drive[b, t, first:last]
            for i in range(part.size):
                some[i] += part[i]
            if t % _FEW == 0:
                _move(some, g_bias[first:last])
            for k in range(n_tau):
                row = g[k]
                for i in range(part.size):
                    row[i] = part[i] + c.synapse_decay[k] * row[i]
                if currents.shape[1] > 0:
                    for i in range(part.size):
                        past = currents[b, t - 1, k, first + i] if t > 0 else initial[b, k, first + i]
                        g_decay[k, first + i] += row[i] * past
                if g_weight.size > 0 and t >= c.delay:
                    _to_weight(b, t - c.delay, k, first, events, row, g_weight)


@part
def _move(some: Array, total: NDArray[np.float64]) -> None:
    """Add a short sum to the long one, and empty it."""
    for i in range(some.size):
        total[i] += some[i]
    for i in range(some.size):
        some[i] = 0


@part
def _to_weight(b: int, emitted: int, k: int, first: int, events: Events, row: Array, g_weight: Array) -> None:
    for e in range(events.bounds[b, emitted], events.bounds[b, emitted + 1]):
        j = events.unit[b, e]
        if events.amount.shape[1] > 0:
            amount = events.amount[b, e]
            for i in range(row.size):
                g_weight[k, j, first + i] += amount * row[i]
        else:
            for i in range(row.size):
                g_weight[k, j, first + i] += row[i]
