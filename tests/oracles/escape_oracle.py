"""The escape-noise LIF network and its forced fit in plain numpy, from the equations: shares no code with it.

Everything is dense, in float64 and slow. Traces after several spikes of one step use the closed form
``s -> S - (S - s)(1 - 1/S)^m`` instead of one spike at a time, and binomial counts come from scipy's distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import binom

Array = NDArray[np.float64]

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
ACTIVITY_MEMORY = 2.0  # s


# --- random numbers ---------------------------------------------------------------------------------------------


def mix(z: int) -> int:
    """Finaliser of SplitMix64, on Python integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


def splitmix64(seed: int, n: int) -> list[int]:
    """The first `n` outputs of the sequential generator of Steele, Lea & Flood."""
    state, out = seed, []
    for _ in range(n):
        state = (state + _GOLDEN) & _WORD
        out.append(mix(state))
    return out


def uniform_at(key: int, counter: int) -> float:
    """Number in [0, 1) from the upper 53 bits of output number `counter` of the stream that starts at `key`."""
    return (mix((key + (counter + 1) * _GOLDEN) & _WORD) >> 11) / 2**53


def key_of(*words: int | str) -> int:
    """Fold a seed and names into a key; a name is its length and its bytes, eight to a little-endian number."""
    numbers: list[int] = []
    for word in words:
        if isinstance(word, str):
            data = word.encode()
            numbers += [len(data), *(int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8))]
        else:
            numbers.append(word & _WORD)
    key = 0
    for number in numbers:
        key = mix((key + number + _GOLDEN) & _WORD)
    return key


# --- the network ------------------------------------------------------------------------------------------------


