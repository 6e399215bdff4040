"""What z-values of unconnected pairs look like: from all pairs of the culture, or from shifted spikes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History

Array = NDArray[np.float64]

MAD_TO_SD = 1.4826
DEGREES = 15


def centre_and_spread(z: Array) -> tuple[float, float]:
    """Return median and scaled median deviation of the finite z-values (0 and 1 without any)."""
    known = z[np.isfinite(z)]
    if not known.size:
        return 0.0, 1.0
    centre = float(np.median(known))
    return centre, max(MAD_TO_SD * float(np.median(np.abs(known - centre))), 1e-12)


def empirical_null_q(z: Array) -> Array:
    """Return Benjamini-Hochberg q-values of two-sided tests against the centre and spread of all z.

    Tails are those of Student's t with 15 degrees of freedom: where bursts make few independent events, z of
    unconnected pairs reaches further than normal ones.

    Parameters
    ----------
    z : ndarray, shape (n,)
        NaN stays NaN.
    """
    from scipy.stats import t

    centre, spread = centre_and_spread(z)
    return _q_of(2 * t.sf(np.abs(z - centre) / spread, DEGREES))


def shifted_null_q(z: Array, null: Array) -> Array:
    """Return Benjamini-Hochberg q-values against z-values of recordings whose units were shifted in time.

    The smallest p is 1 over their number, so that few shifts make for few edges.

    Parameters
    ----------
    z, null : ndarray
        NaN in `z` stays NaN; those of `null` are left out.
    """
    sizes = np.sort(np.abs(null[np.isfinite(null)]))
    above = sizes.size - np.searchsorted(sizes, np.abs(z))
    return _q_of(np.where(np.isfinite(z), (1.0 + above) / (1.0 + sizes.size), np.nan))


def shift_units(training: History, rng: np.random.Generator) -> History:
    """Return the training part with every unit's spikes turned round in time, no two by nearly the same amount.

    The shifts lie in random order one to a segment of the recording, in its first half, so that any two differ by half
    a segment or more.
    """
    n, stretch = training.n_bins, training.n_bins / (training.n_units + 1)
    places = rng.permutation(training.n_units) + 1 + 0.5 * rng.uniform(size=training.n_units)
    bins = (training.bins + (places * stretch).astype(np.int64)[training.units]) % n
    order = np.argsort(bins, kind="stable")
    return replace(training, bins=bins[order], units=training.units[order])


def benjamini_hochberg(p: Array) -> Array:
    """Return q-values: the smallest false discovery rate at which each test would be kept."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(p.size, 0, -1)
    q = np.empty_like(p)
    q[order] = np.minimum.accumulate(p[order] * p.size / ranks) if p.size else p
    return np.minimum(q, 1.0)


def _q_of(p: Array) -> Array:
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    q[known] = benjamini_hochberg(p[known])
    return q
