"""Plasticity: windows against closed forms, rates under homeostasis, rewards, and gradients through a plastic run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import organoid
from organoid.errors import ModelError
from organoid.models import (
    LIF,
    CombinedRule,
    HomeostaticScaling,
    LIFParameters,
    PairSTDP,
    PlasticNetwork,
    RewardModulatedSTDP,
    TripletSTDP,
)
from organoid.models.surrogate import Sigmoid

DT = 0.001
BINS = st.lists(st.integers(0, 149), max_size=12, unique=True)
VISUAL_CORTEX = TripletSTDP(DT)


def change_by(rule: Any, pre: list[int], post: list[int], n_steps: int = 150) -> float:
    """Total change of one synapse by given spikes."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    state, total = rule.initial_state(1, 1, one), 0.0
    for t in range(n_steps):
        spikes = [one[0, 0] * float(t in bins) for bins in (pre, post)]
        change, state = rule.change(*spikes, one, state, one[:, 0, 0, 0])
        total += change.item()
    return total


# Windows


@given(pre=BINS, post=BINS)
@settings(max_examples=40, deadline=None)
def test_pair_rule_is_the_sum_of_the_window_over_pairs(pre: list[int], post: list[int]) -> None:
    rule = PairSTDP(DT, a_plus=0.3, a_minus=0.2, tau_plus=0.012, tau_minus=0.03)
    expected = 0.0
    for i in pre:
        for j in post:
            lag = (j - i) * DT
            expected += 0.3 * math.exp(-lag / 0.012) if lag >= 0 else -0.2 * math.exp(lag / 0.03)
    assert change_by(rule, pre, post) == pytest.approx(expected, abs=1e-9)


@given(pre=BINS, post=BINS)
@settings(max_examples=40, deadline=None)
def test_triplet_rule_is_the_sum_over_pairs_and_triplets(pre: list[int], post: list[int]) -> None:
    p = TripletSTDP(DT, a2_plus=0.1, a2_minus=0.2, a3_plus=0.3, a3_minus=0.4)

    def trace(t: int, bins: list[int], tau: float, same: bool) -> float:
        return sum(math.exp(-(t - k) * DT / tau) for k in bins if k < t or (same and k == t))

    more = sum(trace(t, pre, p.tau_plus, True) * (0.1 + 0.3 * trace(t, post, p.tau_y, False)) for t in post)
    less = sum(trace(t, post, p.tau_minus, False) * (0.2 + 0.4 * trace(t, pre, p.tau_x, False)) for t in pre)
    assert change_by(p, pre, post) == pytest.approx(more - less, abs=1e-9)


def test_triplet_rule_without_triplets_is_the_pair_rule() -> None:
    triplet = TripletSTDP(DT, a2_plus=0.1, a2_minus=0.2, a3_plus=0.0, a3_minus=0.0, tau_plus=0.02, tau_minus=0.03)
    pair = PairSTDP(DT, a_plus=0.1, a_minus=0.2, tau_plus=0.02, tau_minus=0.03)
    pre, post = [3, 40, 41, 90], [1, 7, 44, 100]
    assert change_by(triplet, pre, post) == pytest.approx(change_by(pair, pre, post))


def pairing(rule: Any, rate: float, lag: float) -> float:
    """60 pairings at a rate (Hz), post after pre by a lag (s): the experiment of Sjostrom et al. (2001)."""
    pre = [200 + round(k / rate / DT) for k in range(60)]
    post = [k + round(lag / DT) for k in pre]
    return change_by(rule, pre, post, max(pre + post) + 2)


@pytest.mark.slow
def test_triplet_rule_depends_on_rate_as_cortex_does() -> None:
    # Depression or nothing at 0.1 to 10 Hz, potentiation at 40 Hz even where pre comes after post.
    assert pairing(VISUAL_CORTEX, 5.0, 0.01) < pairing(VISUAL_CORTEX, 20.0, 0.01) < pairing(VISUAL_CORTEX, 40.0, 0.01)
    assert pairing(VISUAL_CORTEX, 10.0, -0.01) < 0 < pairing(VISUAL_CORTEX, 40.0, 0.01)
    assert pairing(VISUAL_CORTEX, 50.0, -0.01) > 0


# Reward


def test_a_late_reward_pays_what_is_left_of_the_eligibility() -> None:
    pair = PairSTDP(DT, a_plus=0.3)
    rule = RewardModulatedSTDP(DT, pair, tau_eligibility=0.05)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    state, total = rule.initial_state(1, 1, one), 0.0
    for t in range(100):
        spike = [one[0, 0] * float(t == k) for k in (10, 15)]
        change, state = rule.change(*spike, one, state, 2.0 * (one[:, 0, 0, 0] * float(t == 75)))
        total += change.item()
    assert total == pytest.approx(2.0 * 0.3 * math.exp(-0.005 / 0.02) * math.exp(-0.06 / 0.05))


# Networks


def plastic_lif(n: int = 4, rule: Any = None, spike: Any = None, **options: Any) -> PlasticNetwork:
    p = LIFParameters(refractory=0.0, weight_scale=1.0, tau_syn=(0.005, 0.02))
    return PlasticNetwork(LIF(n, DT, p, spike=spike, seed=1), rule or PairSTDP(DT, a_plus=0.05), **options)


