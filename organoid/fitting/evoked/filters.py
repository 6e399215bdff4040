r"""Filters of pulses: raised cosines of the logarithm of time, their fit on recorded history, and as kernels.

On recorded history the drive of everything but the pulses, ``V``, is known, and the log-likelihood

.. math:: \sum_{p,l} n_i(t_p + l)\, V - K_i \log(1 + e^{V}), \qquad V = V_i^0(t_p + l) + \sum_b w_{bi} \phi_b(l)

minus a ridge is concave in the filter of one electrode and unit. All electrodes share a filter, towards which
their own ones are pulled: that makes 10 to 20 pulses of an electrode enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from organoid.fitting.evoked.sessions import Session, blanked_lags, electrodes_of
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.fitted_networks import FittedNetwork, expected_on_record, with_response
from organoid.fitting.teacher_forced.raised_cosines import raised_cosines
from organoid.models.spike_response.terms.stimulus import NO_FATIGUE, StimulusKernels

Array = NDArray[np.float64]
Single = NDArray[np.float32]

_NEWTON_STEPS = 12
_LARGEST = 12.0  # logit: a weight beyond it says no more


@dataclass(frozen=True)
class FilterBasis:
    """What filters are made of.

    Parameters
    ----------
    values : ndarray, shape (n_lags, n_cosines)
        0 in blanked lags.
    blanked : int
    electrodes : ndarray of int64, shape (n_electrodes,)
    n_pulses : ndarray of int64, shape (n_electrodes,)
        Training pulses.
    bin_width : float, s
    """

    values: Array
    blanked: int
    electrodes: NDArray[np.int64]
    n_pulses: NDArray[np.int64]
    bin_width: float

    @property
    def n_lags(self) -> int:
        """Bins a pulse acts in."""
        return int(self.values.shape[0])

    def kernels(self, weights: Array, baseline: Array, baseline_steps: int) -> StimulusKernels:
        """Return kernels of weights (n_electrodes, n_cosines, n_units), baselines (n_electrodes, n_units).

        A last kernel, the mean of the others, is for all electrodes without pulses of their own.
        """
        curves = np.einsum("lb,kbi->kli", self.values, weights)
        curves = np.concatenate([curves, curves.mean(0, keepdims=True)])
        low, high = (np.minimum(curves.min((0, 1)), 0.0), np.maximum(curves.max((0, 1)), 0.0))
        return StimulusKernels(
            self.bin_width,
            self.electrodes,
            np.arange(self.electrodes.size),
            self.n_pulses,
            np.ascontiguousarray(curves),
            low,
            high,
            baseline=np.concatenate([baseline, baseline.mean(0, keepdims=True)]),
            baseline_steps=baseline_steps,
            blanked=self.blanked,
            default_curve=len(curves) - 1,
        )


def filter_basis(sessions: Sequence[Session], settings: EvokedSettings) -> FilterBasis:
    """Return the basis for some sessions; lags in which most trials were hidden are left out."""
    width = sessions[0].history.bin_width
    n_lags = round(settings.reach / width)
    lags = (np.arange(n_lags) + 0.5) * width
    values = raised_cosines(
        lags, settings.n_cosines, first=settings.first, reach=settings.reach, offset=settings.offset
    )
    blanked = blanked_lags(sessions, n_lags)
    values[:blanked] = 0.0
    electrodes = electrodes_of(sessions)
    n_pulses = np.array([sum(one.chosen(int(e), True).size for one in sessions) for e in electrodes], dtype=np.int64)
    return FilterBasis(values, blanked, electrodes, n_pulses, width)


@dataclass(frozen=True)
class Trials:
    """What came after some pulses.

    Parameters
    ----------
    offsets, counts : ndarray of float32, shape (n_trials, n_lags, n_units)
        Drive of everything but the pulses on recorded history, logit, and spikes.
    seen : ndarray, shape (n_trials, n_lags)
        1 where the bin was observed.
    electrodes : ndarray of int64, shape (n_trials,)
    numbers : ndarray of int64, shape (n_trials,)
        Of each pulse, counted through all sessions.
    units : ndarray of float32, shape (n_trials, n_units)
        1 where the unit was recorded.
    """

    offsets: Single
    counts: Single
    seen: Array
    electrodes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    units: Single

    def some(self, chosen: NDArray[np.int64]) -> "Trials":
        """Return some trials."""
        return Trials(
            self.offsets[chosen],
            self.counts[chosen],
            self.seen[chosen],
            self.electrodes[chosen],
            self.numbers[chosen],
            self.units[chosen],
        )


def pulse_trials(sessions: Sequence[Session], network: FittedNetwork, n_lags: int) -> Trials:
    """Collect what came after every pulse, with the drive a network has on recorded history, pulses left out."""
    deaf = with_response(network, None)
    parts = [_trials(one, deaf, n_lags) for one in sessions]
    offsets, counts, seen = (np.concatenate(part) for part in zip(*parts))
    electrodes = np.concatenate([one.electrodes for one in sessions])
    units = np.concatenate([np.tile(one.recorded, (one.bins.size, 1)) for one in sessions]).astype(np.float32)
    return Trials(offsets, counts, seen, electrodes, np.arange(electrodes.size), units)


def forced_filters(trials: Trials, capacity: NDArray[np.int64], basis: FilterBasis, settings: EvokedSettings) -> Array:
    """Fit filters on recorded history; shape (n_electrodes, n_cosines, n_units)."""
    nothing = np.zeros((basis.values.shape[1], capacity.size))
    shared = _newton(trials, basis.values, capacity, nothing, settings.ridge)
    found = []
    for electrode in basis.electrodes:
        at = np.flatnonzero(trials.electrodes == electrode)
        few = at.size < settings.min_pulses
        found.append(shared if few else _newton(trials.some(at), basis.values, capacity, shared, settings.ridge))
    return np.stack(found)


def _trials(one: Session, network: FittedNetwork, n_lags: int) -> tuple[Single, Single, Array]:
    """Return offsets and counts (n_trials, n_lags, n_units), and which bins were observed (n_trials, n_lags)."""
    n, onsets = network.n_units, one.bins
    offsets = np.zeros((onsets.size, n_lags, n), dtype=np.float32)
    counts = np.zeros((onsets.size, n_lags, n), dtype=np.float32)
    seen = np.zeros((onsets.size, n_lags))
    if not onsets.size:
        return offsets, counts, seen
    stop_at = min(int(onsets.max()) + n_lags, one.history.n_bins)
    for first, expected in expected_on_record(one.history, network, 0, stop_at):
        stop = first + len(expected)
        for k in np.flatnonzero((onsets < stop) & (onsets + n_lags > first)):
            a, b = max(int(onsets[k]), first), min(int(onsets[k]) + n_lags, stop)
            if b <= a:
                continue
            lags = slice(a - onsets[k], b - onsets[k])
            p = np.clip(expected[a - first : b - first] / network.parameters.capacity, 1e-7, 1 - 1e-7)
            offsets[k, lags], counts[k, lags] = logit(p), one.history.counts(a, b)
            seen[k, lags] = one.history.observed[a:b]
    return offsets, counts, seen


def _newton(trials: Trials, basis: Array, capacity: NDArray[np.int64], prior: Array, ridge: float) -> Array:
    """Return the weights (n_cosines, n_units) of most penalised likelihood, pulled towards `prior`."""
    weights, seen = prior.copy(), trials.seen
    total = np.einsum("pli,pl,pi->li", trials.counts, seen, trials.units, optimize=True)
    eye = ridge * np.eye(basis.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = expit(trials.offsets + (basis @ weights).astype(np.float32))
        expected = capacity * np.einsum("pli,pl,pi->li", p, seen, trials.units, optimize=True)
        curvature = capacity * np.einsum("pli,pl,pi->li", p * (1.0 - p), seen, trials.units, optimize=True)
        gradient = basis.T @ (total - expected) - ridge * (weights - prior)
        hessian = np.einsum("lb,li,lc->ibc", basis, curvature, basis, optimize=True) + eye
        step = np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T
        weights = np.clip(weights + np.clip(step, -2.0, 2.0), -_LARGEST, _LARGEST)
        if np.abs(step).max() < 1e-3:
            break
    return weights


def as_forced(kernels: StimulusKernels) -> StimulusKernels:
    """Return kernels to predict with: recorded history tires by itself."""
    return replace(kernels, baseline=np.empty((0, 0)), baseline_steps=0, resource=NO_FATIGUE)


def bits_per_spike(
    trials: Trials, training: NDArray[np.bool_], capacity: NDArray[np.int64], basis: FilterBasis, weights: Array
) -> tuple[float, float]:
    r"""Score predictions after the pulses that were held out, with their filters and without.

    .. math:: \frac{\sum n \log(\mu/\mu_0) - (\mu - \mu_0)}{\ln 2 \sum n}

    over their observed bins; ``mu0`` is a unit's mean count in the same lags after the training pulses.

    Returns
    -------
    with_filters, without : float
    """
    seen = trials.seen.copy()
    seen[:, : basis.blanked] = 0.0
    where = np.searchsorted(basis.electrodes, trials.electrodes)
    curves = np.einsum("lb,kbi->kli", basis.values, weights)
    bins = np.maximum(np.einsum("pl,pi->i", seen[training], trials.units[training]), 1.0)
    spikes = np.einsum("pli,pl,pi->i", trials.counts[training], seen[training], trials.units[training], optimize=True)
    mean = np.maximum(spikes, 0.5) / bins
    test = ~training
    counts, held = trials.counts[test], seen[test][:, :, None] * trials.units[test][:, None, :]

    def score(drive: NDArray[np.floating[Any]]) -> float:
        mu = np.maximum(capacity * expit(drive), 1e-12)
        gain = (held * (counts * np.log(mu / mean) - (mu - mean))).sum()
        return float(gain / (np.log(2) * max((held * counts).sum(), 1.0)))

    return score(trials.offsets[test] + curves[where[test]]), score(trials.offsets[test])
