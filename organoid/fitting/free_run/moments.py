r"""Stage 2, free run: make the fitted network match the culture when it runs freely.

The forced likelihood never sees the loop: small errors compound in states a recording rarely visits.
Here many short free windows start from exact recorded states. The difference between recorded and
generated moments (features times spikes) is the gradient of the free log-likelihood; passed through
the inverse Fisher matrix of stage 1 it is the step:

.. math::

    \Delta_i = (F + \lambda)^{-1} (m^{rec}_i - m^{sim}_i) / r_i

with ``F`` averaged over units and ``r_i`` the rate of unit i over the mean rate (0.05 or more),
with a trust region on the root-mean-square change of V, steps that decay, windows that grow (0.3 to
16 s), a pull of the couplings back to the forced optimum, and an average over the last third. It is
Boltzmann learning (Ackley, Hinton & Sejnowski 1985) for a point process, restarted from data as in
contrastive divergence (Hinton 2002).

Recorded pulses come in the windows when they came in the recording, with the kernels of stage 1, which stay as they
are: what pulses evoke need not be explained by the network.

Where a culture only lacks the right rates, biases alone are corrected (`RATES`): the likelihood then hardly
suffers. Otherwise all weights are (`ALL`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from tqdm import tqdm

from organoid.fitting.data.history import History
from organoid.fitting.free_run.safeguard import LikelihoodLoss, Safeguard
from organoid.fitting.free_run.settings import Plan
from organoid.fitting.free_run.window_states import collect_states
from organoid.fitting.free_run.windows import compare_windows
from organoid.fitting.teacher_forced.estimate import Design, ForcedFit, assemble
from organoid.models.spike_response.network import SpikeResponseParameters

Array = NDArray[np.float64]

MIN_WINDOWS = 16
TRUST = 0.1  # largest root-mean-square change of V a step, logit
GAIN = 0.5
DECAY = 0.05
PULL_BACK = 0.1
DAMPING = 3300.0
RARE = 0.05  # smallest relative rate: the moments of rarer units are mostly noise


@dataclass(frozen=True)
class FreeFit:
    """Result of stage 2.

    Parameters
    ----------
    parameters : SpikeResponseParameters
    theta : ndarray, shape (n_features, n_units)
        The same, standardised.
    moments_off : tuple of float
        Root-mean-square moment error of each step, in units of V; NaN for a step that was undone.
    plan : Plan
    """

    parameters: SpikeResponseParameters
    theta: Array
    moments_off: tuple[float, ...]
    plan: Plan


def fit_free(
    training: History,
    design: Design,
    forced: ForcedFit,
    plan: Plan,
    *,
    budget: float = np.inf,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> FreeFit:
    """Correct a forced fit until its free windows have the recorded moments.

    Parameters
    ----------
    training : History
    design : Design
    forced : ForcedFit
        Where to start.
    plan : Plan
    budget : float
        Largest share of the gain over constant rates that the weights may give up on the way; see
        `organoid.fitting.free_run.safeguard`.
    seed : int
    device : str, optional
        See `organoid.fitting.free_run.windows.compare_windows`.
    progress : bool
    """
    solver, guard = _Natural(design, forced, plan), Safeguard(forced.theta, LikelihoodLoss(design, forced), budget)
    own = design.network_places
    rng = np.random.default_rng(seed)
    schedule = list(_schedule(training, plan))
    states = collect_states(training, design.basis, max(n_steps for n_steps, _ in schedule))
    theta, off = forced.theta.copy(), []
    total, n_averaged = np.zeros_like(theta), 0
    with tqdm(schedule, desc="free run", disable=not progress, leave=False) as bar:
        for n, (n_steps, n_windows) in enumerate(bar):
            chosen = stratified(states.bins.size, n_windows, rng)
            parameters = assemble(training, design, theta)
            moments = compare_windows(
                training,
                parameters,
                states,
                chosen,
                n_steps,
                seed + 7919 * n,
                device=device,
                stimulus=forced.stimulus,
            )
            accepted = guard.accept(theta, moments.rate_ratio, n_steps)
            if accepted is not theta:  # its windows say nothing of the weights before it
                theta = accepted
                off.append(np.nan)
                continue
            error = np.zeros_like(theta)
            error[own] = (moments.recorded - moments.simulated) / design.scale[own, None]
            rate = TRUST / (1.0 + DECAY * n)
            step, size = solver.step(error, guard.trust * rate)
            theta = guard.within(theta + step - solver.pull_back(theta, rate / TRUST * PULL_BACK))
            off.append(size)
            bar.set_postfix(moments_off=f"{size:.3f}")
            if n >= 2 * len(schedule) // 3:
                total += theta
                n_averaged += 1
    theta = total / n_averaged if n_averaged else theta
    return FreeFit(assemble(training, design, theta), theta, tuple(off), plan)


def _schedule(training: History, plan: Plan) -> Iterator[tuple[int, int]]:
    """Yield (bins, number of windows) of every step."""
    for duration, repeats in plan.windows:
        n_steps = window_bins(training, duration)
        n_windows = max(MIN_WINDOWS, plan.bins_per_step // n_steps)
        for _ in range(repeats):
            yield n_steps, n_windows


def window_bins(training: History, duration: float, least: int = 1) -> int:
    """Return the bins of a window of `duration` seconds: at most half the longest observed segment, `least` or more."""
    return max(min(round(duration / training.bin_width), longest_stretch(training.observed) // 2), least)


def longest_stretch(observed: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of observed bins."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], observed, [False]])))
    return int((edges[1::2] - edges[::2]).max())


def stratified(n: int, n_windows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw window starts, one from each equal segment of the states."""
    return np.minimum(((np.arange(n_windows) + rng.uniform(size=n_windows)) * n / n_windows).astype(np.int64), n - 1)


