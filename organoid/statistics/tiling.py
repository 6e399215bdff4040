"""Spike time tiling coefficient: synchrony that does not grow with rate."""

import numpy as np
from numpy.typing import NDArray

from organoid.recording import SpikeRecording
from organoid.statistics.trains import Trains, observed_before, observed_spans, trains, whole_ticks


def sttc(rec: SpikeRecording, dt: float = 0.05) -> NDArray[np.float64]:
    """Return the spike time tiling coefficient of every pair of units.

    ``STTC = ((P_A - T_B) / (1 - P_A T_B) + (P_B - T_A) / (1 - P_B T_A)) / 2`` with ``P_A`` the share of
    A's spikes within ``+-dt`` of one of B's (``dt`` itself included), and ``T_A`` the share of the
    observed time within ``+-dt`` of one of A's (tiles end where the observed time ends). A term with
    ``P T = 1`` is 1. Compared in whole ticks: no result hangs on rounding.

    Parameters
    ----------
    rec : SpikeRecording
    dt : float, s
        Half-width of a tile.

    Returns
    -------
    ndarray, shape (n_units, n_units)
        Symmetric; 1 on the diagonal; NaN where a unit of the pair is silent.

    References
    ----------
    C. S. Cutts, S. J. Eglen, "Detecting pairwise correlations in spike trains: an objective comparison
    of methods and application to the study of retinal waves", 2014.
    """
    reach = whole_ticks(dt, "dt", rec.tick_rate)
    seen = trains(rec)
    spans = observed_spans(rec)
    counts = seen.n_spikes
    covered = np.zeros((rec.n_units, rec.n_units))
    tiled = np.zeros(rec.n_units)
    order = np.argsort(seen.ticks, kind="stable")
    ticks, units = seen.ticks[order], seen.units[order].astype(np.int64)
    for unit in np.flatnonzero(counts).tolist():
        left, right = _tiles(seen, unit, reach)
        tiled[unit] = np.sum(observed_before(right, spans) - observed_before(left, spans))
        covered[:, unit] = _covered(ticks, units, left, right, rec.n_units)
    return _coefficient(covered, tiled, counts, spans)


def _tiles(seen: Trains, unit: int, reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the merged tiles ``[left, right]`` around one unit's spikes."""
    bounds = seen.bounds
    own = seen.ticks[bounds[unit] : bounds[unit + 1]]
    gap = np.flatnonzero(np.diff(own) > 2 * reach)
    left = own[np.concatenate([[0], gap + 1])] - reach
    right = own[np.concatenate([gap, [own.size - 1]])] + reach
    return left, right


def _covered(
    ticks: NDArray[np.int64],
    units: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    n_units: int,
) -> NDArray[np.int64]:
    """Count each unit's spikes inside the tiles; every tile holds a spike, so no two begin at one index."""
    steps = np.zeros(ticks.size + 1, dtype=np.int8)
    steps[np.searchsorted(ticks, left, side="left")] += 1
    steps[np.searchsorted(ticks, right, side="right")] -= 1
    inside = np.cumsum(steps[:-1], dtype=np.int8).view(bool)
    return np.bincount(units[inside], minlength=n_units)


def _coefficient(
    covered: NDArray[np.float64],
    tiled: NDArray[np.float64],
    counts: NDArray[np.int64],
    spans: NDArray[np.int64],
) -> NDArray[np.float64]:
    total = max(int(np.sum(spans[:, 1] - spans[:, 0])), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = covered / counts[:, None]
        t = tiled[None, :] / total
        term = np.where(p * t == 1, 1.0, (p - t) / (1 - p * t))
    out = (term + term.T) / 2
    silent = counts == 0
    out[silent, :] = np.nan
    out[:, silent] = np.nan
    np.fill_diagonal(out, np.where(silent, np.nan, 1.0))
    return out
