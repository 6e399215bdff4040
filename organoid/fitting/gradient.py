r"""Fit any spiking model with any spike loss by gradient descent through its spikes.

The task, exactly. The recording is cut into windows. In each, every unit of the model receives over its synapses
the *recorded* spikes of all units it is connected to (by default all others, not itself), delayed by at least one bin;
its own background noise comes on top. Free are the unit's own spikes, its reset, refractoriness and adaptation: they
follow what the model itself does. The model's spikes (or log-odds) in the window are compared with the recorded
ones. So every simulated bin depends on earlier recorded bins only, and the held-out loss is that of a prediction one
bin ahead from the population's past.

What is trained sees the first part of the recording only. Windows are drawn at random there; a stretch of history
before each window brings the state up (without gradient), then the gradient runs through the whole window and stops
(truncated back-propagation through time). The held-out part enters the curve and the scores, never a choice.

Limits worth knowing. A surrogate gradient treats spikes as if they were smooth, so training matches the expected
trace (rates come out right) and does not see that spikes placed by chance cost extra in a distance between single
trains. Where spikes cannot be foretold at the time scale of the loss, a silent network then scores as well or
better; compare ``held_out`` before believing a fit. Nothing here makes the model right when it runs freely on its
own spikes; least of all `Likelihood`, which shapes probabilities while the free model spikes at its hard threshold.
A model spikes at most once per bin, so counts above one are clipped, and the notes say how many.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from organoid.errors import FitError
from organoid.fitting.windows import WindowedCounts, observed_counts, split_windows
from organoid.losses import LOSSES, SpikeLoss
from organoid.losses.base import Reads
from organoid.models import MODELS, TrainableModel
from organoid.recording import SpikeRecording

Counts = NDArray[np.integer]

_EVAL_BATCH = 128
_DRAWS = 5
_CHUNK = 4096  # bins run at a time, so that memory does not grow with the recording


@dataclass(frozen=True)
class GradientSettings:
    """How to train.

    Parameters
    ----------
    n_steps : int
        Gradient steps.
    batch : int
        Windows per step.
    window : float
        Length of a window, s.
    warmup : float
        History before each window, s: enough for the slowest synapse to forget.
    learning_rate : float
        Of Adam; constant for the first half, then falling to 0 on a line.
    clip : float
        Largest norm of a gradient.
    held_out : float
        Fraction of the recording, at its end, that is never trained on.
    """

    n_steps: int = 150
    batch: int = 64
    window: float = 0.5
    warmup: float = 0.25
    learning_rate: float = 0.01
    clip: float = 1.0
    held_out: float = 0.2

    def __post_init__(self) -> None:
        positive = (self.n_steps, self.batch, self.window, self.warmup, self.learning_rate, self.clip)
        if not all(value > 0 for value in positive):
            raise FitError(f"every training setting must be positive, got {self}")


@dataclass(frozen=True, eq=False)
class GradientFit:
    """A model trained by gradient descent, and how well it does.

    Attributes
    ----------
    network : TrainableModel
        The trained model; its step is ``bin_width``.
    loss : SpikeLoss
        The loss it was trained with.
    bin_width : float
        Bin of the data and step of the model, s.
    seed : int
        Seed of initial weights, windows and noise.
    settings : GradientSettings
        How it was trained.
    curve : DataFrame
        step, loss (training batch), held_out_loss (NaN between evaluations).
    held_out : Series
        Loss on the held-out part, all by the same function on the same windows: ``fitted``; ``silent``, no spike at
        all; ``constant_rate``, independent spikes at the training rates; ``shuffled``, the same model trained on
        the spikes of wrong units (NaN unless asked for).
    seconds : float
        Time the fit took, s.
    notes : tuple of str
        What was clipped, dropped or not done.
    """

    network: TrainableModel
    loss: SpikeLoss
    bin_width: float
    seed: int
    settings: GradientSettings
    curve: pd.DataFrame
    held_out: pd.Series
    seconds: float
    notes: tuple[str, ...]

    def predict(self, data: SpikeRecording | Counts, *, n_draws: int = 20, seed: int = 0) -> NDArray[np.float64]:
        """Return expected spikes per bin, each from earlier recorded spikes only.

        A model trained on log-odds answers with their probabilities, any other with its spikes, averaged over draws.

        Parameters
        ----------
        data : SpikeRecording, or ndarray of int, shape (bin, unit)
            What was recorded.
        n_draws : int
            Draws of the background noise to average over.
        seed : int
            Seed of the noise.

        Returns
        -------
        ndarray, shape (bin, unit)
            Expected spikes per bin.
        """
        forced = observed_counts(data, self.bin_width)[0].clamp(max=1)
        generator, state, parts = torch.Generator().manual_seed(seed), None, []
        with torch.no_grad():
            for part in forced.split(_CHUNK):
                x = self.network.noise(n_draws, len(part), generator)
                out = self.network.trajectory(x, state, forced=part.to(x).expand(n_draws, -1, -1))
                state = out.state
                parts.append((torch.sigmoid(out.logits) if self.loss.reads == "logits" else out.spikes).mean(0))
        return torch.cat(parts).double().numpy()

    def simulate(self, duration: float, *, seed: int = 0) -> NDArray[np.int64]:
        """Let the network run freely on its own spikes and noise, from rest.

        Parameters
        ----------
        duration : float
            Time to simulate, s; whole bins.
        seed : int
            Seed of the noise.

        Returns
        -------
        ndarray of int, shape (bin, unit)
            Spikes per bin.
        """
        left = int(duration / self.bin_width + 1e-9)
        generator, state, parts = torch.Generator().manual_seed(seed), None, [torch.zeros(0, self.network.n_units)]
        with torch.no_grad():
            while left > 0:
                spikes, state = self.network.run(self.network.noise(1, min(left, _CHUNK), generator), state)
                parts.append(spikes[0])
                left -= _CHUNK
        return torch.cat(parts).to(torch.int64).numpy()


def fit_gradient(
    data: SpikeRecording | Counts,
    *,
    model: str | TrainableModel = "lif",
    loss: str | SpikeLoss = "van_rossum",
    bin_width: float = 0.002,
    seed: int = 0,
    settings: GradientSettings | None = None,
    compare: bool = False,
    progress: bool = True,
) -> GradientFit:
    """Train a spiking model to reproduce recorded spikes; the module docstring says what is forced and what is free.

    Parameters
    ----------
    data : SpikeRecording, or ndarray of int, shape (bin, unit)
        Recorded spikes; counts must be in bins of ``bin_width``.
    model : str or TrainableModel
        A name in `MODELS`, or a model of the right size and step (it is copied, not changed).
    loss : str or SpikeLoss
        A name in `LOSSES`, or a loss made for ``bin_width``.
    bin_width : float
        Bin of the data and step of the model, s.
    seed : int
        Seed of everything random; the same seed gives the same bytes, whatever the number of threads.
    settings : GradientSettings, optional
        How to train.
    compare : bool
        Also train the control on shuffled units (takes as long again).
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    GradientFit

    Raises
    ------
    FitError
        When the data cannot be fitted, or model, loss and bins do not go together.

    References
    ----------
    Neftci, Mostafa and Zenke (2019), Surrogate gradient learning in spiking neural networks, IEEE Signal
    Processing Magazine 36.
    """
    began, settings = time.perf_counter(), settings or GradientSettings()
    counts, observed = observed_counts(data, bin_width)
    windows = split_windows(
        counts.clamp(max=1),
        observed,
        held_out=settings.held_out,
        warmup=max(1, round(settings.warmup / bin_width)),
        length=max(1, round(settings.window / bin_width)),
    )
    network, criterion = _build_model(model, counts.shape[1], bin_width, seed), _build_loss(loss, bin_width)
    order = torch.arange(counts.shape[1])
    with _one_thread():
        control = copy.deepcopy(network)
        curve = _train(network, criterion, windows, order, settings, seed, progress)
        scores = _baselines(criterion, windows, seed)
        scores["fitted"] = _held_out_loss(network, criterion, windows, seed, _DRAWS)
        if compare and len(order) > 1:
            _train(control, criterion, windows, _derangement(len(order), seed), settings, seed, progress)
            scores["shuffled"] = _held_out_loss(control, criterion, windows, seed, _DRAWS)
    held_out = pd.Series(scores, dtype=float).reindex(["fitted", "silent", "constant_rate", "shuffled"])
    notes = _notes(counts, windows)
    seconds = time.perf_counter() - began
    return GradientFit(network, criterion, bin_width, seed, settings, curve, held_out, seconds, notes)


def _build_model(model: str | TrainableModel, n_units: int, bin_width: float, seed: int) -> TrainableModel:
    if isinstance(model, str):
        if model not in MODELS:
            raise FitError(f"unknown model {model!r}; choose from {', '.join(sorted(MODELS))}")
        return MODELS[model](n_units, bin_width, seed=seed)
    if model.n_units != n_units or not np.isclose(model.dt, bin_width):
        raise FitError(
            f"the model has {model.n_units} units and steps of {model.dt} s, the data {n_units} units "
            f"and bins of {bin_width} s; they must agree"
        )
    return copy.deepcopy(model)


def _build_loss(loss: str | SpikeLoss, bin_width: float) -> SpikeLoss:
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise FitError(f"unknown loss {loss!r}; choose from {', '.join(sorted(LOSSES))}")
        return LOSSES[loss](bin_width)
    if not np.isclose(loss.bin_width, bin_width):
        raise FitError(f"the loss is made for bins of {loss.bin_width} s, the data have {bin_width} s")
    return loss


def _train(
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
        held_out = _held_out_loss(network, loss, windows, seed, 1, order) if k % every == 0 else np.nan
        chosen = starts[torch.randint(len(starts), (settings.batch,), generator=generator)]
        value = _window_loss(network, loss, windows, chosen, generator, order)
        if not bool(torch.isfinite(value)):
            raise FitError(f"the loss became {value.item()} at step {k}; lower the learning rate")
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        schedule.step()
        rows.append((k, value.item(), held_out))
        bar.set_postfix(loss=f"{value.item():.3g}", refresh=False)
    final = _held_out_loss(network, loss, windows, seed, 1, order)
    rows.append((settings.n_steps, np.nan, final))
    return pd.DataFrame(rows, columns=["step", "loss", "held_out_loss"])


def _window_loss(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    starts: Tensor,
    generator: torch.Generator,
    order: Tensor | None = None,
) -> Tensor:
    """Loss on the windows at ``starts``: state from forced history without gradient, then the window."""
    spikes = windows.cut(starts)
    history, target = spikes.split([windows.warmup, windows.length], dim=1)
    x = network.noise(len(starts), spikes.shape[1], generator)
    with torch.no_grad():
        state = network.trajectory(x[:, : windows.warmup], forced=history).state
    out = network.trajectory(x[:, windows.warmup :], state, forced=target)
    simulated = out.spikes if loss.reads == "spikes" else out.logits
    return loss(simulated, target if order is None else target[..., order])


@torch.no_grad()
def _held_out_loss(
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
        for part in starts.split(_EVAL_BATCH):
            value = _window_loss(network, loss, windows, part, generator, order)
            total += value.item() * len(part)
    return total / (n_draws * len(starts))


def _baselines(loss: SpikeLoss, windows: WindowedCounts, seed: int) -> dict[str, float]:
    """Held-out loss of a silent network and of independent spikes at the training rates."""
    target = windows.cut(windows.held_out_starts)[:, windows.warmup :]
    generator = torch.Generator().manual_seed(seed + 2)
    probability = windows.training_probability()
    constant = [loss(_constant(loss.reads, probability, target, generator), target).item() for _ in range(_DRAWS)]
    if loss.reads == "logits":  # probability 0 of something that happened
        silent = float("inf") if bool(target.any()) else 0.0
    else:
        silent = loss(torch.zeros_like(target), target).item()
    return {"silent": silent, "constant_rate": float(np.mean(constant))}


def _constant(reads: Reads, probability: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    if reads == "logits":
        return torch.logit(probability).expand_as(like)
    return (torch.rand(like.shape, generator=generator) < probability).to(like)


def _derangement(n: int, seed: int) -> Tensor:
    """Return a permutation that leaves no unit in its place: one random cycle through all."""
    cycle = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    order = torch.empty(n, dtype=torch.long)
    order[cycle] = cycle.roll(1)
    return order


def _notes(counts: Tensor, windows: WindowedCounts) -> tuple[str, ...]:
    total, kept = int(counts.sum()), int(windows.counts.sum())
    notes = [
        f"trained on the first {windows.n_train} of {len(counts)} bins, scored on {len(windows.held_out_starts)} "
        f"windows of {windows.length} bins after them"
    ]
    if total > kept:
        notes.append(f"{total - kept} of {total} spikes share a bin with another of their unit and were left out")
    if not windows.observed.all():
        notes.append(f"{int((~windows.observed).sum())} bins were not fully observed; no window touches them")
    return tuple(notes)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums split over threads round differently; small matrices gain nothing from threads anyway.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
