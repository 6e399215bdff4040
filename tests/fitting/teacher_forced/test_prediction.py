"""Predictions: causal, aligned with the counts, equal to the network's own next step, and scored by the formula."""

from __future__ import annotations

import escape_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_recordings import changed

from organoid import FitError, SpikeRecording
from organoid.fitting import FitResult
from organoid.fitting.data.history import bin_history
from organoid.fitting.teacher_forced.prediction import bits_per_spike, expected_counts, training_means
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from organoid.models.spike_response.terms.population import PopulationFields

BIN = 1e-3
N = 4


def network(seed: int = 0) -> SpikeResponseNetwork:
    """Fields with products, several spikes a bin, clipping that bites."""
    rng = np.random.default_rng(seed)
    tau = np.array([0.003, 0.03])
    return SpikeResponseNetwork(
        SpikeResponseParameters(
            dt=BIN,
            tau=np.array([0.002, 0.02]),
            saturation=3.0,
            weights=rng.normal(0, 1.0, (2, N, N)),
            bias=rng.normal(-3.0, 0.3, N),
            capacity=np.array([1, 2, 3, 1]),
            fields=PopulationFields(
                decay=np.exp(-BIN / tau),
                mean=np.array([0.6, 6.0]),
                shift=np.array([1.0, 1.4]),
                scale=np.array([0.8, 0.5]),
                low=np.array([-1.2, -1.5]),
                high=np.array([1.5, 1.2]),
                product_shift=np.array([0.5, 0.2, 0.4]),
                product_scale=np.array([0.9, 0.8, 0.7]),
            ),
            field_weights=rng.normal(0, 0.3, (5, N)),
            drive_low=np.full(N, -1.5),
            drive_high=np.full(N, 1.5),
            ceiling=np.full(N, 1.0),
            rate_limit=np.inf,
        )
    )


def result_of(net: SpikeResponseNetwork) -> FitResult:
    """A result around a network: `forced` is the one that predicts."""
    import pandas as pd

    table = pd.DataFrame()
    return FitResult(
        network=network(99),
        forced=net,
        uncoupled=network(98),
        scores=pd.Series(dtype=object),
        free_run={},
        edges=table,
        per_unit=table,
        units=table,
        electrodes=table,
        bin_width=net.dt,
        notes=(),
        settings={},
    )


def recording(seed: int = 0, duration: float = 4.0, t_start: float = 0.0, rate: float | None = None) -> SpikeRecording:
    """Spikes on exact microseconds, several in one bin, bunched."""
    rng = np.random.default_rng(seed)
    micros = np.concatenate([rng.integers(0, int(duration * 1e6), 300), np.repeat(rng.integers(0, 4000, 20), 4) * 1000])
    times = t_start + np.sort(micros) / 1e6
    if rate is not None:
        times = np.floor((times - t_start) * rate) / rate + t_start
    return SpikeRecording(
        times,
        rng.integers(0, N, times.size),
        n_units=N,
        t_start=t_start,
        t_stop=t_start + duration,
        sampling_rate=rate,
    )


def dense_prediction(net: SpikeResponseNetwork, counts: np.ndarray) -> np.ndarray:
    p = net.parameters
    return oracle.expected_counts(p, oracle.forced_rows(counts, p.tau, p.saturation, p.fields, p.dt))


@pytest.mark.parametrize("t_start", [0.0, 1000.0, -2.5])
def test_prediction_equals_dense_loops(t_start: float) -> None:
    net, rec = network(), recording(t_start=t_start)
    mu = result_of(net).predict(rec)
    counts = rec.counts(BIN)
    assert mu.shape == counts.shape and counts.max() > 1
    np.testing.assert_allclose(mu, dense_prediction(net, counts), rtol=1e-4, atol=1e-8)


