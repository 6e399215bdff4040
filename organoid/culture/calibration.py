"""How strongly a pulse enters the population drive of a fitted network."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from organoid.errors import StimulationError
from organoid.models.rng import stream_key, uniform
from organoid.models.spike_response.terms.stimulus import StimulusKernels


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


@dataclass(frozen=True)
class GainDistribution:
    """What the gain of a response may be where only spontaneous spikes are known: lognormal.

    Parameters
    ----------
    low, high : float
        Its 5th and 95th percentile, relative to a direct spike that counts like any other.
    """

    low: float
    high: float

    def at(self, probability: float) -> float:
        """Return a quantile."""
        middle, spread = np.log(self.low * self.high) / 2, np.log(self.high / self.low) / (2 * ndtri(0.95))
        return float(np.exp(middle + spread * ndtri(probability)))

    def describe(self) -> str:
        """Return the distribution in words."""
        return f"lognormal, 90 % of it between {self.low:g} and {self.high:g}"


GAINS = GainDistribution(0.5, 16.0)  # what repaired responses of cultures at hand


def drawn_calibration(calibration: StimulationCalibration, seed: int) -> StimulationCalibration:
    """Return an uncalibrated response whose gain is drawn from `GAINS`; same seed, same gain."""
    drawn = float(uniform(stream_key(seed, "gain of responses"), np.zeros(1, dtype=np.int64))[0])
    return replace(calibration, gamma=calibration.gamma * GAINS.at(min(max(drawn, 1e-6), 1 - 1e-6)))


def response_warnings(
    kernels: StimulusKernels | None, electrodes: NDArray[np.int64], calibration: StimulationCalibration
) -> tuple[str, ...]:
    """Return what is not known of the responses to pulses on some electrodes, by number."""
    if kernels is None:
        return calibration.warnings
    missing = int(np.sum(~np.isin(electrodes, kernels.electrodes)))
    if not missing:
        return ()
    if kernels.default_curve >= 0:
        return (
            f"{missing} electrodes have no pulses of their own and answer with the mean of the others: how much "
            "cannot be known",
        )
    others = f"{missing} electrodes have no fitted response to pulses; on them "
    return tuple(others + warning for warning in calibration.warnings)
