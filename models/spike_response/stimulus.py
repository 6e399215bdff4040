r"""Responses to pulses: a kernel on the membrane for every electrode and unit.

With pulses ``p`` on electrode ``e_p`` in step ``b_p``, of relative size ``a_p``:

.. math::

    U_i(t) = \mathrm{clip}\Big(\sum_p a_p\, \kappa_{e_p i}(t - b_p)\Big), \qquad a_p = \log(1 + u_p / u_0)
             \text{, or } 1 \text{ where amplitudes were unknown or all the same}

``U`` is added to ``V`` of an `organoid.models.spike_response.network.SpikeResponseNetwork` after all clipping of the
network's own drive, and is 0 where no pulse is recent. Clipping keeps it inside the range the recorded pulses span. A
kernel begins in the step of the pulse and so holds what the pulse evokes directly, too.
"""

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import kernel

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True)
class StimulusKernels:
    """Fitted kernels.

    Parameters
    ----------
    dt : float, s
        Step.
    electrodes : ndarray of int64, shape (n_electrodes,)
        Numbers of the electrodes that were stimulated; -1 stands for pulses on no electrode known.
    curve : ndarray of int64, shape (n_electrodes,)
        Which kernel each one has; electrodes with few pulses share kernel 0.
    n_pulses : ndarray of int64, shape (n_electrodes,)
        Pulses each one was fitted on.
    curves : ndarray, shape (n_kernels, n_lags, n_units)
        ``kappa``, logit; the first lag is the step of the pulse.
    low, high : ndarray, shape (n_units,)
        Range ``U`` is clipped to; holds 0.
    reference : float
        ``u_0``, in `amplitude_unit`; NaN where amplitudes do not count.
    amplitude_unit : str
        "A", "V", or "" where unknown.

    Raises
    ------
    ModelError
        If shapes do not fit together or a value is not finite.
    """

    dt: float
    electrodes: Index
    curve: Index
    n_pulses: Index
    curves: Array
    low: Array
    high: Array
    reference: float = np.nan
    amplitude_unit: str = ""

    def __post_init__(self) -> None:
        n = self.electrodes.size
        if self.curves.ndim != 3 or not self.curves.shape[1]:
            raise ModelError(f"kernels have shape {self.curves.shape}; expected (kernels, lags, units)")
        for name, size in (("curve", n), ("n_pulses", n), ("low", self.n_units), ("high", self.n_units)):
            if getattr(self, name).shape != (size,):
                raise ModelError(f"{name} has shape {getattr(self, name).shape}; expected ({size},)")
        if n and not 0 <= self.curve.min() <= self.curve.max() < len(self.curves):
            raise ModelError(f"electrodes name kernels up to {self.curve.max()}; there are {len(self.curves)}")
        if not (np.isfinite(self.curves).all() and np.all(self.low <= 0) and np.all(self.high >= 0)):
            raise ModelError("kernels must be finite, and the range they are clipped to must hold 0")

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.curves.shape[2])

    @property
    def n_lags(self) -> int:
        """Steps after a pulse in which it acts."""
        return int(self.curves.shape[1])

    def has(self, electrode: int) -> bool:
        """Tell whether pulses on an electrode of this number have a kernel."""
        return bool(np.any(self.electrodes == electrode))

    def sizes(self, amplitudes: Array, units: NDArray[np.str_]) -> Array:
        """Return ``a`` of pulses; one of an amplitude unknown, or in another unit, counts as one of ``u_0``."""
        if np.isnan(self.reference):
            return np.ones(amplitudes.size)
        known = np.isfinite(amplitudes) & (units == self.amplitude_unit)
        return np.asarray(np.log1p(np.where(known, np.abs(amplitudes) / self.reference, 1.0)))

    def track(self, steps: Index, electrodes: Index, amplitudes: Array, units: NDArray[np.str_]) -> PulseTrack:
        """Return the pulses that have a kernel, in order of steps."""
        order = np.argsort(self.electrodes, kind="stable")
        place = np.searchsorted(self.electrodes[order], electrodes)
        place = order[np.minimum(place, order.size - 1)] if order.size else np.zeros(electrodes.size, dtype=np.int64)
        known = np.flatnonzero(self.electrodes[place] == electrodes) if order.size else np.empty(0, dtype=np.int64)
        known = known[np.argsort(steps[known], kind="stable")]
        sizes = self.sizes(amplitudes[known], units[known])
        return PulseTrack(steps[known].astype(np.int64), self.curve[place[known]], sizes)

    def drive(self, track: PulseTrack, start: int, stop: int) -> tuple[Index, Array]:
        """Return the steps of ``[start, stop)`` in which pulses act, from `start` on, and ``U`` in each.

        Returns
        -------
        steps : ndarray of int64, shape (n,)
        drive : ndarray, shape (n, n_units)
        """
        steps = _acting(track.steps, self.n_lags, start, stop)
        return steps - start, self.drive_at(track, steps)

    def drive_at(self, track: PulseTrack, steps: Index) -> Array:
        """Return ``U`` in any steps, shape (n_steps, n_units)."""
        out = np.zeros((steps.size, self.n_units))
        _fill(steps, track.steps, track.curves, track.sizes, self.curves, self.low, self.high, out)
        return out

    def table(self) -> "pd.DataFrame":
        """Return one row an electrode, unit and lag: electrode, n_pulses, unit, time_s, logit (of size 1).

        ``time_s`` is the middle of the step.
        """
        import pandas as pd

        shape = (self.electrodes.size, self.n_units, self.n_lags)
        electrode, unit, lag = (index.ravel() for index in np.indices(shape))
        return pd.DataFrame(
            {
                "electrode": self.electrodes[electrode],
                "n_pulses": self.n_pulses[electrode],
                "unit": unit,
                "time_s": (lag + 0.5) * self.dt,
                "logit": self.curves[self.curve[electrode], lag, unit],
            }
        )

    def describe(self) -> dict[str, Any]:
        """Return electrodes, pulses, the range of amplitudes' scale and a hash of all values."""
        digest = hashlib.sha256()
        for entry in fields(self):
            value = getattr(self, entry.name)
            digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
        return {
            "n_electrodes": int(self.electrodes.size),
            "n_pulses": int(self.n_pulses.sum()),
            "sha256": digest.hexdigest(),
        }