@settings(max_examples=25)
@given(cut=st.integers(0, 3999), seed=st.integers(0, 10))
def test_later_spikes_move_no_earlier_prediction(cut: int, seed: int) -> None:
    net, rec = network(), recording()
    edge = cut * BIN
    kept = rec.spike_ticks < cut * 1000
    rng = np.random.default_rng(seed)
    new = edge + rng.integers(0, 4_000_000 - cut * 1000, 200) / 1e6
    other = changed(
        rec,
        times=np.concatenate([rec.spike_times[kept], new]),
        units=np.concatenate([rec.spike_units[kept], rng.integers(0, N, 200)]),
    )
    one, two = result_of(net).predict(rec), result_of(net).predict(other)
    assert np.array_equal(one[: cut + 1], two[: cut + 1]), "bin k knows only the spikes before it"
    if cut < 3900:
        assert not np.array_equal(one[cut + 1 :], two[cut + 1 :])


@pytest.mark.parametrize("t_start, t_stop", [(0.0, 4.0), (1.0, 3.0), (0.001, 3.999), (3.2, 4.0), (2.0, 2.0)])
def test_part_of_a_prediction_is_the_slice_of_the_whole(t_start: float, t_stop: float) -> None:
    net, rec = network(), recording()
    whole, part = result_of(net).predict(rec), result_of(net).predict(rec, t_start, t_stop)
    assert part.shape == rec.counts(BIN, t_start, t_stop).shape
    assert np.array_equal(part, whole[round(t_start / BIN) : round(t_stop / BIN)])


@pytest.mark.parametrize("offset", [0.0003, 1.00025, 2.0007])
def test_bins_follow_a_start_between_bins(offset: float) -> None:
    """With a start off the grid, bins shift: history is what lies before each of the shifted bins."""
    net, rec = network(), recording()
    part = result_of(net).predict(rec, offset)
    counts = rec.counts(BIN, offset)
    assert part.shape == counts.shape
    back = int(np.ceil(offset / BIN))
    wide = changed(rec)  # the same spikes in a window that begins a whole number of bins earlier
    early = SpikeRecording(
        wide.spike_times, wide.spike_units, n_units=N, t_start=min(0.0, offset - back * BIN), t_stop=4.0
    )
    dense = early.counts(BIN, offset - back * BIN)
    assert np.array_equal(dense[back : back + len(counts)], counts)
    np.testing.assert_allclose(part, dense_prediction(net, dense)[back:], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("rate", [1000.0, 10_000.0, 20_000.0])
def test_aligned_with_counts_at_whole_rates(rate: float) -> None:
    rec = recording(rate=rate)
    for t_start in (0.0, 0.5, 1.234):
        history = bin_history(rec, BIN, t_start)
        counts = rec.counts(BIN, t_start)
        assert history.n_bins == history.observed.size
        assert np.array_equal(history.counts(history.first_bin, history.n_bins), counts)


@pytest.mark.parametrize("t_start", [1.0005, 1.2345, 2.1001])
def test_aligned_with_counts_at_odd_rates(t_start: float) -> None:
    """7,702 samples/s: bins of 1 ms hold 7 or 8 samples, and which ones depends on where the bins begin."""
    rec = recording(rate=7702.0, duration=40.0)
    history = bin_history(rec, BIN, t_start)
    counts = rec.counts(BIN, t_start)
    assert np.array_equal(history.counts(history.first_bin, history.first_bin + len(counts)), counts)
    assert history.n_bins == history.observed.size == history.first_bin + len(counts)


def test_causal_at_odd_rates() -> None:
    """A spike moved within the counts of bin k and later moves no prediction of bin k or before."""
    rec, net, t_start = recording(rate=7702.0, duration=20.0), network(), 1.0005
    counts = rec.counts(BIN, t_start)
    grid = rec.bin_grid(BIN, t_start)
    whole = result_of(net).predict(rec, t_start)
    for k in np.flatnonzero(counts.sum(1))[:300:5]:
        keep = rec.spike_ticks < grid.edges()[k]
        fewer = changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])
        assert np.array_equal(result_of(net).predict(fewer, t_start, t_start + (k + 5) * BIN)[k], whole[k]), k


