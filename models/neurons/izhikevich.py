"""Izhikevich's quadratic integrate-and-fire neurons: parameters, a cell, and the recurrent network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.recurrent import NetworkConstants, RecurrentNetwork, loop
from organoid.models.surrogate import SpikeFunction
from organoid.models.trainable import check_trainable, trained

_PEAK = 30.0
_MS = 1e-3


@dataclass(frozen=True)
class IzhikevichParameters:
    """Fixed properties of an Izhikevich network; the defaults are the paper's regular spiking cell.

    Parameters
    ----------
    a : float
        Rate of recovery, 1/ms.
    b : float
        Recovery by the potential, 1/ms; below 0.267, where the cell has a state of rest.
    c : float
        Potential after a spike, mV.
    d : float
        Initial jump of recovery per spike, mV/ms.
    tau_syn : tuple of float
        Synaptic time constants, s; each has its own weight matrix.
    delay : float
        Delay of recurrent spikes, s; whole steps, at least one.
    noise_sd : float
        Initial strength of background noise, rheobases (standard deviation after the membrane near rest).
    weight_scale : float
        Standard deviation of the summed initial weights onto a unit, rheobases.
    escape_width : float
        Width of the soft threshold behind the logits, in ways from rest to peak.
    detach_reset : bool
        Whether the gradient passes by the reset (its value is the same). A reset takes the potential down by a
        hundred mV; the gradient through it, at every spike again, dominates the rest, and training with it fails.
    max_part : float
        Longest part of a step that is integrated at once, s.
    trainable : tuple of str
        Which constants are trained beside weights, biases, noise and d: "a" for each unit, "tau_syn" for the network.
    """

    a: float = 0.02
    b: float = 0.2
    c: float = -65.0
    d: float = 8.0
    tau_syn: tuple[float, ...] = (0.005, 0.05)
    delay: float = 0.002
    noise_sd: float = 0.5
    weight_scale: float = 0.2
    escape_width: float = 0.25
    detach_reset: bool = True
    max_part: float = 0.0005
    trainable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trainable(self.trainable, ("a", "tau_syn"), "an Izhikevich network")
        if not (self.a > 0 and self.d > 0 and self.max_part > 0 and self.delay >= 0 and self.c < _PEAK):
            raise ModelError(f"a, d and max_part must be positive, delay not negative, c below 30 mV, got {self}")
        if not (math.isfinite(self.b) and self.b < 5 and (5 - self.b) ** 2 > 22.4):
            raise ModelError(f"b must be below 0.267, or the cell has no state of rest; got {self.b!r}")

    @property
    def rest(self) -> float:
        """The stable potential without input, mV."""
        return (-(5 - self.b) - math.sqrt((5 - self.b) ** 2 - 22.4)) / 0.08

    @property
    def rheobase(self) -> float:
        """The smallest constant input under which there is no state of rest, mV/ms."""
        return (5 - self.b) ** 2 / 0.16 - 140

    @property
    def tau_rest(self) -> float:
        """Time constant of the potential near rest, recovery held, s."""
        return -_MS / (0.08 * self.rest + 5)

    @property
    def network(self) -> NetworkConstants:
        """What the network needs to know beside its cells."""
        return NetworkConstants.of(self, self.tau_rest)


class IzhikevichState(NamedTuple):
    """Potential, mV, and recovery, mV/ms; both (batch, unit)."""

    voltage: Tensor
    recovery: Tensor


class IzhikevichCell(nn.Module):
    """Izhikevich neurons without synapses; see `Izhikevich` for the equation.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : IzhikevichParameters
        Fixed properties.
    spike : SpikeFunction
        Step function of the distance to the peak, with its surrogate gradient.
    """

    def __init__(self, n_units: int, dt: float, parameters: IzhikevichParameters, spike: SpikeFunction) -> None:
        super().__init__()
        self.n_units, self.spike, self.fixed = n_units, spike, parameters
        self.n_parts = max(1, math.ceil(dt / parameters.max_part - 1e-9))
        self.part = dt / self.n_parts / _MS
        self.log_a = trained("a", parameters.a, parameters.trainable, n_units)
        self.log_jump = nn.Parameter(torch.full((n_units,), math.log(parameters.d)))

    def initial_state(self, batch: int, like: Tensor) -> IzhikevichState:
        """Return cells at rest."""
        rest = like.new_full((batch, self.n_units), self.fixed.rest)
        return IzhikevichState(rest, self.fixed.b * rest)

    def step(self, drive: Tensor, state: IzhikevichState) -> tuple[Tensor, Tensor, IzhikevichState]:
        """Advance one step; return spikes, distance to the peak and state, all (batch, unit)."""
        (v, u), p = state, self.fixed
        current, a = p.rheobase * drive, p.a if self.log_a is None else self.log_a.exp()
        for _ in range(self.n_parts):
            below = v < _PEAK
            v_next = v + self.part * (0.04 * v**2 + 5 * v + 140 - u + current)
            u_next = u + self.part * a * (p.b * v - u)
            v, u = torch.where(below, v_next, v), torch.where(below, u_next, u)
        distance = (v - _PEAK) / (_PEAK - p.rest)
        spikes = self.spike(distance)
        through = spikes.detach() if p.detach_reset else spikes
        return spikes, distance, IzhikevichState(v + through * (p.c - v), u + through * self.log_jump.exp())

    def scan(self, drive: Tensor, state: IzhikevichState) -> tuple[Tensor, Tensor, IzhikevichState]:
        """Advance over (batch, time, unit) drive."""
        return loop(self, drive, state)


class Izhikevich(RecurrentNetwork[IzhikevichParameters]):
    r"""Recurrent network of Izhikevich neurons.

    .. math::

        \dot v = 0.04 v^2 + 5 v + 140 - u + I, \qquad \dot u = a (b v - u), \qquad
        v \ge 30:\; v \to c,\; u \to u + d

    :math:`v` is the potential, mV, and :math:`u` the recovery, mV/ms (batch, unit); :math:`I` the input, mV/ms;
    :math:`a` the rate of recovery, 1/ms, :math:`b` the recovery by the potential, 1/ms; :math:`c` the potential after a
    spike, mV; :math:`d` the jump of recovery per spike, mV/ms (unit,), trained. Time is in ms and all numbers are as in
    the paper.

    Around the cells, the units are those of other networks: the drive (batch, unit) of `RecurrentNetwork` counts in
    rheobases, :math:`I = I_{rh}\,\text{drive}` with :math:`I_{rh} = (5 - b)^2 / 0.16 - 140` (4 for b = 0.2), so that a
    constant drive of 1 takes a resting cell just to threshold; the distance to a spike is :math:`v - 30` over the way
    from rest to there. Integrated by Euler in parts of a step; a spike ends its step. The parameters of the
    constructor are those of `RecurrentNetwork`.

    References
    ----------
    Izhikevich (2003), Simple model of spiking neurons, IEEE Transactions on Neural Networks 14.
    """

    usual = IzhikevichParameters()
    cell_type = IzhikevichCell