def features_of(fields: Any, q: Array) -> Array:
    """Standardised, clipped log fields of all units, their standardised products, then the fields of regions."""
    z = np.clip((np.log(1 + 4 * q / fields.mean) - fields.shift) / fields.scale, fields.low, fields.high)
    if not len(fields.product_shift):
        return z
    z, local = z[: len(z) - len(fields.region)], z[len(z) - len(fields.region) :]
    paired = next(m for m in range(len(z) + 1) if m * (m + 1) // 2 == len(fields.product_shift))  # the first ones
    products = np.array([z[a] * z[b] for a in range(paired) for b in range(a, paired)])
    return np.concatenate([z, (products - fields.product_shift) / fields.product_scale, local])


def entering(fields: Any, counts: NDArray[Any], more: float = 0.0) -> Array:
    """What spikes of one step add to each field; `more` of units unseen, spread over regions by their size."""
    everyone = np.full(len(fields.decay) - len(fields.region), counts.sum() + more)
    local = [sum(counts[fields.home == r]) + more * np.mean(fields.home == r) for r in fields.region]
    return np.concatenate([everyone, local])


def potential_of(p: Any, traces: Array, q: Array, extra: Array | float = 0.0) -> Array:
    """``V`` of every unit, from the traces themselves (no running sum)."""
    synaptic = np.zeros(len(p.bias))
    for k in range(len(p.tau)):
        synaptic += traces[k] @ p.weights[k]
    drive = np.clip(synaptic, p.drive_low, p.drive_high)
    return np.minimum(p.bias + drive + features_of(p.fields, q) @ p.field_weights + extra, p.ceiling)


def after_spikes(traces: Array, counts: NDArray[Any], saturation: float) -> Array:
    """Traces after each unit's `counts` spikes of one step."""
    if np.isinf(saturation):
        return traces + counts
    return saturation - (saturation - traces) * (1 - 1 / saturation) ** counts


@dataclass
class Run:
    """What the reference did."""

    counts: NDArray[np.int64]  # own spikes, (n_steps, n_units)
    traces: Array
    population: Array
    activity: float
    runaway: bool


def simulate(
    p: Any,
    key: int,
    n_steps: int,
    *,
    traces: Array | None = None,
    population: Array | None = None,
    forced: NDArray[Any] | None = None,
    field_weight: float = 1.0,
    volley: Array | None = None,
    extra: Array | None = None,
) -> Run:
    """Run the network one step at a time with the uniforms of stream `key`; `extra` is added to ``V`` step by step."""
    n = len(p.bias)
    s = np.zeros((len(p.tau), n)) if traces is None else traces.copy()
    q = p.fields.mean.copy() if population is None else population.copy()
    forced = np.zeros((n_steps, n), dtype=int) if forced is None else forced
    volley = np.zeros(n_steps) if volley is None else volley
    extra = np.zeros((n_steps, n)) if extra is None else extra
    out, activity = [], 0.0
    for t in range(n_steps):
        probability = 1 / (1 + np.exp(-potential_of(p, s, q, extra[t])))
        own = np.zeros(n, dtype=np.int64)
        for i in range(n):
            left = int(p.capacity[i] - forced[t, i])
            if left > 0:
                levels = binom.cdf(np.arange(left), left, probability[i])
                own[i] = int(np.sum(uniform_at(key, t * n + i) >= levels))
        s = s * np.exp(-p.dt / p.tau)[:, None]
        s = after_spikes(s, own + forced[t], p.saturation)
        q = q * p.fields.decay + entering(p.fields, own + field_weight * forced[t], volley[t])
        activity = activity * np.exp(-p.dt / ACTIVITY_MEMORY) + (own.sum() + forced[t].sum()) / ACTIVITY_MEMORY
        out.append(own)
        if activity > p.rate_limit:
            return Run(np.array(out), s, q, activity, True)
    return Run(np.array(out).reshape(-1, n), s, q, activity, False)


# --- the forced fit ---------------------------------------------------------------------------------------------


def forced_rows(counts: NDArray[Any], tau: Array, saturation: float, fields: Any, bin_width: float) -> Array:
    """Features of every bin from the spikes before it: traces by time constant and unit, fields, 1."""
    s = np.zeros((len(tau), counts.shape[1]))
    q = fields.mean.copy()
    rows = []
    for now in counts:
        rows.append(np.concatenate([s.ravel(), features_of(fields, q), [1.0]]))
        s = after_spikes(s * np.exp(-bin_width / tau)[:, None], now, saturation)
        q = q * fields.decay + entering(fields, now)
    return np.array(rows)


def expected_counts(p: Any, rows: Array) -> Array:
    """``K logistic(V)`` for each row of features."""
    n_couplings = len(p.tau) * len(p.bias)
    drive = np.clip(rows[:, :n_couplings] @ p.weights.reshape(n_couplings, -1), p.drive_low, p.drive_high)
    potential = np.minimum(drive + rows[:, n_couplings:-1] @ p.field_weights + p.bias, p.ceiling)
    return np.asarray(p.capacity / (1 + np.exp(-potential)))


def bits_per_spike(counts: NDArray[Any], expected: Array, mean: Array) -> float:
    """The held-out score of dense counts against dense predictions."""
    total = 0.0
    for n, mu, mu0 in zip(counts.ravel(), expected.ravel(), np.broadcast_to(mean, counts.shape).ravel()):
        total += n * np.log(mu / mu0) - (mu - mu0)
    return float(total / (np.log(2) * counts.sum()))


@dataclass
class Convex:
    """The penalised likelihood of one unit in float64."""

    rows: Array
    weights: Array
    spike_term: Array
    capacity: float
    ridge: Array

    def value(self, theta: Array) -> float:
        softplus = np.logaddexp(0.0, self.rows @ theta)
        penalty = 0.5 * np.sum(self.ridge * theta**2)
        return float(self.capacity * self.weights @ softplus - self.spike_term @ theta + penalty)

    def gradient(self, theta: Array) -> Array:
        p = 1 / (1 + np.exp(-(self.rows @ theta)))
        return np.asarray(self.rows.T @ (self.weights * self.capacity * p) - self.spike_term + self.ridge * theta)

    def hessian(self, theta: Array) -> Array:
        p = 1 / (1 + np.exp(-(self.rows @ theta)))
        scaled = self.rows * (self.weights * self.capacity * p * (1 - p))[:, None]
        return np.asarray(scaled.T @ self.rows + np.diag(self.ridge))

    def optimum(self) -> Array:
        """Minimise with scipy, tightly."""
        start = np.zeros(self.rows.shape[1])
        rough = minimize(self.value, start, jac=self.gradient, method="L-BFGS-B", options={"maxiter": 2000})
        fine = minimize(
            self.value,
            rough.x,
            jac=self.gradient,
            hess=self.hessian,
            method="trust-exact",
            options={"gtol": 1e-9, "maxiter": 500},
        )
        return np.asarray(fine.x)
