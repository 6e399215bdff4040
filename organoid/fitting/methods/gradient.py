r"""Fit any spiking model with any spike loss by gradient descent through its spikes.

The task, exactly. The recording is cut into windows. In each, every unit of the model receives over its synapses
the *recorded* spikes of all units it is connected to (by default all others, not itself), delayed by at least one bin;
its own background noise comes on top. Free are the unit's own spikes, its reset, refractoriness and adaptation: they
follow what the model itself does. The model's spikes (or log-odds) in the window are compared with the recorded
ones. So every simulated bin depends on earlier recorded bins only, and the held-out loss is that of a prediction one
bin ahead from the population's past.

What is trained sees the first part of the recording only. A model requested by name starts with biases under which
every unit spikes at its recorded rate: a silent network has no gradient in losses of intervals or covariances. A model
given starts as it is. Windows are drawn at random; a segment of history before each window brings the state up
(without gradient), then the gradient runs through the whole window and stops; `GradientSettings` can cut it sooner
(``truncate``) or trade time for memory (``checkpoint``). The held-out part enters the curve and the scores, never a
choice.

Limits worth knowing. A surrogate gradient treats spikes as if they were smooth, so training matches the expected
trace (rates come out right) and does not see that spikes placed by chance cost extra in a distance between single
trains. Where spikes cannot be predicted at the time scale of the loss, a silent network then scores as well or
better; compare ``held_out`` before believing a fit. Nothing here makes the model right when it runs freely on its
own spikes; least of all `Likelihood`, which shapes probabilities while a free model spikes at its hard threshold (but
for ``escape_lif``, which spikes with these probabilities).
A model spikes at most once per bin, so counts above one are clipped, and the notes say how many.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.errors import FitError
from organoid.fitting.data.history import bin_history
from organoid.fitting.data.windows import WindowedCounts, observed_counts, split_windows
from organoid.fitting.gradient.notes import shortfalls
from organoid.fitting.gradient.prediction import (
    SplitHistory,
    as_recording,
    free_form,
    no_edges,
    own_history_bits,
    per_unit,
    rate_limit,
    score_free_runs,
    score_predictions,
)
from organoid.fitting.gradient.result import GradientFit, loss_name
from organoid.fitting.gradient.training import held_out_loss, is_forced, match_rates, train
from organoid.fitting.settings import GradientSettings, settings_from
from organoid.fitting.teacher_forced.notes import UNCALIBRATED_RESPONSE
from organoid.losses import LOSSES, SpikeLoss
from organoid.losses.base import Reads
from organoid.models import MODELS, EscapeNoiseLIF, TrainableModel
from organoid.models.serialization import registered_name
from organoid.parallel import one_torch_thread, peak_rss_mb
from organoid.recording import SpikeRecording

__all__ = ["GradientFit", "GradientSettings", "fit_gradient"]

Counts = NDArray[np.integer]

_DRAWS = 5

NOT_CALIBRATED = "not calibrated in free run: the network was trained on recorded input, not on spikes of its own"


def fit_gradient(
    data: SpikeRecording | Counts,
    *,
    model: str | TrainableModel = "lif",
    loss: str | SpikeLoss = "van_rossum",
    settings: GradientSettings | None = None,
    seed: int = 0,
    progress: bool = True,
    **by_name: Any,
) -> GradientFit:
    """Train a spiking model to reproduce recorded spikes; the module docstring says what is forced and what is free.

    Parameters
    ----------
    data : SpikeRecording, or ndarray of int, shape (bin, unit)
        Recorded spikes; counts must be in bins of ``settings.bin_width``.
    model : str or TrainableModel
        A name in `MODELS`, or a model of the right size and step (it is copied, not changed, and starts as it is).
    loss : str or SpikeLoss
        A name in `LOSSES`, or a loss made for the bin width.
    settings : GradientSettings, optional
        How to train, and what to score.
    seed : int
        Seed of everything random; the same seed gives the same bytes, whatever the number of threads.
    progress : bool
        Show a bar on a terminal.
    **by_name
        Single fields of `settings`.

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
    began = time.perf_counter()
    settings = settings_from(GradientSettings, settings, by_name, "a fit by gradient")
    bin_width = settings.bin_width
    counts, observed = observed_counts(data, bin_width)
    windows = split_windows(
        counts.clamp(max=1),
        observed,
        held_out=settings.held_out,
        warmup=max(1, round(settings.warmup / bin_width)),
        length=max(1, round(settings.window / bin_width)),
    )
    network, criterion = _build_model(model, counts.shape[1], bin_width, seed), _build_loss(loss, bin_width)
    with one_torch_thread():
        if isinstance(model, str):
            match_rates(network, criterion.reads, windows, seed, settings)
        curve, losses = _train_and_score(network, criterion, windows, settings, seed, progress)
        notes = _notes(counts, windows, network, criterion, is_forced(network, settings, criterion.reads))
        found = _Found(network, criterion, curve, losses, tuple(notes))
        return _assemble(as_recording(data, bin_width), found, windows, settings, seed, progress, began)


