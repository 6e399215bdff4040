"""Matching of simulated to recorded trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.mmd import squared_distances


@dataclass(frozen=True)
class TrialMatching:
    r"""Optimal transport from simulated to recorded trials, with entropy and without its bias.

    .. math::

        \text{OT}(a, b) = \min_\pi \sum_{ij} \pi_{ij} C_{ij} + \epsilon\,\text{KL}(\pi \,|\, u \otimes u), \qquad
        L = \text{OT}(s, r) - \tfrac12 \text{OT}(s, s) - \tfrac12 \text{OT}(r, r)

    over plans :math:`\pi` with uniform marginals :math:`u`; :math:`C_{ij}` is the squared van Rossum distance
    between trials, averaged over units, and a trial is one item of the batch. Every simulated trial is held against
    the recorded trials it resembles, so variability from trial to trial is kept, not averaged away. Solved by
    Sinkhorn's iterations in the log domain, averaged so that both sides are treated alike; the gradient is that of
    the iterations run.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    tau : float
        Time constant of the filter, s.
    entropy : float
        :math:`\epsilon`, in units of the cost (one spike against none in every unit is 1).
    n_iterations : int
        Iterations.

    References
    ----------
    Cuturi (2013), Sinkhorn distances, NeurIPS.
    Feydy, Sejourne, Vialard, Amari, Trouve and Peyre (2019), Interpolating between optimal transport and MMD
    using Sinkhorn divergences, AISTATS.
    Sourmpis, Petersen, Gerstner and Bellec (2023), Trial matching: capturing variability with data-constrained
    spiking neural networks, NeurIPS.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    tau: float = 0.1
    entropy: float = 0.1
    n_iterations: int = 30

    def __post_init__(self) -> None:
        settings = {"tau": self.tau, "entropy": self.entropy, "n_iterations": self.n_iterations}
        check_settings("TrialMatching", bin_width=self.bin_width, **settings)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss (squared van Rossum distances); both (batch, time, unit), spikes per bin."""
        check_trains("TrialMatching", simulated, recorded)
        recorded = recorded.to(simulated)
        own = self._transport(simulated, simulated) + self._transport(recorded, recorded)
        return (self._transport(simulated, recorded) - own / 2).clamp(min=0)

    def _transport(self, a: Tensor, b: Tensor) -> Tensor:
        cost = squared_distances(a, b, math.exp(-self.bin_width / self.tau)).mean(dim=2)
        return sinkhorn(cost, self.entropy, self.n_iterations)


def sinkhorn(cost: Tensor, entropy: float, n_iterations: int) -> Tensor:
    r"""Return the entropic transport cost between uniform weights, the dual value :math:`\bar f + \bar g`.

    Parameters
    ----------
    cost : Tensor, shape (n, m)
        Cost of moving one to another.
    entropy : float
        Strength of the entropy, in units of the cost.
    n_iterations : int
        Iterations; both potentials are updated at once and averaged with their last value.

    Returns
    -------
    Tensor
        Scalar; a lower bound of the optimum that rises to it.
    """
    n, m = cost.shape
    f, g = cost.new_zeros(n), cost.new_zeros(m)

    def best(potential: Tensor, cost: Tensor) -> Tensor:
        return -entropy * (torch.logsumexp((potential - cost) / entropy, dim=1) - math.log(cost.shape[1]))

    for _ in range(n_iterations):
        f, g = (f + best(g, cost)) / 2, (g + best(f, cost.T)) / 2
    # One exact half step makes f the best answer to g: the dual value then needs no correction.
    f_last, g_last = best(g, cost), best(f, cost.T)
    return (f_last.mean() + g.mean() + f.mean() + g_last.mean()) / 2
