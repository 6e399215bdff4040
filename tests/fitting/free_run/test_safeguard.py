"""A correction in free run leaves no budget of likelihood, and takes back steps that make likelihood and rate worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from organoid.fitting.free_run.safeguard import LEAST_TRUST, Safeguard

Array = NDArray[np.float64]


def bowl(forced: Array, curvature: Array) -> Safeguard:
    return Safeguard(forced, lambda theta: float((curvature * (theta - forced) ** 2).sum()), 0.05)


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_weights_stay_within_the_budget_on_the_line_to_the_forced_ones(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    forced = rng.normal(size=(5, 3))
    guard = bowl(forced, rng.uniform(0.1, 10, (5, 3)))
    away = size * rng.normal(size=(5, 3))
    kept = guard.within(forced + away)
    assert guard.loss(kept) <= guard.budget * (1 + 1e-9)
    share = ((kept - forced) * away).sum() / (away**2).sum()
    assert 0 < share <= 1 + 1e-9
    np.testing.assert_allclose(kept - forced, share * away, rtol=1e-6, atol=1e-9)
    if guard.loss(forced + away) <= guard.budget:
        np.testing.assert_array_equal(kept, forced + away)
    else:
        assert guard.loss(kept) > 0.9 * guard.budget, "no further back than needed"


def test_weights_that_are_not_finite_are_the_forced_ones() -> None:
    guard = bowl(np.zeros((2, 2)), np.ones((2, 2)))
    np.testing.assert_array_equal(guard.within(np.full((2, 2), np.nan)), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("second", "ratio", "n_steps", "undone"),
    [
        (0.2, 0.1, 300, True),  # further from the recorded rate, at a greater loss
        (0.2, 0.45, 300, False),  # about as far
        (0.05, 0.1, 300, False),  # further, at a smaller loss
        (0.2, 0.1, 1000, False),  # windows of another length are no comparison
        (0.2, 8.0, 300, True),  # too much is as bad as too little
    ],
)
def test_a_step_that_makes_both_worse_is_undone(second: float, ratio: float, n_steps: int, undone: bool) -> None:
    guard = bowl(np.zeros((1, 1)), np.ones((1, 1)))
    first, then = np.full((1, 1), 0.1), np.full((1, 1), second)
    assert guard.accept(first, 0.5, 300) is first
    assert guard.accept(then, ratio, n_steps) is (first if undone else then)
    assert guard.trust == (0.5 if undone else 1.0)


def test_steps_do_not_shrink_to_nothing() -> None:
    guard = bowl(np.zeros((1, 1)), np.ones((1, 1)))
    guard.accept(np.full((1, 1), 0.1), 1.0, 300)
    for k in range(20):
        guard.accept(np.full((1, 1), 0.2 + k), 0.01, 300)
    assert guard.trust == LEAST_TRUST and guard.n_undone == 20
