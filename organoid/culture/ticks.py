"""Compiled ticks: copies of one network on a frame clock, their spikes in frames, one call for any number of frames.

What is done is that of `organoid.culture.tissue`, which says it in plain steps and is the reference of the tests: the
same spikes come out, however frames are cut into calls. Here nothing is worked out twice: a step under way keeps its
spikes until it is over, and is drawn again only when a pulse forces spikes into it.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.experimental import structref
from numpy.typing import NDArray

from organoid.jit import borrowing, kernel
from organoid.models.rng import uniform_at
from organoid.models.spike_response.stepping import ACTIVITY_TAU, end_step, potential, sample

Index = NDArray[np.int64]
Array = NDArray[np.float64]
OUT = 4096  # spikes of a copy that a call hands out at most, and those of the last step

STEP, FRAME, SAMPLED, BEGUN, FORCED, VOLLEYS, STOPPED = range(7)  # places in `Ticks.at`


class Ticks(NamedTuple):
    """Where copies of a network stand on the frame clock, and what is still to come; changed in place.

    Parameters
    ----------
    at : ndarray of int64, shape (7,)
        Step under way, frame, whether its spikes are drawn, whether its potentials are there, forced spikes and
        volleys that wait, copies that ran away.
    keys : ndarray of uint64, shape (n_copies,)
        Streams of the frames inside steps.
    activity : ndarray, shape (n_copies,)
        Leaky population rate, spikes/s.
    stop : ndarray of int64, shape (n_copies,)
        Frame at which a copy ran away; -1: it has not.
    last : ndarray of int64, shape (n_copies * n_units,)
        Frame of the last spike of each unit.
    forced_step, forced_unit : ndarray of int64
        Direct spikes the networks have not been told yet; unit ``i`` of copy ``c`` is ``c n + i``.
    volley_step, volley_copy, volley : ndarray
        Volleys they have not been told yet.
    n_direct, direct_frame, direct_unit : ndarray of int64, shapes (n_copies,) and (n_copies, room)
        Direct spikes that are still to come.
    n_own, own_frame, own_unit : ndarray of int64, shapes (n_copies,) and (n_copies, room)
        Spikes of the step under way.
    n_out, out_frame, out_unit : ndarray of int64, shapes (n_copies,) and (n_copies, room)
        Spikes since the begin of the call.
    n_forced : ndarray, shape (n_copies,)
        Forced spikes of the step under way.
    taken : ndarray, shape (n_copies * n_units,)
        What filters of finite length brought to the step under way, to be put back where it is undone.
    """

    at: Index
    keys: NDArray[np.uint64]
    activity: Array
    stop: Index
    last: Index
    forced_step: Index
    forced_unit: Index
    volley_step: Index
    volley_copy: Index
    volley: Array
    n_direct: Index
    direct_frame: Index
    direct_unit: Index
    n_own: Index
    own_frame: Index
    own_unit: Index
    n_out: Index
    out_frame: Index
    out_unit: Index
    n_forced: Array
    taken: Array


@structref.register
class _BoundType(types.StructRef):  # type: ignore[misc, name-defined]  # numba has no types
    """numba's type of `Bound`."""


class Bound(structref.StructRefProxy):  # type: ignore[misc]  # numba has no types
    """Everything a call of `advance` needs, bound once: to hand over some eighty arrays costs more than a step."""


structref.define_proxy(Bound, _BoundType, ["par", "state", "inputs", "scratch", "ticks", "per_step", "stride"])


@kernel()
def bind(par: Any, state: Any, inputs: Any, scratch: Any, ticks: Any, per_step: int, stride: int) -> Any:
    """Return the arrays of a run, and the frames of a step, as one thing.

    Parameters
    ----------
    par, state, inputs, scratch
        Of the compiled step.
    ticks : Ticks
    per_step, stride : int
        Frames of a step, and what separates spikes of one unit in one step.
    """
    return Bound(par, state, inputs, scratch, ticks, per_step, stride)


