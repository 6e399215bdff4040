"""Stage 1 of the culture LIF network: the convex likelihood of every unit, resets taken from the recording."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from organoid.fitting.culture_lif.columns import Columns
from organoid.fitting.culture_lif.newton import UnitProblem, UnitSolution, solve_unit
from organoid.fitting.data.history import History
from organoid.models.culture_lif.forced_pass import membrane_rows
from organoid.parallel import in_threads

Array = NDArray[np.float64]

FISHER_STRIDE = 3
_MEMORY = 1.2e8  # bytes of rows that one thread holds


@dataclass(frozen=True)
class ForcedCultureFit:
    """Result of stage 1.

    Parameters
    ----------
    theta, uncoupled : ndarray, shape (n_columns, n_units)
        Standardised weights: of the network, and of units that know their own history only.
    fisher : ndarray, shape (n_columns, n_columns)
        Fisher matrix of one bin, averaged over units.
    spike_term : ndarray, shape (n_columns, n_units)
        Recorded sums over spikes of the (standardised) columns.
    signs : ndarray of int64, shape (n_units,)
        Under Dale's law 1 for excitatory units, -1 for inhibitory ones; 0 without it.
    converged : bool
    """

    theta: Array
    uncoupled: Array
    fisher: Array
    spike_term: Array
    signs: NDArray[np.int64]
    converged: bool


def fit_forced_culture(training: History, columns: Columns, *, dales_law: bool = False) -> ForcedCultureFit:
    """Fit every unit on recorded history.

    Parameters
    ----------
    training : History
    columns : Columns
    dales_law : bool
        Let each unit only excite or only inhibit the others. Which of the two is taken from the sum of its outgoing
        weights in a fit without the law.
    """
    fit = _fit(training, columns, None, None)
    if not dales_law:
        return fit
    signs = outgoing_signs(columns, fit.theta)
    return replace(_fit(training, columns, signs, fit.theta), uncoupled=fit.uncoupled)


def outgoing_signs(columns: Columns, theta: Array) -> NDArray[np.int64]:
    """Return 1 for units whose standardised outgoing weights sum to 0 or more, -1 for others; shape (n_units,)."""
    others = np.where(columns.own, 0.0, theta)[: columns.n_couplings]
    sums = others.reshape(-1, columns.n_units, columns.n_units).sum((0, 2))
    return np.where(sums >= 0, 1, -1).astype(np.int64)


def _fit(training: History, columns: Columns, signs: NDArray[np.int64] | None, start: Array | None) -> ForcedCultureFit:
    n = columns.n_units
    low, high = columns.bounds(signs)
    begin = _at_rates(training, columns) if start is None else start
    per_unit = columns.bins.size * columns.n_columns * 4
    size = int(np.clip(_MEMORY / per_unit, 1, 16))
    batches = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]

    def batch(units: NDArray[np.int64]) -> tuple[list[UnitSolution], list[Array], Array]:
        rows, term = regressors(training, columns, units)
        weights = torch.from_numpy(columns.bin_weights).float()
        ridge, solved, alone = columns.ridge(), [], []
        for b, i in enumerate(units):
            problem = UnitProblem(
                torch.from_numpy(rows[b]),
                weights * float(columns.template.capacity[i]),
                term[b],
                ridge[:, i],
                low[:, i],
                high[:, i],
                FISHER_STRIDE,
            )
            alone.append(_own_history(columns, problem, begin[:, i], int(i)) if start is None else begin[:, i])
            solved.append(solve_unit(problem, begin[:, i]))
        return solved, alone, term

    parts = list(in_threads(batch, batches))
    solutions = [solution for part in parts for solution in part[0]]
    total = max(float(columns.bin_weights.sum()), 1.0)
    return ForcedCultureFit(
        theta=np.stack([s.theta for s in solutions], 1),
        uncoupled=np.stack([theta for part in parts for theta in part[1]], 1),
        fisher=np.sum([s.fisher for s in solutions], axis=0) / (n * total),
        spike_term=np.concatenate([part[2] for part in parts]).T,
        signs=np.zeros(n, dtype=np.int64) if signs is None else signs,
        converged=all(s.converged for s in solutions),
    )


def regressors(training: History, columns: Columns, units: NDArray[np.int64]) -> tuple[NDArray[np.float32], Array]:
    """Return the columns of some units at the sampled bins, and their sums over the units' observed spikes.

    Returns
    -------
    rows : ndarray of float32, shape (len(units), n_rows, n_columns)
    spike_term : ndarray, shape (len(units), n_columns)
    """
    rows = np.empty((units.size, columns.bins.size, columns.n_columns), dtype=np.float32)
    term = np.zeros((units.size, columns.n_columns))
    membrane_rows(
        columns.template,
        training.bins,
        training.units,
        training.observed,
        columns.bins,
        units,
        columns.scale,
        rows,
        term,
    )
    return rows, term


def _own_history(columns: Columns, problem: UnitProblem, start: Array, unit: int) -> Array:
    """Return the weights of a unit that knows its own history only."""
    known = columns.own[:, unit].copy()
    known[[columns.bias, columns.threshold]] = True
    places = np.flatnonzero(known)
    part = UnitProblem(
        problem.rows[:, torch.from_numpy(places)].contiguous(),
        problem.weights,
        problem.spike_term[places],
        problem.ridge[places],
        problem.low[places],
        problem.high[places],
    )
    theta = np.zeros(columns.n_columns)
    theta[places] = solve_unit(part, start[places]).theta
    return theta


def _at_rates(training: History, columns: Columns) -> Array:
    """Return weights under which every unit fires at its recorded rate whatever happens."""
    seen = training.observed[training.bins]
    spikes = np.maximum(np.bincount(training.units[seen], minlength=columns.n_units), 0.5)
    p = np.minimum(spikes / (max(int(training.observed.sum()), 1) * columns.template.capacity), 0.5)
    theta = np.zeros((columns.n_columns, columns.n_units))
    theta[columns.threshold] = np.log((1 - p) / p)
    return theta
