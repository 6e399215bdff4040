r"""Stage 2 by gradient: short free runs, differentiated through the spiking network.

Free windows start from exact recorded states, as in the moment stage (`organoid.fitting.free_run.moments`), but what
is made to agree is chosen: statistics of the spikes, by the losses of `organoid.losses`, each divided by what a silent
network would score, so that no weights have to be guessed. The logarithm keeps a step in which one window ran wild
from drowning all others (covariances grow with the fourth power of the rate):

.. math::

    L = \sum_k \log\Big(1 + \frac{L_k(y, y^{rec})}{L_k(0, y^{rec})}\Big) + \lambda\,\frac{\ell(\theta) - \ell(\theta_1)}
        {\ell(\theta_{const}) - \ell(\theta_1)}

with :math:`\ell` the forced negative log-likelihood, :math:`\theta_1` its optimum (stage 1) and
:math:`\theta_{const}` constant rates. Gradients go through the sampled spikes (`free_gradient_windows`); Adam works
in coordinates whitened by the forced Fisher matrix, where a step of 1 changes ``V`` of a unit by 1 (root mean
square). The end is an average over the last third.

References
----------
Bellec, Wang, Modirshanechi, Brea and Gerstner (2021), Fitting summary statistics of neural data with a
differentiable spiking network simulator, NeurIPS.
Kingma and Ba (2015), Adam: a method for stochastic optimization, ICLR.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from organoid.errors import FitError
from organoid.fitting.data.history import History
from organoid.fitting.free_run.bptt_windows import Weights, WindowPlan, run_windows
from organoid.fitting.free_run.moments import DAMPING, RARE, window_bins
from organoid.fitting.free_run.window_states import RecordedStates, collect_states
from organoid.fitting.teacher_forced.estimate import Design, ForcedFit, assemble, negative_log_likelihood
from organoid.fitting.teacher_forced.model_selection import constant_rates
from organoid.losses import (
    DelayedCovariance,
    KernelMMD,
    PopulationAutocovariance,
    PopulationRateDistribution,
    Rate,
    SoftSTTC,
    SpikeLoss,
)
from organoid.losses.common import boxcar
from organoid.models.spike_response.network import SpikeResponseParameters

Array = NDArray[np.float64]

LOSS_BINS = 5  # bins of the network to one of the losses
SAMPLED_ROWS = 10_000  # control bins for the likelihood in each step
BOUNDS_EVERY = 5  # steps between two updates of what drive and potential are clipped to
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class GradientPlan:
    """How a network is trained in free run.

    Parameters
    ----------
    windows : tuple of (float, int, int)
        Length of the windows (s), steps with them, windows a step.
    learning_rate, decay : float
        Adam's step, ``learning_rate / (1 + decay * n)`` in step n; logit.
    likelihood : float
        ``lambda``: weight of the forced likelihood.
    memory : float, s
        How far a gradient is carried back.
    """

    windows: tuple[tuple[float, int, int], ...] = ((0.3, 40, 100), (1.0, 40, 48), (4.0, 20, 16))
    learning_rate: float = 0.01
    decay: float = 0.05
    likelihood: float = 1.0
    memory: float = 0.1


@dataclass(frozen=True)
class GradientFreeFit:
    """Result of stage 2 by gradient.

    Parameters
    ----------
    parameters : SpikeResponseParameters
    theta : ndarray, shape (n_features, n_units)
        The same, standardised.
    losses : tuple of float
        Sum over the free-run losses in each step of ``log(1 + loss / that of a silent network)``.
    """

    parameters: SpikeResponseParameters
    theta: Array
    losses: tuple[float, ...]


def fit_free_by_gradient(
    training: History,
    design: Design,
    forced: ForcedFit,
    plan: GradientPlan | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> GradientFreeFit:
    """Train a forced fit until its free windows have the recorded statistics.

    Parameters
    ----------
    training : History
    design : Design
    forced : ForcedFit
        Where to start.
    plan : GradientPlan, optional
    seed : int
    progress : bool

    Raises
    ------
    FitError
        If the fit has a response to pulses, or couplings that are no plain traces.
    """
    if forced.stimulus is not None:
        raise FitError("windows that are differentiated get no pulses; fit spontaneous spikes, or use the moment stage")
    if design.basis.lags.size:
        raise FitError("windows are differentiated for plain traces only; fit with basis='traces' and no delays")
    plan = GradientPlan() if plan is None else plan
    schedule = list(_schedule(training, plan))
    states = collect_states(training, design.basis, max(n_steps for n_steps, _ in schedule))
    trainee = _Trainee(training, design, forced, plan, seed)
    tail, losses = torch.zeros_like(trainee.forced), []
    n_tail = max(len(schedule) // 3, 1)
    with tqdm(schedule, desc="free run", disable=not progress, leave=False) as bar:
        for n, (n_steps, n_windows) in enumerate(bar):
            losses.append(trainee.step(n, n_steps, n_windows, states))
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            if n >= len(schedule) - n_tail:
                tail += trainee.theta().detach() / n_tail
    theta = tail.double().numpy()
    return GradientFreeFit(assemble(training, design, theta), theta, tuple(losses))


def _schedule(training: History, plan: GradientPlan) -> Iterator[tuple[int, int]]:
    """Yield (bins, number of windows) of every step."""
    for duration, repeats, n_windows in plan.windows:
        yield from [(window_bins(training, duration, 2 * LOSS_BINS), n_windows)] * repeats


class _Trainee:
    """Weights in whitened coordinates, and one step of training them."""

    def __init__(self, training: History, design: Design, forced: ForcedFit, plan: GradientPlan, seed: int) -> None:
        self.training, self.design, self.plan, self.seed = training, design, plan, seed
        self.rng = np.random.default_rng(seed)
        self.parameters = forced.parameters
        self.forced = torch.from_numpy(forced.theta).float()
        self.scale = torch.from_numpy(design.scale).float()[:, None]
        self.free = (self.forced != 0).float()
        self.whitened = torch.zeros_like(self.forced, requires_grad=True)
        self.to_theta = torch.from_numpy(_unwhitening(design, forced)).float()
        rates = design.sample.spike_term[:, -1].sum(0)
        relative = np.maximum(rates / max(rates.mean(), 1.0), RARE)
        self.per_unit = torch.from_numpy(relative**-0.5).float()
        self.likelihood = _ForcedLikelihood(design, forced)
        self.losses = _losses(LOSS_BINS * training.bin_width, design.n_units)
        self.adam = torch.optim.Adam([self.whitened], betas=(0.9, 0.99))

    def theta(self) -> Tensor:
        """Return the standardised weights."""
        return self.forced + self.to_theta @ self.whitened * self.per_unit * self.free

    def step(self, n: int, n_steps: int, n_windows: int, states: RecordedStates) -> float:
        """Run windows, follow the gradient once, and return the free-run loss."""
        theta = self.theta()
        if n % BOUNDS_EVERY == 0:
            self.parameters = assemble(self.training, self.design, theta.detach().double().numpy())
        starts = (np.arange(n_windows) + self.rng.uniform(size=n_windows)) / n_windows  # one from each equal stretch
        chosen = np.minimum((starts * states.bins.size).astype(np.int64), states.bins.size - 1)
        simulated, recorded = self._windows(theta, chosen, n_steps, states, self.seed + 7919 * n + 1)
        free = torch.stack([_in_units_of_silence(loss, simulated, recorded) for loss in self.losses]).sum()
        forced = self.plan.likelihood * self.likelihood(theta, self.rng)
        by_free = torch.autograd.grad(free, self.whitened, retain_graph=True)[0]
        by_forced = torch.autograd.grad(forced, self.whitened)[0]
        self.whitened.grad = by_free * min(1.0, LARGEST_GRADIENT / max(float(by_free.norm()), 1e-12)) + by_forced
        for group in self.adam.param_groups:
            group["lr"] = self.plan.learning_rate / (1 + self.plan.decay * n)
        self.adam.step()
        return float(free.detach())

    def _windows(
        self, theta: Tensor, chosen: NDArray[np.int64], n_steps: int, states: RecordedStates, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return simulated and recorded spikes of the chosen windows, in bins of the losses."""
        width = self.training.bin_width
        plan = WindowPlan(
            states.traces[chosen],
            states.population[chosen],
            n_steps,
            seed,
            memory=max(round(self.plan.memory / width), 1),
        )
        raw, n_couplings = (theta / self.scale).double(), self.design.n_couplings  # float32 traces become denormal
        weights = Weights(raw[:n_couplings], raw[n_couplings:-1], raw[-1])
        spikes = run_windows(weights, self.parameters, plan)
        recorded = np.stack([self.training.counts(start, start + n_steps) for start in states.bins[chosen]])
        return boxcar(spikes.float(), LOSS_BINS), boxcar(torch.from_numpy(recorded).float(), LOSS_BINS)


