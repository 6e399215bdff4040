r"""Synapses stored connection by connection, each with its own delay in whole steps.

.. math:: s_k[t] = e^{-dt/\tau_k} s_k[t-1] + z[t], \qquad I_j[t] = \sum_{i \to j} \sum_k W_{kij}\, s_{ki}[t - d_{ij}]

Only connections that exist have weights. A step costs as many operations as there are connections, or one matrix
product where most pairs are connected.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.synapses.dales_law import DalesLaw
from organoid.models.synapses.exponential import ExponentialSynapses, exponential_trace

_DENSE = 0.1  # fraction of weights that are not 0 from which a matrix product is faster
_ENTRIES = 1 << 22  # products held at once


class SparseState(NamedTuple):
    """Traces of the last steps, newest first, shape (batch, time constant, delay, unit)."""

    history: Tensor


class _Gather(torch.autograd.Function):
    """``out[r, post] = sum over connections of x[r, source] * weight``, nothing of that size kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, source: Tensor, post: Tensor, n_post: int) -> Tensor:
        ctx.save_for_backward(x, weight, source, post)
        parts = [
            part.new_zeros(len(part), n_post).index_add_(1, post, part[:, source] * weight)
            for part in torch.split(x, max(1, _ENTRIES // max(1, len(source))))
        ]
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, source, post = ctx.saved_tensors
        at = max(1, _ENTRIES // max(1, len(source)))
        g_x, g_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for part, grad, out in zip(*(torch.split(each, at) for each in (x, grads[0], g_x)), strict=True):
            received = grad[:, post]
            g_weight += (part[:, source] * received).sum(0)
            out.index_add_(1, source, received * weight)
        return g_x, g_weight, None, None, None


class SparseSynapses(ExponentialSynapses):
    """Recurrent synapses with a weight and a delay for each connection that exists.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    tau : tuple of float
        Time constants of the currents, s; each connection has a weight for each.
    delay : float, or Tensor of shape (unit, unit)
        Delay of all, or of each (pre, post) connection, s; rounded to whole steps, at least one.
    mask : Tensor of bool, shape (unit, unit), optional
        Which (pre, post) pairs are connected; all but self-connections if not given. See
        `organoid.models.synapses.connectivity`.
    scale : float
        Standard deviation of the summed initial weights onto a unit, thresholds.
    generator : Generator
        Source of the initial weights.
    trainable : tuple of str
        "tau_syn" trains the time constants.
    dale : DalesLaw, optional
        Signs of the units.
    """

    pre: Tensor
    post: Tensor
    lag: Tensor

    def __init__(
        self,
        n_units: int,
        dt: float,
        *,
        tau: tuple[float, ...],
        delay: float | Tensor,
        mask: Tensor | None,
        scale: float,
        generator: torch.Generator,
        trainable: tuple[str, ...] = (),
        dale: DalesLaw | None = None,
    ) -> None:
        nn.Module.__init__(self)
        pre, post = self._prepare(n_units, dt, tau, mask, trainable, dale).nonzero(as_tuple=True)
        every = torch.as_tensor(delay, dtype=torch.float64)
        if every.shape not in ((), (n_units, n_units)) or not bool(torch.isfinite(every).all() and (every >= 0).all()):
            raise ModelError(f"delays must be 0 or more and finite (s), one or {(n_units, n_units)} of them")
        lag = (every.expand(n_units, n_units)[pre, post] / dt).round().long().clamp(min=1)
        self.delay = int(lag.max()) if len(lag) else 1
        per_unit = max(1.0, len(pre) / n_units)
        self.weight = nn.Parameter(scale / math.sqrt(per_unit) * torch.randn(len(tau), len(pre), generator=generator))
        for name, values in (("pre", pre), ("post", post), ("lag", lag)):
            self.register_buffer(name, values)

    @property
    def n_connections(self) -> int:
        """Number of connections."""
        return len(self.pre)

    def effective_weight(self) -> Tensor:
        """Return the weights, signs of Dale's law included, shape (time constant, connection), thresholds."""
        return self.weight if self.dale is None else self.dale.apply(self.weight, self.pre)

    def matrix(self) -> Tensor:
        """Return the weights as a full matrix, shape (time constant, pre, post), thresholds."""
        weight = self.effective_weight()
        full = weight.new_zeros(len(self.tau), self.n_units, self.n_units)
        return full.index_put((torch.arange(len(self.tau))[:, None], self.pre, self.post), weight)

    def penalty(self) -> Tensor:
        """Return what the weights cost beside the loss: 0 without a soft `DalesLaw`."""
        if self.dale is None or not self.n_connections:
            return self.weight.new_zeros(())
        return self.dale.penalty(self.weight, self.pre, self.n_units)

    def initial_state(self, batch: int) -> Any:
        """Return the state in which no spike is under way."""
        return SparseState(self.weight.new_zeros(batch, len(self.tau), self.delay, self.n_units))

    def arriving(self, state: Any) -> Tensor:
        """Reject: with a delay for each connection, no spike of a unit arrives everywhere at once."""
        raise ModelError("SparseSynapses have a delay for each connection: spikes of a unit arrive at several times")

    def arrive(self, state: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the current (batch, unit), and the newest traces one step decayed."""
        current = self._product(state.history.flatten(1), weight)
        return current, self.decay_column(weight) * state.history[:, :, 0]

    def send(self, trace: Tensor, state: Any, emitted: Tensor) -> Any:
        """Add the spikes of this step, shape (batch, unit), to the newest traces."""
        newest = (trace + emitted[:, None])[:, :, None]
        return SparseState(torch.cat([newest, state.history[:, :, :-1]], dim=2))

    def forced(self, emitted: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the current (batch, time, unit) of spikes that are known beforehand, and the state after them."""
        batch, n_steps, n = emitted.shape
        new = [exponential_trace(emitted, a, state.history[:, k, 0]) for k, a in enumerate(self.decays)]
        # Oldest first: what was there before, then the traces after each step of this segment.
        line = torch.cat([state.history.flip(2), torch.stack(new, 1)], dim=2)
        lagged = line.unfold(2, self.delay, 1).flip(-1)[:, :, :n_steps]  # (batch, tau, time, unit, delay)
        rows = lagged.permute(0, 2, 1, 4, 3).reshape(batch * n_steps, -1)
        current = self._product(rows, self.effective_weight()).reshape(batch, n_steps, n)
        return current, SparseState(line[:, :, -self.delay :].flip(2))

    def _product(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Sum what reaches each unit from traces (row, time constant x delay x unit)."""
        n, n_tau = self.n_units, len(self.tau)
        block = torch.arange(n_tau, device=weight.device)[:, None] * self.delay
        source = ((block + self.lag - 1) * n + self.pre).flatten()
        post = self.post.repeat(n_tau)
        if source.numel() < _DENSE * n * n * n_tau * self.delay:
            out: Tensor = _Gather.apply(rows, weight.flatten(), source, post, n)  # type: ignore[no-untyped-call]
            return out
        full = weight.new_zeros(rows.shape[1], n).index_put((source, post), weight.flatten())
        return rows @ full
