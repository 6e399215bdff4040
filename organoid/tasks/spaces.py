"""Spaces of gymnasium on both sides of a culture: observations to values from 0 to 1, decoded values to actions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import SessionError, need
from organoid.protocols.coding import PopulationVector

Array = NDArray[np.float64]
Observed = tuple[tuple[int, float, float], ...]  # index in the flat observation, the numbers that become 0 and 1


def gymnasium() -> Any:
    """Return the package, or say how to get it."""
    return need("gymnasium", "gymnasium", "gym")


def flat(space: Any, observation: Any) -> Array:
    """Return an observation as one row of numbers; a discrete one is one-hot."""
    return np.asarray(gymnasium().spaces.flatten(space, observation), dtype=np.float64).ravel()


def all_observed(space: Any) -> Observed:
    """Return every number of an observation with its bounds.

    Raises
    ------
    SessionError
        If a number has no bounds, so that nothing says what 0 and 1 are.
    """
    box = gymnasium().spaces.flatten_space(space)
    bounds = zip(*(np.asarray(side, dtype=np.float64).ravel() for side in (box.low, box.high)), strict=True)
    found = tuple((k, float(low), float(high)) for k, (low, high) in enumerate(bounds))
    endless = [k for k, low, high in found if not math.isfinite(high - low)]
    if endless:
        raise SessionError(
            f"number {endless[0]} of the observation has no bounds; say which numbers the culture is given, and "
            "between which bounds: observed=[(index, low, high), ...]"
        )
    return found


def fractions_of(values: Array, observed: Observed) -> Array:
    """Return the chosen numbers between their bounds, 0 to 1; low may be above high."""
    index, low, high = (np.array(column) for column in zip(*observed, strict=True))
    return np.asarray(np.clip((values[index.astype(int)] - low) / (high - low), 0.0, 1.0))


def check_observed(observed: Sequence[Sequence[float]], size: int) -> Observed:
    """Return chosen numbers of an observation of `size` numbers, checked."""
    found = []
    for entry in observed:
        index, low, high = int(entry[0]), float(entry[1]), float(entry[2])
        if not 0 <= index < size or not math.isfinite(high - low) or low == high:
            raise SessionError(
                f"observed has {tuple(entry)!r}; expected (index, low, high) with an index from 0 to {size - 1} and "
                "two different finite bounds"
            )
        found.append((index, low, high))
    if not found:
        raise SessionError("observed is empty; the culture must be given at least one number")
    return tuple(found)


def default_decoder(space: Any, window: float = 0.1) -> PopulationVector:
    """Return a population vector with the outputs an action space needs.

    Two groups of units vote for and against each number; a choice among three or more has one group for each.
    """
    n = n_outputs(space)
    if n == 1:
        return PopulationVector(window=window)
    if isinstance(space, gymnasium().spaces.Discrete):
        return PopulationVector(tuple(tuple(row) for row in np.eye(n).tolist()), window=window)
    return PopulationVector(tuple(tuple(row) for row in [*(-np.eye(n)).tolist(), *np.eye(n).tolist()]), window=window)


def n_outputs(space: Any) -> int:
    """Return how many decoded values an action is made of; 1 for a choice between two.

    Raises
    ------
    SessionError
        If actions of this kind cannot be made of numbers.
    """
    spaces = gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        return 1 if space.n <= 2 else int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.size(space.nvec))
    if isinstance(space, spaces.MultiBinary):
        return int(np.prod(space.shape))
    if isinstance(space, spaces.Box):
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise SessionError("actions of this environment have no bounds; wrap it in gymnasium's RescaleAction")
        return int(np.prod(space.shape))
    raise SessionError(
        f"actions of kind {type(space).__name__} cannot be decoded; expected Discrete, MultiDiscrete, MultiBinary or "
        "Box: wrap the environment (gymnasium.wrappers.TransformAction)"
    )


def check_outputs(space: Any, n: int) -> None:
    """Raise SessionError where actions cannot be made of `n` decoded values."""
    needed = n_outputs(space)
    binned = isinstance(space, gymnasium().spaces.Discrete) and n in (1, int(space.n))
    if n != needed and not binned:
        raise SessionError(f"the decoder gives {n} values; an action of {space} is made of {needed}")


def action_of(space: Any, values: Array, rng: np.random.Generator) -> Any:
    """Return the action decoded values stand for.

    Discrete: the bin of one value in [-1, 1], or the largest of n values; ties are drawn. MultiDiscrete and
    MultiBinary: the bin of each value in [-1, 1]. Box: values in [-1, 1] stretched over its bounds.
    """
    spaces = gymnasium().spaces
    if isinstance(space, spaces.Discrete):
        n = int(space.n)
        if len(values) == 1:
            return int(space.start) + _bin(float(values[0]), n, rng)
        return int(space.start) + int(rng.choice(np.flatnonzero(values == values.max())))
    if isinstance(space, spaces.Box):
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        found = low + (np.clip(values, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return found.reshape(space.shape).astype(space.dtype)
    choices = np.ravel(space.nvec) if isinstance(space, spaces.MultiDiscrete) else np.full(len(values), 2)
    bins = [_bin(float(value), int(n), rng) for value, n in zip(values, choices, strict=True)]
    start = np.ravel(space.start) if isinstance(space, spaces.MultiDiscrete) else 0
    return (np.array(bins) + start).reshape(space.shape).astype(space.dtype)


def _bin(value: float, n: int, rng: np.random.Generator) -> int:
    """Return the bin of a value in [-1, 1]; the middle between two bins is drawn."""
    if value == 0.0 and n % 2 == 0:
        return n // 2 - int(rng.integers(2))
    return min(max(int((value + 1.0) / 2.0 * n), 0), n - 1)
