"""The data of the forced fit: one sweep's features, standardised, and the convex problem of every candidate."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.coupling_basis import TRACES, lagged_functions
from organoid.fitting.teacher_forced.coupling_drive import coupling_drive, own_history
from organoid.fitting.teacher_forced.features import Basis, ForcedSample, sample_forced
from organoid.fitting.teacher_forced.population import fit_fields
from organoid.fitting.teacher_forced.regions import Regions
from organoid.fitting.teacher_forced.solver import UNUSED, Problem
from organoid.fitting.teacher_forced.stimulus import PulseColumns, pulse_columns
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.population import FIELD_TAUS, PopulationFields, no_fields
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.parallel import in_threads
from organoid.statistics.runaway import RUNAWAY_FACTOR, RUNAWAY_WINDOW

Array = NDArray[np.float64]

SYNAPTIC_TAUS = (0.002, 0.008, 0.040)  # s
SLOW_TAU = 0.200  # s, trace that the forced fit has beside them: adaptation, slow transmission, retinal waves
DRIFT_TAUS = (10.0, 30.0, 100.0)  # s, population fields that follow a drifting baseline
SATURATION = 3.0
N_CONTROL_BINS = 40_000
N_BLOCKS = 5
MAX_WIDTH = 2000  # columns; above, memory allows only ...
FEW_BLOCKS = 3  # ... so many blocks and half of the control bins
GAP = (1.0, 0.1)  # s, and share of a block: what separates blocks, whichever is less
OWN_RIDGE = 3.0
LOCAL_RIDGE = 30.0  # a unit sees many local fields, and units of large arrays often have few spikes
BIAS_RIDGE = 1e-3
SHARED_RIDGE = 0.1  # on what all electrodes' responses share, of the ridge on their own parts
_CHUNK = 4096  # rows


@dataclass(frozen=True)
class Candidate:
    """One choice of basis and prior.

    Parameters
    ----------
    name : str
    coupling_ridge : float or None
        On couplings, per unit variance of a trace; None for a network without couplings.
    fields : str
        "none", "linear" or "products".
    field_ridge : float
    drift : bool
        Whether slow population fields follow the baseline.
    local : bool
        Whether units see the fields of their own and neighbouring regions.
    stimulus_ridge : float or None
        On the responses to pulses, per unit variance of a logit; None for none.
    """

    name: str
    coupling_ridge: float | None
    fields: str
    field_ridge: float = 3.0
    drift: bool = False
    local: bool = False
    stimulus_ridge: float | None = None


OWN_HISTORY = Candidate("own history only", None, "none")


@dataclass(frozen=True)
class Design:
    """Standardised data of the forced fit; columns: couplings, fields, responses to pulses, 1.

    Parameters
    ----------
    basis : Basis
        With fields and products; candidates use part of its columns.
    sample : ForcedSample
    scale : ndarray, shape (n_features,)
        What each column of `sample` was divided by.
    capacity : ndarray of int64, shape (n_units,)
    n_drift : int
        How many of the basis' linear fields of the whole population, the last ones, follow the baseline.
    regions : Regions, optional
        Of a large array.
    pulses : PulseColumns or None
        Where the training part holds pulses enough.
    device : str
        Where problems with couplings are solved.
    """

    basis: Basis
    sample: ForcedSample
    scale: Array
    capacity: NDArray[np.int64]
    n_drift: int = 0
    regions: Regions | None = None
    pulses: PulseColumns | None = None
    device: str = "cpu"

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.capacity.size)

    @property
    def n_couplings(self) -> int:
        """Number of columns that are unit traces."""
        return int(self.basis.n_kinds * self.n_units)

    @property
    def n_network(self) -> int:
        """Number of columns that are couplings and fields: those the network itself computes, but for the bias."""
        return int(self.n_couplings + self.basis.fields.n_features)

    @property
    def network_places(self) -> NDArray[np.int64]:
        """The columns of couplings and fields, and the bias."""
        return np.append(np.arange(self.n_network), self.scale.size - 1)

    @property
    def pulse_places(self) -> NDArray[np.int64]:
        """The columns of responses to pulses."""
        return np.arange(self.n_network, self.scale.size - 1)

    def field_columns(self, candidate: Candidate, unit: int | None = None) -> NDArray[np.int64]:
        """Return the columns of a candidate's fields, responses to pulses and 1.

        Of local fields those a unit sees, all if none is given.
        """
        n_linear, n_local = self.basis.fields.n_whole, self.basis.fields.region.size
        used = np.zeros(self.basis.fields.n_features, dtype=bool)
        used[: n_linear - self.n_drift] = candidate.fields != "none"
        used[n_linear - self.n_drift : n_linear] = candidate.drift
        used[n_linear : used.size - n_local] = candidate.fields == "products"
        used[used.size - n_local :] = candidate.local
        if unit is not None and candidate.local:
            used[used.size - n_local :] = self._seen()[:, unit]
        pulses = self.pulse_places if candidate.stimulus_ridge is not None else self.pulse_places[:0]
        return np.concatenate([self.n_couplings + np.flatnonzero(used), pulses, [self.scale.size - 1]])

    def columns(self, candidate: Candidate) -> NDArray[np.int64]:
        """Return the columns a coupled candidate uses."""
        return np.append(np.arange(self.n_couplings), self.field_columns(candidate))

    def _local(self, columns: NDArray[np.int64]) -> Tensor:
        """Return which columns are local fields."""
        end = self.n_couplings + self.basis.fields.n_features
        return torch.from_numpy((columns >= end - self.basis.fields.region.size) & (columns < end))

    def _seen(self) -> NDArray[np.bool_]:
        """Return which local fields reach a unit, shape (n_local, n_units)."""
        if self.regions is None:
            return np.empty((0, self.n_units), dtype=bool)
        return self.regions.seen[self.basis.fields.region]

    def own_columns(self, unit: int) -> NDArray[np.int64]:
        """Return the columns of a unit's own history."""
        return np.arange(self.basis.n_kinds) * self.n_units + unit

    def ridge(self, candidate: Candidate) -> Tensor:
        """Return the prior precision of every parameter, shape (n_columns, n_units)."""
        ridge = torch.full((self.columns(candidate).size, self.n_units), candidate.field_ridge)
        ridge[: self.n_couplings] = torch.inf if candidate.coupling_ridge is None else candidate.coupling_ridge
        units = torch.arange(self.n_units)
        for k in range(self.basis.n_kinds):
            ridge[k * self.n_units + units, units] = OWN_RIDGE
        if candidate.local:
            seen = torch.from_numpy(self._seen())
            ridge[self._local(self.columns(candidate))] = torch.where(seen, LOCAL_RIDGE, UNUSED)
        self._set_stimulus_ridge(ridge, self.columns(candidate), candidate)
        ridge[-1] = BIAS_RIDGE
        return ridge

    def _set_stimulus_ridge(self, ridge: Tensor, columns: NDArray[np.int64], candidate: Candidate) -> None:
        """Write the prior precision of responses to pulses into that of all columns."""
        if self.pulses is not None and candidate.stimulus_ridge is not None:
            shared = self.pulse_places[: self.pulses.basis.shape[1]]
            ridge[np.isin(columns, self.pulse_places)] = candidate.stimulus_ridge
            ridge[np.isin(columns, shared)] *= SHARED_RIDGE

    def problem(self, sample: ForcedSample, candidate: Candidate) -> Problem:
        """Return the convex problem of a candidate with couplings on (part of) the sample."""
        columns = self.columns(candidate)
        return Problem(
            rows=torch.from_numpy(np.ascontiguousarray(sample.rows[:, columns])),
            weights=torch.from_numpy(sample.weights).float(),
            spike_term=torch.from_numpy(sample.spike_term.sum(0)[columns]).float(),
            capacity=torch.from_numpy(self.capacity).float(),
            ridge=self.ridge(candidate),
            device=self.device,
        )

    def unit_problem(self, sample: ForcedSample, candidate: Candidate, unit: int) -> tuple[Problem, NDArray[np.int64]]:
        """Return the problem of one unit without couplings, and its columns."""
        columns = np.append(self.own_columns(unit), self.field_columns(candidate, unit))
        ridge = torch.full((columns.size, 1), candidate.field_ridge)
        ridge[: self.basis.n_kinds] = OWN_RIDGE
        ridge[self._local(columns)] = LOCAL_RIDGE
        self._set_stimulus_ridge(ridge, columns, candidate)
        ridge[-1] = BIAS_RIDGE
        problem = Problem(
            rows=torch.from_numpy(sample.rows[:, columns]),
            weights=torch.from_numpy(sample.weights).float(),
            spike_term=torch.from_numpy(sample.spike_term[:, columns, unit : unit + 1].sum(0)).float(),
            capacity=torch.tensor([float(self.capacity[unit])]),
            ridge=ridge,
        )
        return problem, columns


