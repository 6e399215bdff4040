"""The likelihood path of `fit`: escape-noise LIF network, forced likelihood, held-out and free-run scores."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from organoid.errors import FitError
from organoid.fitting.connectivity.inference import EDGE_COLUMNS, check_null, infer_edges
from organoid.fitting.culture_lif.candidate import CultureCandidate, fit_candidate
from organoid.fitting.culture_lif.prediction import assess_culture
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.evaluation.goodness_of_fit import Goodness
from organoid.fitting.fitted_networks import FittedNetwork
from organoid.fitting.free_run.calibration import (
    FreeWeights,
    choose_free_weights,
    choose_large_weights,
    with_latent_drive,
)
from organoid.fitting.free_run.comparison import evaluate_free_runs
from organoid.fitting.free_run.latent_drive import described
from organoid.fitting.free_run.recorded_range import recorded_brake
from organoid.fitting.free_run.recorded_stimuli import with_recorded_pulses
from organoid.fitting.free_run.settings import DEFAULT
from organoid.fitting.result import FitResult
from organoid.fitting.settings import LikelihoodSettings
from organoid.fitting.teacher_forced import notes as fit_notes
from organoid.fitting.teacher_forced.added_terms import notes_of_terms, with_added_terms
from organoid.fitting.teacher_forced.coupling_basis import check_basis
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.fitting.teacher_forced.design import Design, forced_design
from organoid.fitting.teacher_forced.estimate import CONSTANT, FIELDS_ONLY, OWN, PLAIN, ForcedFit, fit_forced
from organoid.fitting.teacher_forced.prediction import assess, bits_per_spike
from organoid.fitting.teacher_forced.priors import STRUCTURES
from organoid.fitting.teacher_forced.regions import find_regions, places
from organoid.models.culture_lif.network import CultureLIFNetwork
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.parallel import one_torch_thread, peak_rss_mb
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

BIN_WIDTH = LikelihoodSettings.bin_width
MIN_TRAINING_SPIKES = 50
MIN_DURATION = 10.0  # s
CULTURE_LIF = "culture_lif"
_SIMPLER = {"fields_only": FIELDS_ONLY, "own_history": OWN, "constant_rate": CONSTANT}


def fit_likelihood(
    rec: SpikeRecording,
    *,
    model: str = "escape_lif",
    loss: str = "likelihood",
    settings: LikelihoodSettings | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FitResult:
    """Fit the escape-noise LIF network to one culture; see `organoid.fit` and `LikelihoodSettings`."""
    began, options = time.perf_counter(), settings or LikelihoodSettings()
    couplings = _checked(rec, options)
    history = bin_history(rec, options.bin_width)
    check_enough(rec, history)
    training = history.training()
    with tqdm(total=5, desc="fit", disable=not progress) as bar, one_torch_thread():
        fitted = _fitted(training, seed, couplings)
        forced = fitted.forced
        bar.update()
        coupled, alone = assess(history, [forced.parameters, forced.uncoupled], [forced.stimulus, None])
        bar.update()
        edges = find_edges(training, seed, options.edge_null)
        bar.update()
        used, seen = (_fitted(history, seed, couplings), history) if options.refit else (fitted, training)
        weights = _free_weights(rec, seen, used, options, seed, progress)
        candidate = _candidate(rec, seen, used, weights, options, seed, progress)
        bar.update()
        network: FittedNetwork
        brake = recorded_brake(seen)
        network = SpikeResponseNetwork(weights.parameters._replace(brake=brake), used.forced.stimulus)
        if candidate is not None:
            network = CultureLIFNetwork(candidate.weights.parameters._replace(brake=brake))
            weights = replace(weights, choice=CULTURE_LIF, loss=candidate.weights.loss)
        summary = _free_runs(network, rec, history, options, seed, progress)
        bar.update()
    scores = _scores(rec, history, forced, coupled, alone, time.perf_counter() - began)
    return FitResult(
        network=network,
        forced=SpikeResponseNetwork(used.forced.parameters, used.forced.stimulus),
        uncoupled=SpikeResponseNetwork(used.forced.uncoupled),
        scores=scores if options.refit else _with_free_scores(scores, history, forced, weights, candidate),
        free_run=summary,
        edges=edges,
        per_unit=_per_unit(rec, forced, coupled, alone),
        goodness=coupled.curves,
        units=rec.units,
        electrodes=rec.electrodes,
        bin_width=options.bin_width,
        notes=tuple(_notes(rec, history, forced, used.forced, weights, summary, options)),
        settings={
            "model": model,
            "loss": loss,
            "seed": seed,
            "t_start": rec.t_start,
            "t_stop": rec.t_stop,
            "training_stop": rec.t_start + training.n_bins * options.bin_width,
            **_options(options, couplings),
            **_how(forced, weights),
            **({} if candidate is None else {"culture_lif_weights": candidate.weights.choice}),
        },
    )


@dataclass(frozen=True)
class _Couplings:
    """What units are coupled through, and the prior of couplings."""

    design: dict[str, Any]
    estimate: dict[str, Any]


def _checked(rec: SpikeRecording, options: LikelihoodSettings) -> _Couplings:
    """Reject options that do not go with the recording or this machine, before any work."""
    check_null(options.edge_null)
    check_device(options.device)
    if options.latent_drive and rec.n_units > MAX_COUPLED:
        raise FitError(f"a latent drive is fitted to at most {MAX_COUPLED} units, got {rec.n_units}; select fewer")
    prior = options.coupling_prior
    return _Couplings(
        design={
            "regions": find_regions(places(rec)),
            "basis": options.basis,
            "delays": check_basis(options.basis, options.delays, options.bin_width),
            "device": options.device,
        },
        estimate={"exact": options.exact, "coupling_prior": prior, "distance": _distances(rec, prior)},
    )


def _fitted(history: History, seed: int, couplings: _Couplings) -> "_Fitted":
    """Fit on recorded history: on the training part, or again on the whole recording."""
    design = forced_design(history, np.random.default_rng(seed), **couplings.design)
    return _Fitted(design, with_added_terms(history, fit_forced(history, design, **couplings.estimate)))


def _notes(
    rec: SpikeRecording,
    history: History,
    forced: ForcedFit,
    used: ForcedFit,
    weights: FreeWeights,
    summary: dict[str, Any],
    options: LikelihoodSettings,
) -> Iterator[str]:
    yield fit_notes.NOT_CALIBRATED if options.free_runs is None else fit_notes.CHOICES[weights.choice]
    yield from summary.get("reasons", ())
    yield from summary.get("drift", ())
    yield from fit_notes.of_response(history, used)
    yield from notes_of_terms(used.parameters)
    if options.latent_drive:
        yield described(weights.parameters.latent)
    yield from fit_notes.of_fit(rec, history, forced, options.refit)


def _options(options: LikelihoodSettings, couplings: _Couplings) -> dict[str, Any]:
    """Return the options as they are saved."""
    plain = {name: value for name, value in asdict(options).items() if name != "device"}
    return plain | {"delays": list(couplings.design["delays"])}


def _how(forced: ForcedFit, weights: FreeWeights) -> dict[str, Any]:
    """Return what was chosen, and the certificate of the solver."""
    return {
        "chosen": forced.chosen,
        "validation": forced.validation,
        "gradient_norm": forced.gradient_norm,
        "sampling_error": forced.sampling_error,
        "converged": forced.converged,
        "free_run_weights": weights.choice,
        "free_run_loss": weights.loss,
    }


def _distances(rec: SpikeRecording, coupling_prior: str) -> NDArray[np.float64] | None:
    """Return the distances between units, um, where the prior needs them."""
    if coupling_prior not in (PLAIN, *STRUCTURES):
        raise FitError(f"coupling_prior={coupling_prior!r}; expected one of {', '.join((PLAIN, *STRUCTURES))}")
    if coupling_prior != "distance":
        return None
    place = places(rec)
    if not np.isfinite(place).all():
        raise FitError("coupling_prior='distance' needs the position of every unit (x_um, y_um); some are unknown")
    return np.asarray(np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)))


def find_edges(training: History, seed: int, null: str) -> pd.DataFrame:
    """Return the table of connections; empty for too many units."""
    if training.n_units > MAX_COUPLED:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in EDGE_COLUMNS})
    return infer_edges(training, np.random.default_rng(seed + 1), null=null)


@dataclass(frozen=True)
class _Fitted:
    design: Design
    forced: ForcedFit


def _free_weights(
    rec: SpikeRecording, seen: History, fitted: _Fitted, options: LikelihoodSettings, seed: int, progress: bool
) -> FreeWeights:
    """Choose the weights to simulate with from the bins that were fitted, and no others."""
    part, forced, runs = training_part(rec, seen), fitted.forced, options.free_runs
    if runs is None:
        weights = FreeWeights(forced.parameters, "forced", np.nan, 0.0)
    elif seen.n_units > MAX_COUPLED:
        weights = choose_large_weights(part, seen, fitted.design, forced, seed=seed, settings=runs)
    else:
        weights = choose_free_weights(
            part, seen, fitted.design, forced, seed=seed, device=options.device, settings=runs, progress=progress
        )
    if options.latent_drive:
        weights = with_latent_drive(weights, part, seen, forced.stimulus, seed=seed, settings=runs or DEFAULT)
    return weights


def _candidate(
    rec: SpikeRecording,
    seen: History,
    fitted: _Fitted,
    weights: FreeWeights,
    options: LikelihoodSettings,
    seed: int,
    progress: bool,
) -> CultureCandidate | None:
    """Return a culture LIF network to simulate with, where the default's weights do not pass and it is nearer."""
    runs = options.free_runs
    if runs is None or weights.passes or not runs.culture_lif:
        return None
    if options.latent_drive or fitted.forced.stimulus is not None or fitted.forced.parameters.added:  # it has none
        return None
    found = fit_candidate(training_part(rec, seen), seen, seed=seed, settings=runs, progress=progress)
    return found if found is not None and found.weights.discrepancy < weights.discrepancy else None


