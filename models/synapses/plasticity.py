r"""Long-term plasticity: rules that are local in time, and networks whose weights they change while they run.

A rule has traces (its state, passed in and out) and says by how much the weights change in a step, given the spikes
that arrive at the synapses (pre), those the targets emit (post), the weights and a reward. Spikes that arrive and are
emitted in one step count as pre before post. Everything is plain torch, so a gradient runs through a plastic run.

Adding one: a frozen dataclass with ``initial_state`` and ``change``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.recurrent import NetworkState, RecurrentNetwork
from organoid.models.synapses.sparse import SparseSynapses


class PlasticityRule(Protocol):
    """A rule of plasticity."""

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> Any:
        """Return the traces when nothing has happened, tensors with the batch first."""

    def change(self, pre: Tensor, post: Tensor, weight: Tensor, state: Any, reward: Tensor) -> tuple[Tensor, Any]:
        """Return the change of the weights, broadcastable to them, and the traces after this step.

        Parameters
        ----------
        pre, post : Tensor, shape (batch, unit)
            Spikes arriving and emitted in this step.
        weight : Tensor, shape (batch, time constant, pre, post)
            Weights before the step.
        state : NamedTuple of Tensor
            Traces before the step.
        reward : Tensor, shape (batch,)
            Reward in this step.
        """


def _check(rule: Any, *names: str) -> None:
    wrong = {n: getattr(rule, n) for n in names if not (math.isfinite(getattr(rule, n)) and getattr(rule, n) > 0)}
    if wrong:
        raise ModelError(f"{type(rule).__name__}: expected positive finite numbers, got {wrong}")


def _outer(pre: Tensor, post: Tensor) -> Tensor:
    return (pre[:, :, None] * post[:, None, :])[:, None]


class PairState(NamedTuple):
    """Traces of spikes arrived and emitted, shape (batch, unit)."""

    pre: Tensor
    post: Tensor


@dataclass(frozen=True)
class PairSTDP:
    r"""Pair-based spike-timing-dependent plasticity, all pairs.

    .. math::

        \Delta W = A_+ e^{-\Delta t / \tau_+} \;(\Delta t = t_{post} - t_{pre} \ge 0), \qquad
        \Delta W = -A_- e^{\Delta t / \tau_-} \;(\Delta t < 0)

    Parameters
    ----------
    dt : float
        Step, s.
    a_plus, a_minus : float
        Largest change by a pair, thresholds.
    tau_plus, tau_minus : float
        Time constants, s.

    References
    ----------
    Song, Miller and Abbott (2000), Competitive Hebbian learning through spike-timing-dependent synaptic plasticity,
    Nature Neuroscience 3.
    """

    dt: float
    a_plus: float = 0.005
    a_minus: float = 0.00525
    tau_plus: float = 0.02
    tau_minus: float = 0.02

    def __post_init__(self) -> None:
        _check(self, *(f.name for f in fields(self)))

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> PairState:
        """Return empty traces."""
        zeros = like.new_zeros(batch, n_units)
        return PairState(zeros, zeros)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: PairState, reward: Tensor
    ) -> tuple[Tensor, PairState]:
        """Return the change of the weights (batch, 1, pre, post) and the traces after this step."""
        x = math.exp(-self.dt / self.tau_plus) * state.pre + pre
        y = math.exp(-self.dt / self.tau_minus) * state.post
        return self.a_plus * _outer(x, post) - self.a_minus * _outer(pre, y), PairState(x, y + post)


class TripletState(NamedTuple):
    """Fast and slow traces of spikes arrived (r) and emitted (o), shape (batch, unit)."""

    r1: Tensor
    r2: Tensor
    o1: Tensor
    o2: Tensor


@dataclass(frozen=True)
class TripletSTDP:
    r"""Triplet rule of spike-timing-dependent plasticity, all to all.

    .. math::

        \text{pre: } W \to W - o_1 (A_2^- + A_3^- r_2), \qquad
        \text{post: } W \to W + r_1 (A_2^+ + A_3^+ o_2)

    with traces that jump by 1 at a spike, :math:`r` at arrivals and :math:`o` at emissions; the slow ones are taken
    just before the spike of the step. Potentiation grows with the rate, as pairing experiments show and pairs alone
    do not. The defaults are the paper's fit to visual cortex, as shares of an initial weight of 1.

    Parameters
    ----------
    dt : float
        Step, s.
    a2_plus, a2_minus, a3_plus, a3_minus : float
        Change by a pair and by a triplet, thresholds; not negative.
    tau_plus, tau_minus : float
        Time constants of the fast traces of arrivals and emissions, s.
    tau_x, tau_y : float
        Time constants of the slow traces of arrivals and emissions, s.

    References
    ----------
    Pfister and Gerstner (2006), Triplets of spikes in a model of spike timing-dependent plasticity, Journal of
    Neuroscience 26.
    """

    dt: float
    a2_plus: float = 5e-10
    a2_minus: float = 7e-3
    a3_plus: float = 6.2e-3
    a3_minus: float = 2.3e-4
    tau_plus: float = 0.0168
    tau_minus: float = 0.0337
    tau_x: float = 0.101
    tau_y: float = 0.125

    def __post_init__(self) -> None:
        _check(self, "dt", "tau_plus", "tau_minus", "tau_x", "tau_y")
        if not all(a >= 0 and math.isfinite(a) for a in (self.a2_plus, self.a2_minus, self.a3_plus, self.a3_minus)):
            raise ModelError(f"TripletSTDP: amplitudes must be 0 or more, got {self}")

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> TripletState:
        """Return empty traces."""
        zeros = like.new_zeros(batch, n_units)
        return TripletState(zeros, zeros, zeros, zeros)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: TripletState, reward: Tensor
    ) -> tuple[Tensor, TripletState]:
        """Return the change of the weights (batch, 1, pre, post) and the traces after this step."""
        taus = (self.tau_plus, self.tau_x, self.tau_minus, self.tau_y)
        r1, r2, o1, o2 = (math.exp(-self.dt / tau) * trace for tau, trace in zip(taus, state, strict=True))
        r1 = r1 + pre
        more = _outer(r1, post * (self.a2_plus + self.a3_plus * o2))
        less = _outer(pre * (self.a2_minus + self.a3_minus * r2), o1)
        return more - less, TripletState(r1, r2 + pre, o1 + post, o2 + post)


class RewardState(NamedTuple):
    """Eligibility (batch, 1, pre, post), and the traces of the rule behind it."""

    eligibility: Tensor
    traces: Any


@dataclass(frozen=True)
class RewardModulatedSTDP:
    r"""Plasticity that waits for a reward: the changes of another rule fill an eligibility trace.

    .. math:: E[t] = e^{-dt/\tau_e} E[t-1] + \Delta W_{\text{rule}}[t], \qquad \Delta W[t] = R[t]\, E[t]

    Parameters
    ----------
    dt : float
        Step, s.
    rule : PlasticityRule
        What makes synapses eligible.
    tau_eligibility : float
        How long they stay so, s.

    References
    ----------
    Izhikevich (2007), Solving the distal reward problem through linkage of STDP and dopamine signaling, Cerebral
    Cortex 17.
    """

    dt: float
    rule: PlasticityRule
    tau_eligibility: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "dt", "tau_eligibility")

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> RewardState:
        """Return no eligibility and empty traces."""
        return RewardState(like.new_zeros(batch, 1, n_units, n_units), self.rule.initial_state(batch, n_units, like))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: RewardState, reward: Tensor
    ) -> tuple[Tensor, RewardState]:
        """Return the change of the weights (batch, 1, pre, post) and the traces after this step."""
        change, traces = self.rule.change(pre, post, weight, state.traces, reward)
        eligibility = math.exp(-self.dt / self.tau_eligibility) * state.eligibility + change
        return reward[:, None, None, None] * eligibility, RewardState(eligibility, traces)


class HomeostasisState(NamedTuple):
    """Running rate of each unit, Hz, shape (batch, unit)."""

    rate: Tensor


@dataclass(frozen=True)
class HomeostaticScaling:
    r"""Multiplicative scaling of all inputs of a unit towards a rate.

    .. math::

        \tau_h \dot W = W\,(1 - r / r^*), \qquad \tau_r \dot r = -r + \sum_k \delta(t - t_k)

    Parameters
    ----------
    dt : float
        Step, s.
    target : float
        Rate of a unit in balance, Hz.
    tau : float
        Time constant of the scaling, s: long against ``tau_rate``, or the rate swings.
    tau_rate : float
        Time constant of the running rate, s. It starts at the target.

    References
    ----------
    van Rossum, Bi and Turrigiano (2000), Stable Hebbian learning from spike timing-dependent plasticity, Journal of
    Neuroscience 20 (activity-dependent scaling, after Turrigiano et al. 1998).
    """

    dt: float
    target: float = 5.0
    tau: float = 100.0
    tau_rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self, *(f.name for f in fields(self)))

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> HomeostasisState:
        """Return running rates at the target."""
        return HomeostasisState(like.new_full((batch, n_units), self.target))

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: HomeostasisState, reward: Tensor
    ) -> tuple[Tensor, HomeostasisState]:
        """Return the change of the weights, of their shape, and the rates after this step."""
        decay = math.exp(-self.dt / self.tau_rate)
        rate = decay * state.rate + (1 - decay) / self.dt * post
        drift = self.dt / self.tau * (1 - rate / self.target)
        return weight * drift[:, None, None, :], HomeostasisState(rate)


@dataclass(frozen=True)
class CombinedRule:
    """Several rules at once: their changes add up.

    Parameters
    ----------
    rules : tuple of PlasticityRule
        The rules.
    """

    rules: tuple[PlasticityRule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise ModelError("CombinedRule: expected one or more rules, got none")

    def initial_state(self, batch: int, n_units: int, like: Tensor) -> tuple[Any, ...]:
        """Return the traces of all rules."""
        return tuple(rule.initial_state(batch, n_units, like) for rule in self.rules)

    def change(
        self, pre: Tensor, post: Tensor, weight: Tensor, state: tuple[Any, ...], reward: Tensor
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the sum of the changes and the traces after this step."""
        parts = [r.change(pre, post, weight, s, reward) for r, s in zip(self.rules, state, strict=True)]
        total = parts[0][0]
        for change, _ in parts[1:]:
            total = total + change
        return total, tuple(traces for _, traces in parts)


