r"""Raised cosines of the logarithm of time (Pillow et al. 2008): fine soon after an event, coarse later.

.. math:: \phi_k(t) = \tfrac12 \Big(1 + \cos\frac{\pi\,(\log(t + c) - m_k)}{2 \Delta}\Big)

within :math:`2 \Delta` of the peak :math:`m_k`, 0 beyond; the peaks lie :math:`\Delta` apart.

References
----------
Pillow et al. (2008) Nature 454:995-999.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def raised_cosines(times: NDArray[np.floating[Any]], n: int, *, first: float, reach: float, offset: float) -> Array:
    """Return the functions at some times.

    Parameters
    ----------
    times : ndarray, shape (n_times,), s
        Since the event.
    n : int
        Functions.
    first : float, s
        Peak of the first one, which is flat before it.
    reach : float, s
        Where the last one ends.
    offset : float, s
        Added to time before its logarithm is taken.

    Returns
    -------
    ndarray, shape (n_times, n)
    """
    warped, begin, end = np.log(times + offset), np.log(first + offset), np.log(reach + offset)
    away = (warped[:, None] - begin) * (n + 1) / (end - begin) - np.arange(n)
    away[:, 0] = np.maximum(away[:, 0], 0.0)
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * np.clip(away / 2.0, -1.0, 1.0))))
