"""Van Rossum distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.models.synapses.exponential import exponential_trace


@dataclass(frozen=True)
class VanRossum:
    r"""Squared van Rossum distance of two trains, averaged over trains.

    .. math::

        D^2 = \frac{2}{\tau}\int_0^\infty \big(f_s(t) - f_r(t)\big)^2 dt, \qquad
        f(t) = \sum_{t_i \le t} e^{-(t - t_i)/\tau}

    Normalised so that one spike against none is 1, whatever the bin. The integral is exact for spikes at the left
    edges of their bins, with the tail after the last bin included.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    tau : float
        Time constant of the filter, s: spikes closer than about this count as matched. The default is the scale of
        a network burst, which the population's past predicts; single spikes within a burst often it does not, and
        with a much shorter time constant no model does better than silence.

    References
    ----------
    van Rossum (2001), A novel spike distance, Neural Computation 13.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "trains"
    bin_width: float
    tau: float = 0.1

    def __post_init__(self) -> None:
        check_settings("VanRossum", bin_width=self.bin_width, tau=self.tau)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the mean squared distance per train (dimensionless); both (batch, time, unit), spikes per bin."""
        check_trains("VanRossum", simulated, recorded)
        decay = math.exp(-self.bin_width / self.tau)
        trace = exponential_trace(simulated - recorded.to(simulated), decay)
        # Over one bin the trace decays: 2/tau times the integral of its square is (1 - decay^2) trace^2.
        inside = (1 - decay**2) * trace.square().sum(dim=1)
        return (inside + decay**2 * trace[:, -1].square()).mean()
