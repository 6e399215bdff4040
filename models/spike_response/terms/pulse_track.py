"""Pulses that act through fitted responses, in order of steps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class PulseTrack:
    """Pulses that have a kernel, in order of steps.

    Parameters
    ----------
    steps : ndarray of int64, shape (n_pulses,)
    curves : ndarray of int64, shape (n_pulses,)
        Which of the kernels' ``curves`` each one follows.
    sizes : ndarray, shape (n_pulses,)
        ``a``.
    """

    steps: Index
    curves: Index
    sizes: Array

    @classmethod
    def none(cls) -> "PulseTrack":
        """Return no pulses."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))

    def since(self, step: int) -> "PulseTrack":
        """Return the pulses after a step."""
        first = int(np.searchsorted(self.steps, step, side="right"))
        return PulseTrack(self.steps[first:], self.curves[first:], self.sizes[first:])

    def joined(self, later: "PulseTrack") -> "PulseTrack":
        """Return these pulses and some that do not come before them."""
        pairs = zip((self.steps, self.curves, self.sizes), (later.steps, later.curves, later.sizes))
        return PulseTrack(*(np.concatenate(pair) for pair in pairs))


NO_PULSES = PulseTrack.none()
