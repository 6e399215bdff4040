"""Connections: the projection on a kernel, nulls, signs, and units that fire together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from synthetic_recordings import known_network, poisson, recorded

from organoid import FitError, SpikeRecording
from organoid.fitting.connectivity.common_input import share_together
from organoid.fitting.connectivity.inference import infer_edges
from organoid.fitting.connectivity.nulls import centre_and_spread, shift_units, shifted_null_q
from organoid.fitting.connectivity.pairs import (
    EDGE_CANDIDATE,
    EDGE_FIELD_TAUS,
    EDGE_TAUS,
    estimate_pairs,
    kernel_area,
    project,
)
from organoid.fitting.connectivity.signs import decide, positive_probability
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.teacher_forced.estimate import make_design
from organoid.fitting.teacher_forced.solver import solve
from organoid.models.spike_response.network import plain_parameters

BIN = 1e-3
KERNEL = np.array([0.0, 1.0, 0.3])


def history_of(times: np.ndarray, units: np.ndarray, n_units: int, duration: float) -> History:
    order = np.argsort(times, kind="stable")
    rec = SpikeRecording(times[order], units[order], n_units=n_units, t_start=0.0, t_stop=duration)
    return bin_history(rec, BIN)


# --- the projection ---------------------------------------------------------------------------------------------


def test_projection_is_the_least_squares_one() -> None:
    """Against ordinary least squares on whitened numbers, written out for one pair at a time."""
    rng = np.random.default_rng(0)
    weights, half = rng.normal(size=(5, 3)), rng.normal(size=(5, 3, 3))
    covariance, kernel = half @ half.transpose(0, 2, 1) + 0.1 * np.eye(3), rng.uniform(0.5, 2.0, (5, 3))
    kept = np.broadcast_to(0.7 * np.eye(3), (5, 3, 3))
    weight, se = project(weights, np.linalg.inv(covariance), kept, kernel, area=0.02)
    for pair in range(5):
        white = np.linalg.inv(np.linalg.cholesky(covariance[pair]))
        x, y = white @ kernel[pair], white @ weights[pair]
        assert weight[pair] == pytest.approx(0.02 / 0.7 * (x @ y) / (x @ x), rel=1e-6)
        assert se[pair] == pytest.approx(0.02 / 0.7 / np.sqrt(x @ x), rel=1e-6)


def test_no_information_is_an_infinite_error() -> None:
    weight, se = project(np.zeros((1, 3)), np.zeros((1, 3, 3)), np.zeros((1, 3, 3)), np.ones((1, 3)), 0.02)
    assert weight[0] == 0 and np.isinf(se[0])


def test_standard_errors_are_those_of_the_dense_fit() -> None:
    """Hessian and covariance of one unit written out with numpy, all rows."""
    training = bin_history(recorded(known_network(), 30.0, seed=5), BIN).training()
    weight, se = estimate_pairs(training, np.random.default_rng(0)).areas(KERNEL)
    design = make_design(training, np.random.default_rng(0), field_taus=EDGE_FIELD_TAUS, synaptic_taus=EDGE_TAUS)
    problem = design.problem(design.sample, EDGE_CANDIDATE)
    theta = solve(problem).theta.double().numpy()
    x, ridge = problem.rows.double().numpy(), problem.ridge.double().numpy()
    n, post, pre = training.n_units, 1, 0
    p = 1 / (1 + np.exp(-x @ theta[:, post]))
    fisher = x.T @ (x * (problem.weights.double().numpy() * p * (1 - p))[:, None])
    inverse = np.linalg.inv(fisher + np.diag(ridge[:, post]))
    columns = pre + n * np.arange(3)
    covariance = (inverse @ fisher @ inverse)[np.ix_(columns, columns)]
    kept = (inverse @ fisher)[np.ix_(columns, columns)]
    kernel = KERNEL * design.scale[columns]
    expected = project(
        theta[columns, post][None], np.linalg.inv(covariance)[None], kept[None], kernel[None], kernel_area(KERNEL)
    )
    assert weight[pre, post] == pytest.approx(expected[0][0], rel=0.05)  # Hessians from part of the rows
    assert se[pre, post] == pytest.approx(expected[1][0], rel=0.05)


@pytest.mark.slow
def test_areas_have_the_errors_they_claim() -> None:
    """A true network of the fitted kernel, recorded 12 times: mean areas are true, and their scatter is `se`."""
    n, tau = 6, np.array([0.002, 0.008, 0.040])
    weights = np.zeros((3, n, n))
    weights[0, np.arange(n), np.arange(n)] = -4.0
    for pre, post, size in ((0, 1, 1.0), (2, 3, 0.7), (4, 5, -1.5)):
        weights[:, pre, post] = size * KERNEL
    network = type(known_network())(plain_parameters(dt=BIN, tau=tau, weights=weights, bias=np.full(n, -4.5)))
    found, errors = [], []
    for seed in range(12):
        training = bin_history(recorded(network, 60.0, seed=seed), BIN)
        area, se = estimate_pairs(training, np.random.default_rng(seed)).areas(KERNEL)
        found.append(area)
        errors.append(se)
    off = ~np.eye(n, dtype=bool)
    areas, claimed = np.array(found)[:, off], np.array(errors)[:, off]
    true = np.einsum("kji,k->ji", weights, tau * (1 - np.exp(-0.015 / tau)))[off]
    z = (areas - true) / claimed
    assert 0.85 < z.std() < 1.15
    real = true != 0
    np.testing.assert_allclose(areas.mean(0)[real], true[real], rtol=0.15)  # traces saturate: a little less than true


# --- nulls ------------------------------------------------------------------------------------------------------


def test_shifted_units_keep_their_intervals_and_lose_their_company() -> None:
    history = bin_history(poisson([5.0, 8.0, 3.0], 50.0, seed=1), BIN)
    shifted = shift_units(history, np.random.default_rng(0))
    assert np.all(np.diff(shifted.bins) >= 0) and shifted.n_bins == history.n_bins
    steps = set()
    for unit in range(3):
        before, after = history.bins[history.units == unit], shifted.bins[shifted.units == unit]
        gap = (after[:, None] - before[None, :]) % history.n_bins
        values, counts = np.unique(gap, return_counts=True)
        assert counts.max() >= before.size, "one and the same shift for every spike"
        steps.add(int(values[counts.argmax()]))
    assert np.diff(sorted(steps)).min() >= history.n_bins / 8 - 1, "no two by nearly the same"


def test_p_values_of_shifts_are_ranks() -> None:
    null = np.array([-3.0, 1.0, 2.0, 0.5, np.nan])
    q = shifted_null_q(np.array([2.5, np.nan, 0.1]), null)
    assert np.isnan(q[1])
    np.testing.assert_allclose(q[[0, 2]], [2 * 2 / 5, 1.0])


def test_spread_is_robust() -> None:
    rng = np.random.default_rng(0)
    z = np.r_[rng.normal(1.0, 2.0, 4000), np.full(200, 40.0), np.nan]
    centre, spread = centre_and_spread(z)
    assert centre == pytest.approx(1.0, abs=0.25) and spread == pytest.approx(2.0, rel=0.1)
    assert centre_and_spread(np.array([np.nan])) == (0.0, 1.0)


def test_shifted_null_finds_the_strong_connections_too() -> None:
    training = bin_history(recorded(known_network(), 60.0, seed=1), BIN).training()
    edges = infer_edges(training, np.random.default_rng(0), null="shifted", n_shifts=4)
    plain = infer_edges(training, np.random.default_rng(0))
    assert edges["z"].equals(plain["z"])
    known = known_network().parameters.weights[1]
    real = known[edges["pre"], edges["post"]] != 0
    assert (edges["q"] < 0.05)[real].mean() > 0.7 and (edges["q"] < 0.05)[~real].sum() <= 2


def test_unknown_null_is_refused() -> None:
    training = bin_history(poisson([5.0, 5.0], 20.0, seed=0), BIN).training()
    with pytest.raises(FitError, match="'wald' for edges; expected one of empirical, shifted"):
        infer_edges(training, np.random.default_rng(0), null="wald")


# --- signs ------------------------------------------------------------------------------------------------------


def test_sign_of_a_lone_pair_is_the_one_of_its_z() -> None:
    z = np.full((2, 2), np.nan)
    z[0, 1], z[1, 0] = 4.0, -4.0
    p = positive_probability(z)
    assert p[0, 1] > 0.99 and p[1, 0] < 0.01
    # by numbers: effects of spread 4 (the root mean square of what is beyond 3) seen with unit noise
    effect = np.linspace(-40, 40, 80_001)
    weight = norm.pdf(effect, 0, 4.0) * norm.pdf(4.0 - effect)
    by_hand = weight[effect > 0].sum() / weight.sum()
    assert p[0, 1] == pytest.approx(by_hand, abs=1e-4)


def test_sign_against_all_others_of_a_unit_is_undecided() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20, 20))
    z[3, :10] = -9.0
    z[3, 15] = 3.2
    p = positive_probability(z)
    assert p[3, 0] < 1e-3
    sign = decide(p, np.where(np.abs(z) > 3, 0.01, 0.5), 0.05)
    assert sign[3, 0] == -1 and sign[3, 15] == 0 and sign[5, 15] == 0
    lone = z.copy()
    lone[3, :10] = 0.0
    assert decide(positive_probability(lone), np.full(z.shape, 0.01), 0.05)[3, 15] == 1
    z[3, 15] = 12.0
    assert decide(positive_probability(z), np.full(z.shape, 0.01), 0.05)[3, 15] == 1, "Dale is soft"


# --- together ---------------------------------------------------------------------------------------------------


def paired(jitter: float, seed: int = 0, duration: float = 120.0) -> tuple[np.ndarray, np.ndarray]:
    """Four units; 0 and 1 share 70 % of their spikes, up to a jitter (s)."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(1, duration - 1, int(5 * duration))
    kept = [base[rng.uniform(size=base.size) < 0.85] for _ in (0, 1)]
    kept = [k + rng.normal(0, jitter, k.size) for k in kept]
    others = [rng.uniform(1, duration - 1, int(6 * duration)) for _ in (2, 3)]
    trains = [*kept, *others]
    return np.concatenate(trains), np.repeat(np.arange(4), [t.size for t in trains])


