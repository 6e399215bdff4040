"""How much a unit fires and how its spike count varies."""

import numpy as np
from numpy.typing import NDArray

from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, positive, ratio, trains

_MIN_TICKS = 10  # in a window that ends where the last spike does, a rate over fewer says nothing of the unit


def firing_rates(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the mean rate of each unit: spikes in the observed time over observed time.

    ``r_i = n_i / T``

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units,), Hz
        NaN if nothing was observed, or less than ten ticks of a window whose end is inferred from the last spike (a
        file of one spike, say); 0 for a silent unit.
    """
    ticks = observed_ticks(rec)
    return ratio(trains(rec).n_spikes, 0.0 if too_short(rec) else ticks / rec.tick_rate)


def observed_ticks(rec: SpikeRecording) -> int:
    """Return the observed time in ticks."""
    spans = observed_spans(rec)
    return int(np.sum(spans[:, 1] - spans[:, 0]))


def too_short(rec: SpikeRecording) -> bool:
    """Return whether the window ends with the last spike, a handful of ticks after it began."""
    inferred = any(note.startswith("t_stop inferred") for note in rec.notes)
    return inferred and observed_ticks(rec) < _MIN_TICKS


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
