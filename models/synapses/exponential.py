r"""Recurrent synapses: exponential currents of several time constants, a delay in whole steps.

.. math:: s_k[t] = e^{-dt/\tau_k} s_k[t-1] + z[t-d], \qquad I[t] = \sum_k s_k[t] W_k

with presynaptic spikes :math:`z`, delay :math:`d \ge 1` steps and weights :math:`W_k` (pre, post). The trace is
kept per presynaptic unit, so all time constants cost one matrix product.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.synapses.dales_law import DalesLaw
from organoid.models.trainable import decay, trained

_CHUNK = 32


class SynapseState(NamedTuple):
    """Traces, shape (batch, time constant, unit), and spikes under way, shape (batch, delay, unit), oldest first."""

    trace: Tensor
    pending: Tensor


def exponential_trace(x: Tensor, decay: float | Tensor, initial: Tensor | None = None) -> Tensor:
    r"""Filter with an exponential, :math:`y[t] = a\,y[t-1] + x[t]`, along axis -2.

    Parameters
    ----------
    x : Tensor, shape (..., time, unit)
        Input.
    decay : float or scalar Tensor
        :math:`a` in [0, 1), dimensionless per step.
    initial : Tensor, shape (..., unit), optional
        :math:`y[-1]`; zero if not given.

    Returns
    -------
    Tensor, shape (..., time, unit)
        The trace. Differentiable, to any order.
    """
    # Inside a chunk the filter is one triangular matrix product; the carry from chunk to chunk is a filter again.
    n_steps = x.shape[-2]
    if n_steps == 0:
        return x.clone()
    first = torch.zeros_like(x[..., 0, :]) if initial is None else initial
    size = min(_CHUNK, n_steps)
    n_chunks = -(-n_steps // size)
    lag = torch.arange(size, device=x.device)
    factor = torch.as_tensor(decay, dtype=x.dtype, device=x.device)
    kernel = torch.tril(factor ** (lag[:, None] - lag).clamp(min=0))
    padded = nn.functional.pad(x, (0, 0, 0, n_chunks * size - n_steps))
    inside = kernel @ padded.reshape(*x.shape[:-2], n_chunks, size, x.shape[-1])
    carry = first[..., None, :]
    if n_chunks > 1:
        carry = torch.cat([carry, exponential_trace(inside[..., :-1, -1, :], decay**size, first)], dim=-2)
    out = inside + (factor ** (lag + 1))[:, None] * carry[..., None, :]
    trace: Tensor = out.flatten(-3, -2)[..., :n_steps, :]
    return trace


def steps(duration: float, dt: float) -> int:
    """Return a duration in whole steps, rounded to the nearest."""
    return round(duration / dt)


class ExponentialSynapses(nn.Module):
    """All-to-all recurrent synapses with trainable weights and one delay; `SparseSynapses` has one for each connection.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    tau : tuple of float
        Time constants of the currents, s; each has its own weights, so a connection is a sum of exponentials.
    delay : float
        Axonal and synaptic delay, s; at least one step.
    mask : Tensor of bool, shape (unit, unit), optional
        Which (pre, post) pairs may be connected; all but self-connections if not given.
    scale : float
        Standard deviation of the summed initial weights onto a unit, thresholds.
    generator : Generator
        Source of the initial weights.
    trainable : tuple of str
        "tau_syn" trains the time constants.
    dale : DalesLaw, optional
        Signs of the units.
    """

    mask: Tensor

    def __init__(
        self,
        n_units: int,
        dt: float,
        *,
        tau: tuple[float, ...],
        delay: float,
        mask: Tensor | None,
        scale: float,
        generator: torch.Generator,
        trainable: tuple[str, ...] = (),
        dale: DalesLaw | None = None,
    ) -> None:
        super().__init__()
        allowed = self._prepare(n_units, dt, tau, mask, trainable, dale)
        self.delay = max(1, steps(delay, dt))
        draw = torch.randn(len(tau), n_units, n_units, generator=generator)
        self.weight = nn.Parameter(scale / math.sqrt(n_units) * draw)
        self.register_buffer("mask", allowed)

    def _prepare(
        self,
        n_units: int,
        dt: float,
        tau: tuple[float, ...],
        mask: Tensor | None,
        trainable: tuple[str, ...],
        dale: DalesLaw | None,
    ) -> Tensor:
        """Check and keep what all kinds of synapses share; return which pairs may be connected."""
        if not tau or any(not t > 0 for t in tau):
            raise ModelError(f"tau_syn needs at least one positive time constant in s, got {tau!r}")
        allowed = ~torch.eye(n_units, dtype=torch.bool) if mask is None else mask.to(torch.bool)
        if allowed.shape != (n_units, n_units):
            raise ModelError(f"mask must have shape {(n_units, n_units)}, got {tuple(allowed.shape)}")
        if dale is not None:
            dale.check(n_units)
        self.n_units, self.dt, self.tau, self.dale = n_units, dt, tuple(float(t) for t in tau), dale
        self.log_tau_syn = trained("tau_syn", self.tau, trainable, len(tau))
        return allowed

    @property
    def decays(self) -> tuple[float | Tensor, ...]:
        """What is left of each current after a step: numbers, or scalar tensors where they are trained."""
        logs = [None] * len(self.tau) if self.log_tau_syn is None else self.log_tau_syn.unbind()
        return tuple(decay(self.dt, tau, log) for tau, log in zip(self.tau, logs, strict=True))

    @property
    def trains_constants(self) -> bool:
        """Whether the time constants are trained."""
        return self.log_tau_syn is not None

    def decay_column(self, like: Tensor) -> Tensor:
        """Return the decays, shape (time constant, 1)."""
        if self.log_tau_syn is None:
            return like.new_tensor(self.decays)[:, None]
        return torch.stack([torch.as_tensor(a) for a in self.decays])[:, None]

    def effective_weight(self) -> Tensor:
        """Return the weights with absent connections at 0, shape (time constant, pre, post), thresholds."""
        everybody = self.mask.device.type == "cpu" and bool(self.mask.all())
        weight = self.weight if everybody else self.weight * self.mask  # the product and its gradient are large
        if self.dale is None or not self.dale.hard:
            return weight
        return self.dale.apply(weight.transpose(1, 2), torch.arange(self.n_units)).transpose(1, 2)

    def penalty(self) -> Tensor:
        """Return what the weights cost beside the loss: 0 without a soft `DalesLaw`."""
        if self.dale is None:
            return self.weight.new_zeros(())
        weight = (self.weight * self.mask).transpose(1, 2)
        return self.dale.penalty(weight, torch.arange(self.n_units), self.n_units)

    def initial_state(self, batch: int) -> Any:
        """Return the state in which no spike is under way."""
        zeros = self.weight.new_zeros
        return SynapseState(zeros(batch, len(self.tau), self.n_units), zeros(batch, self.delay, self.n_units))

    def arriving(self, state: Any) -> Tensor:
        """Return the spikes that arrive in the coming step, shape (batch, unit)."""
        spikes: Tensor = state.pending[:, 0]
        return spikes

    def arrive(self, state: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Let the oldest spikes arrive; return the current (batch, unit) and the new trace.

        Weights have the shape (time constant, pre, post), or (batch, time constant, pre, post) where each copy of the
        network has its own.
        """
        trace = self.decay_column(weight) * state.trace + state.pending[:, :1]
        if weight.ndim == 4:
            return torch.einsum("bki,bkij->bj", trace, weight), trace
        return trace.flatten(1) @ weight.flatten(0, 1), trace

    def send(self, trace: Tensor, state: Any, emitted: Tensor) -> Any:
        """Put the spikes of this step, shape (batch, unit), on their way behind those of ``state``."""
        return SynapseState(trace, torch.cat([state.pending[:, 1:], emitted[:, None]], dim=1))

    def forced(self, emitted: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the current (batch, time, unit) of spikes that are known beforehand, and the state after them."""
        n_steps = emitted.shape[1]
        line = torch.cat([state.pending, emitted], dim=1)
        traces = torch.stack(
            [exponential_trace(line[:, :n_steps], a, state.trace[:, k]) for k, a in enumerate(self.decays)], dim=2
        )
        current = traces.flatten(2) @ self.effective_weight().flatten(0, 1)
        return current, SynapseState(traces[:, -1], line[:, n_steps:])


def fitting_synapses(
    synapses: ExponentialSynapses, n_units: int, dt: float, mask: Tensor | None
) -> ExponentialSynapses:
    """Return synapses made beforehand for a network; reject those made for another size or step."""
    if synapses.n_units != n_units or not math.isclose(synapses.dt, dt) or mask is not None:
        raise ModelError(
            f"the synapses are made for {synapses.n_units} units and steps of {synapses.dt} s, the network has "
            f"{n_units} units and steps of {dt} s; they must agree, and the mask is that of the synapses"
        )
    return synapses
