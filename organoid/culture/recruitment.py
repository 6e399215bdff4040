r"""Which units a pulse makes spike at once.

For one phase of current ``I`` and width ``w`` on an electrode at distance ``r``:

.. math::

    I_{th}(r, w) &= (I_0 + k r^2)\,\frac{1 + c/w}{1 + c/w_0} \quad (\times\, a \text{ if anodic}) \\
    p(r)         &= \Phi\!\left(\frac{\ln I - \ln I_{th}}{\sigma}\right)

with ``c`` the chronaxie, ``w_0`` the width ``I_0`` and ``k`` are stated for, and ``Phi`` the normal
distribution function. The phase with the largest ``p`` counts; electrodes act independently
(``1 - prod(1 - p)``). A unit that spiked ``d`` ago is recruited with ``p`` times
``1 - exp(-(d - d_abs)/d_rel)``, 0 for ``d < d_abs``.

The forms are the usual textbook ones (square threshold-distance law, hyperbolic strength-duration
law); that phases and electrodes do not add up is a modelling choice. So the order of the phases and the gap between
them have no effect; whether the larger or the cathodic phase is strong enough has. All constants are free
parameters: none is measured on the culture at hand.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from organoid.culture.geometry import Distances
from organoid.errors import StimulationError
from organoid.models.spike_response.fatigue import Resource
from organoid.stimulation import Phase, Pulse

_RADII = 400
_LATEST_DIRECT = 5e-3


@dataclass(frozen=True)
class Recruitment:
    """Free parameters of direct recruitment.

    The defaults are chosen so that, at 200 us a phase, 1 uA recruits the unit at the electrode
    almost surely and a unit 200 um away seldom, and 3 uA recruits that one mostly.

    Parameters
    ----------
    threshold : float, A
        ``I_0``: cathodic current that recruits a unit at the electrode half of the time.
    spread : float, A/um2
        ``k``: growth of the threshold with the square of the distance.
    reference_width : float, s
        ``w_0``: phase width for which `threshold` and `spread` are stated.
    chronaxie : float, s
        ``c``.
    log_slope : float
        ``sigma``: width of the sigmoid in natural logarithms of current.
    anodic_factor : float
        ``a``: how much more current an anodic phase needs, 1 or more.
    access_resistance : float, ohm
        Turns volts into amperes for voltage pulses; an assumption, electrodes differ widely.
    refractory : float, s
        ``d_abs``: after a spike, no recruitment for so long.
    recovery : float, s
        ``d_rel``: time constant with which recruitment comes back after that.
    latency_min, latency_max : float, s
        Range of the delay from pulse start to direct spike; short delays are more likely.
    neuron_density : float, 1/mm2
        Neurons of the tissue, recorded or not, for `neurons_hit`.
    fatigue : float
        Fraction of an electrode's resource that a pulse uses (`organoid.models.spike_response.fatigue`): direct spikes
        and volley count less in the population while it recovers. 0 = nothing tires; simulated cultures assume
        `TIRING`.
    fatigue_recovery : float, s
        Time constant with which the resource recovers.
    """

    threshold: float = 0.4e-6
    spread: float = 4e-11
    reference_width: float = 200e-6
    chronaxie: float = 300e-6
    log_slope: float = 0.35
    anodic_factor: float = 3.0
    access_resistance: float = 200e3
    refractory: float = 2e-3
    recovery: float = 1e-3
    latency_min: float = 0.3e-3
    latency_max: float = 3e-3
    neuron_density: float = 100.0
    fatigue: float = 0.0
    fatigue_recovery: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise StimulationError(f"recruitment {field.name} = {value!r}; expected a finite number, 0 or more")
        for name in ("threshold", "reference_width", "log_slope", "access_resistance", "fatigue_recovery"):
            if getattr(self, name) == 0:
                raise StimulationError(f"recruitment {name} = 0; expected more than 0")
        if self.fatigue > 1:
            raise StimulationError(f"recruitment fatigue = {self.fatigue}; expected a fraction, 0 to 1")
        if self.anodic_factor < 1:
            raise StimulationError(f"recruitment anodic_factor = {self.anodic_factor}; expected 1 or more")
        if not self.latency_min <= self.latency_max < _LATEST_DIRECT:
            raise StimulationError(
                f"recruitment latencies {self.latency_min} to {self.latency_max} s; expected an increasing range "
                f"below {_LATEST_DIRECT} s, the end of what counts as direct"
            )

    def probability(self, pulse: Pulse, distances: Distances) -> NDArray[np.float64]:
        """Return the probability that each unit, well rested, is recruited.

        Parameters
        ----------
        pulse : Pulse
        distances : ndarray, shape (n_electrodes, n_units), um, or OwnElectrodes
            Of all electrodes of the device; the pulse picks its rows.

        Returns
        -------
        ndarray, shape (n_units,)
        """
        missed = [1.0 - self._one_electrode(pulse, distances[electrode]) for electrode in pulse.electrodes]
        return np.asarray(1.0 - np.prod(missed, axis=0))

    @property
    def resource(self) -> Resource:
        """How the effect of direct spikes and volleys of an electrode tires."""
        return Resource(self.fatigue, self.fatigue_recovery)

    def availability(self, since_spike: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the factor left by the refractory period; `since_spike` in s, any shape."""
        late = np.maximum(since_spike - self.refractory, 0.0)
        if self.recovery == 0:
            return np.asarray((since_spike >= self.refractory).astype(np.float64))
        return np.asarray(-np.expm1(-late / self.recovery))

    def latency(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return delays, s, from numbers in [0, 1): ``min + (max - min) u**2``."""
        return np.asarray(self.latency_min + (self.latency_max - self.latency_min) * u**2)

    def neurons_hit(self, pulse: Pulse) -> float:
        """Return the expected number of neurons recruited in a plane of even density, electrodes summed."""
        strongest = max(self._drive(phase, pulse.unit) for phase in pulse.phases)
        reach = (strongest * np.exp(4.0 * self.log_slope) - self.threshold) / max(self.spread, 1e-30)
        radii = np.sqrt(np.linspace(0.0, max(reach, 0.0), _RADII))
        p = self._one_electrode(pulse, radii)
        area = np.pi * float(np.trapezoid(p, radii**2)) * 1e-6
        return self.neuron_density * area * len(pulse.electrodes)

    def describe(self) -> dict[str, Any]:
        """Return all parameters as plain values, SI units (distances in um)."""
        return asdict(self)

    def _one_electrode(self, pulse: Pulse, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        strongest = max(self._drive(phase, pulse.unit) for phase in pulse.phases)
        at_distance = self.threshold + self.spread * distance**2
        return np.asarray(ndtr((np.log(strongest) - np.log(at_distance)) / self.log_slope))

    def _drive(self, phase: Phase, unit: str) -> float:
        """Return the cathodic current of reference width that is as effective as this phase, A."""
        current = abs(phase.amplitude) / (1.0 if unit == "A" else self.access_resistance)
        shorter = (1 + self.chronaxie / phase.width_s) / (1 + self.chronaxie / self.reference_width)
        return current / shorter / (self.anodic_factor if phase.amplitude > 0 else 1.0)


TIRING = Recruitment(fatigue=0.3)  # of cultures for which nothing else is given
