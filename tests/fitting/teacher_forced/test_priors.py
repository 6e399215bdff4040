"""Structured priors on couplings: what they draw to, how strongly, and that the solver follows them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from synthetic_recordings import known_network, recorded

import organoid
import organoid.fitting
from organoid import FitError, SpikeRecording
from organoid.fitting.teacher_forced.priors import connection_strengths, distance_strengths, sender_means, structured
from organoid.fitting.teacher_forced.solver import Problem, solve

N, N_TAU = 6, 2
OTHERS = ~np.eye(N, dtype=bool)


def problem(n_rows: int = 400) -> Problem:
    """Weak data: the prior matters."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, N_TAU * N + 1)).astype(np.float32)
    rows[:, -1] = 1.0
    counts = rng.uniform(size=(n_rows, N)) < 0.05
    ridge = np.full((rows.shape[1], N), 50.0, dtype=np.float32)
    ridge[-1] = 1e-3
    return Problem(
        rows=torch.from_numpy(rows),
        weights=torch.ones(n_rows),
        spike_term=torch.from_numpy(rows.T @ counts.astype(np.float32)),
        capacity=torch.ones(N),
        ridge=torch.from_numpy(ridge),
    )


def test_connections_found_get_a_weaker_prior_on_all_their_traces() -> None:
    couplings = np.zeros((N_TAU, N, N))
    couplings[0, 1, 2], couplings[1, 3, 4] = 0.8, -0.4
    factor = connection_strengths(couplings, OTHERS)
    assert factor[1, 2] == factor.min() and factor[1, 2] < factor[3, 4] < factor[0, 5]
    assert np.all(np.diag(factor) == 1) and factor.min() >= 0.1 and factor.max() <= 10
    theta = torch.zeros(N_TAU * N + 1, N)
    theta[: N_TAU * N] = torch.from_numpy(couplings.reshape(-1, N)).float()
    plain = problem()
    ridge = structured(plain, theta, N_TAU, "connections", None).ridge / plain.ridge
    assert torch.equal(ridge[:N], ridge[N : 2 * N]), "one strength for all traces of a connection"
    assert ridge[1, 2] == pytest.approx(factor[1, 2], rel=1e-6) and torch.all(ridge[-1] == 1)


def test_senders_of_one_sign_draw_and_others_are_undecided() -> None:
    rng = np.random.default_rng(1)
    couplings = rng.normal(0, 0.05, (N_TAU, N, N))
    couplings[0, 0] += 0.5
    couplings[0, 1] -= 0.5
    couplings[0, 2] = [0.5, -0.5, 9.0, 0.5, -0.5, 0.02]  # of both signs; its own history does not count
    mean = sender_means(couplings, OTHERS)
    assert np.all(mean[0, 0, 1:] > 0.4) and np.all(mean[0, 1, [0, 2, 3, 4, 5]] < -0.4)
    assert not mean[0, 2].any() and not mean[:, range(N), range(N)].any()


def test_distance_makes_priors_stronger_far_away() -> None:
    x = np.arange(N) * 200.0
    distance = np.abs(x[:, None] - x)
    factor = distance_strengths(distance, OTHERS)
    assert np.all(np.diff(factor[0, 1:]) > 0) and np.all(np.diag(factor) == 1)
    assert np.log(factor[OTHERS]).mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(factor, factor.T)


def test_the_solution_is_where_the_gradient_with_the_prior_mean_vanishes() -> None:
    plain = problem()
    theta = torch.zeros(N_TAU * N + 1, N)
    theta[:N] = 0.3 * (1 + 0.1 * torch.randn(N, N, generator=torch.Generator().manual_seed(0)))
    found = solve(structured(plain, theta, N_TAU, "senders", None), tolerance=1e-5).theta
    mean = torch.from_numpy(sender_means(theta[: N_TAU * N].double().numpy().reshape(N_TAU, N, N), OTHERS))
    assert mean[0][torch.from_numpy(OTHERS)].min() > 0.2
    flat = torch.cat([mean.reshape(-1, N), torch.zeros(1, N)]).float()
    expected = torch.sigmoid(plain.rows @ found)
    gradient = plain.rows.T @ expected - plain.spike_term + plain.ridge * (found - flat)
    assert float(gradient.norm() / plain.spike_term.norm()) < 1e-3


def test_no_distances_no_distance_prior() -> None:
    with pytest.raises(ValueError, match="distances"):
        structured(problem(), torch.zeros(N_TAU * N + 1, N), N_TAU, "distance", None)


@pytest.fixture(scope="module")
def placed() -> SpikeRecording:
    rec = recorded(known_network(), 20.0, seed=6)
    place = pd.DataFrame({"x_um": 100.0 * np.arange(8), "y_um": 0.0})
    return SpikeRecording(rec.spike_times, rec.spike_units, n_units=8, t_start=0.0, t_stop=20.0, units=place)


@pytest.fixture(scope="module")
def plainly(placed: SpikeRecording) -> organoid.fitting.FitResult:
    return organoid.fit(placed, free_run=False)


@pytest.mark.parametrize("prior", ["connections", "senders", "distance"])
@pytest.mark.slow
def test_a_fit_with_a_structured_prior_differs_and_predicts(
    placed: SpikeRecording, plainly: organoid.fitting.FitResult, prior: str
) -> None:
    other = organoid.fit(placed, free_run=False, coupling_prior=prior)
    a, b = plainly.forced.parameters.weights, other.forced.parameters.weights
    assert not np.array_equal(a, b) and other.settings["coupling_prior"] == prior
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8
    assert other.scores["heldout_bits_per_spike"] > 0.5 * plainly.scores["heldout_bits_per_spike"]


def test_unknown_priors_and_unknown_places_are_refused() -> None:
    rec = recorded(known_network(), 20.0, seed=7)
    with pytest.raises(FitError, match=r"plain, connections, senders, distance"):
        organoid.fit(rec, coupling_prior="dale")
    with pytest.raises(FitError, match=r"position of every unit"):
        organoid.fit(rec, coupling_prior="distance")