class PlasticState(NamedTuple):
    """State of the network, its weights (batch, time constant, pre, post), and the traces of the rule."""

    network: NetworkState
    weight: Tensor
    traces: Any


class PlasticNetwork(torch.nn.Module):
    """A recurrent network whose weights a rule changes while it runs; every copy in a batch has its own.

    The network's own weights are where a run from rest starts; the weights of the run are in the state, passed in
    and out. A step uses the weights it is given and then changes them.

    Parameters
    ----------
    network : RecurrentNetwork
        Neurons and synapses.
    rule : PlasticityRule
        How weights change.
    plastic : Tensor of bool, shape (unit, unit), optional
        Which (pre, post) connections are plastic; all that the synapses allow if not given.
    bounds : tuple of float
        Smallest and largest plastic weight, thresholds; weights outside are brought in at the first step.
    """

    plastic: Tensor

    def __init__(
        self,
        network: RecurrentNetwork[Any],
        rule: PlasticityRule,
        *,
        plastic: Tensor | None = None,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        super().__init__()
        n = network.n_units
        if isinstance(network.synapses, SparseSynapses):
            raise ModelError("plasticity needs synapses with one delay and a full weight matrix, not SparseSynapses")
        allowed = network.synapses.mask if plastic is None else network.synapses.mask & plastic.to(torch.bool)
        if allowed.shape != (n, n) or not bounds[0] <= bounds[1]:
            raise ModelError(
                f"plastic must have shape {(n, n)} and bounds be in order, got {tuple(allowed.shape)} and {bounds}"
            )
        self.network, self.rule, self.bounds = network, rule, bounds
        self.n_units, self.dt = n, network.dt
        self.register_buffer("plastic", allowed)

    def initial_state(self, batch: int = 1) -> PlasticState:
        """Return the state at rest with the network's own weights."""
        weight = self.network.synapses.effective_weight()
        traces = self.rule.initial_state(batch, self.n_units, weight)
        return PlasticState(self.network.initial_state(batch), weight.expand(batch, -1, -1, -1), traces)

    def step(self, x: Tensor, state: PlasticState, reward: Tensor | None = None) -> tuple[Tensor, PlasticState]:
        """Advance one step under ``x`` (batch, unit) and reward (batch,), 0 if not given; return spikes and state."""
        reward = x.new_zeros(x.shape[0]) if reward is None else reward
        arriving = self.network.synapses.arriving(state.network.synapse)
        spikes, _, network = self.network.advance(x, state.network, state.weight)
        change, traces = self.rule.change(arriving, spikes, state.weight, state.traces, reward)
        weight = torch.where(self.plastic, (state.weight + change).clamp(*self.bounds), state.weight)
        return spikes, PlasticState(network, weight, traces)

    def run(
        self, x: Tensor, state: PlasticState | None = None, reward: Tensor | None = None
    ) -> tuple[Tensor, PlasticState]:
        """Advance over ``x``, shape (batch, time, unit), and reward, shape (batch, time), from ``state`` or rest.

        Raises
        ------
        ModelError
            When ``x`` or ``reward`` have other shapes.
        """
        if x.ndim != 3 or x.shape[2] != self.n_units or x.shape[1] == 0:
            raise ModelError(f"input must have shape (batch, time > 0, {self.n_units}), got {tuple(x.shape)}")
        if reward is not None and reward.shape != x.shape[:2]:
            raise ModelError(f"reward must have shape {tuple(x.shape[:2])}, got {tuple(reward.shape)}")
        state, out = self.initial_state(x.shape[0]) if state is None else state, []
        for t in range(x.shape[1]):
            spikes, state = self.step(x[:, t], state, None if reward is None else reward[:, t])
            out.append(spikes)
        return torch.stack(out, 1), state