class _ForcedLikelihood:
    """Share of the forced fit's gain over constant rates that weights give up, estimated on some control bins."""

    def __init__(self, design: Design, forced: ForcedFit) -> None:
        sample = design.sample
        self.rows, self.weights = torch.from_numpy(sample.rows), torch.from_numpy(sample.weights).float()
        self.spike_term = torch.from_numpy(sample.spike_term.sum(0)).float()
        self.capacity = torch.from_numpy(design.capacity).float()
        self.best = negative_log_likelihood(design, forced.theta)
        self.span = max(negative_log_likelihood(design, constant_rates(design, sample)) - self.best, 1e-12)

    def __call__(self, theta: Tensor, rng: np.random.Generator) -> Tensor:
        n = min(SAMPLED_ROWS, len(self.rows))
        some = torch.from_numpy(rng.choice(len(self.rows), n, replace=False))
        integral = self.weights[some] @ torch.nn.functional.softplus(self.rows[some] @ theta) @ self.capacity
        here = integral * (len(self.rows) / n) - (self.spike_term * theta).sum()
        return (here - self.best) / self.span


def _losses(bin_width: float, n_units: int) -> tuple[SpikeLoss, ...]:
    pairs = (DelayedCovariance(bin_width, window=2 * bin_width), SoftSTTC(bin_width)) if n_units > 1 else ()
    return (
        Rate(bin_width),
        PopulationRateDistribution(bin_width),
        PopulationAutocovariance(bin_width, max_lag=0.3),
        KernelMMD(bin_width, tau=0.05),
        *pairs,
    )


