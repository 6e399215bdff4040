"""Every registered neuron and kind of synapse against finite differences in float64: nothing is taken on trust.

The spike is relaxed (its smooth function forward, too), so the network is differentiable in the ordinary sense and all
paths but the step itself are the ones that training uses. Random projections of the Jacobians are compared, for each
pair of an input and an output. Losses are checked in `test_losses`, rules of plasticity in
`test_plasticity`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from organoid.models import (
    LIF,
    MODELS,
    SYNAPSES,
    AdaptiveLIFParameters,
    AdExParameters,
    CultureLIFConstants,
    DalesLaw,
    IzhikevichParameters,
    LeakyReadout,
    LIFParameters,
    ShortTermPlasticity,
    SparseSynapses,
)
from organoid.models.culture_lif.module import TRAINABLE
from organoid.models.states import mapped, tensors
from organoid.models.surrogate import Sigmoid

DT = 0.001
RELAXED = Sigmoid(3.0).relaxed
SOME = LIFParameters(weight_scale=1.0, tau_syn=(0.004, 0.01), trainable=("tau_mem", "tau_syn", "threshold"))
FAST = LIFParameters(0.005, weight_scale=1.0, tau_syn=(0.004, 0.01), trainable=("tau_mem", "tau_syn"))
EVERYTHING: dict[str, Any] = {
    "lif": SOME,
    "escape_lif": SOME,
    "adaptive_lif": AdaptiveLIFParameters(replace(SOME, reset="subtract"), trainable=("tau_adapt",)),
    "culture_lif": CultureLIFConstants(use=(0.1, 0.3, 0.5), trainable=TRAINABLE),
    "adex": AdExParameters(FAST, trainable=("tau_adapt",)),
    "izhikevich": IzhikevichParameters(weight_scale=1.0, detach_reset=False, trainable=("a", "tau_syn")),
}


def draw(*shape: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return offset + scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def model_of(name: str) -> Any:
    parameters = {"parameters": EVERYTHING[name]} if name in EVERYTHING else {}
    return MODELS[name](3, DT, spike=RELAXED, seed=1, **parameters).double()


def check(model: Any, forced: bool) -> list[str]:
    """Check outputs and final state against parameters, input and initial state; return the parameters' names."""
    x = draw(1, 7, 3, scale=4.0, offset=2.0)
    sent = (draw(1, 7, 3, seed=2) > 1).double() if forced else None
    _, begin = model.run(draw(1, 4, 3, seed=3, scale=4.0))
    # Counters of refractory steps and of draws are no part of the gradient.
    differentiable = [part.requires_grad for part in tensors(begin)]
    begin = mapped(lambda part: part.detach(), begin)
    smooth = [part for part, yes in zip(tensors(begin), differentiable, strict=True) if yes]
    assert smooth
    named = dict(model.named_parameters())

    def run(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        given, which = iter(values), iter(differentiable)
        state = mapped(lambda part: next(given) if next(which) else part, begin)
        new = dict(zip(named, given, strict=True))
        out = torch.func.functional_call(
            Runner(model), {f"model.{key}": value for key, value in new.items()}, (x, state, sent)
        )
        return out.spikes, out.logits, *(part for part in tensors(out.state) if part.requires_grad)

    inputs = [x, *smooth, *(p.detach() for p in named.values())]
    assert torch.autograd.gradcheck(
        run, [v.clone().requires_grad_() for v in inputs], fast_mode=True, check_undefined_grad=False
    )
    return list(named)


class Runner(torch.nn.Module):
    """The model's background noise and its trajectory as one call."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, state: Any, forced: Tensor | None) -> Any:
        noise = self.model.noise(*x.shape[:2], torch.Generator().manual_seed(0))
        return self.model.trajectory(x + noise, state, forced=forced)


def test_registries_are_not_empty() -> None:
    assert len(MODELS) >= 5 and set(EVERYTHING) <= set(MODELS)
    assert {"exponential", "sparse", "short_term"} <= set(SYNAPSES)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("forced", [False, True])
def test_every_neuron_passes_finite_differences(name: str, forced: bool) -> None:
    names = check(model_of(name), forced)
    trained = {"tau_mem", "tau_syn", "threshold", "tau_adapt", "a"}
    assert name not in EVERYTHING or sum(key.split("log_")[-1] in trained for key in names) >= 2


@pytest.mark.parametrize("kind", sorted(SYNAPSES))
@pytest.mark.parametrize("dale", [None, DalesLaw((1, -1, 1))])
@pytest.mark.parametrize("forced", [False, True])
def test_every_kind_of_synapse_passes_finite_differences(kind: str, dale: DalesLaw | None, forced: bool) -> None:
    sparse = issubclass(SYNAPSES[kind], SparseSynapses)
    delays = torch.tensor([[1.0, 2, 3], [3, 1, 2], [1, 1, 4]]) * DT
    options: dict[str, Any] = {"release": ShortTermPlasticity(DT, 0.4, 0.02, 0.01)} if "short" in kind else {}
    synapses = SYNAPSES[kind](
        3,
        DT,
        tau=(0.003, 0.01),
        delay=delays if sparse else 2 * DT,
        mask=torch.tensor([[0, 1, 1], [1, 0, 0], [1, 0, 1]], dtype=torch.bool),
        scale=2.0,
        generator=torch.Generator().manual_seed(4),
        trainable=("tau_syn",),
        dale=dale,
        **options,
    )
    check(LIF(3, DT, LIFParameters(refractory=0.0), spike=RELAXED, synapses=synapses).double(), forced)


@pytest.mark.parametrize("signs", [None, (1, -1, 1)])
@pytest.mark.parametrize("kind", ["exponential", "sparse"])
def test_the_soft_law_passes_finite_differences(kind: str, signs: tuple[int, ...] | None) -> None:
    synapses: Any = SYNAPSES[kind](
        3, DT, tau=(0.003,), delay=DT, mask=None, scale=2.0, generator=torch.Generator(), dale=DalesLaw(signs, 0.5)
    )
    weight = synapses.double().weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(Penalty(synapses), {"synapses.weight": w}, ()), (weight,)
    )
    assert synapses.penalty().item() > 0


class Penalty(torch.nn.Module):
    def __init__(self, synapses: Any) -> None:
        super().__init__()
        self.synapses = synapses

    def forward(self) -> Tensor:
        penalty: Tensor = self.synapses.penalty()
        return penalty


def test_a_trained_readout_passes_finite_differences() -> None:
    readout, x = LeakyReadout(3, 2, DT, trainable=("tau",)).double(), draw(1, 9, 3)
    named = dict(readout.named_parameters())

    def run(*values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(readout_runner, dict(zip(keys, values, strict=True)), (x,))
        return out

    readout_runner = Run(readout)
    keys = [f"model.{key}" for key in named]
    assert "log_tau" in named
    assert torch.autograd.gradcheck(run, [p.detach().clone().requires_grad_() for p in named.values()])


class Run(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model.run(x)[0]
        return out
