"""Compiled pass that rescales intervals between spikes; see `organoid.fitting.evaluation.goodness_of_fit`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import inner, kernel
from organoid.models.rng import uniform_at

GRID = 1024  # classes of rescaled values
N_LEVELS = 400  # of expected counts, 50 a decade from 1e-6 on
_A_DECADE = 50
_LOWEST = -6.0


@kernel(inline="always")
def _count(histogram: NDArray[Any], value: float) -> None:
    histogram[min(int(value * GRID), GRID - 1)] += 1.0


@inner()
def _identity(p: NDArray[Any], counts: NDArray[Any], capacity: NDArray[Any], r: float, out: NDArray[Any]) -> None:
    """Where, on the scale of cumulated odds, the one unit that fired lies."""
    before, own, total = 0.0, 0.0, 0.0
    for i in range(p.size):
        odds = capacity[i] * p[i] / (1.0 - p[i])
        if counts[i] > 0:
            before, own = total, odds
        total += odds
    if total > 0.0:
        _count(out, (before + r * own) / total)


@inner()
def _spiking_bin(
    p: NDArray[Any],
    counts: NDArray[Any],
    capacity: NDArray[Any],
    trials: NDArray[Any],
    fires: NDArray[Any],
    waiting: NDArray[Any],
    out: NDArray[Any],
    key: np.uint64,
    number: np.uint64,
) -> np.uint64:
    """Walk through the trials of one bin in random order; return how many random numbers were used."""
    n, n_units, used = 0, p.size, np.uint64(0)
    one = np.uint64(1)
    for i in range(n_units):
        for k in range(capacity[i]):
            trials[n] = i
            fires[n] = k < counts[i]
            n += 1
    for last in range(n - 1, 0, -1):  # shuffle
        other = int(uniform_at(key, number + used) * (last + 1))
        used += one
        trials[last], trials[other] = trials[other], trials[last]
        fires[last], fires[other] = fires[other], fires[last]
    for k in range(n):
        i = trials[k]
        step = -np.log1p(-p[i])
        if not fires[k]:
            waiting[i] += step
            waiting[n_units] += step
            continue
        part = -np.log1p(-p[i] * uniform_at(key, number + used))
        used += one
        _count(out[i], -np.expm1(-(waiting[i] + part)))
        _count(out[n_units], -np.expm1(-(waiting[n_units] + part)))
        waiting[i] = 0.0
        waiting[n_units] = 0.0
    return used


@kernel(nogil=True)
def _rescale(
    counts: NDArray[Any],
    p: NDArray[Any],
    observed: NDArray[Any],
    capacity: NDArray[Any],
    waiting: NDArray[Any],
    out: NDArray[Any],
    key: np.uint64,
    first: int,
) -> None:
    n_units = p.shape[1]
    trials = np.empty(np.sum(capacity), dtype=np.int64)
    fires = np.empty(np.sum(capacity), dtype=np.bool_)
    room = np.uint64(2 * trials.size + 2)  # random numbers a bin may use
    for t in range(p.shape[0]):
        if not observed[t]:
            waiting[:] = 0.0
            continue
        total = 0
        for i in range(n_units):
            total += counts[t, i]
        if total == 0:
            for i in range(n_units):
                step = -capacity[i] * np.log1p(-p[t, i])
                waiting[i] += step
                waiting[n_units] += step
            continue
        number = np.uint64(first + t) * room
        used = _spiking_bin(p[t], counts[t], capacity, trials, fires, waiting, out, key, number)
        if total == 1:
            _identity(p[t], counts[t], capacity, uniform_at(key, number + used), out[n_units + 1])


@kernel(nogil=True)
def tally(
    counts: NDArray[Any],
    expected: NDArray[Any],
    observed: NDArray[Any],
    bins: NDArray[Any],
    sums: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Add to every unit's levels of expected count: the bins, what they expect, and the spikes found in them.

    Parameters
    ----------
    counts, expected : ndarray, shape (n_bins, n_units)
    observed : ndarray of bool, shape (n_bins,)
    bins, sums, found : ndarray, shape (n_units, N_LEVELS)
    """
    for t in range(counts.shape[0]):
        if not observed[t]:
            continue
        for i in range(counts.shape[1]):
            mu = expected[t, i]
            level = int(min(max(_A_DECADE * (np.log10(max(mu, 1e-300)) - _LOWEST), 0.0), N_LEVELS - 1.0))
            bins[i, level] += 1.0
            sums[i, level] += mu
            found[i, level] += counts[t, i]


def rescale(
    counts: NDArray[np.int64],
    p: NDArray[np.float64],
    observed: NDArray[np.bool_],
    capacity: NDArray[np.int64],
    waiting: NDArray[np.float64],
    out: NDArray[np.float64],
    key: np.uint64,
    first: int,
) -> None:
    """Add the rescaled values of consecutive bins to histograms.

    Parameters
    ----------
    counts : ndarray, shape (n_bins, n_units)
    p : ndarray, shape (n_bins, n_units)
        Probability of a spike in each of a unit's `capacity` trials a bin, below 1.
    observed : ndarray of bool, shape (n_bins,)
        Waiting starts again after a hole.
    capacity : ndarray of int64, shape (n_units,)
        Counts beyond it count as many.
    waiting : ndarray, shape (n_units + 1,)
        Summed hazard since the last spike, of every unit and of any unit; carried on.
    out : ndarray, shape (n_units + 2, GRID)
        Histograms: every unit's intervals, intervals of any unit, which unit fired.
    key, first
        Random stream, and the number of the first bin in it.
    """
    _rescale(counts, p, observed, capacity, waiting, out, key, first)
