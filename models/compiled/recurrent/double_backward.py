"""Adjoints that have no derivative of their own: a second derivative is an error, not 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from organoid.errors import ModelError

Grads = tuple[Tensor | None, ...]


def once(run: Callable[..., Grads], grads: Grads) -> Grads:
    """Return ``run(*grads)``, the adjoint of a compiled function, within a backward pass."""
    # Something that wants a gradient, so that a second derivative ends here and not in a silent 0.
    wanting = torch.zeros((), requires_grad=True)
    found: Grads = _Once.apply(run, grads, wanting, *(g for g in grads if g is not None))  # type: ignore[no-untyped-call]
    return found


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., Grads], grads: Grads, *_: Tensor) -> Grads:
        return run(*grads)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise ModelError(
            "the compiled network can be differentiated once, and a second derivative was asked for; "
            "run it in `with organoid.models.backend('torch'):`"
        )
