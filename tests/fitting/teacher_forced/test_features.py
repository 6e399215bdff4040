"""The pass over recorded spikes against a dense reference."""

from __future__ import annotations

from dataclasses import replace

import escape_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.features import Basis, choose_control_bins, forced_features, sample_forced
from organoid.fitting.teacher_forced.population import fit_fields
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
