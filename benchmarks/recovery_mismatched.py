r"""Recordings by a network that shares nothing with the model that is fitted.

Izhikevich neurons (regular and fast spiking, every one different) with conductance synapses, a slow NMDA-like part
of excitation, short-term depression (Tsodyks & Markram), transmission delays of 1 to 4 ms, private noise
conductances and a common current; integrated in steps of 0.5 ms.

References
----------
Izhikevich (2003), IEEE Trans Neural Netw 14:1569. Tsodyks & Markram (1997), PNAS 94:719.
"""

# ruff: noqa: NPY002 (compiled code knows no Generator of its own)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery_wiring import Array, Known, n_units, observe, ornstein_uhlenbeck, wire

STEP = 0.5  # ms, the membrane in halves of it
TAU_AMPA, TAU_GABA, TAU_NMDA = 4.0, 8.0, 80.0  # ms
E_INH = -75.0  # mV
INHIBITION = 4.0  # conductance of an inhibitory synapse of strength 1, against an excitatory one
NOISE_RATE, NOISE_JUMP = 0.3, 0.06  # events per ms, conductance
USE, TAU_RECOVER = 0.4, 600.0  # depression: share used by a spike, ms
DRIVE_TAU = 0.3  # s
DELAY_STEPS = (2, 9)  # 1 to 4 ms


@dataclass(frozen=True)
class Regime:
    """How a condition's network differs from the others.

    Parameters
    ----------
    rate : float, Hz
        Mean rate the common current is set for.
    strength : float
        Conductance of a typical excitatory synapse, at rest.
    nmda : float
        Slow conductance a spike opens, as a share of the fast one.
    adaptation : float
        Jump of the recovery variable with a spike.
    drive : float
        Standard deviation of the common current.
    """

    rate: float
    strength: float
    nmda: float = 0.0
    adaptation: float = 6.0
    drive: float = 0.0


REGIMES = {
    "async_2hz": Regime(2.0, 0.06),
    "async_8hz": Regime(8.0, 0.04),
    "bursts": Regime(3.0, 0.15, nmda=1.0),
    "bursts_drive": Regime(3.0, 0.1, nmda=0.8, drive=2.0),
    "half_hidden": Regime(5.0, 0.06),
}


@numba.njit(cache=True)
def _run(
    fast: NDArray[Any],
    inhibition: NDArray[Any],
    nmda: float,
    delay: NDArray[Any],
    neurons: NDArray[Any],
    drive: NDArray[Any],
    current: float,
    constants: NDArray[Any],
    seed: int,
) -> Any:
    """Integrate ``drive.size`` steps; `neurons` rows are a, b, c, d; return steps and units of the spikes."""
    np.random.seed(seed)
    step, tau_ampa, tau_gaba, tau_nmda, e_inh, noise_rate, noise_jump, use, tau_recover = constants
    n, n_ring = fast.shape[0], int(delay.max()) + 1
    v, w = np.full(n, -65.0), np.full(n, -13.0)
    ampa, gaba, slow, noise_exc, noise_inh = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    ring = np.zeros((n_ring, 2, n))
    resource, last = np.ones(n), np.zeros(n)
    steps, units = [0 for _ in range(0)], [0 for _ in range(0)]
    keep_ampa, keep_gaba, keep_nmda = np.exp(-step / tau_ampa), np.exp(-step / tau_gaba), np.exp(-step / tau_nmda)
    for t in range(drive.size):
        now = t % n_ring
        for _ in range(np.random.poisson(noise_rate * step * n)):
            noise_exc[np.random.randint(n)] += noise_jump
        for _ in range(np.random.poisson(0.5 * noise_rate * step * n)):
            noise_inh[np.random.randint(n)] += noise_jump
        for i in range(n):
            ampa[i] = ampa[i] * keep_ampa + ring[now, 0, i]
            slow[i] = slow[i] * keep_nmda + nmda * ring[now, 0, i]
            gaba[i] = gaba[i] * keep_gaba + ring[now, 1, i]
            ring[now, 0, i] = 0.0
            ring[now, 1, i] = 0.0
            noise_exc[i] *= keep_ampa
            noise_inh[i] *= keep_gaba
            block = 1.0 / (1.0 + 0.28 * np.exp(-0.062 * v[i]))
            g_exc = ampa[i] + noise_exc[i] + slow[i] * block
            total = current + drive[t] - g_exc * v[i] + (gaba[i] + noise_inh[i]) * (e_inh - v[i])
            for _ in range(2):
                v[i] += 0.5 * step * (0.04 * v[i] * v[i] + 5.0 * v[i] + 140.0 - w[i] + total)
            w[i] += step * neurons[0, i] * (neurons[1, i] * v[i] - w[i])
            if v[i] >= 30.0:
                v[i] = neurons[2, i]
                w[i] += neurons[3, i]
                steps.append(t)
                units.append(i)
                resource[i] = 1.0 - (1.0 - resource[i]) * np.exp(-(t - last[i]) * step / tau_recover)
                last[i] = t
                for p in range(n):
                    at = (t + delay[i, p]) % n_ring
                    ring[at, 0, p] += fast[i, p] * resource[i]
                    ring[at, 1, p] += inhibition[i, p] * resource[i]
                resource[i] *= 1.0 - use
    return np.array(steps), np.array(units)