def _free_runs(
    network: FittedNetwork,
    rec: SpikeRecording,
    history: History,
    options: LikelihoodSettings,
    seed: int,
    progress: bool,
) -> dict[str, Any]:
    """Compare free runs, in which the recorded pulses come, with the recording."""
    if options.free_runs is None:
        return {}
    pulsed = with_recorded_pulses(network, history)
    return evaluate_free_runs(pulsed, rec, seed=seed, settings=options.free_runs, progress=progress)


def training_part(rec: SpikeRecording, seen: History) -> SpikeRecording:
    """Return the part of a recording that was fitted."""
    return rec.select(t_stop=min(rec.t_start + seen.n_bins * seen.bin_width, rec.t_stop))


def check_enough(rec: SpikeRecording, history: History) -> None:
    """Reject a recording that is too short or too silent to fit."""
    if rec.duration < MIN_DURATION:
        raise FitError(f"the recording lasts {rec.duration:g} s; a fit needs {MIN_DURATION:g} s or more")
    training = history.training()
    n_spikes = int(training.observed[training.bins].sum())
    if n_spikes < MIN_TRAINING_SPIKES:
        raise FitError(
            f"the first 80 % of the recording hold {n_spikes} observed spikes of {rec.n_units} units; "
            f"a fit needs {MIN_TRAINING_SPIKES} or more"
        )
    if not training.observed.any() or not history.observed[history.n_train :].any():
        raise FitError("nothing was observed in the first 80 % or in the last 20 % of the recording; see rec.observed")


