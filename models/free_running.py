"""The contract of a network that can be left alone: advance it and it spikes."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError


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
    """

    steps: NDArray[np.int64]
    units: NDArray[np.int64]
    field_weight: float
    volley: NDArray[np.float64]


def check_injection(injection: Injection, n_steps: int, n_units: int) -> Injection:
    """Return the injection; refuse one that does not fit `n_steps` steps of `n_units` units."""
    steps, units = injection.steps, injection.units
    if injection.volley.shape != (n_steps,):
        raise ModelError(
            f"the volley has shape {injection.volley.shape}; expected one count for each of {n_steps} steps"
        )
    if steps.shape != units.shape or np.any(np.diff(steps) < 0):
        raise ModelError("forced spikes must come with one unit each, in order of their steps")
    if steps.size and not (0 <= steps[0] and steps[-1] < n_steps and units.min() >= 0 and units.max() < n_units):
        raise ModelError(f"forced spikes must lie in steps 0..{n_steps - 1} and units 0..{n_units - 1}")
    return injection


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
    """A network that spikes when left alone. State is passed in and handed out, never stored."""

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
