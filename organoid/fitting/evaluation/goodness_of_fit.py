r"""How well predictions fit what happened: pseudo-R2, calibration, and time-rescaled intervals.

Everything is gathered in one pass over expected counts, in memory that does not depend on duration.

**Pseudo-R2** (McFadden 1974): ``1 - log L / log L0`` with Poisson likelihoods, ``L0`` that of mean counts.

**Calibration**: unit-bins in order of their expected count, cut into ten bands that expect equally many spikes;
the slope is that of observed on expected counts, weighted for Poisson noise (1 where predictions can be trusted).

**Time-rescaled intervals** in discrete time (Haslinger, Pipa & Brown 2010): a bin is ``K`` trials of probability
``p = mu / K``. Between two spikes the summed ``-log(1 - p)``, with ``-log(1 - r p)``, ``r`` uniform, for the trial
of the second, is exponential of mean 1 where the model is right, so ``1 - exp(-sum)`` is uniform. Units that pass
one by one may still fire together in ways the model misses, so the population is tested too (Gerhard, Haslinger &
Pipa 2011): intervals between spikes of *any* unit (trials of one bin in random order), and which unit fired, given
that exactly one did: unit ``i`` with odds ``K_i p_i / (1 - p_i)``. The Kolmogorov-Smirnov distance is the largest
distance of the distribution from the uniform one (0 to 1; with many spikes even small distances are significant).

References
----------
McFadden (1974) in Zarembka (ed.), Frontiers in Econometrics, 105-142.
Haslinger, Pipa & Brown (2010) Neural Computation 22:2477-2506.
Gerhard, Haslinger & Pipa (2011) Neural Computation 23:1452-1483.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import kstwo

from organoid.fitting.evaluation.time_rescaling import GRID, N_LEVELS, rescale, tally
from organoid.models.rng import stream_key

Array = NDArray[np.float64]

N_BANDS = 10
MIN_SPIKES = 20  # of a unit, for numbers of its own


@dataclass(frozen=True)
class Goodness:
    """How well predictions fit.

    Parameters
    ----------
    scores : dict of float
        bits_per_spike, pseudo_r2, calibration_slope, expected_ratio (expected over observed spikes), ks_units,
        ks_population, ks_identity; NaN where undefined.
    per_unit : DataFrame
        bits_per_spike, pseudo_r2, calibration_slope, expected_ratio, ks, ks_p.
    curves : DataFrame
        curve, x, y, n. "calibration": expected and observed spikes per bin of every band, and its unit-bins.
        "units", "population", "identity": distribution y of rescaled values at x, and their number.
    """

    scores: dict[str, float]
    per_unit: pd.DataFrame
    curves: pd.DataFrame


class GoodnessMeter:
    """Gathers what `Goodness` needs, chunk by chunk.

    Parameters
    ----------
    mean : ndarray, shape (n_units,)
        Mean counts a bin of the constant-rate model.
    capacity : ndarray of int64, shape (n_units,)
        Largest number of spikes per bin the model allows.
    """

    def __init__(self, mean: Array, capacity: NDArray[np.int64]) -> None:
        n = mean.size
        self._mean, self._capacity = mean, capacity
        self._gain, self._null, self._spikes = np.zeros(n), np.zeros(n), np.zeros(n)
        self._bins, self._expected, self._observed = (np.zeros((n, N_LEVELS)) for _ in range(3))
        self._waiting = np.zeros(n + 1)
        self._rescaled = np.zeros((n + 2, GRID))
        self._key, self._at = stream_key(0, "goodness"), 0

    def add(self, counts: NDArray[np.int64], expected: Array, observed: NDArray[np.bool_]) -> None:
        """Add consecutive bins: counts and expected counts, shape (n, n_units), and which bins were observed."""
        where, units = np.nonzero(counts * observed[:, None])
        n, mean = counts[where, units], self._mean[units]
        self._gain += score_gain(counts, expected, self._mean, observed)
        null = np.bincount(units, n * np.log(mean) - gammaln(n + 1.0), self._mean.size)
        self._null += null - observed.sum() * self._mean
        self._spikes += np.bincount(units, n, self._mean.size)
        tally(counts, expected, observed, self._bins, self._expected, self._observed)
        p = np.clip(expected / self._capacity, 0.0, 1.0 - 1e-12)
        rescale(counts, p, observed, self._capacity, self._waiting, self._rescaled, self._key, self._at)
        self._at += len(counts)

    def result(self) -> Goodness:
        """Return what was found."""
        pooled_bits, unit_bits = bits(self._gain, self._spikes)
        bands = calibration_bands(self._bins.sum(0), self._expected.sum(0), self._observed.sum(0))
        pooled = self._rescaled[:-2].sum(0)
        rescaled = {"units": pooled, "population": self._rescaled[-2], "identity": self._rescaled[-1]}
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = {
                "bits_per_spike": pooled_bits,
                "pseudo_r2": float(-self._gain.sum() / self._null.sum()),
                "calibration_slope": calibration_slope(bands),
                "expected_ratio": float(self._expected.sum() / self._observed.sum()),
                **{f"ks_{name}": ks_distance(histogram)[0] for name, histogram in rescaled.items()},
            }
            per_unit = self._per_unit(unit_bits)
        curves = [bands.assign(curve="calibration"), *(_curve(name, found) for name, found in rescaled.items())]
        return Goodness(scores, per_unit, pd.concat(curves, ignore_index=True)[["curve", "x", "y", "n"]])

    def _per_unit(self, unit_bits: Array) -> pd.DataFrame:
        enough = self._spikes >= MIN_SPIKES
        slopes = [
            calibration_slope(calibration_bands(*(t[i] for t in (self._bins, self._expected, self._observed))))
            for i in range(enough.size)
        ]
        ks = np.array([ks_distance(histogram) for histogram in self._rescaled[:-2]]).reshape(-1, 2)
        return pd.DataFrame(
            {
                "bits_per_spike": unit_bits,
                "pseudo_r2": np.where(self._spikes > 0, -self._gain / self._null, np.nan),
                "calibration_slope": np.where(enough, slopes, np.nan),
                "expected_ratio": self._expected.sum(1) / self._observed.sum(1),
                "ks": np.where(enough, ks[:, 0], np.nan),
                "ks_p": np.where(enough, ks[:, 1], np.nan),
            }
        ).replace([np.inf, -np.inf], np.nan)


def score_gain(
    counts: NDArray[np.int64], expected: Array, mean: Array, observed: NDArray[np.bool_] | None = None
) -> Array:
    """Return each unit's log-likelihood gain over its mean count, in nats; any model's predictions fit in.

    Parameters
    ----------
    counts : ndarray of int64, shape (n_bins, n_units)
    expected : ndarray, shape (n_bins, n_units)
    mean : ndarray, shape (n_units,)
    observed : ndarray of bool, shape (n_bins,), optional
        Bins that count; all of them unless given.
    """
    seen = np.ones(len(counts), dtype=bool) if observed is None else observed
    where, units = np.nonzero(counts * seen[:, None])
    ratio = np.maximum(expected[where, units], 1e-300) / mean[units]
    at_spikes = np.bincount(units, counts[where, units] * np.log(ratio), mean.size)
    return np.asarray(at_spikes - (seen @ expected - seen.sum() * mean))


def bits(gain: Array, spikes: Array) -> tuple[float, Array]:
    """Return bits/spike, pooled and of every unit, from gains in nats; NaN without spikes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        per_unit = np.where(spikes > 0, gain / (np.log(2) * spikes), np.nan)
    return (float(gain.sum() / (np.log(2) * spikes.sum())) if spikes.sum() else float("nan")), per_unit


