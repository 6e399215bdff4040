"""Stage 1, forced likelihood: fit every unit on recorded history, and choose what helps.

Everything here sees the training part only. Candidates (own history alone, couplings, couplings with
population fields, prior strengths) are compared on the last fifth of the training part; the winner is
fitted again on all of it. A unit that no candidate predicts better than its own history keeps that.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.forced_pass import Basis, ForcedSample, fit_fields, sample_forced
from organoid.fitting.history import History
from organoid.fitting.solver import Problem, Solution, solve, solve_roughly
from organoid.models.escape_lif import EscapeLIFParameters
from organoid.models.fields import FIELD_TAUS, PopulationFields, no_fields

Array = NDArray[np.float64]

SYNAPTIC_TAUS = (0.002, 0.008, 0.040)  # s
SATURATION = 3.0
N_CONTROL_BINS = 40_000
N_BLOCKS = 5
OWN_RIDGE = 3.0
BIAS_RIDGE = 1e-3
RUNAWAY_FACTOR = 5.0
RUNAWAY_WINDOW = 2.0  # s
HELPS = (4.0, 0.5)  # nats, and nats a unit, a culture has to gain over own histories on the validation block


@dataclass(frozen=True)
class Candidate:
    """One choice of basis and prior.

    Parameters
    ----------
    name : str
    coupling_ridge : float
        On couplings, per unit variance of a trace.
    fields : str
        "none", "linear" or "products".
    field_ridge : float
    """

    name: str
    coupling_ridge: float
    fields: str
    field_ridge: float = 3.0


CANDIDATES = (
    Candidate("couplings", 300.0, "none"),
    Candidate("couplings, weak prior", 30.0, "none"),
    Candidate("couplings and fields", 300.0, "linear"),
    Candidate("couplings, fields and products", 300.0, "products"),
    Candidate("couplings, fields and products, strong prior", 1000.0, "products", 30.0),
)


@dataclass(frozen=True)
class Design:
    """Standardised data of the forced fit.

    Parameters
    ----------
    basis : Basis
        With fields and products; candidates use part of its columns.
    sample : ForcedSample
    scale : ndarray, shape (n_features,)
        What each column of `sample` was divided by.
    capacity : ndarray of int64, shape (n_units,)
    """

    basis: Basis
    sample: ForcedSample
    scale: Array
    capacity: NDArray[np.int64]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.capacity.size)

    @property
    def n_couplings(self) -> int:
        """Number of columns that are unit traces."""
        return int(self.basis.tau.size * self.n_units)

    def columns(self, fields: str) -> NDArray[np.int64]:
        """Return the columns a candidate uses."""
        n_linear = self.basis.fields.decay.size
        n_fields = {"none": 0, "linear": n_linear, "products": self.basis.fields.n_features}[fields]
        last = self.scale.size - 1
        return np.append(np.arange(self.n_couplings + n_fields), last)

    def own_columns(self, unit: int) -> NDArray[np.int64]:
        """Return the columns of a unit's own history, and the bias."""
        return np.append(np.arange(self.basis.tau.size) * self.n_units + unit, self.scale.size - 1)

    def ridge(self, candidate: Candidate) -> Tensor:
        """Return the prior precision of every parameter, shape (n_columns, n_units)."""
        columns = self.columns(candidate.fields)
        ridge = torch.full((columns.size, self.n_units), candidate.field_ridge)
        ridge[: self.n_couplings] = candidate.coupling_ridge
        units = torch.arange(self.n_units)
        for k in range(self.basis.tau.size):
            ridge[k * self.n_units + units, units] = OWN_RIDGE
        ridge[-1] = BIAS_RIDGE
        return ridge

    def problem(self, sample: ForcedSample, candidate: Candidate) -> Problem:
        """Return the convex problem of a candidate on (part of) the sample."""
        columns = self.columns(candidate.fields)
        return Problem(
            rows=torch.from_numpy(np.ascontiguousarray(sample.rows[:, columns])),
            weights=torch.from_numpy(sample.weights).float(),
            spike_term=torch.from_numpy(sample.spike_term.sum(0)[columns]).float(),
            capacity=torch.from_numpy(self.capacity).float(),
            ridge=self.ridge(candidate),
        )


