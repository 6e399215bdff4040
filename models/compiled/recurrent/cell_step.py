"""The step of (adaptive) LIF cells, part by part; each runs over all lanes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.models.compiled.recurrent.event_lists import Array, Flags, Marks, part
from organoid.models.rng import uniform_at


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
    release : ndarray, shape (3,) or (0,)
        See `organoid.models.compiled.recurrent.short_term.release`; empty where spikes pass unchanged.
    n_refractory, delay : int
        Steps.
    hard, adaptive, detach, recorded : bool
        Hard reset (else by subtraction); whether the threshold adapts; whether gradients pass by the reset; whether
        known spikes reset the cells instead of their own.
    """

    keep: Array
    take: Array
    threshold: Array
    increment: Array
    fade: Array
    synapse_decay: Array
    release: Array
    n_refractory: int
    delay: int
    hard: bool
    adaptive: bool
    detach: bool
    recorded: bool


class Draws(NamedTuple):
    """Escape noise: stream and step (batch, 2), of no copies where spikes are not drawn; slope of the logistic."""

    stream: NDArray[np.int64]
    slope: float


@part
def thresholds(c: Constants, a: Array, threshold: Array) -> None:
    """Write the threshold of every cell: it rises with the adaptation trace."""
    for i in range(a.size):
        threshold[i] = c.threshold[i] + c.increment[i] * a[i]


@part
def integrate(c: Constants, v: Array, total: Array, voltage: Array) -> None:
    """Let potentials relax towards the drive."""
    for i in range(v.size):
        voltage[i] = c.keep[i] * v[i] + c.take[i] * total[i]


@part
def hold(r: Array, v: Array, voltage: Array, held: Flags) -> None:
    """Keep the potentials of refractory cells, and flag these."""
    for i in range(r.size):
        held[i] = np.uint8(1) if r[i] > 0 else np.uint8(0)
    for i in range(r.size):
        voltage[i] = v[i] if r[i] > 0 else voltage[i]


@part
def fire(voltage: Array, threshold: Array, distance: Array, spikes: Array) -> None:
    """Write the distance to threshold, and spike where it is not negative."""
    for i in range(voltage.size):
        distance[i] = voltage[i] - threshold[i]
    zero, one = spikes.dtype.type(0), spikes.dtype.type(1)
    for i in range(voltage.size):
        spikes[i] = one if distance[i] >= 0 else zero


@part
def draw(t: int, n: int, draws: Draws, distance: Array, spikes: Array) -> None:
    """Draw spikes with logistic probability; the numbers depend on stream, step and unit only."""
    zero, one = spikes.dtype.type(0), spikes.dtype.type(1)
    for b in range(draws.stream.shape[0]):
        key, first = np.uint64(draws.stream[b, 0]), np.uint64(draws.stream[b, 1] + t) * np.uint64(n)
        for i in range(n):
            probability = 1 / (1 + math.exp(-draws.slope * distance[b * n + i]))
            spikes[b * n + i] = one if uniform_at(key, first + np.uint64(i)) < probability else zero


@part
def known(row: int, n: int, spiking: Marks, spikes: Array) -> None:
    """Put the known spikes of a step in place of the cells' own; what they pass on may be more or less."""
    for i in range(spikes.size):
        spikes[i] = 0
    for b in range(spikes.size // n):
        for e in range(spiking.bounds[row + b], spiking.bounds[row + b + 1]):
            spikes[b * n + spiking.unit[e]] = 1


@part
def silence(held: Flags, spikes: Array) -> None:
    """Take the spikes of refractory cells back."""
    zero = spikes.dtype.type(0)
    for i in range(spikes.size):
        spikes[i] = zero if held[i] > 0 else spikes[i]


@part
def refract(n_refractory: int, spikes: Array, r: Array) -> None:
    """Count refractory steps."""
    zero, one, full = spikes.dtype.type(0), spikes.dtype.type(1), spikes.dtype.type(n_refractory)
    for i in range(r.size):
        r[i] = full if spikes[i] > 0 else max(r[i] - one, zero)


@part
def reset(hard: bool, voltage: Array, threshold: Array, spikes: Array, v: Array) -> None:
    """Reset the potentials of cells that spiked."""
    one = v.dtype.type(1)
    if hard:
        for i in range(v.size):
            v[i] = voltage[i] * (one - spikes[i])
    else:
        for i in range(v.size):
            v[i] = voltage[i] - spikes[i] * threshold[i]


@part
def adapt(fade: Array, spikes: Array, a: Array) -> None:
    """Let adaptation decay and spikes enter it."""
    for i in range(a.size):
        a[i] = fade[i] * a[i] + spikes[i]