def _acting(pulses: Index, n_lags: int, start: int, stop: int) -> Index:
    """Return the steps of ``[start, stop)`` that are less than `n_lags` after a pulse."""
    a, b = np.searchsorted(pulses, [start - n_lags + 1, stop])
    edges = np.zeros(max(stop - start, 0) + 1, dtype=np.int64)
    np.add.at(edges, np.maximum(pulses[a:b] - start, 0), 1)
    np.add.at(edges, np.minimum(pulses[a:b] + n_lags - start, stop - start), -1)
    return start + np.flatnonzero(np.cumsum(edges)[:-1] > 0)


@kernel()
def evoked(
    step: int,
    n_before: int,
    steps: NDArray[Any],
    which: NDArray[Any],
    sizes: NDArray[Any],
    curves: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    out: NDArray[Any],
) -> bool:
    """Write ``U`` of every unit in a step, and tell whether any pulse acts there (nothing is written where none does).

    `n_before` pulses came in this step or before it.
    """
    at = n_before - 1
    if at < 0 or step - steps[at] >= curves.shape[1]:
        return False
    out[:] = 0.0
    while at >= 0 and step - steps[at] < curves.shape[1]:
        row, size = curves[which[at], step - steps[at]], sizes[at]
        for i in range(out.size):
            out[i] += size * row[i]
        at -= 1
    for i in range(out.size):
        out[i] = min(max(out[i], low[i]), high[i])
    return True


@kernel(nogil=True)
def _fill(
    wanted: NDArray[Any],
    steps: NDArray[Any],
    which: NDArray[Any],
    sizes: NDArray[Any],
    curves: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    out: NDArray[Any],
) -> None:
    for row in range(wanted.size):
        n_before = int(np.searchsorted(steps, wanted[row], side="right"))
        evoked(wanted[row], n_before, steps, which, sizes, curves, low, high, out[row])
