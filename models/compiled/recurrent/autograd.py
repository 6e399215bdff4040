"""The compiled network as one differentiable operation: threads, memory, and what autograd needs to know."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from organoid.models.compiled.recurrent.arrays import (
    Block,
    Inputs,
    Outputs,
    Rule,
    array,
    block_of,
    constants_of,
    copy_of,
    fresh,
    in_lanes,
    lanes_of,
)
from organoid.models.compiled.recurrent.backward import Backward, Kept, Saved
from organoid.models.compiled.recurrent.cell_step import Draws
from organoid.models.compiled.recurrent.double_backward import once
from organoid.models.compiled.recurrent.event_lists import Marks, grown, list_spikes, room
from organoid.models.compiled.recurrent.forward import Cells, Record, final_traces, run_forward
from organoid.models.compiled.recurrent.short_term import Stores
from organoid.models.compiled.recurrent.threads import in_parallel, parts_of
from organoid.models.surrogate import Surrogate

_LANES = 2048  # copies times units that are advanced together, where a copy alone is not more
_RARE, _SOME = 64, 8  # room to begin with: a spike for so many units and steps, a unit near threshold for so many


def network_pass(inputs: Inputs, rule: Rule, surrogate: Surrogate, *, distance: bool) -> Outputs:
    """Run the network; differentiable once. Distances are of no steps where they are not requested."""
    blocks: list[Block] = []
    spikes, *rest, sent = _Pass.apply(rule, surrogate, distance, blocks, *inputs)  # type: ignore[no-untyped-call]
    if inputs.forced is not None:
        sent = inputs.forced
    elif inputs.missing.numel() == 0:
        sent = spikes
    trace = _Trace.apply(sent, inputs.synapse_decay, rule.delay, blocks)  # type: ignore[no-untyped-call]
    found: Any = (spikes, *rest, sent, trace)
    return Outputs(*found)


def _record(inputs: Inputs, rule: Rule, distance: bool, currents: bool) -> tuple[Tensor, Tensor, Tensor, Record]:
    """Return spikes, distance and what is released as tensors, and the record with them."""
    n_batch, n_steps, n = inputs.x.shape
    dtype = array(inputs.bias).dtype
    spikes = fresh(n_batch, n_steps, n, dtype=dtype)
    gap = fresh(n_batch, n_steps if distance else 0, n, dtype=dtype)
    held = np.empty((n_batch, n_steps if rule.n_refractory else 0, n), np.uint8)
    adaptation = np.empty((n_batch, n_steps if rule.adaptive else 0, n), dtype)
    kept = np.empty((n_batch, inputs.weight.shape[0], n_steps if currents else 0, n), dtype)
    releasing = n_steps if inputs.missing.numel() else 0
    sent = fresh(n_batch, releasing, n, dtype=dtype)
    stores = (np.empty((n_batch, releasing, n), dtype) for _ in range(2))
    return spikes, gap, sent, Record(spikes.numpy(), gap.numpy(), held, adaptation, kept, sent.numpy(), *stores)


def _marks(copies: int, inputs: Inputs, first: int, support: float) -> tuple[Marks, Marks]:
    """Return the spikes that travel, where they are known, and room for other lists."""
    _, n_steps, n = inputs.x.shape
    rows, size, dtype = n_steps * copies, n_steps * copies * n, array(inputs.bias).dtype
    near = room(rows if support >= 0 else 0, size // _SOME if support >= 0 else 0, dtype, values=True)
    if inputs.forced is None:
        return room(rows, size // _RARE, dtype, values=inputs.missing.numel() > 0), near
    sent = array(inputs.forced[first : first + copies])
    spiking = room(rows, int(np.count_nonzero(sent)), dtype, values=True)
    list_spikes(sent, spiking)
    return spiking, near


class _Pass(torch.autograd.Function):
    """Forward pass and exact adjoint, compiled."""

    @staticmethod
    def forward(
        ctx: Any, rule: Rule, surrogate: Surrogate, visible: bool, blocks: list[Block], *tensors: Any
    ) -> tuple[Tensor, ...]:
        inputs = Inputs(*tensors)
        wants, forced = Inputs(*ctx.needs_input_grad[4:]), inputs.forced is not None
        constants = constants_of(inputs, rule)
        names = ("voltage", "refractory", "adaptation", "missing", "facilitation")
        state = [copy_of(getattr(inputs, name)) for name in names]
        releasing = inputs.missing.numel() > 0
        # Units near threshold are listed in the forward pass, unless all are.
        support = surrogate.support if any(wants) and math.isfinite(surrogate.support) else -1.0
        dense = visible or bool(any(wants) and (support < 0 or wants.keep or wants.take))
        spikes, distance, sent, record = _record(inputs, rule, dense, bool(wants.synapse_decay))
        x, bias, weight, inject = (array(t) for t in (inputs.x, inputs.bias, inputs.weight, inputs.inject))
        draws = Draws(array(inputs.stream), float(getattr(surrogate, "slope", 0.0)))

        def work(first: int, last: int) -> None:
            part, copies = slice(first, last), last - first
            *cells, missing, facilitation = (t[part].numpy().reshape(-1) for t in state)
            lanes: Any = (*cells, lanes_of(inputs.current[part]), Stores(missing, facilitation))
            noise, seen, t = draws._replace(stream=draws.stream[part]), block_of(record, first, last), 0
            known = (bias, weight, in_lanes(constants, copies), noise, Cells(*lanes), inject[part])
            spiking, near = _marks(copies, inputs, first, support)
            while (t := run_forward(t, x[part], *known, spiking, forced, near, support, seen)) < n_steps:
                spiking = spiking if forced else grown(spiking, t * copies, copies * n, values=releasing)
                near = grown(near, t * copies, copies * n, values=True) if support >= 0 else near
            blocks.append(Block(first, last, spiking, near))

        n_batch, n_steps, n = inputs.x.shape
        parts = parts_of(n_batch, 1, max(1, _LANES // n), inputs.x.numel())
        in_parallel(work, parts)
        blocks.sort(key=lambda block: block.first)
        needed = (inputs.weight, inputs.synapse_decay, inputs.current, inputs.voltage)
        ctx.save_for_backward(spikes, distance, *needed)
        outside: Any = {
            "spikes": None,
            "distance": None,
            "sent": None,
        }  # outputs: autograd must know that they are kept
        rest = record._replace(**outside)
        ctx.kept = Kept(rule, surrogate, constants, parts, blocks, rest, wants, forced, inject.shape[1])
        ctx.mark_non_differentiable(state[1])
        ctx.set_materialize_grads(False)
        return spikes, distance, *state, sent

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        found = once(Backward(Saved(*ctx.saved_tensors), ctx.kept), grads)
        return None, None, None, None, *found, None, None, None


class _Trace(torch.autograd.Function):
    """What the spikes of a run leave on the presynaptic traces, from their list."""

    @staticmethod
    def forward(ctx: Any, sent: Tensor, decay: Tensor, delay: int, blocks: list[Block]) -> Tensor:
        n_batch, n_steps, n = sent.shape
        ctx.save_for_backward(sent, decay)
        ctx.delay = delay
        trace = torch.zeros(n_batch, decay.numel(), n, dtype=sent.dtype)
        for block in blocks:
            final_traces(n_steps, delay, array(decay), block.spiking, trace[block.first : block.last].numpy())
        return trace

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        sent, decay = ctx.saved_tensors
        early = sent[:, : max(0, sent.shape[1] - ctx.delay)]
        lag = torch.arange(early.shape[1] - 1, -1, -1)
        powers = decay[:, None] ** lag
        g_sent = torch.zeros_like(sent)
        g_sent[:, : early.shape[1]] = torch.einsum("kt,bki->bti", powers, grads[0])
        slopes = lag * decay[:, None] ** (lag - 1).clamp(min=0)
        return g_sent, torch.einsum("kt,bti,bki->k", slopes, early, grads[0]), None, None
