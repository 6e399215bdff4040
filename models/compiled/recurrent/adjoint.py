"""Compiled exact adjoint of the canonical network, backwards in time.

A spike's gradient counts only where the surrogate has a slope, so only units nearer to threshold than the surrogate's
support need the product of their weights with the gradients of the currents. All others are skipped because their
term is exactly zero; nothing is skipped because it is small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.recurrent.cell_step import Constants
from organoid.models.compiled.recurrent.event_lists import Array, Flags, Marks, flags_for_lanes, mark, part
from organoid.models.compiled.recurrent.forward import REORDERED, Record, flag_near, put, take
from organoid.models.compiled.recurrent.short_term import Stores, release_back


class Adjoint(NamedTuple):
    """Gradients carried backwards: potential and adaptation (lane,), currents (delay, tau, lane), stores."""

    voltage: Array
    adaptation: Array
    current: Array
    stores: Stores


class Sums(NamedTuple):
    """Gradients of the constants of cells, (lane,), double precision; empty where not wanted."""

    threshold: NDArray[np.float64]
    increment: NDArray[np.float64]
    fade: NDArray[np.float64]
    keep: NDArray[np.float64]
    take: NDArray[np.float64]


@kernel(nogil=True)
def list_near(start: int, stop: int, support: float, record: Record, near: Marks) -> None:
    """List the units near threshold in steps ``start`` to ``stop`` with their distances."""
    copies, _, n = record.distance.shape
    dtype, row = record.distance.dtype, 0
    distance, held, words = np.empty(copies * n, dtype), np.empty(copies * n, np.uint8), flags_for_lanes(copies, n)
    for t in range(start, stop):
        take(record.distance, t, distance)
        if record.held.shape[1] > 0:
            take(record.held, t, held)
        flag_near(n, dtype.type(support), distance, record.held.shape[1] > 0, held, words)
        mark(row, n, words, distance, near)
        row += copies


def _four_rows(weight: Array, unit: Any, current: Array, start: int, out: Array) -> None:
    """Write the products of the weights of four units with the gradients of one copy's currents."""
    j0, j1, j2, j3 = unit[0], unit[1], unit[2], unit[3]
    s0 = s1 = s2 = s3 = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        w0, w1, w2, w3 = weight[k, j0], weight[k, j1], weight[k, j2], weight[k, j3]
        g = current[k][start : start + w0.size]
        for i in range(w0.size):
            s0 += w0[i] * g[i]
            s1 += w1[i] * g[i]
            s2 += w2[i] * g[i]
            s3 += w3[i] * g[i]
    out[start + j0], out[start + j1], out[start + j2], out[start + j3] = s0, s1, s2, s3


def _two_copies(weight: Array, unit: Any, current: Array, a: int, b: int, out: Array) -> None:
    """Write the same for two copies, whose first lanes are ``a`` and ``b``: a weight that is read serves both."""
    j0, j1, j2, j3 = unit[0], unit[1], unit[2], unit[3]
    s0 = s1 = s2 = s3 = z0 = z1 = z2 = z3 = weight.dtype.type(0)
    for k in range(weight.shape[0]):
        w0, w1, w2, w3 = weight[k, j0], weight[k, j1], weight[k, j2], weight[k, j3]
        g, h = current[k][a : a + w0.size], current[k][b : b + w0.size]
        for i in range(w0.size):
            s0 += w0[i] * g[i]
            s1 += w1[i] * g[i]
            s2 += w2[i] * g[i]
            s3 += w3[i] * g[i]
            z0 += w0[i] * h[i]
            z1 += w1[i] * h[i]
            z2 += w2[i] * h[i]
            z3 += w3[i] * h[i]
    out[a + j0], out[a + j1], out[a + j2], out[a + j3] = s0, s1, s2, s3
    out[b + j0], out[b + j1], out[b + j2], out[b + j3] = z0, z1, z2, z3


# Four at once, as memory can deliver several rows at a time.
_rows = part(_four_rows, fastmath=REORDERED)
_pairs = part(_two_copies, fastmath=REORDERED)
_TILE = 64  # rows of weights that are shared by the copies while they are in the cache
_MANY = 3  # with one unit in so many near threshold, all products together take less than theirs one by one


