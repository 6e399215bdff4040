r"""Newton's method for one unit's convex likelihood, with bounds on its weights.

.. math:: \min_\theta \sum_t w_t K \log(1 + e^{\phi_t \cdot \theta}) - \Big(\sum_{spikes} \phi\Big) \cdot \theta
          + \tfrac12 \sum_p \rho_p \theta_p^2 \qquad \text{within } [low, high]

A coordinate at a bound whose gradient pushes outward is left out of the system that is solved. To solve with all of
them and clip afterwards is no descent: it can grow without bound.

References
----------
Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, SIAM Journal on Control
and Optimization 20.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

MAX_ITERATIONS = 30
TOLERANCE = 1e-3  # nats that a step may still gain
_ROUNDS, _HALVINGS, _DESCENT = 6, 12, 1e-4


@dataclass(frozen=True)
class UnitProblem:
    """The likelihood of one unit.

    Parameters
    ----------
    rows : Tensor of float32, shape (n_rows, n_columns)
    weights : Tensor of float32, shape (n_rows,)
        Bins each row stands for, times the unit's capacity.
    spike_term : ndarray, shape (n_columns,)
    ridge, low, high : ndarray, shape (n_columns,)
    stride : int
        The Fisher matrix is taken over every so many rows; the gradient is over all, so the optimum is the same.
    """

    rows: Tensor
    weights: Tensor
    spike_term: Array
    ridge: Array
    low: Array
    high: Array
    stride: int = 1

    def value(self, theta: Array) -> float:
        """Return what is minimised."""
        return self._value(self.log_odds(theta), theta)

    def log_odds(self, theta: Array) -> Tensor:
        """Return ``u`` of every row."""
        return self.rows @ torch.from_numpy(theta).float()

    def _value(self, u: Tensor, theta: Array) -> float:
        integral = float((torch.nn.functional.softplus(u) * self.weights).sum(dtype=torch.float64))
        return integral - float(np.sum(self.spike_term * theta)) + 0.5 * float(np.sum(self.ridge * theta**2))

    def slopes(self, u: Tensor, theta: Array) -> tuple[Array, Array]:
        """Return gradient and Fisher matrix (without the ridge) at log-odds ``u``."""
        p = torch.sigmoid(u)
        gradient = (self.rows.T @ (self.weights * p)).double().numpy() - self.spike_term + self.ridge * theta
        part = slice(None, None, self.stride)
        root = (self.stride * self.weights[part] * p[part] * (1 - p[part])).sqrt()
        scaled = self.rows[part] * root[:, None]
        return gradient, (scaled.T @ scaled).double().numpy()


@dataclass(frozen=True)
class UnitSolution:
    """Where Newton's method ended.

    Parameters
    ----------
    theta : ndarray, shape (n_columns,)
    fisher : ndarray, shape (n_columns, n_columns)
        Summed over bins, without the ridge.
    converged : bool
    """

    theta: Array
    fisher: Array
    converged: bool


def solve_unit(problem: UnitProblem, start: Array) -> UnitSolution:
    """Minimise from a start within the bounds."""
    theta, converged = np.clip(start, problem.low, problem.high), False
    u = problem.log_odds(theta)
    value = problem._value(u, theta)
    fisher = np.empty((0, 0))
    for _ in range(MAX_ITERATIONS):
        gradient, fisher = problem.slopes(u, theta)
        inverse = np.asarray(np.linalg.inv(fisher + np.diag(problem.ridge)), dtype=np.float64)
        step = bounded_step(inverse, -gradient, theta, problem.low, problem.high)
        slope = float(np.sum(gradient * step))
        if -slope < TOLERANCE:
            converged = True
            break
        theta, u, moved = _line_search(problem, theta, step, value, slope)
        if moved is None:
            break
        value = moved
    return UnitSolution(theta, fisher, converged)


def _line_search(
    problem: UnitProblem, theta: Array, step: Array, value: float, slope: float
) -> tuple[Array, Tensor, float | None]:
    length = 1.0
    for _ in range(_HALVINGS):
        there = theta + length * step
        u = problem.log_odds(there)
        found = problem._value(u, there)
        if found <= value + _DESCENT * length * slope:
            return there, u, found
        length /= 2
    return theta, problem.log_odds(theta), None


def bounded_step(inverse: Array, right: Array, theta: Array, low: Array, high: Array) -> Array:
    r"""Return the step :math:`d` with :math:`M d = r` over the coordinates that are free to move, within the bounds.

    Coordinates at a bound that `right` (the direction of descent) pushes outward stay. Those that the solution would
    take beyond a bound go to the bound, and the others are solved for again. With the values :math:`v` of the
    coordinates C that are set, and :math:`P = M^{-1}`, the others follow from

    .. math:: d = P r + P_{\cdot C}\, \mu, \qquad P_{CC}\, \mu = v - (P r)_C

    Parameters
    ----------
    inverse : ndarray, shape (n, n)
        ``P``; symmetric, positive definite.
    right, theta, low, high : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
    """
    fixed = ((theta <= low) & (right < 0)) | ((theta >= high) & (right > 0))
    base, value = inverse @ right, np.zeros_like(theta)
    step = base
    for _ in range(_ROUNDS):
        places = np.flatnonzero(fixed)
        if places.size:
            push = np.linalg.solve(inverse[np.ix_(places, places)], value[places] - base[places])
            step = base + inverse[:, places] @ push
            step[places] = value[places]
        beyond = ~fixed & ((theta + step < low) | (theta + step > high))
        if not beyond.any():
            return step
        value[beyond] = np.clip(theta + step, low, high)[beyond] - theta[beyond]
        fixed |= beyond
    return np.asarray(np.clip(theta + step, low, high) - theta)
