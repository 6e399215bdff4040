"""The loss contract and the checks every loss makes at its door."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from organoid.errors import FitError

Reads = Literal["spikes", "logits"]
Compares = Literal["trains", "batches", "nothing"]


class SpikeLoss(Protocol):
    """What simulated trains lack of recorded ones; see `organoid.losses`."""

    reads: ClassVar[Reads]
    compares: ClassVar[Compares]

    @property
    def bin_width(self) -> float:
        """Width of a time bin, s."""

    def __call__(self, simulated: Tensor, recorded: Tensor) -> Tensor:
        """Return the loss, a scalar; both tensors have the shape (batch, time, unit)."""


def check_settings(loss: str, **seconds_or_scale: float) -> None:
    """Raise `FitError` unless every setting is a positive finite number."""
    for name, value in seconds_or_scale.items():
        if not (math.isfinite(value) and value > 0):
            raise FitError(f"{loss}: {name} must be a positive finite number, got {value!r}")


def check_trains(loss: str, simulated: Tensor, recorded: Tensor) -> None:
    """Raise `FitError` unless both tensors are (batch, time, unit), of one shape, and hold something."""
    if simulated.shape != recorded.shape:
        raise FitError(
            f"{loss}: simulated has shape {tuple(simulated.shape)}, recorded {tuple(recorded.shape)}; they must agree"
        )
    if simulated.ndim != 3 or 0 in simulated.shape:
        raise FitError(f"{loss}: expected (batch, time, unit), none of them 0, got {tuple(simulated.shape)}")
