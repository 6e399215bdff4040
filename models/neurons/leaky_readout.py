r"""Leaky units that do not spike: what a decoder reads from spikes.

.. math:: y[t] = \beta y[t-1] + (1 - \beta)\,(x[t] W + b), \qquad \beta = e^{-dt/\tau}

References
----------
Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein and Maass (2020), A solution to the learning dilemma for
recurrent networks of spiking neurons, Nature Communications 11 (leaky readouts).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.recurrent import check_size
from organoid.models.synapses.exponential import exponential_trace
from organoid.models.trainable import check_trainable, decay, trained


class LeakyReadout(nn.Module):
    """Leaky readout of spikes, trainable weights and biases.

    It keeps the shape of the `SpikingModel` contract (state in, state out; ``run`` is ``step`` for each bin), with
    potentials where others have spikes; `check_model` runs where it reads as many units as it has.

    Parameters
    ----------
    n_inputs : int
        Units it reads.
    n_units : int
        Readout units.
    dt : float
        Step, s.
    tau : float
        Time constant, s.
    seed : int
        Seed of the initial weights.
    trainable : tuple of str
        "tau" trains the time constant, one for all units.
    """

    def __init__(
        self,
        n_inputs: int,
        n_units: int,
        dt: float,
        *,
        tau: float = 0.02,
        seed: int = 0,
        trainable: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        check_size(min(n_inputs, n_units), dt)
        if not (math.isfinite(tau) and tau > 0):
            raise ModelError(f"tau must be a positive time in s, got {tau!r}")
        self.n_inputs, self.n_units, self.dt = int(n_inputs), int(n_units), float(dt)
        check_trainable(trainable, ("tau",), "a readout")
        self.tau, self.log_tau = tau, trained("tau", tau, trainable, 1)
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(n_inputs, n_units, generator=generator) / math.sqrt(n_inputs))
        self.bias = nn.Parameter(torch.zeros(n_units))

    @property
    def decay(self) -> float | Tensor:
        """What is left of the potential after a step."""
        return decay(self.dt, self.tau, self.log_tau)

    def initial_state(self, batch: int = 1) -> Tensor:
        """Return potentials at rest, shape (batch, unit)."""
        return self.weight.new_zeros(batch, self.n_units)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step under ``x``, shape (batch, input); return potentials twice, as output and as state."""
        keep = self.decay
        y = keep * state + (1 - keep) * (x @ self.weight + self.bias)
        return y, y

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Advance over ``x``, shape (batch, time, input).

        Returns
        -------
        tuple of Tensor
            Potentials (batch, time, unit) and the last of them (batch, unit).

        Raises
        ------
        ModelError
            When ``x`` does not have the shape (batch, time > 0, n_inputs).
        """
        if x.ndim != 3 or x.shape[2] != self.n_inputs or x.shape[1] == 0:
            raise ModelError(f"input must have shape (batch, time > 0, {self.n_inputs}), got {tuple(x.shape)}")
        keep = self.decay
        y = exponential_trace((1 - keep) * (x @ self.weight + self.bias), keep, state)
        return y, y[:, -1]
