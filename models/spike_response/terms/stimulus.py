r"""Responses to pulses: a kernel on the membrane for every electrode and unit.

With pulses ``p`` on electrode ``e_p`` in step ``b_p``, of relative size ``a_p``:

.. math::

    U_i(t) = \mathrm{clip}\Big(\sum_p a_p\, \kappa_{e_p i}(t - b_p)\Big), \qquad a_p = \log(1 + u_p / u_0)
             \text{, or } 1 \text{ where amplitudes were unknown or all the same}

``U`` is added to ``V`` of an `organoid.models.spike_response.network.SpikeResponseNetwork` after all clipping of the
network's own drive, and is 0 where no pulse is recent. Clipping keeps it inside the range the recorded pulses span. A
kernel begins in the step of the pulse and so holds what the pulse evokes directly, too.

A response that was calibrated in free run has three further parts, all absent by default. While pulses keep coming, a
baseline is added: a stimulated culture is not the spontaneous one. In the first steps after a pulse, where artefacts
hid all spikes, units are silent: what happened there is not known, and must not be invented. And responses tire
(`organoid.models.spike_response.fatigue`) and may be all or none (`organoid.models.spike_response.dose`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import borrowing, kernel
from organoid.models.spike_response.dose import Dose
from organoid.models.spike_response.fatigue import Resource, strengths
from organoid.models.spike_response.terms.pulse_track import NO_PULSES, PulseTrack

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SILENT = -30.0  # logit
NO_FATIGUE = Resource(utilisation=0.0)


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
    baseline : ndarray, shape (n_kernels, n_units) or empty
        Added to ``U`` from a pulse on, up to `baseline_steps` later: that of the last pulse's kernel, logit.
    baseline_steps : int
        Steps it lasts.
    blanked : int
        First lags in which units are silent, since artefacts hid their spikes.
    default_curve : int
        Kernel of electrodes without pulses of their own, the mean of the others'; -1: they have no response.
    resource : Resource
        How responses tire, each electrode's by itself.
    dose : Dose, optional
        Whether pulses are answered; without it all are.
    together : float
        Largest number of electrodes that were pulsed at once. Pulses on more of them are scaled down to it: how further
        ones add up was not recorded.
    scores : mapping of str to float
        How good the responses are on pulses that were held out; empty where they were not calibrated in free run.

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
    baseline: Array = field(default_factory=lambda: np.empty((0, 0)))
    baseline_steps: int = 0
    blanked: int = 0
    default_curve: int = -1
    resource: Resource = NO_FATIGUE
    dose: Dose | None = None
    together: float = np.inf
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.electrodes.size
        if self.baseline.size and self.baseline.shape != (len(self.curves), self.n_units):
            raise ModelError(
                f"the baseline has shape {self.baseline.shape}; expected {(len(self.curves), self.n_units)}, one row "
                "a kernel"
            )
        if not (-1 <= self.default_curve < len(self.curves) and 0 <= self.blanked <= max(self.n_lags, 0)):
            raise ModelError(
                f"default kernel {self.default_curve} of {len(self.curves)} and {self.blanked} blanked lags of "
                f"{self.n_lags}; expected a kernel (or -1), and no more lags than there are"
            )
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

    @property
    def memory(self) -> int:
        """Steps after which nothing of a pulse is left, its part in the fatigue of the next one aside."""
        return max(self.n_lags, self.baseline_steps)

    @property
    def calibrated(self) -> bool:
        """Whether the responses were calibrated in free run."""
        return bool(self.scores)

    @property
    def status(self) -> str:
        """What the responses rest on, in a few words."""
        n, where = int(self.n_pulses.sum()), int(self.electrodes.size)
        on = f"({n} pulses, {where} electrode{'' if where == 1 else 's'})"
        return f"calibrated {on}" if self.calibrated else f"fitted on recorded history only {on}"

    def has(self, electrode: int) -> bool:
        """Return whether pulses on an electrode of this number have a kernel."""
        return self.default_curve >= 0 or self.knows(electrode)

    def knows(self, electrode: int) -> bool:
        """Return whether the kernel of an electrode of this number was fitted to pulses of its own."""
        return bool(np.any(self.electrodes == electrode))

    def sizes(self, amplitudes: Array, units: NDArray[np.str_]) -> Array:
        """Return ``a`` of pulses; one of an amplitude unknown, or in another unit, counts as one of ``u_0``."""
        if np.isnan(self.reference):
            return np.ones(amplitudes.size)
        known = np.isfinite(amplitudes) & (units == self.amplitude_unit)
        return np.asarray(np.log1p(np.where(known, np.abs(amplitudes) / self.reference, 1.0)))

    def track(self, steps: Index, electrodes: Index, amplitudes: Array, units: NDArray[np.str_]) -> PulseTrack:
        """Return the pulses that have a kernel, in order of steps."""
        curves = self.curves_of(electrodes)
        known = np.flatnonzero(curves >= 0)
        known = known[np.argsort(steps[known], kind="stable")]
        sizes = self.sizes(amplitudes[known], units[known])
        return PulseTrack(steps[known].astype(np.int64), curves[known], sizes)

    def curves_of(self, electrodes: Index) -> Index:
        """Return the kernel of each electrode; -1 where it has none."""
        if not self.electrodes.size:
            return np.full(electrodes.size, self.default_curve, dtype=np.int64)
        order = np.argsort(self.electrodes, kind="stable")
        place = order[np.minimum(np.searchsorted(self.electrodes[order], electrodes), order.size - 1)]
        return np.where(self.electrodes[place] == electrodes, self.curve[place], self.default_curve).astype(np.int64)

    def tired(self, track: PulseTrack) -> PulseTrack:
        """Return pulses with the sizes fatigue leaves them, kernel by kernel, the first ones finding all rested."""
        if not self.resource.utilisation:
            return track
        return PulseTrack(
            track.steps,
            track.curves,
            track.sizes * strengths(self.resource, track.steps * self.dt, track.curves),
        )

    def drive(self, track: PulseTrack, start: int, stop: int) -> tuple[Index, Array]:
        """Return the steps of ``[start, stop)`` in which pulses act, from `start` on, and ``U`` in each.

        Returns
        -------
        steps : ndarray of int64, shape (n,)
        drive : ndarray, shape (n, n_units)
        """
        steps = _acting(track.steps, self.memory, start, stop)
        return steps - start, self.drive_at(track, steps)

    def drive_at(self, track: PulseTrack, steps: Index) -> Array:
        """Return ``U`` in any steps, shape (n_steps, n_units)."""
        out = np.zeros((steps.size, self.n_units))
        _fill(steps, track.steps, track.curves, track.sizes, self.curves, self.low, self.high, out)
        if self.baseline.size or self.blanked:
            baseline = self.baseline if self.baseline.size else np.zeros((len(self.curves), self.n_units))
            _finish(steps, track.steps, track.curves, baseline, self.baseline_steps, self.blanked, out)
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
            plain = isinstance(value, np.ndarray | int | float)
            digest.update(np.ascontiguousarray(value).tobytes() if plain else _text(value).encode())
        found = {
            "n_electrodes": int(self.electrodes.size),
            "n_pulses": int(self.n_pulses.sum()),
            "sha256": digest.hexdigest(),
        }
        return {**found, "scores": dict(self.scores)} if self.scores else found


def check_fits(kernels: StimulusKernels | None, n_units: int, dt: float) -> StimulusKernels | None:
    """Return the kernels; raise `ModelError` where they are of another size or step than a network."""
    if kernels is not None and (kernels.n_units, kernels.dt) != (n_units, dt):
        raise ModelError(
            f"kernels of {kernels.n_units} units and steps of {kernels.dt:g} s for a network of "
            f"{n_units} units and steps of {dt:g} s; they must be the same"
        )
    return kernels


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=dict, sort_keys=True)


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
    """Write ``U`` of every unit in a step, and return whether any pulse acts there (else nothing is written).

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


