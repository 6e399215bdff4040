"""Kernel two-sample test between simulated and recorded trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.models.synapses.exponential import exponential_trace


@dataclass(frozen=True)
class KernelMMD:
    r"""Squared maximum mean discrepancy between simulated and recorded trains of a unit, averaged over units.

    .. math::

        \text{MMD}^2 = \langle K(s, s') \rangle + \langle K(r, r') \rangle - 2 \langle K(s, r) \rangle, \qquad
        K(a, b) = \exp\!\big(-D^2(a, b) / 2\sigma^2\big)

    with :math:`D` the van Rossum distance and means over all pairs in the batch. Compares the two *sets* of trains:
    which simulated train stands beside which recorded one does not matter, so a model that spikes at random is not
    driven to silence as it is by a distance between single trains. Needs a batch of several; a batch of one is a
    squashed van Rossum distance.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    tau : float
        Time constant of the filter, s.
    bandwidth : float
        :math:`\sigma`; in van Rossum distances, where one spike against none is 1.

    References
    ----------
    Gretton, Borgwardt, Rasch, Scholkopf and Smola (2012), A kernel two-sample test, JMLR 13.
    Arribas, Zhao and Park (2020), Rescuing neural spike train models from bad MLE, NeurIPS.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    tau: float = 0.02
    bandwidth: float = 2.0

    def __post_init__(self) -> None:
        check_settings("KernelMMD", bin_width=self.bin_width, tau=self.tau, bandwidth=self.bandwidth)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss (dimensionless, at most 2); both (batch, time, unit), spikes per bin."""
        check_trains("KernelMMD", simulated, recorded)
        recorded = recorded.to(simulated)
        same = self._kernel(simulated, simulated) + self._kernel(recorded, recorded)
        return (same - 2 * self._kernel(simulated, recorded)).clamp(min=0).mean()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean kernel over pairs, shape (unit,)."""
        squared = squared_distances(a, b, math.exp(-self.bin_width / self.tau))
        return torch.exp(-squared / (2 * self.bandwidth**2)).mean(dim=(0, 1))


def squared_distances(a: Tensor, b: Tensor, decay: float) -> Tensor:
    r"""Return the squared van Rossum distances between every train of ``a`` and every train of ``b``.

    Parameters
    ----------
    a, b : Tensor, shape (batch, time, unit)
        Spikes per bin.
    decay : float
        Decay of the filter per bin.

    Returns
    -------
    Tensor, shape (batch of a, batch of b, unit)
        Normalised as in `VanRossum`: one spike against none is 1.
    """
    p, q = exponential_trace(a, decay), exponential_trace(b, decay)

    def products(x: Tensor, y: Tensor) -> Tensor:
        inside = torch.einsum("itu,jtu->iju", x, y) * (1 - decay**2)
        return inside + decay**2 * x[:, None, -1] * y[None, :, -1]

    own_p, own_q = products(p, p).diagonal(), products(q, q).diagonal()
    return (own_p.T[:, None] + own_q.T[None] - 2 * products(p, q)).clamp(min=0)
