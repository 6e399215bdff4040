r"""Dale's law: all outgoing weights of a unit have one sign.

Hard, the sign is built in and only the size is trained; soft, weights of the wrong sign cost:

.. math::

    W_{ij} = s_i\,|w_{ij}| \quad\text{(hard)}, \qquad
    L \mathrel{+}= \lambda \big\langle \max(0, -s_i W_{ij})^2 \big\rangle \quad\text{(soft)}

References
----------
Song, Yang and Wang (2016), Training excitatory-inhibitory recurrent neural networks for cognitive tasks: a simple and
flexible framework, PLoS Computational Biology 12 (signs built in).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from organoid.errors import ModelError


@dataclass(frozen=True)
class DalesLaw:
    """Signs of units, and how strictly they hold; a part of synapses.

    Parameters
    ----------
    signs : tuple of int, optional
        1 (excitatory) or -1 (inhibitory) for each unit. Without it, for the soft law only, each unit has the sign of
        the sum of its outgoing weights at the moment.
    strength : float
        What wrong signs cost (loss per squared threshold); infinite is the hard law.
    """

    signs: tuple[int, ...] | None = None
    strength: float = math.inf

    def __post_init__(self) -> None:
        if self.signs is not None and not (self.signs and set(self.signs) <= {-1, 1}):
            raise ModelError(f"signs must be 1 or -1 for each unit, got {self.signs!r}")
        if not self.strength > 0 or (self.hard and self.signs is None):
            raise ModelError(f"strength must be positive, and the hard law needs signs for each unit; got {self}")

    @property
    def hard(self) -> bool:
        """Whether signs are built in."""
        return math.isinf(self.strength)

    def check(self, n_units: int) -> None:
        """Raise `ModelError` unless there is one sign for each of `n_units`."""
        if self.signs is not None and len(self.signs) != n_units:
            raise ModelError(f"Dale's law needs one sign for each of {n_units} units, got {len(self.signs)}")

    def apply(self, weight: Tensor, pre: Tensor) -> Tensor:
        """Return weights with the signs of their senders under the hard law, as they are under the soft one.

        Parameters
        ----------
        weight : Tensor, shape (..., connection)
            Weights, thresholds.
        pre : Tensor of int, shape (connection,)
            Sender of each.
        """
        return self._of(pre, weight) * weight.abs() if self.hard else weight

    def penalty(self, weight: Tensor, pre: Tensor, n_units: int) -> Tensor:
        """Return what weights of the wrong sign cost; 0 under the hard law. Arguments as for `apply`."""
        if self.hard:
            return weight.new_zeros(())
        if self.signs is not None:
            sign = self._of(pre, weight)
        else:
            every = weight.detach().flatten(0, -2).sum(0) if weight.ndim > 1 else weight.detach()
            sign = weight.new_zeros(n_units).index_add(0, pre, every).sign()[pre]
        return self.strength * torch.relu(-sign * weight).square().mean()

    def _of(self, pre: Tensor, like: Tensor) -> Tensor:
        return torch.tensor(self.signs, dtype=like.dtype, device=like.device)[pre]
