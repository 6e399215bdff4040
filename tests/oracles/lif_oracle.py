"""Back-propagation through time by hand, in numpy, for a recurrent (adaptive) LIF network: shares no code with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One network, one trial: weights (tau, pre, post), bias and increment (unit), input (time, unit)."""

    weight: Array
    bias: Array
    increment: Array
    x: Array
    decay: float
    syn: Array
    rho: float
    delay: int
    refractory: int
    hard: bool


def surrogate_slope(v: Array, slope: float) -> Array:
    """Derivative of the normalised fast sigmoid."""
    return 0.5 * slope / (1 + slope * np.abs(v)) ** 2


def forward(p: Problem) -> dict[str, Array]:
    """Run the network; every quantity that the backward pass needs, time first."""
    n_steps, n = p.x.shape
    keys = ("z", "gap", "v", "a", "ready")
    out = {k: np.zeros((n_steps, n)) for k in keys}
    out["s"] = np.zeros((n_steps, len(p.syn), n))
    s, v, a, left = np.zeros((len(p.syn), n)), np.zeros(n), np.zeros(n), np.zeros(n)
    for t in range(n_steps):
        arriving = out["z"][t - p.delay] if t >= p.delay else np.zeros(n)
        s = p.syn[:, None] * s + arriving
        drive = p.bias + p.x[t] + sum(s[k] @ p.weight[k] for k in range(len(p.syn)))
        ready = left == 0
        v_now = np.where(ready, p.decay * v + (1 - p.decay) * drive, v)
        gap = v_now - 1 - p.increment * a
        z = ((gap >= 0) & ready).astype(float)
        for key, value in zip(keys, (z, gap, v_now, a, ready)):
            out[key][t] = value
        out["s"][t] = s
        v = v_now * (1 - z) if p.hard else v_now - z * (1 + p.increment * a)
        left = np.where(z == 1, p.refractory, np.maximum(left - 1, 0))
        a = p.rho * a + z
    return out


def backward(p: Problem, f: dict[str, Array], g_z: Array, slope: float) -> dict[str, Array]:
    """Gradients of sum(g_z * z) by the chain rule, one step at a time from the last."""
    n_steps, n = p.x.shape
    grads = {k: np.zeros_like(getattr(p, k)) for k in ("weight", "bias", "increment", "x")}
    lam_s = np.zeros((n_steps + p.delay, len(p.syn), n))
    lam_v, lam_a = np.zeros(n), np.zeros(n)
    for t in range(n_steps - 1, -1, -1):
        z, ready, theta = f["z"][t], f["ready"][t], 1 + p.increment * f["a"][t]
        d_z = g_z[t] + lam_s[t + p.delay].sum(0) + lam_a
        d_z -= lam_v * (f["v"][t] if p.hard else theta)
        d_gap = ready * surrogate_slope(f["gap"][t], slope) * d_z
        d_theta = -d_gap - (0 if p.hard else 1) * lam_v * z
        d_v = d_gap + lam_v * ((1 - z) if p.hard else 1)
        grads["increment"] += d_theta * f["a"][t]
        lam_a = p.rho * lam_a + d_theta * p.increment
        d_drive = ready * (1 - p.decay) * d_v
        lam_v = np.where(ready == 1, p.decay, 1.0) * d_v
        grads["bias"] += d_drive
        grads["x"][t] = d_drive
        after = lam_s[t + 1] if t + 1 < n_steps else 0 * lam_s[t]
        for k in range(len(p.syn)):
            grads["weight"][k] += np.outer(f["s"][t, k], d_drive)
            lam_s[t, k] = p.syn[k] * after[k] + p.weight[k] @ d_drive
    return grads
