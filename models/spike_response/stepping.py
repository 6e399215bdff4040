"""The compiled step of the network, for loops outside that run it in pieces of their own: a culture on a frame clock.

Several copies of one network may run side by side; see `organoid.models.compiled.spike_response.step`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from organoid.models.compiled.spike_response.free_run import ACTIVITY_TAU
from organoid.models.compiled.spike_response.step import (
    Input,
    Scratch,
    State,
    end_step,
    potential,
    prepare,
    sample,
)
from organoid.models.spike_response.network import EscapeLIFState, SpikeResponseNetwork
from organoid.models.spike_response.terms.pulse_track import NO_PULSES
from organoid.models.spike_response.terms.stimulus import pulse_input
from organoid.models.spike_response.terms.traces import NOTHING

_COPY_BY_COPY = ("population", "brake")  # one row per trace, the copies side by side in it

__all__ = [
    "ACTIVITY_TAU",
    "copies_of",
    "end_step",
    "inputs_of",
    "potential",
    "sample",
    "scratch_of",
    "state_of_copy",
]


def copies_of(states: Sequence[EscapeLIFState]) -> State:
    """Return copies of a network side by side, as the compiled step takes them, from the state of each."""
    memories = [state.memory for state in states]
    return State(
        np.ascontiguousarray(np.concatenate([state.traces for state in states], axis=1)),
        np.ascontiguousarray(np.concatenate([state.drive for state in states], axis=1)),
        type(memories[0])(*(_joined(values, name) for name, values in zip(memories[0]._fields, zip(*memories)))),
    )


def state_of_copy(state: State, copy: int, n_copies: int, key: int, step: int, activity: float) -> EscapeLIFState:
    """Return the state of one of some copies, as the network itself knows it."""
    n = state.traces.shape[1] // n_copies
    part = slice(copy * n, (copy + 1) * n)
    memory = type(state.memory)(
        *(_split(value, name, copy, n_copies) for name, value in zip(state.memory._fields, state.memory))
    )
    return EscapeLIFState(key, step, state.traces[:, part].copy(), state.drive[:, part].copy(), memory, activity)


def _joined(values: Sequence[Any], name: str) -> Any:
    """Join the memories of copies."""
    if hasattr(values[0], "_fields"):
        return type(values[0])(*(_joined(part, inner) for inner, part in zip(values[0]._fields, zip(*values))))
    if isinstance(values[0], tuple):
        return tuple(_joined(part, name) for part in zip(*values))
    if name in _COPY_BY_COPY:
        return np.ascontiguousarray(np.stack(values, axis=1).ravel())
    if np.ndim(values[0]) == 0:
        return values[0]
    return np.ascontiguousarray(np.concatenate(values, axis=-1))


def _split(value: Any, name: str, copy: int, n_copies: int) -> Any:
    if hasattr(value, "_fields"):
        return type(value)(*(_split(part, inner, copy, n_copies) for inner, part in zip(value._fields, value)))
    if isinstance(value, tuple):
        return tuple(_split(part, name, copy, n_copies) for part in value)
    if name in _COPY_BY_COPY:
        return value.reshape(-1, n_copies)[:, copy].copy()
    if np.ndim(value) == 0:
        return value
    width = value.shape[-1] // n_copies
    return value[..., copy * width : (copy + 1) * width].copy()


def inputs_of(network: SpikeResponseNetwork, keys: Sequence[int], weight: float, room: int) -> Input:
    """Return the input of the compiled step, with room for forced spikes; nothing enters by itself.

    Parameters
    ----------
    keys : sequence of int
        Random streams, one for each copy.
    weight : float
        How much a forced spike counts in the population.
    room : int
        Most spikes that are forced in one step.
    """
    none = np.empty(0, dtype=np.int64)
    return Input(
        np.array(keys, dtype=np.uint64),
        *(np.zeros(room, dtype=np.int64), none, float(weight), np.empty(0)),
        *(none, np.empty((0, 0))),
        pulses=pulse_input(NO_PULSES, None, network.n_units),
        starts=none,
    )


def scratch_of(network: SpikeResponseNetwork, inputs: Input) -> Scratch:
    """Return the room in which the compiled step works."""
    found: Scratch = prepare(network.parameters, inputs, 0, NOTHING)
    return found