RULES = {
    "pair": PairSTDP(DT, a_plus=0.05),
    "triplet": VISUAL_CORTEX,
    "reward": RewardModulatedSTDP(DT, PairSTDP(DT)),
    "homeostasis": HomeostaticScaling(DT, tau=0.5),
    "together": CombinedRule((PairSTDP(DT), HomeostaticScaling(DT))),
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_plastic_networks_keep_the_contract(rule: str) -> None:
    organoid.check_model(plastic_lif(rule=RULES[rule]))


def test_weights_change_in_the_state_only_and_as_the_rule_says() -> None:
    model = plastic_lif().double()
    before = model.network.synapses.effective_weight().detach().clone()
    generator = torch.Generator().manual_seed(0)
    x = 3 + 3 * torch.randn(2, 120, 4, generator=generator, dtype=torch.float64)
    spikes, state = model.run(x)
    assert torch.equal(model.network.synapses.effective_weight(), before)
    bins = [[spikes[b, :, i].nonzero().ravel().tolist() for i in range(4)] for b in range(2)]
    delay = model.network.synapses.delay
    for b in range(2):
        for i in range(4):
            for j in range(4):
                arrived = [k + delay for k in bins[b][i] if k + delay < 120]
                expected = change_by(PairSTDP(DT, a_plus=0.05), arrived, bins[b][j], 120) if i != j else 0.0
                got = state.weight[b, :, i, j] - before[:, i, j]
                np.testing.assert_allclose(got.detach(), expected, atol=1e-9)


def test_bounds_and_the_plastic_mask_hold() -> None:
    plastic = torch.zeros(4, 4, dtype=torch.bool)
    plastic[0] = True
    model = plastic_lif(rule=PairSTDP(DT, a_plus=0.5, a_minus=1e-6), plastic=plastic, bounds=(0.0, 0.6))
    before = model.network.synapses.effective_weight()
    x = 3 + 3 * torch.randn(1, 200, 4, generator=torch.Generator().manual_seed(0))
    weight = model.run(x)[1].weight[0]
    assert torch.equal(weight[:, 1:], before[:, 1:])
    assert (weight[:, 0] >= 0).all() and (weight[:, 0] <= 0.6).all()
    assert (weight[:, 0, 1:] == 0.6).any()


def test_without_reward_nothing_changes() -> None:
    model = plastic_lif(rule=RULES["reward"])
    x = 3 + 3 * torch.randn(1, 100, 4, generator=torch.Generator().manual_seed(0))
    start = model.initial_state().weight
    assert torch.equal(model.run(x)[1].weight, start)
    assert not torch.equal(model.run(x, reward=torch.ones(1, 100))[1].weight, start)


@pytest.mark.parametrize("start", [0.05, 2.5])
@pytest.mark.slow
def test_rates_converge_under_homeostasis(start: float) -> None:
    # Ten units spike at 40 Hz and drive one, whose inputs begin far too weak or far too strong.
    p = LIFParameters(tau_syn=(0.005,), refractory=0.002)
    network = LIF(11, DT, p, seed=0)
    with torch.no_grad():
        network.synapses.weight.zero_()
        network.synapses.weight[0, :10, 10] = start
    model = PlasticNetwork(network, HomeostaticScaling(DT, target=10.0, tau=1.0, tau_rate=0.5))
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(4, 12_000, 11)
    x[..., :10] = 100.0 * (torch.rand(4, 12_000, 10, generator=generator) < 0.04)
    with torch.no_grad():
        spikes, _ = model.run(x)
    early, late = (spikes[:, part, 10].mean().item() / DT for part in (slice(500), slice(6000, None)))
    assert abs(early - 10) > 5
    assert late == pytest.approx(10.0, abs=1.0)


# Gradient


class Runner(nn.Module):
    def __init__(self, model: PlasticNetwork, x: Tensor, reward: Tensor) -> None:
        super().__init__()
        self.model, self.x, self.reward = model, x, reward

    def forward(self) -> tuple[Tensor, Tensor]:
        spikes, state = self.model.run(self.x, reward=self.reward)
        return spikes.sum(1), state.weight


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.slow
def test_gradient_through_100_ms_of_plastic_run_passes_finite_differences(rule: str) -> None:
    model = plastic_lif(2, RULES[rule], Sigmoid(3.0).relaxed).double()
    generator = torch.Generator().manual_seed(3)
    x = 1.5 + torch.randn(1, 100, 2, generator=generator, dtype=torch.float64)
    runner = Runner(model, x, torch.rand(1, 100, generator=generator, dtype=torch.float64))
    named = [(n, p) for n, p in runner.named_parameters() if not n.endswith("log_noise")]

    def f(*values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(runner, dict(zip([n for n, _ in named], values)))

    assert torch.autograd.gradcheck(f, tuple(p.detach().clone().requires_grad_() for _, p in named))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PairSTDP(DT, tau_plus=0.0),
        lambda: TripletSTDP(DT, a3_plus=-1.0),
        lambda: TripletSTDP(0.0),
        lambda: RewardModulatedSTDP(DT, PairSTDP(DT), tau_eligibility=math.inf),
        lambda: HomeostaticScaling(DT, target=0.0),
        lambda: CombinedRule(()),
        lambda: plastic_lif(bounds=(1.0, 0.0)),
        lambda: plastic_lif(2).run(torch.zeros(1, 5, 3)),
        lambda: plastic_lif(2).run(torch.zeros(1, 5, 2), reward=torch.zeros(1, 4)),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ModelError):
        make()
