"""Differentiable free windows: the network's own spikes, and gradients against torch and finite differences."""

from __future__ import annotations

import escape_oracle as oracle
import numpy as np
import pytest
import torch
from organoid.models.rng import stream_key
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from test_escape_lif import LOCAL, random_parameters
from torch import Tensor

from organoid.fitting.free_run.bptt_windows import Weights, WindowPlan, run_windows, with_weights

# between them: one to three spikes a step, saturation or none, fields or none, products or none, regions or none
SEEDS = (*range(8), LOCAL + 1, LOCAL + 4)
N_WINDOWS, N_STEPS = 3, 40


def weights_of(p: SpikeResponseParameters) -> Weights:
    n = p.bias.size
    return Weights(*(torch.tensor(w.reshape(-1, n)) for w in (p.weights, p.field_weights)), torch.tensor(p.bias))


def plan_of(p: SpikeResponseParameters, seed: int | None, memory: int | None = None) -> WindowPlan:
    """Windows that start in the middle of some activity."""
    rng = np.random.default_rng(5)
    traces = rng.uniform(0, 1.2, (N_WINDOWS, p.tau.size, p.bias.size))
    population = p.fields.mean * rng.uniform(0.1, 3.0, (N_WINDOWS, p.fields.mean.size))
    return WindowPlan(traces, population, N_STEPS, seed, memory)


def unrolled(p: SpikeResponseParameters, weights: Weights, plan: WindowPlan, sampled: Tensor | None) -> Tensor:
    """The same windows in plain torch, from the equations; counts given, or expected."""
    f = {name: torch.tensor(value) for name, value in p.fields._asdict().items()}
    low, high, ceiling, capacity = (
        torch.tensor(np.asarray(x)) for x in (p.drive_low, p.drive_high, p.ceiling, p.capacity)
    )
    n_whole = len(f["mean"]) - len(f["region"])
    a, b = torch.triu_indices(n_whole, n_whole) if len(f["product_shift"]) else torch.empty(2, 0).long()
    enters = torch.ones(len(p.bias), len(f["mean"]), dtype=torch.float64)
    enters[:, n_whole:] = (f["home"][:, None] == f["region"]).double() if len(f["region"]) else 0.0
    decay, size = torch.exp(-p.dt / torch.tensor(p.tau))[:, None], p.saturation
    s, q, out = torch.tensor(plan.traces), torch.tensor(plan.population), []
    for t in range(plan.n_steps):
        if plan.memory and t % plan.memory == 0:
            s, q = s.detach(), q.detach()
        z = ((torch.log1p(4 * q / f["mean"]) - f["shift"]) / f["scale"]).clamp(f["low"], f["high"])
        products = (z[:, a] * z[:, b] - f["product_shift"]) / f["product_scale"]
        g = torch.cat([z[:, :n_whole], products, z[:, n_whole:]], dim=1)
        v = weights.bias + (s.flatten(1) @ weights.couplings).clamp(low, high) + g @ weights.fields
        prob = torch.sigmoid(torch.minimum(v, ceiling))
        expected = capacity * prob
        gain = expected if np.isinf(size) else size * (1 - (1 - prob / size) ** capacity)
        if sampled is None:
            y, c = expected, gain
        else:
            n = sampled[:, t]
            y = n + expected - expected.detach()
            c = (n if np.isinf(size) else size * (1 - (1 - 1 / size) ** n)) + gain - gain.detach()
        s = s * decay + c[:, None] * (1 - s * decay / size)
        q = q * f["decay"] + y @ enters
        out.append(y)
    return torch.stack(out, dim=1)


def curved_loss(spikes: Tensor) -> Tensor:
    """Something that weighs every spike differently, and depends on all of them."""
    taste = torch.sin(torch.arange(spikes.numel(), dtype=spikes.dtype)).reshape(spikes.shape)
    return (spikes * taste).sum() + spikes.mean((0, 1)).square().sum() * 10


def gradients(loss: Tensor, weights: Weights) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(weights), allow_unused=True, materialize_grads=True))


def learnable(p: SpikeResponseParameters) -> Weights:
    return Weights(*(w.requires_grad_() for w in weights_of(p)))


@pytest.mark.parametrize("seed", SEEDS)
def test_spikes_are_those_of_the_network(seed: int) -> None:
    p = random_parameters(seed)
    plan = plan_of(p, seed=11)
    spikes = run_windows(weights_of(p), p, plan).numpy()
    network = SpikeResponseNetwork(p)
    for window in range(N_WINDOWS):
        state = network.state_from_traces(plan.traces[window], plan.population[window], 0)
        done = network.advance(type(state)(**{**state.__dict__, "key": int(stream_key(11, window))}), N_STEPS)
        counts = np.zeros((N_STEPS, p.bias.size))
        np.add.at(counts, (done.steps, done.units), 1)
        np.testing.assert_array_equal(spikes[window], counts)


@pytest.mark.parametrize("seed", SEEDS)
def test_first_step_on_expected_counts_is_the_probability(seed: int) -> None:
    p = random_parameters(seed)
    plan = plan_of(p, seed=None)
    spikes = run_windows(weights_of(p), p, plan).numpy()
    for window in range(N_WINDOWS):
        v = oracle.potential_of(p, plan.traces[window], plan.population[window])
        np.testing.assert_allclose(spikes[window, 0], p.capacity / (1 + np.exp(-v)), rtol=1e-13)


@pytest.mark.parametrize("memory", [None, 7])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sampling", [None, 3])
def test_gradient_is_that_of_recorded_operations(seed: int, memory: int | None, sampling: int | None) -> None:
    p = random_parameters(seed)
    plan, weights = plan_of(p, sampling, memory), learnable(p)
    spikes = run_windows(weights, p, plan)
    reference = unrolled(p, weights, plan, None if sampling is None else spikes.detach())
    np.testing.assert_allclose(spikes.detach().numpy(), reference.detach().numpy(), rtol=1e-9)
    ours = gradients(curved_loss(spikes), weights)
    theirs = gradients(curved_loss(reference), weights)
    for own, other in zip(ours, theirs):
        np.testing.assert_allclose(own.numpy(), other.numpy(), rtol=1e-8, atol=1e-9)
    assert any(own.abs().max() > 1e-3 for own in ours)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_on_expected_counts_against_finite_differences(seed: int) -> None:
    p = random_parameters(seed)
    plan, weights = plan_of(p, None), learnable(p)
    rng = np.random.default_rng(seed)
    direction = Weights(*(torch.tensor(rng.normal(size=tuple(w.shape))) for w in weights))
    slope = sum(
        float((g * d).sum()) for g, d in zip(gradients(curved_loss(run_windows(weights, p, plan)), weights), direction)
    )

    def at(h: float) -> float:
        moved = Weights(*(w.detach() + h * d for w, d in zip(weights, direction)))
        return float(curved_loss(run_windows(moved, p, plan)))

    h = 1e-6
    assert slope == pytest.approx((at(h) - at(-h)) / (2 * h), rel=2e-5, abs=1e-5)


def test_weights_go_in_and_out() -> None:
    p = random_parameters(3)
    moved = with_weights(p, Weights(*(w + 1 for w in weights_of(p))))
    np.testing.assert_array_equal(moved.weights, p.weights + 1)
    np.testing.assert_array_equal(moved.field_weights, p.field_weights + 1)
    np.testing.assert_array_equal(moved.bias, p.bias + 1)
