"""Compiled draws of spikes: one uniform number per unit and step, most of them settled without an exponential.

A unit of capacity n fires when its number u is at least ``(1 - p)^n``. As ``1 - (1 - p)^n <= n p <= n exp(V)``, no
spike comes where 1 - u lies above a bound on ``n exp(V)``; what remains, a few units a step, is worked out exactly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.rng import GOLDEN, TO_UNIT, mix

_S11 = np.uint64(11)
_LOG2_E = float(1.0 / np.log(2.0))
_LOWEST = -80.0  # logit; its exponential is far below what 53 bits can hit
_BIAS, _STEPS = 127.0, 8388608.0  # of single precision: the exponent's bias, and 2^23 steps between powers of 2
_SLACK, _ROUNDING = 1.0 + 1e-6, 1e-12


@kernel(inline="always")
def binomial(u: float, p: float, n: int) -> int:
    """Return the number of successes of `n` trials by inverting the distribution at `u`."""
    if n <= 0:
        return 0
    mass = (1.0 - p) ** n
    cumulative = mass
    k = 0
    while u >= cumulative and k < n:
        mass *= (n - k) / (k + 1.0) * p / (1.0 - p) if p < 1.0 else 0.0
        k = k + 1 if p < 1.0 else n
        cumulative += mass
    return k


@kernel()
def place_draws(key: np.uint64, n: int, out: NDArray[Any]) -> None:
    """Write where the draws of the units of one network begin in its stream (see `counter_rng.uniform_at`)."""
    for i in range(n):
        out[i] = key + (np.uint64(i) + np.uint64(1)) * GOLDEN


@kernel()
def screen(
    places: NDArray[Any],
    step: int,
    n: int,
    v: NDArray[Any],
    capacity: NDArray[Any],
    left: NDArray[Any],
    bound: NDArray[Any],
    may_fire: NDArray[Any],
) -> None:
    """Draw a number for every unit, write 1 - u to `left`, and whether it may be a spike to `may_fire`.

    Parameters
    ----------
    places : ndarray of uint64, shape (n_draws,)
        From `place_draws`, network after network.
    step, n : int
        Step of the run, and units of one network.
    v, capacity : ndarray, shape (n_draws,)
    left : ndarray, shape (n_draws,)
    bound : ndarray of int32, shape (n_draws,)
        Room to work in.
    may_fire : ndarray of bool, shape (n_draws,)
    """
    onward = np.uint64(step) * np.uint64(n) * GOLDEN
    for i in range(left.size):
        left[i] = 1.0 - np.float64(mix(places[i] + onward) >> _S11) * TO_UNIT
    for i in range(left.size):  # read as a number, these bits are a line through the powers of 2, above the exponential
        bound[i] = np.int32((min(max(v[i], _LOWEST), 0.0) * _LOG2_E + _BIAS) * _STEPS)
    exponential = bound.view(np.float32)
    for i in range(left.size):
        may_fire[i] = left[i] <= capacity[i] * np.float64(exponential[i]) * _SLACK + _ROUNDING


@kernel(inline="always")
def draw(left: float, v: float, n: int) -> int:
    """Return the spikes of `n` trials at potential `v`, from what `screen` left."""
    count: int = binomial(1.0 - left, 1.0 / (1.0 + np.exp(-v)), n)
    return count
