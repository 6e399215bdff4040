"""Pairwise statistics against brute force: tiling, correlation, correlograms, distances."""

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_statistics import SECOND, quick, recordings, shifted

from organoid import RecordingError, SpikeRecording, statistics
from organoid.statistics.trains import observed_spans

MATRICES = {
    "sttc": lambda rec: statistics.sttc(rec, 0.03),
    "correlation": lambda rec: statistics.correlation(rec, 0.05),
    "van_rossum": lambda rec: statistics.van_rossum(rec, 0.1),
    "victor_purpura": lambda rec: statistics.victor_purpura(rec, 20.0),
}


@pytest.mark.parametrize("name", MATRICES)
@quick
@given(rec=recordings())
def test_matrices_are_symmetric_and_do_not_feel_a_shift(name, rec):
    matrix = MATRICES[name](rec)
    assert matrix.shape == (rec.n_units, rec.n_units)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(MATRICES[name](shifted(rec, 128.0)), matrix, atol=1e-6)


@pytest.mark.parametrize("name", MATRICES)
@quick
@given(rec=recordings(), seed=st.integers(0, 99))
def test_permuting_units_permutes_rows_and_columns(name, rec, seed):
    order = np.random.default_rng(seed).permutation(rec.n_units)
    expected = MATRICES[name](rec)[np.ix_(order, order)]
    np.testing.assert_allclose(MATRICES[name](rec.select(units=order)), expected, atol=1e-6)


def seen_ticks(rec, unit):
    ticks = rec.spike_ticks[rec.spike_units == unit]
    return ticks[rec.is_observed(ticks)]


def plain_sttc(rec, reach):
    """Tiles measured on a grid of one tick, pairs looked up one by one."""
    spans = observed_spans(rec)
    cells = np.concatenate([np.arange(a, b) for a, b in spans]) + 0.5
    out = np.full((rec.n_units, rec.n_units), np.nan)
    for i, j in itertools.product(range(rec.n_units), repeat=2):
        a, b = seen_ticks(rec, i), seen_ticks(rec, j)
        if not (a.size and b.size):
            continue
        terms = []
        for x, y in ((a, b), (b, a)):
            p = np.mean([np.any(np.abs(y - spike) <= reach) for spike in x])
            t = np.mean(np.any(np.abs(cells[:, None] - y[None, :]) <= reach, axis=1))
            terms.append(1.0 if p * t == 1 else (p - t) / (1 - p * t))
        out[i, j] = 1.0 if i == j else np.mean(terms)
    return out


@quick
@given(recordings(), st.integers(1, 200))
def test_sttc_is_its_definition(rec, reach):
    np.testing.assert_allclose(statistics.sttc(rec, reach / SECOND), plain_sttc(rec, reach), atol=1e-12)


def test_sttc_window_is_inclusive_at_any_time_and_rate():
    for start, rate in itertools.product([0.0, 600.0, 86_400.0], [None, 10_000.0, 20_000.0]):
        near = SpikeRecording(
            start + np.array([1.0, 1.05]), [0, 1], t_start=start, t_stop=start + 20, sampling_rate=rate
        )
        assert statistics.sttc(near, 0.05)[0, 1] == 1.0
        assert statistics.sttc(near, 0.0499)[0, 1] < 0


def test_sttc_known_values():
    apart = SpikeRecording([1.0, 6.0], [0, 1], t_stop=10)
    assert statistics.sttc(apart, 0.5)[0, 1] == pytest.approx(-0.1)  # P = 0, T = 1 s / 10 s
    edge = SpikeRecording([0.0, 6.0], [0, 1], t_stop=10)  # the first tile is cut at 0
    assert statistics.sttc(edge, 0.5)[0, 1] == pytest.approx(-(0.05 + 0.1) / 2)
    everywhere = SpikeRecording([0.5, 0.5], [0, 1], t_stop=1)
    assert statistics.sttc(everywhere, 1.0)[0, 1] == 1.0  # P = T = 1
    silent = statistics.sttc(SpikeRecording([0.5], [0], n_units=2, t_stop=1))
    assert silent[0, 0] == 1 and np.isnan(silent[[0, 1, 1], [1, 0, 1]]).all()
    with pytest.raises(RecordingError, match="dt"):
        statistics.sttc(apart, -1.0)


@quick
@given(recordings(), st.integers(1, 300))
def test_correlation_is_numpy_s(rec, width):
    counts = rec.counts(width / SECOND)[rec.observed_bins(width / SECOND)]
    matrix = statistics.correlation(rec, width / SECOND)
    for i, j in itertools.product(range(rec.n_units), repeat=2):
        x, y = counts[:, i], counts[:, j]
        if len(counts) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
            assert np.isnan(matrix[i, j])
        else:
            assert matrix[i, j] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


