"""Bursts by log intervals and by N spikes, avalanches, branching, population coupling, dimensions, participation."""

import numpy as np
import pandas as pd
import pytest
from files.recording_strategies import recordings
from hypothesis import given

from organoid import RecordingError, SpikeRecording, statistics


def bursting_train(rng, *, n_bursts=60, spikes=12, within=0.008, every=4.0):
    onsets = every * (np.arange(n_bursts) + rng.uniform(0, 0.5, n_bursts)) + 1
    return onsets, (onsets[:, None] + np.cumsum(rng.gamma(4, within / 4, (n_bursts, spikes)), axis=1)).ravel()


def test_log_isi_finds_the_bursts_of_a_bimodal_train_and_a_threshold_between_its_peaks():
    onsets, times = bursting_train(np.random.default_rng(0))
    table = statistics.bursts_log_isi(SpikeRecording(times, np.zeros(times.size, int), t_stop=300.0))
    assert len(table) == onsets.size and (table["n_spikes"] == 12).all()
    assert 0.02 < table.attrs["isi_threshold_s"][0] < 1.0 and table.attrs["fallback"] == [False]


def test_log_isi_extends_cores_by_a_threshold_above_the_cutoff():
    core = 0.01 * np.arange(10)
    train = np.concatenate([core, core[-1] + 0.25 * np.arange(1, 4)])  # a core, and three spikes 250 ms apart
    times = (np.arange(2, 400, 20.0)[:, None] + train).ravel()
    table = statistics.bursts_log_isi(SpikeRecording(times, np.zeros(times.size, int), t_stop=420.0))
    threshold = table.attrs["isi_threshold_s"][0]
    expected = 13 if threshold > 0.25 else 10
    assert (table["n_spikes"] == expected).all() and len(table) == 20


def test_log_isi_says_where_it_falls_back_and_where_nothing_bursts():
    rng = np.random.default_rng(1)
    slow = np.arange(0.5, 600, 0.5)  # no interval near the cutoff
    few = np.array([1.0, 1.01, 1.02, 1.03])
    poisson = np.cumsum(rng.exponential(0.2, 2000))
    times, units = np.concatenate([slow, few, poisson[poisson < 600]]), np.concatenate([slow * 0, few * 0 + 1])
    units = np.concatenate([units, np.full(times.size - units.size, 2)]).astype(int)
    table = statistics.bursts_log_isi(SpikeRecording(times, units, n_units=4, t_stop=600.0))
    assert table.attrs["fallback"][:2] == [False, True] and table.attrs["fallback"][3] is False
    assert not (table["unit"] == 0).any() and (table["unit"] == 1).sum() == 1
    assert np.isnan(table.attrs["isi_threshold_s"]).tolist()[3]


def plain_isi_n(times, n, reach):
    """Which spikes lie in some n consecutive ones that span `reach` or less, spike by spike."""
    inside = np.zeros(times.size, dtype=bool)
    for k in range(times.size - n + 1):
        if times[k + n - 1] - times[k] <= reach:
            inside[k : k + n] = True
    return inside


@pytest.mark.parametrize("seed", range(3))
def test_isi_n_holds_the_spikes_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    _, bursts = bursting_train(rng, n_bursts=20, spikes=14)
    ticks = np.unique(np.rint(np.concatenate([bursts, rng.uniform(0, 90, 300)]) * 1000))
    rec = SpikeRecording(ticks / 1000, np.zeros(ticks.size, int), t_stop=100.0, sampling_rate=1000.0)
    table = statistics.bursts_isi_n(rec, 10, 0.1)
    inside = plain_isi_n(ticks, 10, 100)
    held = np.zeros(ticks.size, dtype=bool)
    for row in table.itertuples():
        held |= (ticks >= round(row.start_s * 1000)) & (ticks <= round(row.stop_s * 1000))
    assert not (held & ~inside).any() and table["n_spikes"].sum() == held.sum()
    assert held.sum() >= 0.97 * inside.sum() and (table["n_spikes"] >= 10).all()


