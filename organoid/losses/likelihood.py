"""Escape-noise likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from organoid.errors import FitError
from organoid.losses.base import Compares, Reads, check_settings, check_trains


@dataclass(frozen=True)
class Likelihood:
    r"""Negative log-likelihood of the recorded counts when potentials set spike probabilities.

    .. math:: L = \Big\langle \sum_t K\,\mathrm{softplus}(V[t]) - n[t]\,V[t] - \log\binom{K}{n[t]} \Big\rangle

    with log-odds :math:`V` and counts :math:`n` binomial in :math:`K` trials per bin; ``trials=1`` is a plain
    yes or no per bin.

    Parameters
    ----------
    bin_width : float
        Bin, s (the value of the loss does not depend on it).
    trials : int
        Largest count :math:`K` a bin can hold.

    References
    ----------
    Gerstner, Kistler, Naud and Paninski (2014), Neuronal Dynamics, chapters 9 and 10.
    """

    reads: ClassVar[Reads] = "logits"
    compares: ClassVar[Compares] = "trains"
    bin_width: float
    trials: int = 1

    def __post_init__(self) -> None:
        check_settings("Likelihood", bin_width=self.bin_width, trials=self.trials)

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss in nats per train; log-odds and counts per bin, both (batch, time, unit).

        Raises
        ------
        FitError
            When a recorded count is above ``trials``.
        """
        check_trains("Likelihood", simulated, recorded)
        counts = recorded.to(simulated)
        if bool((counts > self.trials).any()):
            raise FitError(f"Likelihood: a bin holds {int(counts.max())} spikes, trials is {self.trials}; raise trials")
        nats = self.trials * softplus(simulated) - counts * simulated - self._log_choose(counts)
        return nats.sum(dim=1).mean()

    def _log_choose(self, counts: Tensor) -> Tensor:
        k = counts.new_tensor(float(self.trials))
        return torch.lgamma(k + 1) - torch.lgamma(counts + 1) - torch.lgamma(k - counts + 1)
