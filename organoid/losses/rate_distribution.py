"""Distribution of the population rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import boxcar, population_rate, whole_bins


@dataclass(frozen=True)
class PopulationRateDistribution:
    r"""Squared Wasserstein distance between the distributions of the population rate.

    .. math:: W_2^2 = \frac1n\sum_{i=1}^n \big(p_s^{(i)} - p_r^{(i)}\big)^2

    with :math:`p^{(1)} \le \dots \le p^{(n)}` the sorted rates of an average unit in neighbouring windows. On a line
    the best transport pairs equal ranks, so sorting is exact. Sees how often the network is quiet, active or in a
    burst, not when. Differentiable but where two windows tie; there a subgradient.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    window : float
        Width of a window, s; cut to the length of the trains.

    References
    ----------
    Peyre and Cuturi (2019), Computational optimal transport, Foundations and Trends in Machine Learning 11.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    window: float = 0.02

    def __post_init__(self) -> None:
        check_settings("PopulationRateDistribution", bin_width=self.bin_width, window=self.window)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in Hz^2; both (batch, time, unit), spikes per bin."""
        check_trains("PopulationRateDistribution", simulated, recorded)
        return (self.quantiles(simulated) - self.quantiles(recorded.to(simulated))).square().mean()

    def quantiles(self, spikes: Tensor) -> Tensor:
        """Return the sorted rates of all windows, Hz, for spikes (batch, time, unit)."""
        width = whole_bins("PopulationRateDistribution", "window", self.window, self.bin_width)
        width = min(width, spikes.shape[1])
        counts = boxcar(population_rate(spikes, self.bin_width), width)
        return (counts / width).flatten().sort().values
