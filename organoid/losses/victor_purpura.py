"""Victor-Purpura distance, exact and softened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from organoid.losses.base import Compares, Reads, check_settings, check_trains

_NEVER = -1e30  # log of nothing, but finite: its gradient is 0, not NaN


@dataclass(frozen=True)
class SoftVictorPurpura:
    r"""Softened Victor-Purpura distance of two trains, averaged over trains.

    The cheapest way to turn one train into the other, 1 to delete or insert a spike and :math:`q\,|\Delta t|` to
    move it, is a transport of spikes, and its dual reads the difference :math:`d = x_s - x_r` alone:

    .. math::

        D = \max_f \sum_t f[t]\, d[t] \quad\text{over}\quad |f[t]| \le 1,\; |f[t] - f[t-1]| \le q\,dt.

    Softened, the maximum over curves :math:`f` on a grid of levels becomes a log-sum-exp, one forward pass of
    dynamic programming:

    .. math:: D_\gamma = \gamma \log \frac{\sum_f \exp(\sum_t f[t]\, d[t] / \gamma)}{\sum_f 1}

    It is convex in the spikes, never negative, symmetric, zero for equal trains, never above :math:`D`, and tends to
    :math:`D` as :math:`\gamma \to 0`. The gradient at a bin is the mean of :math:`f` there: what a spike more in
    that bin would cost (up to 1) or save (down to -1).

    Parameters
    ----------
    bin_width : float
        Bin, s.
    cost : float
        :math:`q`, 1/s: spikes farther apart than ``2 / cost`` are never matched. Lowered so that ``2 / (cost
        bin_width)``, the number of levels but one, is whole.
    temperature : float
        :math:`\gamma`, spikes.

    References
    ----------
    Victor and Purpura (1996), Nature and precision of temporal coding in visual cortex, Journal of
    Neurophysiology 76.
    Mensch and Blondel (2018), Differentiable dynamic programming for structured prediction and attention, ICML.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "trains"
    bin_width: float
    cost: float = 20.0
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_settings("SoftVictorPurpura", bin_width=self.bin_width, cost=self.cost, temperature=self.temperature)

    @property
    def effective_cost(self) -> float:
        """The cost of moving that the grid of levels allows, 1/s."""
        return 2 / (self._n_intervals * self.bin_width)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in spikes; both (batch, time, unit), spikes per bin."""
        check_trains("SoftVictorPurpura", simulated, recorded)
        d = (simulated - recorded.to(simulated)) / self.temperature
        levels = torch.linspace(-1, 1, self._n_intervals + 1, dtype=d.dtype, device=d.device)
        nothing = log_partition(torch.zeros_like(d[:1, :, :1]), levels)
        distance = self.temperature * (log_partition(d, levels) - nothing)
        # Equal trains: value and gradient are 0 but for rounding.
        return torch.where((d != 0).any(dim=1), distance, 0.0).clamp(min=0).mean()

    @property
    def _n_intervals(self) -> int:
        return max(1, math.ceil(2 / (self.cost * self.bin_width) - 1e-9))


def log_partition(d: Tensor, levels: Tensor) -> Tensor:
    r"""Return :math:`\log \sum_f \exp \sum_t f[t] d[t]` over curves that change by one level a step at most.

    Parameters
    ----------
    d : Tensor, shape (batch, time, unit)
        Weights (dimensionless).
    levels : Tensor, shape (level,)
        Values of the curves.

    Returns
    -------
    Tensor, shape (batch, unit)
    """
    log_sum = levels * d[:, 0, :, None]
    for now in d.unbind(1)[1:]:
        beside = torch.logaddexp(
            pad(log_sum[..., 1:], (0, 1), value=_NEVER), pad(log_sum[..., :-1], (1, 0), value=_NEVER)
        )
        log_sum = torch.logaddexp(log_sum, beside) + levels * now[..., None]
    return log_sum.logsumexp(dim=-1)
