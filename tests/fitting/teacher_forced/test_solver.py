"""The batched Newton solver against scipy, one unit at a time in float64."""

from __future__ import annotations

from dataclasses import replace

import escape_oracle as oracle
import numpy as np
import pytest
import torch
from torch import Tensor

from organoid.fitting.teacher_forced import solver
from organoid.fitting.teacher_forced.solver import Problem, Solution, constant_rate, solve, unit_hessians

KINDS = ("plain", "rare", "silent", "dense", "every bin", "never but once at the end", "capacity 4")
N_ROWS, N_FEATURES = 1500, 9


def problem_of(seed: int = 0, dtype: torch.dtype = torch.float64, *, collinear: bool = False) -> Problem:
    """Seven units of different kinds on shared skewed features; weighted rows. The silent one has half a spike."""
    rng = np.random.default_rng(seed)
    rows = rng.gamma(0.3, 1.0, (N_ROWS, N_FEATURES)) * rng.choice([1.0, -1.0], N_FEATURES)
    if collinear:
        rows[:, 3] = rows[:, 2]
        rows[:, 4] = rows[:, 2] * 0.5
        rows[:, 5] = 0.0
        rows[:, 6] = 1.0
    rows[:, -1] = 1.0
    weights = rng.uniform(1.0, 6.0, N_ROWS)
    capacity = np.array([1.0, 1, 1, 1, 1, 1, 4])
    truth = rng.normal(0, 0.5, (N_FEATURES, len(KINDS)))
    truth[-1] = [-3, -9, -30, 1, 60, -9, -1]
    expected = capacity / (1 + np.exp(-(rows @ truth)))
    counts = rng.binomial(capacity.astype(int), expected / capacity).astype(float)
    counts[:, 1] = 0
    counts[rng.integers(N_ROWS), 1] = 1
    counts[:, 5] = 0
    counts[-1, 5] = 1
    ridge = rng.choice([0.5, 3.0, 30.0], (N_FEATURES, len(KINDS)))
    ridge[-1] = 1e-3
    return Problem(
        rows=torch.from_numpy(rows).to(dtype),
        weights=torch.from_numpy(weights).to(dtype),
        spike_term=torch.from_numpy(rows.T @ (weights[:, None] * counts)).to(dtype),
        capacity=torch.from_numpy(capacity).to(dtype),
        ridge=torch.from_numpy(ridge).to(dtype),
    ).with_some_spikes()


def convex(problem: Problem, unit: int) -> oracle.Convex:
    return oracle.Convex(
        rows=problem.rows.double().numpy(),
        weights=problem.weights.double().numpy(),
        spike_term=problem.spike_term[:, unit].double().numpy(),
        capacity=float(problem.capacity[unit]),
        ridge=problem.ridge[:, unit].double().numpy(),
    )


def column(theta: Tensor, unit: int) -> np.ndarray:
    return theta[:, unit].double().numpy()


def certificate(problem: Problem, theta: Tensor) -> float:
    """Largest relative gradient, by hand."""
    worst = 0.0
    for unit in range(problem.n_units):
        gradient = convex(problem, unit).gradient(column(theta, unit))
        scale = max(float(problem.spike_term[:, unit].double().norm()), 1.0)
        worst = max(worst, float(np.linalg.norm(gradient)) / scale)
    return worst


def test_likelihood_and_curvature_by_finite_differences() -> None:
    problem = problem_of(1)
    theta = torch.from_numpy(np.random.default_rng(2).normal(0, 0.3, (N_FEATURES, len(KINDS))))
    expected, curvature = problem.curvature(problem.rows @ theta)
    gradient = (problem.rows.T @ expected - problem.spike_term).numpy()
    for unit in range(problem.n_units):
        by_hand = convex(problem, unit)
        without_ridge = by_hand.value(column(theta, unit)) - 0.5 * by_hand.ridge @ column(theta, unit) ** 2
        assert float(problem.negative_log_likelihood(theta)[unit]) == pytest.approx(without_ridge, rel=1e-12)
    step = 1e-5
    for f in range(N_FEATURES):
        up, down = theta.clone(), theta.clone()
        up[f] += step
        down[f] -= step
        slope = (problem.negative_log_likelihood(up) - problem.negative_log_likelihood(down)).numpy() / (2 * step)
        np.testing.assert_allclose(gradient[f], slope, rtol=1e-6, atol=1e-4)
        more, less = problem.curvature(problem.rows @ up)[0], problem.curvature(problem.rows @ down)[0]
        bend = (problem.rows.T @ (more - less)).numpy() / (2 * step)
        hessian_row = (problem.rows.T @ (curvature * problem.rows[:, f : f + 1])).numpy()
        np.testing.assert_allclose(hessian_row, bend, rtol=1e-5, atol=1e-3)


