"""Fitting by gradient: it learns, it beats its controls on spikes it never saw, and it is honest about what it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.windows import WindowedCounts, observed_counts, split_windows
from organoid.fitting.gradient import prediction as gradient_scores
from organoid.fitting.methods.gradient import GradientFit, GradientSettings, fit_gradient
from organoid.losses import Rate, VanRossum
from organoid.models import LIF
from organoid.recording import SpikeRecording

BIN = 0.004
SHORT = GradientSettings(n_steps=30, batch=24, window=0.4, warmup=0.2, free_run=False)
SAMPLE = Path(__file__).parents[3] / "sample_data" / "bursting_culture.h5"


def bursting_culture(n_units: int = 12, duration: float = 60.0, seed: int = 0) -> SpikeRecording:
    """Bursts at irregular times; each unit has its own rate and its own latency in all of them."""
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.uniform(0.6, 1.8, int(duration)))
    latency, rate = rng.uniform(0.0, 0.08, n_units), rng.uniform(5.0, 90.0, n_units)
    times, units = [], []
    for unit in range(n_units):
        spikes = [rng.uniform(0, duration, rng.poisson(0.3 * duration))]
        for onset in onsets[onsets < duration - 0.4]:
            begin = onset + latency[unit]
            spikes.append(rng.uniform(begin, begin + 0.25, rng.poisson(0.25 * rate[unit])))
        times.append(np.concatenate(spikes))
        units.append(np.full(times[-1].size, unit))
    return SpikeRecording(np.concatenate(times), np.concatenate(units), n_units=n_units, t_start=0, t_stop=duration)


@pytest.fixture(scope="module")
def culture() -> SpikeRecording:
    return bursting_culture()


def quick(data: Any, **options: Any) -> GradientFit:
    return fit_gradient(data, **{"bin_width": BIN, "settings": SHORT, "progress": False, **options})


def parameters(fit: GradientFit) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in fit.model.parameters()]


# It learns


@pytest.mark.parametrize("model", ["lif", "adaptive_lif"])
@pytest.mark.parametrize("loss", ["van_rossum", "rate", "likelihood"])
@pytest.mark.slow
def test_models_learn_and_beat_their_baselines(culture: SpikeRecording, model: str, loss: str) -> None:
    fit = quick(culture, model=model, loss=loss)
    held_out = fit.curve.held_out_loss.dropna()
    assert held_out.iloc[-1] < 0.8 * held_out.iloc[0]
    assert fit.curve.loss.dropna().size == SHORT.n_steps
    assert fit.held_out["fitted"] < fit.held_out["silent"]
    assert fit.held_out["fitted"] < fit.held_out["constant_rate"]
    assert np.isnan(fit.held_out["shuffled"])


def test_it_beats_the_network_trained_on_the_wrong_units(culture: SpikeRecording) -> None:
    held_out = quick(culture, compare=True).held_out
    assert held_out["fitted"] < held_out[["silent", "constant_rate", "shuffled"]].min()


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample culture has not been generated")
def test_on_the_sample_culture_it_beats_every_control() -> None:
    from organoid import read_recording

    held_out = fit_gradient(read_recording(SAMPLE), compare=True, progress=False).held_out
    assert held_out["fitted"] < 0.9 * held_out[["silent", "constant_rate", "shuffled"]].min()


def test_predictions_have_the_shape_and_rate_promised(culture: SpikeRecording) -> None:
    fit = quick(culture)
    counts = culture.counts(BIN)
    expected = fit.predict(counts)
    assert expected.shape == counts.shape
    assert expected.min() > 0
    assert 0.5 < expected.sum() / counts.sum() < 1.5
    np.testing.assert_array_equal(expected, fit.predict(culture))


def test_predictions_of_a_likelihood_fit_are_probabilities(culture: SpikeRecording) -> None:
    counts = np.minimum(culture.counts(BIN), 1)
    settings = GradientSettings(n_steps=80, batch=24, free_run=False)
    expected = quick(culture, loss="likelihood", settings=settings).predict(counts)
    assert expected.min() > 0
    assert expected.max() < 1
    assert 0.7 < expected.sum() / counts.sum() < 1.3


def test_runs_in_pieces_are_runs(culture: SpikeRecording, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without noise the cut of the pieces must not show.
    model = LIF(culture.n_units, BIN)
    with torch.no_grad():
        model.log_noise.fill_(-50.0)
        model.bias.fill_(1.3)
    fit, counts = quick(culture, model=model, settings=replace(SHORT, learning_rate=1e-6)), culture.counts(BIN)[:500]
    whole = fit.predict(counts)
    monkeypatch.setattr(gradient_scores, "_CHUNK", 37)
    np.testing.assert_allclose(
        fit.predict(counts), whole, rtol=1e-12
    )  # prediction carried over the cut, rounded once more
    assert np.ptp(whole) > 0


# It is honest


def test_held_out_spikes_leave_no_mark_on_the_parameters(culture: SpikeRecording) -> None:
    counts = culture.counts(BIN)
    replaced = counts.copy()
    n_train = int(len(counts) * 0.8)
    replaced[n_train:] = np.random.default_rng(1).random(replaced[n_train:].shape) < 0.3
    a, b = quick(counts), quick(replaced)
    assert parameters(a) == parameters(b)
    assert a.network is not None and b.network is not None
    assert a.network.describe() == b.network.describe()
    assert a.settings == b.settings
    assert a.per_unit.training_mean_count.equals(b.per_unit.training_mean_count)
    np.testing.assert_array_equal(a.predict(counts), b.predict(counts))
    assert a.held_out["fitted"] != b.held_out["fitted"]
    assert a.scores["heldout_bits_per_spike"] != b.scores["heldout_bits_per_spike"]


def test_a_prediction_uses_earlier_bins_only(culture: SpikeRecording) -> None:
    fit, counts = quick(culture), culture.counts(BIN)[:1000]
    changed = counts.copy()
    changed[600:] = 1
    a, b = fit.predict(counts), fit.predict(changed)
    np.testing.assert_array_equal(a[:601], b[:601])
    assert (a[601:] != b[601:]).any()


def test_same_seed_same_bytes_whatever_the_threads(culture: SpikeRecording) -> None:
    before, fits = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            fits.append(quick(culture, seed=4, compare=True))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert parameters(fits[0]) == parameters(fits[1])
    assert fits[0].held_out.equals(fits[1].held_out)
    assert parameters(fits[0]) != parameters(quick(culture, seed=5))


def test_baselines_are_what_they_say(culture: SpikeRecording) -> None:
    fit = quick(culture, loss="rate")
    counts = np.minimum(culture.counts(BIN), 1)
    n_train, length = int(len(counts) * 0.8), round(SHORT.window / BIN)
    tested = counts[n_train:][: (len(counts) - n_train) // length * length]
    rates = tested.reshape(-1, length, culture.n_units).sum(1) / (length * BIN)
    assert fit.held_out["silent"] == pytest.approx((rates**2).mean(), rel=1e-5)
    p = counts[:n_train].mean(0)
    # Independent draws at rate p/BIN: squared bias plus the variance of a binomial count.
    expected = ((rates - p / BIN) ** 2).mean() + (length * p * (1 - p)).mean() / (length * BIN) ** 2
    assert fit.held_out["constant_rate"] == pytest.approx(expected, rel=0.05)


def test_a_silent_network_has_no_likelihood(culture: SpikeRecording) -> None:
    assert quick(culture, loss="likelihood").held_out["silent"] == np.inf


@pytest.mark.slow
def test_clipped_spikes_are_noted(culture: SpikeRecording) -> None:
    counts = np.minimum(culture.counts(BIN), 1)
    assert not any("share a bin" in note for note in quick(counts).notes)
    doubled = counts.copy()
    doubled[np.unravel_index(counts.argmax(), counts.shape)] = 3
    fit = quick(doubled)
    assert any(note.startswith("2 of ") for note in fit.notes)
    assert parameters(fit) == parameters(quick(counts))


def test_a_model_given_is_copied_not_changed(culture: SpikeRecording) -> None:
    model = LIF(culture.n_units, BIN, seed=2)
    before = [p.detach().clone() for p in model.parameters()]
    fit = quick(culture, model=model, loss=VanRossum(BIN, tau=0.05))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before))
    assert fit.model is not model
    assert fit.loss == VanRossum(BIN, tau=0.05)


def test_one_unit_has_no_shuffled_control() -> None:
    held_out = quick(bursting_culture(1), compare=True).held_out
    assert np.isnan(held_out["shuffled"])
    assert np.isfinite(held_out["fitted"])


def test_no_bar_without_a_terminal(culture: SpikeRecording, capsys: pytest.CaptureFixture[str]) -> None:
    quick(culture, progress=True)
    assert capsys.readouterr() == ("", "")


# Windows


@given(
    n_bins=st.integers(1, 60),
    holes=st.sets(st.integers(0, 59), max_size=4),
    n_train=st.integers(0, 60),
    warmup=st.integers(1, 5),
    length=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_windows_are_those_of_a_plain_search(
    n_bins: int, holes: set[int], n_train: int, warmup: int, length: int
) -> None:
    observed = np.array([k not in holes for k in range(n_bins)])
    n_train = min(n_train, n_bins)
    windows = WindowedCounts(torch.zeros(n_bins, 2, dtype=torch.uint8), observed, n_train, warmup, length)

    def clean(start: int) -> bool:
        return start >= warmup and start + length <= n_bins and observed[start - warmup : start + length].all()

    training = [s for s in range(n_train - length + 1) if clean(s)]
    held_out = [s for s in range(max(n_train, warmup), n_bins, length) if clean(s)]
    assert windows.training_starts.tolist() == training
    assert windows.held_out_starts.tolist() == held_out


def test_windows_hold_history_and_window() -> None:
    counts = torch.arange(20, dtype=torch.uint8)[:, None]
    windows = split_windows(counts, np.ones(20, dtype=bool), held_out=0.5, warmup=2, length=3)
    assert windows.cut(torch.tensor([5, 9]))[..., 0].tolist() == [[3, 4, 5, 6, 7], [7, 8, 9, 10, 11]]
    assert windows.training_probability().tolist() == pytest.approx([4.5])


def test_unobserved_time_is_left_out() -> None:
    whole = bursting_culture()
    rec = SpikeRecording(
        whole.spike_times,
        whole.spike_units,
        n_units=whole.n_units,
        t_start=0,
        t_stop=60.0,
        observed=[[0.0, 20.0], [25.0, 60.0]],
    )
    _, observed = observed_counts(rec, BIN)
    assert (~observed).sum() == 1250
    assert any("not fully observed" in note for note in quick(rec).notes)


# Refusals


def two_wells() -> SpikeRecording:
    import pandas as pd

    units = pd.DataFrame({"name": ["a", "b"], "well": ["A1", "B2"]})
    return SpikeRecording([0.1, 0.2], [0, 1], units=units, t_stop=10.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quick(np.zeros((3000, 2), dtype=int)), "no spike"),
        (lambda: quick(np.ones((100, 2), dtype=int)), "no observed window"),
        (lambda: quick(np.ones((3000, 2))), "whole numbers"),
        (lambda: quick(np.full((3000, 2), -1)), "between 0 and 255"),
        (lambda: quick(np.ones(3000, dtype=int)), "whole numbers"),
        (lambda: quick(two_wells()), "A1"),
        (lambda: quick(bursting_culture(), model="nothing"), "adaptive_lif, .*lif"),
        (lambda: quick(bursting_culture(), loss="nothing"), "van_rossum"),
        (lambda: quick(bursting_culture(), model=LIF(3, BIN)), "must agree"),
        (lambda: quick(bursting_culture(), model=LIF(12, 2 * BIN)), "must agree"),
        (lambda: quick(bursting_culture(), loss=Rate(0.1)), "bins of 0.1 s"),
        (lambda: GradientSettings(n_steps=0, free_run=False), "positive"),
        (lambda: quick(bursting_culture(), settings=GradientSettings(held_out=1.0, free_run=False)), "held_out"),
    ],
)
def test_what_cannot_be_fitted_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FitError, match=message):
        make()


def test_counts_come_through_unchanged() -> None:
    table: NDArray[np.int64] = np.array([[0, 1], [255, 3]])
    counts, observed = observed_counts(table, BIN)
    np.testing.assert_array_equal(counts.numpy(), table)
    assert observed.all()
