r"""Membranes that recorded spikes reset: with the spikes known, all steps at once.

.. math::

    V[t] = \beta[t] \big(V[t-1] (1 - z[t-1])\big) + g[t] \text{ (hard)}, \qquad
    V[t] = \beta[t] \big(V[t-1] - z[t-1]\,\theta[t-1]\big) + g[t] \text{ (subtract)}

with :math:`\beta[t] = e^{-dt/\tau_{mem}}` and :math:`g[t] = (1-\beta)\,\text{drive}[t]`, or 1 and 0 while a cell is
refractory, and the thresholds :math:`\theta` of `organoid.models.neurons.lif` and
`organoid.models.neurons.adaptive_lif`. As :math:`z` is data, resets and refractory steps are numbers and no decisions:
a linear filter (`organoid.models.teacher_forcing.affine_scan`). A recorded spike counts in a refractory step, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from organoid.errors import ModelError
from organoid.models.compiled.recurrent.arrays import Outputs
from organoid.models.dispatch import CanonicalCells
from organoid.models.synapses.exponential import exponential_trace
from organoid.models.teacher_forcing.affine_scan import affine_scan


class ForcedVoltages(NamedTuple):
    """What the membranes did while recorded spikes reset them.

    Attributes
    ----------
    voltage : Tensor, shape (batch, time, unit)
        Potential of every step before its reset, thresholds.
    logits : Tensor, shape (batch, time, unit)
        Distance to threshold over the escape width, as in `organoid.models.contracts.Trajectory`: log-odds of a
        spike, given all earlier recorded spikes.
    state : NamedTuple of Tensor
        The state after the last step.
    """

    voltage: Tensor
    logits: Tensor
    state: Any


def check_recorded(spikes: Tensor) -> None:
    """Raise `ModelError` unless all spikes are 0 or 1."""
    if not bool((spikes * (spikes - 1) == 0).all()):
        raise ModelError(
            "recorded spikes that reset cells must be 0 or 1 in each step, and there are other values; shorten the "
            "step, or count several spikes of a step as one: spikes.clamp(max=1)"
        )


def scan_forced(cell: Any, drive: Tensor, state: Any, spikes: Tensor) -> tuple[Tensor, Tensor, Any]:
    """Return what cells do under a known drive when known spikes reset them, in plain torch.

    Parameters
    ----------
    cell : Cell
        Cells with a canonical form.
    drive, spikes : Tensor, shape (batch, time, unit)
        Drive, thresholds, and spikes, 0 or 1.
    state : NamedTuple of Tensor
        Where the cells start.

    Returns
    -------
    tuple
        The spikes, distances to threshold (batch, time, unit) and the state after the last step.
    """
    form: CanonicalCells = cell.canonical(state)
    held, refractory = _refractory(form, spikes.detach())
    threshold, adaptation = forced_thresholds(form, spikes)
    through = spikes.detach() if form.detach_reset else spikes
    voltage = affine_scan(*_filter(form, drive, through, held, threshold), form.voltage)
    last, z = voltage[:, -1], through[:, -1]
    left = last * (1 - z) if form.hard else last - z * threshold[:, -1]
    distance = voltage - threshold
    nothing = 4 * (drive[:, :0],)
    return spikes, distance, cell.after(state, Outputs(spikes, distance, left, refractory, adaptation, *nothing))


def forced_thresholds(form: CanonicalCells, spikes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the threshold (batch, time, unit), of one step for all where it is constant, and the last adaptation."""
    n = spikes.shape[2]
    at_rest = torch.as_tensor(form.threshold, dtype=spikes.dtype, device=spikes.device).expand(1, 1, n)
    if not form.adaptive:
        return at_rest, form.adaptation
    if isinstance(form.fade, float):  # one for all: products of triangular matrices, which are faster
        after = exponential_trace(spikes, form.fade, form.adaptation)
    else:
        after = affine_scan(form.fade * torch.ones_like(spikes), spikes, form.adaptation)
    return at_rest + form.increment * _shifted(after, form.adaptation), after[:, -1]


def _filter(
    form: CanonicalCells, drive: Tensor, spikes: Tensor, held: Tensor | None, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """Return factor and input of the filter whose output is the potential."""
    factor, add = form.keep * torch.ones_like(drive), form.take * drive
    if held is not None:
        factor, add = factor.masked_fill(held, 1.0), add.masked_fill(held, 0.0)
    before = _shifted(spikes, torch.zeros_like(spikes[:, 0]))
    if form.hard:
        return factor * (1 - before), add
    earlier = _shifted(threshold, threshold[:, 0]) if threshold.shape[1] > 1 else threshold
    return factor, add - factor * before * earlier


def _shifted(values: Tensor, first: Tensor) -> Tensor:
    """Return values one step later, ``first`` before them."""
    return torch.cat([first[:, None], values[:, :-1]], 1)


def _refractory(form: CanonicalCells, spikes: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return in which steps the potential stands still, and the refractory steps left at the end."""
    n, n_steps, initial = form.n_refractory, spikes.shape[1], form.refractory.detach()
    if n == 0:
        return None, initial
    spike = spikes >= 0.5  # as in `LIFCell`
    # Spikes of the n steps before each: a difference of running sums.
    total = torch.nn.functional.pad(spike.cumsum(1, dtype=torch.int32), (0, 0, n + 1, 0))
    step = torch.arange(n_steps, device=spikes.device)[:, None]
    held = (total[:, n : n + n_steps] > total[:, :n_steps]) | (initial[:, None] > step)
    since = n_steps - torch.where(spike, step + 1, 0).amax(1)  # steps since the last spike, all if there is none
    own = torch.where(spike.any(1), (n - since + 0.0).clamp(min=0), 0.0)
    return held, torch.maximum(own, (initial - n_steps).clamp(min=0)).to(initial.dtype)