def test_isi_n_finds_bursts_at_both_ends_and_splits_at_long_intervals():
    ten = 0.005 * np.arange(10)
    times = np.concatenate([ten, 5 + ten, 5 + ten + 0.06, 9.9 + ten])
    table = statistics.bursts_isi_n(SpikeRecording(times, np.zeros(40, int), t_stop=10.0), 10, 0.05)
    assert table["n_spikes"].tolist() == [10, 10, 10, 10] and table["start_s"].iloc[0] == 0


def plain_avalanches(counts):
    sizes, k = [], 0
    while k < counts.size:
        if counts[k]:
            first = k
            while k < counts.size and counts[k]:
                k += 1
            if first > 0 and k < counts.size:
                sizes.append((first, k - first, int(counts[first:k].sum())))
        k += 1
    return sizes


@pytest.mark.parametrize("seed", range(3))
def test_avalanches_are_runs_of_bins_between_empty_ones(seed):
    rng = np.random.default_rng(seed)
    rec = SpikeRecording(rng.uniform(0, 50, 800), rng.integers(0, 7, 800), n_units=7, t_stop=50.0, sampling_rate=1e4)
    table = statistics.avalanches(rec, 0.02)
    expected = plain_avalanches(rec.counts(0.02).sum(axis=1))
    assert list(zip(np.rint(table["start_s"] / 0.02).astype(int), table["n_bins"], table["size"])) == expected
    assert statistics.avalanches(rec).attrs["bin_width"] == pytest.approx(np.ptp(rec.spike_times) / 799, rel=1e-3)


@pytest.mark.parametrize("m", [0.9, 0.97])
def test_branching_ratio_of_a_branching_process_survives_subsampling(m):
    rng = np.random.default_rng(0)
    activity = np.zeros(40_000)
    for t in range(1, activity.size):
        activity[t] = rng.poisson(m * activity[t - 1] + 5)
    for seen in (activity, rng.binomial(activity.astype(int), 0.1)):
        found = statistics.branching_ratio(seen[500:])
        assert found.m == pytest.approx(m, abs=0.02) and found["m_offset"] == pytest.approx(m, abs=0.03)
        assert found.r_k.shape == found.lags.shape == (100,)
    assert found.r_k[0] < m - 0.1  # one lag alone is biased under subsampling


def test_branching_ratio_is_undefined_without_variation_and_names_bad_counts():
    assert np.isnan(statistics.branching_ratio(np.ones(100)).m) and np.isnan(statistics.branching_ratio([]).m)
    with pytest.raises(RecordingError, match="max_lag"):
        statistics.branching_ratio(np.ones(10), max_lag=10)
    with pytest.raises(RecordingError, match="shape"):
        statistics.branching_ratio(np.ones((2, 2, 2)))


def test_population_coupling_is_the_smoothed_rate_of_the_others_at_spikes():
    rng = np.random.default_rng(2)
    shared = rng.uniform(0, 200, 400)
    times = [shared + rng.normal(0, 0.005, 400), shared + rng.normal(0, 0.005, 400), rng.uniform(0, 200, 600)]
    unit = np.repeat([0, 1, 2], [400, 400, 600])
    time = np.clip(np.concatenate(times), 0, 199.9)
    rec = SpikeRecording(time, unit, n_units=4, t_stop=200.0)
    found = statistics.population_coupling(rec)
    expected = []
    for k in range(3):
        lag = time[unit != k][None, :] - time[unit == k][:, None]
        density = np.exp(-0.5 * (lag / 0.012) ** 2) / (np.sqrt(2 * np.pi) * 0.012)
        mean = np.sum(unit != k) / 200
        expected.append(density.sum(axis=1).mean() / mean - 1)
    np.testing.assert_allclose(found[:3], expected, rtol=0.02, atol=0.02)
    assert np.isnan(found[3]) and abs(found[2]) < 0.3 < found[0]


