"""Newton's method with bounds: optimality conditions, an independent optimiser, and why bounds are left out first."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from organoid.fitting.culture_lif.newton import UnitProblem, bounded_step, solve_unit

Array = NDArray[np.float64]


def positive_definite(rng: np.random.Generator, n: int) -> Array:
    root = rng.normal(size=(n, n))
    return np.asarray(root @ root.T + 0.1 * np.eye(n))


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_a_step_ends_within_the_bounds_and_solves_for_the_coordinates_that_move(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, right = positive_definite(rng, n), rng.normal(size=n)
    low = np.where(rng.random(n) < 0.4, -np.abs(rng.normal(size=n)), -np.inf)
    high = np.where(rng.random(n) < 0.4, np.abs(rng.normal(size=n)), np.inf)
    theta = np.clip(rng.normal(size=n), low, high)
    step = bounded_step(np.linalg.inv(matrix), right, theta, low, high)
    after = theta + step
    assert np.all(after >= low - 1e-9) and np.all(after <= high + 1e-9)
    inside = (after > low + 1e-7) & (after < high - 1e-7)
    np.testing.assert_allclose((matrix @ step)[inside], right[inside], atol=1e-6)
    outward = ((theta <= low) & (right < 0)) | ((theta >= high) & (right > 0))
    np.testing.assert_allclose(step[outward], 0.0, atol=1e-9)


def test_a_step_without_bounds_is_newtons() -> None:
    rng = np.random.default_rng(0)
    matrix, right, endless = positive_definite(rng, 6), rng.normal(size=6), np.full(6, np.inf)
    step = bounded_step(np.linalg.inv(matrix), right, rng.normal(size=6), -endless, endless)
    np.testing.assert_allclose(step, np.linalg.solve(matrix, right), rtol=1e-9)


def test_to_solve_for_all_and_clip_afterwards_is_no_descent() -> None:
    """The trap that bounded steps avoid: here the clipped step of the whole system raises what is minimised."""
    matrix = np.array([[1.0, 0.99], [0.99, 1.0]])
    theta, low, high = np.zeros(2), np.array([0.0, -np.inf]), np.full(2, np.inf)
    right = np.array([-1.0, -0.9])

    def value(step: Array) -> float:
        return float(0.5 * step @ matrix @ step - right @ step)

    clipped = np.clip(np.linalg.solve(matrix, right), low, high)
    bounded = bounded_step(np.linalg.inv(matrix), right, theta, low, high)
    np.testing.assert_allclose(bounded, [0.0, -0.9], atol=1e-12)
    assert value(clipped) > 0 > value(bounded)


def problem(seed: int, n: int = 7, n_rows: int = 400) -> UnitProblem:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, n)).astype(np.float32)
    rows[:, -1] = -1.0
    truth = rng.normal(size=n)
    spikes = rng.random(n_rows) < 1 / (1 + np.exp(-rows @ truth))
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    low[0], high[1] = 0.0, 0.0
    return UnitProblem(
        torch.from_numpy(rows),
        torch.ones(n_rows),
        rows[spikes].sum(0).astype(np.float64),
        np.full(n, 0.5),
        low,
        high,
    )


@given(st.integers(0, 1000))
def test_the_optimum_is_that_of_another_optimiser(seed: int) -> None:
    unit = problem(seed)
    found = solve_unit(unit, np.zeros(7))
    assert found.converged
    rows = unit.rows.double().numpy()

    def both(theta: Array) -> tuple[float, Array]:
        u = rows @ theta
        gradient = rows.T @ (1 / (1 + np.exp(-u))) - unit.spike_term + unit.ridge * theta
        value = np.logaddexp(0, u).sum() - unit.spike_term @ theta + 0.5 * (unit.ridge * theta**2).sum()
        return float(value), gradient

    other = minimize(both, np.zeros(7), jac=True, method="L-BFGS-B", bounds=list(zip(unit.low, unit.high)))
    assert both(found.theta)[0] <= other.fun + 2e-3
    np.testing.assert_allclose(found.theta, other.x, atol=0.05)
    assert np.all(found.theta >= unit.low) and np.all(found.theta <= unit.high)


def test_the_fisher_matrix_is_the_curvature() -> None:
    unit = problem(3)
    theta = np.array([0.3, -0.2, 0.1, 0.0, 0.2, -0.1, 0.4])
    _, fisher = unit.slopes(unit.log_odds(theta), theta)
    h = 1e-3
    for k in range(7):
        ahead, behind = theta.copy(), theta.copy()
        ahead[k] += h
        behind[k] -= h
        one, other = (unit.slopes(unit.log_odds(t), t)[0] for t in (ahead, behind))
        np.testing.assert_allclose((one - other) / (2 * h), fisher[k] + unit.ridge * (np.arange(7) == k), atol=0.05)
