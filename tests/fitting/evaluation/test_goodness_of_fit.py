"""Calibration, pseudo-R2 and rescaled intervals, on counts drawn from known probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from organoid.fitting.evaluation.goodness_of_fit import (
    Goodness,
    GoodnessMeter,
    calibration_bands,
    calibration_slope,
    ks_distance,
)
from organoid.fitting.evaluation.time_rescaling import GRID, rescale
from organoid.models.rng import stream_key

CAPACITY = np.array([1, 1, 2, 1, 3])
N_BINS = 40_000


def probabilities(seed: int) -> np.ndarray:
    """Probability of each trial, swinging with a common signal and with one of each unit's own."""
    rng = np.random.default_rng(seed)
    common = np.convolve(rng.normal(size=N_BINS), np.ones(50), "same")[:, None] / 5
    own = rng.normal(0, 0.5, (N_BINS, CAPACITY.size))
    return 1 / (1 + np.exp(-(common + own + np.array([-4.0, -4.5, -4.0, -5.0, -4.5]))))


def measured(counts: np.ndarray, mu: np.ndarray, capacity: np.ndarray = CAPACITY, chunk: int = 8192) -> Goodness:
    observed = np.ones(len(counts), dtype=bool)
    observed[1000:1400] = False
    meter = GoodnessMeter(np.maximum(counts.mean(0), 1e-6), capacity)
    for a in range(0, len(counts), chunk):
        meter.add(counts[a : a + chunk], mu[a : a + chunk], observed[a : a + chunk])
    return meter.result()


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    p = probabilities(1)
    return np.random.default_rng(2).binomial(CAPACITY, p), CAPACITY * p


def p_value(found: Goodness, curve: str) -> float:
    rows = found.curves[found.curves["curve"] == curve]
    return float(stats.kstwo.sf(found.scores[f"ks_{curve}"], int(rows["n"].iloc[0])))


