"""Which weights of a culture LIF network to simulate with: the forced ones if they pass, else the gentlest correction.

Everything is checked on the training part. Corrections, in order: contrast in windows, all or half of the way;
persistent chains after it, where windows agree with the recording and whole runs do not; last, thresholds by whole
runs, where only rates are off. Each goes as far as the likelihood it may give up allows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.culture_lif.free import PERSISTENT, WINDOWS, FreeStage
from organoid.fitting.culture_lif.prediction import culture_negative_log_likelihood
from organoid.fitting.free_run.calibration import (
    MAX_STEP,
    RATE_GAIN,
    RATE_ROUNDS,
    RATE_SEEDS,
    check_free_runs,
    max_loss,
)
from organoid.fitting.free_run.comparison import ActivitySummary, free_run, rates_off, summarize_activity
from organoid.fitting.free_run.moments import longest_stretch
from organoid.fitting.free_run.settings import DEFAULT, FreeRunSettings
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

Array = NDArray[np.float64]

CHAINS_BELOW = 1.0  # discrepancy (log units) up to which chains may still repair what windows left


@dataclass(frozen=True)
class CultureWeights:
    """The network to simulate with, and how it was chosen.

    Parameters
    ----------
    parameters : CultureLIFParameters
    choice : str
        As in `organoid.fitting.free_run.calibration.FreeWeights`.
    discrepancy : float
        See `organoid.fitting.free_run.criteria.discrepancy`.
    passes : bool
        Whether it needs no further correction.
    loss : float
        Share of the likelihood gain given up, on the training part.
    """

    parameters: CultureLIFParameters
    choice: str
    discrepancy: float
    passes: bool
    loss: float


def choose_culture_weights(
    rec: SpikeRecording, stage: FreeStage, *, settings: FreeRunSettings = DEFAULT, progress: bool = False
) -> CultureWeights:
    """Run the forced network freely; where it does not pass, correct it until it does, or keep what is best.

    Parameters
    ----------
    rec : SpikeRecording
        The training part.
    stage : FreeStage
    settings : FreeRunSettings
    progress : bool
    """
    judge = _Judge(stage, summarize_activity(rec), settings)
    search = _Search(judge(stage.forced.theta, "forced"), stage.forced.theta)
    if search.best.passes or longest_stretch(stage.training.observed) * stage.training.bin_width < settings.min_segment:
        return search.best
    for name, theta in _corrections(stage, judge, search, progress):
        search.offer(judge(theta, name), theta)
        if search.best.passes:
            break
    return search.best


@dataclass
class _Search:
    """The best weights so far."""

    best: CultureWeights
    theta: Array

    def offer(self, found: CultureWeights, theta: Array) -> None:
        """Keep other weights where they are nearer to the recording."""
        if found.discrepancy < self.best.discrepancy:
            self.best, self.theta = found, theta


def _corrections(stage: FreeStage, judge: "_Judge", search: _Search, progress: bool) -> Iterator[tuple[str, Array]]:
    """Yield weights from the gentlest correction on; each is worked out only when it is requested."""
    forced, bursting = stage.forced.theta, judge.recorded.bursts_count
    if not bursting:
        yield "rates", judge.allowed(judge.by_whole_runs(forced, each=True))
    whole = judge.allowed(stage.run(forced, WINDOWS, progress=progress).theta)
    yield "free", whole
    yield "between", forced + (whole - forced) / 2
    if bursting and search.best.discrepancy < CHAINS_BELOW:
        yield "free", judge.allowed(stage.run(whole, PERSISTENT, progress=progress).theta)
    name = "rates" if search.best.choice.startswith("forced") else search.best.choice
    yield name, judge.allowed(judge.by_whole_runs(search.theta, each=not bursting))


class _Judge:
    """Checks weights in free run, and what they cost in likelihood."""

    def __init__(self, stage: FreeStage, recorded: ActivitySummary, settings: FreeRunSettings) -> None:
        self.stage, self.recorded, self.settings = stage, recorded, settings
        self.forced = self._cost(stage.forced.theta)
        constant = np.zeros_like(stage.forced.theta)
        constant[stage.columns.threshold] = _constant_thresholds(stage)
        self.gain = max(self._cost(constant) - self.forced, 1e-12)

    def __call__(self, theta: Array, name: str) -> CultureWeights:
        """Return the weights with what their free runs are like."""
        parameters = self.stage.network(theta)
        found = check_free_runs(
            CultureLIFNetwork(parameters), self.stage.training, self.recorded, self.stage.seed, self.settings
        )
        choice = name if name != "forced" or found.alive else "forced, not alive"
        return CultureWeights(parameters, choice, found.discrepancy, found.passes, self.loss(theta))

    def loss(self, theta: Array) -> float:
        """Return the share of the gain over constant rates that weights give up."""
        return 0.0 if theta is self.stage.forced.theta else (self._cost(theta) - self.forced) / self.gain

    def allowed(self, theta: Array) -> Array:
        """Return the weights, or what of the way to them costs no more likelihood than a correction may.

        Near the forced optimum the loss grows with the square of the way.
        """
        forced, limit = self.stage.forced.theta, max_loss(self.recorded, self.settings)
        loss = self.loss(theta)
        if not np.isfinite(loss):
            return forced
        return theta if loss <= limit else np.asarray(forced + np.sqrt(limit / loss) * (theta - forced))

    def by_whole_runs(self, theta: Array, *, each: bool) -> Array:
        """Return weights whose whole free runs have the recorded rates, of each unit or in the mean, by thresholds."""
        theta, stage = theta.copy(), self.stage
        for k in range(RATE_ROUNDS):
            network = CultureLIFNetwork(stage.network(theta))
            simulated, _ = free_run(network, self.settings.check_duration, stage.seed + RATE_SEEDS + k)
            wanted, found = self.recorded.rates, firing_rates(simulated)
            if not each:
                wanted, found = (np.full_like(rates, rates.mean()) for rates in (wanted, found))
            theta[stage.columns.threshold] -= RATE_GAIN * np.clip(rates_off(wanted, found), -MAX_STEP, MAX_STEP)
        return theta

    def _cost(self, theta: Array) -> float:
        return culture_negative_log_likelihood(self.stage.training, self.stage.columns.parameters(theta))


def _constant_thresholds(stage: FreeStage) -> Array:
    """Return thresholds under which every unit fires at its recorded rate whatever happens."""
    bins = max(int(stage.training.observed.sum()), 1)
    spikes = np.maximum(-stage.forced.spike_term[stage.columns.threshold], 0.5)
    p = np.minimum(spikes / (bins * stage.columns.template.capacity), 0.5)
    return np.asarray(np.log((1 - p) / p))
