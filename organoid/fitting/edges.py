r"""Connections: effect, standard error and an empirical-null q-value for every ordered pair of units.

Edges come from a fit of their own, with slow population fields only (100 ms and more): fast fields
take up what pairs of units share. For a pair, the fit gives weights :math:`w` of three traces with sampling covariance
:math:`C`, the 3 x 3 block of :math:`H^{-1} F H^{-1}` (:math:`F` the Hessian without ridge). They are projected on the
kernel of a synapse, :math:`k(t) = \sum_k s_k e^{-t/\tau_k}`, by generalised least squares:

.. math:: a = \frac{s^\top C^{-1} w}{s^\top C^{-1} A s}, \qquad
          \text{weight} = a \int_0^{15\,\mathrm{ms}} k(t)\,dt, \qquad z = \frac{s^\top C^{-1} w}{\sqrt{s^\top C^{-1} s}}

``weight`` is the area under the kernel's first 15 ms (logit x s; true synapses of 5 and of 12 ms come out right within
a few percent, where the whole area would depend on a tail that the data do not show), freed of the ridge's
shrinkage by the block ``A`` of :math:`H^{-1} F`. One direction tells much more than the free sum of three areas,
most of which is noise of the slowest trace.

Wald tests get overconfident as data grow, so z is judged against the spread of all z (median and MAD: most
pairs are not connected) or of shifted recordings, and q follows Benjamini & Hochberg (1995). Two kinds of pairs
say nothing about connections, have no q and do not enter the spread: those with a unit of fewer than 20 spikes,
and those that fire together (`organoid.fitting.common_events`).
"""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.errors import FitError
from organoid.fitting.common_events import SHARE, share_together
from organoid.fitting.edge_nulls import centre_and_spread, empirical_null_q, shift_units, shifted_null_q
from organoid.fitting.edge_signs import decide, positive_probability
from organoid.fitting.forced import Candidate, Design, make_design
from organoid.fitting.history import History
from organoid.fitting.solver import Problem, solve, unit_hessians
from organoid.fitting.threads import in_threads

Array = NDArray[np.float64]

EDGE_TAUS = (0.002, 0.008, 0.040)  # s
KERNEL = np.array([0.0, 1.0, 0.3])  # of the three traces: what a synapse looks like
EFFECT_WINDOW = 0.015  # s
EDGE_FIELD_TAUS = (0.1, 0.3, 1.0)  # s
EDGE_CANDIDATE = Candidate("edges", 300.0, "linear")
EDGE_Q = 0.05
MIN_SPIKES = 20
NULLS = ("empirical", "shifted")
N_SHIFTS = 10
EDGE_COLUMNS = ("pre", "post", "weight", "se", "z", "q", "sign", "together")


def infer_edges(
    training: History, rng: np.random.Generator, *, null: str = "empirical", n_shifts: int = N_SHIFTS
) -> pd.DataFrame:
    """Estimate all connections of a culture.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the control bins (and shifts).
    null : str
        What z is judged against: "empirical", the spread of all pairs; or "shifted", the z of
        `n_shifts` recordings whose units were shifted in time (each costs another fit; common drive, which
        shifts remove, is then not accounted for).
    n_shifts : int

    Returns
    -------
    DataFrame
        One row an ordered pair: pre, post (unit indices), weight (kernel area over 15 ms, logit x s), se, z, q, sign
        (+1 excitatory, -1 inhibitory, 0 undecided: q at or above 0.05, or the sign less than 95 % sure), together
        (share of the rarer unit's spikes that come at the same time as the other's; above 0.25 there is no q).

    Raises
    ------
    FitError
        If `null` is not known.
    """
    check_null(null)
    if training.n_units < 2:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in EDGE_COLUMNS})
    weight, se = estimate_areas(training, rng)
    together = share_together(training)
    z = _telling_z(training, weight, se, together)
    off = ~np.eye(training.n_units, dtype=bool)
    q = np.full(z.shape, np.nan)
    if null == "shifted":
        q[off] = shifted_null_q(z[off], _shifted_z(training, rng, n_shifts))
    else:
        q[off] = empirical_null_q(z[off])
    centre, spread = centre_and_spread(z[off])
    sign = decide(positive_probability((z - centre) / spread), q, EDGE_Q)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = (*np.nonzero(off), *(a[off] for a in (weight, se, weight / se, q, sign, together)))
    return pd.DataFrame(dict(zip(EDGE_COLUMNS, columns)))


def check_null(null: str) -> None:
    """Refuse a null that is not known."""
    if null not in NULLS:
        raise FitError(f"unknown null {null!r} for edges; expected one of {', '.join(NULLS)}")


