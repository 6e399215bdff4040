"""A recurrent network of any cell behind exponential synapses, under the model contract.

A *cell* is the point neuron without its synapses: ``initial_state(batch)``, ``step(drive, state)`` and
``scan(drive, state)``. `RecurrentNetwork` closes the loop, draws the background noise and keeps the contract, so
a new neuron is a cell and a constructor.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.contracts import Trajectory
from organoid.models.dispatch import run_compiled, scan_compiled
from organoid.models.synapses.exponential import ExponentialSynapses, SynapseState
from organoid.models.teacher_forcing.voltages import ForcedVoltages, check_recorded, forced_thresholds, scan_forced


class Cell(Protocol):
    """A population of uncoupled point neurons."""

    def initial_state(self, batch: int, like: Tensor) -> Any:
        """Return the state at rest, tensors of shape (batch, unit) in the dtype and on the device of ``like``."""

    def step(self, drive: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Advance one step; return spikes, distance to threshold (both (batch, unit)) and state."""

    def scan(self, drive: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Advance over (batch, time, unit) drive; equal to calling `step` for each."""


def loop(cell: Cell, drive: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
    """Step a cell over (batch, time, unit) drive; the plain reference of every `Cell.scan`."""
    spikes, distances = [], []
    for part in drive.unbind(1):
        out, distance, state = cell.step(part, state)
        spikes.append(out)
        distances.append(distance)
    return torch.stack(spikes, 1), torch.stack(distances, 1), state


def check_size(n_units: int, dt: float) -> None:
    """Raise `ModelError` unless there is a unit and the step is a positive time."""
    if n_units < 1 or not (math.isfinite(dt) and dt > 0):
        raise ModelError(f"a network needs n_units >= 1 and dt > 0 s, got {n_units!r} and {dt!r}")


class NetworkState(NamedTuple):
    """State of the cells and of the synapses."""

    cell: Any
    synapse: SynapseState


class RecurrentNetwork(nn.Module):
    r"""Cells driven by bias, recurrent synapses and external input.

    .. math:: \text{drive}[t] = b + x[t] + \sum_k s_k[t] W_k

    Everything is in units of the threshold: a constant drive of 1 takes a resting cell just to threshold.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    cell : Cell
        The neurons.
    synapses : ExponentialSynapses
        The connections.
    tau_mem : float
        Membrane time constant, s; turns the noise strength into an input strength.
    noise_sd : float
        Initial standard deviation that the background noise gives a free membrane potential, thresholds.
    escape_width : float
        Width of the soft threshold behind `Trajectory.logits`, thresholds.
    """

    def __init__(
        self,
        n_units: int,
        dt: float,
        *,
        cell: Any,
        synapses: ExponentialSynapses,
        tau_mem: float,
        noise_sd: float,
        escape_width: float,
    ) -> None:
        super().__init__()
        check_size(n_units, dt)
        if not (noise_sd > 0 and escape_width > 0):
            raise ModelError(f"noise_sd and escape_width must be positive, got {noise_sd!r} and {escape_width!r}")
        self.n_units, self.dt = int(n_units), float(dt)
        self.cell, self.synapses = cell, synapses
        self.escape_width = escape_width
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.log_noise = nn.Parameter(torch.full((n_units,), math.log(noise_sd)))
        decay = math.exp(-dt / tau_mem)
        # White input of sd q gives V the stationary sd q (1 - decay) / sqrt(1 - decay^2).
        self._input_per_sd = math.sqrt((1 + decay) / (1 - decay))

    def initial_state(self, batch: int = 1) -> NetworkState:
        """Return the state at rest with no spike under way."""
        return NetworkState(self.cell.initial_state(batch, self.bias), self.synapses.initial_state(batch))

    def noise(self, batch: int, n_steps: int, generator: torch.Generator) -> Tensor:
        """Draw background input, shape (batch, time, unit): white, independent between units.

        Parameters
        ----------
        batch, n_steps : int
            How much to draw.
        generator : Generator
            Source of the numbers; the same seed gives the same noise.

        Returns
        -------
        Tensor
            Input to pass as ``x``; the gradient reaches ``log_noise`` through it.
        """
        xi = torch.randn(batch, n_steps, self.n_units, generator=generator).to(self.bias)
        return xi * (self.log_noise.exp() * self._input_per_sd)

    def step(self, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        """Advance one step under the external input ``x``, shape (batch, unit), thresholds."""
        spikes, _, state = self.advance(x, state, self.synapses.effective_weight())
        return spikes, state

    def run(self, x: Tensor, state: NetworkState | None = None) -> tuple[Tensor, NetworkState]:
        """Advance over the external input ``x``, shape (batch, time, unit), from ``state`` or from rest.

        Compiled where there is a form for it, else in plain torch: `organoid.models.backend`.
        """
        spikes, _, state = self._advance_all(x, state, None, distance=False)
        return spikes, state

    def trajectory(self, x: Tensor, state: NetworkState | None = None, *, forced: Tensor | None = None) -> Trajectory:
        """Run with everything visible; see `organoid.models.contracts.TrainableModel`.

        Raises
        ------
        ModelError
            When ``x`` or ``forced`` do not have the shape (batch, time, n_units).
        """
        spikes, distance, state = self._advance_all(x, state, forced, distance=True)
        return Trajectory(spikes, distance / self.escape_width, state)

    def forced_voltages(
        self, spikes: Tensor, x: Tensor | None = None, state: NetworkState | None = None
    ) -> ForcedVoltages:
        r"""Potentials of all units, with recorded spikes as the network's whole history.

        Recorded spikes travel along the synapses, reset their units, keep them refractory and raise their thresholds;
        the units' own crossings do nothing. So nothing has to wait for the step before: synapses, resets and
        membranes are linear filters, solved in parallel over time; `organoid.models.teacher_forcing.voltages` has the
        equations. On a CPU compiled code does the same sums step by step, which is quicker on one core.

        Parameters
        ----------
        spikes : Tensor, shape (batch, time, n_units)
            Recorded spikes, 0 or 1, of any type.
        x : Tensor, shape (batch, time, n_units), optional
            External input, thresholds; none if not given.
        state : NetworkState, optional
            Where to start; at rest if not given.

        Returns
        -------
        ForcedVoltages
            Potentials before the reset of their step, log-odds of a spike and the final state; differentiable in
            input, initial state and all parameters.

        Raises
        ------
        ModelError
            When shapes do not fit, spikes lie outside 0 to 1, or the membranes are not linear between spikes (AdEx,
            Izhikevich).
        """
        spikes = spikes if spikes.is_floating_point() else spikes.to(self.bias.dtype)
        x = torch.zeros_like(spikes) if x is None else x
        self._check_input(x, spikes)
        check_recorded(spikes)
        if not hasattr(self.cell, "canonical"):
            raise ModelError(
                f"{type(self).__name__} has no membranes that are linear between known spikes; LIF, AdaptiveLIF and "
                f"EscapeNoiseLIF have; for others there is trajectory(x, forced=spikes)"
            )
        state = self.initial_state(x.shape[0]) if state is None else state
        distance, after = self._forced_distance(spikes, x, state)
        voltage = distance + forced_thresholds(self.cell.canonical(state.cell), spikes)[0]
        return ForcedVoltages(voltage, distance / self.escape_width, after)

    def _forced_distance(self, spikes: Tensor, x: Tensor, state: NetworkState) -> tuple[Tensor, NetworkState]:
        found = run_compiled(self, x, state, spikes, distance=True, recorded=True)
        if found is not None:
            return found[1], NetworkState(*found[2:])
        current, synapse = self.synapses.forced(spikes, state.synapse)
        drive = self.bias + x + current
        cells = scan_compiled(self.cell, drive, state.cell, spikes) or scan_forced(self.cell, drive, state.cell, spikes)
        return cells[1], NetworkState(cells[2], synapse)

    def _advance_all(
        self, x: Tensor, state: NetworkState | None, forced: Tensor | None, *, distance: bool
    ) -> tuple[Tensor, Tensor, NetworkState]:
        """Return spikes, distance to threshold (where it is wanted) and state, by the fastest code there is."""
        self._check_input(x, forced)
        state = self.initial_state(x.shape[0]) if state is None else state
        found = run_compiled(self, x, state, forced, distance=distance)
        if found is not None:
            spikes, gap, cell, synapse = found
            return spikes, gap, NetworkState(cell, synapse)
        if forced is None:
            return self._free(x, state)
        # Known presynaptic spikes make all currents known before the first step: one product for the whole run.
        current, synapse = self.synapses.forced(forced, state.synapse)
        spikes, gap, cell = self.cell.scan(self.bias + x + current, state.cell)
        return spikes, gap, NetworkState(cell, synapse)

    def _free(self, x: Tensor, state: NetworkState) -> tuple[Tensor, Tensor, NetworkState]:
        weight = self.synapses.effective_weight()
        spikes, distances = [], []
        for part in x.unbind(1):
            out, distance, state = self.advance(part, state, weight)
            spikes.append(out)
            distances.append(distance)
        return torch.stack(spikes, 1), torch.stack(distances, 1), state

    def advance(self, x: Tensor, state: NetworkState, weight: Tensor) -> tuple[Tensor, Tensor, NetworkState]:
        """Advance one step with given weights; return spikes, distance to threshold and state."""
        current, trace = self.synapses.arrive(state.synapse, weight)
        spikes, distance, cell = self.cell.step(self.bias + x + current, state.cell)
        return spikes, distance, NetworkState(cell, self.synapses.send(trace, state.synapse, spikes))

    def _check_input(self, x: Tensor, forced: Tensor | None) -> None:
        if x.ndim != 3 or x.shape[2] != self.n_units or x.shape[1] == 0:
            raise ModelError(f"input must have shape (batch, time > 0, {self.n_units}), got {tuple(x.shape)}")
        if forced is not None and forced.shape != x.shape:
            raise ModelError(
                f"forced spikes must have the shape of the input, {tuple(x.shape)}, got {tuple(forced.shape)}"
            )
