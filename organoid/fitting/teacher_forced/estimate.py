"""Stage 1, forced likelihood: fit every unit on recorded history, with what helps.

Everything here sees the training part only. `organoid.fitting.teacher_forced.model_selection` picks basis and prior by
blocked cross-validation; the winner is fitted on all of the training part. A unit that couplings do not help
keeps the fields and its own history, its own history alone, or a constant rate, whichever predicted
held-out blocks best.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.design import (
    OWN_HISTORY,
    Candidate,
    Design,
    assemble,
    make_design,
    stimulus_kernels,
)
from organoid.fitting.teacher_forced.model_selection import HELPS, Choice, choose, constant_rates, fit_alone
from organoid.fitting.teacher_forced.priors import structured
from organoid.fitting.teacher_forced.refinement import refine
from organoid.fitting.teacher_forced.solver import UNUSED, Solution, sampling_error, solve
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.stimulus import StimulusKernels

__all__ = ["Candidate", "Design", "ForcedFit", "assemble", "fit_forced", "make_design", "negative_log_likelihood"]

Array = NDArray[np.float64]

PLAIN = "plain"
CONSTANT_HELPS = 2.0  # nats a unit's constant rate and own history have to differ to go against the whole culture
COUPLED, FIELDS_ONLY, OWN, CONSTANT = "coupled", "fields only", "own history", "constant rate"


@dataclass(frozen=True)
class ForcedFit:
    """Result of stage 1.

    Parameters
    ----------
    theta : ndarray, shape (n_features, n_units)
        Standardised parameters of the chosen network, zero where a feature is not used.
    parameters, uncoupled : SpikeResponseParameters
        The chosen network, and the one of own histories only.
    chosen : str
        Name of the winning candidate ("own history only" if none helps).
    kind : ndarray of str, shape (n_units,)
        What each unit follows: "coupled", "fields only", "own history" or "constant rate".
    validation : dict
        Bits/spike every candidate gains over own history on the held-out blocks; units it does not
        help count as 0, since they would keep their own history.
    gradient_norm : float
        Largest over units of the gradient against the spike term.
    sampling_error : float
        Bits/spike (of the training part) lost because the integral term is sampled, about.
    converged : bool
    stimulus : StimulusKernels or None
        Of the chosen network: how pulses act on its units.
    candidate : Candidate
        The winning one.
    """

    theta: Array
    parameters: SpikeResponseParameters
    uncoupled: SpikeResponseParameters
    chosen: str
    kind: NDArray[np.str_]
    validation: dict[str, float]
    gradient_norm: float
    sampling_error: float
    converged: bool
    stimulus: StimulusKernels | None = None
    candidate: Candidate = OWN_HISTORY

    @property
    def coupled(self) -> NDArray[np.bool_]:
        """Which units use couplings or fields."""
        return np.isin(self.kind, (COUPLED, FIELDS_ONLY))


def fit_forced(
    training: History,
    design: Design,
    *,
    exact: bool = False,
    coupling_prior: str = PLAIN,
    distance: Array | None = None,
) -> ForcedFit:
    """Choose a candidate by cross-validation, then fit it on the whole training part.

    Parameters
    ----------
    training : History
    design : Design
    exact : bool
        Refine the couplings' fit on every bin instead of a sample (`organoid.fitting.teacher_forced.refinement`).
    coupling_prior : str
        "plain", or one of `organoid.fitting.teacher_forced.priors.STRUCTURES`.
    distance : ndarray, shape (n_units, n_units), optional
        Between units, um; for the prior on distance.
    """
    choice = choose(design)
    kind = _kinds(design, choice)
    own = fit_alone(design, design.sample, OWN_HISTORY)
    theta, solution, lost = own.copy(), None, 0.0
    if (kind == COUPLED).any():
        problem = design.problem(design.sample, choice.best)
        solution = solve(problem, choice.start)
        if coupling_prior != PLAIN:
            problem = structured(problem, solution.theta, design.basis.n_kinds, coupling_prior, distance)
            solution = solve(problem, solution.theta)
        lost = 0.0 if exact else sampling_error(problem, solution.theta)
        if exact:
            columns = design.columns(choice.best)
            solution = refine(training, design, problem, columns, solution)
        theta = np.where(kind == COUPLED, _spread(design, choice.best, solution), theta)
    if (kind == FIELDS_ONLY).any():
        alone = fit_alone(
            design, design.sample, replace(choice.best, coupling_ridge=None), np.flatnonzero(kind == FIELDS_ONLY)
        )
        theta = np.where(kind == FIELDS_ONLY, alone, theta)
    theta = np.where(kind == CONSTANT, constant_rates(design, design.sample), theta)
    unit = np.log(2) * max(choice.n_spikes, 1.0)
    return ForcedFit(
        theta=theta,
        parameters=assemble(training, design, theta),
        uncoupled=assemble(training, design, own),
        chosen=choice.best.name if np.isin(kind, (COUPLED, FIELDS_ONLY)).any() else OWN_HISTORY.name,
        kind=kind,
        validation={name: choice.pooled(name) / unit for name in choice.gains},
        sampling_error=lost / (np.log(2) * max(training.bins.size, 1)),
        gradient_norm=0.0 if solution is None else solution.gradient_norm,
        converged=solution is None or solution.converged,
        stimulus=stimulus_kernels(training, design, theta),
        candidate=choice.best,
    )


def without_products(training: History, design: Design, forced: ForcedFit) -> ForcedFit:
    """Return the same fit without products of population features.

    Parameters
    ----------
    training : History
    design : Design
    forced : ForcedFit
        With such products.
    """
    candidate = replace(forced.candidate, fields="linear", name=f"{forced.candidate.name}, no products")
    theta = forced.theta
    if (forced.kind == COUPLED).any():
        start = torch.from_numpy(theta[design.columns(candidate)]).float()
        solution = solve(design.problem(design.sample, candidate), start)
        theta = np.where(forced.kind == COUPLED, _spread(design, candidate, solution), theta)
    units = np.flatnonzero(forced.kind == FIELDS_ONLY)
    if units.size:
        alone = fit_alone(design, design.sample, replace(candidate, coupling_ridge=None), units)
        theta = np.where(forced.kind == FIELDS_ONLY, alone, theta)
    return replace(
        forced,
        theta=theta,
        parameters=assemble(training, design, theta),
        stimulus=stimulus_kernels(training, design, theta),
        chosen=candidate.name,
        candidate=candidate,
    )


def _kinds(design: Design, choice: Choice) -> NDArray[np.str_]:
    """Return what each unit follows: what predicted its held-out blocks best, among the winner and simpler models."""
    best = choice.best
    together = np.clip(choice.constant_gain, -CONSTANT_HELPS, CONSTANT_HELPS).sum()
    usual = CONSTANT_HELPS if together > 0 else -CONSTANT_HELPS
    gain = {OWN: np.zeros(design.n_units), CONSTANT: choice.constant_gain + usual}
    if choice.pooled(best.name) > HELPS[0] + HELPS[1] * design.n_units:
        alone = choice.alone()
        if alone is not None:
            gain[FIELDS_ONLY] = choice.gains[alone]
        if best.coupling_ridge is not None:
            gain[COUPLED] = choice.gains[best.name]
    names = np.array(list(gain))
    return np.asarray(names[np.argmax(np.stack(list(gain.values())), axis=0)])


def negative_log_likelihood(design: Design, theta: Array) -> float:
    """Return the forced negative log-likelihood of all units on the whole sample, in nats."""
    sample = design.sample
    potential = torch.from_numpy(sample.rows) @ torch.from_numpy(theta).float()
    integral = torch.from_numpy(sample.weights).float() @ torch.nn.functional.softplus(potential)
    return float((integral.double().numpy() * design.capacity).sum() - (sample.spike_term.sum(0) * theta).sum())


def _spread(design: Design, candidate: Candidate, solution: Solution) -> Array:
    theta = np.zeros((design.scale.size, design.n_units))
    columns = design.columns(candidate)
    theta[columns] = np.where(design.ridge(candidate).numpy() >= UNUSED, 0.0, solution.theta.numpy())
    return theta
