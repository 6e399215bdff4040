"""Distribution of inter-spike intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import binarize, whole_bins


@dataclass(frozen=True)
class ISIDistribution:
    r"""Cramer distance between the distributions of inter-spike intervals, averaged over units.

    .. math::

        H(k) = \sum_t x[t]\, x[t+k] \prod_{0<j<k} (1 - x[t+j]), \qquad
        F(k) = \frac{\sum_{l \le k} H(l)}{\sum_{l \le K} H(l) + \epsilon}, \qquad
        L = \frac1K \sum_{k=1}^{K} \big(F_s(k) - F_r(k)\big)^2

    What is differentiable: :math:`H(k)` is a polynomial in the spikes. For spikes 0 or 1 it counts the intervals of
    exactly :math:`k` bins; in between, :math:`x` is the probability of an independent spike and :math:`H` the
    expected count. So the value at real spikes is exact, and its gradient is that of this expectation. A train with
    fewer than two spikes has no interval and no gradient: combine with a loss of the rate.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    max_interval : float
        Longest interval that counts, s; the distribution is that of intervals up to here.
    pseudo_intervals : float
        :math:`\epsilon`, intervals: keeps a train without one defined (:math:`F = 0`).

    References
    ----------
    Perkel, Gerstein and Moore (1967), Neuronal spike trains and stochastic point processes I, Biophysical Journal 7.
    Szekely and Rizzo (2013), Energy statistics, Journal of Statistical Planning and Inference 143 (the distance).
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    max_interval: float = 0.2
    pseudo_intervals: float = 1e-3

    def __post_init__(self) -> None:
        settings = {"max_interval": self.max_interval, "pseudo_intervals": self.pseudo_intervals}
        check_settings("ISIDistribution", bin_width=self.bin_width, **settings)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss (dimensionless, at most 1); both (batch, time, unit), spikes per bin."""
        check_trains("ISIDistribution", simulated, recorded)
        return (self._distribution(simulated) - self._distribution(recorded.to(simulated))).square().mean()

    def histogram(self, spikes: Tensor) -> Tensor:
        """Return (expected) numbers of intervals of 1, 2, ... bins, shape (interval, unit)."""
        x = binarize(spikes)
        longest = whole_bins("ISIDistribution", "max_interval", self.max_interval, self.bin_width)
        waiting, counts = x, []  # waiting[t]: a spike at t and none since
        for k in range(1, longest + 1):
            later = x[:, k:]
            waiting = waiting[:, : later.shape[1]]
            counts.append((waiting * later).sum(dim=(0, 1)))
            waiting = waiting * (1 - later)
        return torch.stack(counts)

    def _distribution(self, spikes: Tensor) -> Tensor:
        cumulative = self.histogram(spikes).cumsum(dim=0)
        return cumulative / (cumulative[-1] + self.pseudo_intervals)
