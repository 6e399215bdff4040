"""The descent itself: windows drawn at random, gradients through them, the held-out loss on the way."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from organoid.errors import FitError
from organoid.fitting.data.windows import WindowedCounts
from organoid.fitting.settings import GradientSettings
from organoid.losses import Likelihood, SpikeLoss
from organoid.losses.base import Reads
from organoid.models import TrainableModel, Trajectory
from organoid.models.neurons.escape_noise_lif import seeded_state
from organoid.models.states import mapped
from organoid.models.synapses.exponential import ExponentialSynapses

EVAL_BATCH = 128
_MATCHED, _HALVINGS = 64, 10  # windows at which rates are matched, and halvings of a range of 4 thresholds


def train(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    order: Tensor,
    settings: GradientSettings,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    """Train in place towards the spikes of units ``order``; return the curve."""
    generator = torch.Generator().manual_seed(seed)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, 2 * (1 - k / settings.n_steps)))
    per_nat = 0.0  # what the likelihood counts beside the loss, by their values at the first step
    starts, every = windows.training_starts, max(1, settings.n_steps // 10)
    rows = []
    bar = tqdm(range(settings.n_steps), desc="training", unit="step", disable=None if progress else True)
    for k in bar:
        held_out = held_out_loss(network, loss, windows, seed, 1, order, settings) if k % every == 0 else np.nan
        chosen = starts[torch.randint(len(starts), (settings.batch,), generator=generator)]
        value, likelihood = window_losses(network, loss, windows, chosen, generator, order, settings)
        total = value
        if likelihood is not None and settings.likelihood_weight:
            if k == 0:
                per_nat = settings.likelihood_weight * abs(value.item()) / max(likelihood.item(), 1e-12)
            total = value + per_nat * likelihood
        if not bool(torch.isfinite(value)):
            raise FitError(f"the loss became {value.item()} at step {k}; lower the learning rate")
        optimiser.zero_grad()
        (total + weight_penalty(network)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        schedule.step()
        rows.append((k, value.item(), held_out))
        bar.set_postfix(loss=f"{value.item():.3g}", refresh=False)
    final = held_out_loss(network, loss, windows, seed, 1, order, settings)
    rows.append((settings.n_steps, np.nan, final))
    return pd.DataFrame(rows, columns=["step", "loss", "held_out_loss"])


def has_forced_pass(model: Any) -> bool:
    """Return whether recorded spikes can be a model's whole history, resets included."""
    linear = not hasattr(model, "cell") or hasattr(model.cell, "canonical")  # cells of other forms have no such pass
    return hasattr(model, "forced_voltages") and linear


def is_forced(model: Any, settings: GradientSettings | None, reads: Reads) -> bool:
    """Return whether a model is trained on recorded history alone, by a loss that reads spikes or log-odds."""
    if settings is None or not has_forced_pass(model):
        return False
    return reads == "logits" if settings.teacher_forced is None else settings.teacher_forced


def drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw spikes with given log-odds; the gradient is that of their probability."""
    probability = torch.sigmoid(logits)
    uniform = torch.rand(probability.shape, generator=generator).to(probability)
    return (uniform < probability).to(probability) + (probability - probability.detach())


@torch.no_grad()
def match_rates(
    network: TrainableModel, reads: Reads, windows: WindowedCounts, seed: int, settings: GradientSettings | None = None
) -> None:
    """Set the biases in place so that every unit spikes at its recorded rate before training begins.

    A silent network has no gradient in any loss of intervals or covariances. Under forced input units do not
    influence each other and a rate rises with the bias, so the biases of all units are found by halving at once.
    Models without a bias for each unit are left as they are.
    """
    bias = getattr(network, "bias", None)
    if not isinstance(bias, torch.nn.Parameter) or bias.shape != (network.n_units,):
        return
    generator = torch.Generator().manual_seed(seed)
    starts, wanted = windows.training_starts, windows.training_probability()
    recorded = windows.cut(starts[torch.randint(len(starts), (_MATCHED,), generator=generator)])
    x = network.noise(_MATCHED, recorded.shape[1], generator)
    state, forced = seeded_state(network, _MATCHED, generator), is_forced(network, settings, reads)
    low, high = torch.full_like(bias, -1.0), torch.full_like(bias, 3.0)
    for _ in range(_HALVINGS):
        bias.copy_((low + high) / 2)
        out = _segment(network, forced, x, state, recorded)
        expected = torch.sigmoid(out.logits) if forced or reads == "logits" else out.spikes
        above = expected[:, windows.warmup :].mean((0, 1)) > wanted
        low, high = torch.where(above, low, bias), torch.where(above, bias, high)
    bias.copy_((low + high) / 2)


def window_loss(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    starts: Tensor,
    generator: torch.Generator,
    order: Tensor | None = None,
    settings: GradientSettings | None = None,
) -> Tensor:
    """Loss on the windows at ``starts``; see `window_losses`."""
    return window_losses(network, loss, windows, starts, generator, order, settings)[0]


def window_losses(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    starts: Tensor,
    generator: torch.Generator,
    order: Tensor | None = None,
    settings: GradientSettings | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Loss on the windows at ``starts``: state from recorded history without gradient, then the window in pieces.

    Beside a loss of spikes drawn from recorded history alone comes the negative log-likelihood of that history, else
    None.
    """
    forced = is_forced(network, settings, loss.reads)
    spikes, w = windows.cut(starts), windows.warmup
    history, target = spikes[:, :w], spikes[:, w:]
    x = network.noise(len(starts), spikes.shape[1], generator)
    with torch.no_grad():
        state = seeded_state(network, len(starts), generator)
        state = _segment(network, forced, x[:, :w], state, history).state
    truncate, checkpointed = (None, None) if settings is None else (settings.truncate, settings.checkpoint)
    pieces = bins(truncate, loss.bin_width), bins(checkpointed, loss.bin_width)
    out = in_pieces(network, x[:, w:], state, target, *pieces, resets=forced)
    wanted = target if order is None else target[..., order]
    if loss.reads == "logits":
        return loss(out.logits, wanted), None
    if not forced:
        return loss(out.spikes, wanted), None
    return loss(drawn(out.logits, generator), wanted), Likelihood(loss.bin_width)(out.logits, wanted)


