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
    grid = rec.bin_grid(window)
    spans = observed_spans(rec)
    if not len(spans):
        return np.full(rec.n_units, np.nan)
    begin, end = grid.position(spans[:, 0]), grid.position(spans[:, 1])
    starts_inside = np.rint(begin * grid.width).astype(np.int64) + grid.start_tick < spans[:, 0]
    first, stop = begin + starts_inside, np.minimum(end, grid.n_bins)  # whole bins of each span; a day has many
    n_bins = int(np.maximum(stop - first, 0).sum())
    if n_bins < 2:
        return np.full(rec.n_units, np.nan)
    seen = trains(rec)
    bins = grid.position(seen.ticks)
    whole = (bins >= first[seen.spans]) & (bins < stop[seen.spans])
    pair = seen.units[whole] * np.int64(grid.n_bins) + bins[whole]
    occupied, counts = np.unique(pair, return_counts=True)
    units = occupied // grid.n_bins
    mean = np.bincount(units, weights=counts, minlength=rec.n_units) / n_bins
    square = np.bincount(units, weights=counts.astype(np.float64) ** 2, minlength=rec.n_units) / n_bins
    return ratio(square - mean**2, mean)
