"""Runs a network compiled and in plain torch on the same input, and compares everything that comes out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from organoid.models import (
    LIF,
    AdaptiveLIF,
    AdaptiveLIFParameters,
    LIFParameters,
    ShortTermPlasticity,
    ShortTermSynapses,
    backend,
)
from organoid.models.neurons.escape_noise_lif import EscapeNoiseLIF
from organoid.models.states import tensors
from organoid.models.surrogate import FastSigmoid, Sigmoid, Surrogate

DT = 0.001


@dataclass(frozen=True)
class Case:
    """One network and what is done to it; lengths in steps."""

    kind: str = "lif"
    n: int = 4
    batch: int = 2
    n_steps: int = 24
    split: int = 9
    lif: LIFParameters = field(default_factory=lambda: LIFParameters(weight_scale=2.0))
    spike: Surrogate | None = None
    forced: bool = False
    drive: tuple[float, float] = (2.0, 5.0)
    density: float = 1.0
    seed: int = 0
    dtype: torch.dtype = torch.float64
    release: ShortTermPlasticity | None = None

    def with_lif(self, **changes: Any) -> Case:
        """Return a copy with other fixed properties."""
        return replace(self, lif=replace(self.lif, **changes))


def build(case: Case) -> Any:
    """Return the network of a case."""
    mask = torch.rand(case.n, case.n, generator=torch.Generator().manual_seed(case.seed)) < case.density
    options: dict[str, Any] = {"mask": mask, "seed": case.seed}
    if case.release is not None:
        options["synapses"] = ShortTermSynapses(
            case.n,
            DT,
            release=case.release,
            tau=case.lif.tau_syn,
            delay=case.lif.delay,
            mask=options.pop("mask"),
            scale=case.lif.weight_scale,
            generator=torch.Generator().manual_seed(case.seed),
            trainable=case.lif.trainable,
        )
    if case.kind == "adaptive_lif":
        trained = ("tau_adapt",) if case.lif.trainable else ()
        parameters = AdaptiveLIFParameters(case.lif, tau_adapt=0.03, increment=0.2, trainable=trained)
        model: Any = AdaptiveLIF(case.n, DT, parameters, spike=case.spike or FastSigmoid(), **options)
    elif case.kind == "escape_noise":
        model = EscapeNoiseLIF(case.n, DT, case.lif, spike=Sigmoid(4.0), **options)
    else:
        model = LIF(case.n, DT, case.lif, spike=case.spike or FastSigmoid(), **options)
    return model.to(case.dtype)


def draw(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def results(model: Any, case: Case) -> dict[str, Tensor]:
    """Run in two parts, gradients through the state between them; return outputs, states and gradients."""
    shape = (case.batch, case.n_steps, case.n)
    model.zero_grad()
    x = (case.drive[0] + case.drive[1] * draw(*shape, seed=case.seed, dtype=case.dtype)).requires_grad_()
    forced = (draw(*shape, seed=case.seed + 1, dtype=case.dtype) > 1.2).to(case.dtype) if case.forced else None
    first = model.trajectory(x[:, : case.split], forced=None if forced is None else forced[:, : case.split])
    rest = None if forced is None else forced[:, case.split :]
    second = model.trajectory(x[:, case.split :], first.state, forced=rest)
    found = {
        "spikes": torch.cat([first.spikes, second.spikes], 1),
        "logits": torch.cat([first.logits, second.logits], 1),
    }
    found |= {f"state {k}": t for k, t in enumerate(tensors(second.state))}
    loss = torch.zeros((), dtype=case.dtype)
    for k, value in enumerate(found.values()):
        if value.requires_grad:
            loss = loss + (value * draw(*value.shape, seed=case.seed + 2 + k, dtype=case.dtype)).sum()
    loss.backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {k: v.detach() for k, v in {**found, **gradients, "gradient of x": x.grad}.items()}


def differences(case: Case) -> dict[str, float]:
    """Return by how much compiled code differs from plain torch, relative, for everything that comes out."""
    model = build(case)
    compiled = results(model, case)
    with backend("torch"):
        plain = results(model, case)
    assert compiled.keys() == plain.keys()
    return {name: relative(value, plain[name]) for name, value in compiled.items()}


def relative(a: Tensor, b: Tensor) -> float:
    """Return the norm of the difference over that of ``b``."""
    scale = b.double().norm().item()
    gap = (a.double() - b.double()).norm().item()
    return gap / scale if scale > 1e-12 else gap
