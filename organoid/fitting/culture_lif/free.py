r"""Stage 2 of the culture LIF network: natural steps along the contrast, within the bounds of the weights.

.. math:: \Delta_i = \tfrac12 (F + \lambda)^{-1} (g^{rec}_i - g^{sim}_i) / r_i

with the Fisher matrix of a bin, averaged over units, ``r_i`` the rate of unit i over the mean rate, a trust region on
the root-mean-square change of ``u``, steps that decay, windows that grow, a pull of the couplings back to the forced
optimum, and an average at the end. Coordinates at a bound are left out of the system, unit by unit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from organoid.fitting.culture_lif.columns import Columns
from organoid.fitting.culture_lif.contrast import Chains, contrast, lead_bins
from organoid.fitting.culture_lif.forced import ForcedCultureFit
from organoid.fitting.culture_lif.newton import bounded_step
from organoid.fitting.culture_lif.prediction import PIECE, choose_pieces, with_ranges
from organoid.fitting.culture_lif.states import CultureStates, collect_culture_states
from organoid.fitting.data.history import History
from organoid.fitting.free_run.moments import (
    DAMPING,
    DECAY,
    GAIN,
    MIN_WINDOWS,
    PULL_BACK,
    RARE,
    TRUST,
    stratified,
    window_bins,
)
from organoid.models.culture_lif.network import CultureLIFParameters

Array = NDArray[np.float64]

RANGES_EVERY = 3  # steps between two updates of what currents and log-odds are held to


@dataclass(frozen=True)
class ContrastPlan:
    """What stage 2 does.

    Parameters
    ----------
    windows : tuple of (float, int)
        Length of the windows (s), and steps with windows of this length.
    bins_per_step : int
        Bins simulated in every step.
    n_chains, chain_steps : int
        Persistent chains, and steps with them; none unless given.
    chain_duration : float, s
        That each chain runs in a step.
    first_step : int
        Where the decay of the steps begins.
    """

    windows: tuple[tuple[float, int], ...] = ()
    bins_per_step: int = 120_000
    n_chains: int = 0
    chain_steps: int = 0
    chain_duration: float = 5.0
    first_step: int = 0


WINDOWS = ContrastPlan(((0.3, 12), (1.0, 12), (4.0, 12), (16.0, 8)))
PERSISTENT = ContrastPlan(n_chains=24, chain_steps=24, first_step=44)


@dataclass(frozen=True)
class FreeCultureFit:
    """Result of stage 2.

    Parameters
    ----------
    theta : ndarray, shape (n_columns, n_units)
        Standardised weights.
    off : tuple of float
        Root-mean-square size of each step before the trust region, in units of ``u``.
    """

    theta: Array
    off: tuple[float, ...]


@dataclass(frozen=True)
class FreeStage:
    """What stage 2 works with.

    Parameters
    ----------
    training : History
    columns : Columns
    forced : ForcedCultureFit
    states : CultureStates
    seed : int
    """

    training: History
    columns: Columns
    forced: ForcedCultureFit
    states: CultureStates
    seed: int

    @classmethod
    def prepare(cls, training: History, columns: Columns, forced: ForcedCultureFit, seed: int) -> "FreeStage":
        """Collect the recorded states that windows start from."""
        longest = max((window_bins(training, duration) for duration, _ in WINDOWS.windows), default=PIECE)
        states = collect_culture_states(training, columns, lead_bins(columns) + longest)
        return cls(training, columns, forced, states, seed)

    def network(self, theta: Array) -> CultureLIFParameters:
        """Return the network of standardised weights, held to the ranges of recorded history."""
        rng = np.random.default_rng(self.seed)
        pieces = choose_pieces(self.training, self.states, lead_bins(self.columns), rng)
        return with_ranges(self.training, self.columns.parameters(theta), pieces)

    def run(self, start: Array, plan: ContrastPlan, *, progress: bool = False) -> FreeCultureFit:
        """Correct weights until their free windows have the recorded averages."""
        solver, rng = NaturalSteps(self.columns, self.forced), np.random.default_rng(self.seed)
        errors = [*self._window_errors(plan, rng), *self._chain_errors(plan, rng)]
        theta, off, kept, total = start.copy(), [], 0, np.zeros_like(start)
        held = self.network(theta)
        n_last = len(errors) // 2 if plan.n_chains else len(errors) // 3
        with tqdm(errors, desc="free run", disable=not progress, leave=False) as bar:
            for n, error in enumerate(bar):
                if n % RANGES_EVERY == 0:
                    held = self.network(theta)
                clips = {name: getattr(held, name) for name in ("drive_low", "drive_high", "ceiling")}
                parameters = self.columns.parameters(theta)._replace(**clips)
                theta, size = solver.step(theta, error(parameters, n), plan.first_step + n)
                off.append(size)
                bar.set_postfix(off=f"{size:.3f}")
                if n >= len(errors) - n_last:
                    total, kept = total + theta, kept + 1
        return FreeCultureFit(total / kept if kept else theta, tuple(off))

    def _window_errors(self, plan: ContrastPlan, rng: np.random.Generator) -> Iterator["_Error"]:
        for duration, repeats in plan.windows:
            n_steps = min(window_bins(self.training, duration), self.states.allowed.size - lead_bins(self.columns))
            n_windows = max(MIN_WINDOWS, plan.bins_per_step // n_steps)
            for _ in range(repeats):
                yield _WindowError(self, n_steps, stratified(self.states.bins.size, n_windows, rng))

    def _chain_errors(self, plan: ContrastPlan, rng: np.random.Generator) -> Iterator["_Error"]:
        if plan.n_chains:
            n_steps = min(window_bins(self.training, plan.chain_duration), self.states.allowed.size)
            chains = Chains(self.columns, self.states, plan.n_chains, n_steps, rng)
            for _ in range(plan.chain_steps):
                yield _ChainError(self, chains)


# What a step has to make smaller: recorded minus simulated gradient, standardised, shape of theta.
_Error = Callable[[CultureLIFParameters, int], Array]


@dataclass(frozen=True)
class _WindowError:
    stage: FreeStage
    n_steps: int
    chosen: NDArray[np.int64]

    def __call__(self, parameters: CultureLIFParameters, n: int) -> Array:
        s = self.stage
        both = contrast(s.training, s.columns, parameters, s.states, self.chosen, self.n_steps, s.seed + 7919 * n)
        return np.asarray((both.recorded - both.simulated) / s.columns.scale[:, None])


@dataclass(frozen=True)
class _ChainError:
    stage: FreeStage
    chains: Chains

    def __call__(self, parameters: CultureLIFParameters, n: int) -> Array:
        s = self.stage
        recorded = s.forced.spike_term / max(int(s.training.observed.sum()), 1)
        simulated = self.chains.run(parameters, s.seed + 7919 * n).mean
        return np.asarray(recorded - simulated / s.columns.scale[:, None])


class NaturalSteps:
    """Natural-gradient steps with the unit-averaged Fisher matrix of the forced fit, within the weights' bounds."""

    def __init__(self, columns: Columns, forced: ForcedCultureFit) -> None:
        signs = forced.signs if forced.signs.any() else None
        self.low, self.high = columns.bounds(signs)
        self.fisher, self.forced = forced.fisher, forced.theta
        damped = self.fisher + DAMPING / columns.bin_weights.sum() * np.eye(len(self.fisher))
        self.inverse = np.asarray(np.linalg.inv(damped), dtype=np.float64)
        spikes = -forced.spike_term[columns.threshold]
        self.relative_rate = np.maximum(spikes / max(spikes.mean(), 1.0), RARE)
        self.theta_of_u = self.fisher[columns.threshold, columns.threshold]
        self.is_coupling = np.arange(columns.n_columns) < columns.n_couplings

    def step(self, theta: Array, error: Array, n: int) -> tuple[Array, float]:
        """Return the weights after step number `n`, and the size of the step before the trust region."""
        trust = TRUST / (1.0 + DECAY * n)
        move = self._solve(theta, GAIN * error / self.relative_rate)
        size = np.sqrt(np.maximum((move * (self.fisher @ move)).sum(0) / self.theta_of_u, 0.0))
        move *= np.minimum(1.0, trust / np.maximum(size, 1e-12))
        away = self.fisher @ (theta - self.forced)
        away[~self.is_coupling] = 0.0
        back = self._solve(theta, -trust / TRUST * PULL_BACK * away)
        return np.clip(theta + move + back, self.low, self.high), float(np.sqrt(np.mean(size**2)))

    def _solve(self, theta: Array, right: Array) -> Array:
        units = range(theta.shape[1])
        steps = [bounded_step(self.inverse, right[:, i], theta[:, i], self.low[:, i], self.high[:, i]) for i in units]
        return np.stack(steps, 1)
