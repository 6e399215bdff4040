"""How strongly a pulse enters the population drive of a fitted network."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from organoid.errors import StimulationError


@dataclass(frozen=True)
class StimulationCalibration:
    """The volley a pulse sends into the population fields: ``gamma x direct spikes + beta x neurons hit``.

    It belongs to a culture's response to pulses, not to the fit of its spontaneous spikes, which
    does not determine it: an uncalibrated twin has a threshold, a monotone strength curve and
    refractoriness, but its gain may be several times off.

    Parameters
    ----------
    gamma : float
        How much a direct spike of a recorded unit counts; 1 = like any spike.
    beta : float
        How much each neuron hit counts, recorded or not.
    status : str
        "uncalibrated" or "calibrated".
    n_pulses : int
        Number of recorded pulses the values rest on.
    """

    gamma: float = 1.0
    beta: float = 0.0
    status: str = "uncalibrated"
    n_pulses: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gamma) and np.isfinite(self.beta) and self.gamma >= 0 and self.beta >= 0):
            raise StimulationError(f"gamma {self.gamma} and beta {self.beta}; expected finite numbers, 0 or more")
        if self.status not in ("uncalibrated", "calibrated") or self.n_pulses < 0:
            raise StimulationError(
                f"calibration status {self.status!r} on {self.n_pulses} pulses; expected 'uncalibrated' or "
                "'calibrated', and 0 or more pulses"
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know before trusting evoked responses."""
        if self.status == "calibrated":
            return ()
        return (
            "the response to pulses is not calibrated: spontaneous spikes do not determine its gain; "
            "record 20 to 40 pulses near threshold to calibrate it, and repeat conclusions for other gains",
        )

    def describe(self) -> dict[str, Any]:
        """Return all values as a plain dictionary."""
        return asdict(self)
