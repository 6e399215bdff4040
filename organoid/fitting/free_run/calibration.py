"""Which weights to simulate with: the forced ones if they pass already, else the gentlest correction that does.

Everything is judged on the training part: free runs against its summary of activity, and the forced likelihood on its
control bins. Corrections are tried from gentle to thorough: biases alone, then all weights, whole or in part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.free_run.comparison import (
    ActivitySummary,
    free_run,
    free_run_scores,
    rates_off,
    summarise,
    summarize_activity,
)
from organoid.fitting.free_run.criteria import discrepancy, reasons
from organoid.fitting.free_run.latent_drive import fit_drive
from organoid.fitting.free_run.moments import FreeFit, fit_free, longest_stretch
from organoid.fitting.free_run.recorded_stimuli import with_recorded_pulses
from organoid.fitting.free_run.safeguard import LikelihoodLoss
from organoid.fitting.free_run.settings import DEFAULT, FreeRunSettings
from organoid.fitting.teacher_forced.estimate import Design, ForcedFit, assemble, without_products
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

Array = NDArray[np.float64]

CHECK_SEEDS, DRIVE_SEEDS, RATE_SEEDS = 1000, 2000, 3000  # apart from the seeds of the scores
BUDGET = 1.5  # of the largest loss: how far a correction may stray on its way
_HALVINGS = 6
RATE_ROUNDS, RATE_GAIN, MAX_STEP = 6, 0.6, 1.0  # of biases by whole runs; logit
RATE_LOSS = 0.0015  # share of the gain that the mean rate may cost beyond
NEAR = 2.0  # discrepancy (log units) below which biases alone are worth a try
NOT_ALIVE = ("forced, not alive", "forced, other basis")


@dataclass(frozen=True)
class FreeWeights:
    """The network to simulate with, and how it was chosen.

    Parameters
    ----------
    parameters : SpikeResponseParameters
    choice : str
        "forced" (passed as it was), "rates" (biases corrected), "free" (all weights corrected), "between" (a
        part of that, or of the biases' correction), "simpler" (without products of population features, corrected
        where needed), "forced, not alive", "forced, other basis" (did not pass, and no
        correction is made for couplings of finite length), or "driven" (passes with a shared
        drive, not without).
    discrepancy : float
        Of the choice; see `organoid.fitting.free_run.criteria`.
    loss : float
        Share of the likelihood gain given up, on the training part.
    moments_off : tuple of float
        How far moments were off in each step of the last correction.
    passes : bool
        Whether no further correction is needed.
    """

    parameters: SpikeResponseParameters
    choice: str
    discrepancy: float
    loss: float
    moments_off: tuple[float, ...] = ()
    passes: bool = False


def choose_free_weights(
    rec: SpikeRecording,
    training: History,
    design: Design,
    forced: ForcedFit,
    *,
    seed: int,
    device: str | None = None,
    settings: FreeRunSettings = DEFAULT,
    progress: bool = False,
) -> FreeWeights:
    """Run the forced network freely; where it does not pass, correct it until it does, or keep what is best.

    Parameters
    ----------
    rec : SpikeRecording
        The training part.
    training, design, forced
        As fitted.
    seed : int
    device : str, optional
        Where the windows of corrections run; see `organoid.fitting.free_run.windows.compare_windows`.
    settings : FreeRunSettings
    progress : bool
    """
    recorded = summarize_activity(rec)
    stimulus = forced.stimulus
    first = check_free_runs(SpikeResponseNetwork(forced.parameters, stimulus), training, recorded, seed, settings)
    best = _uncorrected(forced.parameters, first)
    if first.passes:
        return best
    if design.basis.lags.size or forced.parameters.added:
        return best if first.alive else replace(best, choice="forced, other basis")
    if longest_stretch(training.observed) * training.bin_width < settings.min_segment:
        return best
    plans = settings.plans if first.discrepancy < NEAR else [plan for plan in settings.plans if plan.everything]
    loss, kept, most = LikelihoodLoss(design, forced), forced.theta, max_loss(recorded, settings)
    options: dict[str, Any] = {"budget": BUDGET * most, "seed": seed, "device": device, "progress": progress}
    fits = (fit_free(training, design, forced, plan, **options) for plan in plans)
    attempts = _corrections(forced.theta, fits, loss, most)
    if recorded.bursts_count and forced.candidate.fields == "products":
        attempts = chain(attempts, _without_products(training, design, forced, loss, most, settings, options))
    for name, theta, off in attempts:
        parameters = assemble(training, design, theta)
        found = check_free_runs(SpikeResponseNetwork(parameters, stimulus), training, recorded, seed, settings)
        if found.discrepancy < best.discrepancy:
            best, kept = FreeWeights(parameters, name, found.discrepancy, loss(theta), off, found.passes), theta
        if found.passes:
            return best
        if found.alive and not recorded.bursts_count:  # without bursts, no more is to be had but the mean rate
            break
    if recorded.bursts_count:
        return best
    return _with_mean_rate(best, kept, loss, stimulus, training, recorded, seed, settings)


def _without_products(
    training: History,
    design: Design,
    forced: ForcedFit,
    loss: Callable[[Array], float],
    most: float,
    settings: FreeRunSettings,
    options: dict[str, Any],
) -> Iterator[tuple[str, Array, tuple[float, ...]]]:
    """Yield weights without products of population features: as they are, then corrected.

    Some forced networks are far too quiet with them, and their moments then lead away from the recording.
    """
    simpler = without_products(training, design, forced)
    yield "simpler", simpler.theta, ()
    fits = (fit_free(training, design, simpler, plan, **options) for plan in settings.plans if plan.everything)
    for _, theta, off in _corrections(simpler.theta, fits, loss, most):
        yield "simpler", theta, off


def _uncorrected(parameters: SpikeResponseParameters, found: "FreeRunCheck") -> FreeWeights:
    choice = "forced" if found.alive else "forced, not alive"
    return FreeWeights(parameters, choice, found.discrepancy, 0.0, passes=found.passes)


def _with_mean_rate(
    best: FreeWeights,
    theta: Array,
    loss: Callable[[Array], float],
    stimulus: StimulusKernels | None,
    training: History,
    recorded: ActivitySummary,
    seed: int,
    settings: FreeRunSettings = DEFAULT,
) -> FreeWeights:
    """Move all biases alike towards the recorded mean rate, as far as likelihood allows, if that helps."""
    moved = _by_whole_runs(best.parameters, stimulus, training, recorded, seed, settings, each=False)
    shift = moved.bias - best.parameters.bias
    part = _share(theta, _shifted(theta, shift), loss, settings.max_loss[1] + RATE_LOSS) * shift
    parameters = _biased(best.parameters, part)
    found = check_free_runs(SpikeResponseNetwork(parameters, stimulus), training, recorded, seed, settings)
    if found.discrepancy >= best.discrepancy:
        return best
    choice = "rates" if best.choice.startswith("forced") else best.choice
    lost = loss(_shifted(theta, part))
    return FreeWeights(parameters, choice, found.discrepancy, lost, best.moments_off, found.passes)


def max_loss(recorded: ActivitySummary, settings: FreeRunSettings) -> float:
    """Return the largest share of likelihood that a correction may give up."""
    bursting, asynchronous = settings.max_loss
    return bursting if recorded.bursts_count else asynchronous


def choose_large_weights(
    rec: SpikeRecording,
    training: History,
    design: Design,
    forced: ForcedFit,
    *,
    seed: int,
    settings: FreeRunSettings = DEFAULT,
) -> FreeWeights:
    """Do the same for a network too large for the moment stage: biases alone, corrected by whole free runs.

    Parameters
    ----------
    rec : SpikeRecording
        The training part.
    training, design, forced
        As fitted.
    seed : int
    settings : FreeRunSettings
    """
    recorded, parameters = summarize_activity(rec), forced.parameters
    first = check_free_runs(SpikeResponseNetwork(parameters, forced.stimulus), training, recorded, seed, settings)
    if first.passes:
        return _uncorrected(parameters, first)
    parameters = _by_whole_runs(parameters, forced.stimulus, training, recorded, seed, settings, each=True)
    after = check_free_runs(SpikeResponseNetwork(parameters, forced.stimulus), training, recorded, seed, settings)
    if after.discrepancy >= first.discrepancy:
        return _uncorrected(forced.parameters, first)
    theta = _shifted(forced.theta, parameters.bias - forced.parameters.bias)
    return FreeWeights(parameters, "rates", after.discrepancy, LikelihoodLoss(design, forced)(theta))


def _by_whole_runs(
    parameters: SpikeResponseParameters,
    stimulus: StimulusKernels | None,
    training: History,
    recorded: ActivitySummary,
    seed: int,
    settings: FreeRunSettings = DEFAULT,
    *,
    each: bool,
) -> SpikeResponseParameters:
    """Return a network whose whole free runs have the recorded rates, of each unit or in the mean, by its biases."""
    for k in range(RATE_ROUNDS):
        network = with_recorded_pulses(SpikeResponseNetwork(parameters, stimulus), training)
        simulated, _ = free_run(network, settings.check_duration, seed + RATE_SEEDS + k)
        wanted, found = recorded.rates, firing_rates(simulated)
        if not each:
            wanted, found = (np.full_like(rates, rates.mean()) for rates in (wanted, found))
        step = np.clip(rates_off(wanted, found), -MAX_STEP, MAX_STEP)
        parameters = _biased(parameters, RATE_GAIN * step)
    return parameters


def _biased(parameters: SpikeResponseParameters, by: Array) -> SpikeResponseParameters:
    """Return a network of other biases; the highest recorded potentials move with them."""
    return parameters._replace(bias=parameters.bias + by, ceiling=parameters.ceiling + by)


def _shifted(theta: Array, by: Array) -> Array:
    """Return parameters with other biases."""
    return np.vstack([theta[:-1], theta[-1] + by])


def _corrections(
    forced: Array, fits: Iterator[FreeFit], loss: Callable[[Array], float], max_loss: float
) -> Iterator[tuple[str, Array, tuple[float, ...]]]:
    """Yield weights from the gentlest correction on, each as far as its loss allows, then half as far.

    A correction is worked out only when it is requested.
    """
    for fit in fits:
        share, whole = _share(forced, fit.theta, loss, max_loss), "free" if fit.plan.everything else "rates"
        for part in (share, share / 2) if share > 0.0 else ():
            name = whole if part == 1.0 else "between"
            yield name, forced + part * (fit.theta - forced), fit.moments_off


def _share(forced: Array, theta: Array, loss: Callable[[Array], float], max_loss: float) -> float:
    """Return how much of the way to `theta` may be gone, 0 for none at all.

    The loss grows along the way (it is convex and least at its start); 0 where a correction has diverged.
    """
    if not np.all(np.isfinite(theta)):
        return 0.0
    if loss(theta) <= max_loss:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        allowed = loss(forced + middle * (theta - forced)) <= max_loss
        low, high = (middle, high) if allowed else (low, middle)
    return low


def with_latent_drive(
    weights: FreeWeights,
    rec: SpikeRecording,
    training: History,
    stimulus: StimulusKernels | None = None,
    *,
    seed: int,
    settings: FreeRunSettings = DEFAULT,
) -> FreeWeights:
    """Return weights with the drive their free runs lack, where it passes the check with it, or comes nearer to that.

    Parameters
    ----------
    weights : FreeWeights
    rec : SpikeRecording
        The training part.
    training : History
        The same.
    stimulus : StimulusKernels, optional
    seed : int
    settings : FreeRunSettings
    """

    def alone(parameters: SpikeResponseParameters) -> FreeRunningNetwork:
        return with_recorded_pulses(SpikeResponseNetwork(parameters, stimulus), training)

    recorded = summarize_activity(rec)
    driven = fit_drive(weights.parameters, rec, alone, seed=seed + DRIVE_SEEDS, duration=settings.drive_duration)
    if driven is weights.parameters:
        return weights
    both = (weights.parameters, driven)
    before, after = (
        check_free_runs(SpikeResponseNetwork(p, stimulus), training, recorded, seed, settings) for p in both
    )
    if after.discrepancy > before.discrepancy and not after.passes:
        return weights
    choice = "driven" if after.alive and weights.choice in NOT_ALIVE else weights.choice
    return replace(weights, parameters=driven, choice=choice, discrepancy=after.discrepancy)


@dataclass(frozen=True)
class FreeRunCheck:
    """How free runs of a network compare: discrepancy, whether it needs no correction, whether it passes."""

    discrepancy: float
    passes: bool
    alive: bool


def check_free_runs(
    network: FreeRunningNetwork, training: History, recorded: ActivitySummary, seed: int, settings: FreeRunSettings
) -> FreeRunCheck:
    """Compare free runs, in which the recorded pulses come, with the recording."""
    pulsed = with_recorded_pulses(network, training)
    runs = free_run_scores(
        pulsed, recorded, seed=seed + CHECK_SEEDS, n_runs=settings.check_runs, duration=settings.check_duration
    )
    scores = summarise(runs)
    both = (settings.target, settings.criteria)
    passes, alive = (not list(reasons(scores, recorded.bursts_count, limits)) for limits in both)
    return FreeRunCheck(discrepancy(scores, recorded.bursts_count), passes, alive)