@pytest.mark.parametrize("jitter", [0.0, 0.001, 0.002])
def test_units_that_fire_together_have_no_edge(jitter: float) -> None:
    history = history_of(*paired(jitter), 4, 120.0)
    share = share_together(history)
    assert share[0, 1] == share[1, 0] > 0.25 and np.count_nonzero(share) == 2
    edges = infer_edges(history.training(), np.random.default_rng(0)).set_index(["pre", "post"])
    for pair in ((0, 1), (1, 0)):
        assert np.isnan(edges.loc[pair, "q"]) and edges.loc[pair, "sign"] == 0 and edges.loc[pair, "together"] > 0.25
    assert not (edges["q"] < 0.05).any()


def test_pairs_by_lag_equal_brute_force() -> None:
    from organoid.fitting.connectivity.common_input import _pairs_by_lag

    rng = np.random.default_rng(3)
    bins, units = np.sort(rng.integers(0, 60, 50)), rng.integers(0, 3, 50)
    counts = np.zeros((3, 3, 7), dtype=np.int64)
    for a in range(50):
        for b in range(50):
            lag = bins[b] - bins[a]
            if a != b and 0 <= lag <= 6:
                counts[units[a], units[b], lag] += 1
    assert np.array_equal(_pairs_by_lag(bins, units, 3, 6), counts)


def test_a_connection_is_not_taken_for_firing_together() -> None:
    """A spike of unit 0 makes unit 1 spike 1 to 5 ms later, six times out of ten."""
    rng = np.random.default_rng(0)
    pre = rng.uniform(1, 119, 600)
    post = pre[rng.uniform(size=600) < 0.6]
    post = np.r_[post + rng.uniform(0.001, 0.005, post.size), rng.uniform(1, 119, 300)]
    history = history_of(np.r_[pre, post], np.repeat([0, 1], [pre.size, post.size]), 2, 120.0)
    assert share_together(history).max() == 0