def _telling_z(training: History, weight: Array, se: Array, together: Array) -> Array:
    """Return z, NaN on the diagonal and for pairs that say nothing about connections."""
    spikes = np.bincount(training.units, minlength=training.n_units)
    telling = (np.minimum(spikes[:, None], spikes[None, :]) >= MIN_SPIKES) & (together < SHARE)
    np.fill_diagonal(telling, False)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(telling, weight / se, np.nan)


def _shifted_z(training: History, rng: np.random.Generator, n_shifts: int) -> Array:
    """Return z-values of recordings in which no unit can foretell another."""
    found = []
    for _ in range(n_shifts):
        shifted = shift_units(training, rng)
        found.append(_telling_z(shifted, *estimate_areas(shifted, rng), np.zeros((training.n_units,) * 2)))
    return np.concatenate(found, axis=None) if found else np.empty(0)


def estimate_areas(training: History, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return kernel areas and their standard errors (logit x s), shape (pre, post)."""
    design = make_design(training, rng, field_taus=EDGE_FIELD_TAUS, synaptic_taus=EDGE_TAUS)
    problem = design.problem(design.sample, EDGE_CANDIDATE)
    theta = solve(problem).theta
    columns = in_threads(lambda post: _areas_of(design, problem, theta, post), range(training.n_units))
    weight, se = zip(*columns)
    return np.stack(weight, axis=1), np.stack(se, axis=1)


def _areas_of(design: Design, problem: Problem, theta: Tensor, post: int) -> tuple[Array, Array]:
    """Return areas and standard errors of all connections to one unit."""
    n, n_tau = design.n_units, design.basis.tau.size
    index = torch.tensor([post])
    hessian = unit_hessians(problem.units(index), theta[:, index])[0].double()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    shrunk = inverse * problem.ridge[:, post].double()  # I - H^-1 F
    blocks = inverse[: n_tau * n, : n_tau * n].reshape(n_tau, n, n_tau, n).diagonal(dim1=1, dim2=3)
    loss = shrunk[: n_tau * n, : n_tau * n].reshape(n_tau, n, n_tau, n).diagonal(dim1=1, dim2=3)
    left, right = shrunk[: n_tau * n].reshape(n_tau, n, -1), inverse[:, : n_tau * n].reshape(-1, n_tau, n)
    covariance = (blocks - torch.einsum("kjm,mlj->klj", left, right)).permute(2, 0, 1).numpy()
    kept = np.eye(n_tau) - loss.permute(2, 0, 1).numpy()
    scale = design.scale[: n_tau * n].reshape(n_tau, n).T
    weights = theta[: n_tau * n, post].double().numpy().reshape(n_tau, n).T
    return project(weights, covariance, kept, KERNEL * scale, kernel_area(design.basis.tau))


def kernel_area(tau: Array) -> float:
    """Return the area under the first 15 ms of a synapse's kernel of amplitude 1, s."""
    return float(KERNEL @ (tau * (1.0 - np.exp(-EFFECT_WINDOW / tau))))


def project(weights: Array, covariance: Array, kept: Array, kernel: Array, area: float) -> tuple[Array, Array]:
    """Project weights of several traces on a kernel, by generalised least squares.

    Parameters
    ----------
    weights : ndarray, shape (n_pairs, n_tau)
    covariance : ndarray, shape (n_pairs, n_tau, n_tau)
        Of the weights.
    kept : ndarray, shape (n_pairs, n_tau, n_tau)
        What the ridge leaves of true weights.
    kernel : ndarray, shape (n_pairs, n_tau)
        True weights of a connection of amplitude 1.
    area : float, s
        Of the kernel.

    Returns
    -------
    weight, se : ndarray, shape (n_pairs,)
        Area and its standard error; 0 and infinite where the data say nothing.
    """
    size = np.trace(covariance, axis1=1, axis2=2)[:, None, None]
    solid = covariance + (1e-9 * size + 1e-300) * np.eye(kernel.shape[1])
    direction = np.linalg.solve(solid, kernel[:, :, None])[:, :, 0]
    seen = np.einsum("jk,jkl,jl->j", direction, kept, kernel)
    information = np.einsum("jk,jk->j", direction, kernel)
    says = (seen > 0) & (information > 0)
    seen = np.where(says, seen, 1.0)
    weight = np.where(says, area * np.einsum("jk,jk->j", direction, weights) / seen, 0.0)
    return weight, np.where(says, area * np.sqrt(np.maximum(information, 0.0)) / seen, np.inf)
