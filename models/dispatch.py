r"""The canonical network compiled: (adaptive) LIF cells behind exponential synapses, spikes and exact gradients.

.. math::

    I_k[t] = a_k I_k[t-1] + \sum_j z_j[t-d]\,W_{kj}, \qquad
    \text{drive}[t] = b + x[t] + \sum_k I_k[t], \qquad
    \lambda_k[t] = \frac{\partial L}{\partial\,\text{drive}[t]} + a_k \lambda_k[t+1], \qquad
    \frac{\partial L}{\partial W_{kj}} = \sum_t z_j[t-d]\,\lambda_k[t], \qquad
    \frac{\partial L}{\partial z_j[t-d]} \mathrel{+}= \sum_k W_{kj} \cdot \lambda_k[t]

The rest is the chain rule of `organoid.models.neurons.lif` and `organoid.models.neurons.adaptive_lif`, resets,
refractoriness and adaptation included. Sums over presynaptic units run over spikes only, the last one only over units
whose surrogate has a slope there; what is left out is exactly zero. Here a network and its state are put into this
form and back; `organoid.models.compiled.recurrent.autograd` runs it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from organoid.models.backend import obstacle, refused
from organoid.models.compiled.recurrent.arrays import Inputs, Outputs, Rule
from organoid.models.compiled.recurrent.autograd import network_pass
from organoid.models.surrogate import Surrogate
from organoid.models.synapses.exponential import ExponentialSynapses, SynapseState
from organoid.models.synapses.short_term import ReleaseState, ShortTermSynapses, ShortTermSynapseState


class CanonicalCells(NamedTuple):
    """What a cell with a compiled form says of itself and its state.

    Parameters
    ----------
    keep, take : float or Tensor, shape (unit,)
        What is left of a potential after a step, and what it takes of the drive.
    threshold, increment, fade : float or Tensor, shape (unit,)
        Threshold, its rise per spike, what is left of the adaptation after a step.
    n_refractory : int
        Steps.
    hard, detach_reset, adaptive : bool
        Kind of reset, whether the gradient passes by it, whether the threshold adapts.
    spike : SpikeFunction
        Spike function; there is a compiled form only for a `Surrogate`.
    voltage, refractory, adaptation : Tensor, shape (batch, unit)
        State.
    stream : Tensor of int64, shape (batch, 2), optional
        Stream and step of the draws, for cells with escape noise.
    """

    keep: float | Tensor
    take: float | Tensor
    threshold: float | Tensor
    increment: float | Tensor
    fade: float | Tensor
    n_refractory: int
    hard: bool
    detach_reset: bool
    adaptive: bool
    spike: Any
    voltage: Tensor
    refractory: Tensor
    adaptation: Tensor
    stream: Tensor | None = None


def scan_compiled(
    cell: Any, drive: Tensor, state: Any, recorded: Tensor | None = None
) -> tuple[Tensor, Tensor, Any] | None:
    """Advance a cell over a known drive (batch, time, unit); None where there is no compiled form for it.

    With recorded spikes as history nothing a cell emits comes back to it, so all cells and copies are independent.
    Where ``recorded`` spikes are given, they reset the cells.
    """
    form = cell.canonical(state) if recorded is None else reset_by_record(cell.canonical(state))
    tensors = (drive, form.voltage, form.refractory, form.adaptation)
    reason = obstacle(form.spike, form.stream is not None, tensors) or _wanted(recorded)
    if refused(type(cell).__name__, reason):
        return None
    n_batch, _, n = drive.shape
    nothing = {
        "bias": drive.new_zeros(n),
        "weight": drive.new_zeros(0, n, n),
        "synapse_decay": drive.new_zeros(0),
        "current": drive.new_zeros(n_batch, 0, n),
        "inject": drive.new_zeros(n_batch, 0, 0, n),
        "forced": drive.new_zeros(n_batch, 0, n) if recorded is None else recorded,
        "missing": drive.new_zeros(n_batch, 0),
        "facilitation": drive.new_zeros(n_batch, 0),
    }
    out = _run(form, 1, True, (), x=drive, **nothing)
    return out.spikes, out.distance, cell.after(state, out)


def run_compiled(
    network: Any, x: Tensor, state: Any, forced: Tensor | None, *, distance: bool, recorded: bool = False
) -> tuple[Tensor, Tensor, Any, Any] | None:
    """Advance a `RecurrentNetwork` over ``x``; None where there is no compiled form for it.

    Parameters
    ----------
    network : RecurrentNetwork
        Cells and synapses.
    x : Tensor, shape (batch, time, unit)
        External input.
    state : NetworkState
        Where to start.
    forced : Tensor, shape (batch, time, unit), optional
        Spikes that travel along the synapses instead of the network's own.
    distance : bool
        Whether distances to threshold are wanted; they take as much memory as the spikes.
    recorded : bool
        Whether the forced spikes reset the cells.

    Returns
    -------
    tuple or None
        Spikes, distance to threshold (batch, time, unit), states of cells and of synapses.
    """
    synapses = network.synapses
    form = network.cell.canonical(state.cell) if hasattr(network.cell, "canonical") else None
    form = reset_by_record(form) if recorded and form is not None else form
    reason = _why_not(network, form, x, state, forced)
    if refused(f"{type(network).__name__} with {type(synapses).__name__}", reason) or form is None:
        return None
    carried, stores = _parts(synapses, state.synapse)
    release: tuple[float, ...] = ()
    if stores is not None and forced is None:
        release = synapses.release.numbers
    elif stores is not None:
        forced, stores = synapses.release.run(forced, stores)
    weight = synapses.effective_weight()
    decay = synapses.decay_column(weight)[:, 0]
    current, inject = _early(carried, weight, x.shape[1])
    given = {"bias": network.bias, "weight": weight, "synapse_decay": decay, "current": current, "inject": inject}
    within = stores if release and stores is not None else 2 * (x.new_zeros(x.shape[0], 0),)
    given |= {"missing": within[0], "facilitation": within[1]}
    out = _run(form, synapses.delay, distance, release, x=x, forced=forced, **given)
    synapse: Any = _late(carried, decay, out.sent, out.trace)
    if stores is not None:
        after = ReleaseState(out.missing, out.facilitation) if release else stores
        synapse = ShortTermSynapseState(synapse, after)
    return out.spikes, out.distance, network.cell.after(state.cell, out), synapse


def _parts(synapses: Any, state: Any) -> tuple[SynapseState, ReleaseState | None]:
    """Return the state of the currents, and that of the release where there is one."""
    return (state.synapse, state.release) if isinstance(synapses, ShortTermSynapses) else (state, None)


def _why_not(network: Any, form: CanonicalCells | None, x: Tensor, state: Any, forced: Tensor | None) -> str | None:
    """Return why there is no compiled form, or None."""
    if type(network.synapses) not in (ExponentialSynapses, ShortTermSynapses) or form is None:
        return "there is no compiled form of these cells with these synapses"
    if (wanted := _wanted(forced)) is not None:
        return wanted
    carried, stores = _parts(network.synapses, state.synapse)
    if forced is not None and any(t.requires_grad for t in stores or ()):
        return "a gradient is wanted for what recorded spikes release"
    synapse = (network.synapses.weight, *carried, *(stores or ()))
    own = (network.bias, form.voltage, form.refractory, form.adaptation, *synapse)
    given = (x,) if forced is None else (x, forced)
    return obstacle(form.spike, form.stream is not None, (*own, *given))


def _wanted(forced: Tensor | None) -> str | None:
    return "a gradient is wanted for the recorded spikes" if forced is not None and forced.requires_grad else None


class _Recorded(Surrogate):
    """Spikes that are data: no potential changes them."""

    @property
    def support(self) -> float:
        """Distance from threshold from which on the derivative is 0: any."""
        return 0.0

    def smooth(self, v: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(v)

    def derivative(self, v: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(v)


def reset_by_record(form: CanonicalCells) -> CanonicalCells:
    """Return cells that known spikes reset, whatever their own would be."""
    return form._replace(spike=_Recorded(), stream=None)


def _run(form: CanonicalCells, delay: int, distance: bool, release: tuple[float, ...], **other: Any) -> Outputs:
    like = form.voltage
    names = ("keep", "take", "threshold", "increment", "fade")
    numbers = {name: _per_unit(getattr(form, name), like) for name in names}
    state = {"voltage": form.voltage, "refractory": form.refractory, "adaptation": form.adaptation}
    stream = torch.zeros(0, 2, dtype=torch.int64) if form.stream is None else form.stream
    recorded = isinstance(form.spike, _Recorded)
    rule = Rule(form.n_refractory, delay, form.hard, form.detach_reset, form.adaptive, recorded, release)
    spike: Surrogate = form.spike
    return network_pass(Inputs(**numbers, **state, stream=stream, **other), rule, spike, distance=distance)


def _per_unit(value: float | Tensor, like: Tensor) -> Tensor:
    n = like.shape[1]
    return value.to(like).expand(n) if isinstance(value, Tensor) else like.new_full((n,), value)


def _early(state: SynapseState, weight: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Return the currents before a run and those that spikes under way bring in its first steps."""
    pending = state.pending[:, :n_steps]
    if not (state.trace.requires_grad or pending.requires_grad or state.trace.any() or pending.any()):
        return torch.zeros_like(state.trace), state.trace.new_zeros(len(pending), 0, *state.trace.shape[1:])
    current = torch.einsum("bki,kij->bkj", state.trace, weight)
    return current, torch.einsum("bti,kij->btkj", pending, weight)


def _late(state: SynapseState, decay: Tensor, sent: Tensor, trace: Tensor) -> SynapseState:
    """Return the synapses after a run in which ``sent`` was sent and left ``trace``."""
    n_steps, delay = sent.shape[1], state.pending.shape[1]
    arrived = state.pending[:, :n_steps]
    lag = n_steps - 1 - torch.arange(arrived.shape[1])
    left = torch.einsum("kt,bti->bki", decay[:, None] ** lag, arrived)
    trace = decay[:, None] ** n_steps * state.trace + left + trace
    pending = sent[:, n_steps - delay :] if n_steps >= delay else torch.cat([state.pending[:, n_steps:], sent], 1)
    return SynapseState(trace, pending)
