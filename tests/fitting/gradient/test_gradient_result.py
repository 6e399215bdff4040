"""A fit by gradient is a fit like any other: it is scored, predicts, is saved, comes back and runs on its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from gradient_fits import TINY, ForeignModel, culture, gradient, load

import organoid
from organoid import FitError, SpikeRecording
from organoid.fitting import FitResult, FreeRunSettings, GradientFit, GradientSettings
from organoid.fitting.connectivity.inference import EDGE_COLUMNS
from organoid.fitting.free_run.comparison import SCORE_NAMES
from organoid.fitting.gradient.prediction import as_recording
from organoid.fitting.methods.gradient import fit_gradient
from organoid.losses import LOSSES, VanRossum
from organoid.models import LIF, MODELS, AdaptiveLIF, AdaptiveLIFParameters, LIFParameters
from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.simulators.event_driven import EventDrivenLIF
from organoid.models.surrogate import ArcTan

TABLES = ("edges", "per_unit", "units", "electrodes", "curve")
ENTRIES = (*TABLES, "scores", "free_run", "notes", "settings", "model", "loss")
SCORES = {
    "heldout_bits_per_spike",
    "heldout_bits_per_spike_uncoupled",
    "heldout_bits_per_spike_own_history",
    "held_out_loss",
    "held_out_loss_silent",
    "held_out_loss_constant_rate",
    "held_out_loss_shuffled",
    "n_units",
    "n_spikes",
    "seconds",
    "peak_rss_mb",
}


# --- the whole path -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "loss"), sorted({(m, "van_rossum") for m in MODELS} | {("lif", x) for x in LOSSES}))
@pytest.mark.slow
def test_every_model_and_loss_trains_is_saved_comes_back_and_runs(tmp_path: Path, model: str, loss: str) -> None:
    rec = culture(8.0)
    fitted = gradient(rec, model=model, loss=loss, bin_width=0.004)
    fitted.save(tmp_path / "fit.h5")
    back = load(tmp_path / "fit.h5")
    assert back.loss == fitted.loss
    assert set(fitted.scores.index) == SCORES
    assert np.isfinite(fitted.scores["heldout_bits_per_spike"])
    one, other = (organoid.simulate(each, 2.0, seed=3) for each in (fitted, back))
    assert one.equals(other)
    assert one.units["name"].tolist() == rec.units["name"].tolist()
    forms = {"lif": "free_lif", "adaptive_lif": "free_lif", "culture_lif": "culture_lif"}
    form = "event_lif" if loss == "likelihood" else forms.get(model, "free_model")
    assert one.metadata["network"]["model"] == form


def test_round_trip_is_exact(rec: SpikeRecording, result: GradientFit, path: Path) -> None:
    back = load(path)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(back, name), getattr(result, name), check_exact=True)
    assert (back.notes, back.settings, back.free_run) == (result.notes, result.settings, result.free_run)
    assert (back.bin_width, back.seed, back.seconds) == (result.bin_width, result.seed, result.seconds)
    assert back.held_out.equals(result.held_out)
    pd.testing.assert_series_equal(back.scores, result.scores, check_exact=True)
    assert back.network is not None and result.network is not None
    assert back.network.describe() == result.network.describe()
    for one, other in zip(result.model.parameters(), back.model.parameters(), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_array_equal(back.predict(rec), result.predict(rec))
    assert repr(back) == repr(result)
    assert "4 units" in repr(result)
    assert organoid.simulate(back, 10.0).equals(organoid.simulate(result, 10.0))


def test_infinite_and_undefined_scores_survive(rec: SpikeRecording, tmp_path: Path) -> None:
    fitted = gradient(rec, loss="likelihood")
    assert fitted.held_out["silent"] == np.inf
    fitted.save(tmp_path / "f.h5")
    back = load(tmp_path / "f.h5")
    assert back.held_out["silent"] == np.inf
    assert np.isnan(back.held_out["shuffled"])
    assert back.scores["heldout_bits_per_spike_own_history"] == fitted.scores["heldout_bits_per_spike_own_history"]
    np.testing.assert_array_equal(back.predict(rec), fitted.predict(rec))


def test_models_and_losses_with_settings_of_their_own(rec: SpikeRecording, tmp_path: Path) -> None:
    fixed = AdaptiveLIFParameters(LIFParameters(tau_syn=(0.004,), reset="subtract", delay=0.006), tau_adapt=0.1)
    model, loss = AdaptiveLIF(4, 0.002, fixed, spike=ArcTan(3.0), seed=9), VanRossum(0.002, tau=0.03)
    fitted = gradient(rec, model=model, loss=loss)
    fitted.save(tmp_path / "f.h5")
    back: Any = load(tmp_path / "f.h5")
    assert back.model.fixed == fixed
    assert back.loss == loss
    assert (back.settings["model"], back.settings["loss"]) == ("adaptive_lif", "van_rossum")
    assert organoid.simulate(back, 10.0).equals(organoid.simulate(fitted, 10.0))


def test_a_fit_by_likelihood_is_told_from_one_by_gradient(rec: SpikeRecording, tmp_path: Path) -> None:
    fitted = organoid.fit(rec, free_run=False)
    assert isinstance(fitted, FitResult)
    fitted.save(tmp_path / "f.h5")
    assert isinstance(organoid.load_fit(tmp_path / "f.h5"), FitResult)
    with h5py.File(tmp_path / "f.h5", "a") as h5:
        del h5.attrs["fit_by"]  # files of earlier versions
    assert isinstance(organoid.load_fit(tmp_path / "f.h5"), FitResult)


def test_it_drives_a_simulated_culture(result: GradientFit) -> None:
    culture = organoid.SimulatedCulture(result)
    assert culture.info.units["name"].tolist() == result.units["name"].tolist()
    culture.start(0)
    assert culture.advance(20_000).stop_frame == 20_000


def test_saving_again_replaces_the_file_and_leaves_nothing(result: GradientFit, path: Path) -> None:
    load(path).save(path)
    assert [p.name for p in path.parent.iterdir()] == ["fit.h5"]
    assert organoid.simulate(load(path), 5.0).equals(organoid.simulate(result, 5.0))


# --- predictions and scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t_start", "t_stop"), [(None, None), (10.0, 20.0), (5.0, 5.5), (29.0, None), (None, 7.001)])
def test_predictions_are_aligned_with_counts(
    rec: SpikeRecording, result: GradientFit, t_start: float | None, t_stop: float | None
) -> None:
    expected, whole = result.predict(rec, t_start, t_stop), result.predict(rec)
    assert expected.shape == rec.counts(result.bin_width, t_start, t_stop).shape
    first = 0 if t_start is None else round((t_start - rec.t_start) / result.bin_width)
    np.testing.assert_array_equal(expected, whole[first : first + len(expected)])


def test_predictions_use_earlier_bins_only(rec: SpikeRecording, result: GradientFit) -> None:
    before = rec.select(t_stop=20.0)
    n = len(before.counts(result.bin_width))
    np.testing.assert_array_equal(result.predict(rec)[:n], result.predict(before))


def test_predictions_are_seeded(rec: SpikeRecording, result: GradientFit) -> None:
    np.testing.assert_array_equal(result.predict(rec, seed=1), result.predict(rec, seed=1))
    assert not np.array_equal(result.predict(rec, seed=1), result.predict(rec))
    assert result.predict(rec, 10.0, 10.0).shape == (0, 4)


@pytest.mark.parametrize("loss", ["van_rossum", "likelihood"])
@pytest.mark.parametrize("held_out", [0.2, 0.4])
def test_bits_per_spike_are_those_of_predict(loss: str, held_out: float) -> None:
    whole = culture()
    rec = SpikeRecording(
        whole.spike_times,
        whole.spike_units,
        t_start=5.0,
        t_stop=35.0,
        observed=[[5.0, 11.0], [11.5, 30.5], [31.0, 35.0]],  # short holes: after a long one, bins carry history only
    )
    settings = GradientSettings(n_steps=10, batch=8, window=0.2, warmup=0.1, held_out=held_out, free_run=False)
    fitted = gradient(rec, loss=loss, settings=settings)
    n, mu, seen = rec.counts(0.002), fitted.predict(rec), rec.observed_bins(0.002)
    train = np.arange(len(n)) < int(len(n) * (1 - held_out))
    mean = np.maximum(n[train & seen].sum(0), 0.5) / (train & seen).sum()
    np.testing.assert_allclose(fitted.per_unit["training_mean_count"], mean, rtol=1e-12)
    tested = ~train & seen
    gain = (n * np.log(mu / mean) - (mu - mean))[tested].sum(0)
    spikes = n[tested].sum(0)
    assert fitted.scores["heldout_bits_per_spike"] == pytest.approx(gain.sum() / np.log(2) / spikes.sum(), rel=1e-9)
    np.testing.assert_allclose(fitted.per_unit["bits_per_spike"], gain / np.log(2) / spikes, rtol=1e-9)
    assert fitted.settings["training_stop"] == pytest.approx(5.0 + train.sum() * 0.002)


def test_the_share_of_the_mean_keeps_a_bad_model_from_harm(rec: SpikeRecording) -> None:
    model = LIF(4, 0.002)
    with torch.no_grad():
        model.bias.fill_(-50.0)  # never spikes
    fitted = gradient(rec, model=model)
    assert fitted.settings["share_of_mean"] == 1.0
    assert fitted.scores["heldout_bits_per_spike"] == pytest.approx(0.0, abs=1e-12)
    assert gradient(rec, loss="likelihood").settings["share_of_mean"] == 0.0


def test_scores_notes_and_tables(rec: SpikeRecording, result: GradientFit) -> None:
    assert set(result.scores.index) == SCORES
    assert result.scores["n_units"] == 4 and result.scores["n_spikes"] == rec.n_spikes
    own = result.scores["heldout_bits_per_spike_own_history"]
    assert own == result.scores["heldout_bits_per_spike_uncoupled"] and np.isfinite(own)
    assert 0 < result.seconds < 600 and result.scores["peak_rss_mb"] > 1
    assert any(note.startswith("not calibrated in free run") for note in result.notes)
    assert any("heldout_bits_per_spike_uncoupled" in note for note in result.notes)
    assert any("edges is empty" in note for note in result.notes)
    assert "made up" in result.notes
    assert tuple(result.edges.columns) == EDGE_COLUMNS and len(result.edges) == 0
    assert result.per_unit["name"].tolist() == rec.units["name"].tolist()
    assert result.units.equals(rec.units) and result.electrodes.equals(rec.electrodes)
    assert set(SCORE_NAMES) | {"runaway"} <= set(result.free_run)
    assert any("log" in note or "probabilities" in note for note in gradient(rec, loss="likelihood").notes)
    assert result.settings["training"] == dataclasses.asdict(GradientSettings(40, 4, 0.2, 0.1, 0.03))


def test_the_rate_limit_is_five_times_the_highest_rate_of_the_training_part(rec: SpikeRecording) -> None:
    highest = rec.select(t_stop=29.0).counts(2.0).sum(1).max() / 2.0
    for forced, kind in ((True, EventDrivenLIF), (False, LIFSimulator)):
        network = gradient(rec, teacher_forced=forced).network
        assert isinstance(network, kind)
        assert network.parameters.rate_limit == pytest.approx(5 * highest)


def test_free_runs_only_when_asked_for(rec: SpikeRecording) -> None:
    assert gradient(rec).free_run == {}
    assert fit_gradient(rec, settings=TINY, progress=False).free_run == {}


def test_a_slow_network_is_scored_on_one_free_run(rec: SpikeRecording) -> None:
    runs = FreeRunSettings(duration=5.0)
    slow = gradient(rec, model=ForeignModel(), loss="likelihood", free_run=runs)
    assert any("one run" in note for note in slow.notes)
    assert slow.free_run["rate_ratio_range"] == [slow.free_run["rate_ratio"]] * 2
    assert not any("one run" in note for note in gradient(rec, free_run=runs).notes)


def test_no_bar_without_a_terminal(rec: SpikeRecording, capfd: pytest.CaptureFixture[str]) -> None:
    gradient(rec, progress=True, free_run=FreeRunSettings(duration=5.0))
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_gives_the_same_file(rec: SpikeRecording, tmp_path: Path) -> None:
    said = []
    for name in ("a.h5", "b.h5"):
        gradient(rec, seed=5).save(tmp_path / name)
        back = load(tmp_path / name)
        assert back.network is not None
        said.append((back.network.describe(), back.held_out.tolist(), back.notes, back.settings))
    assert repr(said[0]) == repr(said[1])
    assert gradient(rec, seed=6).model is not None


# --- counts instead of a recording --------------------------------------------------------------------------------


def test_counts_become_a_recording_with_the_same_counts() -> None:
    counts = np.random.default_rng(0).poisson(0.5, (1000, 3))
    for bin_width in (0.002, 1 / 3000, 0.5):
        made = as_recording(counts, bin_width)
        np.testing.assert_array_equal(made.counts(bin_width), counts)


def test_a_fit_to_counts_has_everything_but_positions(rec: SpikeRecording, tmp_path: Path) -> None:
    fitted = fit_gradient(rec.counts(0.002), settings=TINY, progress=False)
    fitted.save(tmp_path / "f.h5")
    assert len(load(tmp_path / "f.h5").units) == 4
    assert organoid.simulate(fitted, 5.0).n_units == 4
    np.testing.assert_array_equal(fitted.predict(rec), gradient(rec).predict(rec))


# --- settings -----------------------------------------------------------------------------------------------------


def test_settings_by_name(rec: SpikeRecording) -> None:
    by_name = gradient(rec, settings=None, **dataclasses.asdict(TINY))
    assert by_name.settings["training"] == dataclasses.asdict(TINY)
    assert by_name.held_out.equals(gradient(rec).held_out)
    assert np.isfinite(gradient(rec, compare=True).held_out["shuffled"])
    assert gradient(rec, bin_width=0.004).bin_width == 0.004


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refit": True}, "refit"),
        ({"nonsense": 1}, "nonsense"),
        ({"model": "nothing"}, "unknown model"),
        ({"loss": "nothing"}, "unknown loss"),
        ({"settings": None, "n_steps": -1}, "positive"),
    ],
)
def test_settings_that_do_not_go_together(rec: SpikeRecording, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        gradient(rec, **options)


def test_other_units_are_refused(rec: SpikeRecording, result: GradientFit) -> None:
    with pytest.raises(FitError, match="3 units"):
        result.predict(rec.select(units=[0, 1, 2]))
