"""The brake of a fitted network: how active its culture was at most."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from organoid.fitting.data.history import History
from organoid.models.spike_response.terms.brake import GAIN, LOG_GAIN, NO_BRAKE, TAUS, Brake


def recorded_brake(training: History) -> Brake:
    """Return a brake that is 0 at all the activity the training part held.

    Parameters
    ----------
    training : History
        Unobserved bins count as bins of the mean rate: they neither raise nor lower what was seen.
    """
    counts = np.bincount(training.bins, minlength=training.n_bins).astype(np.float64)
    observed = training.observed
    if not counts[observed].any():
        return NO_BRAKE
    mean_count = float(counts[observed].mean())
    counts[~observed] = mean_count
    decay = np.exp(-training.bin_width / np.array(TAUS))
    mean = mean_count / (1.0 - decay)
    top = [_highest(counts, keep, start) for keep, start in zip(decay, mean)]
    height = np.log1p(LOG_GAIN * np.array(top) / mean)
    return Brake(GAIN, decay, mean, height, height)


def with_driven_range(brake: Brake, histories: Sequence[History]) -> Brake:
    """Return a brake that also spares, while pulses act, all the activity that stimulated recordings held.

    Parameters
    ----------
    brake : Brake
    histories : sequence of History
        Of stimulated recordings, unobserved where nothing may be learned from.
    """
    if not brake.present:
        return brake
    top = brake.driven_top
    for one in histories:
        counts = np.bincount(one.bins, minlength=one.n_bins).astype(np.float64)
        counts[~one.observed] = float(counts[one.observed].mean()) if one.observed.any() else 0.0
        found = [_highest(counts, keep, start) for keep, start in zip(brake.decay, brake.mean)]
        top = np.maximum(top, np.log1p(LOG_GAIN * np.array(found) / brake.mean))
    return brake._replace(driven_top=top)


def _highest(counts: NDArray[np.float64], keep: float, start: float) -> float:
    """Return the largest value of a trace that begins at its mean."""
    trace, _ = lfilter([1.0], [1.0, -keep], counts, zi=[keep * start])
    return float(trace.max())