@dataclass(frozen=True)
class _Found:
    """What training gives."""

    model: TrainableModel
    loss: SpikeLoss
    curve: pd.DataFrame
    losses: dict[str, float]
    notes: tuple[str, ...]


def _train_and_score(
    network: TrainableModel,
    loss: SpikeLoss,
    windows: WindowedCounts,
    settings: GradientSettings,
    seed: int,
    progress: bool,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train in place; return the curve and the held-out losses of the network and its controls."""
    n_units = windows.counts.shape[1]
    control = copy.deepcopy(network)
    curve = train(network, loss, windows, torch.arange(n_units), settings, seed, progress)
    losses = {"held_out_loss": held_out_loss(network, loss, windows, seed, _DRAWS, settings=settings)}
    losses |= _baselines(loss, windows, seed) | {"held_out_loss_shuffled": float("nan")}
    if settings.compare and n_units > 1:
        train(control, loss, windows, _derangement(n_units, seed), settings, seed, progress)
        losses["held_out_loss_shuffled"] = held_out_loss(control, loss, windows, seed, _DRAWS, settings=settings)
    return curve, losses


def _assemble(
    rec: SpikeRecording,
    found: _Found,
    windows: WindowedCounts,
    settings: GradientSettings,
    seed: int,
    progress: bool,
    began: float,
) -> GradientFit:
    """Score predictions and free runs, and put everything together."""
    bin_width, model, loss = settings.bin_width, found.model, found.loss
    history = SplitHistory(**vars(bin_history(rec, bin_width)), n_training=windows.n_train)
    resets = is_forced(model, settings, loss.reads)
    predicted = score_predictions(model, loss.reads, history, resets)
    own, own_per_unit = own_history_bits(history)
    training_stop = min(rec.t_start + windows.n_train * bin_width, rec.t_stop)
    network, missing = free_form(model, rate_limit(rec.select(t_stop=training_stop)), resets)
    summary, lacks = score_free_runs(network, rec, settings.free_runs, seed, progress and sys.stderr.isatty())
    return GradientFit(
        network=network,
        model=model,
        loss=loss,
        scores=_scores(rec, found, predicted.bits, own, time.perf_counter() - began),
        free_run=summary,
        edges=no_edges(),
        per_unit=per_unit(rec, predicted, own_per_unit),
        units=rec.units,
        electrodes=rec.electrodes,
        bin_width=bin_width,
        notes=(
            *shortfalls(predicted.bits, own, summary),
            NOT_CALIBRATED,
            *missing,
            *lacks,
            UNCALIBRATED_RESPONSE,
            *found.notes,
            *rec.notes,
        ),
        settings={
            "model": registered_name(model) or type(model).__name__,
            "loss": loss_name(loss),
            "seed": seed,
            "bin_width": bin_width,
            "t_start": rec.t_start,
            "t_stop": rec.t_stop,
            "training_stop": training_stop,
            "share_of_mean": predicted.share,
            "recorded_resets": resets,
            "training": asdict(settings),
        },
        curve=found.curve,
    )


def _scores(rec: SpikeRecording, found: _Found, bits: float, own: float, seconds: float) -> pd.Series[Any]:
    """Return all scores: bits/spike of predictions and of own histories, losses, and what the fit cost."""
    scores = {
        "heldout_bits_per_spike": bits,
        "heldout_bits_per_spike_uncoupled": own,
        "heldout_bits_per_spike_own_history": own,
        **found.losses,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "seconds": seconds,
        "peak_rss_mb": peak_rss_mb(),
    }
    return pd.Series(scores, dtype=object)


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
    return {"held_out_loss_silent": silent, "held_out_loss_constant_rate": float(np.mean(constant))}


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


def _notes(
    counts: Tensor, windows: WindowedCounts, model: TrainableModel, loss: SpikeLoss, resets: bool
) -> Iterator[str]:
    if resets:
        yield (
            "trained on recorded history alone, resets included; in free run spikes are drawn with the probabilities "
            "that were trained, instead of crossing a sharp threshold under background noise"
        )
    elif loss.reads == "logits" and not isinstance(model, EscapeNoiseLIF):
        yield "training shaped probabilities of spikes; in free run the network spikes at a hard threshold"
    yield (
        "no network without couplings was trained: heldout_bits_per_spike_uncoupled is what each unit's own history "
        "predicts, by the baseline of the likelihood fit"
    )
    yield "edges is empty: the weights of a network trained by gradient are no estimates of connections"
    total, kept = int(counts.sum()), int(windows.counts.sum())
    yield (
        f"trained on the first {windows.n_train} of {len(counts)} bins, scored on {len(windows.held_out_starts)} "
        f"windows of {windows.length} bins after them"
    )
    if total > kept:
        yield f"{total - kept} of {total} spikes share a bin with another of their unit and were left out of training"
    if not windows.observed.all():
        yield f"{int((~windows.observed).sum())} bins were not fully observed; no window touches them"
