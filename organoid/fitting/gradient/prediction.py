"""What a model trained by gradient expects and how good that is; its free-running form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.fitting.connectivity.inference import EDGE_COLUMNS
from organoid.fitting.data.history import History
from organoid.fitting.free_run.comparison import Summary, evaluate_free_runs, highest_rate
from organoid.fitting.free_run.settings import FreeRunSettings
from organoid.fitting.teacher_forced.design import OWN_HISTORY, assemble, forced_design
from organoid.fitting.teacher_forced.model_selection import fit_alone
from organoid.fitting.teacher_forced.prediction import bits_per_spike, score_gain, training_means
from organoid.losses.base import Reads
from organoid.models import TrainableModel
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.neurons.escape_noise_lif import EscapeNoiseLIF, seeded_state
from organoid.models.recurrent import RecurrentNetwork
from organoid.models.rng import stream_key
from organoid.models.simulators.event_builder import to_event_driven
from organoid.models.simulators.event_driven import EventDrivenLIF
from organoid.models.simulators.stepwise import StepwiseSimulator, free_network
from organoid.models.states import joined
from organoid.parallel import one_torch_thread
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates
from organoid.statistics.runaway import RUNAWAY_FACTOR

Array = NDArray[np.float64]
Counts = NDArray[np.integer]

N_DRAWS = 20  # of the noise, in a prediction
_SHARES: dict[Reads, tuple[float, ...]] = {"spikes": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0), "logits": (0.0,)}
_CHUNK = 2048  # bins of a segment
_LEAD = 1.0  # s of history before a segment: what is older, cells and synapses have forgotten
_ENTRIES = 1 << 24  # of a tensor; segments run side by side up to this size, so memory does not grow with duration


def as_recording(data: SpikeRecording | Counts, bin_width: float) -> SpikeRecording:
    """Return a recording; counts, shape (bin, unit), become spikes spread evenly inside their bins."""
    if isinstance(data, SpikeRecording):
        return data
    bins, units = np.nonzero(data)
    several = np.asarray(data)[bins, units].astype(np.int64)
    rank = np.arange(several.sum()) - np.repeat(np.cumsum(several) - several, several)
    place = (rank + 1) / (np.repeat(several, several) + 1)
    times = (np.repeat(bins, several) + place) * bin_width
    return SpikeRecording(
        times, np.repeat(units, several), n_units=data.shape[1], t_start=0.0, t_stop=len(data) * bin_width
    )


def answers(
    model: TrainableModel, reads: Reads, history: History, start: int, n_draws: int, seed: int, resets: bool = False
) -> Iterator[tuple[int, Array]]:
    """Yield what a model does in the bins from `start` on, given all earlier recorded spikes, averaged over draws.

    Stretches of the history run side by side, each from rest with a second of history before it, under noise that
    depends on the segment and the seed: the answer for a bin is the same whatever part is requested.

    Parameters
    ----------
    model : TrainableModel
    reads : {"spikes", "logits"}
        Whether its spikes or its probabilities answer.
    history : History
    start : int
    n_draws, seed : int
        Of the noise.
    resets : bool
        Whether recorded spikes reset their units: then probabilities answer, and there is nothing to draw.

    Yields
    ------
    first_bin : int
    answer : ndarray, shape (n, n_units)
    """
    reads, n_draws = ("logits", 1) if resets else (reads, n_draws)
    lead = max(1, round(_LEAD / history.bin_width))
    together = max(1, _ENTRIES // (n_draws * (lead + _CHUNK) * history.n_units))
    firsts = range(start - start % _CHUNK, history.n_bins, _CHUNK)
    for group in (firsts[k : k + together] for k in range(0, len(firsts), together)):
        out = _side_by_side(model, history, group, lead, n_draws, seed, resets)
        each = torch.sigmoid(out.logits.double()) if reads == "logits" else out.spikes.double()
        means = each[:, lead:].reshape(len(group), n_draws, -1, history.n_units).mean(1).numpy()
        for first, mean in zip(group, means, strict=True):
            yield max(first, start), mean[max(start - first, 0) : history.n_bins - first]


@torch.no_grad()
def _side_by_side(
    model: Any, history: History, firsts: Sequence[int], lead: int, n_draws: int, seed: int, resets: bool
) -> Any:
    """Run the model over the segments from ``firsts`` on, the draws of each segment beside each other."""
    inputs, states, recorded = [], [], []
    for first in firsts:
        generator = torch.Generator().manual_seed(int(stream_key(seed, "answers", first)) >> 1)
        states.append(seeded_state(model, n_draws, generator))
        inputs.append(model.noise(n_draws, lead + _CHUNK, generator))
        begin, stop = max(0, first - lead), min(first + _CHUNK, history.n_bins)
        spikes = inputs[-1].new_zeros(lead + _CHUNK, history.n_units)
        spikes[begin - first + lead : stop - first + lead] = torch.from_numpy(
            np.minimum(history.counts(begin, stop), 1)
        )
        recorded.append(spikes.expand(n_draws, -1, -1))
    longest = lead + min(_CHUNK, history.n_bins - firsts[0])
    x, forced = torch.cat(inputs)[:, :longest], torch.cat(recorded)[:, :longest]
    with one_torch_thread():
        if resets:
            return model.forced_voltages(forced, None, joined(states))
        return model.trajectory(x, joined(states), forced=forced)


def mixed(answer: Array, mean: Array, share: float) -> Array:
    """Return a model's answer with a share of the training means mixed in."""
    return answer + share * (mean - answer)