def make_design(training: History, rng: np.random.Generator, *, field_taus: tuple[float, ...] = FIELD_TAUS) -> Design:
    """Sweep the training part once and standardise what is kept of it.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the control bins.
    field_taus : tuple of float, s
        Time constants of the population fields; empty for none.
    """
    if field_taus:
        fields: PopulationFields = fit_fields(training, np.array(field_taus), products=len(field_taus) > 3)
    else:
        fields = no_fields()
    basis = Basis(np.array(SYNAPTIC_TAUS), SATURATION, fields)
    sample = sample_forced(training, basis, N_CONTROL_BINS, N_BLOCKS, rng)
    scale = np.ones(sample.rows.shape[1])
    n_couplings = basis.tau.size * training.n_units
    scale[:n_couplings] = _deviation(sample, n_couplings)
    sample.rows[:] /= scale.astype(np.float32)
    sample.spike_term[:] /= scale[:, None]
    return Design(basis, sample, scale, _capacity(training))


def _deviation(sample: ForcedSample, n_columns: int) -> Array:
    share = sample.weights / sample.weights.sum()
    rows = sample.rows[:, :n_columns]
    first = share @ rows
    second = share @ (rows.astype(np.float64) ** 2)
    deviation = np.sqrt(np.maximum(second - first**2, 0.0))
    return np.where(deviation > 1e-6, deviation, 1.0)


def _capacity(training: History) -> NDArray[np.int64]:
    cells, n = np.unique(training.bins * training.n_units + training.units, return_counts=True)
    capacity = np.ones(training.n_units, dtype=np.int64)
    np.maximum.at(capacity, cells % training.n_units, n)
    return capacity


@dataclass(frozen=True)
class ForcedFit:
    """Result of stage 1.

    Parameters
    ----------
    theta : ndarray, shape (n_features, n_units)
        Standardised parameters of the chosen network, zero where a feature is not used.
    parameters, uncoupled : EscapeLIFParameters
        The chosen network, and the one of own histories only.
    chosen : str
        Name of the winning candidate ("own history only" if none helps).
    coupled : ndarray of bool, shape (n_units,)
        Units that use couplings.
    validation : dict
        Bits/spike every candidate gains over own history on the validation block; units it does not
        help count as 0, since they would keep their own history.
    gradient_norm : float
    converged : bool
    """

    theta: Array
    parameters: EscapeLIFParameters
    uncoupled: EscapeLIFParameters
    chosen: str
    coupled: NDArray[np.bool_]
    validation: dict[str, float]
    gradient_norm: float
    converged: bool


def fit_forced(training: History, design: Design) -> ForcedFit:
    """Choose a candidate on the validation block, then fit it on the whole training part."""
    own = fit_own_history(design, design.sample)
    gains, starts = _validate(design)
    pooled = {name: float(np.maximum(gain, 0.0).sum()) for name, gain in gains.items()}
    best = max(CANDIDATES, key=lambda candidate: pooled[candidate.name])
    spikes_in_block = max(float(design.sample.spike_term[-1, -1].sum()), 1.0)
    validation = {name: value / (np.log(2) * spikes_in_block) for name, value in pooled.items()}
    own_parameters = assemble(training, design, own)
    coupled = gains[best.name] > 0
    if pooled[best.name] <= HELPS[0] + HELPS[1] * training.n_units:
        coupled[:] = False
        return ForcedFit(own, own_parameters, own_parameters, "own history only", coupled, validation, 0.0, True)
    solution = solve(design.problem(design.sample, best), starts[best.name])
    theta = np.where(coupled, _spread(design, best, solution), own)
    return ForcedFit(
        theta,
        assemble(training, design, theta),
        own_parameters,
        best.name,
        coupled,
        validation,
        solution.gradient_norm,
        solution.converged,
    )