def test_hessians_by_hand() -> None:
    problem = problem_of(3)
    theta = torch.from_numpy(np.random.default_rng(2).normal(0, 0.3, (N_FEATURES, len(KINDS))))
    for unit, hessian in enumerate(unit_hessians(problem, theta, n_rows=N_ROWS).numpy()):
        np.testing.assert_allclose(hessian, convex(problem, unit).hessian(column(theta, unit)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_optimum_equals_scipy(seed: int, collinear: bool) -> None:
    problem = problem_of(seed, collinear=collinear)
    solution = solve(problem, tolerance=1e-8)
    assert solution.converged
    for unit, kind in enumerate(KINDS):
        by_hand = convex(problem, unit)
        best = by_hand.optimum()
        theta = column(solution.theta, unit)
        assert np.linalg.norm(by_hand.gradient(best)) < 1e-4, f"the reference itself is not at the optimum ({kind})"
        assert by_hand.value(theta) - by_hand.value(best) < 1e-6, kind
        scale = np.sqrt(np.diag(np.linalg.inv(by_hand.hessian(best))))  # posterior deviation
        assert np.abs((theta - best) / scale).max() < 1e-3, kind


@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_default_settings_are_close_enough(seed: int, collinear: bool) -> None:
    """In float32 at the default tolerance: less than half a posterior deviation and a tenth of a nat away.

    A unit that fires in every bin has a flat optimum; a hair of its 5,000 spikes is allowed there.
    """
    problem = problem_of(seed, torch.float32, collinear=collinear)
    solution = solve(problem)
    assert solution.converged and solution.gradient_norm < 3e-3
    for unit, kind in enumerate(KINDS):
        by_hand = convex(problem, unit)
        best, theta = by_hand.optimum(), column(solution.theta, unit)
        assert by_hand.value(theta) - by_hand.value(best) < (2.0 if kind == "every bin" else 0.1), kind
        scale = np.sqrt(np.diag(np.linalg.inv(by_hand.hessian(best))))
        assert kind == "every bin" or np.abs((theta - best) / scale).max() < 0.5, kind


def test_certificate_is_true() -> None:
    problem = problem_of(4)
    for tolerance in (1e-1, 1e-3, 1e-6):
        solution = solve(problem, tolerance=tolerance)
        assert solution.converged and solution.gradient_norm < tolerance
        assert certificate(problem, solution.theta) == pytest.approx(solution.gradient_norm, rel=1e-3, abs=1e-12)


def test_a_solver_that_is_stopped_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "_MAX_NEWTON", 1)
    problem = problem_of(4)
    stopped = solve(problem, constant_rate(problem), tolerance=1e-9)
    assert not stopped.converged and stopped.n_iterations == 1
    assert certificate(problem, stopped.theta) == pytest.approx(stopped.gradient_norm, rel=1e-6)


def test_rough_solution_is_near() -> None:
    problem = problem_of(4)
    rough, fine = solver.solve_roughly(problem), solve(problem, tolerance=1e-8)
    assert rough.converged
    for unit, kind in enumerate(KINDS):
        by_hand = convex(problem, unit)
        start = by_hand.value(column(constant_rate(problem), unit))
        best = by_hand.value(column(fine.theta, unit))
        assert by_hand.value(column(rough.theta, unit)) - best < 2.0 + 0.02 * (start - best), kind


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 3e-3)])
def test_units_do_not_depend_on_the_batch(dtype: torch.dtype, tolerance: float) -> None:
    problem = problem_of(5, dtype)
    together = solve(problem, tolerance=tolerance).theta
    for order in (torch.arange(6, -1, -1), torch.tensor([6, 1, 3])):
        some = solve(problem.units(order), tolerance=tolerance).theta
        for place, unit in enumerate(order.tolist()):
            by_hand = convex(problem, unit)
            gap = by_hand.value(column(some, place)) - by_hand.value(column(together, unit))
            assert abs(gap) < (1e-9 if dtype == torch.float64 else 0.05), KINDS[unit]
            if dtype == torch.float64:
                scale = np.sqrt(np.diag(np.linalg.inv(by_hand.hessian(column(together, unit)))))
                assert np.abs(column(some, place) - column(together, unit)).max() < 1e-4 * scale.max(), KINDS[unit]


