r"""Pairwise measures a user would take instead of a fit, written here from their published formulas.

All give one signed number an ordered pair: excitation high, inhibition low. Their free settings were
chosen with the true couplings of development seeds, which no label-free method could do: an advantage to them.

References
----------
Cutts & Eglen (2014), J Neurosci 34:14288 (spike time tiling; made directed by one-sided tiles).
Stark & Abeles (2009), J Neurosci Methods 179:90 (hollow Gaussian predictor of correlograms).
De Blasi et al. (2019), J Neurosci Methods 312:169 (total spiking probability edges).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

MAX_LAG = 60  # bins


def correlograms(counts: Counts, max_lag: int = MAX_LAG) -> Array:
    """Return counts of spike pairs by lag, shape (pre, post, 2 max_lag + 1); positive lag: post after pre."""
    n = counts.shape[1]
    out = np.zeros((n, n, 2 * max_lag + 1))
    bins, units = np.nonzero(counts)
    values = counts[bins, units].astype(float)
    ahead = np.arange(bins.size)
    for step in range(1, bins.size):
        ahead = ahead[: bins.size - step]
        lag = bins[step:][: ahead.size] - bins[: ahead.size]
        near = lag <= max_lag
        if not near.any():
            break
        a, b = np.flatnonzero(near), np.flatnonzero(near) + step
        weight = values[a] * values[b]
        flat = (units[a] * n + units[b]) * (max_lag + 1) + lag[near]
        out[:, :, max_lag:] += np.bincount(flat, weight, n * n * (max_lag + 1)).reshape(n, n, -1)
    later = out[:, :, max_lag + 1 :].copy()
    out[:, :, :max_lag] = later.transpose(1, 0, 2)[:, :, ::-1]
    middle = out[:, :, max_lag]
    out[:, :, max_lag] = middle + middle.T
    return out


def directed_sttc(counts: Counts, window: int = 10) -> Array:
    r"""Return the directed spike time tiling coefficient.

    .. math:: \tfrac12 \Big(\frac{P_j - T_i^-}{1 - P_j T_i^-} + \frac{P_i - T_j^+}{1 - P_i T_j^+}\Big)

    ``P_j``: share of j's spikes followed by one of i within the window; ``T_i^-``: share of bins
    followed by one of i; ``P_i``, ``T_j^+``: the same backwards.
    """
    fired = counts > 0
    n_bins, n = fired.shape
    cumulative = np.concatenate([np.zeros((1, n), np.int64), np.cumsum(fired, axis=0)])
    at = np.arange(n_bins)
    after = cumulative[np.minimum(at + 1 + window, n_bins)] - cumulative[at + 1] > 0  # a spike within the next bins
    before = cumulative[at] - cumulative[np.maximum(at - window, 0)] > 0
    spikes = np.maximum(fired.sum(0), 1)
    x = fired.astype(np.float32)
    p_pre = (x.T @ after.astype(np.float32)).astype(float) / spikes[:, None]
    p_post = (before.astype(np.float32).T @ x).astype(float) / spikes[None, :]
    t_post, t_pre = after.mean(0)[None, :], before.mean(0)[:, None]
    first = (p_pre - t_post) / np.maximum(1 - p_pre * t_post, 1e-9)
    return np.asarray((first + (p_post - t_pre) / np.maximum(1 - p_post * t_pre, 1e-9)) / 2)


def hollow_correlogram(counts: Counts, width: float = 15.0, first: int = 1, last: int = 10) -> Array:
    """Return how far the correlogram lies from its hollow-Gaussian prediction over the given lags, in Poisson units."""
    seen = correlograms(counts)
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    kernel = np.exp(-0.5 * (lags / width) ** 2)
    kernel[MAX_LAG] *= 0.4  # 60 % of the middle is left out
    weight = np.array([np.convolve(np.ones(lags.size), kernel, "same")])
    smooth = np.apply_along_axis(np.convolve, 2, seen, kernel, "same") / weight
    window = slice(MAX_LAG + first, MAX_LAG + last + 1)
    expected = np.maximum(smooth[:, :, window].sum(2), 0.5)
    return np.asarray((seen[:, :, window].sum(2) - expected) / np.sqrt(expected))


def tspe(counts: Counts, max_delay: int = 25, surround: int = 8, observed: int = 6) -> Array:
    """Return total spiking probability edges: filtered normalised correlograms, all window sizes summed."""
    n_bins = len(counts)
    x = counts.astype(float)
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-12)
    lags = slice(MAX_LAG - surround - observed, MAX_LAG + max_delay + 2 * surround + 2 * observed)
    covariance = correlograms(counts)[:, :, lags] / n_bins - (mean[:, None] * mean[None, :])[:, :, None]
    normal = covariance / (deviation[:, None] * deviation[None, :])[:, :, None]
    total = np.zeros(normal.shape)
    for a in range(3, surround + 1):
        for b in range(2, observed + 1):
            edge = np.concatenate([np.full(a, -1 / a), np.full(b, 2 / b), np.full(a, -1 / a)])
            both = np.convolve(edge, np.ones(b))
            total += np.apply_along_axis(np.convolve, 2, normal, both, "same")
    part = total[:, :, surround + observed + 1 : surround + observed + 1 + max_delay]
    best = np.abs(part).argmax(2)[:, :, None]
    return np.asarray(np.take_along_axis(part, best, 2)[:, :, 0])


PEERS: dict[str, Callable[[Counts], Array]] = {
    "dsttc": directed_sttc,
    "hollow_ccg": hollow_correlogram,
    "tspe": tspe,
}
