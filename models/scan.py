"""LIF cells over a drive that is known beforehand, compiled, with the exact adjoint of the plain loop.

With teacher forcing nothing a cell emits comes back to it, so a whole window is one call: a compiled loop
forward, and one backward that applies the chain rule of `organoid.models.lif` by hand (resets, refractory hold
and adaptation included). The surrogate enters only as a number per step, so any `Surrogate` works. No double
backward; CPU only. The plain loop is the reference the tests hold this against.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from organoid.models.surrogate import Surrogate
from torch import Tensor

Array = NDArray[np.floating[Any]]


class ScanRule(NamedTuple):
    """The constants of a cell: decays per step, refractory steps, reset."""

    decay: float
    decay_adapt: float
    n_refractory: int
    hard: bool
    detach_reset: bool


def available(drive: Tensor) -> bool:
    """Tell whether the compiled scan can run on this drive."""
    return drive.device.type == "cpu" and drive.dtype in (torch.float32, torch.float64)


@numba.njit(cache=True, nogil=True)
def _forward(
    drive: Array,
    v: Array,
    r: Array,
    a: Array,
    inc: Array,
    decay: float,
    rho: float,
    n_ref: int,
    hard: bool,
    spikes: Array,
    distance: Array,
    trace: Array,
    held: NDArray[np.bool_],
) -> None:
    """Fill spikes, distance, trace and held; advance v, r, a in place."""
    batch, n_steps, n = drive.shape
    zero, one = drive.dtype.type(0), drive.dtype.type(1)
    keep, take = drive.dtype.type(decay), drive.dtype.type(1 - decay)
    fade, full = drive.dtype.type(rho), drive.dtype.type(n_ref)
    for b in range(batch):
        for t in range(n_steps):
            for i in range(n):
                ready = r[b, i] <= 0
                voltage = keep * v[b, i] + take * drive[b, t, i] if ready else v[b, i]
                threshold = one + inc[i] * a[b, i]
                gap = voltage - threshold
                s = one if (ready and gap >= 0) else zero
                trace[b, t, i], distance[b, t, i], spikes[b, t, i] = a[b, i], gap, s
                held[b, t, i] = not ready
                v[b, i] = voltage * (one - s) if hard else voltage - s * threshold
                r[b, i] = full if s > 0 else max(r[b, i] - one, zero)
                a[b, i] = fade * a[b, i] + s


@numba.njit(cache=True, nogil=True)
def _backward(
    g_spikes: Array,
    g_distance: Array,
    slope: Array,
    spikes: Array,
    distance: Array,
    trace: Array,
    held: NDArray[np.bool_],
    inc: Array,
    decay: float,
    rho: float,
    hard: bool,
    detach: bool,
    lv: Array,
    la: Array,
    g_drive: Array,
    g_inc: Array,
) -> None:
    """Run the adjoint; lv and la come in as gradients of the final state and leave as those of the first."""
    batch, n_steps, n = spikes.shape
    zero, one = spikes.dtype.type(0), spikes.dtype.type(1)
    keep, take, fade = spikes.dtype.type(decay), spikes.dtype.type(1 - decay), spikes.dtype.type(rho)
    for b in range(batch):
        for t in range(n_steps - 1, -1, -1):
            for i in range(n):
                s, threshold = spikes[b, t, i], one + inc[i] * trace[b, t, i]
                voltage = distance[b, t, i] + threshold
                ds = g_spikes[b, t, i] + la[b, i]
                if not detach:
                    ds -= lv[b, i] * (voltage if hard else threshold)
                gap = g_distance[b, t, i]
                if not held[b, t, i]:
                    gap += slope[b, t, i] * ds
                dv = gap + lv[b, i] * (one - s if hard else one)
                d_threshold = -gap - (zero if hard else lv[b, i] * s)
                g_inc[b, i] += d_threshold * trace[b, t, i]
                la[b, i] = fade * la[b, i] + d_threshold * inc[i]
                g_drive[b, t, i] = zero if held[b, t, i] else take * dv
                lv[b, i] = dv if held[b, t, i] else keep * dv


class _Scan(torch.autograd.Function):
    """The compiled scan as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, v: Tensor, r: Tensor, a: Tensor, inc: Tensor, rule: ScanRule, surrogate: Surrogate
    ) -> tuple[Tensor, ...]:
        drive = drive.contiguous()
        spikes, distance, trace = (torch.empty_like(drive) for _ in range(3))
        held = torch.empty_like(drive, dtype=torch.bool)
        v, r, a = v.clone(), r.clone(), a.clone()
        fixed = (rule.decay, rule.decay_adapt, rule.n_refractory, rule.hard)
        arrays = [t.numpy() for t in (drive, v, r, a, inc.detach())]
        forward: Any = _forward
        forward(*arrays, *fixed, *(t.numpy() for t in (spikes, distance, trace, held)))
        ctx.save_for_backward(spikes, distance, trace, held, inc)
        ctx.rule, ctx.surrogate = rule, surrogate
        ctx.mark_non_differentiable(r)
        return spikes, distance, v, r, a

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        spikes, distance, trace, held, inc = ctx.saved_tensors
        g_spikes, g_distance, lv, _, la = (g.contiguous() for g in grads)
        lv, la = lv.clone(), la.clone()
        slope = ctx.surrogate.derivative(distance)
        g_drive, g_inc = torch.empty_like(spikes), torch.zeros_like(lv)
        rule = ctx.rule
        arrays = [t.numpy() for t in (g_spikes, g_distance, slope, spikes, distance, trace, held, inc.detach())]
        fixed = (rule.decay, rule.decay_adapt, rule.hard, rule.detach_reset)
        backward: Any = _backward
        backward(*arrays, *fixed, *(t.numpy() for t in (lv, la, g_drive, g_inc)))
        return g_drive, lv, None, la, g_inc.sum(0), None, None


def scan(
    drive: Tensor,
    voltage: Tensor,
    refractory: Tensor,
    adaptation: Tensor,
    increment: Tensor,
    rule: ScanRule,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Advance cells over a known drive.

    Parameters
    ----------
    drive : Tensor, shape (batch, time, unit)
        Input, thresholds.
    voltage, refractory, adaptation : Tensor, shape (batch, unit)
        State: potential after reset (thresholds), refractory steps left, adaptation trace (spikes).
    increment : Tensor, shape (unit,)
        Rise of the threshold per spike, thresholds; 0 for cells without adaptation.
    rule : ScanRule
        Constants of the cell.
    surrogate : Surrogate
        Source of the derivative of a spike.

    Returns
    -------
    tuple of Tensor
        Spikes and distance to threshold, (batch, time, unit); voltage, refractory, adaptation, (batch, unit).
    """
    out = _Scan.apply(drive, voltage, refractory, adaptation, increment, rule, surrogate)  # type: ignore[no-untyped-call]
    spikes, distance, voltage, refractory, adaptation = out
    return spikes, distance, voltage, refractory, adaptation
