"""Potentials under recorded spikes, all steps at once: those of a loop written from the equations, gradients too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import DT, Case, build, draw, relative
from torch import Tensor

from organoid.errors import ModelError
from organoid.models import LIF, AdEx, LIFParameters, ShortTermSynapses, SparseSynapses, backend
from organoid.models.states import mapped, tensors
from organoid.models.teacher_forcing.affine_scan import affine_scan

ALL = ("tau_mem", "tau_syn", "threshold")


def loop(net: Any, x: Tensor, z: Tensor, begin: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Step by step from the equations: potentials before the reset, distances to threshold, states of the cells."""
    cell = getattr(net.cell, "membrane", net.cell)
    adaptive = net.cell is not cell
    keep, theta = (torch.as_tensor(c, dtype=x.dtype) for c in (cell.decay, cell.threshold))
    decays = [torch.as_tensor(a, dtype=x.dtype) for a in net.synapses.decays]
    weight = net.synapses.weight * net.synapses.mask
    membrane = begin.cell if hasattr(begin.cell, "voltage") else begin.cell.membrane
    v, left = membrane.voltage, membrane.refractory.detach()
    a = begin.cell.adaptation if adaptive else torch.zeros_like(v)
    traces, queue = list(begin.synapse.trace.unbind(1)), list(begin.synapse.pending.unbind(1))
    voltages, gaps = [], []
    for t in range(x.shape[1]):
        arriving = queue.pop(0)
        traces = [decay * trace + arriving for decay, trace in zip(decays, traces, strict=True)]
        drive = net.bias + x[:, t] + sum(trace @ w for trace, w in zip(traces, weight, strict=True))
        v = torch.where(left > 0, v, keep * v + (1 - keep) * drive)
        now = theta + net.cell.log_increment.exp() * a if adaptive else theta
        voltages.append(v)
        gaps.append(v - now)
        spike = z[:, t]
        v = v * (1 - spike) if cell.hard else v - spike * now
        left = torch.where(spike > 0, float(cell.n_refractory), (left - 1).clamp(min=0))
        a = net.cell.decay * a + spike if adaptive else a
        queue.append(spike)
    return torch.stack(voltages, 1), torch.stack(gaps, 1), [v, left, *([a] if adaptive else [])]


