r"""A response to pulses that a whole culture gives or does not give, as a brain organoid was seen to.

A pulse of amplitude ``A`` and phase width ``w`` is answered with the probability of
`organoid.models.spike_response.dose.Dose`. An answer has one course in time: with ``r(t)`` the array's rate after an
answered pulse and ``r_0`` the rate before it, the membranes of all units get

.. math:: \kappa(t) = c(t) \log\frac{r(t)}{r_0}

with corrections ``c`` near 1 for what the network itself adds.

``r`` is the mean of the answered trials of one human brain organoid on a MaxOne array, 105 pulses of three widths and
seven amplitudes (recordings published with Cai et al. 2023): a peak after 200 to 250 ms, half of it after 350, back
after 600 to 750. Its half-answer amplitudes follow Lapicque's law with 0.237 V and 253 us. Where the pulsed electrodes
lay is not known, so the response does not depend on the electrode. Responses fell by a third along the session,
whatever the condition; that a pulse uses 30 % of a resource which recovers with 1 s is assumed.

References
----------
Cai et al. (2023) Nature Electronics 6:1032-1039.
"""

import numpy as np

from organoid.models.spike_response.dose import Dose
from organoid.models.spike_response.fatigue import Resource
from organoid.models.spike_response.terms.stimulus import StimulusKernels

DOSE = Dose(rheobase=0.237, chronaxie=253e-6, slope=17.7)
TIRES = Resource(utilisation=0.3, recovery=1.0)
N_PULSES = 105
BIN = 0.05  # s
# Spikes/s on the array after answered pulses, in bins of 50 ms; before pulses it had 20.
ANSWERED = (317.0, 542.0, 595.0, 605.0, 713.0, 631.0, 478.0, 327.0, 229.0, 135.0, 106.0, 64.0, 56.0, 38.0, 27.0)
BEFORE = 20.0


def all_or_none(n_units: int, n_electrodes: int, dt: float, correction: tuple[float, ...]) -> StimulusKernels:
    """Return the response of a network.

    Parameters
    ----------
    n_units, n_electrodes : int
    dt : float, s
        Step.
    correction : tuple of float
        ``c``, one for each of the 50 ms bins of `ANSWERED`: what makes free runs of the network follow it.
    """
    height = np.array(correction) * np.log(np.array(ANSWERED) / BEFORE)
    lags = (np.arange(round(len(ANSWERED) * BIN / dt)) + 0.5) * dt
    curve = np.interp(lags, (np.arange(len(ANSWERED)) + 0.5) * BIN, height)
    return StimulusKernels(
        dt=dt,
        electrodes=np.arange(n_electrodes),
        curve=np.zeros(n_electrodes, dtype=np.int64),
        n_pulses=np.bincount([0], weights=[N_PULSES], minlength=n_electrodes).astype(np.int64),
        curves=np.repeat(curve[None, :, None], n_units, axis=2),
        low=np.full(n_units, min(curve.min(), 0.0)),
        high=np.full(n_units, curve.max()),
        amplitude_unit="V",
        resource=TIRES,
        dose=DOSE,
        together=1.0,
    )
