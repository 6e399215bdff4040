"""Steps of stage 2: natural gradients over the columns a unit uses, a pull-back that pulls, and the chain closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_recordings import known_network, recorded

import organoid
from organoid.fitting.free_run.comparison import compare, summarize_activity
from organoid.fitting.free_run.moments import DAMPING, _Natural
from organoid.fitting.free_run.settings import ALL, RATES

N_COUPLINGS, N_FEATURES = 6, 10
KINDS = {"coupled": np.arange(N_FEATURES), "fields only": np.arange(6, 10), "own history": np.array([1, 9])}


def natural(plan: Any = ALL) -> tuple[_Natural, NDArray[np.float64]]:
    """Collinear features, and one unit of each kind."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (400, N_FEATURES)).astype(np.float32)
    rows[:, 6] = rows[:, 0] + 0.5 * rows[:, 6]
    rows[:, -1] = 1.0
    theta = np.zeros((N_FEATURES, 3))
    for unit, columns in enumerate(KINDS.values()):
        theta[columns, unit] = rng.normal(0, 0.3, columns.size)
    sample = SimpleNamespace(rows=rows, weights=np.full(400, 1e4), spike_term=np.ones((1, N_FEATURES, 3)))
    nowhere = np.empty(0, dtype=int)
    design: Any = SimpleNamespace(
        sample=sample, capacity=np.ones(3, dtype=int), n_couplings=N_COUPLINGS, pulse_places=nowhere
    )
    forced: Any = SimpleNamespace(theta=theta)
    return _Natural(design, forced, plan), theta


def test_a_step_solves_the_damped_system_over_the_columns_a_unit_uses() -> None:
    solver, _ = natural()
    error = np.random.default_rng(1).normal(0, 1e-4, (N_FEATURES, 3))
    step, size = solver.step(error, trust=np.inf)
    damping = DAMPING / (400 * 1e4)
    for unit, columns in enumerate(KINDS.values()):
        block = solver.fisher[np.ix_(columns, columns)] + damping * np.eye(columns.size)
        np.testing.assert_allclose(step[columns, unit], 0.5 * np.linalg.solve(block, error[columns, unit]), rtol=1e-6)
        assert not np.delete(step[:, unit], columns).any(), "columns it does not use stay 0"
    bounded, again = solver.step(error, trust=1e-3)
    change = np.sqrt((bounded * (solver.fisher @ bounded)).sum(0) / solver.fisher[-1, -1])
    assert again == size and np.all(change <= 1e-3 * (1 + 1e-9))


def test_pulling_back_never_drives_away() -> None:
    """Every unit, also one that uses no couplings beside fields that are collinear with them."""
    solver, forced = natural()
    theta = forced + (forced != 0) * np.random.default_rng(2).normal(0, 0.2, forced.shape)
    start = np.abs(theta - forced)
    for _ in range(300):
        theta = theta - solver.pull_back(theta, 0.1)
    off = np.abs(theta - forced)
    assert np.all(np.isfinite(theta)) and off.max() < 10 * start.max()
    bracket = solver.fisher @ (theta - forced)
    before = solver.fisher @ (start * np.sign(theta - forced))
    assert np.abs(bracket[:N_COUPLINGS, 0]).max() < 0.2 * np.abs(before[:N_COUPLINGS, 0]).max()
    np.testing.assert_array_equal(off[:, 1], start[:, 1])


def test_rates_move_biases_alone() -> None:
    solver, _ = natural(RATES)
    step, _ = solver.step(np.ones((N_FEATURES, 3)), trust=1.0)
    assert not step[:-1].any() and np.all(step[-1] > 0)


@pytest.mark.slow
def test_the_chain_closes_on_itself() -> None:
    """A network fitted to 15 minutes of a fitted network runs freely like it."""
    first = organoid.fit(recorded(known_network(), 300.0, 1), seed=1)
    simulated = organoid.simulate(first, 900.0, seed=5)
    second = organoid.fit(simulated, seed=2)
    again = organoid.simulate(second, 900.0, seed=6)
    one = summarize_activity(simulated)
    scores = compare(one, summarize_activity(again, one.thresholds))
    assert second.free_run["passed"] is True
    assert scores["rate_ratio"] == pytest.approx(1.0, abs=0.1) and scores["rate_correlation"] > 0.99
    assert scores["isi_cv_ratio"] == pytest.approx(1.0, abs=0.1) and scores["sttc_correlation"] > 0.95
