"""Loops that numpy cannot do: compiled on first use, imported only by the functions that need them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import inner, kernel


@kernel(nogil=True)
def kernel_sums(times: NDArray[Any], units: NDArray[Any], n_units: int, tau: float) -> NDArray[Any]:
    """Sum ``exp(-(t - s) / tau)`` over pairs; ``out[i, j]``: spike t of i comes after spike s of j.

    `times` (s) must be sorted.
    """
    out = np.zeros((n_units, n_units))
    trace = np.zeros(n_units)
    for k in range(times.size):
        if k > 0 and times[k] != times[k - 1]:
            trace *= np.exp((times[k - 1] - times[k]) / tau)
        out[units[k]] += trace
        trace[units[k]] += 1.0
    return out


@inner(nogil=True)
def _best_matching(a: NDArray[Any], b: NDArray[Any], cost: float) -> float:
    """Return the largest sum of ``2 - cost |dt|`` over order-preserving matchings of two trains."""
    best = np.zeros(b.size + 1)  # best[j]: using the first j spikes of b and the rows so far
    reach = 2.0 / cost
    low, high = 0, 0
    for t in a:
        while low < b.size and b[low] < t - reach:
            low += 1
        while high < b.size and b[high] <= t + reach:
            high += 1
            best[high] = best[high - 1]  # no spike beyond had been met before
        before = best[low]
        for j in range(low, high):
            matched = before + 2.0 - cost * abs(t - b[j])
            before = best[j + 1]
            best[j + 1] = max(best[j + 1], best[j], matched)
    return float(best[high])


@kernel(nogil=True)
def best_matchings(times: NDArray[Any], bounds: NDArray[Any], cost: float) -> NDArray[Any]:
    """Return `_best_matching` of every pair of units; unit k owns ``times[bounds[k]:bounds[k + 1]]``."""
    n_units = bounds.size - 1
    out = np.zeros((n_units, n_units))
    for i in range(n_units):
        for j in range(i + 1, n_units):
            gain = _best_matching(times[bounds[i] : bounds[i + 1]], times[bounds[j] : bounds[j + 1]], cost)
            out[i, j] = gain
            out[j, i] = gain
    return out


@kernel(nogil=True)
def forward_pairs(
    ticks: NDArray[Any], units: NDArray[Any], n_units: int, bin_of: NDArray[Any], n_bins: int
) -> NDArray[Any]:
    """Count pairs of spikes by (earlier one's unit, later one's unit, bin of their lag).

    `ticks` must be sorted; of equal ones the first stored is the earlier. ``bin_of[d]`` is the bin of a
    lag of d ticks; longer lags are not counted.
    """
    out = np.zeros((n_units, n_units, n_bins), dtype=np.int64)
    for i in range(ticks.size):
        counts = out[units[i]]
        for j in range(i + 1, ticks.size):
            lag = ticks[j] - ticks[i]
            if lag >= bin_of.size:
                break
            counts[units[j], bin_of[lag]] += 1
    return out