def found(net: Any, x: Tensor, z: Tensor, begin: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
    out = net.forced_voltages(z, x, begin)
    cells = [t for t in tensors(out.state.cell) if t.is_floating_point()]
    return out.voltage, out.logits * net.escape_width, cells


def everything(run: Any, net: Any, case: Case, probability: float) -> dict[str, Tensor]:
    """Return outputs and the gradients of a random projection of them, the initial state's included."""
    net.zero_grad()
    shape = (case.batch, case.n_steps, case.n)
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(case.seed), dtype=torch.float64)
    x, z = (
        draw(*shape, seed=case.seed, dtype=case.dtype).mul_(3).requires_grad_(),
        (uniform < probability).to(case.dtype),
    )
    history = (draw(case.batch, 6, case.n, seed=case.seed + 1, dtype=case.dtype) > 1).to(case.dtype)
    with torch.no_grad():
        begin = net.trajectory(5 * history, forced=history).state
    begin = mapped(lambda t: t.clone().requires_grad_(t.is_floating_point()), begin)
    voltage, gap, state = run(net, x, z, begin)
    values = {"voltage": voltage, "distance": gap} | {f"state {k}": t for k, t in enumerate(state)}
    loss = sum((v * draw(*v.shape, seed=7 + k, dtype=case.dtype)).sum() for k, v in enumerate(values.values()))
    loss.backward()
    grads = {f"gradient of {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    grads |= {f"gradient of state {k}": t.grad for k, t in enumerate(tensors(begin)) if t.grad is not None}
    return {k: v.detach() for k, v in {**values, **grads, "gradient of x": x.grad}.items()}


def gap_to_loop(case: Case, probability: float) -> tuple[str, float]:
    """Return where a network is farthest from the loop in double precision, relative to the largest entry."""
    net = build(case)
    given = everything(found, net, case, probability)
    truth = everything(loop, net.double(), replace(case, dtype=torch.float64), probability)
    for name in [name for name, value in truth.items() if name not in given]:
        assert not truth.pop(name).any(), name  # refractory steps have no gradient
    assert set(truth) <= set(given)
    return max(((name, relative(given[name].double(), truth[name])) for name in truth), key=lambda item: item[1])


@st.composite
def cases(draw: Any) -> Case:
    lif = LIFParameters(
        tau_syn=draw(st.sampled_from([(0.005,), (0.003, 0.02)])),
        refractory=draw(st.sampled_from([0, 1, 3, 40])) * DT,
        delay=draw(st.sampled_from([1, 2, 5])) * DT,
        reset=draw(st.sampled_from(["hard", "subtract"])),
        detach_reset=draw(st.booleans()),
        weight_scale=2.0,
        trainable=draw(st.sampled_from([(), ALL])),
    )
    return Case(
        kind=draw(st.sampled_from(["lif", "adaptive_lif", "escape_noise"])),
        n=draw(st.integers(1, 6)),
        batch=draw(st.integers(1, 3)),
        n_steps=draw(st.integers(1, 40)),
        lif=lif,
        density=draw(st.sampled_from([0.0, 0.3, 1.0])),
        seed=draw(st.integers(0, 1000)),
    )


@pytest.mark.parametrize("name", ["auto", "torch"])
@given(case=cases(), probability=st.sampled_from([0.0, 0.02, 0.3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_scan_and_compiled_code_are_the_loop(name: Any, case: Case, probability: float) -> None:
    with backend(name):
        where, gap = gap_to_loop(case, probability)
    assert gap < 1e-10, where


@pytest.mark.parametrize("name", ["auto", "torch"])
@pytest.mark.parametrize("kind", ["lif", "adaptive_lif"])
def test_single_precision_is_near_the_loop_in_double(name: Any, kind: str) -> None:
    case = Case(kind, n=20, batch=2, n_steps=200, lif=LIFParameters(trainable=ALL), dtype=torch.float32)
    with backend(name):
        where, gap = gap_to_loop(case, 0.02)
    assert gap < 3e-6, where


@pytest.mark.parametrize("kind", ["lif", "adaptive_lif", "escape_noise"])
def test_a_network_forced_with_its_own_spikes_does_what_it_did(kind: str) -> None:
    case = Case(kind, n=5, n_steps=300, drive=(1.5, 4.0))
    net = build(case)
    x = case.drive[0] + case.drive[1] * draw(2, 300, 5, seed=0, dtype=torch.float64)
    with torch.no_grad():
        free = net.trajectory(x)
        again = net.forced_voltages(free.spikes, x)
    assert 0.01 < float(free.spikes.mean()) < 0.5
    torch.testing.assert_close(again.logits, free.logits, rtol=1e-10, atol=1e-10)
    for one, other in zip(tensors(again.state), tensors(free.state), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [SparseSynapses, ShortTermSynapses])
def test_other_synapses_and_parts_of_a_run(kind: Any) -> None:
    """Cells take the currents of any synapses; two parts are the whole; compiled is plain."""
    generator = torch.Generator().manual_seed(0)
    synapses = kind(4, DT, tau=(0.005,), delay=2 * DT, mask=None, scale=1.0, generator=generator)
    net = LIF(4, DT, synapses=synapses).double()
    z = (draw(2, 30, 4, seed=1, dtype=torch.float64) > 1).double()
    x = draw(2, 30, 4, seed=2, dtype=torch.float64)
    whole = net.forced_voltages(z, x)
    first = net.forced_voltages(z[:, :11], x[:, :11])
    second = net.forced_voltages(z[:, 11:], x[:, 11:], first.state)
    torch.testing.assert_close(torch.cat([first.voltage, second.voltage], 1), whole.voltage)
    with backend("torch"):
        plain = net.forced_voltages(z, x)
    torch.testing.assert_close(plain.voltage, whole.voltage, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        currents, _ = net.synapses.forced(z, net.initial_state(2).synapse)
        keep, v, left = net.cell.decay, torch.zeros(2, 4).double(), torch.zeros(2, 4)
        for t in range(30):
            v = torch.where(left > 0, v, keep * v + (1 - keep) * (net.bias + x + currents)[:, t])
            torch.testing.assert_close(whole.voltage[:, t], v, rtol=1e-12, atol=1e-12)
            v, left = v * (1 - z[:, t]), torch.where(z[:, t] > 0, 2.0, (left - 1).clamp(min=0))


def test_recorded_spikes_can_be_differentiated_in_plain_torch() -> None:
    net = build(Case(n=2, lif=LIFParameters(reset="subtract", refractory=0.0)))
    z = (draw(1, 6, 2, seed=1, dtype=torch.float64) > 0.3).double().requires_grad_()
    net.forced_voltages(z).voltage[0, 3].sum().backward()
    assert z.grad is not None and z.grad[0, :3].all() and not z.grad[0, 3:].any()


@pytest.mark.parametrize("kind", ["lif", "adaptive_lif"])
def test_forced_voltages_pass_finite_differences(kind: str) -> None:
    net = build(Case(kind, n=2, lif=LIFParameters(reset="subtract", refractory=DT, trainable=ALL)))
    z = (draw(1, 9, 2, seed=3, dtype=torch.float64) > 0.5).double()
    names, values = zip(*net.named_parameters(), strict=True)

    def run(x: Tensor, v: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        begin = mapped(lambda t: v if t.requires_grad else t, state)
        forced = torch.func.functional_call(
            Forced(net), {f"net.{k}": p for k, p in zip(names, given, strict=True)}, (z, x, begin)
        )
        return forced.voltage, forced.logits

    state = net.initial_state()
    membrane = getattr(state.cell, "membrane", state.cell)
    membrane.voltage.requires_grad_()
    inputs = [draw(1, 9, 2, seed=4, dtype=torch.float64), draw(1, 2, seed=5, dtype=torch.float64), *values]
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    with backend("torch"):
        assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


class Forced(torch.nn.Module):
    """`forced_voltages` as a call, so that parameters can be exchanged."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, *given: Any) -> Any:
        return self.net.forced_voltages(*given)


# The filter itself


@given(n_steps=st.integers(1, 70), seed=st.integers(0, 100), share=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=30, deadline=None)
def test_affine_scan_is_the_recursion(n_steps: int, seed: int, share: float) -> None:
    factor = torch.rand(2, n_steps, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    factor = torch.where(draw(2, n_steps, 3, seed=seed, dtype=torch.float64) < 3 * share - 1.5, 0.0, factor)
    add, y = draw(2, n_steps, 3, seed=seed, dtype=torch.float64), draw(2, 3, seed=9, dtype=torch.float64)
    got = affine_scan(factor, add, y)
    for t in range(n_steps):
        y = factor[:, t] * y + add[:, t]
        torch.testing.assert_close(got[:, t], y, rtol=1e-13, atol=1e-13)


def test_affine_scan_passes_finite_differences_twice() -> None:
    factor = torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factor[:, 3] = 0
    given = [factor, draw(2, 7, 2, seed=1, dtype=torch.float64), draw(2, 2, seed=2, dtype=torch.float64)]
    given = [t.requires_grad_() for t in given]
    assert torch.autograd.gradcheck(affine_scan, given)
    assert torch.autograd.gradgradcheck(affine_scan, given)


@pytest.mark.parametrize("value", [0.05, 1.0])
def test_long_decays_lose_nothing(value: float) -> None:
    """Products of thousands of factors vanish in single precision, or do not fall at all: neither harms."""
    n_steps = 5000
    factor, add = torch.full((1, n_steps, 1), value), torch.ones(1, n_steps, 1)
    got = affine_scan(factor, add, torch.full((1, 1), 1e30))[0, :, 0]
    if value < 1:
        expected = (1 - value**n_steps) / (1 - value)
        assert abs(float(got[-1]) - expected) < 1e-6
    else:
        assert bool((got == 1e30).all())  # exact: nothing that is added can be seen
    assert bool(torch.isfinite(got).all())


# What is refused


@pytest.mark.parametrize("kind", [torch.bool, torch.int64])
def test_spikes_may_be_of_any_type(kind: torch.dtype) -> None:
    net, z = LIF(3, DT), torch.eye(3)[None]
    assert torch.equal(net.forced_voltages(z.to(kind)).voltage, net.forced_voltages(z).voltage)


def test_what_cannot_be_forced_is_refused() -> None:
    net, z = LIF(3, DT), torch.zeros(1, 5, 3)
    with pytest.raises(ModelError, match="must be 0 or 1"):
        net.forced_voltages(z + 2)
    with pytest.raises(ModelError, match="shape"):
        net.forced_voltages(z[..., :2])
    with pytest.raises(ModelError, match="AdEx has no membranes"):
        AdEx(3, DT).forced_voltages(z)