@part
def _products(
    copies: int, row: int, slot: int, weight: Array, near: Marks, slope: Array, every: bool, current: Array, out: Array
) -> None:
    """Write the gradient (lane,) of what listed units send in a step; of those without a slope only if ``every``."""
    n, n_many = weight.shape[1], 0
    many, unit = np.empty(copies + 1, np.int64), np.empty(4, np.int64)
    for b in range(copies):
        first, stop = near.bounds[row + b], near.bounds[row + b + 1]
        # Each copy decides for itself, so that its numbers do not depend on the copies beside it.
        if _MANY * (stop - first) > n:
            many[n_many] = b * n
            n_many += 1
        else:
            _some_products(first, stop, b * n, weight, near, slope, every, current[slot], unit, out)
    many[n_many] = many[max(0, n_many - 1)]  # one without another is its own pair
    for tile in range(0, n, _TILE):
        for p in range(0, n_many, 2):
            for j in range(tile, min(tile + _TILE, n), 4):
                for q in range(4):
                    unit[q] = min(j + q, n - 1)
                _pairs(weight, unit, current[slot], many[p], many[p + 1], out)


@part
def _some_products(
    first: int,
    stop: int,
    start: int,
    weight: Array,
    near: Marks,
    slope: Array,
    every: bool,
    current: Array,
    unit: NDArray[np.int64],
    out: Array,
) -> None:
    """Write the products of one copy, whose first lane is ``start``, for units ``first`` to ``stop`` of the list."""
    found = 0
    for e in range(first, stop):
        if every or slope[e] != 0:
            unit[found] = near.unit[e]
            found += 1
        else:
            out[start + near.unit[e]] = 0
        if found == 4:
            _rows(weight, unit, current, start, out)
            found = 0
    if found > 0:
        for q in range(found, 4):
            unit[q] = unit[0]  # nothing new
        _rows(weight, unit, current, start, out)


@kernel(nogil=True)
def run_adjoint(
    start: int,
    stop: int,
    weight: Array,
    c: Constants,
    near: Marks,
    slope: Array,
    g_spikes: Array,
    g_distance: Array,
    g_sent: Array,
    record: Record,
    initial: Array,
    forced: bool,
    adjoint: Adjoint,
    g_drive: Array,
    g_inject: Array,
    sums: Sums,
) -> None:
    """Go back from step ``stop`` to ``start``; fill the gradient of the drive, advance ``adjoint``, add to ``sums``."""
    copies, n_steps, n = record.spikes.shape
    lanes, dtype = copies * n, weight.dtype
    through, gap, drive = np.zeros(lanes, dtype), np.empty(lanes, dtype), np.empty(lanes, dtype)
    spikes, held, adaptation = np.empty(lanes, dtype), np.empty(lanes, np.uint8), np.empty(lanes, dtype)
    threshold, lv, la = np.empty(lanes, dtype), adjoint.voltage, adjoint.adaptation
    releasing = c.release.size > 0
    size = lanes if releasing else 0
    before, arrived, total = Stores(np.empty(size, dtype), np.empty(size, dtype)), np.empty(size, dtype), through
    if releasing:
        total = np.empty(lanes, dtype)
    for i in range(lanes):
        threshold[i] = c.threshold[i]
    for t in range(stop - 1, start - 1, -1):
        row, slot = (t - start) * copies, t % c.delay
        if not forced and t + c.delay < n_steps:
            _products(copies, row, slot, weight, near, slope, releasing, adjoint.current, through)
        if c.hard or sums.threshold.size > 0 or releasing:
            take(record.spikes, t, spikes)
        if releasing:
            take(record.missing, t, before.missing)
            take(record.facilitation, t, before.facilitation)
            _add_sent(t, g_sent, through, arrived)
            release_back(c.release, spikes, before, arrived, adjoint.stores, total)
        if c.adaptive:
            take(record.adaptation, t, adaptation)
            for i in range(lanes):
                threshold[i] = c.threshold[i] + c.increment[i] * adaptation[i]
        _from_outside(t, g_distance, gap)
        _from_spikes(t, row, n, c, near, slope, total, g_spikes, lv, la, threshold, gap)
        if sums.threshold.size > 0:
            _to_threshold(c, gap, spikes, adaptation, lv, la, sums)
        _to_voltage(c.hard, gap, spikes, lv)
        if c.n_refractory > 0:
            take(record.held, t, held)
        _to_drive(c, held, lv, drive)
        put(drive, t, g_drive)
        if sums.keep.size > 0:
            _to_decay(t, c, record, initial, drive, sums)
        _to_current(t, c, slot, drive, adjoint.current, g_inject)


@part
def _from_outside(t: int, g_distance: Array, gap: Array) -> None:
    """Write the gradient that the loss has at the distance to threshold; none where it does not read it."""
    if g_distance.shape[1] > 0:
        take(g_distance, t, gap)
    else:
        for i in range(gap.size):
            gap[i] = 0


