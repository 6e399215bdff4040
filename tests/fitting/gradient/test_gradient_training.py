"""Options of the descent: truncated gradients, recomputed activations, clipped norms."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from organoid.errors import FitError
from organoid.fitting.data.windows import split_windows
from organoid.fitting.gradient import training as gradient_training
from organoid.fitting.gradient.training import in_pieces
from organoid.fitting.methods.gradient import GradientSettings, fit_gradient
from organoid.models import LIF, MODELS, LIFParameters
from organoid.models.neurons.escape_noise_lif import seeded_state

DT = 0.002
COUNTS = (np.random.default_rng(0).random((1000, 3)) < 0.1).astype(int)


def given(n_steps: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 1.5 + 3 * torch.randn(4, n_steps, 3, generator=generator, dtype=torch.float64)
    return x, (torch.rand(4, n_steps, 3, generator=generator) < 0.2).double()


def network(name: str) -> Any:
    model: Any = MODELS[name](3, DT, seed=1)
    return model.double()


def gradients(model: Any, truncate: int | None, checkpointed: int | None) -> list[Tensor]:
    """Outputs, and gradients of a loss that reads all of them."""
    x, forced = given()
    state = seeded_state(model, 4, torch.Generator().manual_seed(2))
    out = in_pieces(model, x, state, forced, truncate, checkpointed)
    weights = torch.linspace(-1, 1, out.spikes.numel(), dtype=torch.float64).reshape(out.spikes.shape)
    value = (out.spikes * weights).sum() + (out.logits * weights.flip(1)).sum()
    named = list(model.parameters())
    found = torch.autograd.grad(value, named, allow_unused=True)
    return [
        out.spikes,
        out.logits,
        *(torch.zeros_like(p) if g is None else g for p, g in zip(named, found, strict=True)),
    ]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_checkpointing_gives_the_same_gradient(name: str) -> None:
    model = network(name)
    plain = gradients(model, None, None)
    for checkpointed in (1, 7, 30, 99):
        torch.testing.assert_close(gradients(model, None, checkpointed), plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_truncation_at_the_full_length_is_no_truncation(name: str) -> None:
    model = network(name)
    plain, full, short = (gradients(model, k, None) for k in (None, 30, 6))
    assert all(torch.equal(a, b) for a, b in zip(plain, full, strict=True))
    torch.testing.assert_close(short[:2], plain[:2], rtol=1e-9, atol=1e-11)  # values stay
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(short[2:], plain[2:], strict=True))
    torch.testing.assert_close(gradients(model, 6, 2), short, rtol=1e-9, atol=1e-11)


def test_a_truncated_gradient_reaches_back_to_the_cut_and_no_further() -> None:
    # Without reset or refractoriness the last potential depends on all earlier input.
    p = LIFParameters(tau_mem=0.1, refractory=0.0, weight_scale=0.0)
    model, (x, forced) = LIF(3, DT, p).double(), given()
    x = (-x.abs()).requires_grad_()
    out = in_pieces(model, x, model.initial_state(4), forced, 12, None)
    (grad,) = torch.autograd.grad(out.logits[:, -1].sum(), x)
    reached = grad.abs().sum((0, 2)) > 0
    assert reached.tolist() == [False] * 24 + [True] * 6


def test_checkpointing_keeps_less() -> None:
    x, forced = given(200)
    kept: dict[int | None, int] = {}
    for checkpointed in (None, 20):
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        model = network("adex")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            in_pieces(model, x, model.initial_state(4), forced, None, checkpointed)
        kept[checkpointed] = total
    assert kept[20] < 0.2 * kept[None]


class Watched(torch.optim.Adam):
    """Remembers how large the gradients were that it was given."""

    norms: ClassVar[list[float]] = []

    def step(self, *args: Any, **other: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.norms.append(torch.stack([g.norm() for g in grads]).norm().item())
        return super().step(*args, **other)


def test_clipping_bounds_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_training.torch.optim, "Adam", Watched)
    norms = {}
    for clip in (1e9, 0.01):
        monkeypatch.setattr(Watched, "norms", [])
        brief = GradientSettings(n_steps=5, batch=8, window=0.1, warmup=0.05, clip=clip, free_run=False)
        fit_gradient(COUNTS, bin_width=DT, settings=brief, progress=False)
        norms[clip] = Watched.norms
    assert min(norms[1e9]) > 0.02
    assert max(norms[0.01]) <= 0.01 * (1 + 1e-5)


def test_options_reach_the_fit() -> None:
    def fitted(**options: Any) -> list[Tensor]:
        brief = GradientSettings(n_steps=4, batch=8, window=0.1, warmup=0.05, **options, free_run=False)
        return list(fit_gradient(COUNTS, model="adex", bin_width=DT, settings=brief, progress=False).model.parameters())

    plain = fitted()
    torch.testing.assert_close(fitted(checkpoint=0.02), plain, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(fitted(truncate=0.1), plain, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(fitted(truncate=0.01), plain, strict=True))


@pytest.mark.parametrize("wrong", [{"truncate": 0.0}, {"checkpoint": -0.1}])
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(FitError, match="positive"):
        GradientSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "reads"), [("lif", "spikes"), ("escape_lif", "spikes"), ("lif", "logits")])
def test_models_by_name_start_at_the_recorded_rates(name: str, reads: Any) -> None:
    wanted = np.array([0.01, 0.05, 0.2])
    counts = torch.from_numpy((np.random.default_rng(0).random((3000, 3)) < wanted).astype(np.uint8))
    windows = split_windows(counts, np.ones(3000, dtype=bool), held_out=0.2, warmup=20, length=60)
    model: Any = MODELS[name](3, 0.004, seed=0)
    gradient_training.match_rates(model, reads, windows, 0)
    assert model.bias.requires_grad
    starts = windows.training_starts[::20]
    spikes = windows.cut(starts)
    with torch.no_grad():
        x = model.noise(len(starts), 80, torch.Generator().manual_seed(5))
        out = model.trajectory(x, forced=spikes)
    found = torch.sigmoid(out.logits) if reads == "logits" else out.spikes
    np.testing.assert_allclose(found[:, 20:].mean((0, 1)), wanted, rtol=0.25, atol=0.004)


def test_a_model_given_starts_as_it_is() -> None:
    model = LIF(3, DT, seed=1)
    with torch.no_grad():
        model.bias.fill_(0.77)
    still = GradientSettings(n_steps=1, batch=4, window=0.1, warmup=0.05, learning_rate=1e-9, free_run=False)
    fitted: Any = fit_gradient(COUNTS, model=model, bin_width=DT, settings=still, progress=False).model
    torch.testing.assert_close(fitted.bias, model.bias)
