"""Compiled release by presynaptic units that depress and facilitate, and its exact adjoint; `ShortTermPlasticity`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.jit import kernel
from organoid.models.compiled.recurrent.double_backward import once
from organoid.models.compiled.recurrent.event_lists import Array, part

Numbers = NDArray[np.floating[Any]]


class Stores(NamedTuple):
    """Resources missing and what is left of past use, or their gradients; (lane,), of no lanes without release."""

    missing: Array
    facilitation: Array


@part
def release(numbers: Numbers, spikes: Array, stores: Stores, sent: Array) -> None:
    """Write what the spikes of a step release, and advance the stores.

    Parameters
    ----------
    numbers : ndarray, shape (3,)
        Use, what is left of the missing resources after a step, what is left of the facilitation.
    """
    use, recover, fall = numbers[0], numbers[1], numbers[2]
    one, m, f = spikes.dtype.type(1), stores.missing, stores.facilitation
    for i in range(spikes.size):
        u = use + (one - use) * f[i]
        out = spikes[i] * u * (one - m[i])
        m[i] = recover * (m[i] + out)
        f[i] = fall * (f[i] + spikes[i] * (u - f[i]))
        sent[i] = out / use


@part
def release_back(
    numbers: Numbers, spikes: Array, before: Stores, g_sent: Array, carried: Stores, g_spikes: Array
) -> None:
    """Write the gradient of a step's spikes from that of what they released; take ``carried`` a step back."""
    use, recover, fall = numbers[0], numbers[1], numbers[2]
    one, lm, lf = spikes.dtype.type(1), carried.missing, carried.facilitation
    for i in range(spikes.size):
        z, m, f = spikes[i], before.missing[i], before.facilitation[i]
        u, later = use + (one - use) * f, fall * lf[i]
        out = g_sent[i] / use + recover * lm[i]
        g_spikes[i] = out * u * (one - m) + later * (u - f)
        lm[i] = recover * lm[i] - out * z * u
        lf[i] = later * (one - z) + (one - use) * z * (later + out * (one - m))


@kernel(nogil=True)
def run_release(numbers: Numbers, spikes: Array, stores: Stores, before: Stores, sent: Array) -> None:
    """Release on known spikes (time, lane); ``before`` gets the stores of each step, ``sent`` what is released."""
    for t in range(spikes.shape[0]):
        for i in range(spikes.shape[1]):
            before.missing[t, i], before.facilitation[t, i] = stores.missing[i], stores.facilitation[i]
        release(numbers, spikes[t], stores, sent[t])


@kernel(nogil=True)
def run_release_back(
    numbers: Numbers, spikes: Array, before: Stores, g_sent: Array, carried: Stores, g_spikes: Array
) -> None:
    """Go back through `run_release`."""
    for t in range(spikes.shape[0] - 1, -1, -1):
        now = Stores(before.missing[t], before.facilitation[t])
        release_back(numbers, spikes[t], now, g_sent[t], carried, g_spikes[t])


def released(spikes: Tensor, missing: Tensor, facilitation: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor]:
    """Return what known spikes release, and the stores after them; differentiable once.

    Parameters
    ----------
    spikes : Tensor, shape (batch, time, unit)
    missing, facilitation : Tensor, shape (batch, unit)
        Stores before the first step.
    numbers : ndarray, shape (3,)
        See `release`; in the precision of the spikes.
    """
    found: tuple[Tensor, Tensor, Tensor] = _Released.apply(spikes, missing, facilitation, numbers)  # type: ignore[no-untyped-call]
    return found


def _lanes(values: Tensor) -> Any:
    """Return (batch, time, unit) as a new or shared array (time, lane)."""
    return values.detach().transpose(0, 1).reshape(values.shape[1], -1).contiguous().numpy()


def _copies(lanes: Any, like: Tensor) -> Tensor:
    """Return an array (time, lane) as a tensor (batch, time, unit)."""
    n_batch, n_steps, n = like.shape
    return torch.from_numpy(lanes).reshape(n_steps, n_batch, n).transpose(0, 1)


class _Released(torch.autograd.Function):
    """Release on known spikes, and its adjoint, compiled."""

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, missing: Tensor, facilitation: Tensor, numbers: Numbers
    ) -> tuple[Tensor, ...]:
        z = _lanes(spikes)
        end = Stores(*(t.detach().reshape(-1).clone().numpy() for t in (missing, facilitation)))
        before, sent = Stores(np.empty_like(z), np.empty_like(z)), np.empty_like(z)
        run_release(numbers, z, end, before, sent)
        ctx.save_for_backward(spikes)
        ctx.before, ctx.numbers = before, numbers
        return _copies(sent, spikes), *(torch.from_numpy(values).reshape(missing.shape) for values in end)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (spikes,) = ctx.saved_tensors

        def run(g_sent: Tensor, *g_stores: Tensor) -> tuple[Tensor, ...]:
            carried = Stores(*(g.detach().reshape(-1).clone().numpy() for g in g_stores))
            g_spikes = np.empty_like(ctx.before.missing)
            run_release_back(ctx.numbers, _lanes(spikes), ctx.before, _lanes(g_sent), carried, g_spikes)
            return _copies(g_spikes, spikes), *(torch.from_numpy(g).reshape(g_stores[0].shape) for g in carried)

        return *once(run, grads), None
