r"""A slow drive that all units share and no electrode sees: an Ornstein-Uhlenbeck process of variance 1.

.. math:: x(t+1) = a x(t) + \sqrt{1 - a^2}\, \xi(t), \quad a = e^{-dt/\tau}, \qquad V_i(t) \mathrel{+}= l_i x(t)

The noise is counted by the step, so that a run cut into pieces stays the same run.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import borrowing, inner, kernel
from organoid.models.compiled.event.noise import gaussian
from organoid.models.rng import stream_key

Array = NDArray[np.float64]


class LatentDrive(NamedTuple):
    """Constants of the drive.

    Parameters
    ----------
    tau : float, s
    loadings : ndarray, shape (n_units,)
        ``l``, logit; empty without a drive.
    """

    tau: float
    loadings: Array

    @property
    def present(self) -> bool:
        """Whether there is a drive."""
        return bool(self.loadings.size)

    def check(self, n_units: int) -> None:
        """Raise a ModelError where the drive does not fit a network of `n_units` units."""
        size = self.loadings.size
        if size not in (0, n_units) or not np.all(np.isfinite(self.loadings)) or not self.tau > 0:
            raise ModelError(
                f"a latent drive with {size} loadings and a time constant of {self.tau!r} s; expected a finite loading "
                f"for each of {n_units} units (none without a drive), and a positive time constant"
            )


NO_DRIVE = LatentDrive(1.0, np.empty(0))


def drive_key(key: int) -> np.uint64:
    """Return the random stream of the drive of a run whose spikes have stream `key`."""
    return stream_key(key, "latent drive")


def first_value(drive: LatentDrive, key: int) -> float:
    """Return where the drive starts: drawn from its stationary distribution, 0 without one."""
    if not drive.loadings.size:
        return 0.0
    pair = np.empty(2, dtype=np.float32)
    gaussian(stream_key(key, "latent drive starts"), 0, 1, 0, pair)
    return float(pair[0])


class LatentMemory(NamedTuple):
    """What is remembered of the drive of each copy: its value, and its random stream."""

    value: Array
    key: NDArray[np.uint64]


class LatentRoom(NamedTuple):
    """Factor the drive keeps in a step, and room for two float32 numbers."""

    decay: float
    pair: NDArray[np.float32]


def resting_latent(drive: LatentDrive, keys: Sequence[int]) -> LatentMemory:
    """Return where the drives of runs start whose spikes have streams `keys`."""
    return LatentMemory(
        np.array([first_value(drive, key) for key in keys]),
        np.array([drive_key(key) for key in keys], dtype=np.uint64),
    )


@inner()
def prepare_latent(drive: Any, dt: float) -> Any:
    """Return the constants of the drive."""
    return LatentRoom(np.exp(-dt / drive.tau), np.empty(2, dtype=np.float32))


@borrowing()
def add_latent(drive: Any, memory: Any, out: NDArray[Any]) -> None:
    """Add what the drive adds to the potential of every unit, copy by copy."""
    n = drive.loadings.size
    for c in range(memory.value.size):
        for i in range(n):
            out[c * n + i] += drive.loadings[i] * memory.value[c]


@borrowing()
def update_latent(drive: Any, room: Any, step: int, memory: Any) -> None:
    """Move the drive on after step number `step`."""
    for c in range(memory.value.size if drive.loadings.size else 0):
        memory.value[c] = next_value(memory.value[c], room.decay, memory.key[c], step, room.pair)


@kernel(inline="always")
def next_value(x: float, keep: float, key: np.uint64, step: int, pair: NDArray[Any]) -> float:
    """Return the drive after step number `step`; `pair` is room for two float32 numbers."""
    gaussian(key, step, 1, 0, pair)
    return float(keep * x + np.sqrt(1.0 - keep * keep) * pair[0])
