r"""Connections: effect, standard error and an empirical-null q-value for every ordered pair of units.

Edges come from a fit of their own, with slow population fields only (100 ms and more): fast fields
take up what pairs of units share. The effect is the area under the coupling kernel,
``sum_k A_kji tau_k`` (logit x s). Its standard error is the sampling one of a ridge estimate,
``H^-1 F H^-1`` with ``F`` the Hessian without ridge. Wald tests get overconfident as data grow, so z
is judged against the spread of all z (median and MAD: most pairs are not connected), and q follows
Benjamini & Hochberg (1995). Pairs with a unit of fewer than 20 spikes say nothing about connections:
they have no q and do not enter the spread.
"""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.forced import Candidate, Design, make_design
from organoid.fitting.history import History
from organoid.fitting.solver import Problem, solve, unit_hessians

Array = NDArray[np.float64]

EDGE_FIELD_TAUS = (0.1, 0.3, 1.0)  # s
EDGE_CANDIDATE = Candidate("edges", 300.0, "linear")
EDGE_Q = 0.05
MIN_SPIKES = 20
_MAD_TO_SD = 1.4826
EDGE_COLUMNS = ("pre", "post", "weight", "se", "z", "q", "sign")


def infer_edges(training: History, rng: np.random.Generator) -> pd.DataFrame:
    """Estimate all connections of a culture.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the control bins.

    Returns
    -------
    DataFrame
        One row an ordered pair: pre, post (unit indices), weight (logit x s), se, z, q, sign
        (+1 excitatory, -1 inhibitory, 0 undecided: q at or above 0.05).
    """
    if training.n_units < 2:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in EDGE_COLUMNS})
    design = make_design(training, rng, field_taus=EDGE_FIELD_TAUS)
    problem = design.problem(design.sample, EDGE_CANDIDATE)
    theta = solve(problem).theta
    weight, se = _areas(design, problem, theta)
    pre, post = np.nonzero(~np.eye(training.n_units, dtype=bool))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = weight[pre, post] / se[pre, post]
    spikes = np.bincount(training.units, minlength=training.n_units)
    telling = np.minimum(spikes[pre], spikes[post]) >= MIN_SPIKES
    q = empirical_null_q(np.where(telling, z, np.nan))
    sign = np.where(q < EDGE_Q, np.sign(z), 0).astype(np.int64)
    columns = (pre, post, weight[pre, post], se[pre, post], z, q, sign)
    return pd.DataFrame(dict(zip(EDGE_COLUMNS, columns)))


def _areas(design: Design, problem: Problem, theta: Tensor) -> tuple[Array, Array]:
    """Return kernel areas and their standard errors, shape (pre, post)."""
    n, n_tau = design.n_units, design.basis.tau.size
    per_column = np.repeat(design.basis.tau, n) / design.scale[: n_tau * n]
    area = (per_column[:, None] * theta[: n_tau * n].double().numpy()).reshape(n_tau, n, n).sum(0)
    pick = torch.zeros(theta.shape[0], n)
    for k in range(n_tau):
        pick[k * n + torch.arange(n), torch.arange(n)] = torch.from_numpy(per_column[k * n : (k + 1) * n]).float()
    variance = np.empty((n, n))
    for post in range(n):
        index = torch.tensor([post])
        hessian = unit_hessians(problem.units(index), theta[:, index], n_rows=len(problem.rows))[0].double()
        fisher = hessian - torch.diag(problem.ridge[:, post].double())
        x = torch.linalg.solve(hessian, pick.double())
        variance[:, post] = (x * (fisher @ x)).sum(0).clamp_min(0).numpy()
    return area, np.sqrt(variance)


def empirical_null_q(z: Array) -> Array:
    """Return Benjamini-Hochberg q-values of two-sided tests against the centre and spread of all z.

    Parameters
    ----------
    z : ndarray, shape (n,)
        NaN stays NaN.
    """
    from scipy.stats import norm

    known = np.isfinite(z)
    centre = np.median(z[known]) if known.any() else 0.0
    spread = _MAD_TO_SD * np.median(np.abs(z[known] - centre)) if known.any() else 1.0
    p = 2 * norm.sf(np.abs(z[known] - centre) / max(spread, 1e-12))
    q = np.full(z.shape, np.nan)
    q[known] = benjamini_hochberg(p)
    return q


def benjamini_hochberg(p: Array) -> Array:
    """Return q-values: the smallest false discovery rate at which each test would be kept."""
    order = np.argsort(p)[::-1]
    ranks = np.arange(p.size, 0, -1)
    q = np.empty_like(p)
    q[order] = np.minimum.accumulate(p[order] * p.size / ranks) if p.size else p
    return np.minimum(q, 1.0)
