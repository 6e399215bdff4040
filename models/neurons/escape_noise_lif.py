"""LIF neurons with escape noise: draws, a cell, and the recurrent network."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from organoid.models.compiled.recurrent.arrays import Outputs
from organoid.models.dispatch import CanonicalCells
from organoid.models.neurons.lif import LIFCell, LIFParameters, LIFState
from organoid.models.recurrent import NetworkState, RecurrentNetwork
from organoid.models.surrogate import Sigmoid, SpikeFunction, Surrogate

# The constants of `organoid.models.rng`, as signed 64-bit integers.
_GOLDEN, _MIX_A, _MIX_B = -7046029254386353131, -4658895280553007687, -7723592293110705685


class EscapeNoiseState(NamedTuple):
    """State of the membrane, and of the draws: stream and number of steps done, int64, shape (batch, 2)."""

    membrane: LIFState
    stream: Tensor


class _Drawn(torch.autograd.Function):
    """A yes or no drawn with a probability; the gradient passes to the probability."""

    @staticmethod
    def forward(ctx: Any, probability: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < probability).to(probability.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        return grad[0], None


def uniforms(stream: Tensor, n_units: int) -> Tensor:
    """Return the numbers in [0, 1) of a step, float64, shape (batch, unit).

    Those of `organoid.models.rng.uniform` with the stream as key, at position ``step * n_units + unit``.
    """
    counter = stream[:, 1:] * n_units + torch.arange(n_units, device=stream.device)
    x = stream[:, :1] + (counter + 1) * _GOLDEN
    x = (x ^ _right(x, 30)) * _MIX_A
    x = (x ^ _right(x, 27)) * _MIX_B
    return _right(x ^ _right(x, 31), 11).double() * 2.0**-53


def draw_spikes(probability: Tensor, uniform: Tensor) -> Tensor:
    """Return spikes drawn with the given probabilities; the gradient of a spike is that of its probability."""
    drawn: Tensor = _Drawn.apply(probability, uniform)  # type: ignore[no-untyped-call]
    return drawn


def _right(x: Tensor, n: int) -> Tensor:
    """Shift to the right, zeros coming in."""
    return (x >> n) & ((1 << (64 - n)) - 1)


class EscapeNoiseCell(LIFCell):
    """LIF neurons with escape noise, without synapses; see `EscapeNoiseLIF` for the equation.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : LIFParameters
        Fixed properties.
    spike : SpikeFunction
        A `Surrogate` whose ``smooth`` is the probability of a spike, from 0 to 1; any other function is taken as the
        mean of the spikes and nothing is drawn.
    """

    def initial_state(self, batch: int, like: Tensor) -> EscapeNoiseState:  # type: ignore[override]
        """Return cells at rest, each copy of the network with draws of its own."""
        stream = torch.arange(batch, device=like.device)
        return EscapeNoiseState(super().initial_state(batch, like), torch.stack([stream, torch.zeros_like(stream)], 1))

    def step(  # type: ignore[override]
        self,
        drive: Tensor,
        state: EscapeNoiseState,
        threshold: Tensor | float | None = None,
        spike: SpikeFunction | None = None,
    ) -> tuple[Tensor, Tensor, EscapeNoiseState]:
        """Advance one step; return spikes, distance to threshold and state, all (batch, unit)."""
        draw = partial(self._draw, uniforms(state.stream, self.n_units)) if isinstance(self.spike, Surrogate) else None
        spikes, distance, membrane = super().step(drive, state.membrane, threshold, spike or draw)
        return spikes, distance, EscapeNoiseState(membrane, state.stream + state.stream.new_tensor([0, 1]))

    def canonical(self, state: EscapeNoiseState) -> CanonicalCells:
        """Return the form of these cells that compiled code takes."""
        return super().canonical(state.membrane)._replace(stream=state.stream)

    def after(self, before: EscapeNoiseState, out: Outputs) -> EscapeNoiseState:
        """Return the state that compiled code found."""
        steps = before.stream.new_tensor([0, out.spikes.shape[1]])
        return EscapeNoiseState(super().after(before.membrane, out), before.stream + steps)

    def _draw(self, uniform: Tensor, distance: Tensor) -> Tensor:
        spike: Any = self.spike
        return draw_spikes(spike.smooth(distance), uniform)


class EscapeNoiseLIF(RecurrentNetwork[LIFParameters]):
    r"""Recurrent network of LIF cells with escape noise: a spike is drawn, more likely the nearer the threshold.

    .. math:: z[t] \sim \text{Bernoulli}(p[t]), \qquad p[t] = \sigma\big((V[t] - \theta)/\Delta\big)

    :math:`z` are the spikes, :math:`p` their probabilities and :math:`V` the potentials (batch, unit), :math:`\theta`
    the threshold, 1 or (unit,), :math:`\Delta` the ``escape_width``, thresholds, and :math:`\sigma` the logistic
    function; `spike` is any other function of the distance to threshold. Potential, reset and refractoriness are those
    of `LIF`, the parameters of the constructor those of `RecurrentNetwork`.

    The derivative of a spike is that of its probability, :math:`p' = p (1-p) / \Delta`, so for a single step the
    expected gradient is the gradient of the expectation; through resets and recurrence it is a surrogate like any
    other. The logits of a trajectory are the log-odds with which the network really spikes: what a likelihood shapes is
    what runs freely. Draws come from counters in the state (stream, step, unit), so the same state gives the same
    spikes.

    References
    ----------
    Gerstner, Kistler, Naud and Paninski (2014), Neuronal Dynamics, chapter 9 (escape noise).
    Gygax and Zenke (2025), Elucidating the theoretical underpinnings of surrogate gradient learning in spiking neural
    networks, Neural Computation 37.
    """

    usual = LIFParameters(noise_sd=0.05)
    cell_type = EscapeNoiseCell

    @staticmethod
    def usual_spike(parameters: LIFParameters) -> SpikeFunction:
        """Return the logistic function of the escape width."""
        return Sigmoid(1 / parameters.escape_width)

    def seeded_state(self, batch: int, generator: torch.Generator) -> NetworkState:
        """Return the state at rest with streams of draws taken from a generator."""
        state = self.initial_state(batch)
        keys = torch.randint(2**62, (batch,), generator=generator).to(state.cell.stream.device)
        stream = torch.stack([keys, torch.zeros_like(keys)], 1)
        return state._replace(cell=state.cell._replace(stream=stream))


def seeded_state(model: Any, batch: int, generator: torch.Generator) -> Any:
    """Return a model's state at rest; where the state holds draws (`EscapeNoiseLIF`), with new ones."""
    if hasattr(model, "seeded_state"):
        return model.seeded_state(batch, generator)
    return model.initial_state(batch)
