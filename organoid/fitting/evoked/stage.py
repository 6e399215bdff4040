r"""The evoked stage: free runs of the stimulated sessions move the filters until they answer as recorded.

Recorded history carries most of an answer one step ahead, so that filters fitted on it are too weak, or too strong,
when the network runs freely. Here the network runs the stimulated sessions freely with their pulses. For each
electrode the recorded mean counts ``n`` after its training pulses, less those of the free runs, move the weights ``w``
of its filter, made of cosines ``B``, by a Newton step from the forced filter ``w_0``; there are ``N`` pulses, at most
``K`` spikes in a bin, and the recorded spike probabilities are ``p``:

.. math::

    w \mathrel{+}= \eta\, H^{-1} \big(N B^T (\bar n^{rec} - \bar n^{free}) - \lambda (w - w_0)\big), \qquad
    H = N\, B^T \mathrm{diag}(K p (1 - p)) B + \lambda I

Beside it each session has a baseline for every unit, moved by the log ratio of rates between the responses: a
stimulated culture fires at other rates than the spontaneous one. Weights of the network stay as they are. The result is
the mean of the last rounds, since the answer of one free run is a noisy target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.evoked.filters import FilterBasis
from organoid.fitting.evoked.sessions import Histogram, Session, background_bins, histogram
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.fitted_networks import FittedNetwork
from organoid.fitting.free_run.recorded_stimuli import PulsedNetwork, PulsedState
from organoid.models.rng import stream_key
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.parallel import in_threads

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Spikes = tuple[Index, Index]

AFTER_LAST = 6.0  # s after the last pulse for which a session is run
_WARM_UP = 3.0  # s before a session begins
_LOWEST = 1e-6  # probability of a spike in a bin
_MAX_RUNAWAYS = 4
_APART = 1_000_000  # bins between two rounds of a session: it is played once


@dataclass(frozen=True)
class Evoked:
    """What the stage found.

    Parameters
    ----------
    weights : ndarray, shape (n_electrodes, n_cosines, n_units)
    baseline : ndarray, shape (n_sessions, n_units), logit
    misfit : tuple of float
        In each round: root mean square of recorded less simulated spikes per pulse over cosines.
    """

    weights: Array
    baseline: Array
    misfit: tuple[float, ...]


def evoked_stage(
    network: FittedNetwork,
    sessions: Sequence[Session],
    strengths: Sequence[Array],
    basis: FilterBasis,
    start: Array,
    settings: EvokedSettings,
    seed: int,
) -> Evoked:
    """Move filters and baselines by free runs; see the module docstring.

    Parameters
    ----------
    network : FittedNetwork
    sessions : sequence of Session
    strengths : sequence of ndarray, shape (n_pulses,)
        How strongly each pulse acts (fatigue, and 0 where the culture did not answer).
    basis : FilterBasis
    start : ndarray, shape (n_electrodes, n_cosines, n_units)
        Weights to begin with, and to be pulled back to.
    settings : EvokedSettings
    seed : int

    Raises
    ------
    FitError
        If the network runs away under the pulses again and again.
    """
    target = _Target(sessions, strengths, basis, settings, network.parameters.capacity)
    weights, baseline = start.copy(), target.first_baseline(network)
    kept: list[tuple[Array, Array]] = []
    misfit: list[float] = []
    runaways = 0
    for k in range(settings.rounds + settings.polish_rounds):
        polish = k >= settings.rounds
        if k == settings.rounds:
            weights, baseline = _mean(kept[settings.rounds // 2 :])
            kept = []
        copies = settings.polish_copies if polish else 1
        ran = _run_all(network, target, weights, baseline, copies, stream_key(seed, f"evoked {k}"))
        if ran is None:
            runaways += 1
            if runaways > _MAX_RUNAWAYS:
                raise FitError(
                    "the network runs away under the recorded pulses, also when its response to them is made weaker; "
                    "fit a network that passes the free-run check first"
                )
            weights, baseline = weights / 2, baseline / 2
            kept.append((weights, baseline))
            continue
        step = settings.polish_step if polish else settings.step / (1.0 + settings.step_decay * k)
        weights, off = target.improved(weights, start, ran, copies, step)
        baseline = target.shifted(baseline, ran, copies, step * settings.baseline_step / settings.step)
        misfit.append(off)
        kept.append((weights, baseline))
    return Evoked(*_mean(kept), tuple(misfit))


def _mean(kept: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    weights, baselines = zip(*kept)
    return np.mean(weights, axis=0), np.mean(baselines, axis=0)


class _Target:
    """What was recorded, and how far free runs are from it."""

    def __init__(
        self,
        sessions: Sequence[Session],
        strengths: Sequence[Array],
        basis: FilterBasis,
        settings: EvokedSettings,
        capacity: NDArray[np.int64],
    ) -> None:
        self.sessions, self.strengths, self.basis, self.settings = sessions, strengths, basis, settings
        self.capacity = capacity
        electrodes = [int(electrode) for electrode in basis.electrodes]
        self.known = [np.all([s.recorded for s in sessions if s.chosen(e, True).size], axis=0) for e in electrodes]
        self.quiet = [background_bins(one, settings.background) for one in sessions]
        self.spikes = [(one.history.bins, one.history.units) for one in sessions]
        self.recorded = [self.after_pulses(self.spikes, k, fitted=True) for k in range(basis.electrodes.size)]
        self.background = [self._background(k, self.spikes[k]) for k in range(len(sessions))]
        self.newton = [self._newton(found) for found in self.recorded]

    def answered(self, s: int, electrode: int, *, fitted: bool) -> Index:
        """Return the bins of the pulses of an electrode in a session that were answered; of those to fit, or of all."""
        one = self.sessions[s]
        mine = one.electrodes == int(self.basis.electrodes[electrode])
        return np.asarray(one.bins[mine & (self.strengths[s] > 0) & (one.training | (not fitted))])

    def after_pulses(self, spikes: Sequence[Spikes], electrode: int, *, fitted: bool) -> Histogram:
        """Count what follows the answered pulses of an electrode, in one copy of all sessions.

        A free run may be counted after all of them: more of its own answers make a less noisy mean.
        """
        n, found = self.capacity.size, []
        for s, one in enumerate(self.sessions):
            onsets = self.answered(s, electrode, fitted=fitted)
            found.append(histogram(*spikes[s], n, onsets, self.basis.n_lags, one.history.observed))
        return sum(found[1:], found[0])

    def improved(
        self, weights: Array, start: Array, ran: Sequence[Sequence[Spikes]], copies: int, step: float
    ) -> tuple[Array, float]:
        """Return the weights after a step, and how far off the answers were."""
        out, off = weights.copy(), []
        for k, (inverse, ridge, used) in enumerate(self.newton):
            simulated = [self.after_pulses(copy, k, fitted=False).mean for copy in ran]
            difference = np.where(used[:, None], self.recorded[k].mean - np.mean(simulated, axis=0), 0.0)
            difference[:, ~self.known[k]] = 0.0
            gradient = self.basis.values.T @ difference
            off.append(gradient)
            n = self.recorded[k].trials.max()
            pulled = n * gradient - ridge * (weights[k] - start[k])
            change = step * np.einsum("ibc,ci->bi", inverse, pulled)
            limit = self.settings.max_weight
            out[k] = weights[k] + np.clip(change, -limit, limit)
        return out, float(np.sqrt(np.mean(np.square(off))))

    def shifted(self, baseline: Array, ran: Sequence[Sequence[Spikes]], copies: int, step: float) -> Array:
        """Return the baselines after a step."""
        out = baseline.copy()
        for s, recorded in enumerate(self.background):
            simulated = np.mean([self._background(s, copy[s]) for copy in ran], axis=0)
            known = self.sessions[s].recorded
            out[s, known] += step * np.log((recorded + 1.0) / (simulated + 1.0))[known]
        return np.clip(out, -self.settings.max_baseline, self.settings.max_baseline)

    def first_baseline(self, network: FittedNetwork) -> Array:
        """Return no shift of any unit."""
        return np.zeros((len(self.sessions), network.n_units))

    def kernels(self, weights: Array, baseline: Array) -> StimulusKernels:
        """Return the kernels of one session."""
        rows = np.tile(baseline, (self.basis.electrodes.size, 1))
        longest = max(int(np.diff(one.bins, append=one.history.n_bins).max()) for one in self.sessions)
        return self.basis.kernels(weights, rows, longest + 1)

    def _background(self, s: int, spikes: Spikes) -> Array:
        """Return spikes of every unit between responses."""
        bins, units = spikes
        return np.bincount(units[self.quiet[s][bins]], minlength=self.capacity.size).astype(np.float64)

    def _newton(self, recorded: Histogram) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return for every unit the inverse of ``H`` (n_units, b, b) and its ridge, and the lags that count."""
        used = recorded.trials >= max(0.5 * recorded.trials.max(initial=0.0), 1.0)
        used[: self.basis.blanked] = False
        settings, values = self.settings, self.basis.values * used[:, None]
        weight = values.sum(0)
        local = (values.T @ recorded.mean) / np.maximum(weight, 1e-12)[:, None]
        smooth = (values @ local) / np.maximum(values.sum(1), 1e-12)[:, None] / self.capacity
        p = np.clip(smooth, _LOWEST, 0.5)
        n = recorded.trials.max(initial=0.0)
        spikes = recorded.counts[used].sum(0)
        ridge = np.where(spikes >= settings.sparse_spikes, settings.ridge, settings.sparse_ridge)
        curvature = n * self.capacity * p * (1.0 - p)
        hessian = np.einsum("lb,li,lc->ibc", values, curvature, values, optimize=True)
        hessian += ridge[:, None, None] * np.eye(values.shape[1])
        return np.linalg.inv(hessian), ridge, used


