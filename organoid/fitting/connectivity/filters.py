r"""What a synapse of this culture looks like: the kernels with which its pairs are most evidently connected.

Membranes, synapses and delays differ from culture to culture, and excitation from inhibition. A pair's z-value is
largest for the kernel its connection really has, so the kernel is learned from all pairs together, without knowing
which are connected. With z standardised by its own centre and spread, a share :math:`\pi` of pairs connected, and
effects half-normal of spread :math:`s`, the evidence of a kernel for connections of a sign is

.. math::

    \sum_{ij} \log\Big(1 - \pi + \pi\, \frac{m_\pm(z_{ij})}{\phi(z_{ij})}\Big), \qquad
    \frac{m_\pm(z)}{\phi(z)} = \frac{2}{\sqrt{1 + s^2}}\, e^{z^2 s^2 / 2 (1 + s^2)}\,
                               \Phi\Big(\frac{\pm z s}{\sqrt{1 + s^2}}\Big)

largest over a few :math:`\pi` and :math:`s` (empirical Bayes with a spike and a slab). A standard kernel is kept
unless another gains more than a few nats, and where pairs are few. Pairs that are clearly of one sign with the
standard kernel have no say in the other sign's: to a kernel that starts late, a connection that acts at once looks
inverted.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from organoid.fitting.connectivity.nulls import centre_and_spread
from organoid.fitting.connectivity.pairs import PairWeights

Array = NDArray[np.float64]

STANDARD = (0.0, 0.3)  # of the traces of 2 and 40 ms, that of 8 ms being 1
RISES = (-1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)  # below 0: the effect starts late
TAILS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
SHARES, SPREADS = (0.02, 0.05, 0.1, 0.2), (1.5, 3.0, 6.0)
CHANGE = 3.0  # nats another kernel has to gain
OTHER_SIGN = 2.0  # standard z-values beyond which a pair has no say in the kernel of the other sign
MIN_PAIRS, MAX_PAIRS = 200, 20_000  # fewer say nothing about kernels; more add nothing
SIGNS = (1, -1)


def learn_kernels(pairs: PairWeights, telling: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the kernels of excitatory and of inhibitory connections, as weights of the three traces.

    Parameters
    ----------
    pairs : PairWeights
    telling : ndarray of bool, shape (pre, post)
        Pairs that say something about connections.
    rng : Generator
        Draws pairs where there are very many.
    """
    pre, post = np.nonzero(telling)
    if pre.size < MIN_PAIRS:
        return (standard := np.array([STANDARD[0], 1.0, STANDARD[1]])), standard
    if pre.size > MAX_PAIRS:
        kept = rng.choice(pre.size, MAX_PAIRS, replace=False)
        pre, post = pre[kept], post[kept]
    some = pairs.some(pre, post)
    shapes = [np.array([rise, 1.0, tail]) for rise in RISES for tail in TAILS]
    start = [(rise, tail) for rise in RISES for tail in TAILS].index(STANDARD)
    z = [_standardised(some, shape) for shape in shapes]
    found = []
    for sign in SIGNS:
        open_to_it = sign * z[start] > -OTHER_SIGN
        gain = np.array([evidence(values[open_to_it], sign) for values in z])
        gain[start] += CHANGE
        found.append(shapes[int(np.argmax(gain))])
    return found[0], found[1]


def signed_areas(pairs: PairWeights, kernels: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return area and standard error of every pair, with the kernel of the sign it shows."""
    (plus, plus_se), (minus, minus_se) = (pairs.areas(kernel) for kernel in kernels)
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = np.nan_to_num(plus / plus_se) + np.nan_to_num(minus / minus_se) > 0
    return np.where(positive, plus, minus), np.where(positive, plus_se, minus_se)


def evidence(z: Array, sign: int) -> float:
    """Return how much more likely standardised z-values are with connections of a sign than without any, nats."""
    best = 0.0
    for spread in SPREADS:
        total = 1.0 + spread**2
        ratio = -0.5 * np.log(total) + 0.5 * z**2 * spread**2 / total + np.log(2.0)
        ratio += log_ndtr(sign * z * spread / np.sqrt(total))
        best = max(best, *(float(np.logaddexp(np.log1p(-share), np.log(share) + ratio).sum()) for share in SHARES))
    return best


def _standardised(pairs: PairWeights, shape: Array) -> Array:
    weight, se = pairs.areas(shape)
    z = weight / se
    centre, spread = centre_and_spread(z)
    return np.asarray((z - centre) / spread)
