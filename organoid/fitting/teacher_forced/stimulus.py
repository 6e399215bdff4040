r"""Recorded stimuli in bins, and their columns in the forced fit.

A pulse acts on the bins from its own on, through raised cosines of the logarithm of time since the pulse, the last of
which ends after 120 ms. Every pulse enters the columns of all pulses, and those of its
electrode where that one has pulses enough: electrodes share a response and deviate from it. Electrodes with
few pulses have the shared response alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.stimuli import RecordedPulses
from organoid.fitting.teacher_forced.raised_cosines import raised_cosines
from organoid.jit import inner, kernel
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import StimulusKernels

Array = NDArray[np.float64]
Index = NDArray[np.int64]

REACH = 0.120  # s after a pulse
FIRST = 0.001  # s, peak of the first cosine, which is flat before it
OFFSET = 0.0005  # s, added to time before its logarithm is taken
N_COSINES = 8
MIN_PULSES = 20  # in all, and of an electrode for a response of its own
MAX_ELECTRODES = 48  # with a response of their own: memory stays bounded on arrays of thousands
VARYING = 1.2  # ratio of largest and smallest amplitude above which they count


def cosines(bin_width: float) -> Array:
    """Return the basis of responses in the middle of every bin from the pulse's on, shape (n_lags, n_cosines)."""
    lags = (np.arange(max(round(REACH / bin_width), 1)) + 0.5) * bin_width
    return raised_cosines(lags, N_COSINES, first=FIRST, reach=REACH, offset=OFFSET)


@dataclass(frozen=True)
class PulseColumns:
    """The columns pulses have in a design: cosines of the shared response, then those of each electrode's own.

    Parameters
    ----------
    basis : ndarray, shape (n_lags, n_cosines)
    track : PulseTrack
        The recorded pulses; ``curves`` is 0 for electrodes without a response of their own.
    n_own : int
        Electrodes with a response of their own.
    electrodes, curve, n_pulses, reference, unit
        See `StimulusKernels`.
    """

    basis: Array
    track: PulseTrack
    n_own: int
    electrodes: Index
    curve: Index
    n_pulses: Index
    reference: float
    unit: str

    @property
    def width(self) -> int:
        """Number of columns."""
        return int((1 + self.n_own) * self.basis.shape[1])

    @property
    def _packed(self) -> tuple[NDArray[Any], ...]:
        """What compiled loops take."""
        return self.track.steps, self.track.curves, self.track.sizes, self.basis

    def rows(self, bins: Index) -> NDArray[np.float32]:
        """Return the columns in some bins (rising), shape (n_bins, width)."""
        out = np.zeros((bins.size, self.width), dtype=np.float32)
        _fill_rows(bins, self._packed, out)
        return out

    def add_spike_term(
        self, bins: Index, units: Index, observed: NDArray[np.bool_], edges: Index, spike_term: Array
    ) -> None:
        """Add the columns at observed spikes to `spike_term`, shape (n_blocks, n_units, width)."""
        _add_at_spikes(bins, units, observed, edges, self._packed, spike_term)

    def kernels(self, theta: Array, bin_width: float) -> StimulusKernels:
        """Return the kernels of fitted weights, shape (width, n_units)."""
        weights = theta.reshape(1 + self.n_own, self.basis.shape[1], -1)
        total = np.concatenate([weights[:1], weights[:1] + weights[1:]])
        curves = np.ascontiguousarray(np.einsum("lb,kbi->kli", self.basis, total))
        nothing = np.full(curves.shape[2], np.inf)
        free = StimulusKernels(
            bin_width,
            self.electrodes,
            self.curve,
            self.n_pulses,
            curves,
            -nothing,
            nothing,
            self.reference,
            self.unit,
        )
        low, high = _ranges(free, self.track)
        return StimulusKernels(**{**vars(free), "low": low, "high": high})


