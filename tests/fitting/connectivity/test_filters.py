"""Kernels learned from all pairs: evidence against brute force, recovery, and when to keep the standard."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from organoid.fitting.connectivity.filters import SHARES, SPREADS, STANDARD, evidence, learn_kernels, signed_areas
from organoid.fitting.connectivity.pairs import PairWeights

LATE, PLAIN = np.array([-1.0, 1.0, 0.1]), np.array([STANDARD[0], 1.0, STANDARD[1]])


def pairs_of(n: int, excitatory: np.ndarray, inhibitory: np.ndarray, size: float, seed: int = 0) -> PairWeights:
    """Weights of ``n`` units whose first three senders excite everybody third, the next three inhibit, plus noise."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, n, 3, 3))
    covariance = 0.3 * half @ half.transpose(0, 1, 3, 2) + np.eye(3)
    noise = np.einsum("...kl,...l->...k", np.linalg.cholesky(covariance), rng.normal(size=(n, n, 3)))
    weights = noise.copy()
    weights[:3, ::3] += size * excitatory
    weights[3:6, ::3] -= size * inhibitory
    identity = np.broadcast_to(np.eye(3), covariance.shape)
    return PairWeights(weights, np.linalg.inv(covariance), identity, np.ones((n, n, 3)))


@pytest.mark.parametrize("sign", [1, -1])
def test_evidence_is_that_of_integrals_done_by_numbers(sign: int) -> None:
    z = np.array([0.3, -2.0, 4.5, 1.0])
    effect = np.linspace(0, 60, 60_001)
    by_hand = []
    for spread in SPREADS:
        slab = 2 * norm.pdf(effect, 0, spread)
        ratio = [np.trapezoid(slab * norm.pdf(x - sign * effect), effect) / norm.pdf(x) for x in z]
        by_hand += [np.log(1 - share + share * np.array(ratio)).sum() for share in SHARES]
    assert evidence(z, sign) == pytest.approx(max(0.0, *by_hand), abs=1e-4)


def test_each_sign_gets_its_own_kernel() -> None:
    n = 24
    pairs = pairs_of(n, LATE, PLAIN, 6.0)
    plus, minus = learn_kernels(pairs, ~np.eye(n, dtype=bool), np.random.default_rng(0))
    assert plus[0] <= -0.5 and minus[0] >= -0.25
    weight, se = signed_areas(pairs, (plus, minus))
    z = weight / se
    assert z[:3, ::3].mean() > 4 and z[3:6, ::3].mean() < -4


@pytest.mark.parametrize(("n", "size"), [(24, 0.0), (10, 6.0)])
def test_the_standard_is_kept_without_evidence_or_with_few_pairs(n: int, size: float) -> None:
    kernels = learn_kernels(pairs_of(n, LATE, LATE, size), ~np.eye(n, dtype=bool), np.random.default_rng(0))
    for kernel in kernels:
        np.testing.assert_array_equal(kernel, PLAIN)


def test_excitation_that_acts_at_once_is_no_late_inhibition() -> None:
    """To a kernel that starts late it looks inverted, and once passed for the inhibitory one."""
    n = 24
    pairs = pairs_of(n, np.array([1.0, 1.0, 0.0]), PLAIN, 0.0)
    pairs.weights[:6] += 5.0 * np.array([1.0, 1.0, 0.0])
    off = ~np.eye(n, dtype=bool)
    plus, minus = learn_kernels(pairs, off, np.random.default_rng(0))
    late = pairs.areas(np.array([-1.5, 1.0, 0.0]))
    assert np.median((late[0] / late[1])[:6]) < 0, "the trap is there"
    assert plus[0] > 0 and minus[0] >= STANDARD[0]
    weight, se = signed_areas(pairs, (plus, minus))
    assert np.mean((weight / se)[:6] > 0) > 0.98