@quick
@given(recordings(), st.integers(1, 40), st.integers(0, 6))
def test_correlograms_count_every_pair(rec, width, n_side):
    lags, counts = statistics.cross_correlograms(rec, width / SECOND, n_side * width / SECOND)
    np.testing.assert_allclose(lags, np.arange(-n_side, n_side + 1) * width / SECOND)
    expected = np.zeros((rec.n_units, rec.n_units, lags.size), dtype=int)
    spikes = [(u, t) for u in range(rec.n_units) for t in seen_ticks(rec, u)]
    for (m, (i, s)), (n, (j, t)) in itertools.product(enumerate(spikes), repeat=2):
        k = int(np.sign(t - s)) * int((2 * abs(t - s) + width) // (2 * width))
        if m != n and abs(k) <= n_side:
            expected[i, j, k + n_side] += 1
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts, counts.transpose(1, 0, 2)[:, :, ::-1])


def test_a_positive_lag_means_that_the_second_unit_fires_later():
    rec = SpikeRecording([0.1, 0.103], [0, 1], t_stop=1, sampling_rate=20_000)
    lags, counts = statistics.cross_correlograms(rec, 0.001, 0.005)
    assert lags[counts[0, 1] > 0] == pytest.approx([0.003])
    assert lags[counts[1, 0] > 0] == pytest.approx([-0.003])
    assert counts[0, 0].sum() == 0


def test_van_rossum_known_values():
    rec = SpikeRecording([1.0, 1.0, 1.2], [0, 1, 2], n_units=4, t_stop=3)
    distance = statistics.van_rossum(rec, 0.1)
    assert distance[0, 1] == 0
    assert distance[0, 3] == 1
    assert distance[0, 2] == pytest.approx(np.sqrt(2 * (1 - np.exp(-2))))


@settings(max_examples=20, deadline=None)
@given(recordings(max_units=3, max_spikes=8, holes=False), st.sampled_from([0.02, 0.1, 0.5]))
def test_van_rossum_is_the_integral(rec, tau):
    grid = np.arange(0, rec.duration + 25 * tau, tau / 200)
    traces = np.zeros((rec.n_units, grid.size))
    for unit, time in zip(rec.spike_units, rec.spike_times):
        later = grid >= time
        traces[unit, later] += np.exp(-(grid[later] - time) / tau)
    squared = 2 / tau * np.sum((traces[:, None] - traces[None]) ** 2, axis=2) * (tau / 200)
    np.testing.assert_allclose(statistics.van_rossum(rec, tau) ** 2, squared, atol=0.02 * rec.n_spikes + 1e-9)


def plain_victor_purpura(a, b, cost):
    """The recursion of the paper."""

    @cache
    def distance(m, n):
        if m == 0 or n == 0:
            return float(m + n)
        moved = distance(m - 1, n - 1) + cost * abs(a[m - 1] - b[n - 1])
        return min(distance(m - 1, n) + 1, distance(m, n - 1) + 1, moved)

    return distance(len(a), len(b))


@quick
@given(recordings(max_spikes=40), st.sampled_from([0.0, 0.5, 3.0, 20.0, 300.0]))
def test_victor_purpura_is_the_paper_s_recursion(rec, cost):
    matrix = statistics.victor_purpura(rec, cost)
    for i, j in itertools.combinations(range(rec.n_units), 2):
        a, b = (tuple(seen_ticks(rec, k) / SECOND) for k in (i, j))
        assert matrix[i, j] == pytest.approx(plain_victor_purpura(a, b, cost), abs=1e-9)


@quick
@given(recordings(), st.sampled_from([1.0, 20.0]))
def test_victor_purpura_obeys_the_triangle(rec, cost):
    d = statistics.victor_purpura(rec, cost)
    for i, j, k in itertools.permutations(range(rec.n_units), 3):
        assert d[i, k] <= d[i, j] + d[j, k] + 1e-9


def test_bad_constants_are_refused():
    rec = SpikeRecording([0.5], [0], t_stop=1)
    for call in (
        lambda: statistics.van_rossum(rec, 0.0),
        lambda: statistics.victor_purpura(rec, -1.0),
        lambda: statistics.correlation(rec, 0.0),
        lambda: statistics.cross_correlograms(rec, 0.0, 0.1),
        lambda: statistics.cross_correlograms(rec, 0.001, -0.1),
        lambda: statistics.fano(rec, float("nan")),
    ):
        with pytest.raises(RecordingError):
            call()