def test_effective_dimension_counts_independent_units_and_common_signals():
    rng = np.random.default_rng(3)
    independent = SpikeRecording(rng.uniform(0, 2000, 40_000), rng.integers(0, 8, 40_000), n_units=8, t_stop=2000.0)
    for method in ("entropy", "participation"):
        assert statistics.effective_dimension(independent, 0.1, method=method) == pytest.approx(8, abs=0.1)
    times = rng.uniform(0, 100, 500)
    common = SpikeRecording(np.tile(times, 3), np.repeat(np.arange(3), 500), t_stop=100.0)
    assert statistics.effective_dimension(common) == pytest.approx(1)
    assert np.isnan(statistics.effective_dimension(SpikeRecording([], [], n_units=3, t_stop=5.0)))


def test_participation_counts_spikes_in_bursts():
    times = [1.0, 1.1, 1.2, 1.3, 5.0, 5.1, 5.2, 8.0]
    units = [0, 0, 1, 1, 0, 0, 1, 2]
    bursts = pd.DataFrame({"start_s": [1.0, 5.0], "stop_s": [1.3, 5.2]})
    table = statistics.participation(SpikeRecording(times, units, n_units=4, t_stop=10.0), bursts)
    assert table["fraction"].tolist() == [1.0, 0.5, 0.0, 0.0] and table["backbone"].tolist() == [True] + 3 * [False]
    np.testing.assert_allclose(table["latency_s"], [0.0, 0.2, np.nan, np.nan], atol=1e-9)
    np.testing.assert_allclose(table["fraction_of_spikes"], [1, 1, 0, np.nan])
    np.testing.assert_allclose(table["spikes_per_burst"], [2, 1.5, 0, 0])


MEASURES = {
    "log_isi": lambda rec: statistics.bursts_log_isi(rec),
    "isi_n": lambda rec: statistics.bursts_isi_n(rec, 3, 0.1),
    "avalanches": lambda rec: statistics.avalanches(rec, 0.02),
    "coupling": lambda rec: pd.DataFrame({"unit": range(rec.n_units), "c": statistics.population_coupling(rec)}),
    "dimension": lambda rec: pd.DataFrame({"d": [statistics.effective_dimension(rec, 0.05)]}),
    "participation": lambda rec: statistics.participation(rec).drop(columns="name"),
    "sttc": lambda rec: statistics.connectivity(rec, "sttc", n_shifts=3),
    "summary": lambda rec: statistics.summary(rec).to_frame(),
    "remarks": lambda rec: pd.DataFrame({"n": [len(statistics.remarks(rec, statistics.network_bursts(rec)))]}),
}


@pytest.mark.parametrize("name", MEASURES)
@given(rec=recordings())
def test_no_recording_makes_them_fail_or_infinite(name, rec):
    rec = rec if len(rec.wells) < 2 else rec.culture(rec.wells[0])
    table = MEASURES[name](rec)
    assert not np.isinf(table.to_numpy(dtype=float)).any()


@pytest.mark.parametrize("name", ["log_isi", "isi_n", "avalanches", "coupling", "dimension", "participation"])
def test_order_of_units_and_shift_do_not_change_them(name):
    rng = np.random.default_rng(4)
    _, times = bursting_train(rng, n_bursts=30, every=2.0)
    units = rng.integers(0, 5, times.size)
    rec = SpikeRecording(times, units, n_units=5, t_stop=70.0, sampling_rate=10_000.0)
    order = rng.permutation(5)
    moved = SpikeRecording(
        rec.spike_times + 64,
        np.argsort(order)[rec.spike_units],
        n_units=5,
        t_start=64.0,
        t_stop=134.0,
        sampling_rate=1e4,
    )
    before, after = MEASURES[name](rec), MEASURES[name](moved)
    if "unit" in after:
        after["unit"] = order[after["unit"]]
        after = after.sort_values(["unit", *(["start_s"] if "start_s" in after else [])]).reset_index(drop=True)
    for column in ("start_s", "stop_s"):
        if column in after:
            after[column] -= 64
    pd.testing.assert_frame_equal(after, before, atol=1e-6, check_dtype=False)