class _Natural:
    """Natural-gradient steps with the unit-averaged Fisher matrix of the forced fit.

    Units that use the same columns share an inverse, taken over these columns alone: to invert over all and then
    leave some out is no descent, and can grow without bound.
    """

    def __init__(self, design: Design, forced: ForcedFit, plan: Plan) -> None:
        rows, weights = design.sample.rows, design.sample.weights
        p = expit(rows @ forced.theta.astype(np.float32))
        curvature = (design.capacity * p * (1 - p)).mean(1) * weights / weights.sum()
        scaled = rows * np.sqrt(curvature).astype(np.float32)[:, None]
        self.fisher = (scaled.T @ scaled).astype(np.float64)
        rates = design.sample.spike_term[:, -1].sum(0)
        self.relative_rate = np.maximum(rates / max(rates.mean(), 1.0), RARE)
        self.forced = forced.theta
        self.is_coupling = np.arange(len(self.fisher)) < design.n_couplings
        used = forced.theta != 0.0
        used[design.pulse_places] = False
        if not plan.everything:
            used[:-1] = False
        self.groups = list(_inverses(self.fisher, used, DAMPING / weights.sum()))

    def step(self, error: Array, trust: float) -> tuple[Array, float]:
        """Return the step for a moment error, shape (n_features, n_units), and its size before the trust region."""
        step = GAIN * self._solve(error) / self.relative_rate
        size = np.sqrt(np.maximum((step * (self.fisher @ step)).sum(0) / self.fisher[-1, -1], 0.0))
        return step * np.minimum(1.0, trust / np.maximum(size, 1e-12)), float(np.sqrt(np.mean(size**2)))

    def pull_back(self, theta: Array, strength: float) -> Array:
        """Return how far couplings are drawn back to the forced optimum."""
        bracket = self.fisher @ (theta - self.forced)
        bracket[~self.is_coupling] = 0.0
        return strength * self._solve(bracket)

    def _solve(self, right: Array) -> Array:
        out = np.zeros_like(right)
        for place, inverse in self.groups:
            out[place] = inverse @ right[place]
        return out


def _inverses(fisher: Array, used: NDArray[np.bool_], damping: float) -> Iterator[tuple[Any, Array]]:
    """Yield where in a (feature, unit) matrix units with the same columns are, and the damped inverse over these."""
    patterns, group = np.unique(used.T, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        columns = np.flatnonzero(pattern)
        damped = fisher[np.ix_(columns, columns)] + damping * np.eye(columns.size)
        yield (
            np.ix_(columns, np.flatnonzero(group.ravel() == k)),
            np.asarray(np.linalg.inv(damped), dtype=np.float64),
        )