def test_start_does_not_matter() -> None:
    problem = problem_of(6)
    cold = solve(problem, tolerance=1e-8)
    rng = np.random.default_rng(0)
    warm = solve(problem, cold.theta + torch.from_numpy(rng.normal(0, 1, cold.theta.shape)), tolerance=1e-8)
    assert warm.converged
    for unit, kind in enumerate(KINDS):
        by_hand = convex(problem, unit)
        assert abs(by_hand.value(column(warm.theta, unit)) - by_hand.value(column(cold.theta, unit))) < 1e-5, kind


def test_coarse_pass_and_shared_preconditioner_reach_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths large cultures take, forced on a small one."""
    problem = problem_of(7)
    usual = solve(problem, tolerance=1e-8)
    monkeypatch.setattr(solver, "_MIN_ROWS", 200)
    coarse = solve(problem, tolerance=1e-8)
    monkeypatch.setattr(solver, "_HESSIAN_BYTES", 0)
    shared: Solution = solve(problem, tolerance=1e-5)
    for other, room in ((coarse, 1e-5), (shared, 0.02)):
        assert other.converged
        for unit, kind in enumerate(KINDS):
            by_hand = convex(problem, unit)
            gap = by_hand.value(column(other.theta, unit)) - by_hand.value(column(usual.theta, unit))
            assert abs(gap) < room, kind


def test_every_other_row_stands_for_as_many_bins() -> None:
    problem = problem_of(8)
    thin = problem.every(7)
    assert len(thin.rows) == -(-N_ROWS // 7)
    assert float(thin.weights.sum()) == pytest.approx(float(problem.weights.sum()))
    assert torch.equal(thin.spike_term, problem.spike_term)


def test_constant_rates_have_the_right_rate() -> None:
    problem = problem_of(9)
    theta = constant_rate(problem)
    assert torch.count_nonzero(theta[:-1]) == 0
    total = float(problem.weights.sum()) * problem.capacity
    rate = torch.sigmoid(theta[-1])
    expected = problem.spike_term[-1].clamp_min(0.5) / total
    torch.testing.assert_close(rate, expected.clamp(1e-9, 1 - 1e-6))


def test_a_silent_unit_is_fitted_as_if_it_had_half_a_spike() -> None:
    problem = problem_of(10)
    silent = replace(problem, spike_term=problem.spike_term * torch.tensor([1.0, 1, 0, 1, 1, 1, 1]))
    torch.testing.assert_close(solve(silent).theta, solve(problem).theta)


def test_every_tensor_is_made_where_the_problem_lies() -> None:
    """With "meta" as the default device, a tensor made without naming a device could not be used with the others."""
    problem = problem_of(3, torch.float32)
    wide = replace(
        problem,
        spike_term=problem.spike_term.repeat(1, 6),
        capacity=problem.capacity.repeat(6),
        ridge=problem.ridge.repeat(1, 6),
    )
    start = constant_rate(wide)
    plain = [solve(wide), solve(wide, start), solver.solve_roughly(wide), solver.solve_roughly(wide, start)]
    with torch.device("meta"):
        again = [solve(wide), solve(wide, start), solver.solve_roughly(wide), solver.solve_roughly(wide, start)]
    for one, other in zip(plain, again):
        assert torch.equal(one.theta, other.theta)
