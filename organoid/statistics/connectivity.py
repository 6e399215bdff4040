"""Functional connections between pairs of units, each with its significance."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.correlograms import correlation, cross_correlograms
from organoid.statistics.surrogates import circular_shifts
from organoid.statistics.tiling import sttc

Matrix = NDArray[np.float64]

_CCG_BIN = 4e-4  # s
_CCG_LAG = 0.05
_CCG_WINDOW = (8e-4, 5.8e-3)  # s: where a monosynaptic peak is looked for
_BASELINE_SIGMA = 0.01  # s
_HOLLOW = 0.6  # of the baseline's central weight is left out
_COUNT_BIN = 0.01  # s


def connectivity(
    rec: SpikeRecording,
    method: Literal["ccg", "sttc", "correlation"] = "ccg",
    *,
    n_shifts: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a table of functional connections between units.

    "ccg" (directed): the cross-correlogram of two units (0.4 ms bins) against itself smoothed by a partly hollow
    Gaussian, which a short peak hardly lifts. ``weight`` is the number of spikes in the window of 0.8 to 5.8 ms above
    that baseline, per presynaptic spike (a fifth too small, since the baseline holds part of the peak); ``p`` the
    Poisson probability of the window's highest bin, times the number of bins.
    "sttc" (50 ms) and "correlation" (of counts in 10 ms): undirected; ``weight`` is the coefficient, ``z`` its distance
    from the mean of `n_shifts` recordings in which every unit is shifted circularly, in their standard deviations
    (halfway between a pair's own and that of all pairs), ``p`` from the normal distribution.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    method : {"ccg", "sttc", "correlation"}
    n_shifts, seed : int
        Of the shifted recordings.

    Returns
    -------
    DataFrame
        One row per pair (undirected: pre < post): pre, post, weight, z, p, q (Benjamini-Hochberg over all pairs). Pairs
        whose coefficient is undefined are left out. ``.attrs["method"]``, ``.attrs["directed"]``,
        ``.attrs["n_units"]``.

    Raises
    ------
    RecordingError
        If the method is unknown or the recording holds several wells.

    References
    ----------
    E. Stark, M. Abeles, "Unbiased estimation of precise temporal correlations between spike trains", 2009 (the hollow
    baseline); C. S. Cutts, S. J. Eglen, 2014 (STTC); Y. Benjamini, Y. Hochberg, 1995.

    Examples
    --------
    >>> rec = SpikeRecording([0.1, 0.1, 0.5, 0.5], [0, 1, 0, 1], t_stop=1.0)
    >>> connectivity(rec, "sttc")[["pre", "post"]].to_numpy().tolist()
    [[0, 1]]
    """
    measures: dict[str, Callable[[SpikeRecording], Matrix]] = {
        "sttc": sttc,
        "correlation": lambda one: correlation(one, _COUNT_BIN),
    }
    culture = rec.culture()
    if method == "ccg":
        table = _from_correlograms(culture)
    elif method in measures:
        table = _against_shifts(culture, measures[method], n_shifts, seed)
    else:
        raise RecordingError(f'method {method!r}; expected "ccg", "sttc" or "correlation"')
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    table.attrs.update(method=method, directed=method == "ccg", n_units=culture.n_units)
    return table


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest false discovery rate at which each test is significant; NaN stays and is not counted.

    Parameters
    ----------
    p : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
    """
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    q = np.full(p.shape, np.nan)
    scaled = p[order] * known.size / np.arange(1, known.size + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def _from_correlograms(rec: SpikeRecording) -> pd.DataFrame:
    from scipy.stats import norm, poisson

    bin_width = max(_CCG_BIN, 1 / rec.tick_rate)
    lags, counts = cross_correlograms(rec, bin_width, _CCG_LAG)
    pre, post = np.nonzero(~np.eye(rec.n_units, dtype=bool))
    observed = counts[pre, post].astype(np.float64)
    baseline = observed @ _hollow(lags.size, bin_width)
    inside = (lags >= _CCG_WINDOW[0] - 1e-9) & (lags <= _CCG_WINDOW[1] + 1e-9)
    n_bins = max(int(inside.sum()), 1)
    # A count as high as this or higher, half of the equal ones: the test is then right on average for small counts.
    beyond = poisson.sf(observed[:, inside], baseline[:, inside]) + 0.5 * poisson.pmf(
        observed[:, inside], baseline[:, inside]
    )
    p = np.minimum(n_bins * np.asarray(beyond).min(axis=1, initial=1.0), 1.0)
    fired = np.bincount(rec.spike_units, minlength=rec.n_units)[pre]
    known = (fired > 0) & (baseline[:, inside].sum(axis=1) > 0)
    excess = (observed - baseline)[:, inside].sum(axis=1)
    table = pd.DataFrame(
        {"pre": pre, "post": post, "weight": excess / np.maximum(fired, 1), "z": norm.isf(p / 2), "p": p}
    )
    return pd.DataFrame(table[known].reset_index(drop=True))


def _hollow(n_lags: int, bin_width: float) -> Matrix:
    """Return the weights that make a correlogram's baseline; shape (n_lags, n_lags)."""
    away = np.abs(np.subtract.outer(np.arange(n_lags), np.arange(n_lags))) * bin_width
    weights = np.exp(-0.5 * (away / _BASELINE_SIGMA) ** 2)
    np.fill_diagonal(weights, 1 - _HOLLOW)
    out: Matrix = weights / weights.sum(axis=0)
    return out


def _against_shifts(
    rec: SpikeRecording, measure: Callable[[SpikeRecording], Matrix], n_shifts: int, seed: int
) -> pd.DataFrame:
    from scipy.stats import norm

    if n_shifts < 2:
        raise RecordingError(f"n_shifts is {n_shifts}; expected 2 or more")
    pre, post = np.triu_indices(rec.n_units, 1)
    weight = measure(rec)[pre, post]
    rng = np.random.default_rng(seed)
    null = np.array([measure(circular_shifts(rec, rng))[pre, post] for _ in range(n_shifts)]).reshape(n_shifts, -1)
    known = np.isfinite(weight) & np.isfinite(null).all(axis=0)
    pre, post, weight, null = pre[known], post[known], weight[known], null[:, known]
    own = null.var(axis=0, ddof=1)
    spread = (
        np.sqrt((own + own.mean()) / 2) if own.size else own
    )  # a pair's own variance, drawn towards that of all pairs
    z = np.divide(weight - null.mean(axis=0), spread, out=np.zeros_like(weight), where=spread > 0)
    return pd.DataFrame({"pre": pre, "post": post, "weight": weight, "z": z, "p": 2 * norm.sf(np.abs(z))})
