"""Masks against the statistics they promise; short-term plasticity against its recursion from spike to spike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import organoid
from organoid.errors import ModelError
from organoid.models import (
    LIF,
    LIFParameters,
    ShortTermPlasticity,
    ShortTermSynapses,
    distance_mask,
    random_mask,
    small_world_mask,
)
from organoid.models.surrogate import Sigmoid

DT = 0.001

# Wiring


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.7, 1.0])
def test_random_masks_have_their_density(probability: float) -> None:
    mask = random_mask(300, probability, seed=1)
    n_pairs = 300 * 299
    assert mask.dtype == torch.bool
    assert not mask.diagonal().any()
    assert abs(mask.sum().item() / n_pairs - probability) <= 4 * math.sqrt(probability * (1 - probability) / n_pairs)
    # Directions are independent: both ways with the square of the probability.
    both = (mask & mask.T).sum().item() / n_pairs
    assert both == pytest.approx(probability**2, abs=0.02)


def test_distance_masks_follow_the_exponential() -> None:
    positions = np.random.default_rng(0).uniform(0, 1000, (400, 2))
    mask = distance_mask(positions, 150.0, peak=0.8, seed=2).numpy()
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    assert not mask.diagonal().any()
    for low in (0, 100, 300, 600):
        there = (distance >= low) & (distance < low + 50) & ~np.eye(400, dtype=bool)
        expected = 0.8 * np.exp(-distance[there] / 150)
        error = math.sqrt((expected * (1 - expected)).sum()) / there.sum()
        assert abs(mask[there].mean() - expected.mean()) < 4 * error


def clustering(mask: Tensor) -> float:
    """Mean share of pairs of neighbours that are connected, directions ignored."""
    a = (mask | mask.T).double()
    triangles, degree = (a @ a @ a).diagonal(), a.sum(0)
    return (triangles / (degree * (degree - 1))).mean().item()


def path_length(mask: Tensor) -> float:
    a = (mask | mask.T).double() + torch.eye(len(mask)).double()
    reached, total = torch.eye(len(mask)).double(), 0.0
    while not bool((reached > 0).all()):
        total += (reached == 0).sum().item()
        reached = ((reached @ a) > 0).double()
    return total / (len(mask) * (len(mask) - 1))


def test_a_ring_lattice_has_the_clustering_of_watts_and_strogatz() -> None:
    ring = small_world_mask(200, 10, 0.0)
    assert (ring.sum(0) == 10).all() and torch.equal(ring, ring.T)
    assert clustering(ring) == pytest.approx(3 * (10 - 2) / (4 * (10 - 1)))


def test_a_few_shortcuts_make_a_small_world() -> None:
    ring, small, wild = (small_world_mask(200, 10, p, seed=3) for p in (0.0, 0.1, 1.0))
    for mask in (ring, small, wild):
        assert (mask.sum(1) == 10).all()
        assert not mask.diagonal().any()
    assert (small & ring).sum() / ring.sum() == pytest.approx(0.9, abs=0.03)
    assert path_length(small) < 0.4 * path_length(ring)
    assert clustering(small) > 3 * clustering(wild)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: random_mask(30, 0.3, seed=seed),
        lambda seed: distance_mask(np.arange(60.0).reshape(30, 2), 20.0, seed=seed),
        lambda seed: small_world_mask(30, 4, 0.5, seed=seed),
    ],
)
def test_the_seed_decides_and_masks_fit_networks(make: Callable[[Any], Tensor]) -> None:
    assert torch.equal(make(1), make(1))
    assert torch.equal(make(1), make(np.random.default_rng(1)))
    assert not torch.equal(make(1), make(2))
    weight = LIF(30, DT, mask=make(1)).synapses.effective_weight()
    assert torch.equal((weight != 0).any(0), make(1))


# Short-term plasticity


def recursion(bins: list[int], p: ShortTermPlasticity) -> list[float]:
    """What each spike releases, from spike to spike, Markram, Wang and Tsodyks (1998)."""
    out, u, r, before = [], p.use, 1.0, None
    for k in bins:
        if before is not None:
            gap = (k - before) * p.dt
            r = 1 + (r - r * u - 1) * math.exp(-gap / p.tau_recovery)
            fall = math.exp(-gap / p.tau_facilitation) if p.tau_facilitation else 0.0
            u = u * fall * (1 - p.use) + p.use
        out.append(r * u / p.use)
        before = k
    return out


@given(
    bins=st.lists(st.integers(0, 299), max_size=20, unique=True),
    use=st.floats(0.01, 1.0),
    tau_recovery=st.floats(0.005, 2.0),
    tau_facilitation=st.just(0.0) | st.floats(0.005, 2.0),
)
@settings(max_examples=60, deadline=None)
def test_release_is_the_recursion_of_the_paper(
    bins: list[int], use: float, tau_recovery: float, tau_facilitation: float
) -> None:
    p = ShortTermPlasticity(DT, use, tau_recovery, tau_facilitation)
    spikes = torch.zeros(1, 300, 1, dtype=torch.float64)
    spikes[0, bins] = 1
    released, _ = p.run(spikes, p.initial_state(1, 1, spikes))
    np.testing.assert_allclose(released[0, sorted(bins), 0], recursion(sorted(bins), p), rtol=1e-9)
    assert not released[spikes == 0].any()


def test_depression_reaches_the_stationary_state_and_recovers() -> None:
    p = ShortTermPlasticity(DT, 0.5, 0.8)
    spikes = torch.zeros(1, 9000, 1, dtype=torch.float64)
    spikes[0, :4000:50] = 1  # 20 Hz
    spikes[0, 8900] = 1
    released, _ = p.run(spikes, p.initial_state(1, 1, spikes))
    fade = math.exp(-0.05 / 0.8)
    assert released[0, 3950, 0].item() == pytest.approx((1 - fade) / (1 - 0.5 * fade), rel=1e-6)
    assert released[0, 8900, 0].item() > 0.99


def test_facilitation_first_raises() -> None:
    p = ShortTermPlasticity(DT, 0.05, 0.1, 1.0)
    spikes = torch.ones(1, 1, 1, dtype=torch.float64).repeat(1, 200, 1) * (torch.arange(200) % 20 == 0)[:, None]
    released = p.run(spikes, p.initial_state(1, 1, spikes))[0][0, ::20, 0]
    assert released[0] == 1
    assert released[4] > 2 * released[0]


def network(spike: Any = None, n: int = 4, release: ShortTermPlasticity | None = None) -> LIF:
    p = LIFParameters(tau_syn=(0.005,), refractory=0.0, weight_scale=2.0)
    synapses = ShortTermSynapses(
        n,
        DT,
        release=release or ShortTermPlasticity(DT, 0.5, 0.1, 0.05),
        tau=p.tau_syn,
        delay=2 * DT,
        mask=None,
        scale=2.0,
        generator=torch.Generator().manual_seed(0),
    )
    return LIF(n, DT, p, spike=spike, synapses=synapses)


def test_a_network_with_short_term_plasticity_keeps_the_contract() -> None:
    organoid.check_model(network())
    organoid.check_model(network().double())


def test_without_use_nothing_depresses() -> None:
    # A tiny share used and a fast recovery: each spike is passed on as 1, as by plain synapses.
    plain = LIF(4, DT, LIFParameters(tau_syn=(0.005,), refractory=0.0, delay=2 * DT)).double()
    rested = network(release=ShortTermPlasticity(DT, 1e-9, 1e-3)).double()
    with torch.no_grad():
        plain.synapses.weight.copy_(rested.synapses.weight)
    generator = torch.Generator().manual_seed(0)
    x = 2 + 4 * torch.randn(2, 100, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(plain.run(x)[0], rested.run(x)[0])
    depressed = network(release=ShortTermPlasticity(DT, 0.9, 1.0)).double()
    assert not torch.equal(plain.run(x)[0], depressed.run(x)[0])


@pytest.mark.parametrize("forced", [False, True])
def test_the_gradient_runs_through_depression(forced: bool) -> None:
    model = network(Sigmoid(3.0).relaxed, 3).double()
    generator = torch.Generator().manual_seed(1)
    x = (2 + 4 * torch.randn(1, 10, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    given_spikes = torch.rand(1, 10, 3, generator=generator, dtype=torch.float64) if forced else None
    assert torch.autograd.gradcheck(lambda v: model.trajectory(v, forced=given_spikes).logits, (x,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: random_mask(0, 0.1),
        lambda: random_mask(3, 1.1),
        lambda: distance_mask([[0.0, 1.0]], 0.0),
        lambda: distance_mask([0.0, 1.0], 10.0),
        lambda: small_world_mask(10, 3, 0.1),
        lambda: small_world_mask(10, 10, 0.1),
        lambda: ShortTermPlasticity(DT, use=0.0),
        lambda: ShortTermPlasticity(DT, tau_recovery=0.0),
        lambda: network(release=ShortTermPlasticity(0.002)),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ModelError):
        make()
