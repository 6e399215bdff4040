r"""A brake: what a culture never did in its recording is held down, and what it did is left as it was.

With traces ``q_m`` of the population's spikes and the recorded maximum ``h_m`` of their logarithm:

.. math:: V_i \mathrel{-}= g \sum_m \max\Big(0, \log\big(1 + 4 q_m / \bar q_m\big) - h_m\Big)

The brake only inhibits, is the same for all units, and is not clipped: the harder a network is driven, the harder it
brakes, so that no stimulation can lock it. Inside the recorded range it is 0, and a run that stays there is the same
spike by spike as without it. Where pulses act through fitted responses the range is that of the stimulated recordings.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import borrowing, kernel

Array = NDArray[np.float64]

TAUS = (0.3, 1.0, 3.0, 10.0)  # s
GAIN = 5.0  # logit per unit of the logarithm
LOG_GAIN = 4.0


class Brake(NamedTuple):
    """Constants of the brake.

    Parameters
    ----------
    gain : float
        ``g``, logit.
    decay : ndarray, shape (n_traces,)
        Factor per step.
    mean : ndarray, shape (n_traces,)
        ``q`` at the mean rate, spikes.
    top : ndarray, shape (n_traces,)
        ``h``: largest recorded ``log(1 + 4 q / mean)``.
    driven_top : ndarray, shape (n_traces,)
        The same in steps in which pulses act through fitted responses.
    """

    gain: float
    decay: Array
    mean: Array
    top: Array
    driven_top: Array

    @property
    def present(self) -> bool:
        """Whether there is a brake."""
        return bool(self.decay.size)

    def check(self, n_units: int) -> None:
        """Raise a ModelError where constants do not fit together."""
        shapes = {self.decay.shape, self.mean.shape, self.top.shape, self.driven_top.shape}
        valid = len(shapes) == 1 and self.decay.ndim == 1 and np.isfinite(self.gain) and self.gain >= 0
        if not (valid and np.all((self.decay > 0) & (self.decay < 1)) and np.all(self.mean > 0)):
            raise ModelError(
                "a brake needs decay (0 to 1), mean (positive) and top of one length, and a gain of 0 or more"
            )


NO_BRAKE = Brake(GAIN, np.empty(0), np.empty(0), np.empty(0), np.empty(0))


def resting_brake(brake: Brake, copies: int) -> Array:
    """Return the traces of networks at their mean rate, shape (n_traces * copies,)."""
    return np.repeat(brake.mean, copies)


@kernel()
def braked(brake: Any, traces: NDArray[Any], driven: bool) -> float:
    """Return what the brake takes off the potential of every unit; exactly 0 inside the recorded range."""
    total, top = 0.0, brake.driven_top if driven else brake.top
    for m in range(traces.size):
        over = np.log(1.0 + LOG_GAIN * traces[m] / brake.mean[m]) - top[m]
        if over > 0.0:
            total += over
    return float(brake.gain * total)


@borrowing()
def brake_potential(brake: Any, traces: NDArray[Any], driven: bool, copies: int, v: NDArray[Any]) -> None:
    """Take off the potential of every unit what the brake does."""
    n = v.size // copies
    for c in range(copies if brake.decay.size else 0):
        off = braked(brake, traces[c::copies], driven)
        for i in range(c * n, (c + 1) * n if off > 0.0 else c * n):
            v[i] -= off


@borrowing()
def update_brake(brake: Any, entering: NDArray[Any], traces: NDArray[Any]) -> None:
    """Let the traces decay, then the spikes of a step enter them, copy by copy."""
    copies = entering.size
    for m in range(brake.decay.size):
        for c in range(copies):
            traces[m * copies + c] = traces[m * copies + c] * brake.decay[m] + entering[c]
