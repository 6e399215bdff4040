r"""A filter whose factor changes from step to step, solved for all steps at once.

.. math:: y[t] = a[t]\,y[t-1] + b[t]

Two neighbouring steps are one step of the same form, :math:`(a_2 a_1,\ a_2 b_1 + b_2)`. Pairs are joined, the filter of
half the length is solved in the same way, and the steps in between follow from it: some :math:`2 \log_2 T` operations
on whole arrays instead of one for each step, and a few times the work of a loop in all. Nothing is divided, so a
factor of 0 or a long decay loses nothing. The way back is a filter of the same kind in reversed time.

References
----------
Blelloch (1990), Prefix sums and their applications, CMU-CS-90-190.
Martin and Cundy (2018), Parallelizing linear recurrent neural nets over sequence length, ICLR.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def affine_scan(factor: Tensor, add: Tensor, initial: Tensor) -> Tensor:
    r"""Filter along axis -2, :math:`y[t] = a[t]\,y[t-1] + b[t]`.

    Parameters
    ----------
    factor : Tensor, shape (..., time, unit)
        :math:`a`, between 0 and 1 for a filter that forgets.
    add : Tensor, shape (..., time, unit)
        :math:`b`.
    initial : Tensor, shape (..., unit)
        :math:`y[-1]`.

    Returns
    -------
    Tensor, shape (..., time, unit)
        :math:`y`. Differentiable in everything, to any order, on any device.
    """
    found: Tensor = _Scan.apply(factor, add, initial)  # type: ignore[no-untyped-call]
    return found


class _Scan(torch.autograd.Function):
    r"""The filter; with :math:`\lambda[t] = \partial L / \partial y[t] + a[t+1] \lambda[t+1]` on the way back."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, add: Tensor, initial: Tensor) -> Tensor:
        first = torch.addcmul(add[..., :1, :], factor[..., :1, :], initial[..., None, :])
        found = _solved(factor, torch.cat([first, add[..., 1:, :]], -2))
        ctx.save_for_backward(factor, initial, found)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        factor, initial, found = ctx.saved_tensors
        later = torch.cat([torch.zeros_like(factor[..., :1, :]), factor.flip(-2)[..., :-1, :]], -2)
        reached = affine_scan(later, grads[0].flip(-2), torch.zeros_like(initial)).flip(-2)
        g_factor = None
        if ctx.needs_input_grad[0]:
            g_factor = reached * torch.cat([initial[..., None, :], found[..., :-1, :]], -2)
        return g_factor, reached, factor[..., 0, :] * reached[..., 0, :]


def _solved(factor: Tensor, add: Tensor) -> Tensor:
    """Return the filter of ``add`` that starts at 0."""
    n_steps = add.shape[-2]
    if n_steps == 1:
        return add
    out, pairs = torch.empty_like(add), slice(0, n_steps // 2 * 2, 2)
    second = factor[..., 1::2, :]
    joined = torch.addcmul(add[..., 1::2, :], second, add[..., pairs, :])
    odd = _solved(second * factor[..., pairs, :], joined)
    out[..., 0, :], out[..., 1::2, :] = add[..., 0, :], odd
    even = slice(2, None, 2)
    out[..., even, :] = torch.addcmul(add[..., even, :], factor[..., even, :], odd[..., : (n_steps - 1) // 2, :])
    return out
