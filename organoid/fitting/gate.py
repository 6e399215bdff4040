"""Which weights to live with: the forced fit if it is alive already, else the best after stage 2.

Everything is judged on the training part: short free runs against its portrait, and the forced
likelihood on its control bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.forced import Design, ForcedFit, assemble, negative_log_likelihood
from organoid.fitting.free_run import Portrait, compare, free_run, is_runaway, portray
from organoid.fitting.history import History
from organoid.fitting.moments import fit_free, longest_stretch
from organoid.models.escape_lif import EscapeLIF, EscapeLIFParameters
from organoid.recording import SpikeRecording

Array = NDArray[np.float64]

CHECK_RUNS = 2
CHECK_DURATION = 300.0  # s
MAX_LOSS = 0.04  # share of the forced fit's gain over constant rates that free-run weights may cost
MIN_BURSTS = 10
MIN_STRETCH = 1.0  # s observed without a break, for windows to start and run in
FAR = 10.0


@dataclass(frozen=True)
class FreeWeights:
    """The network to simulate with, and how it was chosen.

    Parameters
    ----------
    parameters : EscapeLIFParameters
    choice : str
        "forced" (alive as it was), "free" (after stage 2), "between", or "forced, not alive".
    discrepancy : float
        Of the choice; see `discrepancy`.
    loss : float
        Share of the likelihood gain given up, on the training part.
    moments_off : tuple of float
        How far moments were off in each step of stage 2.
    """

    parameters: EscapeLIFParameters
    choice: str
    discrepancy: float
    loss: float
    moments_off: tuple[float, ...] = ()


def choose_free_weights(
    rec: SpikeRecording, training: History, design: Design, forced: ForcedFit, *, seed: int, progress: bool = False
) -> FreeWeights:
    """Run the forced network freely; where it does not pass, correct it and keep what is best.

    Parameters
    ----------
    rec : SpikeRecording
        The training part.
    training, design, forced
        As fitted.
    seed : int
    progress : bool
    """
    recorded = portray(rec)
    n_bursts = recorded.burst_rate * rec.observed_duration
    first = _check(forced.parameters, recorded, n_bursts, seed)
    if first.passes:
        return FreeWeights(forced.parameters, "forced", first.discrepancy, 0.0)
    if longest_stretch(training.observed) * training.bin_width < MIN_STRETCH:
        return FreeWeights(forced.parameters, "forced, not alive", first.discrepancy, 0.0)
    free = fit_free(training, design, forced, seed=seed, progress=progress)
    options = {"free": free.theta, "between": (free.theta + forced.theta) / 2}
    best = FreeWeights(forced.parameters, "forced, not alive", first.discrepancy, 0.0, free.moments_off)
    for name, theta in options.items():
        parameters, loss = assemble(training, design, theta), _loss(design, forced, theta)
        found = _check(parameters, recorded, n_bursts, seed).discrepancy
        if loss <= MAX_LOSS and found < best.discrepancy:
            best = FreeWeights(parameters, name, found, loss, free.moments_off)
    return best


@dataclass(frozen=True)
class _Verdict:
    discrepancy: float
    passes: bool


def _check(parameters: EscapeLIFParameters, recorded: Portrait, n_bursts: float, seed: int) -> _Verdict:
    """Compare short free runs with the recording; larger discrepancy is worse."""
    network, scores = EscapeLIF(parameters), []
    for run in range(CHECK_RUNS):
        simulated, stopped = free_run(network, CHECK_DURATION, seed + 1000 + run)
        portrait = portray(simulated, recorded.thresholds)
        if is_runaway(recorded, portrait, stopped):
            return _Verdict(np.inf, False)
        scores.append(compare(recorded, portrait))
    return judge(
        {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}, n_bursts >= MIN_BURSTS
    )


def judge(score: dict[str, float], bursting: bool) -> _Verdict:
    """Sum how far (in log units) rate and bursts are off, with the spread of rates over units.

    Parameters
    ----------
    score : dict
        From `compare`.
    bursting : bool
        Whether the recording bursts; only then do bursts count.
    """
    rate = _log_off(score["rate_ratio"])
    correlation = score["rate_correlation"]
    spread = 0.0 if np.isnan(correlation) else 1.0 - correlation
    bursts = [_log_off(score[name]) for name in ("burst_rate_ratio", "burst_duration_ratio")] if bursting else []
    limit = np.log(1.2)
    passes = rate <= np.log(1.1) and spread <= 0.01 and all(off <= limit for off in bursts)
    return _Verdict(float(rate + spread + sum(bursts)), bool(passes))


def _log_off(ratio: float) -> float:
    return float(min(abs(np.log(ratio)), FAR)) if np.isfinite(ratio) and ratio > 0 else FAR


def _loss(design: Design, forced: ForcedFit, theta: Array) -> float:
    """Return the share of the gain over constant rates that `theta` gives up against the forced optimum."""
    constant = np.zeros_like(theta)
    spikes, time = design.sample.spike_term[:, -1].sum(0), design.sample.weights.sum() * design.capacity
    rate = np.clip((spikes + 0.5) / (time + 1.0), 1e-9, 1 - 1e-6)
    constant[-1] = np.log(rate / (1 - rate))
    base, best, here = (negative_log_likelihood(design, t) for t in (constant, forced.theta, theta))
    return float((here - best) / max(base - best, 1e-12))
