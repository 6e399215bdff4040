"""One sweep over recorded spikes: traces, fields, the exact spike term and sampled control bins.

The network's features in every bin follow from the recorded spikes before it (teacher forcing). The
sweep keeps only what the fit needs: the sum of features over spikes (the likelihood's spike term,
exact) and the features of a sample of bins (its integral term), never a full design matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.coupling_basis import lagged_rows, lagged_spike_term
from organoid.fitting.teacher_forced.stimulus import PulseColumns, near_pulses
from organoid.models.spike_response.recorded import Follower
from organoid.models.spike_response.terms.population import PopulationFields

Array = NDArray[np.float64]

SAMPLING_TAU = 0.020  # s, population trace control bins are drawn by
SAMPLING_FLOOR = 0.5
NEAR_PULSES = 0.25  # further control bins near pulses, of the others
_NOWHERE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Basis:
    """What the features are made of, in this order: unit traces (time constant by time constant), fields, 1.

    Parameters
    ----------
    tau : ndarray, shape (n_tau,), s
    saturation : float
    fields : PopulationFields
    lags : ndarray, shape (n_lagged, n_lags)
        Functions of the time since a spike, of finite length (see
        `organoid.models.spike_response.terms.coupling_filters`); their sums over a unit's recent spikes come after
        its traces.
    """

    tau: Array
    saturation: float
    fields: PopulationFields
    lags: Array = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def n_kinds(self) -> int:
        """Columns of one unit: traces, and sums over its recent spikes."""
        return int(self.tau.size + self.lags.shape[0])

    def n_features(self, n_units: int) -> int:
        """Return the number of columns."""
        return int(self.n_kinds * n_units + self.fields.n_features + 1)

    def follower(self, history: History) -> Follower:
        """Return what follows the spikes of a history: traces and fields, but not the functions of finite length."""
        return Follower(history.recorded, history.n_units, history.bin_width, self.tau, self.saturation, self.fields)


@dataclass(frozen=True)
class ForcedSample:
    """What a sweep leaves behind.

    Parameters
    ----------
    rows : ndarray of float32, shape (n_samples, n_features)
        Features of the sampled bins.
    weights : ndarray, shape (n_samples,)
        Bins each row stands for.
    blocks : ndarray of int64, shape (n_samples,)
        Block in time each row belongs to.
    spike_term : ndarray, shape (n_blocks, n_features, n_units)
        Sum over spikes of each unit of the features at the spike.
    n_observed : ndarray of int64, shape (n_blocks,)
        Observed bins of each block.
    """

    rows: NDArray[np.float32]
    weights: Array
    blocks: NDArray[np.int64]
    spike_term: Array
    n_observed: NDArray[np.int64]

    def part(self, keep: NDArray[np.bool_], stride: int = 1) -> "ForcedSample":
        """Return the sample of some blocks only (`keep`: one flag a block), with every `stride`-th of its rows."""
        chosen = np.flatnonzero(keep[self.blocks])
        thin = chosen[::stride]
        total = self.weights[chosen].sum()
        weights = self.weights[thin] * (total / max(self.weights[thin].sum(), 1e-300))
        return ForcedSample(self.rows[thin], weights, self.blocks[thin], self.spike_term[keep], self.n_observed[keep])


def choose_control_bins(history: History, n_samples: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
    """Draw the bins that stand for all observed bins in the likelihood's integral term.

    Systematic sampling with probability proportional to a 20 ms trace of recent spikes plus a floor, so
    that bursts, where rates are high, are seen often. Half of the trace is the population's, in half
    every unit counts the same, so that the few moments of a rare unit are seen too. Where there are pulses, more
    bins are drawn soon after them.

    Returns
    -------
    bins : ndarray of int64
        In order of time.
    weights : ndarray
        Observed bins each one stands for.
    """
    observed = np.flatnonzero(history.observed)
    if observed.size <= n_samples:
        return observed, np.ones(observed.size)
    per_unit = 1.0 / np.maximum(np.bincount(history.units, minlength=history.n_units), 1)
    shares = np.stack([np.full(history.bins.size, 1.0 / max(history.bins.size, 1)), per_unit[history.units]])
    shares[1] /= max(shares[1].sum(), 1e-12)
    activity = _smoothed(history, shares.mean(0), SAMPLING_TAU)[observed]
    density = activity / max(activity.mean(), 1e-300) + SAMPLING_FLOOR
    expected = density * n_samples / density.sum()
    if history.pulses.bins.size:
        near = near_pulses(history.pulses, history.n_bins, history.bin_width)[observed]
        expected += near * (NEAR_PULSES * n_samples / max(near.sum(), 1e-300))
    expected = np.minimum(expected, 1.0)
    cumulative = np.cumsum(expected)
    points = np.arange(int(np.ceil(cumulative[-1]))) + rng.uniform()
    picked = np.unique(np.searchsorted(cumulative, points[points < cumulative[-1]], side="right"))
    return observed[picked], 1.0 / expected[picked]


def _smoothed(history: History, per_spike: Array, tau: float) -> Array:
    from scipy.signal import lfilter

    impulses = np.bincount(history.bins, weights=per_spike, minlength=history.n_bins)
    return np.asarray(lfilter([1.0], [1.0, -np.exp(-history.bin_width / tau)], impulses))


def add_at_spikes(follower: Follower, history: History, start: int, stop: int, spike_term: Array) -> None:
    """Add to `spike_term[0]` the features at the spikes of ``[start, stop)``; the follower goes on from where it is."""
    rows = np.empty((0, follower.n_features), dtype=np.float32)
    follower.sweep(start, stop, _NOWHERE, rows, np.array([0, history.n_bins]), spike_term)


def sample_forced(
    history: History,
    basis: Basis,
    n_samples: int,
    n_blocks: int,
    rng: np.random.Generator,
    gap: int = 0,
    pulses: PulseColumns | None = None,
) -> ForcedSample:
    """Sweep the recording once and keep the spike term and the features of control bins.

    Parameters
    ----------
    history : History
        The training part.
    basis : Basis
    n_samples : int
        Control bins; all of them where there are fewer.
    n_blocks : int
        Equal blocks in time, for validation.
    rng : Generator
    gap : int
        Bins between neighbouring blocks; where there are any, each gap is a block of its own (so block, gap,
        block, ...).
    pulses : PulseColumns, optional
        Columns to put between the fields and 1.
    """
    wanted, weights = choose_control_bins(history, n_samples, rng)
    edges = _block_edges(history.n_bins, n_blocks, gap)
    n_blocks = edges.size - 1
    width = basis.n_features(history.n_units) + (0 if pulses is None else pulses.width)
    rows = np.empty((wanted.size, width), dtype=np.float32)
    by_unit = np.zeros((n_blocks, history.n_units, width))
    basis.follower(history).sweep(0, history.n_bins, wanted, rows, edges, by_unit)
    if basis.lags.size:
        _put_lagged(history, basis, wanted, edges, rows, by_unit)
    if pulses is not None:
        _put_pulses(history, pulses, wanted, edges, rows, by_unit)
    return ForcedSample(
        rows=rows,
        weights=weights,
        blocks=np.searchsorted(edges, wanted, side="right") - 1,
        spike_term=by_unit.transpose(0, 2, 1),
        n_observed=np.add.reduceat(history.observed.astype(np.int64), edges[:-1]),
    )


def _put_lagged(
    history: History,
    basis: Basis,
    wanted: NDArray[np.int64],
    edges: NDArray[np.int64],
    rows: NDArray[np.float32],
    by_unit: Array,
) -> None:
    """Move the fields and the constant of a sweep on, and fill the columns between the traces and them."""
    n_traces, width = basis.tau.size * history.n_units, basis.lags.shape[0] * history.n_units
    others = basis.fields.n_features + 1
    before, behind = slice(n_traces, n_traces + others), slice(n_traces + width, n_traces + width + others)
    rows[:, behind] = rows[:, before].copy()
    rows[:, n_traces : n_traces + width] = lagged_rows(history, basis.lags, wanted)
    by_unit[..., behind] = by_unit[..., before].copy()
    by_unit[..., n_traces : n_traces + width] = lagged_spike_term(history, basis.lags, edges)


def _put_pulses(
    history: History,
    pulses: PulseColumns,
    wanted: NDArray[np.int64],
    edges: NDArray[np.int64],
    rows: NDArray[np.float32],
    by_unit: Array,
) -> None:
    """Move the constant of a sweep to the last column, and fill the columns before it."""
    constant = -1 - pulses.width
    by_unit[..., -1] = by_unit[..., constant]
    rows[:, -1], rows[:, constant:-1] = 1.0, pulses.rows(wanted)
    responses = np.zeros((*by_unit.shape[:2], pulses.width))
    pulses.add_spike_term(history.bins, history.units, history.observed, edges, responses)
    by_unit[..., constant:-1] = responses


def _block_edges(n_bins: int, n_blocks: int, gap: int) -> NDArray[np.int64]:
    edges = np.linspace(0, n_bins, n_blocks + 1).astype(np.int64)
    if gap == 0:
        return edges
    inner = edges[1:-1, None] + np.array([-(gap // 2), gap - gap // 2])
    return np.concatenate([edges[:1], inner.ravel(), edges[-1:]])


def forced_features(
    history: History, basis: Basis, start: int, stop: int, chunk: int = 8192
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the features of the bins ``[start, stop)``, chunk by chunk, from earlier spikes only.

    Yields
    ------
    first_bin : int
    rows : ndarray of float32, shape (at most `chunk`, n_features)
    """
    follower, whole = basis.follower(history), np.array([0, history.n_bins])
    nothing = np.empty((0, history.n_units, follower.n_features))
    at = 0
    while at < stop:
        end = start if at < start else min(at + chunk, stop)
        wanted = np.arange(at, end) if at >= start else np.empty(0, dtype=np.int64)
        rows = np.empty((wanted.size, follower.n_features), dtype=np.float32)
        follower.sweep(at, end, wanted, rows, whole, nothing)
        if wanted.size and basis.lags.size:
            n_traces = basis.tau.size * history.n_units
            added = lagged_rows(history, basis.lags, wanted)
            rows = np.concatenate([rows[:, :n_traces], added, rows[:, n_traces:]], axis=1)
        if wanted.size:
            yield at, rows
        at = end