def check_device(device: str | None) -> None:
    """Reject a device that torch cannot use here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise FitError(f"torch cannot use device {device!r} here ({reason}); leave `device` out, or 'cpu'") from error


def _scores(
    rec: SpikeRecording,
    history: History,
    forced: ForcedFit,
    coupled: Goodness,
    alone: Goodness,
    seconds: float,
) -> "pd.Series[Any]":
    return pd.Series(
        {
            "heldout_bits_per_spike": coupled.scores["bits_per_spike"],
            "heldout_bits_per_spike_uncoupled": alone.scores["bits_per_spike"],
            "heldout_bits_per_spike_free": np.nan,
            **{f"heldout_{name}": value for name, value in coupled.scores.items()},
            "heldout_pseudo_r2_uncoupled": alone.scores["pseudo_r2"],
            "heldout_calibration_slope_uncoupled": alone.scores["calibration_slope"],
            "n_units": rec.n_units,
            "n_spikes": rec.n_spikes,
            "n_coupled_units": int(forced.coupled.sum()),
            **_pulse_scores(history, forced),
            **{f"n_{name}_units": int((forced.kind == kind).sum()) for name, kind in _SIMPLER.items()},
            "chosen": forced.chosen,
            "converged": forced.converged,
            "seconds": seconds,
            "peak_rss_mb": peak_rss_mb(),
        },
        dtype=object,
    )


def _with_free_scores(
    scores: "pd.Series[Any]",
    history: History,
    forced: ForcedFit,
    weights: FreeWeights,
    candidate: CultureCandidate | None,
) -> "pd.Series[Any]":
    """Return the scores with what the network for simulation predicts; before its correction, too, if it is another."""
    if candidate is not None:
        free, before = assess_culture(history, [candidate.weights.parameters, candidate.forced])
        found = {"free": free.scores["bits_per_spike"], CULTURE_LIF: before.scores["bits_per_spike"]}
    elif weights.parameters is forced.parameters:
        found = {"free": scores["heldout_bits_per_spike"]}
    else:
        found = {"free": bits_per_spike(history, weights.parameters, forced.stimulus)[0]}
    all_scores: dict[str, Any] = {str(name): value for name, value in scores.items()}
    all_scores |= {f"heldout_bits_per_spike_{name}": value for name, value in found.items()}
    return pd.Series(all_scores, dtype=object)


def _pulse_scores(history: History, forced: ForcedFit) -> dict[str, int]:
    """Return how many pulses and electrodes the response to pulses rests on; nothing for recordings without any."""
    if not history.pulses.bins.size:
        return {}
    kernels = forced.stimulus
    return {
        "n_response_pulses": 0 if kernels is None else int(kernels.n_pulses.sum()),
        "n_response_electrodes": 0 if kernels is None else int(kernels.electrodes.size),
    }


def _per_unit(rec: SpikeRecording, forced: ForcedFit, coupled: Goodness, alone: Goodness) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": rec.units["name"],
            "rate_hz": firing_rates(rec),
            "bits_per_spike": coupled.per_unit["bits_per_spike"],
            "bits_per_spike_uncoupled": alone.per_unit["bits_per_spike"],
            "coupled": forced.coupled,
            "follows": forced.kind,
            "capacity": forced.parameters.capacity,
            **{name: coupled.per_unit[name] for name in coupled.per_unit if name != "bits_per_spike"},
        }
    )
