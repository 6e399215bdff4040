"""The terms of the network: what each remembers, and where the compiled step calls it.

A further term is a `Term` and a line in `ADDED_TERMS`; the constants of those a network has stand in its parameters,
``added``. Where a term adds decides what it is bounded by: the drive of units is clipped to its recorded range, the sum
of drive and inputs to its ceiling; what is added to the potential itself, as by the terms of `ADDED_TERMS`, is not
bounded.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import borrowing, inner
from organoid.models.spike_response.terms.brake import Brake, brake_potential, resting_brake, update_brake
from organoid.models.spike_response.terms.coupling_filters import (
    add_from_filters,
    add_spikes_to_filters,
    resting_future,
)
from organoid.models.spike_response.terms.latent_drive import (
    LatentDrive,
    LatentMemory,
    LatentRoom,
    add_latent,
    prepare_latent,
    resting_latent,
    update_latent,
)
from organoid.models.spike_response.terms.population import (
    PopulationFields,
    PopulationRoom,
    add_spikes_to_population,
    prepare_population,
    resting_population,
    write_from_population,
)

TERMS: dict[str, type] = {"fields": PopulationFields, "latent": LatentDrive, "brake": Brake}


class Term(NamedTuple):
    """One thing that is added to the potential of every unit.

    Parameters
    ----------
    constants : type
        A NamedTuple of numbers and arrays, with a method ``check(n_units)`` that raises `ModelError`. They are hashed
        and saved as they are.
    resting : callable
        ``resting(constants, copies)`` returns what copies of a network without recent spikes remember: an array whose
        last axis holds the copies side by side.
    add : callable
        ``add(constants, memory, copies, v)`` adds to the potentials, shape (copies * n_units,); compiled with
        `organoid.jit.borrowing`.
    update : callable
        ``update(constants, spikes, memory)`` lets a step pass and its `Spikes` enter the memory; compiled likewise. In
        teacher-forced passes ``spikes.counts`` is not filled: go by ``which`` and ``begin``.
    """

    constants: type
    resting: Callable[[Any, int], NDArray[Any]]
    add: Any
    update: Any


ADDED_TERMS: dict[str, Term] = {}
"""Terms a network may have beside those that every network has, by name."""


def name_of(constants: Any) -> str:
    """Return the name under which a term is registered.

    Raises
    ------
    ModelError
        If it is not.
    """
    for name, term in ADDED_TERMS.items():
        if term.constants is type(constants):
            return name
    raise ModelError(
        f"constants of a term {type(constants).__name__!r} that is not in ADDED_TERMS ({', '.join(ADDED_TERMS)}); "
        "register it before the network is made or loaded"
    )


class Memory(NamedTuple):
    """What terms remember from step to step, of one network or of several copies; changed in place."""

    population: NDArray[np.float64]
    future: NDArray[np.float64]
    latent: LatentMemory
    brake: NDArray[np.float64]
    added: tuple[NDArray[Any], ...]


class Room(NamedTuple):
    """What terms work out once a run, and where they work."""

    population: PopulationRoom
    latent: LatentRoom


def resting_memory(parameters: Any, keys: Sequence[int]) -> Memory:
    """Return the memory of networks without recent spikes, one for each random stream."""
    return Memory(
        resting_population(parameters.fields, len(keys)),
        resting_future(parameters.lags, parameters.bias.size, len(keys)),
        resting_latent(parameters.latent, keys),
        resting_brake(parameters.brake, len(keys)),
        tuple(ADDED_TERMS[name_of(constants)].resting(constants, len(keys)) for constants in parameters.added),
    )


def add_added(terms: Any, memories: Any, copies: int, v: NDArray[Any]) -> None:
    """Add to the potentials what every added term does; for compiled code."""


def update_added(terms: Any, memories: Any, spikes: Any) -> None:
    """Let the spikes of a step enter the memory of every added term; for compiled code."""


# Compiled for the terms a network has, one after the other; nothing is left of it where there are none.
@overload(add_added, jit_options={"_nrt": False, "forceinline": True})
def _add_added(terms: Any, memories: Any, copies: Any, v: Any) -> Any:
    first = _first(terms)
    if first is None:

        def nothing(terms: Any, memories: Any, copies: Any, v: Any) -> None: ...

        return nothing
    add = first.add

    def one_and_others(terms: Any, memories: Any, copies: Any, v: Any) -> None:
        add(terms[0], memories[0], copies, v)
        add_added(terms[1:], memories[1:], copies, v)

    return one_and_others


@overload(update_added, jit_options={"_nrt": False, "forceinline": True})
def _update_added(terms: Any, memories: Any, spikes: Any) -> Any:
    first = _first(terms)
    if first is None:

        def nothing(terms: Any, memories: Any, spikes: Any) -> None: ...

        return nothing
    update = first.update

    def one_and_others(terms: Any, memories: Any, spikes: Any) -> None:
        update(terms[0], spikes, memories[0])
        update_added(terms[1:], memories[1:], spikes)

    return one_and_others


def _first(terms: Any) -> Term | None:
    """Return the first of the terms of which numba knows the types."""
    if not len(terms):
        return None
    return next(term for term in ADDED_TERMS.values() if term.constants is terms.types[0].instance_class)


@inner()
def prepare_terms(par: Any, copies: int) -> Any:
    """Return the room of all terms."""
    return Room(
        prepare_population(par.fields, par.field_weights, copies),
        prepare_latent(par.latent, par.dt),
    )


@borrowing()
def add_to_drive(par: Any, room: Any, memory: Any, step: int, drive: NDArray[Any]) -> None:
    """Add what is clipped with the drive of the traces."""
    add_from_filters(memory.future, step, drive)


@borrowing()
def write_inputs(par: Any, room: Any, memory: Any, copies: int, out: NDArray[Any]) -> None:
    """Write what is added to the clipped drive, below the ceiling."""
    write_from_population(par.field_weights, room.population, memory.population, copies, out)
    add_latent(par.latent, memory.latent, out)


@borrowing()
def add_unbounded(par: Any, memory: Any, driven: bool, copies: int, v: NDArray[Any]) -> None:
    """Add to the potential itself; `driven` tells whether pulses act through fitted responses in this step."""
    brake_potential(par.brake, memory.brake, driven, copies, v)
    add_added(par.added, memory.added, copies, v)


@borrowing()
def update_terms(par: Any, room: Any, spikes: Any, step: int, memory: Any) -> None:
    """Let the spikes of a step enter the memory of all terms, and time pass."""
    add_spikes_to_filters(par.lags, par.lag_weights, spikes, step, memory.future)
    add_spikes_to_population(par.fields, room.population, spikes, memory.population)
    update_latent(par.latent, room.latent, step, memory.latent)
    update_brake(par.brake, spikes.entering, memory.brake)
    update_added(par.added, memory.added, spikes)
