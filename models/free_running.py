"""The contract of a network that can be left alone: advance it and it spikes."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


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
