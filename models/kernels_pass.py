"""The compiled network as one differentiable operation: threads, memory, and what autograd needs to know."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from organoid.models.kernels_adjoint import Adjoint, Near, Sums, list_near, run_adjoint, run_weights
from organoid.models.kernels_forward import (
    Cells,
    Constants,
    Draws,
    Events,
    Record,
    final_traces,
    list_events,
    run_forward,
)
from organoid.models.surrogate import Surrogate
from torch import Tensor

from organoid.errors import ModelError

_SMALL = 50_000  # copies x steps x units below which a second thread costs more than it saves
_LANES = 1024  # copies times units that are advanced together, where a copy alone is not more
_COLUMNS = 64  # fewest targets whose weights are worth a thread
_NEAR = 32_768  # units near threshold handled at once; torch does not start threads of its own below

_pool: list[ThreadPoolExecutor] = []
# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pool.clear)


class Rule(NamedTuple):
    """What is fixed: steps of refractoriness and of delay, reset, whether the threshold adapts."""

    n_refractory: int
    delay: int
    hard: bool
    detach_reset: bool
    adaptive: bool


class Inputs(NamedTuple):
    """Everything the network is differentiable in, then what it is not.

    Parameters
    ----------
    x : Tensor, shape (batch, time, unit)
    bias, keep, take, threshold, increment, fade : Tensor, shape (unit,)
        See `organoid.models.kernels_forward.Constants`.
    weight : Tensor, shape (tau, pre, post)
    synapse_decay : Tensor, shape (tau,)
    voltage, adaptation : Tensor, shape (batch, unit)
    current : Tensor, shape (batch, tau, unit)
        Currents before the first step.
    inject : Tensor, shape (batch, step, tau, unit)
        Currents that arrive in the first steps from spikes before the run.
    refractory : Tensor, shape (batch, unit)
        Refractory steps left.
    stream : Tensor of int64, shape (batch, 2) or (0, 2)
        Stream and step of the draws where spikes are drawn.
    forced : Tensor, shape (batch, time, unit), or None
        Spikes that travel along the synapses instead of the network's own.
    """

    x: Tensor
    bias: Tensor
    keep: Tensor
    take: Tensor
    threshold: Tensor
    increment: Tensor
    fade: Tensor
    weight: Tensor
    synapse_decay: Tensor
    voltage: Tensor
    adaptation: Tensor
    current: Tensor
    inject: Tensor
    refractory: Tensor
    stream: Tensor
    forced: Tensor | None


class Saved(NamedTuple):
    """Tensors that the way back needs; see `Inputs` and `Outputs`."""

    spikes: Tensor
    distance: Tensor
    weight: Tensor
    synapse_decay: Tensor
    current: Tensor
    voltage: Tensor


class Outputs(NamedTuple):
    """Spikes and distance (batch, time, unit), state (batch, unit), traces that spikes left (batch, tau, unit)."""

    spikes: Tensor
    distance: Tensor
    voltage: Tensor
    refractory: Tensor
    adaptation: Tensor
    trace: Tensor


def network_pass(inputs: Inputs, rule: Rule, surrogate: Surrogate) -> Outputs:
    """Run the network; differentiable once."""
    events = _events(inputs.x, inputs.forced is not None)
    spikes, *rest = _Pass.apply(rule, surrogate, events, *inputs)  # type: ignore[no-untyped-call]
    sent = spikes if inputs.forced is None else inputs.forced
    trace = _Trace.apply(sent, inputs.synapse_decay, rule.delay, events)  # type: ignore[no-untyped-call]
    found: Any = (spikes, *rest, trace)
    return Outputs(*found)


def _in_parallel(work: Callable[[int, int], object], n: int, smallest: int, largest: int, size: int) -> None:
    """Call ``work(first, last)`` on parts of ``range(n)``, on as many threads as torch may use.

    Parameters
    ----------
    work : callable
        Takes the bounds of a part; parts do not depend on each other.
    n : int
        How much there is to do.
    smallest, largest : int
        Fewest to give a thread, most to do at once.
    size : int
        Copies times steps times units: whether threads are worth while.
    """

    def piecewise(first: int, last: int) -> None:
        for start in range(first, last, largest):
            work(start, min(start + largest, last))

    n_parts = min(torch.get_num_threads(), n // smallest) if size >= _SMALL else 1
    if n_parts <= 1:
        piecewise(0, n)
        return
    if not _pool:
        _pool.append(ThreadPoolExecutor(os.cpu_count(), "organoid"))
    edges = [n * k // n_parts for k in range(n_parts + 1)]
    rest = [_pool[0].submit(piecewise, a, b) for a, b in pairwise(edges[1:])]
    piecewise(edges[0], edges[1])
    for part in rest:
        part.result()


def _array(tensor: Tensor) -> Any:
    return tensor.detach().contiguous().numpy()


def _constants(inputs: Inputs, rule: Rule) -> Constants:
    names = ("keep", "take", "threshold", "increment", "fade", "synapse_decay")
    arrays = [_array(getattr(inputs, name)) for name in names]
    values: Any = (*arrays, rule.n_refractory, rule.delay, rule.hard, rule.adaptive, rule.detach_reset)
    return Constants(*values)


def _in_lanes(c: Constants, copies: int) -> Constants:
    """Return the constants of units for each of several copies side by side."""
    names = ("keep", "take", "threshold", "increment", "fade")
    tiled: Any = {name: np.tile(getattr(c, name), copies) for name in names}
    return c._replace(**tiled)


def _block(arrays: Any, first: int, last: int) -> Any:
    """Return some copies of events or of a record."""
    return type(arrays)(*(array[first:last] for array in arrays))


def _events(x: Tensor, forced: bool) -> Events:
    """Return room for a spike of every unit in every step; what is never written is never backed by memory."""
    n_batch, n_steps, n = x.shape
    amount = np.empty((n_batch, n_steps * n if forced else 0), x.new_empty(0).numpy().dtype)
    bounds = np.zeros((n_batch, n_steps + 1), np.int64)
    return Events(np.empty((n_batch, n_steps * n), np.int32), amount, bounds)


def _record(inputs: Inputs, rule: Rule, currents: bool) -> tuple[Tensor, Tensor, Record]:
    """Return spikes and distance as tensors, and the record with them."""
    x = inputs.x
    n_batch, n_steps, n = x.shape
    dtype = _array(inputs.bias).dtype
    spikes, distance = torch.empty(x.shape, dtype=x.dtype), torch.empty(x.shape, dtype=x.dtype)
    held = np.empty((n_batch, n_steps if rule.n_refractory else 0, n), np.uint8)
    adaptation = np.empty((n_batch, n_steps if rule.adaptive else 0, n), dtype)
    kept = np.empty((n_batch, inputs.weight.shape[0], n_steps if currents else 0, n), dtype)
    return spikes, distance, Record(spikes.numpy(), distance.numpy(), held, adaptation, kept)


class _Pass(torch.autograd.Function):
    """Forward pass and exact adjoint, compiled."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, surrogate: Surrogate, events: Events, *tensors: Any) -> tuple[Tensor, ...]:
        inputs = Inputs(*tensors)
        constants, forced = _constants(inputs, rule), inputs.forced is not None
        state = [_copy(t) for t in (inputs.voltage, inputs.refractory, inputs.adaptation)]
        wants = Inputs(*ctx.needs_input_grad[3:])
        spikes, distance, record = _record(inputs, rule, bool(wants.synapse_decay))
        x, bias, weight, inject = (_array(t) for t in (inputs.x, inputs.bias, inputs.weight, inputs.inject))
        draws = Draws(_array(inputs.stream), float(getattr(surrogate, "slope", 0.0)))
        sent = None if inputs.forced is None else _array(inputs.forced)

        def work(first: int, last: int) -> None:
            part = slice(first, last)
            numbers, sending = _in_lanes(constants, last - first), _block(events, first, last)
            lanes: Any = (*(t[part].numpy().reshape(-1) for t in state), _lanes(inputs.current[part]))
            noise, seen = draws._replace(stream=draws.stream[part]), _block(record, first, last)
            if sent is not None:
                list_events(sent[part], sending)
            run_forward(x[part], bias, weight, numbers, noise, Cells(*lanes), inject[part], sending, forced, seen)

        n_batch, _, n = inputs.x.shape
        _in_parallel(work, n_batch, 1, max(1, _LANES // n), inputs.x.numel())
        voltage, refractory, adaptation = state
        needed = (inputs.weight, inputs.synapse_decay, inputs.current, inputs.voltage)
        ctx.save_for_backward(spikes, distance, *needed)
        outside: Any = {"spikes": None, "distance": None}  # outputs: autograd must know that they are kept
        rest = record._replace(**outside)
        ctx.held = (rule, surrogate, constants, events, rest, wants, forced, inject.shape[1])
        ctx.mark_non_differentiable(refractory)
        ctx.set_materialize_grads(False)
        return spikes, distance, voltage, refractory, adaptation

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        run = _Backward(Saved(*ctx.saved_tensors), *ctx.held)
        # Something that wants a gradient, so that whoever asks for a second derivative gets here and not a silent 0.
        wanting = torch.zeros((), requires_grad=True)
        found = _Once.apply(run, grads, wanting, *(g for g in grads if g is not None))  # type: ignore[no-untyped-call]
        return None, None, None, *found, None, None, None


class _Once(torch.autograd.Function):
    """The adjoint, which has no derivative of its own."""

    @staticmethod
    def forward(ctx: Any, run: _Backward, grads: tuple[Tensor | None, ...], *_: Tensor) -> tuple[Tensor | None, ...]:
        return run(*grads)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise ModelError(
            "the compiled network can be differentiated once, and a second derivative was asked for; "
            "run it in `with organoid.models.backend('torch'):`"
        )


class _Backward:
    """One backward pass."""

    def __init__(
        self,
        saved: Saved,
        rule: Rule,
        surrogate: Surrogate,
        constants: Constants,
        events: Events,
        rest: Record,
        wants: Inputs,
        forced: bool,
        n_early: int,
    ) -> None:
        self.saved, self.rule, self.surrogate, self.constants, self.events = saved, rule, surrogate, constants, events
        self.wants, self.forced, self.n_early = wants, forced, n_early
        self.record = rest._replace(spikes=_array(saved.spikes), distance=_array(saved.distance))

    def __call__(
        self,
        g_spikes: Tensor | None,
        g_distance: Tensor | None,
        g_voltage: Tensor | None,
        g_refractory: Tensor | None,
        g_adaptation: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradient of every input up to ``inject``, in their order."""
        saved, n_tau = self.saved, self.saved.weight.shape[0]
        n_batch, _, n = saved.spikes.shape
        zeros, empty, dtype = saved.voltage.new_zeros, saved.voltage.new_empty, saved.voltage.dtype
        g_drive, g_inject = empty(saved.spikes.shape), zeros(n_batch, self.n_early, n_tau, n)
        lv, la = (zeros(n_batch, n) if g is None else _copy(g) for g in (g_voltage, g_adaptation))
        g_current = zeros(n_batch, n_tau, n)
        outside = [_array(empty(n_batch, 0, n) if g is None else g) for g in (g_spikes, g_distance)]
        sums = self._sums(n_batch, n)
        self._cells(outside, (lv.numpy(), la.numpy()), [t.numpy() for t in (g_drive, g_inject, g_current)], sums)
        g_weight, g_bias, g_decay = self._targets(g_drive.numpy())
        threshold, increment, fade, keep, take = (torch.from_numpy(s.sum(0)).to(dtype) for s in sums)
        g_current *= saved.synapse_decay.detach()[:, None]
        cells = (keep, take, threshold, increment, fade)
        found = (g_drive, g_bias, *cells, g_weight, g_decay, lv, la, g_current, g_inject)
        return tuple(g if want else None for g, want in zip(found, self.wants, strict=False))

    def _sums(self, n_batch: int, n: int) -> Sums:
        wants = self.wants
        cell, decay = self.rule.adaptive or wants.threshold, wants.keep or wants.take
        return Sums(*(np.zeros((n_batch if wanted else 0, n)) for wanted in (cell, cell, cell, decay, decay)))

    def _cells(self, outside: list[Any], carried: tuple[Any, Any], out: list[Any], sums: Sums) -> None:
        """Go back through time, copies in parallel; fills everything but the gradients of weights."""
        n_batch, n_steps, n = self.record.spikes.shape
        weight, initial = _array(self.saved.weight), _array(self.saved.voltage)
        n_tau, dtype = weight.shape[0], weight.dtype

        def work(first: int, last: int) -> None:
            part, copies = slice(first, last), last - first
            stop, room = n_steps, max(_NEAR, copies * n)
            bounds = np.empty(n_steps * copies + 1, np.int64)
            near = Near(np.empty(room, np.int32), np.empty(room, dtype), bounds)
            record, numbers = _block(self.record, first, last), _in_lanes(self.constants, copies)
            g_spikes, g_distance = (g[part] for g in outside)
            ring = np.zeros((self.rule.delay, n_tau, copies * n), dtype)
            lanes: Any = (*(g[part].reshape(-1) for g in carried), ring)
            adjoint = Adjoint(*lanes)
            g_drive, g_inject, g_current = (g[part] for g in out)
            total = Sums(*(s[part].reshape(-1) for s in sums))
            while stop > 0:
                start, count = list_near(stop, self.surrogate.support, record, near)
                slope = self._slope(near.distance[:count])
                given = (weight, numbers, near, slope, g_spikes, g_distance, record, initial[part].reshape(-1))
                run_adjoint(start, stop, *given, self.forced, adjoint, g_drive, g_inject, total)
                stop = start
            g_current[:] = ring[0].reshape(n_tau, copies, n).transpose(1, 0, 2)

        # Rows of weights are used again soon: by the same copy if few are, by the next copy if all are.
        few = math.isfinite(self.surrogate.support)
        _in_parallel(work, n_batch, 1, max(1, _LANES // n) if few else n_batch, self.record.spikes.size)

    def _slope(self, distance: Any) -> Any:
        with torch.no_grad():
            return self.surrogate.derivative(torch.from_numpy(distance)).contiguous().numpy()

    def _targets(self, g_drive: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of weights, biases and synaptic decays, targets in parallel."""
        weight, n = self.saved.weight, g_drive.shape[2]
        wanted = bool(self.wants.weight)
        g_weight = torch.zeros(weight.shape if wanted else (0, 0, 0), dtype=weight.dtype)
        g_bias, g_decay = np.zeros(n), np.zeros((weight.shape[0], n))
        given = (self.constants, self.events, g_drive, self.record.currents, _array(self.saved.current))

        def work(first: int, last: int) -> None:
            run_weights(first, last, *given, g_weight.numpy(), g_bias, g_decay)

        _in_parallel(work, n, _COLUMNS, n, g_drive.size)
        bias, decay = (torch.from_numpy(s).to(weight.dtype) for s in (g_bias, g_decay.sum(1)))
        return g_weight, bias, decay


def _lanes(current: Tensor) -> Any:
    """Return currents (batch, tau, unit) as a new array (tau, lane)."""
    n_batch, n_tau, n = current.shape
    return (
        current.detach()
        .transpose(0, 1)
        .clone(memory_format=torch.contiguous_format)
        .numpy()
        .reshape(n_tau, n_batch * n)
    )


def _copy(g: Tensor) -> Tensor:
    return g.detach().clone(memory_format=torch.contiguous_format)


class _Trace(torch.autograd.Function):
    """What the spikes of a run leave on the presynaptic traces, from their list."""

    @staticmethod
    def forward(ctx: Any, sent: Tensor, decay: Tensor, delay: int, events: Events) -> Tensor:
        n_batch, n_steps, n = sent.shape
        ctx.save_for_backward(sent, decay)
        ctx.delay = delay
        trace = torch.zeros(n_batch, decay.numel(), n, dtype=sent.dtype)
        final_traces(n_steps, delay, _array(decay), events, trace.numpy())
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
