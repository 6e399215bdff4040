"""Size and significance of a difference between two groups of cultures."""

from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError

_EXACT = 20_000  # arrangements up to which a permutation test goes through all
_N_PERMUTATIONS = 9_999
MIN_CULTURES = 3


def two_groups(a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> dict[str, Any]:
    """Return means, difference and tests of two groups of values, one per culture, by their columns."""
    from scipy.stats import mannwhitneyu

    known = min(a.size, b.size) >= MIN_CULTURES
    g, low, high = hedges_g(a, b) if known else (np.nan, np.nan, np.nan)
    varied = known and np.ptp(np.concatenate([a, b])) > 0
    return {
        "n_a": a.size,
        "n_b": b.size,
        "mean_a": float(a.mean()) if a.size else np.nan,
        "mean_b": float(b.mean()) if b.size else np.nan,
        "difference": float(b.mean() - a.mean()) if a.size and b.size else np.nan,
        "hedges_g": g,
        "g_low": low,
        "g_high": high,
        "p_mann_whitney": float(mannwhitneyu(a, b).pvalue) if varied else np.nan,
        "p_permutation": permutation_p(a, b, rng) if varied else np.nan,
    }


def hedges_g(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the standardised difference ``b - a``, corrected for small samples, and its 95 % interval.

    Parameters
    ----------
    a, b : ndarray
        Two values or more each.

    Returns
    -------
    g, low, high : float
    """
    n, m = a.size, b.size
    pooled = np.sqrt(((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2))
    if not pooled > 0:
        return float("nan"), float("nan"), float("nan")
    g = float((1 - 3 / (4 * (n + m) - 9)) * (b.mean() - a.mean()) / pooled)
    error = np.sqrt((n + m) / (n * m) + g**2 / (2 * (n + m)))
    return g, float(g - 1.96 * error), float(g + 1.96 * error)


def permutation_p(a: NDArray[np.float64], b: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Return the two-sided probability of so large a difference of means when values change groups.

    Parameters
    ----------
    a, b : ndarray
    rng : Generator

    Returns
    -------
    float
        Exact where there are 20,000 arrangements or fewer, otherwise from 9,999 random ones.
    """
    values = np.concatenate([a, b])
    n_all = comb(values.size, a.size)
    if n_all <= _EXACT:
        chosen = _arrangements(values.size, a.size)
    else:
        chosen = np.argsort(rng.random((_N_PERMUTATIONS, values.size)), axis=1)[:, : a.size]
    inside = values[chosen].sum(axis=1)
    difference = np.abs((values.sum() - inside) / b.size - inside / a.size)
    seen = abs(b.mean() - a.mean())
    beyond = int(np.sum(difference >= seen - 1e-12 * max(float(np.abs(values).max()), 1e-300)))
    return beyond / n_all if n_all <= _EXACT else (beyond + 1) / (_N_PERMUTATIONS + 1)


@lru_cache(maxsize=4)
def _arrangements(n: int, n_first: int) -> NDArray[np.int64]:
    """Return all ways to choose the first group; shape (n_ways, n_first)."""
    return np.array(list(combinations(range(n), n_first)), dtype=np.int64)


def mixed_model(
    table: pd.DataFrame, feature: str, pair: tuple[str, str], group: str, culture: str, age: str | None
) -> dict[str, float]:
    """Fit feature ~ group (+ age), a random intercept per culture; return mixed_difference and mixed_p."""
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError:
        raise RecordingError('mixed models need statsmodels; pip install "organoid[analysis]"') from None
    import warnings

    undefined = {"mixed_difference": float("nan"), "mixed_p": float("nan")}
    columns = [group, culture, feature, *([age] if age is not None and age in table else [])]
    rows = table[table[group].isin(pair)][columns].dropna()
    design = pd.DataFrame({"intercept": 1.0, "second": (rows[group] == pair[1]).astype(float)})
    if age is not None and age in rows and rows[age].nunique() > 1:
        design["age"] = rows[age] - rows[age].mean()
    counts = rows.groupby(group)[culture].nunique()

    repeated = len(rows) > rows[culture].nunique()  # else there is nothing to separate within from between
    if len(counts) < 2 or counts.min() < MIN_CULTURES or rows[feature].nunique() < 2 or not repeated:
        return undefined
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = MixedLM(rows[feature].astype(float), design, groups=rows[culture]).fit(reml=True)
    except (np.linalg.LinAlgError, ValueError):
        return undefined
    return {"mixed_difference": float(fitted.params["second"]), "mixed_p": float(fitted.pvalues["second"])}
