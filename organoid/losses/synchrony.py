"""Spike time tiling coefficients of all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from organoid.errors import FitError
from organoid.losses.base import Compares, Reads, check_settings, check_trains
from organoid.losses.common import binarize, upper_pairs


@dataclass(frozen=True)
class SoftSTTC:
    r"""Squared difference of the spike time tiling coefficients, averaged over pairs of units.

    .. math::

        \text{STTC} = \tfrac12\left(\frac{P_A - T_B}{1 - P_A T_B} + \frac{P_B - T_A}{1 - P_B T_A}\right), \qquad
        \tau_B[t] = 1 - \prod_{|k| \le w} (1 - x_B[t + k])

    with the tile :math:`\tau_B`, its mean :math:`T_B`, and
    :math:`P_A = (\sum_t x_A \tau_B + \epsilon T_B) / (\sum_t x_A + \epsilon)`. For spikes 0 or 1 the tiles are those
    of the definition, with every spike in the middle of its bin; in between, :math:`x` is a probability and the tile
    that of independent spikes, so the loss is smooth. The :math:`\epsilon` pseudo-spikes placed by chance make a
    silent unit uncorrelated (0) instead of undefined. Trains of a batch count as segments of one recording.

    Parameters
    ----------
    bin_width : float
        Bin, s.
    reach : float
        Half-width of a tile, s; it reaches over ``round(reach / bin_width - 1/2)`` bins to each side.
    pseudo_spikes : float
        :math:`\epsilon`, spikes.

    References
    ----------
    Cutts and Eglen (2014), Detecting pairwise correlations in spike trains, Journal of Neuroscience 34.
    """

    reads: ClassVar[Reads] = "spikes"
    compares: ClassVar[Compares] = "batches"
    bin_width: float
    reach: float = 0.05
    pseudo_spikes: float = 1e-3

    def __post_init__(self) -> None:
        check_settings("SoftSTTC", bin_width=self.bin_width, reach=self.reach, pseudo_spikes=self.pseudo_spikes)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss (dimensionless, at most 4); both (batch, time, unit), spikes per bin.

        Raises
        ------
        FitError
            When there are no two units to compare.
        """
        check_trains("SoftSTTC", simulated, recorded)
        if simulated.shape[2] < 2:
            raise FitError("SoftSTTC compares pairs of units, got one unit; use another loss")
        return upper_pairs(self.matrix(simulated) - self.matrix(recorded.to(simulated))).square().mean()

    def matrix(self, spikes: Tensor) -> Tensor:
        """Return the coefficients of all pairs, shape (unit, unit), for spikes (batch, time, unit)."""
        x = binarize(spikes)
        tiles = 1 - window_product(1 - x, max(0, round(self.reach / self.bin_width - 0.5)))
        share = tiles.mean(dim=(0, 1))
        inside = torch.einsum("bti,btj->ij", x, tiles) + self.pseudo_spikes * share
        p = inside / (x.sum(dim=(0, 1))[:, None] + self.pseudo_spikes)
        # Where P T is 1 the term is 1 by definition; 1 - P T then is rounding.
        rest = 1 - p * share
        full = rest < 1e-6
        term = torch.where(full, 1.0, (p - share) / torch.where(full, 1.0, rest))
        return (term + term.T) / 2


def window_product(x: Tensor, side: int) -> Tensor:
    """Multiply ``x`` along axis 1 over ``side`` bins to each side of every bin and itself; 1 outside.

    By doubling: a window of n bins takes about 2 log2 n products, exact also with zeros.
    """
    n_steps, width = x.shape[1], 2 * side + 1
    power, length = pad(x, (0, 0, side, side), value=1.0), 1
    out, done = None, 0
    while True:
        if width & length:
            part = power[:, done : done + n_steps]
            out, done = (part if out is None else out * part), done + length
        if done == width:
            return x.clone() if out is None else out
        power = power * pad(power[:, length:], (0, 0, 0, length), value=1.0)
        length *= 2
