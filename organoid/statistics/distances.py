"""Exact distances between the spike trains of a recording's units."""

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import positive, trains

_ROUNDING = 1e-12  # squared distances below this share of their parts are rounding, not distance


def van_rossum(rec: SpikeRecording, tau: float) -> NDArray[np.float64]:
    """Return the van Rossum distance of every pair of units.

    ``D^2 = (2 / tau) * integral of (f - g)^2``, ``f(t) = sum over spikes s <= t of exp(-(t - s) / tau)``,
    in closed form ``sum_aa e + sum_bb e - 2 sum_ab e`` with ``e = exp(-|s - s'| / tau)``. One spike more
    or less is a distance of 1 (the paper's own factor would make it ``1 / sqrt(2)``).

    Parameters
    ----------
    rec : SpikeRecording
    tau : float, s

    Returns
    -------
    ndarray, shape (n_units, n_units)
        Symmetric, 0 on the diagonal. A silent unit is the empty train.

    References
    ----------
    M. C. W. van Rossum, "A novel spike distance", 2001; C. Houghton, T. Kreuz, "On the efficient
    calculation of van Rossum distances", 2012.
    """
    from organoid.statistics._compiled import kernel_sums

    seen = trains(rec)
    order = np.argsort(seen.ticks, kind="stable")
    later = kernel_sums(seen.times[order], seen.units[order], rec.n_units, positive(tau, "tau"))
    sums = later + later.T + np.diag(seen.n_spikes.astype(np.float64))
    own = np.diag(sums)
    parts = own[:, None] + own[None, :]
    squared = parts - 2 * sums
    squared[squared < _ROUNDING * parts] = 0.0
    out: NDArray[np.float64] = np.sqrt(squared)
    return out


def victor_purpura(rec: SpikeRecording, cost: float) -> NDArray[np.float64]:
    """Return the Victor-Purpura distance of every pair of units.

    The cheapest way to turn one train into the other: 1 to delete or insert a spike, ``cost * |dt|`` to
    move one by ``dt``. Computed as ``n_a + n_b - max sum of (2 - cost |dt|)`` over matchings that keep
    the order; only spikes closer than ``2 / cost`` can gain, so each spike meets only those. Exact.

    Parameters
    ----------
    rec : SpikeRecording
    cost : float, 1/s
        0 compares spike numbers only.

    Returns
    -------
    ndarray, shape (n_units, n_units)
        Symmetric, 0 on the diagonal. A silent unit is the empty train.

    References
    ----------
    J. D. Victor, K. P. Purpura, "Nature and precision of temporal coding in visual cortex: a
    metric-space analysis", 1996.
    """
    from organoid.statistics._compiled import best_matchings

    if not (np.isfinite(cost) and cost >= 0):
        raise RecordingError(f"cost is {cost!r} per s; expected a number of 0 or more")
    seen = trains(rec)
    counts = seen.n_spikes.astype(np.float64)
    out: NDArray[np.float64] = np.abs(counts[:, None] - counts[None, :])
    if cost > 0:
        gain = best_matchings(seen.times, seen.bounds, float(cost))
        out = np.maximum(counts[:, None] + counts[None, :] - gain, out)  # never below the difference in number
    np.fill_diagonal(out, 0.0)
    return out
