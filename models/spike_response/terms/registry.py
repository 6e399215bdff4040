"""The terms of the network: what each remembers, and where the compiled step calls it.

A further term is a file beside this one, and lines here: its class, its memory, its room, and calls of what it adds
and of what spikes change. Where it adds decides what it is bounded by: the drive of units is clipped to its recorded
range, the sum of drive and inputs to its ceiling; what is added to the potential itself is not bounded.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Memory(NamedTuple):
    """What terms remember from step to step, of one network or of several copies; changed in place."""

    population: NDArray[np.float64]
    future: NDArray[np.float64]
    latent: LatentMemory
    brake: NDArray[np.float64]


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
    )


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


@borrowing()
def update_terms(par: Any, room: Any, spikes: Any, step: int, memory: Any) -> None:
    """Let the spikes of a step enter the memory of all terms, and time pass."""
    add_spikes_to_filters(par.lags, par.lag_weights, spikes, step, memory.future)
    add_spikes_to_population(par.fields, room.population, spikes, memory.population)
    update_latent(par.latent, room.latent, step, memory.latent)
    update_brake(par.brake, spikes.entering, memory.brake)