@kernel(nogil=True)
def advance(bound: Any, until: int) -> bool:
    """Let time pass up to frame `until`, or until the room for spikes is full.

    Parameters
    ----------
    bound : Bound
    until : int

    Returns
    -------
    bool
        Whether `until` was reached.
    """
    par, state, inputs, scratch, ticks = bound.par, bound.state, bound.inputs, bound.scratch, bound.ticks
    per_step, stride = bound.per_step, bound.stride
    at, n = ticks.at, par.bias.size
    ticks.n_out[:] = 0
    leak = np.exp(-par.dt / ACTIVITY_TAU)
    while at[FRAME] < until and at[STOPPED] < ticks.stop.size:
        if ticks.n_out.max() >= OUT:
            return False
        step = at[STEP]
        if not at[SAMPLED]:
            _draw_step(par, state, inputs, scratch, ticks, step, per_step, stride)
        end = (step + 1) * per_step
        stop = min(end, until)
        for c in range(ticks.stop.size):
            _emit(ticks, c, n, at[FRAME], stop)
        at[FRAME] = stop
        if stop == end:
            _finish_step(par, state, scratch, ticks, step, end, leak)
    return True


@borrowing()
def _draw_step(
    par: Any, state: Any, inputs: Any, scratch: Any, ticks: Any, step: int, per_step: int, stride: int
) -> None:
    """Draw the spikes of the step under way, forced ones considered."""
    at, n, forced, spikes = ticks.at, par.bias.size, scratch.forced, scratch.spikes
    _force(ticks, scratch, n, step)
    if not at[BEGUN]:
        future = state.memory.future
        if future.shape[0]:
            row = future[step % future.shape[0]]
            for i in range(row.size):
                ticks.taken[i] = row[i]
        potential(par, state, inputs, step, 0, scratch)
        at[BEGUN] = 1
    sample(par, inputs, step, scratch)
    for c in range(ticks.stop.size):
        spikes.entering[c] = spikes.own[c] + inputs.weight * ticks.n_forced[c] + spikes.unseen[c]
        ticks.n_own[c] = 0
        if spikes.own[c]:
            _place_own(ticks, spikes.counts, forced, c, n, step, per_step, stride)
    at[SAMPLED] = 1