@pytest.mark.slow
def test_prediction_is_the_mean_of_simulated_next_steps() -> None:
    """1,000 one-step simulations from each of 40 forced states: mean and variance of the count are binomial."""
    net, rec = network(), recording()
    p, n_runs = net.parameters, 1000
    mu, counts = result_of(net).predict(rec), rec.counts(BIN)
    at = np.sort(np.random.default_rng(1).choice(np.arange(20, 4000), 40, replace=False))
    s, q = np.zeros((2, N)), p.fields.mean.copy()
    scores = []
    for t in range(4000):
        if t in at:
            drawn = np.zeros((n_runs, N))
            for seed in range(n_runs):
                done = net.advance(net.state_from_traces(s, q, 10_000 * t + seed), 1)
                drawn[seed] = np.bincount(done.units, minlength=N)
            probability = mu[t] / p.capacity
            error = np.sqrt(mu[t] * (1 - probability) / n_runs)
            scores.append((drawn.mean(0) - mu[t]) / error)
            assert np.all(drawn <= p.capacity)
        s = oracle.after_spikes(s * np.exp(-BIN / p.tau)[:, None], counts[t], p.saturation)
        q = q * p.fields.decay + counts[t].sum()
    z = np.array(scores)
    assert np.abs(z).max() < 4.5
    assert 0.7 < np.mean(z**2) < 1.35, "chi-square over 160 means"


def test_other_units_are_refused() -> None:
    rec = SpikeRecording([0.1], [0], n_units=N + 1, t_stop=1.0)
    with pytest.raises(FitError, match=r"5 units.*4"):
        result_of(network()).predict(rec)


# --- the score ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holes", [False, True])
def test_bits_per_spike_is_the_formula(holes: bool) -> None:
    net, rec = network(), recording(duration=5.0)
    if holes:
        rec = changed(rec, observed=np.array([[0.0, 1.0], [1.3, 4.2], [4.4, 5.0]]))
    history = bin_history(rec, BIN)
    pooled, per_unit = bits_per_spike(history, net.parameters)
    counts = rec.counts(BIN)
    mu = dense_prediction(net, counts)
    seen = rec.observed_bins(BIN)
    assert seen.sum() == (4500 if holes else 5000)
    train, test = np.arange(5000) < 4000, np.arange(5000) >= 4000
    mean = np.maximum(counts[train & seen].sum(0), 0.5) / np.sum(train & seen)
    np.testing.assert_allclose(training_means(history), mean, rtol=1e-12)
    n, m = counts[test & seen], mu[test & seen]
    assert pooled == pytest.approx(oracle.bits_per_spike(n, m, mean), rel=1e-4)
    for unit in range(N):
        alone = oracle.bits_per_spike(n[:, unit : unit + 1], m[:, unit : unit + 1], mean[unit])
        assert per_unit[unit] == pytest.approx(alone, rel=1e-3, abs=1e-4)


def test_constant_rates_score_zero_and_units_without_test_spikes_are_undefined() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 4, 400))
    rec = SpikeRecording(times, rng.integers(0, 2, 400), n_units=3, t_start=0.0, t_stop=5.0)
    late = changed(rec, times=np.r_[rec.spike_times, 4.5], units=np.r_[rec.spike_units, 0])
    history = bin_history(late, BIN)
    mean = training_means(history)
    assert mean[2] == 0.5 / 4000
    p = network().parameters
    flat = p._replace(
        weights=np.zeros((2, 3, 3)),
        bias=np.log(mean / (1 - mean)),
        capacity=np.ones(3, dtype=np.int64),
        field_weights=np.zeros((5, 3)),
        drive_low=np.zeros(3),
        drive_high=np.zeros(3),
        ceiling=np.full(3, 50.0),
    )
    pooled, per_unit = bits_per_spike(history, flat)
    assert pooled == pytest.approx(0.0, abs=1e-6)
    assert per_unit[0] == pytest.approx(0.0, abs=1e-6) and np.isnan(per_unit[1:]).all()
    empty = bits_per_spike(bin_history(rec, BIN), flat)
    assert np.isnan(empty[0]) and np.isnan(empty[1]).all()


def test_impossible_predictions_score_low_but_finite() -> None:
    rec = recording(duration=5.0)
    p = network().parameters
    never = p._replace(bias=np.full(N, -900.0))
    history = bin_history(rec, BIN)
    pooled, _ = bits_per_spike(history, never)
    assert np.isfinite(pooled) and pooled < -100
    chunks = list(expected_counts(history, never, 4000, 5000))
    assert chunks[0][1].min() >= 0 and not np.isnan(chunks[0][1]).any()
