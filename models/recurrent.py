"""A recurrent network of any cell behind exponential synapses, under the model contract.

A *cell* is the point neuron without its synapses: ``initial_state(batch)``, ``step(drive, state)`` and
``scan(drive, state)``. `RecurrentNetwork` closes the loop, draws the background noise and keeps the contract, so
a new neuron is a dataclass of parameters, a cell, and a class that names both under its equation.
"""

from __future__ import annotations

import math
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from organoid.errors import ModelError
from organoid.models.contracts import Trajectory
from organoid.models.dispatch import run_compiled, scan_compiled
from organoid.models.surrogate import FastSigmoid, SpikeFunction
from organoid.models.synapses.exponential import ExponentialSynapses, SynapseState, fitting_synapses
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


class NetworkConstants(NamedTuple):
    """What a network needs to know beside its cells.

    Parameters
    ----------
    tau_mem : float
        Membrane time constant, s; turns the noise strength into an input strength.
    tau_syn : tuple of float
        Synaptic time constants, s.
    delay : float
        Delay of recurrent spikes, s.
    noise_sd : float
        Initial standard deviation that the background noise gives a free membrane potential, thresholds.
    weight_scale : float
        Standard deviation of the summed initial weights onto a unit, thresholds.
    escape_width : float
        Width of the soft threshold behind `Trajectory.logits`, thresholds.
    trainable : tuple of str
        "tau_syn" trains the synaptic time constants.
    """

    tau_mem: float
    tau_syn: tuple[float, ...]
    delay: float
    noise_sd: float
    weight_scale: float
    escape_width: float
    trainable: tuple[str, ...]

    @classmethod
    def of(cls, parameters: Any, tau_mem: float) -> NetworkConstants:
        """Return those of parameters that have them under the same names."""
        return cls(tau_mem, *(getattr(parameters, name) for name in cls._fields[1:]))


class NeuronParameters(Protocol):
    """Fixed properties of a network of one kind of neuron: a frozen dataclass, by custom."""

    @property
    def network(self) -> NetworkConstants:
        """Those that the network needs to know beside its cells."""


P = TypeVar("P", bound=NeuronParameters)


class RecurrentNetwork(nn.Module, Generic[P]):
    r"""Cells driven by bias, recurrent synapses and external input; the base of every neuron model.

    .. math:: \text{drive}[t] = b + x[t] + \sum_k s_k[t] W_k

    :math:`b` is the bias (unit,), :math:`x` the external input (batch, time, unit), :math:`s_k` the synaptic traces
    (batch, unit) and :math:`W_k` the weights (pre, post). Everything is in units of the threshold: a constant drive of
    1 takes a resting cell just to threshold. A neuron is a subclass that sets `usual` and `cell_type`, and has the
    equation of its cells in its docstring.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    parameters : NeuronParameters, optional
        Fixed properties, of the class of `usual`; `usual` if not given.
    spike : SpikeFunction, optional
        Spike function with its surrogate gradient; `usual_spike` if not given.
    mask : Tensor of bool, shape (unit, unit), optional
        Allowed (pre, post) connections; all but self-connections if not given.
    synapses : ExponentialSynapses, optional
        Synapses of another kind (sparse, with delays of their own, depressing, under Dale's law) instead of those
        that the parameters and the mask describe.
    seed : int
        Seed of the initial weights.

    Attributes
    ----------
    usual : NeuronParameters
        Fixed properties of a network that is given none.
    cell_type : type
        The neurons: called as ``cell_type(n_units, dt, parameters, spike)``, a `Cell`.

    Raises
    ------
    ModelError
        When a value is out of range, or synapses are made for another network.
    """

    usual: P
    cell_type: type[Any]

    def __init__(
        self,
        n_units: int,
        dt: float,
        parameters: P | None = None,
        *,
        spike: SpikeFunction | None = None,
        mask: Tensor | None = None,
        synapses: ExponentialSynapses | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_size(n_units, dt)
        p = self.usual if parameters is None else parameters
        if not isinstance(p, type(self.usual)):
            raise ModelError(f"{type(self).__name__} takes {type(self.usual).__name__}, got parameters={parameters!r}")
        known = p.network
        if not (known.noise_sd > 0 and known.escape_width > 0):
            raise ModelError(
                f"noise_sd and escape_width must be positive, got {known.noise_sd!r} and {known.escape_width!r}"
            )
        self.n_units, self.dt, self.fixed = int(n_units), float(dt), p
        self.cell = self.cell_type(n_units, dt, p, spike or self.usual_spike(p))
        self.synapses = _synapses(known, n_units, dt, mask, seed, synapses)
        self.escape_width = known.escape_width
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.log_noise = nn.Parameter(torch.full((n_units,), math.log(known.noise_sd)))
        decay = math.exp(-dt / known.tau_mem)
        # White input of sd q gives V the stationary sd q (1 - decay) / sqrt(1 - decay^2).
        self._input_per_sd = math.sqrt((1 + decay) / (1 - decay))

    @staticmethod
    def usual_spike(parameters: P) -> SpikeFunction:
        """Return the spike function of a network that is given none."""
        return FastSigmoid()

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
        equations. On a CPU compiled code does the same sums step by step, which is faster on one core.

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


def _synapses(
    known: NetworkConstants, n_units: int, dt: float, mask: Tensor | None, seed: int, own: ExponentialSynapses | None
) -> ExponentialSynapses:
    """Return the synapses that the constants describe, with seeded initial weights, or those given instead."""
    if own is not None:
        return fitting_synapses(own, n_units, dt, mask)
    return ExponentialSynapses(
        n_units,
        dt,
        tau=known.tau_syn,
        delay=known.delay,
        mask=mask,
        scale=known.weight_scale,
        generator=torch.Generator().manual_seed(seed),
        trainable=known.trainable,
    )
