"""Whole fits of synthetic recordings, and what they may not do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import escape_oracle as oracle
import numpy as np
import pytest
from fit_checks import same_network
from synthetic_recordings import another_end, changed, known_network, poisson, recorded

import organoid
from organoid import SpikeRecording
from organoid.fitting import FitResult
from organoid.fitting.connectivity.inference import infer_edges
from organoid.fitting.connectivity.nulls import benjamini_hochberg, empirical_null_q
from organoid.fitting.data.history import bin_history
from organoid.fitting.teacher_forced.prediction import bits_per_spike

BIN = 1e-3

BIN = 1e-3


@pytest.fixture(scope="module")
def truth() -> SpikeRecording:
    return recorded(known_network(), 150.0, seed=1)


@pytest.fixture(scope="module")
def fitted(truth: SpikeRecording) -> FitResult:
    return organoid.fit(truth, free_run=False)


@pytest.fixture(scope="module")
def independent() -> SpikeRecording:
    return poisson([4.0, 6.0, 2.0, 8.0, 3.0, 5.0, 1.0, 0.6], 120.0, seed=5)


@pytest.fixture(scope="module")
def fitted_independent(independent: SpikeRecording) -> FitResult:
    return organoid.fit(independent, free_run=False)


def test_nearly_as_good_as_the_true_network(truth: SpikeRecording, fitted: FitResult) -> None:
    score = fitted.scores["heldout_bits_per_spike"]
    best, _ = bits_per_spike(bin_history(truth, BIN), known_network().parameters)
    assert best > 0.3, "the recording has something to find"
    assert best - 0.05 * best < score < best + 0.01
    assert fitted.scores["heldout_bits_per_spike_uncoupled"] < score - 0.1
    assert fitted.scores["n_units"] == 8 and fitted.scores["n_spikes"] == truth.n_spikes
    assert fitted.scores["converged"] and fitted.settings["training_stop"] == pytest.approx(120.0)


def test_stored_score_is_the_score_of_the_predictions(truth: SpikeRecording, fitted: FitResult) -> None:
    counts, mu = truth.counts(BIN), fitted.predict(truth)
    mean = np.maximum(counts[:120_000].sum(0), 0.5) / 120_000
    by_hand = oracle.bits_per_spike(counts[120_000:], mu[120_000:], mean)
    assert fitted.scores["heldout_bits_per_spike"] == pytest.approx(by_hand, rel=1e-6)


def test_couplings_are_recovered(fitted: FitResult) -> None:
    p = known_network().parameters
    true = np.einsum("kji,k->ji", p.weights, p.tau)
    edges = fitted.edges
    assert len(edges) == 56 and not (edges["pre"] == edges["post"]).any()
    expected = true[edges["pre"], edges["post"]]
    assert np.corrcoef(expected, edges["weight"])[0, 1] > 0.9
    real = expected != 0
    found = (edges["q"] < 0.05).to_numpy()
    assert found[real].mean() >= 0.9, "connections this strong are found"
    assert np.sum(found & ~real) <= 2, "and few others"
    signs = edges["sign"].to_numpy()
    assert np.array_equal(signs[real & found], np.sign(expected[real & found]))
    assert np.all(signs[~found] == 0)
    slope = np.polyfit(expected[real], edges["weight"][real], 1)[0]
    assert 0.6 < slope < 1.3, "areas, not only their order"


def test_expected_counts_are_calibrated(truth: SpikeRecording, fitted: FitResult) -> None:
    mu, counts = fitted.predict(truth), truth.counts(BIN)
    assert mu.sum() == pytest.approx(counts.sum(), rel=0.02)
    test = slice(120_000, None)
    assert mu[test].sum() == pytest.approx(counts[test].sum(), rel=0.05)
    np.testing.assert_allclose(mu.sum(0), counts.sum(0), rtol=0.05)
    assert fitted.scores["heldout_calibration_slope"] == pytest.approx(1, abs=0.1)
    assert fitted.scores["heldout_expected_ratio"] == pytest.approx(mu[test].sum() / counts[test].sum(), rel=1e-6)
    order = np.argsort(mu[test], axis=None)
    for band in np.array_split(order, 5)[2:]:  # bands of predicted probability
        expected, seen = mu[test].ravel()[band].sum(), counts[test].ravel()[band].sum()
        assert abs(seen - expected) < 5 * np.sqrt(expected) + 0.05 * expected


def test_same_seed_same_fit_other_seed_nearly(truth: SpikeRecording, fitted: FitResult) -> None:
    again = organoid.fit(truth, free_run=False)
    same_network(fitted, again)
    assert again.edges.equals(fitted.edges)


def test_fit_does_not_see_the_last_fifth(truth: SpikeRecording, fitted: FitResult) -> None:
    """Every spike of the test part replaced: all parameters, choices and edges are bit-identical."""
    other = organoid.fit(another_end(truth, seed=3), free_run=False)
    same_network(fitted, other)
    assert other.edges.equals(fitted.edges)
    assert other.settings["chosen"] == fitted.settings["chosen"]
    assert other.settings["validation"] == fitted.settings["validation"]
    assert np.array_equal(other.per_unit["coupled"], fitted.per_unit["coupled"])
    assert other.scores["heldout_bits_per_spike"] < fitted.scores["heldout_bits_per_spike"] - 0.1


def test_blind_with_holes_and_an_odd_window() -> None:
    """The same with a hole in the training part, one in the test part, and 7,702 samples/s."""
    base = recorded(known_network(), 30.0, seed=2)
    ticks = np.floor(base.spike_times * 7702.0)
    holes = np.array([[0.0, 7.0003], [8.0, 25.5], [26.0, 30.0]])
    rec = SpikeRecording(
        ticks / 7702.0, base.spike_units, n_units=8, t_start=0.0, t_stop=30.0, sampling_rate=7702.0, observed=holes
    )
    one = organoid.fit(rec, free_run=False)
    for seed in (1, 2):
        other = organoid.fit(another_end(rec, seed), free_run=False)
        same_network(one, other)
        assert other.edges.equals(one.edges) and other.settings["chosen"] == one.settings["chosen"]


@pytest.mark.parametrize("shift", [1000.0, -64.0])
@pytest.mark.slow
def test_where_time_begins_does_not_matter(truth: SpikeRecording, fitted: FitResult, shift: float) -> None:
    moved = organoid.fit(changed(truth, shift=shift), free_run=False)
    same_network(fitted, moved)
    assert moved.scores["heldout_bits_per_spike"] == fitted.scores["heldout_bits_per_spike"]
    assert moved.settings["t_start"] == shift


@pytest.mark.slow
def test_refit_uses_everything_and_keeps_the_scores(truth: SpikeRecording, fitted: FitResult) -> None:
    whole = organoid.fit(truth, free_run=False, refit=True)
    for name in ("heldout_bits_per_spike", "heldout_bits_per_spike_uncoupled"):
        assert whole.scores[name] == fitted.scores[name]
    assert not np.array_equal(whole.network.parameters.bias, fitted.network.parameters.bias)
    assert any("refitted" in note for note in whole.notes)


@pytest.mark.slow
def test_no_score_of_a_refit_has_seen_the_test_part() -> None:
    rec = recorded(known_network(), 20.0, seed=4)
    fitted = organoid.fit(rec, free_run=False, refit=True)
    once = organoid.fit(rec, free_run=False)
    score = fitted.scores["heldout_bits_per_spike_free"]
    assert score is None or np.isnan(score) or score == once.scores["heldout_bits_per_spike_free"]


# --- nothing to find ----------------------------------------------------------------------------------------------


def test_independent_units_are_left_uncoupled(fitted_independent: FitResult) -> None:
    scores = fitted_independent.scores
    gap = scores["heldout_bits_per_spike"] - scores["heldout_bits_per_spike_uncoupled"]
    assert fitted_independent.settings["chosen"] == "own history only" or abs(gap) < 0.01
    assert abs(scores["heldout_bits_per_spike_uncoupled"]) < 0.01


@pytest.mark.slow
def test_short_recordings_of_independent_units_are_left_uncoupled() -> None:
    gaps = []
    for seed, duration in enumerate((11.0, 20.0, 40.0, 40.0, 40.0)):
        scores = organoid.fit(poisson([4.0, 6.0, 2.0, 8.0, 3.0, 5.0], duration, seed), free_run=False).scores
        gaps.append(scores["heldout_bits_per_spike"] - scores["heldout_bits_per_spike_uncoupled"])
    assert min(gaps) > -0.01


def test_edges_of_independent_units_are_false_discoveries() -> None:
    """Equal rates: at most 3 % of all pairs, over three cultures."""
    found = [
        (infer_edges(bin_history(poisson([5.0] * 8, 60.0, seed), BIN).training(), np.random.default_rng(0))["q"] < 0.05)
        for seed in range(3)
    ]
    assert np.mean(found) <= 0.03


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param([5.0] * 8 + [0.0] * 12, id="silent"),
        pytest.param([5.0] * 8 + [0.05] * 12, id="rare"),
        pytest.param([10.0] * 10 + [0.3] * 12, id="slow"),
    ],
)
def test_units_of_unequal_rates_make_no_edges(rates: list[float]) -> None:
    """At most 3 % of the pairs that were judged."""
    edges = infer_edges(bin_history(poisson(rates, 120.0, seed=1), BIN).training(), np.random.default_rng(0))
    assert (edges["q"] < 0.05).sum() <= 0.03 * edges["q"].notna().sum()


def test_benjamini_hochberg_by_the_book() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    expected = [min(sorted(p)[j] * 5 / (j + 1) for j in range(5) if sorted(p)[j] >= x) for x in p]
    np.testing.assert_allclose(benjamini_hochberg(p), expected)
    assert benjamini_hochberg(np.empty(0)).size == 0


def test_empirical_null_ignores_scale_and_shift() -> None:
    z = np.random.default_rng(0).normal(size=500)
    z[:5] = [8, -9, 10, 7, -8]
    q = empirical_null_q(z)
    np.testing.assert_allclose(empirical_null_q(3 * z + 1), q, atol=1e-9)
    # Student's tails with 15 degrees of freedom: a z of 7 is about as rare as 4e-6, times 500 pairs over 5 found
    assert np.all(q[:5] < 1e-3) and np.mean(q[5:] < 0.05) < 0.01
    with_gap = empirical_null_q(np.r_[z, np.nan])
    assert np.isnan(with_gap[-1])
    np.testing.assert_allclose(with_gap[:-1], q)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_refused_before_work(device: str) -> None:
    with pytest.raises(organoid.FitError, match=f"torch cannot use device '{device}' here"):
        organoid.fit(poisson([5.0, 5.0], 40.0, seed=0), device=device)


def test_a_latent_drive_of_very_many_units_is_refused_before_work() -> None:
    with pytest.raises(organoid.FitError, match="at most 400 units, got 401"):
        organoid.fit(poisson([1.0] * 401, 40.0, seed=0), latent_drive=True)


@pytest.mark.slow
def test_scales_of_columns_do_not_depend_on_the_number_of_threads() -> None:
    """Dot products of numpy add up in another order on two threads; each process may only choose once."""
    script = (
        "import hashlib, numpy as np; from organoid.fitting.teacher_forced.design import _deviation; "
        "from organoid.fitting.teacher_forced.features import ForcedSample; rng = np.random.default_rng(0); "
        "rows = rng.gamma(0.3, size=(40_000, 4)).astype(np.float32); nothing = np.empty(0); "
        "sample = ForcedSample(rows, rng.uniform(1, 9, 40_000), nothing, nothing, nothing); "
        "print(hashlib.sha256(_deviation(sample, 4).tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": n},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
