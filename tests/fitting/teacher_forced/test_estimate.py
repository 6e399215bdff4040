"""The sweep over recorded spikes against a dense reference, and whole fits of made-up recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import escape_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_recordings import real_recording
from synthetic_recordings import another_end, bursting, changed, known_network, poisson, recorded

import organoid
from organoid import SpikeRecording
from organoid.fitting import FitResult
from organoid.fitting.connectivity.inference import infer_edges
from organoid.fitting.connectivity.nulls import benjamini_hochberg, empirical_null_q
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.teacher_forced.features import Basis, choose_control_bins, forced_features, sample_forced
from organoid.fitting.teacher_forced.population import fit_fields
from organoid.fitting.teacher_forced.prediction import bits_per_spike
from organoid.fitting.teacher_forced.regions import Regions
from organoid.models.spike_response.terms.population import no_fields

TAU = np.array([0.002, 0.008, 0.04])
BIN = 1e-3


def small_history(seed: int, n_bins: int = 600, n_units: int = 4, n_spikes: int = 400) -> History:
    """Bunched spikes, several of a unit in one bin, a silent unit, holes (with spikes in them)."""
    rng = np.random.default_rng(seed)
    bins = np.sort(np.minimum(rng.integers(0, n_bins, n_spikes) // 3 * 3, n_bins - 1))
    units = rng.integers(0, n_units - 1, n_spikes)
    observed = np.ones(n_bins, dtype=bool)
    for start in rng.integers(0, n_bins - 40, 3):
        observed[start : start + 40] = False
    return History(bins, units, n_bins, n_units, BIN, observed)


def test_small_history_has_what_it_should() -> None:
    history = small_history(0)
    counts = history.counts(0, history.n_bins)
    assert counts.max() > 1 and counts[:, -1].sum() == 0 and counts[~history.observed].sum() > 0


def basis_of(history: History, kind: str) -> Basis:
    if kind == "none":
        return Basis(TAU, 3.0, no_fields())
    if kind == "local":
        home = np.arange(history.n_units) % 2
        regions = Regions(home, np.array([0.01, 0.2]), np.ones((2, history.n_units), dtype=bool))
        return Basis(TAU, 3.0, fit_fields(history, np.array([0.003, 0.03, 0.3]), products=2, regions=regions))
    return Basis(TAU, 3.0, fit_fields(history, np.array([0.003, 0.03, 0.3]), products=3 if kind == "products" else 0))


def dense_rows(history: History, basis: Basis) -> np.ndarray:
    counts = history.counts(0, history.n_bins)
    return oracle.forced_rows(counts, basis.tau, basis.saturation, basis.fields, history.bin_width)


# --- fields -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_fields_are_standardised_over_observed_bins(seed: int) -> None:
    history = small_history(seed)
    fields = basis_of(history, "products").fields
    population = np.bincount(history.bins, minlength=history.n_bins)
    np.testing.assert_allclose(fields.mean, population.mean() / (1 - fields.decay))
    q, logs = fields.mean.copy(), []
    for n in population:
        logs.append(np.log(1 + 4 * q / fields.mean))
        q = q * fields.decay + n
    seen = np.array(logs)[history.observed]
    np.testing.assert_allclose(fields.shift, seen.mean(0), rtol=1e-9)
    np.testing.assert_allclose(fields.scale, seen.std(0), rtol=1e-7)
    np.testing.assert_allclose(fields.low * fields.scale + fields.shift, seen.min(0), rtol=1e-9)
    np.testing.assert_allclose(fields.high * fields.scale + fields.shift, seen.max(0), rtol=1e-9)
    z = (seen - seen.mean(0)) / seen.std(0)
    products = np.array([[row[a] * row[b] for a in range(3) for b in range(a, 3)] for row in z])
    np.testing.assert_allclose(fields.product_shift, products.mean(0), atol=1e-9)
    np.testing.assert_allclose(fields.product_scale, products.std(0), rtol=1e-7)


def test_fields_of_a_region_are_those_of_its_units_alone() -> None:
    history = small_history(1)
    fields = basis_of(history, "local").fields
    assert fields.region.tolist() == [0, 0, 1, 1] and fields.n_whole == 3
    whole = basis_of(history, "linear").fields
    for name in ("decay", "mean", "shift", "scale", "low", "high"):
        np.testing.assert_array_equal(getattr(fields, name)[:3], getattr(whole, name))
    for region in (0, 1):
        own = history.units % 2 == region
        alone = replace(history, bins=history.bins[own], units=history.units[own])
        expected = fit_fields(alone, np.array([0.01, 0.2]), products=0)
        for name in ("decay", "mean", "shift", "scale", "low", "high"):
            np.testing.assert_allclose(getattr(fields, name)[3 + 2 * region :][:2], getattr(expected, name), rtol=1e-9)


# --- rows and spike term ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "linear", "products", "local"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_and_spike_term_equal_dense_loops(seed: int, kind: str) -> None:
    history = small_history(seed)
    basis = basis_of(history, kind)
    n_blocks = 4
    sample = sample_forced(history, basis, 10_000, n_blocks, np.random.default_rng(0))
    rows, counts = dense_rows(history, basis), history.counts(0, history.n_bins)
    seen = np.flatnonzero(history.observed)
    assert np.array_equal(sample.weights, np.ones(seen.size))
    np.testing.assert_allclose(sample.rows, rows[seen], rtol=2e-6, atol=1e-6)
    edges = [0, 150, 300, 450, 600]
    for b in range(n_blocks):
        inside = seen[(seen >= edges[b]) & (seen < edges[b + 1])]
        expected = rows[inside].T @ counts[inside]
        np.testing.assert_allclose(sample.spike_term[b], expected, rtol=1e-9, atol=1e-9)
        assert sample.n_observed[b] == inside.size == np.sum(sample.blocks == b)
    assert sample.spike_term[:, :, -1].any() == np.False_, "the silent unit has no spike term"


def test_part_of_the_blocks() -> None:
    history = small_history(1)
    sample = sample_forced(history, basis_of(history, "linear"), 10_000, 5, np.random.default_rng(0))
    keep = np.array([True, False, True, True, False])
    part = sample.part(keep)
    assert np.array_equal(part.spike_term, sample.spike_term[[0, 2, 3]])
    assert len(part.rows) == part.weights.size == part.n_observed.sum()
    assert np.array_equal(part.rows, sample.rows[np.isin(sample.blocks, [0, 2, 3])])


@settings(max_examples=20)
@given(start=st.integers(0, 599), length=st.integers(0, 300), chunk=st.integers(1, 700))
def test_features_do_not_depend_on_the_chunks(start: int, length: int, chunk: int) -> None:
    history = small_history(2)
    basis = basis_of(history, "products")
    stop = min(start + length, 600)
    got = list(forced_features(history, basis, start, stop, chunk))
    whole = list(forced_features(history, basis, 0, 600))
    assert len(whole) == 1 and whole[0][0] == 0
    parts = [rows for _, rows in got]
    assert [first for first, _ in got] == list(range(start, stop, chunk))
    joined = np.concatenate(parts) if parts else np.empty((0, whole[0][1].shape[1]), np.float32)
    assert np.array_equal(joined, whole[0][1][start:stop])


def test_features_equal_dense_loops() -> None:
    history = small_history(3)
    basis = basis_of(history, "products")
    rows = np.concatenate([rows for _, rows in forced_features(history, basis, 0, 600, 100)])
    np.testing.assert_allclose(rows, dense_rows(history, basis), rtol=2e-6, atol=1e-6)


# --- control bins -------------------------------------------------------------------------------------------------


def test_control_bins_lie_in_observed_time_and_stand_for_all_of_it() -> None:
    history = small_history(4, n_bins=20_000, n_spikes=1500)
    sums = []
    for seed in range(60):
        bins, weights = choose_control_bins(history, 2000, np.random.default_rng(seed))
        assert np.all(np.diff(bins) > 0) and history.observed[bins].all()
        assert weights.min() >= 1 - 1e-9 and 1700 < bins.size <= 2001
        sums.append(weights.sum())
    assert np.mean(sums) == pytest.approx(history.observed.sum(), rel=2e-3)
    assert np.std(sums) < 0.02 * history.observed.sum()


@pytest.mark.parametrize("what", ["activity", "index", "early"])
def test_control_bins_estimate_sums_without_bias(what: str) -> None:
    history = small_history(5, n_bins=20_000, n_spikes=1500)
    f = {
        "activity": np.convolve(np.bincount(history.bins, minlength=20_000), np.ones(15))[:20_000] ** 2,
        "index": np.arange(20_000) / 20_000,
        "early": (np.arange(20_000) < 100).astype(float),
    }[what]
    truth = f[history.observed].sum()
    estimates = []
    for seed in range(300):
        bins, weights = choose_control_bins(history, 1000, np.random.default_rng(seed))
        estimates.append(weights @ f[bins])
    assert abs(np.mean(estimates) - truth) < 4.5 * np.std(estimates) / np.sqrt(300) + 1e-3 * truth


def test_control_bins_reach_the_end() -> None:
    """The last bins are drawn as often as their weights say."""
    history = History(np.array([3]), np.array([0]), 1000, 1, BIN, np.ones(1000, dtype=bool))
    f = (np.arange(1000) >= 990).astype(float)
    density = np.array([choose_control_bins(history, 17, np.random.default_rng(s))[1].sum() for s in range(5)])
    assert density.min() > 0
    estimates = []
    for seed in range(4000):
        bins, weights = choose_control_bins(history, 17, np.random.default_rng(seed))
        estimates.append(weights @ f[bins])
    assert abs(np.mean(estimates) - 10) < 4.5 * np.std(estimates) / np.sqrt(4000)


def test_few_bins_are_all_taken() -> None:
    history = small_history(6)
    bins, weights = choose_control_bins(history, 600, np.random.default_rng(0))
    assert np.array_equal(bins, np.flatnonzero(history.observed)) and np.all(weights == 1)


# --- whole fits ---------------------------------------------------------------------------------------------------


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


def leaves(value: object) -> list[bytes]:
    """Every array and number of parameters, those of nested terms included, as bytes."""
    return [x for part in value for x in leaves(part)] if isinstance(value, tuple) else [np.asarray(value).tobytes()]


def same_network(one: FitResult, other: FitResult) -> None:
    for a, b in ((one.network, other.network), (one.uncoupled, other.uncoupled)):
        assert leaves(a.parameters) == leaves(b.parameters)


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


# --- odd recordings -----------------------------------------------------------------------------------------------


def check_fit(result: FitResult, rec: SpikeRecording) -> None:
    p = result.network.parameters
    for value in (p.weights, p.bias, p.field_weights, p.ceiling, p.drive_low, p.drive_high, p.rate_limit):
        assert np.all(np.isfinite(value))
    test = rec.select(t_start=result.settings["training_stop"])
    if test.n_spikes:
        assert np.isfinite(result.scores["heldout_bits_per_spike"])
        assert np.isfinite(result.scores["heldout_bits_per_spike_uncoupled"])
    mu = result.predict(rec)
    assert np.all(np.isfinite(mu)) and mu.min() >= 0 and np.all(mu <= p.capacity)


def at(times: np.ndarray, units: np.ndarray, n_units: int, duration: float) -> SpikeRecording:
    return SpikeRecording(times, units, n_units=n_units, t_start=0.0, t_stop=duration)


def one_unit() -> SpikeRecording:
    return poisson([6.0], 30.0, 0)


def drifting() -> SpikeRecording:
    rec = poisson([10.0, 10.0, 10.0], 40.0, 1)
    keep = np.random.default_rng(0).uniform(size=rec.n_spikes) < 1 - 0.95 * rec.spike_times / 40
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def wakes_up_in_the_test_part() -> SpikeRecording:
    rec = poisson([5.0, 5.0, 5.0], 40.0, 2)
    keep = (rec.spike_units != 2) | (rec.spike_times > 33)
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def falls_silent_in_the_test_part() -> SpikeRecording:
    rec = poisson([5.0, 5.0, 5.0], 40.0, 2)
    keep = (rec.spike_units != 2) | (rec.spike_times < 31)
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def with_holes() -> SpikeRecording:
    rec = poisson([5.0, 8.0, 3.0], 40.0, 3)
    return changed(rec, observed=np.array([[0.0, 3.0], [3.5, 20.0], [28.0, 39.0]]))


def unobserved_validation_block() -> SpikeRecording:
    rec = poisson([5.0, 8.0, 3.0], 40.0, 3)
    return changed(rec, observed=np.array([[0.0, 25.0], [33.0, 40.0]]))


def identical_units() -> SpikeRecording:
    rec = poisson([8.0], 30.0, 4)
    return at(np.tile(rec.spike_times, 2), np.repeat([0, 1], rec.n_spikes), 2, 30.0)


def fires_every_millisecond() -> SpikeRecording:
    rec = poisson([5.0], 20.0, 5)
    clock = np.arange(20_000) * 1e-3 + 5e-4
    return at(np.r_[clock, rec.spike_times], np.r_[np.zeros(20_000, int), np.ones(rec.n_spikes, int)], 2, 20.0)


def several_a_bin() -> SpikeRecording:
    rec = poisson([5.0, 5.0], 30.0, 6)
    return at(np.repeat(rec.spike_times, 4), np.repeat(rec.spike_units, 4), 2, 30.0)


def one_burst() -> SpikeRecording:
    rng = np.random.default_rng(7)
    return at(5 + rng.uniform(0, 0.2, 400), rng.integers(0, 4, 400), 4, 60.0)


def eleven_seconds() -> SpikeRecording:
    return poisson([4.0, 4.0], 11.0, 8)


def odd_clock() -> SpikeRecording:
    rec = bursting(4, 40.0, 9)
    ticks = np.floor(rec.spike_times * 7702.0)
    return SpikeRecording(ticks / 7702.0, rec.spike_units, n_units=4, t_start=0.0, t_stop=40.0, sampling_rate=7702.0)


ODD = (
    one_unit,
    drifting,
    wakes_up_in_the_test_part,
    falls_silent_in_the_test_part,
    with_holes,
    unobserved_validation_block,
    identical_units,
    fires_every_millisecond,
    several_a_bin,
    one_burst,
    eleven_seconds,
    odd_clock,
)


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.slow
def test_odd_recordings_give_finite_fits(make: object) -> None:
    rec = make()  # type: ignore[operator]
    result = organoid.fit(rec, free_run=False)
    check_fit(result, rec)
    n = rec.n_units
    assert len(result.edges) == n * (n - 1) and len(result.per_unit) == n
    if make is one_unit:
        assert result.settings["chosen"] == "own history only" or result.scores["n_coupled_units"] <= 1
    if make is wakes_up_in_the_test_part:
        assert result.scores["heldout_bits_per_spike"] < 1e-9  # nothing better than constant rates can be known
        assert any("no spike in the training part" in note for note in result.notes)
    if make is falls_silent_in_the_test_part:
        assert np.isnan(result.per_unit["bits_per_spike"][2]) and np.isfinite(result.per_unit["bits_per_spike"][0])
    if make is with_holes:
        assert any("not fully observed" in note for note in result.notes)
    if make is several_a_bin:
        assert result.network.parameters.capacity.tolist() == [4, 4] or min(result.network.parameters.capacity) >= 4
    if make is one_burst:
        assert np.isnan(result.scores["heldout_bits_per_spike"])
    if make in (identical_units, fires_every_millisecond):
        assert result.scores["heldout_bits_per_spike"] > -0.05


def test_a_silent_unit_that_wakes_up_costs_what_the_formula_says() -> None:
    """Finite and the same for everybody: the floor is half a spike in the training part."""
    rec = wakes_up_in_the_test_part()
    result = organoid.fit(rec, free_run=False)
    counts, mu = rec.counts(BIN), result.predict(rec)
    mean = np.maximum(counts[:32_000].sum(0), 0.5) / 32_000
    assert mean[2] == 0.5 / 32_000
    by_hand = oracle.bits_per_spike(counts[32_000:], mu[32_000:], mean)
    assert result.scores["heldout_bits_per_spike"] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("bin_width", [0.0005, 0.005])
@pytest.mark.slow
def test_other_bin_widths(bin_width: float) -> None:
    rec = recorded(known_network(), 30.0, seed=3)
    result = organoid.fit(rec, bin_width=bin_width, free_run=False)
    check_fit(result, rec)
    assert result.bin_width == result.network.dt == bin_width
    assert result.predict(rec).shape == rec.counts(bin_width).shape


@pytest.mark.slow
def test_short_bursting_cultures_are_coupled() -> None:
    gains = []
    for seed in range(3):
        scores = organoid.fit(bursting(5, 15.0, seed), free_run=False).scores
        gains.append(scores["heldout_bits_per_spike"] - scores["heldout_bits_per_spike_uncoupled"])
    assert min(gains) > 0.1


def test_bursting_culture_gains_from_the_population() -> None:
    rec = bursting(6, 90.0, 10)
    result = organoid.fit(rec, free_run=False)
    assert result.scores["heldout_bits_per_spike"] > result.scores["heldout_bits_per_spike_uncoupled"] + 0.2
    assert result.predict(rec).sum() == pytest.approx(rec.n_spikes, rel=0.05)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_too_little_is_refused() -> None:
    with pytest.raises(organoid.FitError, match=r"9\.5 s.*10 s"):
        organoid.fit(poisson([20.0], 9.5, 0))
    with pytest.raises(organoid.FitError, match="spikes"):
        organoid.fit(poisson([0.5], 20.0, 0))
    late = poisson([50.0, 50.0], 20.0, 0)
    keep = late.spike_times > 16.0
    with pytest.raises(organoid.FitError, match="0 observed spikes"):
        organoid.fit(changed(late, times=late.spike_times[keep], units=late.spike_units[keep]))
    with pytest.raises(organoid.FitError):
        organoid.fit(SpikeRecording([], [], n_units=0, t_stop=100.0))
    with pytest.raises(organoid.FitError, match="observed"):
        organoid.fit(changed(late, observed=np.array([[0.0, 15.0]])))
    with pytest.raises(organoid.FitError, match="compare=True belongs to a fit by gradient"):
        organoid.fit(late, compare=True)


def test_spikes_nobody_could_see_are_not_enough() -> None:
    rec = poisson([9.0, 9.0], 40.0, 2)
    early = rec.spike_times < 20
    hidden = changed(rec, times=rec.spike_times[early], units=rec.spike_units[early], observed=np.array([[20.0, 40.0]]))
    with pytest.raises(organoid.FitError, match="spikes"):
        organoid.fit(hidden, free_run=False)


def test_several_wells_are_refused_by_name() -> None:
    import pandas as pd

    rec = poisson([8.0, 8.0, 8.0, 8.0], 20.0, 0)
    plate = SpikeRecording(
        rec.spike_times,
        rec.spike_units,
        t_start=0.0,
        t_stop=20.0,
        units=pd.DataFrame({"well": ["A1", "A1", "B3", "B3"]}),
    )
    with pytest.raises(organoid.RecordingError, match="A1, B3"):
        organoid.fit(plate)
    one = organoid.fit(plate, well="B3", free_run=False)
    assert one.network.n_units == 2
    same_network(one, organoid.fit(plate.select(well="B3"), free_run=False))


@pytest.mark.slow
def test_real_culture_is_predicted_no_worse_than_by_own_history() -> None:
    rec = organoid.read_recording(real_recording("carmen", "hiPSN_tc146_d21_spikes6sd.h5"))
    result = organoid.fit(rec, free_run=False)
    scores = result.scores
    assert scores["heldout_bits_per_spike"] >= scores["heldout_bits_per_spike_uncoupled"] - 0.01
    assert scores["heldout_bits_per_spike"] > 0.5
    test = slice(round(result.settings["training_stop"] / BIN) - round(rec.t_start / BIN), None)
    mu, counts = result.predict(rec)[test], rec.counts(BIN)[test]
    assert mu.sum() == pytest.approx(counts.sum(), rel=0.15)


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
