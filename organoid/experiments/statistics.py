r"""Paired comparisons over seeds: permutation p, effect size and its interval.

With differences :math:`d_s` of the seeds, the p is that of the sign-flip test (Fisher's randomisation), exact up to 16
seeds and with 20,000 draws beyond. The effect size is :math:`d_z = \bar d / s_d`; its interval, and that of the mean
difference, are percentiles of bootstrap samples of seeds.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_EXACT_UP_TO, _DRAWS, _BOOTSTRAPS = 16, 20_000, 4000


@dataclass(frozen=True)
class PairedComparison:
    """How one group of numbers differs from another, pair by pair.

    Parameters
    ----------
    n : int
        Pairs in which both are known.
    mean_difference, low, high : float
        First minus second, and its 95 % interval.
    effect, effect_low, effect_high : float
        ``d_z`` and its 95 % interval; NaN where all differences are the same.
    p : float
        Two-sided.
    """

    n: int
    mean_difference: float
    low: float
    high: float
    effect: float
    effect_low: float
    effect_high: float
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Return all values."""
        return asdict(self)


def compare_paired(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> PairedComparison:
    """Compare two groups of numbers pair by pair; pairs with a missing number are left out.

    Parameters
    ----------
    first, second : array_like, shape (n,)
    seed : int
        Of draws and bootstrap.

    Returns
    -------
    PairedComparison
        NaN everywhere but in `n` for fewer than two pairs.

    Examples
    --------
    >>> compare_paired([2.0, 3.0, 4.0, 5.0], [1.0, 1.0, 1.0, 1.0]).p
    0.125
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    d = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if d.size < 2:
        return PairedComparison(int(d.size), *(float("nan"),) * 7)
    rng = np.random.default_rng(seed)
    samples = d[rng.integers(0, d.size, (_BOOTSTRAPS, d.size))]
    low, high = np.percentile(samples.mean(axis=1), [2.5, 97.5])
    effects = _effect(samples)
    known = effects[np.isfinite(effects)]
    effect_low, effect_high = np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)
    effect = float(_effect(d[None])[0])
    p = sign_flip_p(d, rng)
    return PairedComparison(
        int(d.size), float(d.mean()), float(low), float(high), effect, float(effect_low), float(effect_high), p
    )


def _effect(samples: Array) -> Array:
    """Return mean over standard deviation of each row; NaN where a row does not vary."""
    spread = samples.std(axis=1, ddof=1)
    size = np.abs(samples).max(axis=1)
    varies = spread > 1e-12 * np.maximum(size, 1e-300)
    return np.where(varies, samples.mean(axis=1) / np.where(varies, spread, 1.0), np.nan)


def sign_flip_p(d: Array, rng: np.random.Generator) -> float:
    """Return the two-sided p of a mean difference under random signs."""
    seen = abs(d.sum()) * (1 - 1e-12)
    if d.size <= _EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(1 << d.size)[:, None] >> np.arange(d.size)) & 1)
        return float(np.mean(np.abs(signs @ d) >= seen))
    signs = rng.choice([-1.0, 1.0], (_DRAWS, d.size))
    return float((1 + np.sum(np.abs(signs @ d) >= seen)) / (1 + _DRAWS))


def mean_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of the known values and its 95 % bootstrap interval."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return (float("nan"),) * 3
    samples = known[np.random.default_rng(seed).integers(0, known.size, (_BOOTSTRAPS, known.size))].mean(axis=1)
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(known.mean()), float(low), float(high)
