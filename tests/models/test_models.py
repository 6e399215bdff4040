"""Spiking models: dynamics against closed forms, gradients against two oracles, and the contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lif_oracle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import organoid
from organoid.errors import ModelError
from organoid.models import LIF, MODELS, AdaptiveLIF, AdaptiveLIFParameters, LIFParameters
from organoid.models.contracts import SpikingModel, TrainableModel
from organoid.models.neurons.adaptive_lif import AdaptiveLIFCell
from organoid.models.neurons.lif import LIFCell
from organoid.models.recurrent import loop
from organoid.models.surrogate import FastSigmoid
from organoid.models.synapses.exponential import exponential_trace

DT = 0.001
SURROGATE_MODELS = {"lif": LIF, "adaptive_lif": AdaptiveLIF}


def draw(*shape: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return offset + scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def drive_to(model: Any, x: Tensor) -> Tensor:
    return model.run(x)[0]


# The registry


def test_registry_is_not_empty() -> None:
    assert set(SURROGATE_MODELS) <= set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_registered_models_keep_the_contract(name: str) -> None:
    model = MODELS[name](5, DT, seed=3)
    assert isinstance(model, SpikingModel)
    assert isinstance(model, TrainableModel)
    organoid.check_model(model)
    organoid.check_model(model.double())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_seed_decides_the_initial_weights(name: str) -> None:
    a, b, c = (MODELS[name](4, DT, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


# Dynamics


def uncoupled(reset: str = "hard", refractory: float = 0.0, n: int = 1, **other: Any) -> LIF:
    p = LIFParameters(reset=reset, refractory=refractory, weight_scale=0.0, **other)  # type: ignore[arg-type]
    return LIF(n, DT, p).double()


@pytest.mark.parametrize("drive", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("refractory", [0.0, 0.003])
def test_interval_under_constant_drive_is_the_closed_form(drive: float, refractory: float) -> None:
    spikes = drive_to(uncoupled(refractory=refractory), torch.full((1, 600, 1), drive, dtype=torch.float64))
    times = spikes[0, :, 0].nonzero().ravel()
    # From 0, V after k steps is drive (1 - beta^k); it reaches 1 at the first k with beta^k <= 1 - 1/drive.
    climb = math.ceil(math.log(1 - 1 / drive) / (-DT / 0.02))
    assert (times.diff() == climb + round(refractory / DT)).all()


def test_subtractive_reset_keeps_the_overshoot() -> None:
    model = uncoupled("subtract")
    x = torch.full((1, 1, 1), 60.0, dtype=torch.float64)
    _, state = model.run(x)
    assert state.cell.voltage.item() == pytest.approx(60 * (1 - math.exp(-DT / 0.02)) - 1)
    assert uncoupled("hard").run(x)[1].cell.voltage.item() == 0.0


@pytest.mark.parametrize("delay_steps", [1, 2, 5])
@pytest.mark.parametrize("forced", [False, True])
def test_a_spike_arrives_after_the_delay_and_decays_with_tau(delay_steps: int, forced: bool) -> None:
    p = LIFParameters(tau_syn=(0.004,), delay=delay_steps * DT, refractory=0.0)
    model = LIF(2, DT, p).double()
    with torch.no_grad():
        model.synapses.weight.copy_(torch.tensor([[[0.0, 0.4], [0.0, 0.0]]], dtype=torch.float64))
    x = torch.zeros(1, 20, 2, dtype=torch.float64)
    x[0, 3, 0] = 100.0
    sent = model.trajectory(x).spikes
    assert sent.nonzero().tolist() == [[0, 3, 0]]
    logits = model.trajectory(x, forced=sent if forced else None).logits
    voltage = logits[0, :, 1].detach().numpy() * p.escape_width + 1
    expected, current, v = [], 0.0, 0.0
    for t in range(20):
        current = current * math.exp(-DT / 0.004) + 0.4 * (t == 3 + delay_steps)
        v = v * math.exp(-DT / 0.02) + (1 - math.exp(-DT / 0.02)) * current
        expected.append(v)
    np.testing.assert_allclose(voltage, expected, atol=1e-12)


def test_there_are_no_self_connections_unless_a_mask_allows_them() -> None:
    diagonal = torch.eye(4, dtype=torch.bool)
    assert not LIF(4, DT).synapses.effective_weight()[:, diagonal].any()
    weight = LIF(4, DT, mask=diagonal).synapses.effective_weight()
    assert weight[:, diagonal].all()
    assert not weight[:, ~diagonal].any()


def test_noise_gives_the_potential_the_stated_standard_deviation() -> None:
    model = uncoupled(n=200, noise_sd=0.07)
    noise = model.noise(1, 3000, torch.Generator().manual_seed(0))
    logits = model.trajectory(noise).logits[0, 200:]
    assert (logits * model.escape_width).std().item() == pytest.approx(0.07, rel=0.02)
    again = model.noise(1, 3000, torch.Generator().manual_seed(0))
    assert torch.equal(noise, again)


def test_threshold_rises_by_the_increment_and_decays() -> None:
    p = AdaptiveLIFParameters(LIFParameters(refractory=0.0), tau_adapt=0.01, increment=0.5)
    cell = AdaptiveLIFCell(1, DT, p, FastSigmoid()).double()
    drive = torch.zeros(1, 4, 1, dtype=torch.float64)
    drive[0, 0, 0] = 50.0
    state = cell.initial_state(1, drive)
    spikes, distance, _ = cell.scan(drive, state)
    assert spikes.ravel().tolist() == [1.0, 0.0, 0.0, 0.0]
    expected = [-1 - 0.5 * math.exp(-(k - 1) * DT / 0.01) for k in (1, 2, 3)]
    np.testing.assert_allclose(distance.detach().ravel()[1:], expected, rtol=1e-8)


@given(
    decay=st.floats(0, 0.99),
    n_steps=st.integers(1, 150),
    values=st.lists(st.floats(-3, 3), min_size=2, max_size=2),
)
@settings(max_examples=30, deadline=None)
def test_exponential_trace_is_the_recursion(decay: float, n_steps: int, values: list[float]) -> None:
    x, initial = draw(2, n_steps, 2), torch.tensor([values, values], dtype=torch.float64)
    expected, y = [], initial
    for t in range(n_steps):
        y = decay * y + x[:, t]
        expected.append(y)
    torch.testing.assert_close(exponential_trace(x, decay, initial), torch.stack(expected, 1))


# Gradients


def oracle_of(model: Any, x: Tensor, hard: bool) -> lif_oracle.Problem:
    adaptive = isinstance(model, AdaptiveLIF)
    membrane = model.cell.membrane if adaptive else model.cell
    increment = model.cell.log_increment.exp().detach().numpy() if adaptive else np.zeros(model.n_units)
    return lif_oracle.Problem(
        weight=model.synapses.effective_weight().detach().numpy(),
        bias=model.bias.detach().numpy(),
        increment=increment,
        x=x[0].numpy(),
        decay=math.exp(-DT / 0.02),
        syn=np.exp(-DT / np.array([0.003, 0.01])),
        rho=math.exp(-DT / 0.03) if adaptive else 0.0,
        delay=2,
        refractory=membrane.n_refractory,
        hard=hard,
    )


@pytest.mark.parametrize("name", sorted(SURROGATE_MODELS))
@pytest.mark.parametrize("reset", ["hard", "subtract"])
@pytest.mark.parametrize("refractory", [0.0, 0.002])
def test_gradient_is_that_of_hand_unrolled_numpy(name: str, reset: str, refractory: float) -> None:
    p = LIFParameters(
        tau_syn=(0.003, 0.01),
        delay=2 * DT,
        refractory=refractory,
        reset=reset,
        weight_scale=2.0,  # type: ignore[arg-type]
    )
    parameters: Any = p if name == "lif" else AdaptiveLIFParameters(p, tau_adapt=0.03, increment=0.2)
    model = SURROGATE_MODELS[name](4, DT, parameters, spike=FastSigmoid(6.0), seed=5).double()
    x, g_z = draw(1, 80, 4, scale=5.0, offset=4.0).requires_grad_(), draw(1, 80, 4, seed=1)
    spikes = model.trajectory(x).spikes
    (spikes * g_z).sum().backward()
    problem = oracle_of(model, x.detach(), reset == "hard")
    f = lif_oracle.forward(problem)
    np.testing.assert_array_equal(spikes.detach()[0], f["z"])
    assert 20 < f["z"].sum() < 200
    grads = lif_oracle.backward(problem, f, g_z[0].numpy(), 6.0)
    close = {"rtol": 1e-9, "atol": 1e-12}
    off_diagonal = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(model.synapses.weight.grad, grads["weight"] * off_diagonal, **close)
    np.testing.assert_allclose(model.bias.grad, grads["bias"], **close)
    np.testing.assert_allclose(x.grad[0], grads["x"], **close)
    if name == "adaptive_lif":
        np.testing.assert_allclose(model.cell.log_increment.grad, grads["increment"] * problem.increment, **close)


@given(
    reset=st.sampled_from(["hard", "subtract"]),
    detach=st.booleans(),
    refractory=st.integers(0, 4),
    adaptive=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_compiled_scan_is_the_plain_loop(reset: Any, detach: bool, refractory: int, adaptive: bool, seed: int) -> None:
    p = LIFParameters(reset=reset, detach_reset=detach, refractory=refractory * DT)
    cell: Any = LIFCell(3, DT, p, FastSigmoid()).double()
    if adaptive:
        cell = AdaptiveLIFCell(3, DT, AdaptiveLIFParameters(p, increment=0.3), FastSigmoid()).double()
    drive = draw(2, 30, 3, seed=seed, scale=6.0, offset=1.5).requires_grad_()
    weights = draw(3, 2, 30, 3, seed=seed + 1)
    results = []
    for run in (cell.scan, lambda d, s: loop(cell, d, s)):
        spikes, distance, end = run(drive, cell.initial_state(2, drive))
        final = end.membrane.voltage + end.adaptation if adaptive else end.voltage
        target = (spikes * weights[0]).sum() + (distance * weights[1]).sum() + (final * weights[2, :, 0]).sum()
        results.append([spikes, distance, final, *torch.autograd.grad(target, [drive, *cell.parameters()])])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_compiled_scan_keeps_float32_and_refuses_a_second_derivative() -> None:
    cell = LIFCell(3, DT, LIFParameters(), FastSigmoid())
    drive = draw(1, 10, 3).float().requires_grad_()
    spikes, _, state = cell.scan(drive, cell.initial_state(1, drive))
    assert spikes.dtype is state.voltage.dtype is torch.float32
    (first,) = torch.autograd.grad(spikes.sum(), drive, create_graph=True)
    with pytest.raises(ModelError, match="second derivative"):
        first.sum().backward()


def test_detached_reset_changes_the_gradient_but_not_the_spikes() -> None:
    x, out = draw(1, 50, 2, scale=4.0, offset=2.0), []
    for detach in (False, True):
        model = uncoupled(n=2, detach_reset=detach)
        spikes = drive_to(model, x)
        spikes.sum().backward()
        out.append((spikes.detach(), model.bias.grad))
    assert torch.equal(out[0][0], out[1][0])
    assert not torch.allclose(out[0][1], out[1][1])


# Refusals


@pytest.mark.parametrize(
    "make",
    [
        lambda: LIFParameters(tau_mem=0.0),
        lambda: LIFParameters(reset="soft"),  # type: ignore[arg-type]
        lambda: AdaptiveLIFParameters(increment=0.0),
        lambda: LIF(0, DT),
        lambda: LIF(3, 0.0),
        lambda: LIF(3, DT, LIFParameters(tau_syn=())),
        lambda: LIF(3, DT, LIFParameters(noise_sd=0.0)),
        lambda: LIF(3, DT, mask=torch.ones(2, 2, dtype=torch.bool)),
        lambda: LIF(3, DT).run(torch.zeros(2, 3)),
        lambda: LIF(3, DT).run(torch.zeros(1, 5, 4)),
        lambda: LIF(3, DT).trajectory(torch.zeros(1, 5, 3), forced=torch.zeros(1, 4, 3)),
    ],
)
def test_impossible_settings_and_inputs_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ModelError):
        make()


# The conformance checker: each broken model breaks one rule
