r"""A resource that pulses use up: responses tire, and recover in seconds.

.. math::

    R(t) = 1 - \big(1 - R(t_p^+)\big)\, e^{-(t - t_p)/\tau}, \qquad R(t_p^+) = (1 - u)\, R(t_p^-)

A pulse at ``t_p`` acts with ``R(t_p^-) / R^*``, where ``R^*`` is the resource pulses found when they came at the
recorded interval: a response fitted at that interval is what it was there. The same form as synaptic depression
(Tsodyks and Markram 1997), for each electrode.

References
----------
Tsodyks, Markram (1997) PNAS 94:719-723.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Resource(NamedTuple):
    """How responses to pulses on one electrode tire.

    Parameters
    ----------
    utilisation : float
        ``u``: fraction of the resource one pulse uses, 0 to 1; 0 = nothing tires.
    recovery : float, s
        ``tau``.
    interval : float, s
        Interval of the pulses the response was fitted to; infinite: single pulses.
    learned : bool
        Whether the values rest on repeated pulses; assumed otherwise.
    """

    utilisation: float = 0.3
    recovery: float = 1.0
    interval: float = np.inf
    learned: bool = False

    @property
    def at_interval(self) -> float:
        """``R^*``: what pulses at the recorded interval find: ``(1 - E) / (1 - (1 - u) E)``, ``E = exp(-T/tau)``."""
        left = float(np.exp(-self.interval / self.recovery))
        return (1.0 - left) / (1.0 - (1.0 - self.utilisation) * left)

    def relative(self, found: Array) -> Array:
        """Return the strength, 1 at the recorded interval, of pulses that find so much of the resource."""
        return np.asarray(found / self.at_interval)


def strengths(resource: Resource, times: NDArray[np.floating[Any]], sites: NDArray[np.int64]) -> Array:
    """Return the strength of pulses in order of time, each site starting rested.

    Parameters
    ----------
    resource : Resource
    times : ndarray, shape (n_pulses,), s
    sites : ndarray of int64, shape (n_pulses,)
        What tires by itself: electrodes.

    Returns
    -------
    ndarray, shape (n_pulses,)
        ``R / R*``.
    """
    out = np.ones(times.size)
    last: dict[int, tuple[float, float]] = {}
    for at, (time, site) in enumerate(zip(times.tolist(), sites.tolist())):
        left, before = last.get(site, (1.0, -np.inf))
        found = 1.0 - (1.0 - left) * np.exp((before - time) / resource.recovery)
        out[at] = found
        last[site] = ((1.0 - resource.utilisation) * found, time)
    return resource.relative(out)
