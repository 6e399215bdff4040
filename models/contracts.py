"""The model contract, and `check_model`, which tells whether a model keeps it.

A model is a network of ``n_units`` spiking units that advances in steps of ``dt`` seconds. Its state is a value
(a NamedTuple of tensors, batch first) that is passed in and handed back; a model holds parameters and nothing
else, so one model can run many experiments at once and a run can be split anywhere. Axes are
``(batch, time, unit)``.

`SpikingModel` is what every model offers; `TrainableModel` is what fitting by gradient needs on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Generator, Tensor
from torch.nn import Parameter

from organoid.models.conformance import check_model

__all__ = ["SpikingModel", "TrainableModel", "Trajectory", "check_model"]


class Trajectory(NamedTuple):
    """What a trainable model did over a segment of time.

    Attributes
    ----------
    spikes : Tensor, shape (batch, time, unit)
        Spikes per step, 0 or 1.
    logits : Tensor, shape (batch, time, unit)
        Distance of the membrane potential to threshold over the escape width: the log-odds of a spike in that
        step if the threshold were soft. Losses that score probabilities read these.
    state : NamedTuple of Tensor
        The state after the last step.
    """

    spikes: Tensor
    logits: Tensor
    state: Any


@runtime_checkable
class SpikingModel(Protocol):
    """A network of spiking units in discrete time."""

    @property
    def n_units(self) -> int:
        """Number of units."""

    @property
    def dt(self) -> float:
        """Length of a step, s."""

    def initial_state(self, batch: int = 1) -> Any:
        """Return the state at rest for ``batch`` independent copies."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Advance one step under the external input ``x``, shape (batch, unit); return spikes and state."""

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Advance ``x.shape[1]`` steps under ``x``, shape (batch, time, unit); equal to calling `step` for each."""


@runtime_checkable
class TrainableModel(SpikingModel, Protocol):
    """A spiking model that can be fitted to recorded spikes by gradient descent."""

    def trajectory(self, x: Tensor, state: Any = None, *, forced: Tensor | None = None) -> Trajectory:
        """Run with everything visible.

        Parameters
        ----------
        x : Tensor, shape (batch, time, unit)
            External input.
        state : NamedTuple of Tensor, optional
            Where to start; at rest if not given.
        forced : Tensor, shape (batch, time, unit), optional
            Spikes that travel along the synapses instead of the model's own (teacher forcing). Resets and
            refractoriness still follow the model's own spikes.
        """

    def noise(self, batch: int, n_steps: int, generator: Generator) -> Tensor:
        """Draw the model's own background input, shape (batch, time, unit), differentiable in its strength."""

    def parameters(self) -> Iterator[Parameter]:
        """Yield what is trained."""