def calibration_bands(bins: Array, expected: Array, observed: Array) -> pd.DataFrame:
    """Join levels of expected count into ten bands that expect (about) equally many spikes.

    Parameters
    ----------
    bins, expected, observed : ndarray, shape (n_levels,)
        Unit-bins, expected and observed spikes of every level, in order of expected count.

    Returns
    -------
    DataFrame
        x and y: expected and observed spikes per bin; n: unit-bins. Bands without bins are left out.
    """
    before = np.cumsum(expected) - expected / 2
    band = np.minimum((N_BANDS * before / max(expected.sum(), 1e-300)).astype(np.int64), N_BANDS - 1)
    n, mu, seen = (np.bincount(band, values, minlength=N_BANDS) for values in (bins, expected, observed))
    some = n > 0
    return pd.DataFrame({"x": mu[some] / n[some], "y": seen[some] / n[some], "n": n[some]})


def calibration_slope(bands: pd.DataFrame) -> float:
    """Return the slope of observed on expected counts over bands, weighted for Poisson noise; NaN for one band."""
    x, y = bands["x"].to_numpy(), bands["y"].to_numpy()
    weight = bands["n"].to_numpy() / np.maximum(x, 1e-300)
    if x.size < 2 or not weight.sum():
        return float("nan")
    dx = x - np.average(x, weights=weight)
    spread = float(weight @ dx**2)
    return float(weight @ (dx * y) / spread) if spread > 0 else float("nan")


def ks_distance(histogram: Array) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance from the uniform distribution, and its p-value; NaN without values."""
    n = histogram.sum()
    if n == 0:
        return float("nan"), float("nan")
    distance = float(np.abs(np.cumsum(histogram) / n - np.arange(1, GRID + 1) / GRID).max())
    return distance, float(kstwo.sf(distance, int(n)))


def _curve(name: str, histogram: Array) -> pd.DataFrame:
    """Thin a distribution to 64 points."""
    n = histogram.sum()
    at = np.arange(GRID // 64 - 1, GRID, GRID // 64)
    y: Any = np.cumsum(histogram)[at] / n if n else np.full(at.size, np.nan)
    return pd.DataFrame({"curve": name, "x": (at + 1) / GRID, "y": y, "n": n})
