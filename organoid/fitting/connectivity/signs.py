r"""Is a connection excitatory or inhibitory? Its own evidence together with that of the unit's other connections.

With the standardised z of all pairs, a share :math:`\pi` of them real, with effects of spread :math:`s`:

.. math::

    \frac{p(z_{ji} \mid +)}{p(z_{ji} \mid -)} =
        \frac{(1 - \pi)\,\phi(z) + \pi\, m_+(z)}{(1 - \pi)\,\phi(z) + \pi\, m_-(z)}

with :math:`m_\pm` the density of a normal effect of that sign seen with unit noise. Dale's principle enters softly: a
unit has one sign, but for a share of mixed ones, and no single connection weighs more than a limit.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr

Array = NDArray[np.float64]

MIXED = 0.01  # share of units that may have both signs
LIMIT = 4.0  # most a single connection says about its unit, nats
SURE = 0.95
CLEAR = 3.0  # z-values beyond this tell how many connections there are, and how strong
SHARE_RANGE, LEAST_SPREAD = (0.02, 0.5), 2.0


def positive_probability(z: Array) -> Array:
    """Return the probability that each connection, if there is one, is excitatory.

    Parameters
    ----------
    z : ndarray, shape (pre, post)
        Standardised (unconnected pairs: mean 0, deviation 1); NaN where nothing is known.

    Returns
    -------
    ndarray, shape (pre, post)
    """
    known = np.isfinite(z)
    x = np.where(known, z, 0.0)
    large = x[known & (np.abs(x) > CLEAR)]
    share = float(np.clip(large.size / max(int(known.sum()), 1), *SHARE_RANGE))
    spread = max(float(np.sqrt(np.mean(large**2))) if large.size else 0.0, LEAST_SPREAD)
    plus, minus = _densities(x, spread)
    none = np.log1p(-share) - 0.5 * x**2
    own = np.where(known, plus - minus, 0.0)
    hint = np.logaddexp(none, np.log(share) + plus) - np.logaddexp(none, np.log(share) + minus)
    hint = np.clip(np.where(known, hint, 0.0), -LIMIT, LIMIT)
    others = hint.sum(1, keepdims=True) - hint
    prior = MIXED / 2 + (1 - MIXED) * expit(others)
    return np.asarray(expit(own + np.log(prior / (1 - prior))))


def _densities(z: Array, spread: float) -> tuple[Array, Array]:
    """Return log densities of z under a positive and a negative half-normal effect plus unit noise."""
    total = 1.0 + spread**2
    tilt = z * spread / np.sqrt(total)
    common = -0.5 * z**2 / total - 0.5 * np.log(total) + np.log(2.0)
    return common + log_ndtr(tilt), common + log_ndtr(-tilt)


def decide(probability: Array, q: Array, cut: float) -> NDArray[np.int64]:
    """Return +1, -1, or 0 (undecided: no connection at this cut, or its sign is not sure)."""
    found = q < cut
    sign = np.where(probability >= SURE, 1, np.where(probability <= 1 - SURE, -1, 0))
    return np.where(found, sign, 0).astype(np.int64)
