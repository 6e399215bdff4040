"""How regular a unit fires, from its inter-spike intervals (ISIs); no ISI spans a hole in `observed`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import intervals, ratio, snapped, unit_mean


def cv(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the coefficient of variation of each unit's ISIs.

    ``CV = std(I) / mean(I)``, the standard deviation dividing by the number of ISIs.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units,)
        1 for a Poisson process, 0 for a clock; NaN with fewer than two ISIs.
    """
    isi = intervals(rec)
    mean = unit_mean(isi.durations, isi.units, isi.n_units)
    variance = unit_mean((isi.durations - mean[isi.units]) ** 2, isi.units, isi.n_units)
    out = ratio(np.sqrt(variance), mean)
    out[np.bincount(isi.units, minlength=isi.n_units) < 2] = np.nan
    return out


def cv2(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the local coefficient of variation of each unit.

    ``CV2 = mean of 2 |b - a| / (a + b)`` over adjacent ISIs ``a, b``; blind to slow changes of rate.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units,)
        NaN with no pair of adjacent ISIs; pairs with ``a + b = 0`` are left out.

    References
    ----------
    G. R. Holt, W. R. Softky, C. Koch, R. J. Douglas, "Comparison of discharge variability in vitro and
    in vivo in cat visual cortex neurons", 1996.
    """
    first, second, units = _adjacent(rec)
    return unit_mean(2 * np.abs(second - first) / (first + second), units, rec.n_units)


def lv(rec: SpikeRecording) -> NDArray[np.float64]:
    """Return the local variation of each unit.

    ``LV = mean of 3 ((a - b) / (a + b))^2`` over adjacent ISIs ``a, b``.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    ndarray, shape (n_units,)
        1 for a Poisson process, 0 for a clock; NaN with no pair of adjacent ISIs.

    References
    ----------
    S. Shinomoto, K. Shima, J. Tanji, "Differences in spiking patterns among cortical neurons", 2003.
    """
    first, second, units = _adjacent(rec)
    return unit_mean(3 * ((first - second) / (first + second)) ** 2, units, rec.n_units)


def lvr(rec: SpikeRecording, refractory: float = 0.005) -> NDArray[np.float64]:
    """Return the local variation of each unit, corrected for its refractory time.

    ``LvR = mean of 3 (1 - 4ab / (a + b)^2) (1 + 4R / (a + b))`` over adjacent ISIs ``a, b``.

    Parameters
    ----------
    rec : SpikeRecording
    refractory : float, s
        The constant ``R``; 0 gives `lv`.

    Returns
    -------
    ndarray, shape (n_units,)
        NaN with no pair of adjacent ISIs.

    References
    ----------
    S. Shinomoto et al., "Relating neuronal firing patterns to functional differentiation of cerebral
    cortex", 2009.
    """
    if not (np.isfinite(refractory) and refractory >= 0):
        raise RecordingError(f"refractory is {refractory!r} s; expected a time of 0 s or more")
    first, second, units = _adjacent(rec)
    both = first + second
    values = 3 * (1 - 4 * first * second / both**2) * (1 + 4 * refractory / both)
    return unit_mean(values, units, rec.n_units)


def _adjacent(rec: SpikeRecording) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    first, second, units = intervals(rec).pairs()
    keep = first + second > 0
    return first[keep], second[keep], units[keep]


def isi_histogram(rec: SpikeRecording, edges: ArrayLike) -> NDArray[np.int64]:
    """Count each unit's ISIs between given edges.

    Bins are closed on the left and open on the right, the last one closed on both sides. An ISI that
    is a whole number of ticks is compared as such, so equality with an edge never hangs on rounding.

    Parameters
    ----------
    rec : SpikeRecording
    edges : array_like, shape (n_bins + 1,), s
        Increasing. ``np.geomspace(1e-3, 100, 51)`` gives ten bins a decade.

    Returns
    -------
    ndarray of int64, shape (n_units, n_bins)

    Raises
    ------
    RecordingError
        If the edges are not increasing numbers, two at least.
    """
    seconds = np.asarray(edges, dtype=np.float64)
    if seconds.ndim != 1 or seconds.size < 2 or not np.all(np.diff(seconds) > 0):
        raise RecordingError(f"edges of shape {seconds.shape}; expected two or more increasing times in s")
    isi = intervals(rec)
    lengths, marks = snapped(isi.durations, rec.tick_rate), snapped(seconds, rec.tick_rate)
    n_bins = seconds.size - 1
    bins = np.searchsorted(marks, lengths, side="right") - 1
    bins[lengths == marks[-1]] = n_bins - 1
    keep = (bins >= 0) & (bins < n_bins)
    flat = np.bincount(isi.units[keep] * n_bins + bins[keep], minlength=rec.n_units * n_bins)
    return flat.astype(np.int64).reshape(rec.n_units, n_bins)
