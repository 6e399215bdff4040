"""Potentials under recorded spikes, forward and backward: a torch loop, the scan, compiled code; time and agreement."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from organoid.models import LIF, AdaptiveLIF, backend

DT, N_STEPS, N_UNITS, RATE = 0.001, 4000, 100, 5.0  # s, steps, units, Hz

Run = Callable[[Any, Tensor, Tensor], Tensor]


def loop(net: Any, x: Tensor, spikes: Tensor) -> Tensor:
    """Step by step in torch, as one writes it; the recorded spikes reset the cells."""
    cell = getattr(net.cell, "membrane", net.cell)
    begin = net.initial_state(len(x))
    v, left = tuple(getattr(begin.cell, "membrane", begin.cell))
    synapse, weight, out = begin.synapse, net.synapses.effective_weight(), []
    for now, spike in zip(x.unbind(1), spikes.unbind(1), strict=True):
        current, trace = net.synapses.arrive(synapse, weight)
        v = torch.where(left > 0, v, cell.decay * v + (1 - cell.decay) * (net.bias + now + current))
        out.append(v)
        v = v * (1 - spike)
        left = torch.where(spike > 0, float(cell.n_refractory), (left - 1).clamp(min=0))
        synapse = net.synapses.send(trace, synapse, spike)
    return torch.stack(out, 1)


def scan(net: Any, x: Tensor, spikes: Tensor) -> Tensor:
    with backend("torch"):
        found: Tensor = net.forced_voltages(spikes, x).voltage
    return found


def compiled(net: Any, x: Tensor, spikes: Tensor) -> Tensor:
    found: Tensor = net.forced_voltages(spikes, x).voltage
    return found


def own_resets(net: Any, x: Tensor, spikes: Tensor) -> Tensor:
    """Compiled, recorded spikes travel, cells reset by their own: another computation, for comparison."""
    found: Tensor = net.trajectory(x, forced=spikes).logits
    return found


WAYS: dict[str, Run] = {"loop": loop, "scan": scan, "compiled": compiled, "own resets, compiled": own_resets}


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return input and recorded spikes."""
    generator = torch.Generator().manual_seed(0)
    spikes = torch.rand(1, N_STEPS, N_UNITS, generator=generator) < RATE * DT
    return torch.randn(1, N_STEPS, N_UNITS, generator=generator).to(dtype), spikes.to(dtype)


def forward_and_backward(run: Run, net: Any, x: Tensor, spikes: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    x = x.clone().requires_grad_()
    voltage = run(net, x, spikes)
    voltage.square().mean().backward()
    return {"voltage": voltage.detach(), "x": x.grad, "weight": net.synapses.weight.grad, "bias": net.bias.grad}


def errors() -> dict[str, dict[str, float]]:
    """Return how far scan and compiled code are from the loop in float64, relative to the largest entry."""
    out = {}
    for dtype in (torch.float32, torch.float64):
        truth = forward_and_backward(loop, LIF(N_UNITS, DT).double(), *problem(torch.float64))
        for name in ("loop", "scan", "compiled"):
            found = forward_and_backward(WAYS[name], LIF(N_UNITS, DT).to(dtype), *problem(dtype))
            gaps = {k: float((v - truth[k]).abs().max() / truth[k].abs().max()) for k, v in found.items()}
            out[f"{name}, {str(dtype).removeprefix('torch.')}"] = gaps
    return out


def forced(repeats: int) -> dict[str, Any]:
    """Return median processor seconds of each way, for plain and adaptive cells, and the errors."""
    out: dict[str, Any] = {"errors": errors()}
    for name, kind in (("lif", LIF), ("adaptive_lif", AdaptiveLIF)):
        net, times = kind(N_UNITS, DT), {way: [] for way in WAYS if name == "lif" or way != "loop"}
        for k in range(repeats + 1):  # the first round is not counted; ways take turns
            for way, found in times.items():
                begin = time.process_time()
                forward_and_backward(WAYS[way], net, *problem())
                if k:
                    found.append(time.process_time() - begin)
        out[name] = {way: median(found) for way, found in times.items()}
    return out


def show(result: dict[str, Any]) -> None:
    for name in ("lif", "adaptive_lif"):
        for way, seconds in result[name].items():
            print(f"{N_STEPS} steps, {N_UNITS} units, {name}: {way:20} {1000 * seconds:7.1f} ms of processor")
    for way, gaps in result["errors"].items():
        print(f"{way:18} " + ", ".join(f"{name} {gap:.1e}" for name, gap in gaps.items()))
