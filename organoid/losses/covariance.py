"""Covariances of all pairs at all delays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import boxcar, whole_bins


@dataclass(frozen=True)
class DelayedCovariance:
    r"""Squared difference of the delayed covariances, averaged over ordered pairs of units and delays.

    .. math::

        C_{ij}(k) = \big\langle (r_i[t] - \bar r_i)(r_j[t+k] - \bar r_j) \big\rangle_t, \qquad
        L = \big\langle \big(C^s_{ij}(k) - C^r_{ij}(k)\big)^2 \big\rangle_{i \ne j,\; 0 \le k \le K}

    with :math:`r` the rate of a unit in neighbouring windows and :math:`\bar r` its mean over time and batch. The
    delay makes the matrix asymmetric: who fires first counts.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    window : float
        Width of a window, s; cut to the length of the trains.
    max_delay : float
        Largest delay, s; whole windows, cut to what the trains are long enough for.

    References
    ----------
    Yule (1926), Why do we sometimes get nonsense-correlations between time-series?, Journal of the Royal
    Statistical Society 89 (serial covariances of two series).
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    window: float = 0.01
    max_delay: float = 0.05

    def __post_init__(self) -> None:
        settings = {"bin_width": self.bin_width, "window": self.window, "max_delay": self.max_delay}
        check_settings("DelayedCovariance", **settings)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in Hz^4; both (batch, time, unit), spikes per bin. One unit has no pair: 0."""
        check_trains("DelayedCovariance", simulated, recorded)
        n = simulated.shape[2]
        squares = (self.tensor(simulated) - self.tensor(recorded.to(simulated))).square()
        pairs = squares * ~torch.eye(n, dtype=torch.bool, device=squares.device)
        return pairs.sum() / max(1, n * (n - 1) * len(pairs))

    def tensor(self, spikes: Tensor) -> Tensor:
        """Return the covariances, Hz^2, shape (delay, first unit, later unit), for spikes (batch, time, unit)."""
        width = min(whole_bins("DelayedCovariance", "window", self.window, self.bin_width), spikes.shape[1])
        rate = boxcar(spikes, width) / (width * self.bin_width)
        rate = rate - rate.mean(dim=(0, 1))
        n = rate.shape[1]
        n_delays = min(round(self.max_delay / (width * self.bin_width)), n - 1)
        early_late = [(rate[:, : n - k].flatten(0, 1), rate[:, k:].flatten(0, 1)) for k in range(n_delays + 1)]
        return torch.stack([early.T @ late / len(early) for early, late in early_late])
