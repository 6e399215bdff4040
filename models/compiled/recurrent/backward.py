"""The way back through a compiled network: exact gradients of everything that went in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from organoid.models.compiled.recurrent.adjoint import Adjoint, Sums, list_near, run_adjoint
from organoid.models.compiled.recurrent.arrays import Block, Inputs, Rule, array, block_of, copy_of, fresh, in_lanes
from organoid.models.compiled.recurrent.cell_step import Constants
from organoid.models.compiled.recurrent.event_lists import Marks, room
from organoid.models.compiled.recurrent.forward import Record
from organoid.models.compiled.recurrent.short_term import Stores
from organoid.models.compiled.recurrent.threads import Parts, in_parallel, parts_of
from organoid.models.compiled.recurrent.weights import run_weights
from organoid.models.surrogate import Surrogate

_COLUMNS = 64  # fewest targets whose weights are worth a thread
_NEAR = 32_768  # units near threshold handled at once; torch does not start threads of its own below


class Saved(NamedTuple):
    """Tensors that the way back needs; see `Inputs` and `Outputs`."""

    spikes: Tensor
    distance: Tensor
    weight: Tensor
    synapse_decay: Tensor
    current: Tensor
    voltage: Tensor


class Kept(NamedTuple):
    """What else the way back needs.

    Parameters
    ----------
    rule, surrogate, constants : Rule, Surrogate, Constants
        The network.
    parts, blocks : Parts, list of Block
        How the copies were split over threads, and what each block sent.
    rest : Record
        What happened, but for spikes and distances, which are saved tensors.
    wants : Inputs of bool
        Whose gradient is wanted.
    forced : bool
        Whether recorded spikes travelled.
    n_early : int
        Steps in which spikes from before the run arrive.
    """

    rule: Rule
    surrogate: Surrogate
    constants: Constants
    parts: Parts
    blocks: list[Block]
    rest: Record
    wants: Inputs
    forced: bool
    n_early: int


class Backward:
    """One backward pass."""

    def __init__(self, saved: Saved, kept: Kept) -> None:
        self.saved, self.kept = saved, kept
        values: Any = {
            "spikes": array(saved.spikes),
            "distance": array(saved.distance),
            "sent": kept.rest.missing[:, :0],
        }
        self.record = kept.rest._replace(**values)

    def __call__(
        self,
        g_spikes: Tensor | None,
        g_distance: Tensor | None,
        g_voltage: Tensor | None,
        g_refractory: Tensor | None,
        g_adaptation: Tensor | None,
        g_missing: Tensor | None,
        g_facilitation: Tensor | None,
        g_sent: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """Return the gradient of every input up to ``facilitation``, in their order."""
        saved, n_tau = self.saved, self.saved.weight.shape[0]
        n_batch, _, n = saved.spikes.shape
        zeros, empty, dtype = saved.voltage.new_zeros, saved.voltage.new_empty, saved.voltage.dtype
        g_drive = fresh(*saved.spikes.shape, dtype=self.record.spikes.dtype)
        g_inject = zeros(n_batch, self.kept.n_early, n_tau, n)
        given = (g_voltage, g_adaptation, g_missing, g_facilitation)
        releasing = n if self.kept.rule.release else 0
        widths = (n, n, releasing, releasing)
        carried = [zeros(n_batch, w) if g is None else copy_of(g) for g, w in zip(given, widths, strict=True)]
        g_current = zeros(n_batch, n_tau, n)
        outside = [array(empty(n_batch, 0, n) if g is None else g) for g in (g_spikes, g_distance, g_sent)]
        sums = self._sums(n_batch, n)
        self._cells(outside, [t.numpy() for t in carried], [t.numpy() for t in (g_drive, g_inject, g_current)], sums)
        g_weight, g_bias, g_decay = self._targets(g_drive.numpy())
        threshold, increment, fade, keep, take = (torch.from_numpy(s.sum(0)).to(dtype) for s in sums)
        g_current *= saved.synapse_decay.detach()[:, None]
        cells = (keep, take, threshold, increment, fade)
        found = (g_drive, g_bias, *cells, g_weight, g_decay, *carried[:2], g_current, g_inject, *carried[2:])
        return tuple(g if want else None for g, want in zip(found, self.kept.wants, strict=False))

    def _sums(self, n_batch: int, n: int) -> Sums:
        wants = self.kept.wants
        cell, decay = self.kept.rule.adaptive or wants.threshold, wants.keep or wants.take
        return Sums(*(np.zeros((n_batch if wanted else 0, n)) for wanted in (cell, cell, cell, decay, decay)))

    def _cells(self, outside: list[Any], carried: list[Any], out: list[Any], sums: Sums) -> None:
        """Go back through time, copies in parallel; fills everything but the gradients of weights."""
        n_batch, _, n = self.record.spikes.shape
        weight, initial = array(self.saved.weight), array(self.saved.voltage)
        n_tau, dtype = weight.shape[0], weight.dtype

        def work(first: int, last: int) -> None:
            part, copies = slice(first, last), last - first
            record, numbers = block_of(self.record, first, last), in_lanes(self.kept.constants, copies)
            given_outside = [g[part] for g in outside]
            ring = np.zeros((self.kept.rule.delay, n_tau, copies * n), dtype)
            lv, la, *stores = (g[part].reshape(-1) for g in carried)
            adjoint = Adjoint(lv, la, ring, Stores(*stores))
            g_drive, g_inject, g_current = (g[part] for g in out)
            total = Sums(*(s[part].reshape(-1) for s in sums))
            for start, stop, near in self._near(first, record):
                given = (weight, numbers, near, self._slope(near), *given_outside, record)
                own = (initial[part].reshape(-1), self.kept.forced, adjoint, g_drive, g_inject, total)
                run_adjoint(start, stop, *given, *own)
            g_current[:] = ring[0].reshape(n_tau, copies, n).transpose(1, 0, 2)

        # Rows of weights are used again soon: by the same copy if few are, by the next copy if all are.
        all_near = parts_of(n_batch, 1, n_batch, self.record.spikes.size)
        in_parallel(work, self.kept.parts if self._listed else all_near)

    @property
    def _listed(self) -> bool:
        """Whether the way there listed the units near threshold."""
        return math.isfinite(self.kept.surrogate.support)

    def _near(self, first: int, record: Record) -> Iterator[tuple[int, int, Marks]]:
        """Yield first and last step, backwards, and the units near threshold in between."""
        copies, stop, n = record.spikes.shape
        if self._listed:
            yield 0, stop, next(block.near for block in self.kept.blocks if block.first == first)
            return
        lanes = copies * n
        size = max(1, _NEAR // lanes)
        near = room(size * copies, size * lanes, record.spikes.dtype, values=True)
        while stop > 0:
            start = max(0, stop - size)
            listed = near._replace(bounds=near.bounds[: (stop - start) * copies + 1])
            list_near(start, stop, self.kept.surrogate.support, record, listed)
            yield start, stop, listed
            stop = start

    def _slope(self, near: Marks) -> Any:
        """Return the slope of the surrogate at every unit of a list."""
        slope = np.empty(near.bounds[-1], near.value.dtype)
        with torch.no_grad():
            for start in range(0, slope.size, _NEAR):
                part = torch.from_numpy(near.value[start : min(start + _NEAR, slope.size)])
                slope[start : start + _NEAR] = self.kept.surrogate.derivative(part).numpy()
        return slope

    def _targets(self, g_drive: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of weights, biases and synaptic decays, targets in parallel."""
        weight, n = self.saved.weight, g_drive.shape[2]
        shape = tuple(weight.shape) if self.kept.wants.weight else (0, 0, 0)
        g_weight = np.zeros(shape, g_drive.dtype)
        g_bias, g_decay = np.zeros(n), np.zeros((weight.shape[0], n))
        currents, initial = self.record.currents, array(self.saved.current)

        def work(first: int, last: int) -> None:
            for block in self.kept.blocks:
                part = slice(block.first, block.last)
                given = (self.kept.constants, block.spiking, g_drive[part], currents[part], initial[part])
                run_weights(first, last, *given, g_weight, g_bias, g_decay)

        in_parallel(work, parts_of(n, _COLUMNS, n, g_drive.size))
        bias, decay = (torch.from_numpy(s).to(weight.dtype) for s in (g_bias, g_decay.sum(1)))
        return torch.from_numpy(g_weight), bias, decay
