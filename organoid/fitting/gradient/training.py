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
from organoid.losses import SpikeLoss
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
    starts, every = windows.training_starts, max(1, settings.n_steps // 10)
    rows = []
    bar = tqdm(range(settings.n_steps), desc="training", unit="step", disable=None if progress else True)
    for k in bar:
        held_out = held_out_loss(network, loss, windows, seed, 1, order) if k % every == 0 else np.nan
        chosen = starts[torch.randint(len(starts), (settings.batch,), generator=generator)]
        value = window_loss(network, loss, windows, chosen, generator, order, settings)
        if not bool(torch.isfinite(value)):
            raise FitError(f"the loss became {value.item()} at step {k}; lower the learning rate")
        optimiser.zero_grad()
        (value + weight_penalty(network)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        schedule.step()
        rows.append((k, value.item(), held_out))
        bar.set_postfix(loss=f"{value.item():.3g}", refresh=False)
    final = held_out_loss(network, loss, windows, seed, 1, order)
    rows.append((settings.n_steps, np.nan, final))
    return pd.DataFrame(rows, columns=["step", "loss", "held_out_loss"])


@torch.no_grad()
def match_rates(network: TrainableModel, reads: Reads, windows: WindowedCounts, seed: int) -> None:
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
    state = seeded_state(network, _MATCHED, generator)
    low, high = torch.full_like(bias, -1.0), torch.full_like(bias, 3.0)
    for _ in range(_HALVINGS):
        bias.copy_((low + high) / 2)
        out = network.trajectory(x, state, forced=recorded)
        expected = torch.sigmoid(out.logits) if reads == "logits" else out.spikes
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
    """Loss on the windows at ``starts``: state from forced history without gradient, then the window in pieces."""
    spikes, w = windows.cut(starts), windows.warmup
    history, target = spikes[:, :w], spikes[:, w:]
    x = network.noise(len(starts), spikes.shape[1], generator)
    with torch.no_grad():
        state = seeded_state(network, len(starts), generator)
        state = network.trajectory(x[:, :w], state, forced=history).state
    truncate, checkpointed = (None, None) if settings is None else (settings.truncate, settings.checkpoint)
    out = in_pieces(
        network, x[:, w:], state, target, bins(truncate, loss.bin_width), bins(checkpointed, loss.bin_width)
    )
    simulated = out.spikes if loss.reads == "spikes" else out.logits
    return loss(simulated, target if order is None else target[..., order])


def bins(duration: float | None, bin_width: float) -> int | None:
    """Return a duration in whole bins, at least one; None for none."""
    return None if duration is None else max(1, round(duration / bin_width))


def in_pieces(
    network: TrainableModel, x: Tensor, state: Any, forced: Tensor, truncate: int | None, checkpointed: int | None
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
    """
    spikes, logits, n_steps = [], [], x.shape[1]
    for first in range(0, n_steps, truncate or n_steps):
        state = mapped(Tensor.detach, state)
        last = min(first + (truncate or n_steps), n_steps)
        for start in range(first, last, checkpointed or n_steps):
            part = slice(start, min(start + (checkpointed or n_steps), last))
            run = partial(_segment, network)
            given = x[:, part], state, forced[:, part]
            out = run(*given) if checkpointed is None else checkpoint(run, *given, use_reentrant=False)
            state = out.state
            spikes.append(out.spikes)
            logits.append(out.logits)
    return Trajectory(torch.cat(spikes, 1), torch.cat(logits, 1), state)


def _segment(network: TrainableModel, x: Tensor, state: Any, forced: Tensor) -> Trajectory:
    return network.trajectory(x, state, forced=forced)


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
) -> float:
    """Mean loss over all held-out windows and draws of the noise."""
    generator = torch.Generator().manual_seed(seed + 1)
    total, starts = 0.0, windows.held_out_starts
    for _ in range(n_draws):
        for part in torch.split(starts, EVAL_BATCH):
            value = window_loss(network, loss, windows, part, generator, order)
            total += value.item() * len(part)
    return total / (n_draws * len(starts))