def make_design(
    training: History,
    rng: np.random.Generator,
    *,
    field_taus: tuple[float, ...] = FIELD_TAUS,
    synaptic_taus: tuple[float, ...] = SYNAPTIC_TAUS,
    drift_taus: tuple[float, ...] = (),
    regions: Regions | None = None,
    lags: Array | None = None,
) -> Design:
    """Sweep the training part once and standardise what is kept of it.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the control bins.
    field_taus : tuple of float, s
        Time constants of the population fields; empty for none.
    synaptic_taus : tuple of float, s
    drift_taus : tuple of float, s
        Of further, slow fields, which have no products.
    regions : Regions, optional
        Of a large array: their fields come last.
    """
    if field_taus:
        products = len(field_taus) if len(field_taus) > 3 else 0
        fields: PopulationFields = fit_fields(
            training, np.array(field_taus + drift_taus), products=products, regions=regions
        )
    else:
        fields = no_fields()
    basis = Basis(np.array(synaptic_taus), SATURATION, fields, np.empty((0, 0)) if lags is None else lags)
    pulses = pulse_columns(training.pulses, training.bin_width)
    width = basis.n_features(training.n_units) + (0 if pulses is None else pulses.width)
    n_rows, n_blocks = _affordable(width)
    sample = sample_forced(training, basis, n_rows, n_blocks, rng, gap=_gap(training), pulses=pulses)
    scale = np.ones(sample.rows.shape[1])
    n_couplings = basis.n_kinds * training.n_units
    scale[:n_couplings] = _deviation(sample, n_couplings)
    sample.rows[:] /= scale.astype(np.float32)
    sample.spike_term[:] /= scale[:, None]
    return Design(
        basis, sample, scale, spikes_in_a_bin(training), len(drift_taus) if field_taus else 0, regions, pulses
    )


