"""Adaptive exponential integrate-and-fire neurons: parameters, a cell, and the recurrent network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.neurons.lif import LIFParameters
from organoid.models.recurrent import NetworkConstants, RecurrentNetwork, loop
from organoid.models.surrogate import SpikeFunction
from organoid.models.synapses.exponential import steps
from organoid.models.trainable import check_trainable, decay, trained


def _paper() -> LIFParameters:
    return LIFParameters(tau_mem=0.281 / 30, detach_reset=True)


@dataclass(frozen=True)
class AdExParameters:
    """Fixed properties of an AdEx network.

    Parameters
    ----------
    lif : LIFParameters
        Membrane time constant, refractoriness, synapses and noise; its reset must be "hard". By default the gradient
        passes by the reset: from the peak it is 1.5 thresholds deep, at every spike the gradient through it grows
        manyfold, and training with it fails.
    slope : float
        Sharpness of spike initiation (Delta), thresholds.
    peak : float
        Potential at which a spike is counted, thresholds.
    reset_voltage : float
        Potential after a spike, thresholds.
    coupling : float
        Adaptation by the potential (a), in units of the leak conductance.
    tau_adapt : float
        Time constant of adaptation, s.
    jump : float
        Initial rise of adaptation per spike (B), thresholds.
    max_part : float
        Longest part of a step that is integrated at once, s.
    trainable : tuple of str
        "tau_adapt" trains that for each unit; "tau_mem" and "tau_syn" are listed in ``lif.trainable``. The peak is no
        threshold of the dynamics and is not trained.
    """

    lif: LIFParameters = field(default_factory=_paper)
    slope: float = 2.0 / 20.2
    peak: float = 1.5
    reset_voltage: float = 0.0
    coupling: float = 4.0 / 30
    tau_adapt: float = 0.144
    jump: float = 0.0805 / 0.606
    max_part: float = 0.0005
    trainable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_trainable(self.trainable, ("tau_adapt",), "an AdEx cell")
        check_trainable(self.lif.trainable, ("tau_mem", "tau_syn"), "the membrane of an AdEx cell")
        positive = (self.slope, self.tau_adapt, self.jump, self.max_part)
        if not all(math.isfinite(value) and value > 0 for value in positive):
            raise ModelError(f"slope, tau_adapt, jump and max_part must be positive and finite, got {self}")
        if not (self.peak >= 1 and self.reset_voltage < self.peak):
            raise ModelError(f"peak must be 1 or more and reset_voltage below it (thresholds), got {self}")
        if self.lif.reset != "hard":
            raise ModelError(f"an AdEx cell has a hard reset, got reset={self.lif.reset!r}")

    @property
    def network(self) -> NetworkConstants:
        """What the network needs to know beside its cells."""
        return self.lif.network


class AdExState(NamedTuple):
    """Potential and adaptation, thresholds, and refractory steps left; all (batch, unit)."""

    voltage: Tensor
    adaptation: Tensor
    refractory: Tensor


class AdExCell(nn.Module):
    """AdEx neurons without synapses; see `AdEx` for the equation.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : AdExParameters
        Fixed properties.
    spike : SpikeFunction
        Step function of the distance to the peak, with its surrogate gradient.
    """

    def __init__(self, n_units: int, dt: float, parameters: AdExParameters, spike: SpikeFunction) -> None:
        super().__init__()
        p = parameters
        self.n_units, self.spike, self.fixed = n_units, spike, p
        self.n_parts = max(1, math.ceil(dt / p.max_part - 1e-9))
        self.part = dt / self.n_parts
        self.log_tau_mem = trained("tau_mem", p.lif.tau_mem, p.lif.trainable, n_units)
        self.log_tau_adapt = trained("tau_adapt", p.tau_adapt, p.trainable, n_units)
        self.n_refractory = steps(p.lif.refractory, dt)
        self.log_jump = nn.Parameter(torch.full((n_units,), math.log(p.jump)))

    def initial_state(self, batch: int, like: Tensor) -> AdExState:
        """Return cells at rest, none refractory."""
        zeros = like.new_zeros(batch, self.n_units)
        return AdExState(zeros, zeros, zeros)

    def step(self, drive: Tensor, state: AdExState) -> tuple[Tensor, Tensor, AdExState]:
        """Advance one step; return spikes, distance to the peak and state, all (batch, unit)."""
        v, w, left = state
        ready = left <= 0
        keep = decay(self.part, self.fixed.lif.tau_mem, self.log_tau_mem)
        keep_adapt = decay(self.part, self.fixed.tau_adapt, self.log_tau_adapt)
        for _ in range(self.n_parts):
            v, w = self._part(drive, v, w, ready, keep, keep_adapt)
        distance = v - self.fixed.peak
        spikes = self.spike(distance) * ready
        through = spikes.detach() if self.fixed.lif.detach_reset else spikes
        v = v + through * (self.fixed.reset_voltage - v)
        w = w + through * self.log_jump.exp()
        # A relaxed spike function gives fractions; from one half on they count as a spike here.
        left = torch.where(spikes.detach() >= 0.5, float(self.n_refractory), (left - 1).clamp(min=0))
        return spikes, distance, AdExState(v, w, left)

    def scan(self, drive: Tensor, state: AdExState) -> tuple[Tensor, Tensor, AdExState]:
        """Advance over (batch, time, unit) drive."""
        return loop(self, drive, state)

    def _part(
        self, drive: Tensor, v: Tensor, w: Tensor, ready: Tensor, keep: float | Tensor, keep_adapt: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        p, below = self.fixed, v < self.fixed.peak
        upstroke = p.slope * torch.exp(((v - 1) / p.slope).clamp(max=(p.peak - 1) / p.slope))
        v_next = keep * v + (1 - keep) * (drive - w + upstroke)
        w_next = keep_adapt * w + (1 - keep_adapt) * p.coupling * v
        return torch.where(below & ready, v_next, v), torch.where(below, w_next, w)


class AdEx(RecurrentNetwork[AdExParameters]):
    r"""Recurrent network of adaptive exponential integrate-and-fire neurons.

    .. math::

        \tau_m \dot V = -V + \Delta\, e^{(V - 1)/\Delta} - w + \text{drive}, \qquad
        \tau_w \dot w = a V - w, \qquad
        V \ge V_{peak}:\; V \to V_r,\; w \to w + B

    :math:`V` is the potential and :math:`w` the adaptation current (batch, unit); :math:`\tau_m` and :math:`\tau_w`
    the time constants of membrane and adaptation, s; :math:`\Delta` the sharpness of spike initiation; :math:`a` the
    adaptation by the potential, leak conductances; :math:`V_{peak}` the potential at which a spike is counted,
    :math:`V_r` that after it; :math:`B` the jump of adaptation per spike, thresholds (unit,), trained.
    The drive (batch, unit) is that of `RecurrentNetwork`, which has the parameters of the constructor, too.

    Potentials are measured from rest in units of the threshold (the paper's :math:`V_T - E_L`), currents in those of
    :math:`g_L (V_T - E_L)`. With the defaults, those of the paper, one unit is 20.2 mV or 0.606 nA. Integrated by
    exponential Euler in parts of a step; a spike ends its step, and while a cell is refractory its potential stands
    still.

    References
    ----------
    Brette and Gerstner (2005), Adaptive exponential integrate-and-fire model as an effective description of neuronal
    activity, Journal of Neurophysiology 94.
    """

    usual = AdExParameters()
    cell_type = AdExCell
