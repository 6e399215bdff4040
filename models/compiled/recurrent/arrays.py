"""What goes through a compiled network, as tensors and as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from organoid.models.compiled.recurrent.cell_step import Constants
from organoid.models.compiled.recurrent.event_lists import Marks
from organoid.models.compiled.recurrent.forward import Record


class Rule(NamedTuple):
    """What is fixed: steps of refractoriness and of delay, reset, adaptation, whether known spikes reset the cells.

    ``release`` holds use, and what is left of missing resources and of facilitation after a step; or nothing.
    """

    n_refractory: int
    delay: int
    hard: bool
    detach_reset: bool
    adaptive: bool
    recorded: bool
    release: tuple[float, ...] = ()


class Inputs(NamedTuple):
    """Everything the network is differentiable in, then what it is not.

    Parameters
    ----------
    x : Tensor, shape (batch, time, unit)
    bias, keep, take, threshold, increment, fade : Tensor, shape (unit,)
        See `organoid.models.compiled.recurrent.cell_step.Constants`.
    weight : Tensor, shape (tau, pre, post)
    synapse_decay : Tensor, shape (tau,)
    voltage, adaptation : Tensor, shape (batch, unit)
    current : Tensor, shape (batch, tau, unit)
        Currents before the first step.
    inject : Tensor, shape (batch, step, tau, unit)
        Currents that arrive in the first steps from spikes before the run.
    missing, facilitation : Tensor, shape (batch, unit), or (batch, 0) where spikes pass unchanged
        Stores of the units' release, see `organoid.models.synapses.short_term`; `Rule.release` has its numbers.
    refractory : Tensor, shape (batch, unit)
        Refractory steps left.
    stream : Tensor of int64, shape (batch, 2) or (0, 2)
        Stream and step of the draws where spikes are drawn.
    forced : Tensor, shape (batch, time, unit), or None
        Spikes that travel along the synapses instead of the network's own; under `Rule.recorded` they reset the cells.
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
    missing: Tensor
    facilitation: Tensor
    refractory: Tensor
    stream: Tensor
    forced: Tensor | None


class Block(NamedTuple):
    """Copies that were advanced together, what they sent, and who was near threshold."""

    first: int
    last: int
    spiking: Marks
    near: Marks


class Outputs(NamedTuple):
    """Spikes and distance (batch, time, unit), state (batch, unit), what was sent, its traces (batch, tau, unit)."""

    spikes: Tensor
    distance: Tensor
    voltage: Tensor
    refractory: Tensor
    adaptation: Tensor
    missing: Tensor
    facilitation: Tensor
    sent: Tensor
    trace: Tensor


def array(tensor: Tensor) -> Any:
    """Return a tensor as a contiguous array, the same memory where it is one."""
    return tensor.detach().contiguous().numpy()


def constants_of(inputs: Inputs, rule: Rule) -> Constants:
    """Return the numbers of a network."""
    names = ("keep", "take", "threshold", "increment", "fade", "synapse_decay")
    arrays = [array(getattr(inputs, name)) for name in names]
    release = np.asarray(rule.release, arrays[0].dtype)
    values: Any = (
        *arrays,
        release,
        rule.n_refractory,
        rule.delay,
        rule.hard,
        rule.adaptive,
        rule.detach_reset,
        rule.recorded,
    )
    return Constants(*values)


def in_lanes(c: Constants, copies: int) -> Constants:
    """Return the constants of units for each of several copies side by side."""
    names = ("keep", "take", "threshold", "increment", "fade")
    tiled: Any = {name: np.tile(getattr(c, name), copies) for name in names}
    return c._replace(**tiled)


def block_of(record: Record, first: int, last: int) -> Record:
    """Return some copies of a record."""
    some: Any = tuple(values[first:last] for values in record)
    return Record(*some)


def lanes_of(current: Tensor) -> Any:
    """Return currents (batch, tau, unit) as a new array (tau, lane)."""
    n_batch, n_tau, n = current.shape
    return (
        current.detach()
        .transpose(0, 1)
        .clone(memory_format=torch.contiguous_format)
        .numpy()
        .reshape(n_tau, n_batch * n)
    )


def copy_of(g: Tensor) -> Tensor:
    """Return a contiguous copy without history."""
    return g.detach().clone(memory_format=torch.contiguous_format)


def fresh(*shape: int, dtype: Any) -> Tensor:
    """Return a new tensor, in large pages of memory where the system has them: numpy asks for them, torch does not."""
    return torch.from_numpy(np.empty(shape, dtype))
