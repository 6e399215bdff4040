r"""A slow drive that all units share and no electrode sees: an Ornstein-Uhlenbeck process of variance 1.

.. math:: x(t+1) = a x(t) + \sqrt{1 - a^2}\, \xi(t), \quad a = e^{-dt/\tau}, \qquad V_i(t) \mathrel{+}= l_i x(t)

The noise is counted by the step, so that a run cut into pieces stays the same run.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
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


@kernel(inline="always")
def next_value(x: float, keep: float, key: np.uint64, step: int, pair: NDArray[Any]) -> float:
    """Return the drive after step number `step`; `pair` is room for two float32 numbers."""
    gaussian(key, step, 1, 0, pair)
    return float(keep * x + np.sqrt(1.0 - keep * keep) * pair[0])
