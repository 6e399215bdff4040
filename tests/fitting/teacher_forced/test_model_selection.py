"""How the forced fit chooses, what sampling of bins costs, and the refinement on every bin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_recordings import known_network, recorded

from organoid.fitting.data.history import History, bin_history
from organoid.fitting.teacher_forced import design as design_module
from organoid.fitting.teacher_forced.design import OWN_HISTORY, Candidate, Design, forced_design
from organoid.fitting.teacher_forced.estimate import CONSTANT, COUPLED, FIELDS_ONLY, OWN, _kinds
from organoid.fitting.teacher_forced.model_selection import (
    BASES,
    Choice,
    choose,
    constant_rates,
    fit_alone,
    held_blocks,
    loss_alone,
    steady,
)
from organoid.fitting.teacher_forced.refinement import full_gradient, refine
from organoid.fitting.teacher_forced.solver import sampling_error, solve

BIN = 1e-3
COUPLINGS = BASES[0]


@pytest.fixture(scope="module")
def training() -> History:
    return bin_history(recorded(known_network(), 60.0, seed=11), BIN).training()


@pytest.fixture(scope="module")
def whole(training: History) -> Design:
    """All 48,000 bins are control bins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design_module, "N_CONTROL_BINS", 60_000)
        return forced_design(training, np.random.default_rng(0))


@pytest.fixture(scope="module")
def thin(training: History) -> Design:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design_module, "N_CONTROL_BINS", 4_000)
        return forced_design(training, np.random.default_rng(1))


def test_blocks_and_gaps_hold_every_spike_once(training: History, whole: Design) -> None:
    assert whole.sample.spike_term.shape[0] == 9
    assert whole.sample.spike_term[:, -1].sum() == training.bins.size
    assert whole.sample.n_observed[1::2].tolist() == [960] * 4, "a tenth of a block, since blocks are short"
    assert whole.sample.n_observed.sum() == training.n_bins


def test_held_out_blocks_are_not_fitted(training: History, whole: Design) -> None:
    """Every spike of the last block replaced: what is fitted without it stays the same."""
    rng = np.random.default_rng(3)
    first = int(training.n_bins * 0.8) + 480
    kept = training.bins < first
    new = np.sort(rng.integers(first, training.n_bins, 800))
    other = replace(
        training,
        bins=np.r_[training.bins[kept], new],
        units=np.r_[training.units[kept], rng.integers(0, training.n_units, 800)],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design_module, "N_CONTROL_BINS", 60_000)
        changed = forced_design(other, np.random.default_rng(0))
    inner = np.arange(9) < 7
    one, two = whole.sample.part(inner), changed.sample.part(inner)
    n = whole.n_couplings
    scale = whole.scale[:n] / changed.scale[:n]
    np.testing.assert_allclose(one.rows[:, :n] * scale.astype(np.float32), two.rows[:, :n], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.spike_term[:, :n] * scale[:, None], two.spike_term[:, :n], rtol=1e-9, atol=1e-9)


def test_held_blocks_get_fewer_as_problems_grow(whole: Design) -> None:
    assert held_blocks(whole) == (4, 1, 2, 0, 3)
    wide = replace(whole, capacity=np.ones(60, dtype=np.int64))
    assert held_blocks(wide) == (4, 1)
    assert held_blocks(replace(whole, capacity=np.ones(9000, dtype=np.int64))) == (4,)


def test_spikes_in_one_block_leave_units_on_their_own(whole: Design) -> None:
    spike_term = whole.sample.spike_term.copy()
    spike_term[:8] = 0.0
    late = replace(whole, sample=replace(whole.sample, spike_term=spike_term))
    assert held_blocks(late) == ()
    choice = choose(late)
    assert choice.best == OWN_HISTORY and set(_kinds(late, choice)) == {OWN}


def test_constant_rates_are_the_rates(training: History, whole: Design) -> None:
    theta = constant_rates(whole, whole.sample)
    p = 1 / (1 + np.exp(-theta[-1]))
    np.testing.assert_allclose(p * whole.capacity * training.n_bins, np.bincount(training.units, minlength=8), atol=1)
    assert not theta[:-1].any()


def test_couplings_that_are_there_win(whole: Design) -> None:
    choice = choose(whole)
    assert choice.best.coupling_ridge is not None
    assert choice.pooled(choice.best.name) > 100
    assert np.all(choice.constant_gain < 0), "own history beats a constant rate in this network"
    assert {"couplings", "couplings and fields"} <= set(choice.gains)


@pytest.mark.parametrize("follows", [COUPLED, FIELDS_ONLY, OWN, CONSTANT])
def test_each_unit_follows_what_predicts_best(whole: Design, follows: str) -> None:
    n = whole.n_units
    best = Candidate("a", 300.0, "linear")
    alone = replace(best, name="b", coupling_ridge=None)
    gains = {"a": np.full(n, 9.0), "b": np.full(n, 5.0)}
    constant_gain = np.full(n, -3.0)
    if follows == FIELDS_ONLY:
        gains["b"][2] = 10.0
    elif follows in (OWN, CONSTANT):
        gains["a"][2] = gains["b"][2] = -1.0
    if follows == CONSTANT:
        constant_gain[2] = 4.0
    kinds = _kinds(whole, Choice(best, {"a": best, "b": alone}, gains, constant_gain, 100.0))
    assert kinds[2] == follows and set(np.delete(kinds, 2)) == {COUPLED}