@dataclass(frozen=True)
class SplitHistory(History):
    """A history whose training part is as long as `n_training`, bins.

    Parameters
    ----------
    n_training : int
    """

    n_training: int = 0

    @property
    def n_train(self) -> int:
        """Number of bins in the training part."""
        return self.n_training


class Predictions(NamedTuple):
    """How well a model predicts, and what a prediction is made of.

    Attributes
    ----------
    bits : float
        Held-out bits per spike; NaN without held-out spikes.
    per_unit : ndarray, shape (n_units,)
        The same of each unit; NaN for units without held-out spikes.
    mean : ndarray, shape (n_units,)
        Mean counts a bin in the training part.
    share : float
        Share of the mean in a prediction, chosen on the training part.
    """

    bits: float
    per_unit: Array
    mean: Array
    share: float


def score_predictions(model: TrainableModel, reads: Reads, history: History, resets: bool = False) -> Predictions:
    """Choose the share of the mean on the training part, score the held-out part.

    A hard threshold makes a model too sure of itself, and some draws without a spike do not prove that none can
    come; probabilities need no such help. The score is that of
    `organoid.fitting.teacher_forced.prediction.bits_per_spike`.
    """
    mean, shares = training_means(history), (0.0, *_SHARES[reads]) if resets else _SHARES[reads]
    gain, spikes = np.zeros((2, len(shares), history.n_units)), np.zeros(history.n_units)
    for first, answer in answers(model, reads, history, 0, N_DRAWS, 0, resets):
        bins = np.arange(first, first + len(answer))
        counts, seen = history.counts(first, first + len(answer)), history.observed[bins]
        for part, chosen in enumerate((seen & (bins < history.n_train), seen & (bins >= history.n_train))):
            for k, share in enumerate(shares):
                expected = mixed(answer[chosen], mean, share)
                gain[part, k] += score_gain(counts[chosen], expected, mean)
        spikes += counts[seen & (bins >= history.n_train)].sum(0)
    best = int(gain[0].sum(1).argmax())
    with np.errstate(invalid="ignore", divide="ignore"):
        per_unit = np.where(spikes > 0, gain[1, best] / (np.log(2) * spikes), np.nan)
        bits = float(gain[1, best].sum() / (np.log(2) * spikes.sum())) if spikes.any() else float("nan")
    return Predictions(bits, per_unit, mean, shares[best])


