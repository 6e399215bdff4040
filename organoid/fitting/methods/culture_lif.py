"""The culture LIF path of `fit`: forced likelihood with recorded resets, contrast in free windows, scores."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from organoid.errors import FitError
from organoid.fitting.connectivity.inference import check_null
from organoid.fitting.culture_lif.columns import Columns, make_columns
from organoid.fitting.culture_lif.forced import ForcedCultureFit, fit_forced_culture
from organoid.fitting.culture_lif.free import FreeStage
from organoid.fitting.culture_lif.prediction import assess_culture
from organoid.fitting.culture_lif.selection import CultureWeights, choose_culture_weights
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.evaluation.goodness_of_fit import Goodness
from organoid.fitting.free_run.comparison import evaluate_free_runs
from organoid.fitting.free_run.recorded_range import recorded_brake
from organoid.fitting.methods.likelihood import check_enough, find_edges, training_part
from organoid.fitting.result import FitResult
from organoid.fitting.settings import CultureLIFSettings
from organoid.fitting.teacher_forced import notes as fit_notes
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.models.culture_lif.network import CultureLIFNetwork
from organoid.parallel import one_torch_thread, peak_rss_mb
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

MODEL = "culture_lif"


def fit_culture_lif(
    rec: SpikeRecording,
    *,
    model: str = MODEL,
    loss: str = "likelihood",
    settings: CultureLIFSettings | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FitResult:
    """Fit the culture LIF network to one culture; see `organoid.fit` and `CultureLIFSettings`."""
    began, options = time.perf_counter(), settings or CultureLIFSettings()
    runs = options.free_runs
    check_null(options.edge_null)
    if rec.n_units > MAX_COUPLED:
        raise FitError(f"culture_lif is fitted to at most {MAX_COUPLED} units, got {rec.n_units}; select fewer")
    history = bin_history(rec, options.bin_width)
    check_enough(rec, history)
    training = history.training()
    with tqdm(total=5, desc="fit", disable=not progress) as bar, one_torch_thread():
        columns = make_columns(training, np.random.default_rng(seed))
        forced = fit_forced_culture(training, columns, dales_law=options.dales_law)
        bar.update()
        stage = FreeStage.prepare(training, columns, forced, seed)
        predictor, alone = stage.network(forced.theta), columns.parameters(forced.uncoupled)
        coupled, own = assess_culture(history, [predictor, alone])
        bar.update()
        edges = find_edges(training, seed, options.edge_null)
        bar.update()
        weights = CultureWeights(predictor, "forced", np.nan, True, 0.0)
        if runs is not None:
            part = training_part(rec, training)
            weights = choose_culture_weights(part, stage, settings=runs, progress=progress)
        bar.update()
        network = CultureLIFNetwork(weights.parameters._replace(brake=recorded_brake(training)))
        summary: dict[str, Any] = {}
        if runs is not None:
            summary = evaluate_free_runs(network, rec, seed=seed, settings=runs, progress=progress)
        bar.update()
        free = coupled if weights.loss == 0.0 else assess_culture(history, [weights.parameters])[0]
    return FitResult(
        network=network,
        forced=CultureLIFNetwork(predictor),
        uncoupled=CultureLIFNetwork(alone),
        scores=_scores(rec, forced, (coupled, own, free), runs is not None, time.perf_counter() - began),
        free_run=summary,
        edges=edges,
        per_unit=_per_unit(rec, columns, coupled, own),
        goodness=coupled.curves,
        units=rec.units,
        electrodes=rec.electrodes,
        bin_width=options.bin_width,
        notes=tuple(_notes(rec, history, columns, forced, weights, summary, runs is not None)),
        settings={"model": model, "loss": loss, "seed": seed, **_settings(rec, training, options, forced, weights)},
    )


def _settings(
    rec: SpikeRecording,
    training: History,
    options: CultureLIFSettings,
    forced: ForcedCultureFit,
    weights: CultureWeights,
) -> dict[str, Any]:
    """Return options and choices as they are saved."""
    return {
        "bin_width": options.bin_width,
        "t_start": rec.t_start,
        "t_stop": rec.t_stop,
        "training_stop": rec.t_start + training.n_bins * options.bin_width,
        "edge_null": options.edge_null,
        "dales_law": options.dales_law,
        "converged": forced.converged,
        "free_run_weights": weights.choice,
        "free_run_loss": weights.loss,
    }


def _scores(
    rec: SpikeRecording,
    forced: ForcedCultureFit,
    found: tuple[Goodness, Goodness, Goodness],
    free_run: bool,
    seconds: float,
) -> "pd.Series[Any]":
    coupled, own, free = (goodness.scores for goodness in found)
    return pd.Series(
        {
            "heldout_bits_per_spike": coupled["bits_per_spike"],
            "heldout_bits_per_spike_uncoupled": own["bits_per_spike"],
            "heldout_bits_per_spike_free": free["bits_per_spike"] if free_run else np.nan,
            **{f"heldout_{name}": value for name, value in coupled.items()},
            "heldout_pseudo_r2_uncoupled": own["pseudo_r2"],
            "heldout_calibration_slope_uncoupled": own["calibration_slope"],
            "n_units": rec.n_units,
            "n_spikes": rec.n_spikes,
            "n_coupled_units": rec.n_units,
            "n_inhibitory_units": int((forced.signs < 0).sum()),
            "chosen": MODEL,
            "converged": forced.converged,
            "seconds": seconds,
            "peak_rss_mb": peak_rss_mb(),
        },
        dtype=object,
    )


def _per_unit(rec: SpikeRecording, columns: Columns, coupled: Goodness, own: Goodness) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": rec.units["name"],
            "rate_hz": firing_rates(rec),
            "bits_per_spike": coupled.per_unit["bits_per_spike"],
            "bits_per_spike_uncoupled": own.per_unit["bits_per_spike"],
            "coupled": np.ones(rec.n_units, dtype=bool),
            "follows": np.full(rec.n_units, "coupled"),
            "capacity": columns.template.capacity,
            **{name: coupled.per_unit[name] for name in coupled.per_unit if name != "bits_per_spike"},
        }
    )


def _notes(
    rec: SpikeRecording,
    history: History,
    columns: Columns,
    forced: ForcedCultureFit,
    weights: CultureWeights,
    summary: dict[str, Any],
    free_run: bool,
) -> Iterator[str]:
    yield fit_notes.CHOICES[weights.choice] if free_run else fit_notes.NOT_CALIBRATED
    yield from summary.get("reasons", ())
    yield from summary.get("drift", ())
    yield fit_notes.UNCALIBRATED_RESPONSE
    if history.pulses.bins.size:
        yield f"{history.pulses.bins.size} stimuli were recorded; this model takes what they evoked for its own doing"
    if forced.signs.any():
        excite = int((forced.signs > 0).sum())
        yield f"Dale's law: {excite} units excite and {rec.n_units - excite} inhibit, by the sums of outgoing weights"
    if not forced.converged:
        yield "the solver stopped before it had converged; treat weights with care"
    yield from fit_notes.of_recording(rec, history, columns.template.capacity)
    yield from rec.notes
