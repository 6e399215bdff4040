r"""Whether a pulse is answered at all, by its amplitude and width (strength-duration law).

.. math::

    P(\text{answer}) = \mathrm{logistic}\Big(s \log\frac{A}{A_{50}(w)}\Big), \qquad
    A_{50}(w) = \frac{A_\infty}{1 - e^{-w/c}} \text{ (Lapicque)} \quad\text{or}\quad A_\infty (1 + c/w) \text{ (Weiss)}

Responses of cultures that answer all or none do not grow with the amplitude: an answer is drawn, and then is a whole
one. The width is that of the largest phase: the order of phases and the gap between them have no effect here.

References
----------
Lapicque (1907) J Physiol Pathol Gen 9:620-635; Weiss (1901) Arch Ital Biol 35:413-446.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]
LAWS = ("lapicque", "weiss")


class Dose(NamedTuple):
    """Probability of an answer.

    Parameters
    ----------
    rheobase : float, A or V
        ``A_inf``: half-answer amplitude of a very long pulse.
    chronaxie : float, s
        ``c``: time constant of the law (Lapicque's membrane constant; Weiss' chronaxie).
    slope : float
        ``s``.
    law : str
        "lapicque" or "weiss".
    """

    rheobase: float
    chronaxie: float
    slope: float
    law: str = "lapicque"

    def half_amplitude(self, widths: Array) -> Array:
        """Return the amplitude that is answered half of the time, for phase widths in s."""
        if self.law == "weiss":
            return np.asarray(self.rheobase * (1.0 + self.chronaxie / widths))
        return np.asarray(self.rheobase / -np.expm1(-widths / self.chronaxie))

    def probability(self, amplitudes: Array, widths: Array) -> Array:
        """Return ``P(answer)``; 1 where the amplitude is unknown (NaN): the pulse is played as it was recorded."""
        known = np.isfinite(amplitudes) & np.isfinite(widths)
        size = np.where(known, np.maximum(np.abs(amplitudes), 1e-30), 1.0)
        half = self.half_amplitude(np.where(known, widths, 1.0))
        return np.asarray(np.where(known, expit(self.slope * np.log(size / half)), 1.0))
