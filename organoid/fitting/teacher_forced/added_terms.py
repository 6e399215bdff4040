r"""Fitting of added terms: one weight for each unit, with all that was fitted before as an offset.

With ``x_i(t)`` what the term of weight 1 adds to the potential of unit ``i`` on recorded spikes, and ``V_i(t)`` the
potential without it,

.. math::

    \max_{w_i, c_i} \sum_t \log \mathrm{Binomial}\big(y_i(t);\, K_i, \mathrm{logistic}(V_i(t) + c_i + w_i x_i(t))\big)
    - \tfrac{\lambda}{2} w_i^2

is solved by Newton's method over every observed bin of the training part. The column ``x`` is made by the term's own
compiled update: its equation stands once. A term is fitted when `FITTED_TERMS` has its name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.estimate import ForcedFit
from organoid.fitting.teacher_forced.prediction import potentials_of
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.recorded import AddedContributions
from organoid.models.spike_response.terms.registry import name_of

Array = NDArray[np.float64]

ROUNDS = 12
TOLERANCE = 1e-6  # of a Newton step, logit
MAX_STEP = 2.0  # logit


@dataclass(frozen=True)
class FittedTerm:
    """How a term of `organoid.models.spike_response.terms.registry.ADDED_TERMS` is fitted.

    Parameters
    ----------
    of_weights : callable
        ``of_weights(history, weights)`` returns the constants of the term for given weights, shape (n_units,); what it
        adds to the potentials is proportional to them.
    precision : float
        ``lambda``: prior precision of the weights.
    note : callable
        ``note(constants)`` says in a sentence what was found.
    """

    of_weights: Callable[[History, Array], Any]
    precision: float
    note: Callable[[Any], str]


FITTED_TERMS: dict[str, FittedTerm] = {}
"""Terms that every likelihood fit has, by name."""


def with_added_terms(training: History, forced: ForcedFit) -> ForcedFit:
    """Return the fit with all of `FITTED_TERMS`, one after the other; unchanged where there are none."""
    for term in FITTED_TERMS.values():
        parameters = fit_term(training, forced.parameters, forced, term)
        forced = replace(forced, parameters=parameters)
    return forced


def notes_of_terms(parameters: SpikeResponseParameters) -> Iterator[str]:
    """Yield what each fitted term says of itself."""
    for constants in parameters.added:
        yield FITTED_TERMS[name_of(constants)].note(constants)


def fit_term(
    training: History, parameters: SpikeResponseParameters, forced: ForcedFit, term: FittedTerm
) -> SpikeResponseParameters:
    """Return parameters with the term, its weights and the shift of biases at their maximum."""
    n = training.n_units
    unit_weight = term.of_weights(training, np.ones(n))
    solution = np.zeros((2, n))  # shift of bias, weight
    prior = np.array([0.0, term.precision])[:, None]
    for _ in range(ROUNDS):
        gradient, curvature = _derivatives(training, parameters, forced, unit_weight, solution)
        gradient -= prior * solution
        curvature[:, 1, 1] += term.precision
        curvature += 1e-9 * np.eye(2)  # a unit whose column is constant keeps its bias
        step = np.clip(np.linalg.solve(curvature, gradient.T[..., None])[..., 0].T, -MAX_STEP, MAX_STEP)
        solution += step
        if np.abs(step).max() < TOLERANCE:
            break
    shift, weights = solution
    return parameters._replace(
        bias=parameters.bias + shift,
        ceiling=parameters.ceiling + shift,
        added=(*parameters.added, term.of_weights(training, weights)),
    )


def _derivatives(
    training: History, parameters: SpikeResponseParameters, forced: ForcedFit, unit_weight: Any, solution: Array
) -> tuple[Array, Array]:
    """Return gradient (2, n_units) and negative Hessian (n_units, 2, 2) of the log-likelihood."""
    n = training.n_units
    gradient, curvature = np.zeros((2, n)), np.zeros((n, 2, 2))
    column = AddedContributions(training.recorded, n, parameters.dt, (unit_weight,))
    for first, v in potentials_of(training, parameters, training.first_bin, training.n_bins, forced.stimulus):
        x = column.until(first, first + len(v))
        seen = training.observed[first : first + len(v), None]
        p = 1.0 / (1.0 + np.exp(-(v + solution[0] + solution[1] * x)))
        off = seen * (training.counts(first, first + len(v)) - parameters.capacity * p)
        slope = seen * parameters.capacity * p * (1.0 - p)
        gradient += np.stack([off.sum(0), (off * x).sum(0)])
        curvature[:, 0, 0] += slope.sum(0)
        curvature[:, 0, 1] += (slope * x).sum(0)
        curvature[:, 1, 1] += (slope * x * x).sum(0)
    curvature[:, 1, 0] = curvature[:, 0, 1]
    return gradient, curvature
