"""Large LIF networks from lists of connections, or from trained models."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.errors import ModelError
from organoid.models.neurons.adaptive_lif import AdaptiveLIFCell, AdaptiveLIFParameters
from organoid.models.neurons.escape_noise_lif import EscapeNoiseCell
from organoid.models.neurons.lif import LIFCell, LIFParameters
from organoid.models.recurrent import RecurrentNetwork, check_size
from organoid.models.simulators.dense_lif import noise_sd as noise_of
from organoid.models.simulators.dense_lif import numbers, of_each_unit
from organoid.models.simulators.event_connections import Connections, Rows, rows_of
from organoid.models.simulators.event_driven import EventDrivenLIF, EventLIFParameters
from organoid.models.surrogate import Sigmoid
from organoid.models.synapses.exponential import ExponentialSynapses, steps
from organoid.models.synapses.sparse import SparseSynapses

Array = NDArray[np.float64]


def event_lif(
    n_units: int,
    dt: float,
    connections: Connections,
    parameters: LIFParameters | AdaptiveLIFParameters | None = None,
    *,
    bias: ArrayLike = 0.0,
    soft: bool = False,
    rate_limit: float = math.inf,
) -> EventDrivenLIF:
    """Return a large network from lists of connections.

    Parameters
    ----------
    n_units : int
        Number of units.
    dt : float
        Step, s.
    connections : Connections
        Who sends to whom, after `LIFParameters.delay` unless they have delays of their own.
    parameters : LIFParameters or AdaptiveLIFParameters, optional
        Properties of the cells. What concerns training (initial weights, gradients) has no effect.
    bias : array_like, shape (n_units,) or scalar
        Constant input, thresholds: 1 takes a resting cell just to threshold.
    soft : bool
        Whether the threshold is soft, with `LIFParameters.escape_width`.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.

    Returns
    -------
    EventDrivenLIF
        For `organoid.simulate`.

    Raises
    ------
    ModelError
        If a value is out of range, or lengths differ.
    """
    check_size(n_units, dt)
    p = parameters or LIFParameters()
    lif = p.lif if isinstance(p, AdaptiveLIFParameters) else p
    if not lif.tau_syn or any(not tau > 0 for tau in lif.tau_syn):
        raise ModelError(f"tau_syn needs at least one positive time constant in s, got {lif.tau_syn!r}")
    if not lif.noise_sd >= 0:
        raise ModelError(f"noise_sd must not be negative, got {lif.noise_sd!r} thresholds")
    decay = math.exp(-dt / lif.tau_mem)
    adaptive = p if isinstance(p, AdaptiveLIFParameters) else None
    every = partial(np.full, n_units)
    return EventDrivenLIF(
        EventLIFParameters(
            dt=float(dt),
            synapse_decay=np.exp(-dt / np.array(lif.tau_syn)),
            bias=_per_unit("bias", bias, n_units),
            # White input of sd q gives V the stationary sd q (1 - decay) / sqrt(1 - decay^2).
            noise_sd=every(lif.noise_sd * math.sqrt((1 + decay) / (1 - decay))),
            membrane_decay=every(decay),
            threshold=every(1.0),
            refractory=steps(lif.refractory, dt),
            hard_reset=lif.reset == "hard",
            adaptation_decay=every(math.exp(-dt / adaptive.tau_adapt) if adaptive else 0.0),
            increment=every(adaptive.increment if adaptive else 0.0),
            escape_width=float(lif.escape_width) if soft else 0.0,
            rate_limit=float(rate_limit),
        ),
        rows_of(connections, n_units, len(lif.tau_syn), dt, lif.delay),
    )


def to_event_driven(model: RecurrentNetwork[Any], rate_limit: float = math.inf) -> EventDrivenLIF:
    """Return a trained network as an event-driven one, weights in single precision, those of 0 left out.

    Parameters
    ----------
    model : RecurrentNetwork
        (Adaptive) LIF cells, or LIF cells with logistic escape noise, behind exponential synapses with one delay or
        with a delay for each connection.
    rate_limit : float
        Population rate averaged over about 2 s above which the network counts as run away, spikes/s.

    Raises
    ------
    ModelError
        If its cells or synapses are of another kind.
    """
    cell: Any = model.cell
    if type(cell) not in (LIFCell, AdaptiveLIFCell, EscapeNoiseCell):
        raise ModelError(f"cells of {type(model).__name__} are {type(cell).__name__}; expected (adaptive) LIF cells")
    adaptive = cell if isinstance(cell, AdaptiveLIFCell) else None
    membrane: LIFCell = cell.membrane if adaptive else cell
    n = model.n_units
    return EventDrivenLIF(
        EventLIFParameters(
            dt=model.dt,
            synapse_decay=numbers(model.synapses.decay_column(model.bias.double())[:, 0]),
            bias=numbers(model.bias),
            noise_sd=noise_of(model),
            membrane_decay=of_each_unit(membrane.decay, n),
            threshold=of_each_unit(membrane.threshold, n),
            refractory=membrane.n_refractory,
            hard_reset=membrane.hard,
            adaptation_decay=of_each_unit(adaptive.decay if adaptive else 0.0, n),
            increment=numbers(adaptive.log_increment.exp()) if adaptive else np.zeros(n),
            escape_width=_escape_width(membrane),
            rate_limit=float(rate_limit),
        ),
        _rows_of_model(model),
    )


def _rows_of_model(model: RecurrentNetwork[Any]) -> Rows:
    synapses = model.synapses
    weight = numbers(synapses.effective_weight())
    if type(synapses) is SparseSynapses:
        pre, post, lag = (part.cpu().numpy() for part in (synapses.pre, synapses.post, synapses.lag))
        current, which = np.nonzero(weight)
        found = weight[current, which]
    elif type(synapses) is ExponentialSynapses:
        current, pre, post = np.nonzero(weight)
        found, lag, which = weight[current, pre, post], np.full(pre.size, synapses.delay), np.arange(pre.size)
    else:
        raise ModelError(
            f"synapses of {type(model).__name__} are {type(synapses).__name__}; "
            "expected ExponentialSynapses or SparseSynapses"
        )
    wires = Connections(pre[which], post[which], found, lag[which] * model.dt, current)
    return rows_of(wires, model.n_units, weight.shape[0], model.dt, synapses.delay * model.dt)


def _escape_width(membrane: LIFCell) -> float:
    if not isinstance(membrane, EscapeNoiseCell):
        return 0.0
    if type(membrane.spike) is not Sigmoid:
        raise ModelError(f"escape noise of the form {membrane.spike!r}; expected a Sigmoid")
    return 1 / membrane.spike.slope


def _per_unit(name: str, value: ArrayLike, n_units: int) -> Array:
    found = np.asarray(value, dtype=np.float64)
    if found.shape not in ((), (n_units,)):
        raise ModelError(f"{name} has shape {found.shape}; expected one for all or one for each of {n_units} units")
    return np.array(np.broadcast_to(found, (n_units,)))
