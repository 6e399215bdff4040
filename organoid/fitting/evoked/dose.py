"""Which pulses were answered, and how that depends on their amplitude and width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from organoid.fitting.evoked.sessions import Session
from organoid.models.spike_response.dose import Dose

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ANSWER = (0.020, 0.500)  # s after a pulse
BEFORE = 0.500  # s before a pulse
VARYING = 1.2  # ratio of largest and smallest amplitude above which a dose can be learned
SEPARATED = 0.6  # between the two groups, of the variance of answers, for all or none
UNANSWERED = 0.25  # and the mean of the weaker group, of that of the stronger
USUAL_CHRONAXIE, CHRONAXIE_SD = 250e-6, 0.5  # s; of its logarithm
USUAL_SLOPE, SLOPE_SD = 12.0, 0.7
_MIN_TRIALS = 8


@dataclass(frozen=True)
class LearnedDose:
    """The dose, and which pulses were answered.

    Parameters
    ----------
    dose : Dose or None
        None where amplitudes are unknown or all the same, or answers are not all or none.
    answered : tuple of ndarray of bool, shape (n_pulses,)
        For each session; all true without a dose.
    threshold : float
        Extra spikes on the array above which a pulse counts as answered; NaN without a dose.
    chronaxie_learned : bool
        Whether several widths were recorded; the usual chronaxie is assumed otherwise.
    """

    dose: Dose | None
    answered: tuple[Mask, ...]
    threshold: float = np.nan
    chronaxie_learned: bool = False


def extra_spikes(one: Session) -> Array:
    """Return spikes of the whole array after each pulse less those expected from before it; NaN where unobserved."""
    width = one.history.bin_width
    counts = np.bincount(one.history.bins, minlength=one.history.n_bins) * one.history.observed
    total = np.concatenate([[0.0], np.cumsum(counts)])
    seen = np.concatenate([[0], np.cumsum(one.history.observed)])

    def between(a: float, b: float) -> tuple[Array, Array]:
        begin, end = (np.clip(one.bins + round(t / width), 0, one.history.n_bins) for t in (a, b))
        return total[end] - total[begin], (seen[end] - seen[begin]).astype(np.float64)

    after, after_seen = between(*ANSWER)
    before, before_seen = between(-BEFORE, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(before_seen > 0, before / before_seen, 0.0) * after_seen
        return np.where(after_seen > 0, after - expected, np.nan)


def learn_dose(sessions: Sequence[Session], widths: Sequence[Array]) -> LearnedDose:
    """Learn from the training pulses whether pulses are answered all or none, and at which dose.

    Parameters
    ----------
    sessions : sequence of Session
    widths : sequence of ndarray, shape (n_pulses,), s
        Width of a phase of each pulse; NaN where unknown.
    """
    everything = tuple(np.ones(one.bins.size, dtype=bool) for one in sessions)
    amplitudes = np.concatenate([one.history.pulses.amplitudes for one in sessions])
    units = {str(unit) for one in sessions for unit in one.history.pulses.units}
    known = np.isfinite(amplitudes) & (amplitudes > 0)
    if len(units) != 1 or not known.all() or amplitudes.max() <= VARYING * amplitudes.min():
        return LearnedDose(None, everything)
    training = np.concatenate([one.training for one in sessions])
    extra = np.concatenate([extra_spikes(one) for one in sessions])
    used = training & np.isfinite(extra)
    threshold = _all_or_none(extra[used])
    if np.isnan(threshold):
        return LearnedDose(None, everything)
    answered = np.nan_to_num(extra, nan=-np.inf) > threshold
    width = np.concatenate(list(widths))
    learned = bool(np.unique(np.round(width[used & np.isfinite(width)], 9)).size > 1)
    dose = fit_dose(amplitudes[used], np.where(np.isfinite(width), width, USUAL_CHRONAXIE)[used], answered[used])
    parts = np.split(answered, np.cumsum([one.bins.size for one in sessions])[:-1])
    return LearnedDose(dose, tuple(parts), threshold, learned)


def _all_or_none(extra: Array) -> float:
    """Return the threshold between two groups of answers; NaN where they are not two (Otsu 1979)."""
    values = np.sort(extra)
    if values.size < _MIN_TRIALS:
        return float("nan")
    n = np.arange(1, values.size)
    low = np.cumsum(values)[:-1] / n
    high = (values.sum() - np.cumsum(values)[:-1]) / (values.size - n)
    between = n * (values.size - n) * (high - low) ** 2 / values.size**2
    best = int(np.argmax(between))
    if between[best] < SEPARATED * values.var() or not low[best] < UNANSWERED * high[best]:
        return float("nan")
    return float((values[best] + values[best + 1]) / 2)


def fit_dose(amplitudes: Array, widths: Array, answered: Mask, law: str = "lapicque") -> Dose:
    """Fit rheobase, chronaxie and slope by penalised likelihood.

    Chronaxie and slope are drawn to usual values, which matter where few widths or doses were recorded.

    Parameters
    ----------
    amplitudes, widths : ndarray, shape (n_pulses,)
        A or V, and s.
    answered : ndarray of bool, shape (n_pulses,)
    law : str
        "lapicque" or "weiss".
    """

    def objective(log_parameters: Array) -> float:
        rheobase, chronaxie, slope = np.exp(log_parameters)
        half = Dose(rheobase, chronaxie, slope, law).half_amplitude(widths)
        sign = np.where(answered, 1.0, -1.0)
        loss = -np.sum(np.log(np.maximum(expit(sign * slope * np.log(amplitudes / half)), 1e-12)))
        prior = ((log_parameters[1] - np.log(USUAL_CHRONAXIE)) / CHRONAXIE_SD) ** 2
        prior += ((log_parameters[2] - np.log(USUAL_SLOPE)) / SLOPE_SD) ** 2
        return float(loss + prior / 2)

    start = np.log([np.median(amplitudes) / 2, USUAL_CHRONAXIE, USUAL_SLOPE])
    found = minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6, "maxiter": 4000})
    rheobase, chronaxie, slope = np.exp(found.x)
    return Dose(float(rheobase), float(chronaxie), float(slope), law)
