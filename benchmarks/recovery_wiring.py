"""What recordings with known couplings are made of: conditions, wiring, common drive.

Five conditions, each made by two generators (`recovery_matched`, `recovery_mismatched`). Both get the
same kind of wiring: 80 % excitatory units, each ordered pair connected with a fixed chance, strengths
lognormal, inhibition stronger than excitation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_OBSERVED = 30
INHIBITORY_SHARE = 0.2
CONNECTED = {"bursts": 0.25, "bursts_drive": 0.25}  # chance of an ordered pair; others below
CONNECTED_OTHERWISE = 0.12
STRENGTH_SPREAD = 0.5  # of log strengths
CONDITIONS = ("async_2hz", "async_8hz", "bursts", "bursts_drive", "half_hidden")


@dataclass(frozen=True)
class Wiring:
    """Who is connected to whom.

    Parameters
    ----------
    strength : ndarray, shape (pre, post)
        Positive excitatory, negative inhibitory, 0 not connected; in units of a condition's typical strength.
    excitatory : ndarray of bool, shape (n_units,)
    """

    strength: Array
    excitatory: NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """A recording and what made it.

    Parameters
    ----------
    times : ndarray, s
    units : ndarray of int64
    n_units : int
        Observed ones.
    duration : float, s
    truth : ndarray, shape (pre, post)
        Signed strength of connections between observed units.
    """

    times: Array
    units: NDArray[np.int64]
    n_units: int
    duration: float
    truth: Array


def n_units(condition: str) -> int:
    """Return how many units a condition's network has, hidden ones included."""
    return 2 * N_OBSERVED if condition == "half_hidden" else N_OBSERVED


def wire(condition: str, rng: np.random.Generator) -> Wiring:
    """Draw a random E/I network; inhibitory synapses are twice as strong."""
    n = n_units(condition)
    excitatory = np.ones(n, dtype=bool)
    excitatory[rng.permutation(n)[: round(INHIBITORY_SHARE * n)]] = False
    chance = CONNECTED.get(condition, CONNECTED_OTHERWISE) * N_OBSERVED / n
    connected = rng.uniform(size=(n, n)) < chance
    np.fill_diagonal(connected, False)
    strength = rng.lognormal(0.0, STRENGTH_SPREAD, (n, n)) * connected
    return Wiring(np.where(excitatory[:, None], strength, -2.0 * strength), excitatory)


def observe(times: Array, units: NDArray[np.int64], wiring: Wiring, duration: float, rng: np.random.Generator) -> Known:
    """Keep `N_OBSERVED` units, drawn at random, in random order."""
    kept = rng.permutation(wiring.excitatory.size)[:N_OBSERVED]
    place = np.full(wiring.excitatory.size, -1)
    place[kept] = np.arange(kept.size)
    seen = place[units] >= 0
    return Known(times[seen], place[units[seen]], kept.size, duration, wiring.strength[np.ix_(kept, kept)])


def ornstein_uhlenbeck(n_steps: int, step: float, tau: float, rng: np.random.Generator) -> Array:
    """Return a common drive of unit variance and zero mean, one value a step."""
    from scipy.signal import lfilter

    decay = np.exp(-step / tau)
    noise = rng.normal(size=n_steps) * np.sqrt(1 - decay**2)
    noise[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -decay], noise))