def test_the_true_model_passes_everything(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    found = measured(*drawn)
    assert found.scores["calibration_slope"] == pytest.approx(1, abs=0.05)
    assert found.scores["expected_ratio"] == pytest.approx(1, abs=0.03)
    for curve in ("units", "population", "identity"):
        assert p_value(found, curve) > 1e-3
    assert found.per_unit["ks_p"].min() > 1e-3 and found.per_unit["ks_p"].max() < 1
    np.testing.assert_allclose(found.per_unit["calibration_slope"], 1, atol=0.15)


def test_curves_hold_what_they_say(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    counts, mu = drawn
    curves = measured(counts, mu).curves
    bands = curves[curves["curve"] == "calibration"]
    seen = np.r_[0:1000, 1400:N_BINS]
    assert bands["n"].sum() == seen.size * CAPACITY.size
    assert (bands["x"] * bands["n"]).sum() == pytest.approx(mu[seen].sum())
    assert (bands["y"] * bands["n"]).sum() == pytest.approx(counts[seen].sum())
    expected = bands["x"] * bands["n"]
    assert expected.max() < 2 * expected.min(), "bands expect about equally many spikes"
    units = curves[curves["curve"] == "units"]
    assert units["n"].iloc[0] == counts[seen].sum() and units["y"].iloc[-1] == 1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_predictions_have_the_inverse_slope(drawn: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    found = measured(drawn[0], drawn[1] * factor, 5 * CAPACITY)
    assert found.scores["calibration_slope"] == pytest.approx(1 / factor, rel=0.06)
    assert found.scores["expected_ratio"] == pytest.approx(factor, rel=0.03)
    assert found.scores["ks_units"] > 0.1


def test_pseudo_r2_is_mcfaddens(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    counts, mu = drawn
    found = measured(counts, mu)
    seen = np.r_[0:1000, 1400:N_BINS]
    full = stats.poisson.logpmf(counts[seen], mu[seen]).sum(0)
    null = stats.poisson.logpmf(counts[seen], np.broadcast_to(counts.mean(0), mu[seen].shape)).sum(0)
    np.testing.assert_allclose(found.per_unit["pseudo_r2"], 1 - full / null, rtol=1e-9)
    assert found.scores["pseudo_r2"] == pytest.approx(1 - full.sum() / null.sum(), rel=1e-9)


def test_units_that_fire_together_pass_alone_but_not_as_a_population() -> None:
    rng = np.random.default_rng(3)
    together = rng.uniform(size=N_BINS) < 0.02
    counts = np.repeat(together[:, None], 5, axis=1).astype(np.int64)
    one = np.ones(5, dtype=np.int64)
    found = measured(counts, np.full(counts.shape, 0.02), one)
    assert found.per_unit["ks_p"].min() > 1e-3
    assert found.scores["ks_population"] > 0.5 and p_value(found, "population") < 1e-9


def test_who_fires_is_tested() -> None:
    """Total activity right, shares of two units swapped: intervals of any unit pass, identity does not."""
    rng = np.random.default_rng(4)
    p = np.tile([0.02, 0.002], (N_BINS, 1))
    one = np.ones(2, dtype=np.int64)
    found = measured(rng.binomial(1, p), p[:, ::-1], one)
    assert p_value(found, "population") > 1e-3
    assert found.scores["ks_identity"] > 0.5


def test_result_does_not_depend_on_the_chunks(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = (measured(*drawn, chunk=chunk) for chunk in (N_BINS, 777))
    np.testing.assert_allclose(one.per_unit, other.per_unit, rtol=1e-9)
    np.testing.assert_allclose(one.curves[["x", "y", "n"]], other.curves[["x", "y", "n"]], rtol=1e-9)


def test_rescaled_values_by_hand() -> None:
    """One unit, one trial a bin: between the bounds that an unknown uniform number leaves."""
    p, counts = np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]), np.array([[0], [1], [0], [0], [1]])
    out = np.zeros((3, GRID))
    observed, one = np.ones(5, dtype=bool), np.ones(1, dtype=np.int64)
    waiting = np.zeros(2)
    rescale(counts, p, observed, one, waiting, out, stream_key(0, "test"), 0)
    low = np.array([1 - 0.9, 1 - 0.7 * 0.6])
    high = np.array([1 - 0.9 * 0.8, 1 - 0.7 * 0.6 * 0.5])
    for histogram in (out[0], out[1]):
        values = np.sort((np.flatnonzero(histogram) + 0.5) / GRID)
        assert np.all(values > low - 1e-3) and np.all(values < high + 1e-3)
    assert out[2].sum() == 2 and not waiting.any()


def test_units_without_spikes_are_undefined() -> None:
    counts = np.zeros((500, 2), dtype=np.int64)
    counts[::10, 0] = 1
    found = measured(counts, np.full(counts.shape, 0.1), np.ones(2, dtype=np.int64))
    assert np.isnan(found.per_unit.loc[1, ["bits_per_spike", "pseudo_r2", "expected_ratio", "ks"]].astype(float)).all()
    assert np.isfinite(found.scores["pseudo_r2"])
    empty = measured(np.zeros((500, 2), dtype=np.int64), np.full((500, 2), 0.1), np.ones(2, dtype=np.int64))
    assert all(np.isnan(empty.scores[name]) for name in ("bits_per_spike", "ks_units", "ks_identity"))


def test_ks_distance_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).beta(1.2, 1.0, 500)
    histogram = np.bincount((values * GRID).astype(int), minlength=GRID).astype(float)
    distance, p = ks_distance(histogram)
    reference = stats.kstest(values, "uniform")
    assert distance == pytest.approx(reference.statistic, abs=2 / GRID)
    assert p == pytest.approx(reference.pvalue, rel=0.2)


def test_one_band_has_no_slope() -> None:
    bands = calibration_bands(np.array([100.0]), np.array([5.0]), np.array([4.0]))
    assert np.isnan(calibration_slope(bands)) and bands["x"].tolist() == [0.05]
