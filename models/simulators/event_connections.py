"""Sparse connections of large networks: lists of pairs, and the rows that a kernel walks along.

Memory is proportional to the number of connections: 8 bytes each, 2 more where delays differ. Nothing of the size
``n_units x n_units`` is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import ModelError

Index = NDArray[np.int64]

LONGEST_DELAY = 60_000  # steps, what 16 bits hold


@dataclass(frozen=True)
class Connections:
    """Who sends to whom, how strongly, how fast, and into which current.

    Several connections of one pair add up. The arrays are taken as they are and must not be changed afterwards.

    Parameters
    ----------
    pre, post : array_like of int, shape (n,)
        Sender and receiver of each connection.
    weight : array_like, shape (n,) or scalar
        Rise of the receiver's current with each spike, thresholds; kept in single precision (currents are summed in
        double precision).
    delay : array_like, shape (n,) or scalar, optional
        From spike to rise, s; rounded to whole steps, at least one. The network's own if not given.
    current : array_like of int, shape (n,) or scalar
        Which of the receiver's currents (time constants) is raised.
    """

    pre: ArrayLike
    post: ArrayLike
    weight: ArrayLike
    delay: ArrayLike | None = None
    current: ArrayLike = 0


class Rows(NamedTuple):
    """Connections in order of sender and receiver.

    Parameters
    ----------
    start : ndarray of int64, shape (n_units + 1,)
        Where the connections of each sender start.
    target : ndarray of uint32, shape (n,)
        ``current * n_units + receiver``.
    weight : ndarray of float32, shape (n,)
        Thresholds.
    delay : ndarray of uint16, shape (n,), or (1,) where all are the same
        Steps.
    """

    start: Index
    target: NDArray[np.uint32]
    weight: NDArray[np.float32]
    delay: NDArray[np.uint16]


def random_connections(n_units: int, fan_out: int, *, seed: int | np.random.Generator = 0) -> tuple[Index, Index]:
    """Connect every unit to the same number of others, drawn without repetition; memory of the result only.

    Parameters
    ----------
    n_units : int
        Number of units.
    fan_out : int
        Receivers of each unit, itself excluded.
    seed : int or numpy Generator
        Source of the numbers.

    Returns
    -------
    pre, post : ndarray of int64, shape (n_units * fan_out,)
        In order of senders, then receivers.

    Raises
    ------
    ModelError
        If there are not that many others.
    """
    if not 0 <= fan_out < n_units:
        raise ModelError(f"fan_out {fan_out!r}; expected 0 ... {n_units - 1} receivers of each of {n_units} units")
    rng = np.random.default_rng(seed)
    post = np.empty((n_units, fan_out), dtype=np.int64)
    if fan_out > n_units // 2:
        # Nearly all units: a shuffle is cheaper than drawing again and again.
        for pre in range(n_units):
            post[pre] = np.sort(rng.permutation(n_units - 1)[:fan_out])
    else:
        post[:] = np.sort(rng.integers(0, n_units - 1, post.shape), axis=1)
        again = np.arange(n_units)
        while again.size:
            rows = post[again]
            same = np.zeros(rows.shape, dtype=bool)
            same[:, 1:] = rows[:, 1:] == rows[:, :-1]
            rows[same] = rng.integers(0, n_units - 1, int(same.sum()))
            post[again] = np.sort(rows, axis=1)
            again = again[same.any(axis=1)]
    senders = np.repeat(np.arange(n_units), fan_out)
    receivers = post.ravel()
    return senders, receivers + (receivers >= senders)  # no unit receives from itself


def rows_of(connections: Connections, n_units: int, n_currents: int, dt: float, usual_delay: float) -> Rows:
    """Return connections in order, times in steps; `usual_delay` (s) stands in where they give none.

    Raises
    ------
    ModelError
        If lengths differ or a value is out of range or not finite.
    """
    pre, post = _indices("pre", connections.pre, n_units), _indices("post", connections.post, n_units)
    if pre.ndim != 1 or pre.shape != post.shape:
        raise ModelError(f"pre and post have shapes {pre.shape} and {post.shape}; expected one of each a connection")
    current = _indices("current", connections.current, n_currents)
    weight, delay = (
        _weights(connections.weight),
        _in_steps(usual_delay if connections.delay is None else connections.delay, dt),
    )
    for name, value in (("weight", weight), ("delay", delay), ("current", current)):
        if value.shape not in ((), pre.shape):
            raise ModelError(f"{name} has shape {value.shape}; expected one for all or one for each of {pre.size}")
    if not delay.size:
        delay = _in_steps(usual_delay, dt)
    order = _order(pre, post, n_units)
    target = (current * n_units + post)[order] if order is not None else current * n_units + post
    return Rows(
        start=np.concatenate([[0], np.cumsum(np.bincount(pre, minlength=n_units))]).astype(np.int64),
        target=target.astype(np.uint32),
        weight=_ordered(np.broadcast_to(weight, pre.shape), order),
        delay=delay.reshape(-1)[:1] if _is_one(delay) else _ordered(delay, order),
    )


def check_rows(rows: Rows, n_units: int, n_currents: int) -> None:
    """Raise `ModelError` unless the rows belong to so many units with so many currents.

    Kernels trust the numbers in them: a target out of range would be written to.
    """
    n = rows.target.size
    types = ("int64", "uint32", "float32", "uint16")
    found = tuple(str(a.dtype) for a in (rows.start, rows.target, rows.weight, rows.delay))
    if found != types:
        raise ModelError(f"connections have types {found}; expected {types}")
    if rows.start.shape != (n_units + 1,) or rows.weight.shape != (n,) or rows.delay.shape not in ((1,), (n,)):
        raise ModelError(
            f"connections have shapes {[a.shape for a in rows]}; expected ({n_units + 1},), (n,), (n,), (n,) or (1,)"
        )
    if rows.start[0] != 0 or rows.start[-1] != n or np.any(np.diff(rows.start) < 0):
        raise ModelError(f"the rows of connections must run from 0 to {n} without going back")
    if n and (rows.target.max() >= n_units * n_currents or not np.all(np.isfinite(rows.weight))):
        raise ModelError(f"connections need targets below {n_units * n_currents} and finite weights")
    if rows.delay.min() < 1:
        raise ModelError("a connection has a delay of 0 steps; expected 1 or more")


def _order(pre: Index, post: Index, n_units: int) -> Index | None:
    """Return the stable order by sender, then receiver; None where it is so already."""
    place = pre * n_units + post
    return None if np.all(place[1:] >= place[:-1]) else np.argsort(place, kind="stable")


def _ordered(values: NDArray[Any], order: Index | None) -> NDArray[Any]:
    # Writable, though nothing writes: loops are compiled again for arrays of another kind.
    return np.require(values if order is None else values[order], requirements=["C", "W"])


def _is_one(delay: NDArray[np.uint16]) -> bool:
    return delay.ndim == 0 or bool(np.all(delay == delay[0]))


def _indices(name: str, values: ArrayLike, bound: int) -> Index:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iu":
        raise ModelError(f"{name} has type {found.dtype}; expected whole numbers")
    if found.size and not (0 <= found.min() and found.max() < bound):
        raise ModelError(f"{name} runs from {found.min()} to {found.max()}; expected 0 ... {bound - 1}")
    return found.astype(np.int64, copy=False)


def _weights(values: ArrayLike) -> NDArray[np.float32]:
    found = np.asarray(values).astype(np.float32, copy=False)
    if not np.all(np.isfinite(found)):
        raise ModelError("connection weights hold NaN or infinite values; expected thresholds")
    return found


def _in_steps(values: ArrayLike, dt: float) -> NDArray[np.uint16]:
    found = np.asarray(values, dtype=np.float64)
    if not (np.all(found >= 0) and np.all(found <= LONGEST_DELAY * dt)):
        raise ModelError(f"delays must lie between 0 and {LONGEST_DELAY * dt:g} s ({LONGEST_DELAY} steps)")
    return np.maximum(1, np.rint(found / dt)).astype(np.uint16)
