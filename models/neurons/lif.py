"""Leaky integrate-and-fire neurons: parameters, a cell, and the recurrent network trained by surrogate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.compiled.recurrent.arrays import Outputs
from organoid.models.dispatch import CanonicalCells, scan_compiled
from organoid.models.recurrent import NetworkConstants, RecurrentNetwork, loop
from organoid.models.surrogate import SpikeFunction
from organoid.models.synapses.exponential import steps
from organoid.models.trainable import check_trainable, decay, trained


@dataclass(frozen=True)
class LIFParameters:
    """Fixed properties of a LIF network (what is trained are weights, biases and noise strengths).

    Parameters
    ----------
    tau_mem : float
        Membrane time constant, s.
    tau_syn : tuple of float
        Synaptic time constants, s; each has its own weight matrix.
    refractory : float
        Absolute refractory period, s; whole steps, may be 0.
    delay : float
        Delay of recurrent spikes, s; whole steps, at least one.
    reset : {"hard", "subtract"}
        What a spike does to the potential.
    detach_reset : bool
        Whether the gradient passes by the reset (its value is the same).
    noise_sd : float
        Initial standard deviation of the potential due to background noise, thresholds.
    weight_scale : float
        Standard deviation of the summed initial weights onto a unit, thresholds.
    escape_width : float
        Width of the soft threshold behind the logits, thresholds.
    trainable : tuple of str
        Which constants are trained beside weights, biases and noise: "tau_mem" and "threshold" for each unit,
        "tau_syn" for the network. They start at the values here (a threshold at 1) and stay positive.
    """

    tau_mem: float = 0.02
    tau_syn: tuple[float, ...] = (0.005, 0.05)
    refractory: float = 0.002
    delay: float = 0.002
    reset: Literal["hard", "subtract"] = "hard"
    detach_reset: bool = False
    noise_sd: float = 0.2
    weight_scale: float = 0.1
    escape_width: float = 0.25
    trainable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trainable(self.trainable, ("tau_mem", "tau_syn", "threshold"), "a LIF network")
        if not (self.tau_mem > 0 and self.refractory >= 0 and self.delay >= 0):
            raise ModelError(f"tau_mem must be positive, refractory and delay not negative (s), got {self}")
        if self.reset not in ("hard", "subtract"):
            raise ModelError(f"reset must be 'hard' or 'subtract', got {self.reset!r}")

    @property
    def network(self) -> NetworkConstants:
        """What the network needs to know beside its cells."""
        return NetworkConstants.of(self, self.tau_mem)


class LIFState(NamedTuple):
    """Potential after reset, thresholds, and refractory steps left; both (batch, unit)."""

    voltage: Tensor
    refractory: Tensor


class LIFCell(nn.Module):
    """Leaky integrate-and-fire neurons without synapses; see `LIF` for the equation.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : LIFParameters
        Fixed properties.
    spike : SpikeFunction
        Step function of the distance to threshold, with its surrogate gradient.
    """

    def __init__(self, n_units: int, dt: float, parameters: LIFParameters, spike: SpikeFunction) -> None:
        super().__init__()
        self.n_units, self.spike = n_units, spike
        self.dt, self.tau_mem = dt, parameters.tau_mem
        self.log_tau_mem = trained("tau_mem", parameters.tau_mem, parameters.trainable, n_units)
        self.log_threshold = trained("threshold", 1.0, parameters.trainable, n_units)
        self.n_refractory = steps(parameters.refractory, dt)
        self.hard = parameters.reset == "hard"
        self.detach_reset = parameters.detach_reset

    @property
    def decay(self) -> float | Tensor:
        """What is left of the potential after a step: a number, or (unit,) where it is trained."""
        return decay(self.dt, self.tau_mem, self.log_tau_mem)

    @property
    def threshold(self) -> float | Tensor:
        """Threshold: 1, or (unit,) where it is trained."""
        return 1.0 if self.log_threshold is None else self.log_threshold.exp()

    def initial_state(self, batch: int, like: Tensor) -> LIFState:
        """Return cells at rest, none refractory."""
        return LIFState(like.new_zeros(batch, self.n_units), like.new_zeros(batch, self.n_units))

    def step(
        self,
        drive: Tensor,
        state: LIFState,
        threshold: Tensor | float | None = None,
        spike: SpikeFunction | None = None,
    ) -> tuple[Tensor, Tensor, LIFState]:
        """Advance one step; return spikes, distance to threshold and state, all (batch, unit).

        Another threshold or spike function than the cell's own may be given for this step.
        """
        keep = self.decay
        threshold = self.threshold if threshold is None else threshold
        voltage = keep * state.voltage + (1 - keep) * drive
        ready = state.refractory <= 0
        if self.n_refractory:
            voltage = torch.where(ready, voltage, state.voltage)
        distance = voltage - threshold
        spikes = (spike or self.spike)(distance)
        if self.n_refractory:
            spikes = spikes * ready
        return spikes, distance, self._reset(voltage, spikes, state.refractory, threshold)

    def scan(self, drive: Tensor, state: LIFState) -> tuple[Tensor, Tensor, LIFState]:
        """Advance over (batch, time, unit) drive, compiled where possible."""
        return scan_compiled(self, drive, state) or loop(self, drive, state)

    def canonical(self, state: Any) -> CanonicalCells:
        """Return the form of these cells that compiled code takes."""
        keep = self.decay
        return CanonicalCells(
            keep=keep,
            take=1 - keep,
            threshold=self.threshold,
            increment=0.0,
            fade=0.0,
            n_refractory=self.n_refractory,
            hard=self.hard,
            detach_reset=self.detach_reset,
            adaptive=False,
            spike=self.spike,
            voltage=state.voltage,
            refractory=state.refractory,
            adaptation=torch.zeros_like(state.voltage),
        )

    def after(self, before: Any, out: Outputs) -> Any:
        """Return the state that compiled code found."""
        return LIFState(out.voltage, out.refractory)

    def _reset(self, voltage: Tensor, spikes: Tensor, refractory: Tensor, threshold: Tensor | float) -> LIFState:
        through = spikes.detach() if self.detach_reset else spikes
        voltage = voltage * (1 - through) if self.hard else voltage - through * threshold
        if self.n_refractory:
            # A relaxed spike function gives fractions; from one half on they count as a spike here.
            left = (refractory - 1).clamp(min=0)
            refractory = torch.where(spikes.detach() >= 0.5, float(self.n_refractory), left)
        return LIFState(voltage, refractory)


class LIF(RecurrentNetwork[LIFParameters]):
    r"""Recurrent network of leaky integrate-and-fire neurons.

    .. math::

        V[t] = \alpha V^+[t-1] + (1-\alpha)\,\text{drive}[t], \quad \alpha = e^{-dt/\tau_{mem}}, \qquad
        z[t] = H(V[t] - \theta), \qquad
        V^+[t] = V[t](1 - z[t]) \text{ (hard)} \quad\text{or}\quad V[t] - z[t]\,\theta \text{ (subtract)}

    :math:`V` is the potential before the reset of its step and :math:`V^+` after it (batch, unit), from rest in units
    of the threshold; :math:`z` the spikes, 0 or 1 (batch, unit); :math:`\tau_{mem}` the membrane time constant, s;
    :math:`\theta` the threshold, 1 or, where it is trained, (unit,); :math:`H` the Heaviside step, with a surrogate
    gradient. The drive (batch, unit) is that of `RecurrentNetwork`, which has the parameters of the constructor, too.
    For the refractory period after a spike the potential stands still and the cell cannot spike.

    References
    ----------
    Gerstner, Kistler, Naud and Paninski (2014), Neuronal Dynamics, chapter 1.
    Neftci, Mostafa and Zenke (2019), Surrogate gradient learning in spiking neural networks, IEEE Signal
    Processing Magazine 36.
    """

    usual = LIFParameters()
    cell_type = LIFCell