@borrowing()
def _force(ticks: Any, scratch: Any, n: int, step: int) -> None:
    """Force the direct spikes and volleys of a step."""
    at, forced, unseen = ticks.at, scratch.forced, scratch.spikes.unseen
    if scratch.cursor[2]:
        forced[:] = 0
        ticks.n_forced[:] = 0
        scratch.cursor[2] = 0
    for k in range(at[FORCED]):
        if ticks.forced_step[k] == step:
            forced[ticks.forced_unit[k]] += 1
            ticks.n_forced[ticks.forced_unit[k] // n] += 1
            scratch.cursor[2] += 1
    unseen[:] = 0.0
    for k in range(at[VOLLEYS]):
        if ticks.volley_step[k] == step:
            unseen[ticks.volley_copy[k]] += ticks.volley[k]


@borrowing()
def _place_own(
    ticks: Any, counts: NDArray[Any], forced: NDArray[Any], c: int, n: int, step: int, per_step: int, stride: int
) -> None:
    """Give every spike that a copy drew a frame of its own in the step, and order them by frame and unit."""
    frames, units, m = ticks.own_frame[c], ticks.own_unit[c], 0
    for i in range(n):
        for rank in range(counts[c * n + i] - forced[c * n + i]):
            offset = np.int64(uniform_at(ticks.keys[c], np.uint64(step * n + i)) * per_step)
            frame = step * per_step + (offset + rank * stride) % per_step
            k = m
            while k > 0 and (frames[k - 1] > frame or (frames[k - 1] == frame and units[k - 1] > i)):
                frames[k], units[k] = frames[k - 1], units[k - 1]
                k -= 1
            frames[k], units[k] = frame, i
            m += 1
    ticks.n_own[c] = m


@borrowing()
def _emit(ticks: Any, c: int, n: int, start: int, stop: int) -> None:
    """Hand out a copy's own and direct spikes in ``[start, stop)``, in order of frames and units, own ones first."""
    if not (ticks.n_own[c] or ticks.n_direct[c]):
        return
    frames, units, first = ticks.out_frame[c], ticks.out_unit[c], ticks.n_out[c]
    m = first
    for k in range(ticks.n_own[c]):
        if start <= ticks.own_frame[c, k] < stop:
            frames[m], units[m] = ticks.own_frame[c, k], ticks.own_unit[c, k]
            m += 1
    if ticks.n_direct[c]:
        m = _emit_direct(ticks, c, stop, frames, units, first, m)
    for k in range(first, m):
        ticks.last[c * n + units[k]] = frames[k]
    ticks.n_out[c] = m


@borrowing()
def _emit_direct(ticks: Any, c: int, stop: int, frames: NDArray[Any], units: NDArray[Any], first: int, m: int) -> int:
    """Move the direct spikes before `stop` among the others; returns how many there are."""
    kept = 0
    for j in range(ticks.n_direct[c]):
        frame, unit = ticks.direct_frame[c, j], ticks.direct_unit[c, j]
        if frame >= stop:
            ticks.direct_frame[c, kept], ticks.direct_unit[c, kept] = frame, unit
            kept += 1
            continue
        k = m
        while k > first and (frames[k - 1] > frame or (frames[k - 1] == frame and units[k - 1] > unit)):
            frames[k], units[k] = frames[k - 1], units[k - 1]
            k -= 1
        frames[k], units[k] = frame, unit
        m += 1
    ticks.n_direct[c] = kept
    return m


@borrowing()
def _finish_step(par: Any, state: Any, scratch: Any, ticks: Any, step: int, end: int, leak: float) -> None:
    """Let the spikes of the step act, and begin the next one."""
    at, begin = ticks.at, scratch.spikes.begin
    end_step(par, state, step, scratch)
    for c in range(ticks.stop.size):
        ticks.activity[c] = ticks.activity[c] * leak + (begin[c + 1] - begin[c]) / ACTIVITY_TAU
        if ticks.activity[c] > par.rate_limit and scratch.going[c]:
            scratch.going[c] = False
            ticks.stop[c] = end
            at[STOPPED] += 1
        ticks.n_own[c] = 0
    kept = 0
    for k in range(at[FORCED]):
        if ticks.forced_step[k] > step:
            ticks.forced_step[kept], ticks.forced_unit[kept] = ticks.forced_step[k], ticks.forced_unit[k]
            kept += 1
    at[FORCED] = kept
    kept = 0
    for k in range(at[VOLLEYS]):
        if ticks.volley_step[k] > step:
            ticks.volley_step[kept], ticks.volley[kept] = ticks.volley_step[k], ticks.volley[k]
            ticks.volley_copy[kept] = ticks.volley_copy[k]
            kept += 1
    at[VOLLEYS] = kept
    at[STEP], at[SAMPLED], at[BEGUN] = step + 1, 0, 0


@kernel(nogil=True)
def gather(
    n_out: NDArray[Any],
    out_frame: NDArray[Any],
    out_unit: NDArray[Any],
    counts: NDArray[Any],
    frames: NDArray[Any],
    units: NDArray[Any],
    copies: NDArray[Any],
    at: int,
) -> None:
    """Add the spikes of a call to the counts of each unit, and write them behind the first `at` of a list."""
    for c in range(n_out.size):
        for k in range(n_out[c]):
            counts[c, out_unit[c, k]] += 1
            frames[at], units[at], copies[at] = out_frame[c, k], out_unit[c, k], c
            at += 1