def _in_units_of_silence(loss: SpikeLoss, simulated: Tensor, recorded: Tensor) -> Tensor:
    """Return ``log(1 + a loss over that of a silent network)``; 0 where silence is no worse than the recording."""
    if isinstance(loss, Rate):  # of the units, over all windows: one window's count is mostly chance
        simulated, recorded = simulated.flatten(0, 1)[None], recorded.flatten(0, 1)[None]
    silent = loss(torch.zeros_like(recorded), recorded)
    return torch.log1p(loss(simulated, recorded) / silent) if silent > 0 else simulated.sum() * 0.0


def _unwhitening(design: Design, forced: ForcedFit) -> Array:
    """Return the matrix that turns whitened coordinates into standardised weights.

    With ``F + damping = L L'`` the unit-averaged Fisher matrix of one bin, it is ``L^-T sqrt(F_bias,bias)``.
    """
    rows, weights = design.sample.rows, design.sample.weights
    p = expit(rows @ forced.theta.astype(np.float32))
    curvature = (design.capacity * p * (1 - p)).mean(1) * weights / weights.sum()
    scaled = rows * np.sqrt(curvature).astype(np.float32)[:, None]
    fisher = (scaled.T @ scaled).astype(np.float64)
    root = np.linalg.cholesky(fisher + DAMPING / weights.sum() * np.eye(len(fisher)))
    return np.asarray(np.linalg.inv(root).T * np.sqrt(fisher[-1, -1]))
