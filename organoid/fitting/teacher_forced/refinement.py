r"""Full-data refinement of the forced fit: the integral term over every bin, not over a sample of bins.

With ``G`` the gradient of the integral term over all bins, computed chunk by chunk, and ``G_s`` that of the
sample, the sampled problem with the spike term

.. math:: c' = c - (G(\theta) - G_s(\theta))

has the exact gradient at ``\theta``. Solving it again and again from its last solution converges to the optimum
of the full likelihood, quickly where the sample's curvature is near the true one (as in Shamir, Srebro & Zhang
2014, where the parts of the data lie on several machines).

References
----------
Shamir, Srebro & Zhang (2014) Communication-efficient distributed optimization using an approximate Newton-type
method, ICML.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.design import Design
from organoid.fitting.teacher_forced.features import forced_features
from organoid.fitting.teacher_forced.solver import Problem, Solution, solve

MAX_ROUNDS = 6
TOLERANCE = 3e-3  # of the exact gradient, against the spike term


def refine(
    training: History, design: Design, problem: Problem, columns: NDArray[np.int64], solution: Solution
) -> Solution:
    """Improve the solution of a sampled problem until its gradient over all bins is small.

    Parameters
    ----------
    training : History
    design : Design
    problem : Problem
        What `solution` solves, on ``design.sample``.
    columns : ndarray of int64
        Columns of the design that `problem` has.
    solution : Solution

    Returns
    -------
    Solution
        With the norm of the exact gradient; the best round's.
    """
    best, sampled = None, solution
    problem = problem.with_some_spikes()
    for _ in range(MAX_ROUNDS):
        theta = sampled.theta
        exact = full_gradient(training, design, problem, columns, theta)
        expected, _ = problem.curvature(problem.rows @ theta)
        shift = exact - (problem.rows.T @ expected)
        total = exact - problem.spike_term + problem.ridge * theta
        norm = float((total.norm(dim=0) / problem.spike_term.norm(dim=0).clamp_min(1.0)).max())
        if best is None or norm < best.gradient_norm:
            best = Solution(theta, norm, sampled.n_iterations, norm < 10 * TOLERANCE)
        if norm < TOLERANCE:
            break
        corrected = replace(problem, spike_term=problem.spike_term - shift)
        sampled = solve(corrected, theta, tolerance=TOLERANCE / 3)
    assert best is not None
    return best


def full_gradient(
    training: History, design: Design, problem: Problem, columns: NDArray[np.int64], theta: Tensor
) -> Tensor:
    """Return the gradient of the integral term over all observed bins, shape (n_columns, n_units)."""
    scale = torch.from_numpy(design.scale[columns]).float()
    total = torch.zeros(theta.shape, dtype=torch.float64)
    for first, rows in forced_features(training, design.basis, training.first_bin, training.n_bins):
        seen = training.observed[first : first + len(rows)]
        if design.pulses is not None:
            added = design.pulses.rows(np.arange(first, first + len(rows)))
            rows = np.concatenate([rows[:, :-1], added, rows[:, -1:]], axis=1)
        x = torch.from_numpy(rows[seen][:, columns]) / scale
        total += (x.T @ (problem.capacity * torch.sigmoid(x @ theta))).double()
    return total.float()
