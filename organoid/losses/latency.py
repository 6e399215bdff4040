"""Latency of the first spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import binarize


@dataclass(frozen=True)
class FirstSpikeLatency:
    r"""Squared difference of the times to the first spike, averaged over trains.

    .. math:: \ell = dt \sum_{t} \prod_{s \le t} (1 - x[s]), \qquad L = \langle (\ell_s - \ell_r)^2 \rangle

    For spikes 0 or 1, :math:`\ell` is the start of the first bin with a spike, from the start of the train, and the
    length of the train when there is none. In between, :math:`x` is a probability and :math:`\ell` the expected
    latency. Meant for trains cut at a stimulus. The gradient reaches the first spike and the bins before it.

    Parameters
    ----------
    bin_width : float
        Bin, s.

    References
    ----------
    Thorpe, Delorme and Van Rullen (2001), Spike-based strategies for rapid processing, Neural Networks 14.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "trains"
    bin_width: float

    def __post_init__(self) -> None:
        check_settings("FirstSpikeLatency", bin_width=self.bin_width)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in s^2; both (batch, time, unit), spikes per bin."""
        check_trains("FirstSpikeLatency", simulated, recorded)
        return (self.latency(simulated) - self.latency(recorded.to(simulated))).square().mean()

    def latency(self, spikes: Tensor) -> Tensor:
        """Return the expected latency of each train, s, shape (batch, unit)."""
        return self.bin_width * (1 - binarize(spikes)).cumprod(dim=1).sum(dim=1)
