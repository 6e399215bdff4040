"""Difference of firing rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains


@dataclass(frozen=True)
class Rate:
    r"""Squared difference of mean rates, averaged over trains.

    .. math:: L = \langle (r_s - r_r)^2 \rangle_{\text{trains}}, \qquad r = \frac1T\sum_t n[t]

    Timing inside the window is free; only the number of spikes counts.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "trains"
    bin_width: float

    def __post_init__(self) -> None:
        check_settings("Rate", bin_width=self.bin_width)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in Hz^2; both (batch, time, unit), spikes per bin."""
        check_trains("Rate", simulated, recorded)
        surplus = (simulated - recorded.to(simulated)).sum(dim=1)
        return (surplus / (simulated.shape[1] * self.bin_width)).square().mean()
