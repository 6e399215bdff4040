r"""Population fields: the mean-field drive every unit gets from the network.

With ``n(t)`` the summed spike count of all units in step ``t`` and time constants from 3 ms to 3 s:

.. math::

    q_m(t+1) &= q_m(t) e^{-dt/\tau_m} + n(t) \\
    z_m      &= \mathrm{clip}\big((\log(1 + 4 q_m/\bar q_m) - \mu_m)/\sigma_m\big), \qquad
    g        = (z_1, \dots, z_F, \text{standardised products } z_a z_b, a \le b)

Products may be those of the first few fields only; the fields after them, slow ones, follow a drifting
baseline. Log compression gives a high gain when the culture is quiet and saturation in a burst; slow fields
carry depression and recovery.

On a large array activity is local. There the last fields may be those of regions: the same equations, with ``n(t)``
the spikes of one region's units. They have no products, and come last among the features.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIELD_TAUS = (0.003, 0.010, 0.030, 0.100, 0.300, 1.0, 3.0)  # s
LOG_GAIN = 4.0
_NONE = np.empty(0, dtype=np.int64)


class PopulationFields(NamedTuple):
    """Constants of the fields.

    Parameters
    ----------
    decay : ndarray, shape (n_fields,)
        Factor a step.
    mean : ndarray, shape (n_fields,)
        ``q`` at the mean rate, spikes.
    shift, scale, low, high : ndarray, shape (n_fields,)
        Standardisation of the logarithm, and the recorded range it is clipped to.
    product_shift, product_scale : ndarray, shape (n_products,)
        Standardisation of the products of the first m fields, in the order (0,0), (0,1), ..., (1,1), ...; the size,
        m (m + 1) / 2, tells m. Empty without products.
    home : ndarray of int64, shape (n_units,)
        Region of each unit; empty without local fields.
    region : ndarray of int64, shape (n_local,)
        The last `n_local` of the fields are local ones: whose spikes enter each of them.
    """

    decay: Array
    mean: Array
    shift: Array
    scale: Array
    low: Array
    high: Array
    product_shift: Array
    product_scale: Array
    home: NDArray[np.int64] = _NONE
    region: NDArray[np.int64] = _NONE

    @property
    def n_features(self) -> int:
        """Fields and products together."""
        return int(self.decay.size + self.product_shift.size)

    @property
    def n_whole(self) -> int:
        """Fields of the whole population."""
        return int(self.decay.size - self.region.size)


def no_fields() -> PopulationFields:
    """Return the constants of a network without population fields."""
    none = np.empty(0)
    return PopulationFields(none, none, none, none, none, none, none, none)
