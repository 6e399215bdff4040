"""How responses tire: learned where pulses were repeated soon, assumed otherwise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from organoid.fitting.evoked.filters import FilterBasis, Trials
from organoid.fitting.evoked.sessions import Session
from organoid.models.spike_response.fatigue import Resource, strengths

Array = NDArray[np.float64]

SOON = 3.0  # s: pulses that follow another one on their electrode within it show how responses tire
MIN_SOON = 20
UTILISATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
RECOVERIES = (0.2, 0.5, 1.0, 2.0, 4.0)  # s


def learn_resource(
    sessions: Sequence[Session], trials: Trials, capacity: NDArray[np.int64], basis: FilterBasis, weights: Array
) -> Resource:
    """Return how responses tire.

    Where at least 20 training pulses follow another one on their electrode within 3 s, utilisation and recovery are
    those, of a grid, under which the filters make the recorded spikes most likely; the grid holds "nothing tires".

    Parameters
    ----------
    sessions : sequence of Session
    trials : Trials
    capacity : ndarray of int64, shape (n_units,)
    basis : FilterBasis
    weights : ndarray, shape (n_electrodes, n_cosines, n_units)
        Filters fitted on recorded history.
    """
    width = basis.bin_width
    usual = Resource(interval=typical_interval(sessions))
    soon = sum(int((since_last(one) * width < SOON)[one.training].sum()) for one in sessions)
    if soon < MIN_SOON:
        return usual
    curves = np.einsum("lb,kbi->kli", basis.values, weights)
    where = np.searchsorted(basis.electrodes, trials.electrodes)

    def likelihood(resource: Resource) -> float:
        sizes = np.concatenate([strengths(resource, one.bins * width, one.electrodes) for one in sessions])
        v = trials.offsets + sizes[trials.numbers, None, None] * curves[where]
        p = np.clip(expit(v), 1e-9, 1 - 1e-9)
        spikes = trials.counts * np.log(p) + (capacity - trials.counts) * np.log1p(-p)
        return float((spikes * trials.seen[:, :, None] * trials.units[:, None, :]).sum())

    grid = [Resource(u, tau, usual.interval, True) for u in UTILISATIONS for tau in RECOVERIES if u or tau == 1.0]
    return max(grid, key=likelihood)


def since_last(one: Session) -> Array:
    """Return how many bins before each pulse its electrode had the last one; infinite for the first."""
    out = np.full(one.bins.size, np.inf)
    last: dict[int, int] = {}
    for k, (at, electrode) in enumerate(zip(one.bins.tolist(), one.electrodes.tolist())):
        if electrode in last:
            out[k] = at - last[electrode]
        last[electrode] = at
    return out


def typical_interval(sessions: Sequence[Session]) -> float:
    """Return the median interval of pulses on one electrode, s; infinite for single pulses."""
    gaps = np.concatenate([since_last(one) * one.history.bin_width for one in sessions])
    gaps = gaps[np.isfinite(gaps)]
    return float(np.median(gaps)) if gaps.size else float("inf")
