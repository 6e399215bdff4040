"""`check_model`: run a model against every rule of the model contract."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.states import flat, mapped, tensors

if TYPE_CHECKING:
    from organoid.models.contracts import SpikingModel

_BATCH, _STEPS, _SPLIT = 3, 24, 9


def check_model(model: SpikingModel, *, seed: int = 0) -> None:
    """Check that a model keeps the contract of `organoid.models.contracts`.

    The rules, in the order they are checked: ``n_units`` and ``dt`` make sense; states and spikes have the shapes
    promised; everything is finite; a step leaves the state it was given alone; the same input gives the same
    output; copies in a batch do not influence each other; ``run`` equals step by step; a run in two parts equals
    the whole; for trainable models, the gradient reaches every parameter.

    Parameters
    ----------
    model : SpikingModel
        Any model; a `TrainableModel` is checked for its gradient as well.
    seed : int
        Seed of the random input.

    Raises
    ------
    ModelError
        Naming the first rule that is broken and what was seen.

    Examples
    --------
    >>> import organoid
    >>> organoid.check_model(organoid.models.LIF(4, 0.001))  # raises where a rule is broken
    """
    _check_attributes(model)
    x = _input(model, seed)
    _check_shapes(model, x)
    _check_purity(model, x)
    _check_batch(model, x)
    _check_run(model, x)
    if hasattr(model, "trajectory"):
        _check_forced(model, x, seed)
        _check_gradient(model, x, seed)


def _broken(rule: str, seen: str) -> ModelError:
    return ModelError(f"model breaks the rule '{rule}': {seen}")


def _input(model: SpikingModel, seed: int) -> Tensor:
    """Draw input strong enough to make some units spike and some not."""
    like = next((t for t in tensors(model.initial_state(1)) if t.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    x = 1 + 3 * torch.randn(_BATCH, _STEPS, model.n_units, generator=generator, dtype=torch.float64)
    return x.to(like)


def _check_attributes(model: SpikingModel) -> None:
    if not isinstance(model.n_units, int) or model.n_units < 1:
        raise _broken("n_units is a positive integer", f"{model.n_units!r}")
    if not (isinstance(model.dt, float) and math.isfinite(model.dt) and model.dt > 0):
        raise _broken("dt is a positive number of seconds", f"{model.dt!r}")


def _check_shapes(model: SpikingModel, x: Tensor) -> None:
    state = model.initial_state(_BATCH)
    if any(t.ndim == 0 or t.shape[0] != _BATCH for t in tensors(state)):
        shapes = [tuple(t.shape) for t in tensors(state)]
        raise _broken("states are batch first", f"initial_state({_BATCH}) holds tensors of shape {shapes}")
    spikes, after = model.step(x[:, 0], state)
    if spikes.shape != (_BATCH, model.n_units):
        raise _broken("step returns spikes (batch, unit)", f"{tuple(spikes.shape)} for input {tuple(x[:, 0].shape)}")
    if [t.shape for t in tensors(after)] != [t.shape for t in tensors(state)]:
        raise _broken("the state keeps its shape", "step returned a state of other shapes")
    spikes, after = model.run(x)
    if spikes.shape != x.shape:
        raise _broken("run returns spikes (batch, time, unit)", f"{tuple(spikes.shape)} for {tuple(x.shape)}")
    if not all(bool(torch.isfinite(t).all()) for t in [spikes, *tensors(after)]):
        raise _broken("everything is finite", "a run of random input ended in NaN or infinity")


def _check_purity(model: SpikingModel, x: Tensor) -> None:
    _, state = model.run(x[:, :_SPLIT])
    before = [t.detach().clone() for t in tensors(state)]
    first = model.step(x[:, _SPLIT], state)
    if not _same(before, tensors(state)):
        raise _broken("a step leaves the state it was given alone", "the state passed in has changed")
    second = model.step(x[:, _SPLIT], state)
    if not _same(tensors(first), tensors(second)):
        raise _broken("the same input gives the same output", "two steps from one state differ")


def _check_batch(model: SpikingModel, x: Tensor) -> None:
    state = model.initial_state(_BATCH)
    together, _ = model.run(x, state)
    alone, _ = model.run(x[1:2], mapped(lambda part: part[1:2], state))
    if not _close([together[1:2]], [alone]):
        raise _broken("copies in a batch are independent", "a copy run alone differs from the same copy in a batch")


def _check_run(model: SpikingModel, x: Tensor) -> None:
    whole, end = model.run(x)
    state, spikes = model.initial_state(_BATCH), []
    for t in range(_STEPS):
        out, state = model.step(x[:, t], state)
        spikes.append(out)
    if not _close([whole, *tensors(end)], [torch.stack(spikes, 1), *tensors(state)]):
        raise _broken("run equals step by step", "spikes or final states differ")
    first, middle = model.run(x[:, :_SPLIT])
    second, state = model.run(x[:, _SPLIT:], middle)
    if not _close([whole, *tensors(end)], [torch.cat([first, second], 1), *tensors(state)]):
        raise _broken("a run in two parts equals the whole", "spikes or final states differ")


def _check_forced(model: Any, x: Tensor, seed: int) -> None:
    free = model.trajectory(x)
    if not _close([free.spikes, *tensors(free.state)], flat(model.run(x))):
        raise _broken("trajectory equals run", "spikes or final states differ")
    again = model.trajectory(x, forced=free.spikes.detach())
    if not _close([free.spikes, free.logits], [again.spikes, again.logits]):
        raise _broken("forcing a model with its own spikes changes nothing", "spikes or logits differ")
    generator = torch.Generator().manual_seed(seed)
    forced = (torch.rand(x.shape, generator=generator) < 0.2).to(x)
    whole = model.trajectory(x, forced=forced)
    first = model.trajectory(x[:, :_SPLIT], forced=forced[:, :_SPLIT])
    second = model.trajectory(x[:, _SPLIT:], first.state, forced=forced[:, _SPLIT:])
    if not _close(
        [whole.spikes, *tensors(whole.state)], [torch.cat([first.spikes, second.spikes], 1), *tensors(second.state)]
    ):
        raise _broken("a run in two parts equals the whole", "forced spikes or final states differ")


def _check_gradient(model: Any, x: Tensor, seed: int) -> None:
    noise = model.noise(_BATCH, _STEPS, torch.Generator().manual_seed(seed))
    out = model.trajectory(x + noise)
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    grads = torch.autograd.grad((out.spikes * weights).sum(), [p for _, p in named], allow_unused=True)
    for (name, _), grad in zip(named, grads, strict=True):
        if grad is None or not bool(grad.any()):
            raise _broken("the gradient reaches every parameter", f"none arrives at {name!r}")
        if not bool(torch.isfinite(grad).all()):
            raise _broken("everything is finite", f"the gradient of {name!r} holds NaN or infinity")


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def _close(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.allclose(p, q, rtol=1e-4, atol=1e-5) for p, q in zip(a, b, strict=True))
