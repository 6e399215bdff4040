"""How units follow the population, and in how many dimensions it moves."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.trains import observed_spans, positive, ratio, trains

_REACH = 4.0  # standard deviations of the kernel


def population_coupling(rec: SpikeRecording, sigma: float = 0.012) -> NDArray[np.float64]:
    """Return how much the other units fire, above their mean, when a unit fires.

    ``c_i = (P_i - M_i) / M_i``, with ``P_i`` the rate of all other units at the spikes of i, smoothed by a Gaussian of
    standard deviation `sigma`, and ``M_i`` the sum of their mean rates. A unit that fires independently has 0.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    sigma : float, s

    Returns
    -------
    ndarray, shape (n_units,)
        NaN for a silent unit, and where no other unit fires.

    References
    ----------
    M. Okun et al., "Diverse coupling of neurons to populations in sensory cortex", 2015 (the spike-triggered
    population rate at lag 0; here in units of the mean rate).

    Examples
    --------
    >>> rec = SpikeRecording([1.0, 1.0, 5.0, 5.0], [0, 1, 0, 1], t_stop=10.0)
    >>> bool((population_coupling(rec) > 10).all())
    True
    """
    width = positive(sigma, "sigma") * rec.tick_rate
    seen = trains(rec)
    order = np.argsort(seen.ticks, kind="stable")
    ticks = seen.ticks[order]
    near = np.empty(ticks.size)
    near[order] = _smoothed(ticks, ticks, width)
    bounds = seen.bounds
    for unit in np.flatnonzero(seen.n_spikes).tolist():
        own = seen.ticks[bounds[unit] : bounds[unit + 1]]
        near[bounds[unit] : bounds[unit + 1]] -= _smoothed(own, own, width)
    spans = observed_spans(rec)
    seconds = float(np.sum(spans[:, 1] - spans[:, 0])) / rec.tick_rate
    at_spikes = ratio(np.bincount(seen.units, weights=near, minlength=rec.n_units), seen.n_spikes) * rec.tick_rate
    others = ratio(seen.n_spikes.sum() - seen.n_spikes, seconds)
    return ratio(at_spikes - others, others)


def _smoothed(ticks: NDArray[np.int64], at: NDArray[np.int64], width: float) -> NDArray[np.float64]:
    """Return the density of `ticks` (sorted), per tick, under a Gaussian at other sorted ticks.

    The Gaussian is a staircase of 16 steps per standard deviation: counts between edges, never a table of bins.
    """
    steps = np.arange(1, round(16 * _REACH) + 1) / 16
    heights = np.exp(-0.5 * (steps - 1 / 32) ** 2) / (np.sqrt(2 * np.pi) * width)
    drops = heights - np.append(heights[1:], 0.0)
    total = np.zeros(at.size)
    for step, drop in zip(steps * width, drops):
        total += drop * (np.searchsorted(ticks, at + step, side="right") - np.searchsorted(ticks, at - step))
    return total


def effective_dimension(
    rec: SpikeRecording, bin_width: float = 0.1, *, method: Literal["entropy", "participation"] = "entropy"
) -> float:
    """Return in how many dimensions the counts of the units vary together.

    With ``p_i`` the eigenvalues of the covariance of the counts, divided by their sum: ``exp(-sum p_i log p_i)`` (the
    effective rank), or ``1 / sum p_i^2`` (the participation ratio). Independent units of equal variance have as many
    dimensions as units, units with one common signal have 1.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bin_width : float, s
        Only bins that were fully observed count.
    method : {"entropy", "participation"}

    Returns
    -------
    float
        NaN where fewer than two bins were observed or no count varies.

    References
    ----------
    O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", 2007; L. F. Abbott, K. Rajan,
    H. Sompolinsky, "Interactions between intrinsic and stimulus-evoked activity in recurrent neural networks", 2011.

    Examples
    --------
    >>> rec = SpikeRecording([0.05, 0.05, 0.25, 0.25], [0, 1, 0, 1], t_stop=0.4)
    >>> round(effective_dimension(rec, 0.1), 6)
    1.0
    """
    if method not in ("entropy", "participation"):
        raise RecordingError(f'method {method!r}; expected "entropy" or "participation"')
    counts = rec.counts(positive(bin_width, "bin_width"))[rec.observed_bins(bin_width)]
    if len(counts) < 2 or not rec.n_units:
        return float("nan")
    away = counts - counts.mean(axis=0)
    values = np.clip(np.linalg.eigvalsh(away.T @ away), 0.0, None)
    if values.sum() <= 0:
        return float("nan")
    part = values / values.sum()
    if method == "participation":
        return float(1 / np.sum(part**2))
    part = part[part > 0]
    return float(np.exp(-np.sum(part * np.log(part))))
