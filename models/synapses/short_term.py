r"""Short-term depression and facilitation of synapses.

.. math::

    u_n = U + (1 - U)\, u_{n-1} e^{-\Delta/\tau_f}, \qquad
    R_n = 1 - \big(1 - R_{n-1} (1 - u_{n-1})\big) e^{-\Delta/\tau_r}, \qquad
    \text{released} = R_n u_n / U

at the n-th spike, :math:`\Delta` after the one before: a share :math:`u` of the resources :math:`R` is released and
recovers with :math:`\tau_r`; :math:`u` rises with every spike and falls back with :math:`\tau_f`. Divided by
:math:`U`, so that a rested synapse passes a spike as 1 and weights keep their meaning.

References
----------
Tsodyks and Markram (1997), The neural code between neocortical pyramidal neurons depends on neurotransmitter release
probability, PNAS 94.
Markram, Wang and Tsodyks (1998), Differential signaling via the same axon of neocortical pyramidal neurons, PNAS 95.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.backend import misplaced, refused
from organoid.models.compiled.recurrent.short_term import released
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.models.synapses.sparse import SparseSynapses


class ReleaseState(NamedTuple):
    """Resources missing and what is left of past use, just before a step's spikes; both (batch, unit), 0 at rest."""

    missing: Tensor
    facilitation: Tensor


@dataclass(frozen=True)
class ShortTermPlasticity:
    """Release by presynaptic units; see the module docstring for the equation.

    Parameters
    ----------
    dt : float
        Step, s.
    use : float
        Share of resources that a first spike releases (U), in (0, 1].
    tau_recovery : float
        Time constant of recovery, s.
    tau_facilitation : float
        Time constant of facilitation, s; 0 is none (pure depression).
    """

    dt: float
    use: float = 0.5
    tau_recovery: float = 0.8
    tau_facilitation: float = 0.0

    def __post_init__(self) -> None:
        if not (self.dt > 0 and self.tau_recovery > 0 and self.tau_facilitation >= 0 and 0 < self.use <= 1):
            raise ModelError(
                f"dt and tau_recovery must be positive, tau_facilitation not negative (s), use in (0, 1]: {self}"
            )

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Use, and what is left of missing resources and of facilitation after a step."""
        fall = math.exp(-self.dt / self.tau_facilitation) if self.tau_facilitation else 0.0
        return self.use, math.exp(-self.dt / self.tau_recovery), fall

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> ReleaseState:
        """Return rested synapses."""
        zeros = like.new_zeros(batch, n_units)
        return ReleaseState(zeros, zeros)

    def step(self, spikes: Tensor, state: ReleaseState) -> tuple[Tensor, ReleaseState]:
        """Release on this step's spikes, shape (batch, unit); return what is released and the state a step later."""
        _, recover, fall = self.numbers
        u = self.use + (1 - self.use) * state.facilitation
        out = spikes * u * (1 - state.missing)
        missing = recover * (state.missing + out)
        facilitation = fall * (state.facilitation + spikes * (u - state.facilitation))
        return out / self.use, ReleaseState(missing, facilitation)

    def run(self, spikes: Tensor, state: ReleaseState) -> tuple[Tensor, ReleaseState]:
        """Release on spikes (batch, time, unit); equal to calling `step` for each. Compiled where possible."""
        tensors = (spikes, *state)
        if not refused(type(self).__name__, misplaced(tensors)):
            dtype = state.missing.detach().numpy().dtype
            sent, *stores = released(*tensors, np.asarray(self.numbers, dtype))
            return sent, ReleaseState(*stores)
        out = []
        for part in spikes.unbind(1):
            sent, state = self.step(part, state)
            out.append(sent)
        return torch.stack(out, 1), state


class ShortTermSynapseState(NamedTuple):
    """State of the synapses behind the release, and of the release."""

    synapse: Any
    release: ReleaseState


class _Releasing(ExponentialSynapses):
    """Synapses behind presynaptic units that depress and facilitate: they carry what is released."""

    release: ShortTermPlasticity

    def __init__(self, n_units: int, dt: float, *, release: ShortTermPlasticity | None = None, **other: Any) -> None:
        super().__init__(n_units, dt, **other)
        release = release or ShortTermPlasticity(dt)
        if not math.isclose(release.dt, dt):
            raise ModelError(
                f"the release is made for steps of {release.dt} s, the synapses for {dt} s; they must agree"
            )
        self.release = release

    def initial_state(self, batch: int) -> ShortTermSynapseState:
        """Return the state in which no spike is under way and all synapses are rested."""
        release = self.release.initial_state(batch, self.n_units, self.weight)
        return ShortTermSynapseState(super().initial_state(batch), release)

    def arriving(self, state: Any) -> Tensor:
        """Return what arrives in the coming step, shape (batch, unit)."""
        return super().arriving(state.synapse)

    def arrive(self, state: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Let what is on its way arrive; return the current (batch, unit) and the new trace."""
        return super().arrive(state.synapse, weight)

    def send(self, trace: Tensor, state: Any, emitted: Tensor) -> Any:
        """Put what the spikes of this step release on its way."""
        sent, release = self.release.step(emitted, state.release)
        return ShortTermSynapseState(super().send(trace, state.synapse, sent), release)

    def forced(self, emitted: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the current (batch, time, unit) of spikes that are known beforehand, and the state after them."""
        sent, release = self.release.run(emitted, state.release)
        current, after = super().forced(sent, state.synapse)
        return current, ShortTermSynapseState(after, release)


class ShortTermSynapses(_Releasing, ExponentialSynapses):
    """`ExponentialSynapses` whose presynaptic units depress and facilitate; a part for `RecurrentNetwork`.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    release : ShortTermPlasticity, optional
        Depression and facilitation, made for the same step; its defaults if not given.
    **other
        As for `ExponentialSynapses`.
    """


class ShortTermSparseSynapses(_Releasing, SparseSynapses):
    """`SparseSynapses` whose presynaptic units depress and facilitate; a part for `RecurrentNetwork`.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    release : ShortTermPlasticity, optional
        Depression and facilitation, made for the same step; its defaults if not given.
    **other
        As for `SparseSynapses`.
    """
