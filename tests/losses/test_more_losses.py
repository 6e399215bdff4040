"""Losses of statistics: each against an exact oracle that shares no code with it, and training with all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from organoid import statistics
from organoid.errors import FitError
from organoid.fitting.methods.gradient import GradientSettings, fit_gradient
from organoid.losses import (
    LOSSES,
    ActivityBounds,
    DelayedCovariance,
    FirstSpikeLatency,
    ISIDistribution,
    KernelMMD,
    PopulationAutocovariance,
    PopulationRateDistribution,
    Rate,
    SoftSTTC,
    SoftVictorPurpura,
    SynchronyPenalty,
    TrialMatching,
    VanRossum,
    WeightedSum,
)
from organoid.losses.synchrony import window_product
from organoid.losses.trial_matching import sinkhorn
from organoid.models import MODELS
from organoid.recording import SpikeRecording

BIN = 0.002
SEEDS = st.integers(0, 10_000)
RATES = st.floats(0.02, 0.6)
FEW = settings(max_examples=20, deadline=None)


def trains(*shape: int, seed: int = 0, p: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < p).double()


def recording_of(spikes: Tensor, gap: int = 200) -> SpikeRecording:
    """Put the items of a batch one after the other, unobserved time between, spikes in the middle of their bins."""
    batch, n_bins, n_units = spikes.shape
    item, step, unit = (np.asarray(k) for k in spikes.nonzero(as_tuple=True))
    start = np.arange(batch) * (n_bins + gap)
    return SpikeRecording(
        (start[item] + step + 0.5) * BIN,
        unit,
        n_units=n_units,
        t_start=0.0,
        t_stop=float(start[-1] + n_bins) * BIN,
        sampling_rate=2 / BIN,
        observed=np.column_stack([start, start + n_bins]) * BIN,
    )


def van_rossum_squared(a: NDArray[Any], b: NDArray[Any], tau: float) -> float:
    """Closed form over pairs of spikes of two counted trains."""
    difference, times = a - b, np.arange(len(a)) * BIN
    return float(difference @ np.exp(-np.abs(times[:, None] - times) / tau) @ difference)


# Spike time tiling


@given(seed=SEEDS, p=RATES, side=st.integers(0, 12))
@FEW
def test_sttc_is_the_statistic_of_the_recording(seed: int, p: float, side: int) -> None:
    spikes = trains(3, 60, 4, seed=seed, p=p)
    loss = SoftSTTC(BIN, reach=(side + 0.5) * BIN, pseudo_spikes=1e-9)
    expected = statistics.sttc(recording_of(spikes), dt=(side + 0.5) * BIN)
    got = loss.matrix(spikes).numpy()
    defined = np.isfinite(expected) & ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(got[defined], expected[defined], atol=1e-6)


def test_sttc_of_a_silent_unit_is_zero_and_has_a_gradient() -> None:
    spikes = trains(2, 80, 3)
    spikes[..., 0] = 0
    loss = SoftSTTC(BIN, reach=0.01)
    assert loss.matrix(spikes)[0, 1:].abs().max().item() == pytest.approx(0, abs=1e-9)
    spikes.requires_grad_()
    loss(spikes, trains(2, 80, 3, seed=1)).backward()
    assert spikes.grad is not None and torch.isfinite(spikes.grad).all()
    assert spikes.grad[..., 0].any()


def test_sttc_needs_two_units() -> None:
    with pytest.raises(FitError, match="pairs of units"):
        SoftSTTC(BIN)(trains(1, 9, 1), trains(1, 9, 1))


@given(side=st.integers(0, 20), n_bins=st.integers(1, 30), seed=SEEDS)
@FEW
def test_window_product_is_the_product_over_the_window(side: int, n_bins: int, seed: int) -> None:
    x = torch.randn(2, n_bins, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[x < -1] = 0
    expected = torch.stack([x[:, max(0, t - side) : t + side + 1].prod(1) for t in range(n_bins)], 1)
    torch.testing.assert_close(window_product(x, side), expected)


# Population


@given(seed=SEEDS, p=RATES, n_bins=st.integers(2, 30))
@FEW
def test_autocovariance_is_that_of_plain_loops(seed: int, p: float, n_bins: int) -> None:
    spikes = trains(3, n_bins, 4, seed=seed, p=p)
    rate = spikes.numpy().mean(2) / BIN
    centred = rate - rate.mean()
    n_lags = min(5, n_bins - 1)
    expected = [np.mean([c[t] * c[t + k] for c in centred for t in range(n_bins - k)]) for k in range(n_lags + 1)]
    np.testing.assert_allclose(PopulationAutocovariance(BIN, max_lag=5 * BIN).curve(spikes), expected, atol=1e-9)


@given(seed=SEEDS, p=RATES, width=st.integers(1, 7))
@FEW
def test_rate_distribution_is_the_optimal_assignment(seed: int, p: float, width: int) -> None:
    a, b = trains(2, 30, 3, seed=seed, p=p), trains(2, 30, 3, seed=seed + 1, p=0.2)
    n = 30 // width

    def rates(spikes: Tensor) -> NDArray[Any]:
        return spikes.numpy()[:, : n * width].reshape(2, n, width * 3).sum(2).ravel() / (3 * width * BIN)

    cost = (rates(a)[:, None] - rates(b)) ** 2
    rows, columns = linear_sum_assignment(cost)
    got = PopulationRateDistribution(BIN, window=width * BIN)(a, b).item()
    assert got == pytest.approx(cost[rows, columns].mean(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("loss", [PopulationAutocovariance(BIN), PopulationRateDistribution(BIN, window=BIN)])
def test_statistics_of_the_population_do_not_see_which_unit_spikes(loss: Callable[..., Tensor]) -> None:
    spikes = trains(3, 50, 4)
    assert loss(spikes[..., [2, 0, 3, 1]], spikes).item() == pytest.approx(0, abs=1e-9)
    assert loss(trains(3, 50, 4, seed=1), spikes).item() > 0


# Delayed covariance


@given(seed=SEEDS, p=RATES, width=st.integers(1, 4))
@FEW
def test_delayed_covariance_is_that_of_plain_loops(seed: int, p: float, width: int) -> None:
    spikes = trains(2, 24, 3, seed=seed, p=p)
    n = 24 // width
    rate = spikes.numpy().reshape(2, n, width, 3).sum(2) / (width * BIN)
    rate -= rate.mean((0, 1))
    got = DelayedCovariance(BIN, window=width * BIN, max_delay=3 * width * BIN).tensor(spikes)
    assert len(got) == 4
    for k in range(4):
        pairs = [np.outer(r[t], r[t + k]) for r in rate for t in range(n - k)]
        np.testing.assert_allclose(got[k], np.mean(pairs, 0), atol=1e-9)


def test_delayed_covariance_sees_who_fires_first() -> None:
    leader = trains(4, 100, 1, p=0.05)
    follows = torch.cat([leader, leader.roll(3, 1)], 2)
    loss = DelayedCovariance(BIN, window=BIN, max_delay=0.01)
    covariance = loss.tensor(follows)
    assert covariance[:, 0, 1].argmax() == 3
    assert loss(follows.flip(2), follows).item() > 0.1 * covariance[3, 0, 1].item() ** 2 / 6


# Intervals and latencies


@given(seed=SEEDS, p=RATES)
@FEW
def test_interval_histogram_is_that_of_the_recording(seed: int, p: float) -> None:
    spikes = trains(3, 50, 2, seed=seed, p=p)
    got = ISIDistribution(BIN, max_interval=12 * BIN).histogram(spikes)
    edges = (np.arange(1, 14) - 0.5) * BIN
    np.testing.assert_array_equal(got.T, statistics.isi_histogram(recording_of(spikes), edges))


def test_interval_histogram_of_probabilities_is_the_expected_one() -> None:
    p = torch.rand(1, 30, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.5
    loss = ISIDistribution(BIN, max_interval=5 * BIN)
    draws = (torch.rand(20_000, 30, 1, generator=torch.Generator().manual_seed(1)) < p).double()
    np.testing.assert_allclose(loss.histogram(draws) / 20_000, loss.histogram(p), atol=0.05)


def test_intervals_do_not_see_the_rate_of_bursts() -> None:
    burst = torch.zeros(1, 200, 1, dtype=torch.float64)
    burst[0, [10, 14, 18]] = 1
    twice = burst + burst.roll(130, 1)
    assert ISIDistribution(BIN, max_interval=0.1)(twice, burst).item() < 1e-5
    assert ISIDistribution(BIN, max_interval=0.1)(burst.roll(3, 1), burst).item() == 0


@given(seed=SEEDS, p=st.floats(0, 0.2))
@FEW
def test_latency_is_that_of_the_first_spike(seed: int, p: float) -> None:
    spikes = trains(4, 20, 3, seed=seed, p=p)
    first = np.where(spikes.numpy().any(1), spikes.numpy().argmax(1), 20) * BIN
    np.testing.assert_allclose(FirstSpikeLatency(BIN).latency(spikes), first, atol=1e-12)


# Victor-Purpura


def exact_victor_purpura(a: Tensor, b: Tensor, cost: float) -> float:
    return float(statistics.victor_purpura(recording_of(torch.cat([a, b], 2)), cost=cost)[0, 1])


@given(seed=SEEDS, p=RATES, q=RATES, n_levels=st.integers(1, 30))
@FEW
def test_cold_victor_purpura_is_the_exact_distance(seed: int, p: float, q: float, n_levels: int) -> None:
    a, b = trains(1, 40, 1, seed=seed, p=p), trains(1, 40, 1, seed=seed + 1, p=q)
    loss = SoftVictorPurpura(BIN, cost=2 / (n_levels * BIN), temperature=1e-4)
    assert loss.effective_cost == pytest.approx(loss.cost)
    assert loss(a, b).item() == pytest.approx(exact_victor_purpura(a, b, loss.cost), abs=0.01)


@given(seed=SEEDS, p=RATES, temperature=st.floats(0.01, 1))
@FEW
def test_warm_victor_purpura_is_lower_and_its_gradient_a_price(seed: int, p: float, temperature: float) -> None:
    a, b = trains(1, 40, 1, seed=seed, p=p).requires_grad_(), trains(1, 40, 1, seed=seed + 1)
    loss = SoftVictorPurpura(BIN, cost=50.0, temperature=temperature)
    value = loss(a, b)
    assert 0 <= value.item() <= exact_victor_purpura(a.detach(), b, 50.0) + 1e-9
    (price,) = torch.autograd.grad(value, a)
    assert price.abs().max().item() <= 1
    middle = loss((a + b).detach() / 2, b).item()
    assert middle <= value.item() / 2 + 1e-9  # convex, and 0 where they agree


def test_victor_purpura_survives_extremes() -> None:
    many = torch.full((1, 30, 1), 5.0).requires_grad_()
    value = SoftVictorPurpura(BIN, temperature=1e-3)(many, torch.zeros(1, 30, 1))
    value.backward()
    assert value.item() == pytest.approx(150, rel=0.01)
    assert many.grad is not None and torch.allclose(many.grad, torch.ones(()))


# Sets of trials


@given(seed=SEEDS, p=RATES)
@FEW
def test_mmd_is_that_of_plain_loops(seed: int, p: float) -> None:
    a, b = trains(3, 25, 2, seed=seed, p=p), trains(3, 25, 2, seed=seed + 1)

    def kernel(x: Tensor, y: Tensor, unit: int) -> float:
        pairs = [van_rossum_squared(i, j, 0.02) for i in x[..., unit].numpy() for j in y[..., unit].numpy()]
        return float(np.mean(np.exp(-np.array(pairs) / (2 * 1.5**2))))

    expected = np.mean([kernel(a, a, u) + kernel(b, b, u) - 2 * kernel(a, b, u) for u in range(2)])
    assert KernelMMD(BIN, tau=0.02, bandwidth=1.5)(a, b).item() == pytest.approx(expected, abs=1e-9)


def test_mmd_prefers_chance_at_the_right_rate_to_silence() -> None:
    recorded, chance = trains(60, 100, 2, p=0.02), trains(60, 100, 2, p=0.02, seed=1)
    silent = torch.zeros_like(recorded)
    assert KernelMMD(BIN)(chance, recorded) < 0.2 * KernelMMD(BIN)(silent, recorded)
    assert VanRossum(BIN, tau=0.02)(chance, recorded) > VanRossum(BIN, tau=0.02)(silent, recorded)


@pytest.mark.parametrize("loss", [KernelMMD(BIN), TrialMatching(BIN)])
def test_the_order_of_trials_does_not_matter(loss: Callable[..., Tensor]) -> None:
    a, b = trains(5, 40, 2), trains(5, 40, 2, seed=1)
    assert loss(a[[3, 1, 4, 0, 2]], b).item() == pytest.approx(loss(a, b).item())


def test_sinkhorn_with_little_entropy_is_the_optimal_assignment() -> None:
    cost = torch.rand(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows, columns = linear_sum_assignment(cost.numpy())
    best = cost.numpy()[rows, columns].mean()
    assert sinkhorn(cost, 2e-4, 6000).item() == pytest.approx(best, abs=2e-3)


def test_sinkhorn_is_the_fixed_point_of_plain_scaling_and_a_lower_bound() -> None:
    cost = torch.rand(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = np.exp(-cost.numpy() / 0.1)
    u = np.ones(6)
    for _ in range(2000):
        v = (1 / 6) / (kernel.T @ u)
        u = (1 / 6) / (kernel @ v)
    plan = u[:, None] * kernel * v
    primal = (plan * cost.numpy()).sum() + 0.1 * (plan * np.log(plan * 36)).sum()
    assert sinkhorn(cost, 0.1, 300).item() == pytest.approx(primal, rel=1e-8)
    values = [sinkhorn(cost, 0.1, n).item() for n in (1, 3, 10, 30)]
    assert values == sorted(values)
    assert values[-1] <= primal + 1e-12


def test_trial_matching_keeps_variability() -> None:
    # Half of the trials hold a volley, half are silent: the same in another order is right, the mean is not.
    volley = torch.zeros(6, 50, 2, dtype=torch.float64)
    volley[:3, 20:24] = 1
    loss = TrialMatching(BIN)
    assert loss(volley.flip(0), volley).item() < 1e-6
    assert loss(volley.mean(0).expand(6, -1, -1).clone(), volley).item() > 1


# Regularisers


def test_activity_bounds_are_the_squared_excess() -> None:
    spikes = torch.zeros(1, 100, 3, dtype=torch.float64)  # 0.2 s: 0, 5 and 100 Hz
    spikes[0, 0, 1], spikes[0, :20, 2] = 1, 1
    loss = ActivityBounds(BIN, lower=2.0, upper=40.0)
    assert loss(spikes, spikes).item() == pytest.approx((2.0**2 + 0 + 60.0**2) / 3)
    spikes.requires_grad_()
    loss(spikes, spikes.detach()).backward()
    assert spikes.grad is not None
    assert torch.equal(spikes.grad[0, 0].sign(), torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))


@given(seed=SEEDS, p=RATES)
@FEW
def test_synchrony_is_the_squared_mean_covariance(seed: int, p: float) -> None:
    spikes = trains(3, 40, 4, seed=seed, p=p)
    rates = spikes.flatten(0, 1).numpy() / BIN
    covariance = np.cov(rates.T, bias=True)
    expected = (covariance[~np.eye(4, dtype=bool)].sum() / 16) ** 2
    assert SynchronyPenalty(BIN)(spikes, spikes).item() == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_weighted_sum_adds() -> None:
    a, b = trains(2, 40, 2), trains(2, 40, 2, seed=1)
    total = WeightedSum(((2.0, VanRossum(BIN)), (0.5, Rate(BIN))))
    assert total(a, b).item() == pytest.approx(2 * VanRossum(BIN)(a, b).item() + 0.5 * Rate(BIN)(a, b).item())
    assert (total.bin_width, total.reads, total.compares) == (BIN, "spikes", "trains")
    assert WeightedSum(((1.0, Rate(BIN)), (1.0, KernelMMD(BIN)))).compares == "batches"


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightedSum(()),
        lambda: WeightedSum(((0.0, Rate(BIN)),)),
        lambda: WeightedSum(((1.0, Rate(BIN)), (1.0, Rate(0.004)))),
        lambda: WeightedSum(((1.0, Rate(BIN)), (1.0, LOSSES["likelihood"](BIN)))),
        lambda: ActivityBounds(BIN, lower=3.0, upper=1.0),
        lambda: ActivityBounds(BIN, lower=-1.0),
        lambda: SoftVictorPurpura(BIN, temperature=0.0),
        lambda: PopulationAutocovariance(BIN, max_lag=1e-4)(trains(1, 9, 2), trains(1, 9, 2)),
        lambda: ISIDistribution(BIN, max_interval=1e-4)(trains(1, 9, 2), trains(1, 9, 2)),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(FitError):
        make()


# Training


UNCOMPILED = ("adex", "izhikevich")


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.slow if name in UNCOMPILED else ()) for name in sorted(MODELS)]
)
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_trains_every_model(loss: str, model: str) -> None:
    rng = np.random.default_rng(0)
    bursting = (rng.random((1000, 1)) < 0.02).repeat(4, 1)
    counts = ((rng.random((1000, 4)) < 0.03) | (np.roll(bursting, 2, 0) & (rng.random((1000, 4)) < 0.8))).astype(int)
    n_steps = 8 if loss == "sttc" else 4  # spikes that cover a whole window move nothing
    short = GradientSettings(n_steps=n_steps, batch=6, window=0.1, warmup=0.02, free_run=False)
    before: Any = MODELS[model](4, 0.004, seed=0)
    with torch.no_grad():
        before.bias += 1.1  # a silent network has no covariance or interval to move
    fit = fit_gradient(counts, model=before, loss=loss, bin_width=0.004, settings=short, progress=False)
    assert np.isfinite(fit.curve.loss.dropna()).all()
    assert np.isfinite(fit.held_out["fitted"])
    pairs = list(zip(before.parameters(), fit.model.parameters(), strict=True))
    assert all(bool(torch.isfinite(after).all()) for _, after in pairs)
    moved = any(not torch.equal(a, b) for a, b in pairs)
    assert moved or LOSSES[loss](0.004).compares == "nothing"