def bins(duration: float | None, bin_width: float) -> int | None:
    """Return a duration in whole bins, at least one; None for none."""
    return None if duration is None else max(1, round(duration / bin_width))


def in_pieces(
    network: TrainableModel,
    x: Tensor,
    state: Any,
    forced: Tensor,
    truncate: int | None,
    checkpointed: int | None,
    *,
    resets: bool = False,
) -> Trajectory:
    """Run a model over (batch, time, unit) input in pieces; the values are those of one run.

    Parameters
    ----------
    network : TrainableModel
    x, forced : Tensor, shape (batch, time, unit)
        Input, and spikes that travel along the synapses.
    state : object
        Where to start.
    truncate : int, optional
        Steps after which the gradient through the state is cut.
    checkpointed : int, optional
        Steps between states that are kept; what lies between is computed again for the gradient.
    resets : bool
        Whether the forced spikes also reset their units (`has_forced_pass`).
    """
    spikes, logits, n_steps = [], [], x.shape[1]
    for first in range(0, n_steps, truncate or n_steps):
        state = mapped(Tensor.detach, state)
        last = min(first + (truncate or n_steps), n_steps)
        for start in range(first, last, checkpointed or n_steps):
            part = slice(start, min(start + (checkpointed or n_steps), last))
            run = partial(_segment, network, resets)
            given = x[:, part], state, forced[:, part]
            out = run(*given) if checkpointed is None else checkpoint(run, *given, use_reentrant=False)
            state = out.state
            spikes.append(out.spikes)
            logits.append(out.logits)
    return Trajectory(torch.cat(spikes, 1), torch.cat(logits, 1), state)


def _segment(network: Any, resets: bool, x: Tensor, state: Any, forced: Tensor) -> Trajectory:
    """Run a piece under recorded spikes; where they reset the units, there is no background noise and no own spike."""
    if not resets:
        out: Trajectory = network.trajectory(x, state, forced=forced)
        return out
    recorded = network.forced_voltages(forced, None, state)
    return Trajectory(forced, recorded.logits, recorded.state)


def weight_penalty(network: TrainableModel) -> Tensor | float:
    """Return what parts of a model cost beside the loss, such as weights against a soft Dale's law."""
    synapses = getattr(network, "synapses", None)
    if not isinstance(synapses, ExponentialSynapses):
        return 0.0
    return synapses.penalty()


@torch.no_grad()
def held_out_loss(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    seed: int,
    n_draws: int,
    order: Tensor | None = None,
    settings: GradientSettings | None = None,
) -> float:
    """Mean loss over all held-out windows and draws of the noise."""
    generator = torch.Generator().manual_seed(seed + 1)
    total, starts = 0.0, windows.held_out_starts
    for _ in range(n_draws):
        for part in torch.split(starts, EVAL_BATCH):
            value = window_loss(network, loss, windows, part, generator, order, settings)
            total += value.item() * len(part)
    return total / (n_draws * len(starts))
