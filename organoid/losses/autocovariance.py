"""Autocovariance of the population rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import population_rate, whole_bins


@dataclass(frozen=True)
class PopulationAutocovariance:
    r"""Squared difference of the autocovariances of the population rate, averaged over lags.

    .. math::

        C(k) = \big\langle (p[t] - \bar p)(p[t+k] - \bar p) \big\rangle_t, \qquad
        L = \frac1{K+1}\sum_{k=0}^{K} \big(C_s(k) - C_r(k)\big)^2

    with :math:`p` the mean rate of all units and :math:`\bar p` its mean over time and batch; each lag averages
    over the pairs of bins it has. Sees how large, how long and how regular network bursts are, not when they come.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    max_lag : float
        Largest lag, s; cut to what the trains are long enough for.

    References
    ----------
    Cox and Lewis (1966), The Statistical Analysis of Series of Events, chapter 4.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    max_lag: float = 0.2

    def __post_init__(self) -> None:
        check_settings("PopulationAutocovariance", bin_width=self.bin_width, max_lag=self.max_lag)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in Hz^4; both (batch, time, unit), spikes per bin."""
        check_trains("PopulationAutocovariance", simulated, recorded)
        return (self.curve(simulated) - self.curve(recorded.to(simulated))).square().mean()

    def curve(self, spikes: Tensor) -> Tensor:
        """Return the autocovariance at lags 0, 1, ... bins, Hz^2, for spikes (batch, time, unit)."""
        p = population_rate(spikes, self.bin_width)
        p, n_steps = p - p.mean(), p.shape[1]
        n_lags = min(whole_bins("PopulationAutocovariance", "max_lag", self.max_lag, self.bin_width), n_steps - 1)
        return torch.stack([(p[:, : n_steps - k] * p[:, k:]).mean() for k in range(n_lags + 1)])
