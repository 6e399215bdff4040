r"""Constants of cells and synapses that may be trained: time constants and thresholds, kept positive.

.. math:: \tau = e^{\lambda}, \qquad \text{decay} = e^{-dt/\tau} = \exp(-dt\,e^{-\lambda})

:math:`\lambda` is what is trained, so no step of an optimiser makes a time negative; gradients are exact. A constant
that is not trained stays a plain number and costs nothing.

References
----------
Perez-Nieves, Leung, Dragotti and Goodman (2021), Neural heterogeneity promotes robust learning, Nature
Communications 12 (membrane and synaptic time constants trained for each unit).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from organoid.errors import ModelError


def trained(name: str, value: float | tuple[float, ...], trainable: tuple[str, ...], n: int) -> nn.Parameter | None:
    """Return the logarithm of a positive constant as `n` parameters, or None where it is not in `trainable`."""
    if name not in trainable:
        return None
    return nn.Parameter(torch.as_tensor(value).expand(n).log().clone())


def decay(dt: float, tau: float, log_tau: Tensor | None) -> float | Tensor:
    """Return what is left after a step of `dt` (s): a number for a fixed `tau` (s), a tensor for a trained one."""
    return math.exp(-dt / tau) if log_tau is None else torch.exp(-dt * torch.exp(-log_tau))


def check_trainable(trainable: tuple[str, ...], known: tuple[str, ...], what: str) -> None:
    """Raise `ModelError` where a constant is requested that `what` cannot train."""
    unknown = sorted(set(trainable) - set(known))
    if isinstance(trainable, str) or unknown:
        raise ModelError(f"{what} can train {', '.join(known)}; got trainable={trainable!r}")