def forced_design(
    training: History,
    rng: np.random.Generator,
    regions: Regions | None = None,
    basis: str = TRACES,
    delays: tuple[float, ...] = (),
    device: str | None = None,
) -> Design:
    """Return the design of the default fit: with a slow trace of every unit, and fields for a drifting baseline.

    `basis` and `delays` (s) are those of `organoid.fitting.teacher_forced.coupling_basis`.
    """
    taus = (*SYNAPTIC_TAUS, SLOW_TAU) if basis == TRACES else (SLOW_TAU,)
    lags = lagged_functions(basis, delays, training.bin_width)
    design = make_design(training, rng, synaptic_taus=taus, drift_taus=DRIFT_TAUS, regions=regions, lags=lags)
    return replace(design, device=device or "cpu")


def _affordable(width: int) -> tuple[int, int]:
    """Return the number of control bins and of blocks for rows of a width: fewer for very large cultures."""
    return (N_CONTROL_BINS, N_BLOCKS) if width < MAX_WIDTH else (N_CONTROL_BINS // 2, FEW_BLOCKS)


def _gap(training: History) -> int:
    seconds, share = GAP
    return int(min(round(seconds / training.bin_width), share * training.n_bins / N_BLOCKS))


def _deviation(sample: ForcedSample, n_columns: int) -> Array:
    share = sample.weights / sample.weights.sum()
    deviation = np.empty(n_columns)
    for column in range(n_columns):
        values = sample.rows[:, column].astype(np.float64)
        # not `@`: a dot product on several threads adds up in another order, and the fit would depend on their number
        first, second = np.einsum("t,t->", share, values), np.einsum("t,t,t->", share, values, values)
        deviation[column] = np.sqrt(max(second - first * first, 0.0))
    return np.where(deviation > 1e-6, deviation, 1.0)


def spikes_in_a_bin(training: History) -> NDArray[np.int64]:
    """Return the largest number of spikes of each unit in one bin, at least 1; shape (n_units,)."""
    cells, n = np.unique(training.bins * training.n_units + training.units, return_counts=True)
    capacity = np.ones(training.n_units, dtype=np.int64)
    np.maximum.at(capacity, cells % training.n_units, n)
    return capacity


def assemble(training: History, design: Design, theta: Array) -> SpikeResponseParameters:
    """Turn standardised weights into network parameters, and bound them by what the recording shows.

    The response to pulses, which is no part of the network's own drive, is left out: see `stimulus_kernels`.
    """
    n, n_tau = design.n_units, design.basis.tau.size
    drive_low, drive_high, ceiling = _ranges(design, theta.astype(np.float32))
    raw = theta / design.scale[:, None]
    couplings = np.ascontiguousarray(raw[: design.n_couplings]).reshape(design.basis.n_kinds, n, n)
    return SpikeResponseParameters(
        dt=training.bin_width,
        tau=design.basis.tau,
        saturation=design.basis.saturation,
        weights=couplings[:n_tau],
        bias=raw[-1].copy(),
        capacity=design.capacity,
        fields=design.basis.fields,
        field_weights=np.ascontiguousarray(raw[design.n_couplings : design.n_network]),
        drive_low=drive_low,
        drive_high=drive_high,
        ceiling=ceiling,
        rate_limit=RUNAWAY_FACTOR * highest_rate(training),
        lags=design.basis.lags,
        lag_weights=couplings[n_tau:] if design.basis.lags.size else np.empty((0, 0, 0)),
    )


def stimulus_kernels(training: History, design: Design, theta: Array) -> StimulusKernels | None:
    """Return the response to pulses that weights hold; None where they hold none."""
    weights = theta[design.pulse_places]
    if design.pulses is None or not np.any(weights):
        return None
    return design.pulses.kernels(weights, training.bin_width)


def _ranges(design: Design, weights: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Return lowest and highest drive and highest potential of every unit over the sampled bins."""
    rows, n = design.sample.rows, design.n_couplings
    own = own_history(weights[:n])
    others = weights[n:].copy()
    others[design.pulse_places - n] = 0.0

    def part(first: int) -> tuple[NDArray[np.float32], ...]:
        chunk = rows[first : first + _CHUNK]
        drive = coupling_drive(chunk[:, :n], weights[:n], own)
        return drive.min(0), drive.max(0), (drive + chunk[:, n:] @ others).max(0)

    low, high, potential = zip(*in_threads(part, range(0, len(rows), _CHUNK)))
    return (
        np.min(low, axis=0).astype(np.float64),
        np.max(high, axis=0).astype(np.float64),
        np.max(potential, axis=0).astype(np.float64),
    )


def highest_rate(training: History) -> float:
    """Return the highest population rate over 2 s of the training part, spikes/s (at least 1 per s)."""
    width = max(round(RUNAWAY_WINDOW / training.bin_width), 1)
    counts = np.bincount(training.bins // width, minlength=1)
    mean = training.bins.size / max(training.n_bins * training.bin_width, 1e-9)
    return float(max(counts.max() / RUNAWAY_WINDOW, mean, 1.0))