def free_form(
    model: TrainableModel, rate_limit: float, resets: bool = False
) -> tuple[FreeRunningNetwork | None, tuple[str, ...]]:
    """Return the free-running network, or None and why there is none.

    A model trained on recorded history alone (``resets``) spikes with the probabilities that were trained, where its
    cells and synapses have a compiled form for that; background noise is then none of its own.
    """
    try:
        if resets and isinstance(model, RecurrentNetwork):
            try:
                return _drawing(model, rate_limit), ()
            except ModelError as error:
                drawn = f"in free run spikes are not drawn with the trained probabilities: {error}"
                return free_network(model, rate_limit), (() if type(model) is EscapeNoiseLIF else (drawn,))
        return free_network(model, rate_limit), ()
    except ModelError as error:
        return None, (f"the fit can predict, not simulate: {error}",)


def _drawing(model: RecurrentNetwork[Any], rate_limit: float) -> EventDrivenLIF:
    """Return the network whose spikes are drawn with the log-odds of `RecurrentNetwork.forced_voltages`."""
    sharp = to_event_driven(model, rate_limit)
    soft = sharp.parameters._replace(noise_sd=np.zeros(model.n_units), escape_width=float(model.escape_width))
    return EventDrivenLIF(soft, sharp.rows)


def own_history_bits(history: History) -> tuple[float, Array]:
    """Return what each unit's own history predicts: held-out bits/spike, of all and of each unit.

    It is the baseline of the likelihood fit (`organoid.fitting.teacher_forced.estimate`), fitted to the training part:
    traces of the unit's own spikes and its rate, no other unit.
    """
    training = history.training()
    design = forced_design(training, np.random.default_rng(0))
    own = fit_alone(design, design.sample, OWN_HISTORY)
    return bits_per_spike(history, assemble(training, design, own))


def score_free_runs(
    network: FreeRunningNetwork | None,
    rec: SpikeRecording,
    settings: FreeRunSettings | None,
    seed: int,
    progress: bool,
) -> tuple[Summary, tuple[str, ...]]:
    """Return the free-run scores of a network (nothing for None) and what is wrong with it, in words."""
    if network is None or settings is None:
        return {}, ()
    used = replace(settings, n_runs=1) if isinstance(network, StepwiseSimulator) else settings
    summary = evaluate_free_runs(network, rec, seed=seed, settings=used, progress=progress)
    few = (
        f"free-run scores are of one run instead of {settings.n_runs}: this model has no compiled form and runs slowly"
    )
    return summary, (*summary["reasons"], *summary["drift"], *((few,) if used.n_runs < settings.n_runs else ()))


def rate_limit(training: SpikeRecording) -> float:
    """Return the population rate that counts as run away, spikes/s: far above the highest in training."""
    mean = training.n_spikes / max(training.duration, 1e-9)
    return RUNAWAY_FACTOR * float(np.nanmax([highest_rate(training), mean, 1.0]))


def no_edges() -> pd.DataFrame:
    """Return an empty table of connections, with the columns and types of a full one."""
    return pd.DataFrame(
        {name: pd.Series(dtype="int64" if name in ("pre", "post", "sign") else "float64") for name in EDGE_COLUMNS}
    )


def per_unit(rec: SpikeRecording, predicted: Predictions, own_history: Array) -> pd.DataFrame:
    """Return the table of units; see `GradientFit`."""
    return pd.DataFrame(
        {
            "name": rec.units["name"],
            "rate_hz": firing_rates(rec),
            "bits_per_spike": predicted.per_unit,
            "bits_per_spike_uncoupled": own_history,
            "coupled": np.ones(rec.n_units, dtype=bool),
            "capacity": np.ones(rec.n_units, dtype=np.int64),
            "training_mean_count": predicted.mean,
        }
    )
