"""Pairwise correlation: of counts in bins, and of spike times at every lag."""

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.recording.ticks import BinGrid
from organoid.statistics.trains import positive, trains


def correlation(rec: SpikeRecording, bin_width: float) -> NDArray[np.float64]:
    """Return Pearson's correlation of the spike counts of every pair of units.

    ``r_ij = cov(n_i, n_j) / sqrt(var(n_i) var(n_j))`` over the bins that were fully observed.

    Parameters
    ----------
    rec : SpikeRecording
    bin_width : float, s

    Returns
    -------
    ndarray, shape (n_units, n_units)
        Symmetric; 1 on the diagonal; NaN where a unit of the pair has the same count in every bin.
    """
    from scipy.sparse import csr_array

    grid = rec.bin_grid(bin_width)
    seen = rec.observed_bins(bin_width)
    bins = grid.index(rec.spike_ticks)
    keep = bins >= 0
    keep[keep] = seen[bins[keep]]
    ones = np.ones(int(keep.sum()))
    shape = (grid.n_bins, rec.n_units)
    counts = csr_array((ones, (bins[keep], rec.spike_units[keep])), shape=shape)
    total: NDArray[np.float64] = np.asarray(counts.sum(axis=0)).ravel()
    n = int(seen.sum())
    scatter = n * (counts.T @ counts).toarray() - np.outer(total, total)  # integers: exact
    spread = np.sqrt(np.diag(scatter))
    spread[spread == 0] = np.nan
    out: NDArray[np.float64] = scatter / np.outer(spread, spread)
    np.fill_diagonal(out, np.where(np.isnan(spread), np.nan, 1.0))
    return out


def cross_correlograms(
    rec: SpikeRecording, bin_width: float, max_lag: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Count the pairs of spikes at every lag, for every pair of units.

    ``counts[i, j, k]`` is the number of spikes of j that come ``lags[k]`` after a spike of i, to the
    nearest bin. Bins are centred on whole multiples of `bin_width`, so one is centred on 0; a lag on
    an edge goes to the bin farther from 0, which makes ``counts[i, j, k] == counts[j, i, -1 - k]``.
    No spike is paired with itself.

    Parameters
    ----------
    rec : SpikeRecording
    bin_width : float, s
        At least one tick of the recording.
    max_lag : float, s
        The last bin is centred on the largest multiple of `bin_width` that is not larger.

    Returns
    -------
    lags : ndarray, shape (n_lags,), s
        Centres, n_lags odd; positive where the second unit fires after the first.
    counts : ndarray of int64, shape (n_units, n_units, n_lags)
    """
    from organoid.statistics._compiled import forward_pairs

    if not (np.isfinite(max_lag) and max_lag >= 0):
        raise RecordingError(f"max_lag is {max_lag!r} s; expected a time of 0 s or more")
    width = BinGrid(0, 0, positive(bin_width, "bin_width"), rec.tick_rate).width
    n_side = int(np.floor(max_lag / bin_width + 1e-9))
    bin_of = _bin_of_lag(width, n_side)
    seen = trains(rec)
    order = np.argsort(seen.ticks, kind="stable")
    half = forward_pairs(seen.ticks[order], seen.units[order], rec.n_units, bin_of, n_side + 1)
    counts = np.zeros((rec.n_units, rec.n_units, 2 * n_side + 1), dtype=np.int64)
    counts[:, :, n_side:] = half
    counts[:, :, : n_side + 1] += half.transpose(1, 0, 2)[:, :, ::-1]
    lags = np.arange(-n_side, n_side + 1, dtype=np.float64) * np.float64(bin_width)
    return lags, counts


def _bin_of_lag(width: float, n_side: int) -> NDArray[np.int64]:
    """Return the bin 0, 1, ... of each lag of 0, 1, ... ticks up to the last one counted."""
    edges = np.ceil((np.arange(n_side + 1) + 0.5) * width - 1e-9).astype(np.int64)
    return np.searchsorted(edges, np.arange(edges[-1]), side="right").astype(np.int64)
