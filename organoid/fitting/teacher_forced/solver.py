r"""Convex fit of all units at once: batched truncated Newton with preconditioned conjugate gradients.

For each unit ``i``, with the rows ``x_m`` standing for ``w_m`` bins each, the binomial likelihood of the
escape-noise network is minimised together with a ridge:

.. math::

    L_i(\theta) = \sum_m w_m K_i \log(1 + e^{x_m \theta}) - c_i \theta + \tfrac12 \sum_p R_{pi} \theta_p^2

``c_i`` is the exact spike term. Units share the rows, so every step is a few matrix products; a first
pass over part of the rows brings all units close, and then each gets its own preconditioner. Units are
solved in parts of a fixed size, on all cores: results do not depend on how many there are.

References
----------
Nocedal & Wright (2006), Numerical Optimization, chapter 7 (truncated Newton).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from organoid.parallel import in_threads

_FORCING = 0.1  # conjugate gradients stop at this fraction of the gradient
_MAX_CG = 60
_MAX_NEWTON = 25
_MIN_ROWS = 5000  # rows of the first pass
_ROUGH = 1e-2
_WARM = 1e-3
_HESSIAN_ROWS = 10_000
_PRECONDITIONER_ROWS = 4000
_UNITS_A_PART = 32
_FEWEST_SPIKES = 0.5
_HESSIAN_BYTES = 5e8  # preconditioners of single units are kept only below this size
UNUSED = 1e9  # ridge of a feature that a unit does not use


@dataclass(frozen=True)
class Problem:
    """The data of the convex fit.

    Parameters
    ----------
    rows : Tensor, shape (n_samples, n_features)
    weights : Tensor, shape (n_samples,)
    spike_term : Tensor, shape (n_features, n_units)
    capacity : Tensor, shape (n_units,)
        Largest number of spikes of a unit in one bin.
    ridge : Tensor, shape (n_features, n_units)
        `UNUSED` where a unit does not use a feature.
    device : str
        Where it is solved; the tensors lie in the computer's memory until then.
    """

    rows: Tensor
    weights: Tensor
    spike_term: Tensor
    capacity: Tensor
    ridge: Tensor
    device: str = "cpu"

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.spike_term.shape[1]

    def placed(self) -> "Problem":
        """Return the problem with its tensors where it is to be solved."""
        return replace(
            self,
            rows=self.rows.to(self.device),
            weights=self.weights.to(self.device),
            spike_term=self.spike_term.to(self.device),
            capacity=self.capacity.to(self.device),
            ridge=self.ridge.to(self.device),
        )

    def with_some_spikes(self) -> "Problem":
        """Return the problem with at least half a spike of every unit: the rate of a silent unit stays above 0."""
        spike_term = self.spike_term.clone()
        spike_term[-1].clamp_(min=_FEWEST_SPIKES)
        return replace(self, spike_term=spike_term)

    def units(self, index: Tensor) -> "Problem":
        """Return the problem of some units only."""
        return replace(
            self,
            spike_term=self.spike_term[:, index],
            capacity=self.capacity[index],
            ridge=self.ridge[:, index],
        )

    def every(self, stride: int) -> "Problem":
        """Return the problem on every `stride`-th row, each standing for as many more bins."""
        weights = self.weights[::stride]
        weights = weights * (self.weights.sum() / weights.sum())
        return replace(self, rows=self.rows[::stride].contiguous(), weights=weights)

    def integral(self, potential: Tensor) -> Tensor:
        """Return the integral term of every unit from ``rows @ theta``."""
        return self.capacity * (self.weights @ torch.nn.functional.softplus(potential))

    def negative_log_likelihood(self, theta: Tensor) -> Tensor:
        """Return the likelihood part of every unit (up to a constant), shape (n_units,)."""
        return self.integral(self.rows @ theta).double() - (self.spike_term.double() * theta.double()).sum(0)

    def curvature(self, potential: Tensor) -> tuple[Tensor, Tensor]:
        """Return expected spikes and their variance for every row and unit."""
        p = torch.sigmoid(potential)
        expected = self.weights[:, None] * self.capacity * p
        return expected, expected * (1 - p)


@dataclass(frozen=True)
class Solution:
    """Result of `solve`.

    Parameters
    ----------
    theta : Tensor, shape (n_features, n_units)
    gradient_norm : float
        Largest over units of ``|gradient| / |spike term|``; the convergence certificate.
    n_iterations : int
    converged : bool
    """

    theta: Tensor
    gradient_norm: float
    n_iterations: int
    converged: bool


def sampling_error(problem: Problem, theta: Tensor) -> float:
    r"""Return how much likelihood the optimum loses because rows are only a sample of all bins, in nats.

    .. math:: \tfrac12 N \, \mathrm{tr}\big((\bar H + \bar R)^{-1} \bar V\big), \qquad
              \bar V = \sum_m (w_m^2 - w_m)\, \overline{(K p_m)^2}\, x_m x_m^T

    expected, to second order, with Hessian and variance of the gradient averaged over the ``N`` units. Rows
    are taken as drawn independently; drawn at even steps, as they are, they do a little better.
    """
    p = torch.sigmoid(problem.rows @ theta) * problem.capacity
    curvature = problem.weights * (p * (1 - p / problem.capacity)).mean(1)
    spread = (problem.weights**2 - problem.weights).clamp_min(0) * (p * p).mean(1)
    hessian, variance = (problem.rows.T @ (w[:, None] * problem.rows) for w in (curvature, spread))
    hessian = hessian.double() + torch.diag(problem.ridge.double().mean(1))
    return float(0.5 * problem.n_units * torch.linalg.solve(hessian, variance.double()).diagonal().sum())


Preconditioner = Callable[[Tensor, Tensor], Tensor]  # (residual, unit indices) -> step


def solve(problem: Problem, start: Tensor | None = None, *, tolerance: float = 3e-3) -> Solution:
    """Minimise the objective of every unit.

    Parameters
    ----------
    problem : Problem
    start : Tensor, optional, shape (n_features, n_units)
        Warm start. Default: what `solve_roughly` finds on part of the rows.
    tolerance : float
        Stop when the gradient of every unit is below this fraction of its spike term.

    Returns
    -------
    Solution
    """
    problem, begin = problem.placed(), _placed(start, problem)
    n = problem.n_units
    index = [
        torch.arange(first, min(first + _UNITS_A_PART, n), device=problem.device)
        for first in range(0, n, _UNITS_A_PART)
    ]
    if len(index) < 2:
        return _fetched(_solve_part(problem, begin, tolerance))
    parts = list(
        in_threads(lambda i: _solve_part(problem.units(i), None if begin is None else begin[:, i], tolerance), index)
    )
    return Solution(
        torch.cat([part.theta for part in parts], dim=1).cpu(),
        max(part.gradient_norm for part in parts),
        max(part.n_iterations for part in parts),
        all(part.converged for part in parts),
    )


def _placed(start: Tensor | None, problem: Problem) -> Tensor | None:
    return None if start is None else start.to(problem.device)


def _fetched(solution: Solution) -> Solution:
    return replace(solution, theta=solution.theta.cpu())


def _solve_part(problem: Problem, start: Tensor | None, tolerance: float) -> Solution:
    problem = problem.with_some_spikes()
    theta = _coarse(problem) if start is None else start
    n, p = problem.n_units, problem.rows.shape[1]
    own = 4.0 * n * p * p < _HESSIAN_BYTES
    precondition = unit_preconditioner(problem, theta) if own else _shared_preconditioner(problem, theta)
    return _newton(problem, theta, precondition, tolerance)


def solve_roughly(problem: Problem, start: Tensor | None = None) -> Solution:
    """Come close to the optimum: enough to compare choices, and as a warm start.

    From a warm start the gradient is small to begin with, though columns that are new have not been tried: there
    it has to fall further.
    """
    problem, begin = problem.placed().with_some_spikes(), _placed(start, problem)
    theta, goal = (_coarse(problem), _ROUGH) if begin is None else (begin, _WARM)
    return _fetched(_newton(problem, theta, _shared_preconditioner(problem, theta), goal))


def _coarse(problem: Problem) -> Tensor:
    """Return a first guess, from a small part of the rows where there are many."""
    start = constant_rate(problem)
    stride = len(problem.rows) // _MIN_ROWS
    if stride < 2:
        return start
    part = problem.every(stride)
    return _newton(part, start, _shared_preconditioner(part, start), 3 * _ROUGH).theta


def constant_rate(problem: Problem) -> Tensor:
    """Return the parameters of constant rates: only the last row, the bias, is not 0."""
    total = problem.weights.sum() * problem.capacity
    rate = (problem.spike_term[-1].clamp_min(_FEWEST_SPIKES) / total.clamp_min(1.0)).clamp(1e-9, 1 - 1e-6)
    theta = torch.zeros_like(problem.spike_term)
    theta[-1] = torch.logit(rate)
    return theta


def unit_hessians(problem: Problem, theta: Tensor, n_rows: int = _HESSIAN_ROWS) -> Tensor:
    """Return the Hessian of every unit, ridge included, from about `n_rows` of the rows.

    Returns
    -------
    Tensor, shape (n_units, n_features, n_features)
    """
    thin = problem.every(max(1, len(problem.rows) // n_rows))
    _, curvature = thin.curvature(thin.rows @ theta)
    hessians = torch.empty(theta.shape[1], theta.shape[0], theta.shape[0], dtype=theta.dtype, device=theta.device)
    for i in range(theta.shape[1]):
        scaled = thin.rows * curvature[:, i : i + 1].sqrt()
        hessians[i] = scaled.T @ scaled
        hessians[i].diagonal().add_(problem.ridge[:, i])
    return hessians


def unit_preconditioner(problem: Problem, theta: Tensor) -> Preconditioner:
    """Return the inverse Hessian of every unit at `theta`, from part of the rows."""
    hessians = unit_hessians(problem, theta, _PRECONDITIONER_ROWS)
    hessians.diagonal(dim1=1, dim2=2).mul_(1.001)
    factors = torch.linalg.cholesky(hessians)

    def apply(residual: Tensor, units: Tensor) -> Tensor:
        solved: Tensor = torch.cholesky_solve(residual.T[:, :, None], factors[units])
        return solved[:, :, 0].T

    return apply


def _shared_preconditioner(problem: Problem, theta: Tensor) -> Preconditioner:
    """Return the inverse of ``r_i H + R`` for every unit, H the unit-averaged Hessian without ridge.

    One eigendecomposition in coordinates whitened by the ridge serves units of every rate.
    """
    _, curvature = problem.curvature(problem.rows @ theta)
    mean = curvature.mean(1)
    hessian = problem.rows.T @ (mean[:, None] * problem.rows)
    unused = problem.ridge >= UNUSED
    typical = problem.ridge.masked_fill(unused, torch.nan).nanmedian(dim=1).values.nan_to_num(UNUSED)
    white = typical.clamp_min(1e-6).rsqrt()
    values, vectors = torch.linalg.eigh((white[:, None] * hessian * white[None, :]).double())
    rate = curvature.sum(0) / mean.sum().clamp_min(1e-30)
    shrink = 1.0 / (values.clamp_min(0).to(hessian.dtype)[:, None] * rate + 1.0)
    left: Tensor = white[:, None] * vectors.to(hessian.dtype)

    def apply(residual: Tensor, units: Tensor) -> Tensor:
        inner: Tensor = shrink[:, units] * (left.T @ residual)
        return left @ inner

    def apply_to_used(residual: Tensor, units: Tensor) -> Tensor:
        hidden = unused[:, units]
        return torch.where(hidden, residual / UNUSED, apply(residual.masked_fill(hidden, 0.0), units))

    if bool(unused.any()):
        return apply_to_used
    return apply


def _newton(problem: Problem, theta: Tensor, precondition: Preconditioner, tolerance: float) -> Solution:
    """Iterate on the units that have not converged yet."""
    theta = theta.clone()
    scale = problem.spike_term.norm(dim=0).clamp_min(1.0)
    relative = torch.full_like(scale, torch.inf)
    index = torch.arange(problem.n_units, device=theta.device)
    n_iterations = 0
    while True:
        part, now = problem.units(index), theta[:, index]
        potential = part.rows @ now
        expected, curvature = part.curvature(potential)
        gradient = part.rows.T @ expected - part.spike_term + part.ridge * now
        relative[index] = gradient.norm(dim=0) / scale[index]
        still = relative[index] >= tolerance
        if not bool(still.any()) or n_iterations == _MAX_NEWTON:
            break
        n_iterations += 1
        index, part, now = index[still], part.units(still.nonzero()[:, 0]), now[:, still]
        step = _newton_step(part, curvature[:, still], gradient[:, still], precondition, index)
        theta[:, index] = now + _step_length(part, potential[:, still], now, step) * step
    worst = float(relative.max())
    return Solution(theta, worst, n_iterations, worst < 10 * tolerance)


def _newton_step(
    problem: Problem, curvature: Tensor, gradient: Tensor, precondition: Preconditioner, index: Tensor
) -> Tensor:
    """Solve ``H step = -gradient`` roughly, for all units together."""
    step = torch.zeros_like(gradient)
    residual = -gradient
    z = precondition(residual, index)
    direction = z.clone()
    rz = (residual * z).sum(0)
    goal = _FORCING * gradient.norm(dim=0)
    for _ in range(_MAX_CG):
        product = problem.rows.T @ (curvature * (problem.rows @ direction)) + problem.ridge * direction
        alpha = rz / (direction * product).sum(0).clamp_min(1e-30)
        step += alpha * direction
        residual -= alpha * product
        if bool((residual.norm(dim=0) <= goal).all()):
            break
        z = precondition(residual, index)
        rz_new = (residual * z).sum(0)
        direction = z + (rz_new / rz.clamp_min(1e-30)) * direction
        rz = rz_new
    return step


def _step_length(problem: Problem, potential: Tensor, theta: Tensor, step: Tensor) -> Tensor:
    """Minimise the convex objective along each unit's step: safeguarded Newton on one number per unit."""
    slope_potential = problem.rows @ step
    linear = (problem.spike_term * step).sum(0)
    quadratic = (problem.ridge * step * step).sum(0)
    cross = (problem.ridge * theta * step).sum(0)
    low, high = torch.zeros_like(linear), torch.full_like(linear, torch.inf)
    length = torch.ones_like(linear)
    for _ in range(8):
        expected, curvature = problem.curvature(potential + length * slope_potential)
        slope = (expected * slope_potential).sum(0) - linear + cross + length * quadratic
        bend = (curvature * slope_potential * slope_potential).sum(0) + quadratic
        low = torch.where(slope < 0, length, low)
        high = torch.where(slope < 0, high, length)
        proposal = length - slope / bend.clamp_min(1e-30)
        inside = (proposal > low) & (proposal < high)
        middle = torch.where(torch.isinf(high), 2 * low + 0.1, (low + high) / 2)
        new_length = torch.where(inside, proposal, middle)
        if bool(((new_length - length).abs() < 0.1 * length).all()):
            return new_length
        length = new_length
    return length