def _run_all(
    network: FittedNetwork, target: _Target, weights: Array, baseline: Array, copies: int, key: np.uint64
) -> list[list[Spikes]] | None:
    """Run every session some times; None where the network ran away. Copies first, then sessions."""
    kernels = [target.kernels(weights, row) for row in baseline]
    plan = [(c, s) for c in range(copies) for s in range(len(target.sessions))]

    def one(place: tuple[int, int]) -> Spikes | None:
        copy, s = place
        seed = int(stream_key(int(key % np.uint64(2**31)), f"{copy} {s}") % np.uint64(2**62))
        return run_session(network, kernels[s], target.sessions[s], target.strengths[s], seed)

    done = list(in_threads(one, plan))
    spikes = [each for each in done if each is not None]
    if len(spikes) < len(done):
        return None
    n = len(target.sessions)
    return [spikes[c * n : (c + 1) * n] for c in range(copies)]


def run_session(
    network: FittedNetwork, kernels: StimulusKernels, one: Session, strengths: Array, seed: int
) -> Spikes | None:
    """Let a network run freely through a session and its pulses; return bins and units of its spikes.

    Parameters
    ----------
    network : FittedNetwork
    kernels : StimulusKernels
    one : Session
    strengths : ndarray, shape (n_pulses,)
        How strongly each pulse acts.
    seed : int

    Returns
    -------
    bins, units : ndarray of int64; None where the network ran away
    """
    after = round(AFTER_LAST / network.dt)
    n_bins = min(one.history.n_bins, int(one.bins.max(initial=0)) + after)
    track = PulseTrack(one.bins, kernels.curves_of(one.electrodes), strengths)
    warm_up = round(_WARM_UP / network.dt)
    pulsed = PulsedNetwork(network, kernels, track, n_bins + _APART)
    done = pulsed.advance(PulsedState(network.initial_state(seed), -warm_up), warm_up + n_bins)
    if done.runaway:
        return None
    keep = done.steps >= warm_up
    return done.steps[keep] - warm_up, done.units[keep]
