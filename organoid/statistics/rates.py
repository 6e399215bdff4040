"""How much a unit fires and how its spike count varies."""

import numpy as np
from numpy.typing import NDArray

from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, positive, ratio, trains


def firing_rates(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the mean rate of each unit: spikes in the observed time over observed time.

    ``r_i = n_i / T``

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units,), Hz
        NaN if nothing was observed; 0 for a silent unit.
    """
    spans = observed_spans(rec)
    duration = np.sum(spans[:, 1] - spans[:, 0]) / rec.tick_rate
    return ratio(trains(rec).n_spikes, duration)


def fano(rec: SpikeRecording, window: float = 1.0) -> NDArray[np.float64]:
    """Return the Fano factor of each unit: variance over mean of its spike counts.

    ``F_i = var(n_i) / mean(n_i)`` over consecutive windows that were fully observed; the variance
    divides by the number of windows. A Poisson process has ``F = 1``.

    Parameters
    ----------
    rec : SpikeRecording
    window : float, s
        Length of a counting window; a last partial window is dropped.

    Returns
    -------
    ndarray, shape (n_units,)
        NaN for a silent unit or where fewer than two windows were observed.

    References
    ----------
    U. Fano, "Ionization yield of radiations. II", 1947.
    """
    positive(window, "window")
    counts = rec.counts(window)[rec.observed_bins(window)]
    if len(counts) < 2:
        return np.full(rec.n_units, np.nan)
    return ratio(counts.var(axis=0), counts.mean(axis=0))
