r"""What the fit says about every ordered pair of units, and its projection on the kernel of a synapse.

For a pair, the fit gives weights :math:`w` of three traces with sampling covariance :math:`C`, the 3 x 3 block of
:math:`H^{-1} F H^{-1}` (:math:`F` the Hessian without ridge). They are projected on a kernel
:math:`k(t) = \sum_k s_k e^{-t/\tau_k}` by generalised least squares:

.. math:: a = \frac{s^\top C^{-1} w}{s^\top C^{-1} A s}, \qquad
          \text{weight} = a \int_0^{15\,\mathrm{ms}} k(t)\,dt, \qquad z = \frac{s^\top C^{-1} w}{\sqrt{s^\top C^{-1} s}}

``weight`` is the area under the kernel's first 15 ms (logit x s; true synapses of 5 and of 12 ms come out right within
a few percent, where the whole area would depend on a tail that the data do not show), freed of the ridge's
shrinkage by the block ``A`` of :math:`H^{-1} F`. One direction tells much more than the free sum of three areas,
most of which is noise of the slowest trace.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.estimate import Candidate, Design, make_design
from organoid.fitting.teacher_forced.solver import Problem, solve, unit_hessians
from organoid.parallel import in_threads

Array = NDArray[np.float64]

EDGE_TAUS = (0.002, 0.008, 0.040)  # s
EFFECT_WINDOW = 0.015  # s
EDGE_FIELD_TAUS = (0.1, 0.3, 1.0)  # s
EDGE_CANDIDATE = Candidate("edges", 300.0, "linear")
STIMULUS_RIDGE = 3.0


@dataclass(frozen=True)
class PairWeights:
    """Weights of the three traces of every pair, and how sure they are.

    Parameters
    ----------
    weights : ndarray, shape (pre, post, 3), or (n_pairs, 3) for some of them
        Logit per standard deviation of a trace.
    precision : ndarray, shape (pre, post, 3, 3)
        Inverse of the weights' sampling covariance.
    kept : ndarray, shape (pre, post, 3, 3)
        What the ridge leaves of true weights.
    scale : ndarray, shape (pre, post, 3)
        Standard deviation of a trace.
    """

    weights: Array
    precision: Array
    kept: Array
    scale: Array

    def areas(self, shape: Array) -> tuple[Array, Array]:
        """Return area under a kernel's first 15 ms and its standard error (logit x s), one a pair.

        Parameters
        ----------
        shape : ndarray, shape (3,)
            Weights of the three traces in a connection of amplitude 1.
        """
        return project(self.weights, self.precision, self.kept, shape * self.scale, kernel_area(shape))

    def some(self, pre: NDArray[np.int64], post: NDArray[np.int64]) -> "PairWeights":
        """Return a few pairs."""
        return PairWeights(*(a[pre, post] for a in (self.weights, self.precision, self.kept, self.scale)))


def kernel_area(shape: Array) -> float:
    """Return the area under the first 15 ms of a kernel of amplitude 1, s."""
    tau = np.array(EDGE_TAUS)
    return float(shape @ (tau * (1.0 - np.exp(-EFFECT_WINDOW / tau))))


def project(weights: Array, precision: Array, kept: Array, kernel: Array, area: float) -> tuple[Array, Array]:
    """Project weights of several traces on a kernel, by generalised least squares.

    Parameters
    ----------
    weights : ndarray, shape (..., n_tau)
    precision : ndarray, shape (..., n_tau, n_tau)
        Inverse covariance of the weights.
    kept : ndarray, shape (..., n_tau, n_tau)
        What the ridge leaves of true weights.
    kernel : ndarray, shape (..., n_tau)
        True weights of a connection of amplitude 1.
    area : float, s
        Of the kernel.

    Returns
    -------
    weight, se : ndarray, shape (...)
        Area and its standard error; 0 and infinite where the data say nothing.
    """
    direction = np.einsum("...kl,...l->...k", precision, kernel)
    seen = np.einsum("...k,...kl,...l->...", direction, kept, kernel)
    information = np.einsum("...k,...k->...", direction, kernel)
    says = (seen > 0) & (information > 0)
    seen = np.where(says, seen, 1.0)
    weight = np.where(says, area * np.einsum("...k,...k->...", direction, weights) / seen, 0.0)
    return weight, np.where(says, area * np.sqrt(np.maximum(information, 0.0)) / seen, np.inf)


def estimate_pairs(training: History, rng: np.random.Generator) -> PairWeights:
    """Fit the couplings of all units and return what is known about every pair.

    Parameters
    ----------
    training : History
    rng : Generator
        Places the control bins.
    """
    design = make_design(training, rng, field_taus=EDGE_FIELD_TAUS, synaptic_taus=EDGE_TAUS)
    ridge = None if design.pulses is None else STIMULUS_RIDGE  # what pulses evoke is no connection
    problem = design.problem(design.sample, replace(EDGE_CANDIDATE, stimulus_ridge=ridge))
    theta = solve(problem).theta
    columns = in_threads(lambda post: _pairs_to(design, problem, theta, post), range(training.n_units))
    weights, covariance, kept = (np.stack(part, axis=1) for part in zip(*columns))
    scale = design.scale[: design.n_couplings].reshape(-1, design.n_units).T
    return PairWeights(weights, _inverse(covariance), kept, np.broadcast_to(scale[:, None], weights.shape))


def _pairs_to(design: Design, problem: Problem, theta: Tensor, post: int) -> tuple[Array, Array, Array]:
    """Return weights, covariance and what is kept of all connections to one unit."""
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
    return theta[: n_tau * n, post].double().numpy().reshape(n_tau, n).T, covariance, kept


def _inverse(covariance: Array) -> Array:
    size = np.trace(covariance, axis1=-2, axis2=-1)[..., None, None]
    return np.linalg.inv(covariance + (1e-9 * size + 1e-300) * np.eye(covariance.shape[-1]))
