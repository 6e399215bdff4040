"""Spike losses: closed forms as oracles, exact gradients, and the properties a distance must have."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from organoid.errors import FitError
from organoid.losses import LOSSES, Likelihood, Rate, VanRossum

NAMES = sorted(LOSSES)
MADE = {n: LOSSES[n](0.002) for n in NAMES}
READ_SPIKES = [n for n in NAMES if MADE[n].reads == "spikes"]
PER_TRAIN = [n for n in NAMES if MADE[n].compares == "trains"]
DISTANCES = [n for n in READ_SPIKES if MADE[n].compares != "nothing"]


def trains(*shape: int, seed: int = 0, p: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).double()


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def single_trains(bins: list[int], n_bins: int = 40) -> Tensor:
    out = torch.zeros(1, n_bins, 1, dtype=torch.float64)
    for k in bins:
        out[0, k, 0] += 1
    return out


def van_rossum_of_times(a: list[float], b: list[float], tau: float) -> float:
    """Closed form over pairs of spikes, Houghton and Kreuz (2012), Network 23."""
    times, signs = np.array([*a, *b]), np.array([1.0] * len(a) + [-1.0] * len(b))
    if not len(times):
        return 0.0
    kernel = np.exp(-np.abs(times[:, None] - times) / tau)
    return float(signs @ kernel @ signs)


# Every registered loss


def test_registry_is_not_empty() -> None:
    assert {"van_rossum", "rate", "likelihood"} <= set(NAMES)
    assert READ_SPIKES and PER_TRAIN and DISTANCES


@pytest.mark.parametrize("name", NAMES)
def test_gradient_passes_finite_differences(name: str) -> None:
    loss, recorded = LOSSES[name](0.003), trains(2, 70, 2)
    simulated = values(2, 70, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, recorded), (simulated,))


@pytest.mark.parametrize("name", NAMES)
def test_value_is_a_scalar_of_the_simulated_dtype(name: str) -> None:
    recorded = trains(2, 20, 3)
    for dtype in (torch.float32, torch.float64):
        value = LOSSES[name](0.002)(values(2, 20, 3).to(dtype), recorded)
        assert value.shape == ()
        assert value.dtype is dtype


@pytest.mark.parametrize("name", PER_TRAIN)
def test_value_is_the_mean_over_trains(name: str) -> None:
    loss, simulated, recorded = LOSSES[name](0.002), values(2, 30, 3), trains(2, 30, 3)
    alone = [loss(simulated[b : b + 1, :, [u]], recorded[b : b + 1, :, [u]]) for b in range(2) for u in range(3)]
    assert loss(simulated, recorded).item() == pytest.approx(torch.stack(alone).mean().item())


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000), p=st.floats(0, 1), q=st.floats(0, 1), n_bins=st.integers(1, 150))
@settings(max_examples=30, deadline=None)
def test_value_is_never_negative(name: str, seed: int, p: float, q: float, n_bins: int) -> None:
    loss = LOSSES[name](0.002)
    simulated = trains(2, n_bins, 2, seed=seed, p=p) if loss.reads == "spikes" else values(2, n_bins, 2, seed=seed)
    assert loss(simulated, trains(2, n_bins, 2, seed=seed + 1, p=q)).item() >= 0


@pytest.mark.parametrize("name", DISTANCES)
@given(seed=st.integers(0, 10_000), p=st.floats(0, 1), n_bins=st.integers(1, 150))
@settings(max_examples=30, deadline=None)
def test_equal_trains_have_distance_zero(name: str, seed: int, p: float, n_bins: int) -> None:
    recorded = trains(2, n_bins, 2, seed=seed, p=p)
    assert LOSSES[name](0.002)(recorded.clone(), recorded).item() == 0


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_symmetric(name: str) -> None:
    loss, a, b = LOSSES[name](0.002), trains(2, 50, 2), trains(2, 50, 2, seed=1)
    assert loss(a, b).item() == pytest.approx(loss(b, a).item())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shapes", [((1, 5, 2), (1, 5, 3)), ((5, 2), (5, 2)), ((1, 0, 2), (1, 0, 2))])
def test_wrong_shapes_are_refused(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(FitError, match=r"shape|expected"):
        LOSSES[name](0.002)(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [0.0, -0.001, math.nan])
def test_wrong_bin_widths_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(FitError, match="bin_width"):
        LOSSES[name](wrong)


# van Rossum


@pytest.mark.parametrize("tau", [0.001, 0.02, 0.5])
@pytest.mark.parametrize("bin_width", [0.0005, 0.005])
@pytest.mark.parametrize("k", [0, 17, 39])
def test_one_spike_against_none_is_one(tau: float, bin_width: float, k: int) -> None:
    loss = VanRossum(bin_width, tau=tau)
    assert loss(single_trains([k]), single_trains([])).item() == pytest.approx(1.0, rel=1e-12)


@given(
    a=st.lists(st.integers(0, 199), max_size=12),
    b=st.lists(st.integers(0, 199), max_size=12),
    tau=st.floats(0.002, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_van_rossum_is_the_closed_form_over_spike_times(a: list[int], b: list[int], tau: float) -> None:
    got = VanRossum(0.002, tau=tau)(single_trains(a, 200), single_trains(b, 200)).item()
    expected = van_rossum_of_times([0.002 * k for k in a], [0.002 * k for k in b], tau)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_van_rossum_does_not_depend_on_the_bin() -> None:
    coarse = VanRossum(0.004, tau=0.02)(single_trains([3, 10]), single_trains([5]))
    fine = VanRossum(0.001, tau=0.02)(single_trains([12, 40], 160), single_trains([20], 160))
    assert coarse.item() == pytest.approx(fine.item(), rel=1e-12)


def test_moving_a_spike_nearer_lowers_the_distance() -> None:
    loss, recorded = VanRossum(0.002, tau=0.02), single_trains([20])
    distances = [loss(single_trains([k]), recorded).item() for k in range(21)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0


# Rate


def test_rate_is_the_squared_difference_in_hz() -> None:
    # 40 bins of 5 ms are 0.2 s: 3 spikes are 15 Hz, 1 spike is 5 Hz.
    assert Rate(0.005)(single_trains([1, 2, 9]), single_trains([30])).item() == pytest.approx(100.0)


def test_rate_does_not_see_timing() -> None:
    assert Rate(0.005)(single_trains([0]), single_trains([39])).item() == 0


# Likelihood


@pytest.mark.parametrize("trials", [1, 2, 5])
def test_likelihood_is_the_binomial_of_a_statistics_library(trials: int) -> None:
    from scipy.stats import binom

    logits = values(2, 30, 2)
    counts = torch.randint(0, trials + 1, (2, 30, 2), generator=torch.Generator().manual_seed(1)).double()
    expected = -binom.logpmf(counts.numpy(), trials, torch.sigmoid(logits).numpy()).sum(1).mean()
    assert Likelihood(0.002, trials=trials)(logits, counts).item() == pytest.approx(expected, rel=1e-10)


def test_likelihood_survives_extreme_log_odds() -> None:
    logits = torch.tensor([[[-1000.0], [1000.0]]])
    assert Likelihood(0.002)(logits, torch.tensor([[[0.0], [1.0]]])).item() == pytest.approx(0, abs=1e-6)
    assert Likelihood(0.002)(logits, torch.tensor([[[1.0], [1.0]]])).item() == pytest.approx(1000.0)


def test_likelihood_refuses_more_spikes_than_trials() -> None:
    with pytest.raises(FitError, match="raise trials"):
        Likelihood(0.002)(torch.zeros(1, 3, 1), torch.full((1, 3, 1), 2.0))


@pytest.mark.parametrize("make", [lambda: VanRossum(0.002, tau=0.0), lambda: Likelihood(0.002, trials=0)])
def test_wrong_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(FitError, match="positive"):
        make()
