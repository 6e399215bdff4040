r"""Recurrent network of LIF neurons whose threshold rises with every spike.

.. math:: \theta_i[t] = 1 + A_i\,a_i[t], \qquad a[t+1] = e^{-dt/\tau_a} a[t] + z[t], \qquad A_i = e^{\alpha_i}

Potential, reset and refractoriness are those of `organoid.models.neurons.lif`, with :math:`\theta` in place of 1. The
increment :math:`A` (thresholds per spike) is trained for each unit.

References
----------
Bellec, Salaj, Subramoney, Legenstein and Maass (2018), Long short-term memory and learning-to-learn in
networks of spiking neurons, NeurIPS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.compiled.recurrent.arrays import Outputs
from organoid.models.dispatch import CanonicalCells, scan_compiled
from organoid.models.neurons.lif import LIFCell, LIFParameters, LIFState, synapses_of
from organoid.models.recurrent import RecurrentNetwork, check_size, loop
from organoid.models.surrogate import FastSigmoid, SpikeFunction
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.models.trainable import check_trainable, decay, trained


@dataclass(frozen=True)
class AdaptiveLIFParameters:
    """Fixed properties of an adaptive LIF network.

    Parameters
    ----------
    lif : LIFParameters
        Everything that a LIF network has.
    tau_adapt : float
        Time constant of the threshold, s.
    increment : float
        Initial rise of the threshold per spike, thresholds.
    trainable : tuple of str
        "tau_adapt" trains that for each unit; the constants of the membrane are listed in ``lif.trainable``.
    """

    lif: LIFParameters = field(default_factory=LIFParameters)
    tau_adapt: float = 0.2
    increment: float = 0.05
    trainable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trainable(self.trainable, ("tau_adapt",), "an adaptive threshold")
        if not (self.tau_adapt > 0 and self.increment > 0):
            raise ModelError(f"tau_adapt (s) and increment must be positive, got {self}")


class AdaptiveLIFState(NamedTuple):
    """State of the membrane and the adaptation trace, spikes, shape (batch, unit)."""

    membrane: LIFState
    adaptation: Tensor


class AdaptiveLIFCell(nn.Module):
    """LIF cells with an adaptive threshold; wraps a `LIFCell`.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : AdaptiveLIFParameters
        Fixed properties.
    spike : SpikeFunction
        Spike function with its surrogate gradient.
    """

    def __init__(self, n_units: int, dt: float, parameters: AdaptiveLIFParameters, spike: SpikeFunction) -> None:
        super().__init__()
        self.membrane = LIFCell(n_units, dt, parameters.lif, spike)
        self.tau_adapt, self.dt = parameters.tau_adapt, dt
        self.log_tau_adapt = trained("tau_adapt", parameters.tau_adapt, parameters.trainable, n_units)
        self.log_increment = nn.Parameter(torch.full((n_units,), math.log(parameters.increment)))

    @property
    def decay(self) -> float | Tensor:
        """What is left of the adaptation after a step: a number, or (unit,) where it is trained."""
        return decay(self.dt, self.tau_adapt, self.log_tau_adapt)

    def initial_state(self, batch: int, like: Tensor) -> AdaptiveLIFState:
        """Return cells at rest with the threshold at 1."""
        membrane = self.membrane.initial_state(batch, like)
        return AdaptiveLIFState(membrane, torch.zeros_like(membrane.voltage))

    def step(self, drive: Tensor, state: AdaptiveLIFState) -> tuple[Tensor, Tensor, AdaptiveLIFState]:
        """Advance one step; return spikes, distance to threshold and state, all (batch, unit)."""
        threshold = self.membrane.threshold + self.log_increment.exp() * state.adaptation
        spikes, distance, membrane = self.membrane.step(drive, state.membrane, threshold)
        return spikes, distance, AdaptiveLIFState(membrane, self.decay * state.adaptation + spikes)

    def scan(self, drive: Tensor, state: AdaptiveLIFState) -> tuple[Tensor, Tensor, AdaptiveLIFState]:
        """Advance over (batch, time, unit) drive, compiled where possible."""
        return scan_compiled(self, drive, state) or loop(self, drive, state)

    def canonical(self, state: AdaptiveLIFState) -> CanonicalCells:
        """Return the form of these cells that compiled code takes."""
        membrane = self.membrane.canonical(state.membrane)
        return membrane._replace(
            increment=self.log_increment.exp(), fade=self.decay, adaptive=True, adaptation=state.adaptation
        )

    def after(self, before: AdaptiveLIFState, out: Outputs) -> AdaptiveLIFState:
        """Return the state that compiled code found."""
        return AdaptiveLIFState(self.membrane.after(before.membrane, out), out.adaptation)


class AdaptiveLIF(RecurrentNetwork):
    """Recurrent network of adaptive-threshold LIF cells.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : AdaptiveLIFParameters
        Fixed properties.
    spike : SpikeFunction
        Spike function with its surrogate gradient.
    mask : Tensor of bool, shape (unit, unit), optional
        Allowed (pre, post) connections; all but self-connections if not given.
    synapses : ExponentialSynapses, optional
        Synapses of another kind (sparse, with delays of their own, depressing, under Dale's law) instead of those
        that the parameters and the mask describe.
    seed : int
        Seed of the initial weights.
    """

    def __init__(
        self,
        n_units: int,
        dt: float,
        parameters: AdaptiveLIFParameters | None = None,
        *,
        spike: SpikeFunction | None = None,
        mask: Tensor | None = None,
        synapses: ExponentialSynapses | None = None,
        seed: int = 0,
    ) -> None:
        p = parameters or AdaptiveLIFParameters()
        check_size(n_units, dt)
        super().__init__(
            n_units,
            dt,
            cell=AdaptiveLIFCell(n_units, dt, p, spike or FastSigmoid()),
            synapses=synapses_of(p.lif, n_units, dt, mask, seed, synapses),
            tau_mem=p.lif.tau_mem,
            noise_sd=p.lif.noise_sd,
            escape_width=p.lif.escape_width,
        )
        self.fixed = p
