"""Who may be connected to whom: masks (pre, post) for the synapses of a network, without self-connections."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from organoid.errors import ModelError

Seed = int | np.random.Generator


def random_mask(n_units: int, probability: float, *, seed: Seed = 0) -> Tensor:
    """Connect every ordered pair of units with one probability, independently.

    Parameters
    ----------
    n_units : int
        Number of units.
    probability : float
        In 0 ... 1.
    seed : int or numpy Generator
        Source of the numbers.

    Returns
    -------
    Tensor of bool, shape (unit, unit)
        ``mask[pre, post]``.

    References
    ----------
    Gilbert (1959), Random graphs, Annals of Mathematical Statistics 30.
    """
    _check_count(n_units)
    _check_probability("probability", probability)
    return _drawn(np.full((n_units, n_units), probability), seed)


def distance_mask(positions_um: ArrayLike, length_um: float, *, peak: float = 1.0, seed: Seed = 0) -> Tensor:
    r"""Connect near units more often: :math:`P(d) = P_0\,e^{-d/\lambda}`.

    Parameters
    ----------
    positions_um : array_like, shape (unit, dimension)
        Where the units are, um.
    length_um : float
        Length constant, um.
    peak : float
        Probability at distance 0.
    seed : int or numpy Generator
        Source of the numbers.

    Returns
    -------
    Tensor of bool, shape (unit, unit)
        ``mask[pre, post]``.

    References
    ----------
    Ercsey-Ravasz, Markov, Lamy, Van Essen, Knoblauch, Toroczkai and Kennedy (2013), A predictive network model of
    cerebral cortical connectivity based on a distance rule, Neuron 80.
    """
    positions = np.asarray(positions_um, dtype=np.float64)
    if positions.ndim != 2 or not np.isfinite(positions).all():
        raise ModelError(f"positions must be finite and of shape (unit, dimension), got shape {positions.shape}")
    if not length_um > 0:
        raise ModelError(f"length_um must be positive, got {length_um!r}")
    _check_probability("peak", peak)
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    return _drawn(peak * np.exp(-distance / length_um), seed)


def small_world_mask(n_units: int, n_neighbours: int, rewiring: float, *, seed: Seed = 0) -> Tensor:
    """Connect each unit to its nearest on a ring, then send a share of the connections elsewhere.

    Every unit starts with outgoing connections to ``n_neighbours / 2`` units to each side; each is rewired with
    probability `rewiring` to a target drawn from all units it is not connected to. The number of outgoing
    connections stays; 0 is a ring lattice, 1 nearly random.

    Parameters
    ----------
    n_units : int
        Number of units.
    n_neighbours : int
        Outgoing connections of each unit; even, less than ``n_units``.
    rewiring : float
        In 0 ... 1.
    seed : int or numpy Generator
        Source of the numbers.

    Returns
    -------
    Tensor of bool, shape (unit, unit)
        ``mask[pre, post]``; directed, unlike the original.

    References
    ----------
    Watts and Strogatz (1998), Collective dynamics of 'small-world' networks, Nature 393.
    """
    _check_count(n_units)
    _check_probability("rewiring", rewiring)
    if n_neighbours % 2 or not 0 <= n_neighbours < n_units:
        raise ModelError(f"n_neighbours must be even and in 0 ... {n_units - 1}, got {n_neighbours!r}")
    rng = np.random.default_rng(seed)
    mask = np.zeros((n_units, n_units), dtype=bool)
    side = np.arange(1, n_neighbours // 2 + 1)
    for pre in range(n_units):
        mask[pre, (pre + np.concatenate([side, -side])) % n_units] = True
    for pre in range(n_units):
        for post in np.flatnonzero(mask[pre]):
            free = np.flatnonzero(~mask[pre])
            free = free[free != pre]
            if rng.random() < rewiring and free.size:
                mask[pre, post], mask[pre, rng.choice(free)] = False, True
    return torch.from_numpy(mask)


def _drawn(probability: NDArray[np.float64], seed: Seed) -> Tensor:
    mask = np.random.default_rng(seed).random(probability.shape) < probability
    np.fill_diagonal(mask, False)
    return torch.from_numpy(mask)


def _check_count(n_units: int) -> None:
    if n_units < 1:
        raise ModelError(f"n_units must be 1 or more, got {n_units!r}")


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ModelError(f"{name} must be in 0 ... 1, got {value!r}")
