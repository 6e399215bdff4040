r"""Connections: effect, standard error and an empirical-null q-value for every ordered pair of units.

Edges come from a fit of their own, with slow population fields only (100 ms and more): fast fields
take up what pairs of units share. Weights of three traces are projected on the kernels that connections
of this culture have (`organoid.fitting.connectivity.pairs`, `organoid.fitting.connectivity.filters`).

Wald tests get overconfident as data grow, so z is judged against the spread of all z (median and MAD: most
pairs are not connected) or of shifted recordings, and q follows Benjamini & Hochberg (1995). Two kinds of pairs
say nothing about connections, have no q and do not enter the spread: those with a unit of fewer than 20 spikes,
and those that fire together (`organoid.fitting.connectivity.common_input`).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.connectivity.common_input import SHARE, share_together
from organoid.fitting.connectivity.filters import learn_kernels, signed_areas
from organoid.fitting.connectivity.nulls import centre_and_spread, empirical_null_q, shift_units, shifted_null_q
from organoid.fitting.connectivity.pairs import estimate_pairs
from organoid.fitting.connectivity.signs import decide, positive_probability
from organoid.fitting.data.history import History

Array = NDArray[np.float64]

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
    pairs, together = estimate_pairs(training, rng), share_together(training)
    telling = _telling(training, together)
    kernels = learn_kernels(pairs, telling, rng)
    weight, se = signed_areas(pairs, kernels)
    z = _telling_z(weight, se, telling)
    off = ~np.eye(training.n_units, dtype=bool)
    q = np.full(z.shape, np.nan)
    if null == "shifted":
        q[off] = shifted_null_q(z[off], _shifted_z(training, kernels, rng, n_shifts))
    else:
        q[off] = empirical_null_q(z[off])
    centre, spread = centre_and_spread(z[off])
    sign = decide(positive_probability((z - centre) / spread), q, EDGE_Q)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = (*np.nonzero(off), *(a[off] for a in (weight, se, weight / se, q, sign, together)))
    return pd.DataFrame(dict(zip(EDGE_COLUMNS, columns)))


def check_null(null: str) -> None:
    """Reject a null that is not known."""
    if null not in NULLS:
        raise FitError(f"unknown null {null!r} for edges; expected one of {', '.join(NULLS)}")


def _telling(training: History, together: Array) -> NDArray[np.bool_]:
    """Return which pairs say something about connections."""
    spikes = np.bincount(training.units, minlength=training.n_units)
    telling = (np.minimum(spikes[:, None], spikes[None, :]) >= MIN_SPIKES) & (together < SHARE)
    np.fill_diagonal(telling, False)
    return np.asarray(telling)


def _telling_z(weight: Array, se: Array, telling: NDArray[np.bool_]) -> Array:
    """Return z, NaN for pairs that say nothing about connections."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(telling, weight / se, np.nan)


def _shifted_z(training: History, kernels: tuple[Array, Array], rng: np.random.Generator, n_shifts: int) -> Array:
    """Return z-values of recordings in which no unit can predict another."""
    found = []
    for _ in range(n_shifts):
        shifted = shift_units(training, rng)
        telling = _telling(shifted, np.zeros((training.n_units,) * 2))
        found.append(_telling_z(*signed_areas(estimate_pairs(shifted, rng), kernels), telling))
    return np.concatenate(found, axis=None) if found else np.empty(0)
