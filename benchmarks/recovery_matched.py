r"""Recordings by a network of the model that is fitted: escape noise, exponential saturating traces.

.. math::

    V_i(t) = b + g d(t) + \sum_{jk} A_{kji} s_{jk}(t), \qquad y_i(t) \sim \mathrm{Bernoulli}(\mathrm{logistic}(V_i))

with the traces of `organoid.models.spike_response.network` (other time constants than those of the fit), a
refractory and an adapting own history, and a common drive ``d`` that no unit shows. The bias is set by
bisection on the network's rate.
"""

# ruff: noqa: NPY002 (compiled code knows no Generator of its own)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery_wiring import Array, Known, Wiring, observe, ornstein_uhlenbeck, wire

STEP = 1e-3  # s
TAU_EXC, TAU_INH, TAU_SLOW, TAU_RESET, TAU_ADAPT = 0.005, 0.010, 0.060, 0.003, 0.8  # s
SATURATION = 3.0
RESET = -6.0
DRIVE_TAU = 0.3  # s
LOCKED = 3.0  # times the condition's rate
MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Regime:
    """How a condition's network differs from the others.

    Parameters
    ----------
    rate : float, Hz
        Mean rate the bias is set for.
    strength : float, logit
        Typical excitatory synapse.
    slow : float
        Share of each excitatory synapse that decays slowly.
    adaptation : float, logit
        What a spike takes from its own unit for a while.
    drive : float, logit
        Standard deviation of the common drive.
    """

    rate: float
    strength: float
    slow: float = 0.0
    adaptation: float = 0.0
    drive: float = 0.0


REGIMES = {
    "async_2hz": Regime(2.0, 0.8),
    "async_8hz": Regime(8.0, 0.35),
    "bursts": Regime(3.0, 1.2, slow=0.5, adaptation=-0.45),
    "bursts_drive": Regime(3.0, 0.7, slow=0.5, adaptation=-0.45, drive=0.8),
    "half_hidden": Regime(5.0, 0.6),
}


@numba.njit(cache=True)
def _run(
    weights: NDArray[Any], decay: NDArray[Any], drive: NDArray[Any], bias: float, saturation: float, seed: int
) -> Any:
    """Step through ``drive.size`` bins; return the steps and units of the spikes."""
    np.random.seed(seed)
    n_tau, n, _ = weights.shape
    s, total = np.zeros((n_tau, n)), np.zeros((n_tau, n))
    steps, units = [0 for _ in range(0)], [0 for _ in range(0)]
    for t in range(drive.size):
        first = len(units)
        for i in range(n):
            v = bias + drive[t]
            for k in range(n_tau):
                v += total[k, i]
            if np.random.random() < 1.0 / (1.0 + np.exp(-v)):
                steps.append(t)
                units.append(i)
        for k in range(n_tau):
            for i in range(n):
                s[k, i] *= decay[k]
                total[k, i] *= decay[k]
        for m in range(first, len(units)):
            j = units[m]
            for k in range(n_tau):
                jump = 1.0 - s[k, j] / saturation
                s[k, j] += jump
                for i in range(n):
                    total[k, i] += jump * weights[k, j, i]
    return np.array(steps), np.array(units)


def _weights(wiring: Wiring, regime: Regime) -> tuple[Array, Array]:
    """Return ``A`` and the time constants."""
    n = wiring.excitatory.size
    weights = np.zeros((5, n, n))
    exc = np.where(wiring.strength > 0, wiring.strength, 0.0) * regime.strength
    weights[0] = exc * (1 - regime.slow)
    weights[1] = np.where(wiring.strength < 0, wiring.strength, 0.0) * regime.strength
    weights[2] = exc * regime.slow
    weights[3] = RESET * np.eye(n)
    weights[4] = regime.adaptation * np.eye(n)
    return weights, np.array([TAU_EXC, TAU_INH, TAU_SLOW, TAU_RESET, TAU_ADAPT])


def _bias_for(regime: Regime, weights: Array, decay: Array, seed: int, seconds: float = 100.0) -> float:
    """Find the bias that gives the regime's mean rate, by bisection."""
    low, high = -12.0, 0.0
    quiet = regime.drive * ornstein_uhlenbeck(round(seconds / STEP), STEP, DRIVE_TAU, np.random.default_rng(seed))
    for _ in range(14):
        middle = (low + high) / 2
        steps, _ = _run(weights, decay, quiet, middle, SATURATION, seed)
        too_fast = steps.size > regime.rate * seconds * weights.shape[1]
        low, high = (low, middle) if too_fast else (middle, high)
    return (low + high) / 2


def matched(condition: str, duration: float, seed: int) -> Known:
    """Return a recording of a condition; the network depends on the seed, not on the duration.

    Networks that lock into a state far above the condition's rate, as no culture does, are drawn anew.
    """
    regime = REGIMES[condition]
    for attempt in range(MAX_ATTEMPTS):
        rng = np.random.default_rng([seed, 1, attempt] if attempt else [seed, 1])
        wiring = wire(condition, rng)
        weights, tau = _weights(wiring, regime)
        decay = np.exp(-STEP / tau)
        bias = _bias_for(regime, weights, decay, seed)
        if not _locks(regime, weights, decay, bias, seed + 1):
            break
    n_steps = round(duration / STEP)
    drive = regime.drive * ornstein_uhlenbeck(n_steps, STEP, DRIVE_TAU, rng)
    steps, units = _run(weights, decay, drive, bias, SATURATION, seed + 1)
    return observe((steps + 0.5) * STEP, units, wiring, duration, np.random.default_rng([seed, 2]))


def _locks(regime: Regime, weights: Array, decay: Array, bias: float, seed: int, seconds: float = 300.0) -> bool:
    """Tell whether a network runs at several times the rate it is meant to have."""
    quiet = regime.drive * ornstein_uhlenbeck(round(seconds / STEP), STEP, DRIVE_TAU, np.random.default_rng(seed))
    steps, _ = _run(weights, decay, quiet, bias, SATURATION, seed)
    return bool(steps.size > LOCKED * regime.rate * seconds * weights.shape[1])
