r"""Charge density of a pulse, and Shannon's k.

.. math:: k = \log_{10} D + \log_{10} Q

with the charge of a phase ``Q`` (uC) and its density on the electrode ``D`` (uC/cm2). Stimulation with ``k`` above
about 1.75 damaged tissue in experiments with electrodes of millimetres; microelectrodes, through which all the arrays
here stimulate, can do harm well below it (frequency, duty cycle and size matter), so that a small ``k`` promises
nothing and a large one deserves a warning.

References
----------
Shannon (1992), A model of safe levels for electrical stimulation, IEEE Transactions on Biomedical Engineering 39.
Cogan, Ludwig, Welle and Takmakov (2016), Tissue damage thresholds during therapeutic electrical stimulation, Journal of
Neural Engineering 13.
"""

import math

from organoid.stimulation.pulses import Pulse

WARN_ABOVE = 1.75  # k
_CM2_OF_UM2 = 1e-8


def charge_density(pulse: Pulse, electrode_area_um2: float | None) -> float | None:
    """Return the charge density of a pulse's largest phase.

    Parameters
    ----------
    pulse : Pulse
    electrode_area_um2 : float or None, um2
        Geometric area of one electrode.

    Returns
    -------
    float, uC/cm2; None for a pulse in volts or an unknown area

    Examples
    --------
    >>> round(charge_density(Pulse.biphasic(12, 2e-6, 200e-6), 707.0), 1)
    56.6
    """
    if electrode_area_um2 is None or pulse.unit != "A":
        return None
    return _largest_uc(pulse) / (electrode_area_um2 * _CM2_OF_UM2)


def shannon_k(pulse: Pulse, electrode_area_um2: float | None) -> float | None:
    """Return Shannon's ``k`` of a pulse's largest phase; see the module docstring.

    Parameters
    ----------
    pulse : Pulse
    electrode_area_um2 : float or None, um2

    Returns
    -------
    float; None for a pulse in volts, without charge, or an unknown area

    Examples
    --------
    >>> round(shannon_k(Pulse.biphasic(12, 2e-6, 200e-6), 707.0), 2)
    -1.65
    """
    density = charge_density(pulse, electrode_area_um2)
    return math.log10(density) + math.log10(_largest_uc(pulse)) if density else None


def shannon_warning(pulse: Pulse, electrode_area_um2: float | None) -> str:
    """Return a sentence for a pulse of large ``k``; an empty text for any other."""
    k = shannon_k(pulse, electrode_area_um2)
    if k is None or k <= WARN_ABOVE:
        return ""
    return (
        f"Shannon's k of a phase of {1e9 * max(abs(a) for a in pulse.areas):g} nC is {k:.2f}; above about "
        f"{WARN_ABOVE:g} tissue was damaged in experiments with large electrodes"
    )


def _largest_uc(pulse: Pulse) -> float:
    return 1e6 * max(abs(area) for area in pulse.areas)