def _neurons(excitatory: NDArray[np.bool_], adaptation: float, rng: np.random.Generator) -> Array:
    """Return a, b, c, d of every neuron: regular spiking to chattering, and fast spiking."""
    n = excitatory.size
    r = rng.uniform(size=n)
    a = np.where(excitatory, 0.02, 0.02 + 0.08 * r)
    b = np.where(excitatory, 0.2, 0.25 - 0.05 * r)
    c = np.where(excitatory, -65.0 + 8.0 * r**2, -65.0)
    d = np.where(excitatory, adaptation + 2.0 * (1 - r), 2.0)
    return np.stack([a, b, c, d])


def mismatched(condition: str, duration: float, seed: int) -> Known:
    """Return a recording of a condition; the network depends on the seed, not on the duration."""
    rng = np.random.default_rng([seed, 1])
    n, regime = n_units(condition), REGIMES[condition]
    wiring = wire(condition, rng)
    fast = np.where(wiring.strength > 0, wiring.strength, 0.0) * regime.strength
    inhibition = np.where(wiring.strength < 0, -wiring.strength, 0.0) * regime.strength * INHIBITION
    delay = rng.integers(*DELAY_STEPS, size=(n, n))
    neurons = _neurons(wiring.excitatory, regime.adaptation, rng)
    constants = np.array([STEP, TAU_AMPA, TAU_GABA, TAU_NMDA, E_INH, NOISE_RATE, NOISE_JUMP, USE, TAU_RECOVER])

    def run(current: float, seconds: float, noise_seed: int, drive_rng: np.random.Generator) -> tuple[Array, Array]:
        n_steps = round(seconds * 1e3 / STEP)
        drive = regime.drive * ornstein_uhlenbeck(n_steps, STEP * 1e-3, DRIVE_TAU, drive_rng)
        steps, units = _run(fast, inhibition, regime.nmda, delay, neurons, drive, current, constants, noise_seed)
        return (steps + 0.5) * STEP * 1e-3, units

    low, high = -30.0, 20.0
    for _ in range(12):
        middle = (low + high) / 2
        too_fast = run(middle, 60.0, seed, np.random.default_rng(seed))[0].size > regime.rate * 60.0 * n
        low, high = (low, middle) if too_fast else (middle, high)
    times, units = run((low + high) / 2, duration, seed + 1, rng)
    return observe(times, units, wiring, duration, np.random.default_rng([seed, 2]))