def _validate(design: Design) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """Fit every candidate without the last block; return its gain there over own history, in nats a unit."""
    last = np.arange(N_BLOCKS) == N_BLOCKS - 1
    inner, held = design.sample.part(~last), design.sample.part(last)
    own = fit_own_history(design, inner)
    full = CANDIDATES[-1]
    reference = _likelihood(design, held, full, torch.from_numpy(own[design.columns("products")]).float())

    def attempt(candidate: Candidate) -> tuple[Array, Tensor]:
        theta = solve_roughly(design.problem(inner, candidate)).theta
        return reference - _likelihood(design, held, candidate, theta), theta

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # each on one thread: torch lets go of the interpreter
        results = dict(zip((c.name for c in CANDIDATES), pool.map(attempt, CANDIDATES)))
    return {name: gain for name, (gain, _) in results.items()}, {name: theta for name, (_, theta) in results.items()}


def _likelihood(design: Design, held: ForcedSample, candidate: Candidate, theta: Tensor) -> Array:
    return design.problem(held, candidate).negative_log_likelihood(theta).numpy()


def negative_log_likelihood(design: Design, theta: Array) -> float:
    """Return the forced negative log-likelihood of all units on the whole sample, in nats."""
    problem = design.problem(design.sample, CANDIDATES[-1])
    return float(problem.negative_log_likelihood(torch.from_numpy(theta).float()).sum())


def fit_own_history(design: Design, sample: ForcedSample) -> Array:
    """Fit every unit on its own history alone; shape (n_features, n_units), zero elsewhere."""
    theta = np.zeros((design.scale.size, design.n_units))
    for unit in range(design.n_units):
        columns = design.own_columns(unit)
        ridge = torch.full((columns.size, 1), OWN_RIDGE)
        ridge[-1] = BIAS_RIDGE
        problem = Problem(
            rows=torch.from_numpy(np.ascontiguousarray(sample.rows[:, columns])),
            weights=torch.from_numpy(sample.weights).float(),
            spike_term=torch.from_numpy(sample.spike_term.sum(0)[columns, unit : unit + 1]).float(),
            capacity=torch.tensor([float(design.capacity[unit])]),
            ridge=ridge,
        )
        theta[columns, unit] = solve(problem).theta[:, 0].numpy()
    return theta


def _spread(design: Design, candidate: Candidate, solution: Solution) -> Array:
    theta = np.zeros((design.scale.size, design.n_units))
    theta[design.columns(candidate.fields)] = solution.theta.numpy()
    return theta


def assemble(training: History, design: Design, theta: Array) -> EscapeLIFParameters:
    """Turn standardised weights into network parameters, and bound them by what the recording shows."""
    n, n_tau = design.n_units, design.basis.tau.size
    rows, weights = design.sample.rows, theta.astype(np.float32)
    drive = rows[:, : design.n_couplings] @ weights[: design.n_couplings]
    potential = drive + rows[:, design.n_couplings :] @ weights[design.n_couplings :]
    raw = theta / design.scale[:, None]
    return EscapeLIFParameters(
        dt=training.bin_width,
        tau=design.basis.tau,
        saturation=design.basis.saturation,
        weights=np.ascontiguousarray(raw[: design.n_couplings]).reshape(n_tau, n, n),
        bias=raw[-1].copy(),
        capacity=design.capacity,
        fields=design.basis.fields,
        field_weights=np.ascontiguousarray(raw[design.n_couplings : -1]),
        drive_low=drive.min(0).astype(np.float64),
        drive_high=drive.max(0).astype(np.float64),
        ceiling=potential.max(0).astype(np.float64),
        rate_limit=RUNAWAY_FACTOR * _highest_rate(training),
    )


def _highest_rate(training: History) -> float:
    """Return the highest population rate over 2 s of the training part, spikes/s (at least 1 per s)."""
    width = max(round(RUNAWAY_WINDOW / training.bin_width), 1)
    counts = np.bincount(training.bins // width, minlength=1)
    mean = training.bins.size / max(training.n_bins * training.bin_width, 1e-9)
    return float(max(counts.max() / RUNAWAY_WINDOW, mean, 1.0))