@part
def _add_sent(t: int, g_sent: Array, through: Array, out: Array) -> None:
    """Write the gradient of what is sent: through the synapses, and from outside."""
    n = g_sent.shape[2]
    for i in range(out.size):
        out[i] = through[i]
    if g_sent.shape[1] > 0:
        for b in range(g_sent.shape[0]):
            for i in range(n):
                out[b * n + i] += g_sent[b, t, i]


@part
def _from_spikes(
    t: int,
    row: int,
    n: int,
    c: Constants,
    near: Marks,
    slope: Array,
    through: Array,
    g_spikes: Array,
    lv: Array,
    la: Array,
    threshold: Array,
    gap: Array,
) -> None:
    """Add what comes through the spikes of near units: outside, synapses, adaptation, reset."""
    for b in range(g_spikes.shape[0]):
        for e in range(near.bounds[row + b], near.bounds[row + b + 1]):
            i = b * n + near.unit[e]
            ds = through[i]
            if g_spikes.shape[1] > 0:
                ds += g_spikes[b, t, near.unit[e]]
            if c.adaptive:
                ds += la[i]
            if not c.detach:
                ds -= lv[i] * (near.value[e] + threshold[i] if c.hard else threshold[i])
            gap[i] += slope[e] * ds


@part
def _to_threshold(c: Constants, gap: Array, spikes: Array, adaptation: Array, lv: Array, la: Array, sums: Sums) -> None:
    """Gradient of the threshold and, through it, of adaptation."""
    zero = gap.dtype.type(0)
    for i in range(gap.size):
        d = -gap[i] - (zero if c.hard else lv[i] * spikes[i])
        sums.threshold[i] += d
        if c.adaptive:
            sums.increment[i] += d * adaptation[i]
            sums.fade[i] += la[i] * adaptation[i]
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
def _to_drive(c: Constants, held: Flags, lv: Array, drive: Array) -> None:
    """Gradient of the drive, and of the potential one step earlier; a held potential takes no drive."""
    for i in range(lv.size):
        drive[i] = c.take[i] * lv[i]
    if c.n_refractory == 0:
        for i in range(lv.size):
            lv[i] *= c.keep[i]
        return
    zero = lv.dtype.type(0)
    for i in range(lv.size):
        drive[i] = zero if held[i] > 0 else drive[i]
    for i in range(lv.size):
        lv[i] = lv[i] if held[i] > 0 else c.keep[i] * lv[i]


@part
def _to_decay(t: int, c: Constants, record: Record, initial: Array, drive: Array, sums: Sums) -> None:
    """Gradients of ``keep`` and ``take``; the potential and the drive are worked out from the distances."""
    copies, _, n = record.distance.shape
    for b in range(copies):
        for i in range(n):
            lane = b * n + i
            before = initial[lane] if t == 0 else _after_reset(b, t - 1, i, lane, c, record)
            now = record.distance[b, t, i] + _threshold_at(b, t, i, lane, c, record)
            d = drive[lane] / c.take[lane]
            sums.keep[lane] += d * before
            sums.take[lane] += d * (now - c.keep[lane] * before) / c.take[lane]


@part
def _threshold_at(b: int, t: int, i: int, lane: int, c: Constants, record: Record) -> Any:
    rise = c.increment[lane] * record.adaptation[b, t, i] if c.adaptive else c.threshold.dtype.type(0)
    return c.threshold[lane] + rise


@part
def _after_reset(b: int, t: int, i: int, lane: int, c: Constants, record: Record) -> Any:
    threshold = _threshold_at(b, t, i, lane, c, record)
    voltage = record.distance[b, t, i] + threshold
    return voltage - record.spikes[b, t, i] * (voltage if c.hard else threshold)


@part
def _to_current(t: int, c: Constants, slot: int, drive: Array, current: Array, g_inject: Array) -> None:
    """Gradient of the currents: of this step's drive, and of the current one step later."""
    after, n = (t + 1) % c.delay, g_inject.shape[3]
    for k in range(current.shape[1]):
        decay, now, later = c.synapse_decay[k], current[slot, k], current[after, k]
        if after == slot:  # one row: nothing for the compiler to suspect of overlapping
            for i in range(now.size):
                now[i] = drive[i] + decay * now[i]
        else:
            for i in range(now.size):
                now[i] = drive[i] + decay * later[i]
        if t < g_inject.shape[1]:
            for b in range(g_inject.shape[0]):
                for i in range(n):
                    g_inject[b, t, k, i] = now[b * n + i]
