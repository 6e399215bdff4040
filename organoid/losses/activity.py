"""Regularisers of activity, and weighted sums of losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from organoid.errors import FitError
from organoid.losses.base import Compares, Reads, SpikeLoss, check_settings, check_trains


@dataclass(frozen=True)
class ActivityBounds:
    r"""Penalty on units whose rate leaves a range; does not look at the recorded spikes.

    .. math:: L = \big\langle \max(0, r_{\min} - r)^2 + \max(0, r - r_{\max})^2 \big\rangle_{\text{trains}}

    A lower bound revives units that a surrogate gradient no longer reaches; an upper bound stops runaway.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    lower, upper : float
        Range of rates without penalty, Hz; ``lower`` may be 0.

    References
    ----------
    Zenke and Vogels (2021), The remarkable robustness of surrogate gradient learning for instilling complex
    function in spiking neural networks, Neural Computation 33.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "nothing"
    bin_width: float
    lower: float = 0.1
    upper: float = 50.0

    def __post_init__(self) -> None:
        check_settings("ActivityBounds", bin_width=self.bin_width, upper=self.upper)
        if not 0 <= self.lower <= self.upper:
            raise FitError(f"ActivityBounds: lower must be in 0 ... upper (Hz), got {self.lower!r} and {self.upper!r}")

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the penalty in Hz^2; both (batch, time, unit), spikes per bin."""
        check_trains("ActivityBounds", simulated, recorded)
        rate = simulated.mean(dim=1) / self.bin_width
        return (relu(self.lower - rate).square() + relu(rate - self.upper).square()).mean()


@dataclass(frozen=True)
class SynchronyPenalty:
    r"""Penalty on coincident spikes beyond chance; does not look at the recorded spikes.

    .. math:: L = \Big\langle \big(p[t] - \bar p\big)^2 \Big\rangle_{t} - \frac{1}{N^2} \sum_i \big\langle
        (r_i[t] - \bar r_i)^2 \big\rangle_t = \frac{1}{N^2}\sum_{i \ne j} \text{cov}(r_i, r_j), \qquad
        \text{squared}

    the mean covariance of all pairs of units within a bin: 0 for independent units, whatever their rates.

    Parameters
    ----------
    bin_width : float
        Bin, s.

    References
    ----------
    Golomb and Rinzel (1994), Clustering in globally coupled inhibitory neurons, Physica D 72 (the population
    variance as a measure of synchrony).
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "nothing"
    bin_width: float

    def __post_init__(self) -> None:
        check_settings("SynchronyPenalty", bin_width=self.bin_width)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the penalty in Hz^4; both (batch, time, unit), spikes per bin."""
        check_trains("SynchronyPenalty", simulated, recorded)
        rate = simulated / self.bin_width
        rate = rate - rate.mean(dim=(0, 1))
        n = rate.shape[2]
        shared = rate.sum(dim=2).square().mean() - rate.square().sum(dim=2).mean()
        return (shared / n**2).square()


@dataclass(frozen=True)
class WeightedSum:
    r"""Weighted sum of losses, :math:`L = \sum_k w_k L_k`.

    Parameters
    ----------
    parts : tuple of (float, SpikeLoss)
        Weights (positive) and losses; all read the same thing in bins of one width.

    Examples
    --------
    >>> from organoid.losses import ActivityBounds, VanRossum, WeightedSum
    >>> WeightedSum(((1.0, VanRossum(0.002)), (0.01, ActivityBounds(0.002)))).bin_width
    0.002
    """

    parts: tuple[tuple[float, SpikeLoss], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise FitError("WeightedSum: expected one or more (weight, loss), got none")
        check_settings("WeightedSum", **{f"weight {k}": weight for k, (weight, _) in enumerate(self.parts)})
        first = self.parts[0][1]
        for _, loss in self.parts:
            if loss.reads != first.reads or not math.isclose(loss.bin_width, first.bin_width):
                raise FitError(
                    f"WeightedSum: {type(loss).__name__} reads {loss.reads} in bins of {loss.bin_width} s, "
                    f"{type(first).__name__} {first.reads} in bins of {first.bin_width} s; they must agree"
                )

    @property
    def bin_width(self) -> float:
        """Width of a time bin, s."""
        return self.parts[0][1].bin_width

    @property
    def reads(self) -> Reads:
        """What the parts read."""
        return self.parts[0][1].reads

    @property
    def compares(self) -> Compares:
        """What the parts compare, if all the same; else batches."""
        kinds = {loss.compares for _, loss in self.parts}
        return kinds.pop() if len(kinds) == 1 else "batches"

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss; both (batch, time, unit)."""
        return reduce(add, (weight * loss(simulated, recorded) for weight, loss in self.parts))