def pulse_columns(pulses: RecordedPulses, bin_width: float) -> PulseColumns | None:
    """Return the columns of recorded pulses; None where there are too few of them."""
    if pulses.bins.size < MIN_PULSES:
        return None
    electrodes, n_pulses = np.unique(pulses.electrodes, return_counts=True)
    many = np.flatnonzero(n_pulses >= MIN_PULSES)
    many = many[np.argsort(-n_pulses[many], kind="stable")][:MAX_ELECTRODES]
    if electrodes.size == 1:
        many = many[:0]  # what all electrodes share is what this one has
    curve = np.zeros(electrodes.size, dtype=np.int64)
    curve[many] = 1 + np.arange(many.size)
    unit = str(pulses.units[0]) if np.all(pulses.units == pulses.units[0]) else ""
    reference = _reference(pulses.amplitudes) if unit else float("nan")
    sizes = np.ones(pulses.bins.size) if np.isnan(reference) else np.log1p(pulses.amplitudes / reference)
    track = PulseTrack(pulses.bins, curve[np.searchsorted(electrodes, pulses.electrodes)], sizes)
    return PulseColumns(
        cosines(bin_width), track, int(many.size), electrodes, curve, n_pulses.astype(np.int64), reference, unit
    )


def near_pulses(pulses: RecordedPulses, n_bins: int, bin_width: float) -> Array:
    """Return where control bins are wanted for the sake of pulses: most of them early after one, shape (n_bins,)."""
    from scipy.signal import lfilter

    lags = np.arange(max(round(REACH / bin_width), 1)) * bin_width
    impulses = np.bincount(pulses.bins, minlength=n_bins).astype(np.float64)
    return np.asarray(lfilter(1.0 / (1.0 + lags / 0.005), [1.0], impulses))


def _reference(amplitudes: Array) -> float:
    """Return the median amplitude where all are known and they vary, else NaN: then they do not count."""
    if not (np.isfinite(amplitudes).all() and amplitudes.min() > 0):
        return float("nan")
    return float(np.median(amplitudes)) if amplitudes.max() > VARYING * amplitudes.min() else float("nan")


def _ranges(kernels: StimulusKernels, track: PulseTrack) -> tuple[Array, Array]:
    """Return the lowest and highest drive of every unit over the recorded pulses, chunk by chunk; 0 at least."""
    low, high = np.zeros(kernels.n_units), np.zeros(kernels.n_units)
    end = int(track.steps[-1]) + kernels.n_lags
    for first in range(int(track.steps[0]), end, 100_000):
        _, drive = kernels.drive(track, first, min(first + 100_000, end))
        if len(drive):
            low, high = np.minimum(low, drive.min(0)), np.maximum(high, drive.max(0))
    return low, high


@inner(nogil=True)
def _still_acting(t: int, first: int, pulses: Any) -> int:
    """Return the first pulse, from `first` on, that still acts in bin `t`."""
    steps, basis = pulses[0], pulses[3]
    while first < steps.size and t - steps[first] >= basis.shape[0]:
        first += 1
    return first


@inner(nogil=True)
def _add_cosines(
    t: int,
    at: int,
    pulses: Any,
    out: NDArray[Any],
) -> None:
    """Add the columns of bin `t` to `out`; `pulses` as packed, `at` is the first that may still act."""
    steps, curves, sizes, basis = pulses
    n_cosines = basis.shape[1]
    while at < steps.size and steps[at] <= t:
        value, own = basis[t - steps[at]], curves[at] * n_cosines
        for b in range(n_cosines):
            out[b] += sizes[at] * value[b]
            if own:
                out[own + b] += sizes[at] * value[b]
        at += 1


@kernel(nogil=True)
def _fill_rows(
    bins: NDArray[Any],
    pulses: Any,
    out: NDArray[Any],
) -> None:
    first = 0
    for row in range(bins.size):
        first = _still_acting(bins[row], first, pulses)
        _add_cosines(bins[row], first, pulses, out[row])


@kernel(nogil=True)
def _add_at_spikes(
    bins: NDArray[Any],
    units: NDArray[Any],
    observed: NDArray[Any],
    edges: NDArray[Any],
    pulses: Any,
    out: NDArray[Any],
) -> None:
    first, block = 0, 0
    for spike in range(bins.size):
        t = bins[spike]
        while block < edges.size - 2 and t >= edges[block + 1]:
            block += 1
        first = _still_acting(t, first, pulses)
        if observed[t]:
            _add_cosines(t, first, pulses, out[block, units[spike]])
