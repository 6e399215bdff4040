"""LIF neurons whose threshold rises with every spike: parameters, a cell, and the recurrent network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.compiled.recurrent.arrays import Outputs
from organoid.models.dispatch import CanonicalCells, scan_compiled
from organoid.models.neurons.lif import LIFCell, LIFParameters, LIFState
from organoid.models.recurrent import NetworkConstants, RecurrentNetwork, loop
from organoid.models.surrogate import SpikeFunction
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

    @property
    def network(self) -> NetworkConstants:
        """What the network needs to know beside its cells."""
        return self.lif.network


class AdaptiveLIFState(NamedTuple):
    """State of the membrane and the adaptation trace, spikes, shape (batch, unit)."""

    membrane: LIFState
    adaptation: Tensor


class AdaptiveLIFCell(nn.Module):
    """LIF cells with an adaptive threshold; wraps a `LIFCell`; see `AdaptiveLIF` for the equation.

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


class AdaptiveLIF(RecurrentNetwork[AdaptiveLIFParameters]):
    r"""Recurrent network of LIF cells with an adaptive threshold.

    .. math:: \theta[t] = \theta_0 + A\,a[t], \qquad a[t+1] = e^{-dt/\tau_a} a[t] + z[t], \qquad A = e^{\lambda}

    :math:`\theta` is the threshold and :math:`a` the trace of a cell's own spikes :math:`z` (batch, unit);
    :math:`\theta_0` the threshold at rest, 1 or, where it is trained, (unit,); :math:`\tau_a` the time constant of
    adaptation, s; :math:`A` the rise per spike, thresholds (unit,), trained as its logarithm :math:`\lambda`.
    Potential, reset and refractoriness are those of `LIF`, with :math:`\theta[t]` as the threshold; the parameters of
    the constructor those of `RecurrentNetwork`.

    References
    ----------
    Bellec, Salaj, Subramoney, Legenstein and Maass (2018), Long short-term memory and learning-to-learn in
    networks of spiking neurons, NeurIPS.
    """

    usual = AdaptiveLIFParameters()
    cell_type = AdaptiveLIFCell