class PulseInput(NamedTuple):
    """Pulses and their filters as the compiled step takes them; see `PulseTrack` and `StimulusKernels`."""

    steps: Index
    which: Index
    sizes: Array
    curves: Array
    low: Array
    high: Array


def pulse_input(track: PulseTrack, kernels: StimulusKernels | None, n_units: int) -> PulseInput:
    """Return pulses for the compiled step; without kernels none."""
    if kernels is None:
        nothing = np.zeros(n_units)
        return PulseInput(
            NO_PULSES.steps, NO_PULSES.curves, NO_PULSES.sizes, np.zeros((1, 1, n_units)), nothing, nothing
        )
    return PulseInput(track.steps, track.curves, track.sizes, kernels.curves, kernels.low, kernels.high)


@borrowing()
def add_evoked(pulses: Any, now: NDArray[Any], n_before: NDArray[Any], room: NDArray[Any], v: NDArray[Any]) -> None:
    """Add what pulses evoke to the potential of every unit; copy ``c`` stands at step ``now[c]``.

    `n_before` holds how many pulses came up to then; both are moved on.
    """
    n = room.size
    for c in range(now.size):
        while n_before[c] < pulses.steps.size and pulses.steps[n_before[c]] <= now[c]:
            n_before[c] += 1
        curves, low, high = pulses.curves, pulses.low, pulses.high
        if evoked(now[c], n_before[c], pulses.steps, pulses.which, pulses.sizes, curves, low, high, room):
            for i in range(n):
                v[c * n + i] += room[i]
        now[c] += 1


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


@kernel(nogil=True)
def _finish(
    wanted: NDArray[Any],
    steps: NDArray[Any],
    which: NDArray[Any],
    baseline: NDArray[Any],
    baseline_steps: int,
    blanked: int,
    out: NDArray[Any],
) -> None:
    """Add the baseline of the last pulse where it lasts, and silence the blanked steps."""
    for row in range(wanted.size):
        last = int(np.searchsorted(steps, wanted[row], side="right")) - 1
        if last < 0:
            continue
        since = wanted[row] - steps[last]
        if since < blanked:
            out[row, :] = SILENT
        elif since < baseline_steps:
            shift = baseline[which[last]]
            for i in range(shift.size):
                out[row, i] += shift[i]
