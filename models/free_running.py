"""The contract of a network that runs freely: advance it and it spikes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Injection:
    """What enters a network from outside while it advances; steps count from the start of the call.

    Parameters
    ----------
    steps, units : ndarray of int64, shape (n,)
        Forced spikes, in order of steps: unit ``units[k]`` spikes in step ``steps[k]`` whatever its
        membrane says; the network feels it from the next step on.
    field_weight : float
        How much a forced spike counts in the population fields (``gamma``); 1 = like any spike.
    volley : ndarray of float64, shape (n_steps,)
        Further counts entering the population fields in each step (``beta x neurons hit``).
    drive_steps : ndarray of int64, shape (n_driven,)
        Steps in which `drive` acts, rising.
    drive : ndarray of float64, shape (n_driven, n_units)
        What is added to the membrane of every unit in each of these steps, logit, after all clipping.
    """

    steps: NDArray[np.int64]
    units: NDArray[np.int64]
    field_weight: float
    volley: NDArray[np.float64]
    drive_steps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    drive: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))


def check_injection(injection: Injection, n_steps: int, n_units: int, takes_drive: bool = False) -> Injection:
    """Return the injection; reject one that does not fit `n_steps` steps of `n_units` units.

    Networks that say so take a drive of the membrane; others reject it.
    """
    steps, units = injection.steps, injection.units
    if injection.volley.shape != (n_steps,):
        raise ModelError(
            f"the volley has shape {injection.volley.shape}; expected one count for each of {n_steps} steps"
        )
    if steps.shape != units.shape or np.any(np.diff(steps) < 0):
        raise ModelError("forced spikes must come with one unit each, in order of their steps")
    if steps.size and not (0 <= steps[0] and steps[-1] < n_steps and units.min() >= 0 and units.max() < n_units):
        raise ModelError(f"forced spikes must lie in steps 0..{n_steps - 1} and units 0..{n_units - 1}")
    _check_drive(injection, n_steps, n_units, takes_drive)
    return injection


def _check_drive(injection: Injection, n_steps: int, n_units: int, takes_drive: bool) -> None:
    steps, drive = injection.drive_steps, injection.drive
    if not steps.size:
        return
    if not takes_drive:
        raise ModelError(
            "this network cannot be driven through its membranes; of the free-running ones SpikeResponseNetwork can"
        )
    if drive.shape != (steps.size, n_units):
        raise ModelError(f"the drive has shape {drive.shape}; expected ({steps.size}, {n_units}), a row a driven step")
    if np.any(np.diff(steps) <= 0) or not (0 <= steps[0] and steps[-1] < n_steps):
        raise ModelError(f"driven steps must rise and lie in 0..{n_steps - 1}")


@dataclass(frozen=True)
class Advance:
    """What a network did: spikes in order of steps (forced ones not included), and its state after.

    Parameters
    ----------
    steps, units : ndarray of int64, shape (n_spikes,)
        Step of each spike, from the start of the call, and its unit; a unit may spike several times
        in one step (several neurons on one electrode).
    state : object
        State after the last step that was run.
    n_steps : int
        Steps run: fewer than asked when the network ran away.
    runaway : bool
        Whether it was stopped for firing beyond any culture's ability.
    """

    steps: NDArray[np.int64]
    units: NDArray[np.int64]
    state: Any
    n_steps: int
    runaway: bool


class FreeRunningNetwork(Protocol):
    """A network that spikes in free run. State is passed in and handed out, never stored."""

    @property
    def n_units(self) -> int:
        """Number of units."""

    @property
    def dt(self) -> float:
        """Length of a step, s."""

    def initial_state(self, seed: int) -> Any:
        """Return a resting state whose future is fixed by the seed."""

    def advance(self, state: Any, n_steps: int, injection: Injection | None = None) -> Advance:
        """Run `n_steps` steps. Cutting a run into several calls changes nothing."""

    def describe(self) -> dict[str, Any]:
        """Return plain values that name the network: model, n_units, dt and a hash of all parameters."""


class Parametrised:
    """What networks share whose ``parameters`` have a bias for each unit and a step: size, step, and runs in chunks."""

    parameters: Any

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.parameters.bias.size)

    @property
    def dt(self) -> float:
        """Length of a step, s."""
        return float(self.parameters.dt)


def in_chunks(n_steps: int, activity: float, chunk: Callable[[int, float], Any]) -> tuple[Index, Index, int, Any, Any]:
    """Run a compiled loop, which stops when its output is full, until the end of a call or a runaway.

    Parameters
    ----------
    n_steps : int
        Steps of the call.
    activity : float
        Leaky population rate before it, spikes/s.
    chunk : callable
        ``chunk(done, activity)`` runs on from step `done` and returns steps and units of spikes, steps done so far,
        activity and whether the network ran away.

    Returns
    -------
    steps, units : ndarray of int64
    done : int
    activity : float
    runaway : bool
    """
    done, runaway = 0, False
    steps, units = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    while done < n_steps and not runaway:
        when, which, done, activity, runaway = chunk(done, activity)
        steps.append(when)
        units.append(which)
    return np.concatenate(steps), np.concatenate(units), done, float(activity), bool(runaway)
