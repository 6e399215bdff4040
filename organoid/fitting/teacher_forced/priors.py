r"""Structured priors on couplings, estimated from a first fit (empirical Bayes, one step).

A first fit with one strength for all couplings tells how the culture is wired; a second fit uses it. With
standardised couplings ``\theta_{kji}`` (trace, sender, receiver) and the plain strength ``\lambda``:

- "connections": all traces of a connection share a strength, weaker where the first fit found more,
  ``\lambda_{ji} = \lambda\, \bar s / (s_{ji} + \bar s/10)``, with ``s_{ji} = \sum_k \theta_{kji}^2`` and its mean;
- "senders" (soft Dale): couplings are drawn towards the mean of their sender's, trace by trace, where that mean
  is more than two standard errors from 0; other senders stay undecided and are drawn to 0 as before;
- "distance": ``\lambda_{ji} \propto \exp(d_{ji} / \bar d)`` with the distance of the units' electrodes.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.teacher_forced.solver import Problem

Array = NDArray[np.float64]

STRUCTURES = ("connections", "senders", "distance")
_FLOOR = 0.1  # of the mean size of connections
_BOUNDS = (0.1, 10.0)  # of a strength against the plain one
_DECIDED = 2.0  # standard errors from 0


def structured(problem: Problem, theta: Tensor, n_tau: int, structure: str, distance: Array | None) -> Problem:
    """Return a problem with a structured prior.

    Parameters
    ----------
    problem : Problem
        With a plain prior; its first columns are couplings (trace by trace, sender by sender).
    theta : Tensor, shape (n_features, n_units)
        A first fit of it.
    n_tau : int
        Traces of every unit.
    structure : str
        "connections", "senders" or "distance".
    distance : ndarray, shape (n_units, n_units), optional
        Between units, um; needed for "distance".

    Returns
    -------
    Problem
    """
    n = problem.n_units
    couplings = theta[: n_tau * n].double().numpy().reshape(n_tau, n, n)
    others = ~np.eye(n, dtype=bool)
    if structure == "senders":
        return _shifted(problem, sender_means(couplings, others))
    if structure == "connections":
        factor = connection_strengths(couplings, others)
    elif distance is not None:
        factor = distance_strengths(distance, others)
    else:
        raise ValueError("a distance prior needs distances")
    ridge = problem.ridge.clone()
    ridge[: n_tau * n] *= torch.from_numpy(np.tile(factor, (n_tau, 1))).float()
    return replace(problem, ridge=ridge)


def connection_strengths(couplings: Array, others: NDArray[np.bool_]) -> Array:
    """Return the factor on the prior strength of every connection, shape (n_units, n_units); 1 on the diagonal."""
    size = (couplings**2).sum(0)
    mean = size[others].mean() if others.any() else 1.0
    factor = mean / np.maximum(size + _FLOOR * mean, 1e-300)
    return np.where(others, np.clip(factor, *_BOUNDS), 1.0)


def sender_means(couplings: Array, others: NDArray[np.bool_]) -> Array:
    """Return what couplings are drawn to, shape (n_tau, n_units, n_units): their sender's mean, 0 if undecided."""
    n = others.sum(1)
    mean = (couplings * others).sum(2) / np.maximum(n, 1)
    spread = ((couplings - mean[:, :, None]) ** 2 * others).sum(2) / np.maximum(n - 1, 1)
    decided = np.abs(mean) > _DECIDED * np.sqrt(spread / np.maximum(n, 1))
    return np.where(others & decided[:, :, None], mean[:, :, None], 0.0)


def distance_strengths(distance: Array, others: NDArray[np.bool_]) -> Array:
    """Return the factor on the prior strength of every connection, growing with distance; its mean logarithm is 0."""
    mean = distance[others].mean() if others.any() else 1.0
    log = distance / max(mean, 1e-300)
    log = log - log[others].mean() if others.any() else log
    return np.where(others, np.clip(np.exp(log), *_BOUNDS), 1.0)


def _shifted(problem: Problem, mean: Array) -> Problem:
    """Draw couplings to `mean` instead of to 0."""
    flat = torch.from_numpy(mean.reshape(-1, problem.n_units)).float()
    spike_term = problem.spike_term.clone()
    spike_term[: len(flat)] += problem.ridge[: len(flat)] * flat
    return replace(problem, spike_term=spike_term)