def test_too_small_a_gain_leaves_units_on_their_own(whole: Design) -> None:
    n = whole.n_units
    best = Candidate("a", 300.0, "linear")
    kinds = _kinds(whole, Choice(best, {"a": best}, {"a": np.full(n, 0.9)}, -np.ones(n), 100.0))
    assert set(kinds) == {OWN}


def test_what_holds_for_most_units_is_assumed_of_unclear_ones(whole: Design) -> None:
    """Where own history says nothing, chance alone makes it gain a little in half of the units."""
    unclear = np.where(np.arange(whole.n_units) % 2, 1.5, -0.6)
    unclear[0] = -5.0
    kinds = _kinds(whole, Choice(OWN_HISTORY, {}, {OWN_HISTORY.name: np.zeros(whole.n_units)}, unclear, 100.0))
    assert kinds[0] == OWN and set(kinds[1:]) == {CONSTANT}
    kinds = _kinds(whole, Choice(OWN_HISTORY, {}, {OWN_HISTORY.name: np.zeros(whole.n_units)}, unclear - 1.0, 100.0))
    assert set(kinds) == {OWN}


def test_a_gain_of_a_single_block_does_not_count() -> None:
    by_fold = [np.array([9.0, 1.0, -3.0]), np.array([-1.0, 2.0, 1.0]), np.array([-1.0, -0.5, 1.0])]
    np.testing.assert_allclose(steady(by_fold), [-2.0, 2.5, -1.0])
    np.testing.assert_allclose(steady(by_fold[:2]), [8.0, 3.0, -2.0])


def test_a_silent_unit_keeps_half_a_spike(whole: Design) -> None:
    spike_term = whole.sample.spike_term.copy()
    spike_term[:, :, 3] = 0.0
    sample = replace(whole.sample, spike_term=spike_term)
    theta = fit_alone(whole, sample, OWN_HISTORY)
    p = 1 / (1 + np.exp(-(sample.rows @ theta[:, 3])))
    assert 0.45 < sample.weights @ p < 0.6


def test_fitting_alone_beats_constant_rates_and_uses_only_its_columns(whole: Design) -> None:
    theta = fit_alone(whole, whole.sample, OWN_HISTORY)
    constant = constant_rates(whole, whole.sample)
    gain = loss_alone(whole, whole.sample, OWN_HISTORY, constant) - loss_alone(whole, whole.sample, OWN_HISTORY, theta)
    assert np.all(gain > 0)
    for unit in range(whole.n_units):
        used = np.append(whole.own_columns(unit), whole.scale.size - 1)
        assert not np.delete(theta[:, unit], used).any()


def test_columns_of_candidates(whole: Design) -> None:
    n = whole.n_couplings
    assert n == 4 * 8 and whole.n_drift == 3
    bias = whole.scale.size - 1
    assert bias == n + 7 + 3 + 28
    assert whole.columns(COUPLINGS).tolist() == [*range(n), bias]
    assert whole.columns(Candidate("drift", 1.0, "none", drift=True)).tolist() == [*range(n), n + 7, n + 8, n + 9, bias]
    assert whole.columns(BASES[2]).tolist() == [*range(n + 7), *range(n + 10, bias + 1)]


def objective(whole: Design, theta: torch.Tensor) -> float:
    problem = whole.problem(whole.sample, COUPLINGS)
    ridge = 0.5 * (problem.ridge * theta**2).sum(0)
    return float((problem.negative_log_likelihood(theta) + ridge).sum())


def in_scale(theta: torch.Tensor, one: Design, other: Design) -> torch.Tensor:
    """The same network, standardised as in another design."""
    columns = one.columns(COUPLINGS)
    ratio = other.scale[columns] / one.scale[columns]
    return theta * torch.from_numpy(ratio).float()[:, None]


def test_sampling_error_is_the_loss_of_the_sampled_optimum(whole: Design, thin: Design) -> None:
    exact = solve(whole.problem(whole.sample, COUPLINGS)).theta
    problem = thin.problem(thin.sample, COUPLINGS)
    sampled = solve(problem).theta
    lost = objective(whole, in_scale(sampled, thin, whole)) - objective(whole, exact)
    told = sampling_error(problem, sampled)
    assert lost > 1, "there is something to estimate"
    assert 0.4 * lost < told < 4 * lost
    assert sampling_error(whole.problem(whole.sample, COUPLINGS), exact) == pytest.approx(0, abs=1e-6)


def test_full_gradient_is_that_of_all_bins(training: History, whole: Design) -> None:
    problem = whole.problem(whole.sample, COUPLINGS)
    theta = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, problem.spike_term.shape)).float()
    theta[-1] -= 5
    expected, _ = problem.curvature(problem.rows @ theta)
    got = full_gradient(training, whole, problem, whole.columns(COUPLINGS), theta)
    np.testing.assert_allclose(got, problem.rows.T @ expected, rtol=1e-3, atol=1e-2)


def test_refinement_reaches_the_optimum_of_all_bins(training: History, whole: Design, thin: Design) -> None:
    problem = thin.problem(thin.sample, COUPLINGS)
    sampled = solve(problem)
    refined = refine(training, thin, problem, thin.columns(COUPLINGS), sampled)
    best = objective(whole, solve(whole.problem(whole.sample, COUPLINGS)).theta)
    before = objective(whole, in_scale(sampled.theta, thin, whole)) - best
    after = objective(whole, in_scale(refined.theta, thin, whole)) - best
    assert refined.converged and after < 0.1 * before and after < 0.5
