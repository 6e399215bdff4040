"""Rates, intervals and single-unit bursts against closed forms and plain-Python definitions."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid import RecordingError, SpikeRecording, statistics
from organoid.statistics.trains import observed_spans

quick = settings(deadline=None, max_examples=60)  # the first call may compile
SECOND = 1000  # ticks of the small recordings below


@st.composite
def recordings(draw, max_units=4, max_spikes=25, holes=True):
    """Small recordings on a 1 kHz grid, with ties, silent units and holes."""
    n_units = draw(st.integers(1, max_units))
    length = draw(st.integers(2, 3 * SECOND))
    ticks = draw(st.lists(st.integers(0, length - 1), max_size=max_spikes))
    units = draw(st.lists(st.integers(0, n_units - 1), min_size=len(ticks), max_size=len(ticks)))
    cuts = sorted(set(draw(st.lists(st.integers(0, length), max_size=6)))) if holes else []
    spans = [(a, b) for a, b in zip(cuts[::2], cuts[1::2])] or [(0, length)]
    return SpikeRecording(
        np.array(ticks) / SECOND,
        np.array(units, dtype=int),
        n_units=n_units,
        t_stop=length / SECOND,
        sampling_rate=SECOND,
        observed=np.array(spans) / SECOND,
    )


def plain_intervals(rec):
    """ISIs of each unit in ticks, one list per observed stretch."""
    spans = observed_spans(rec)
    out = []
    for unit in range(rec.n_units):
        own = rec.spike_ticks[rec.spike_units == unit]
        out.append([np.diff(own[(own >= a) & (own < b)]) for a, b in spans])
    return out


def shifted(rec, seconds):
    return SpikeRecording(
        rec.spike_times + seconds,
        rec.spike_units,
        n_units=rec.n_units,
        t_start=rec.t_start + seconds,
        t_stop=rec.t_stop + seconds,
        sampling_rate=rec.sampling_rate,
        observed=rec.observed + seconds,
    )


PER_UNIT = {
    "firing_rates": statistics.firing_rates,
    "cv": statistics.cv,
    "cv2": statistics.cv2,
    "lv": statistics.lv,
    "lvr": statistics.lvr,
    "fano": lambda rec: statistics.fano(rec, 0.1),
    "isi_histogram": lambda rec: statistics.isi_histogram(rec, [0, 0.01, 0.1, 1]),
}


@pytest.mark.parametrize("name", PER_UNIT)
@quick
@given(rec=recordings())
def test_a_shift_in_time_changes_nothing(name, rec):
    np.testing.assert_allclose(PER_UNIT[name](shifted(rec, 128.0)), PER_UNIT[name](rec), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", PER_UNIT)
@quick
@given(rec=recordings(), seed=st.integers(0, 99))
def test_permuting_units_permutes_the_result(name, rec, seed):
    order = np.random.default_rng(seed).permutation(rec.n_units)
    np.testing.assert_allclose(PER_UNIT[name](rec.select(units=order)), PER_UNIT[name](rec)[order], rtol=1e-9)


@quick
@given(recordings())
def test_rates_count_what_was_seen_over_observed_time(rec):
    seen = rec.is_observed(rec.spike_ticks)
    expected = [np.sum(seen & (rec.spike_units == k)) / rec.observed_duration for k in range(rec.n_units)]
    np.testing.assert_allclose(statistics.firing_rates(rec), expected)


@quick
@given(recordings(holes=False), st.integers(1, 5))
def test_interval_counts_add_up_over_units_and_bins(rec, n_bins):
    histogram = statistics.isi_histogram(rec, np.linspace(0, rec.duration, n_bins + 1))
    spikes = np.bincount(rec.spike_units, minlength=rec.n_units)
    np.testing.assert_array_equal(histogram.sum(axis=1), np.maximum(spikes - 1, 0))


@quick
@given(recordings())
def test_interval_statistics_follow_their_definitions(rec):
    results = (statistics.cv, statistics.cv2, statistics.lv, statistics.lvr)
    cv, cv2, lv, lvr = (f(rec) for f in results)
    for unit, stretches in enumerate(plain_intervals(rec)):
        isi = np.concatenate(stretches) / SECOND if stretches else np.empty(0)
        spread = np.std(isi) / np.mean(isi) if isi.size > 1 and isi.mean() > 0 else np.nan
        pairs = [(a / SECOND, b / SECOND) for s in stretches for a, b in itertools.pairwise(s) if a + b > 0]
        np.testing.assert_allclose(cv[unit], spread, atol=1e-9)
        if not pairs:
            assert np.isnan([cv2[unit], lv[unit], lvr[unit]]).all()
            continue
        np.testing.assert_allclose(cv2[unit], np.mean([2 * abs(b - a) / (a + b) for a, b in pairs]), atol=1e-9)
        np.testing.assert_allclose(lv[unit], np.mean([3 * ((a - b) / (a + b)) ** 2 for a, b in pairs]), atol=1e-9)
        terms = [3 * (1 - 4 * a * b / (a + b) ** 2) * (1 + 4 * 0.005 / (a + b)) for a, b in pairs]
        np.testing.assert_allclose(lvr[unit], np.mean(terms), atol=1e-9)


def test_lvr_without_refractory_time_is_lv():
    rng = np.random.default_rng(0)
    rec = SpikeRecording(np.cumsum(rng.exponential(0.1, 300)), np.zeros(300, int))
    np.testing.assert_allclose(statistics.lvr(rec, 0.0), statistics.lv(rec))


def test_a_clock_a_poisson_process_and_an_alternating_train():
    rng = np.random.default_rng(1)
    clock = np.arange(1, 2000) * 0.25
    poisson = np.cumsum(rng.exponential(0.25, 2000))
    alternating = np.cumsum(np.tile([0.1, 0.3], 1000))
    times = np.concatenate([clock, poisson, alternating])
    units = np.repeat([0, 1, 2], [clock.size, poisson.size, alternating.size])
    rec = SpikeRecording(times, units, t_stop=times.max() + 1)
    np.testing.assert_allclose(statistics.cv(rec), [0, 1, 0.5], atol=0.05)
    np.testing.assert_allclose(statistics.cv2(rec), [0, 1, 1], atol=0.05)
    np.testing.assert_allclose(statistics.lv(rec), [0, 1, 0.75], atol=0.05)
    fano = statistics.fano(rec.select(t_stop=390.0), 2.0)
    np.testing.assert_allclose(fano, [0, 1, 0], atol=0.3)
    assert fano[0] < 0.01 and fano[2] < 0.01


def test_intervals_on_an_edge_go_to_the_right_bin_and_the_last_bin_is_closed():
    times = np.array([0.1, 0.2, 0.3, 0.4])  # floating-point differences straddle 0.1
    rec = SpikeRecording(times, [0] * 4, t_stop=1)
    assert statistics.isi_histogram(rec, [0.0, 0.1, 0.2]).tolist() == [[0, 3]]
    assert statistics.isi_histogram(rec, [0.0, 0.05, 0.1]).tolist() == [[0, 3]]
    with pytest.raises(RecordingError, match="increasing"):
        statistics.isi_histogram(rec, [0.2, 0.1])


def test_the_histogram_is_numpy_s_off_the_grid():
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(0, 100, 5000))
    edges = np.geomspace(1e-4, 1, 41)
    rec = SpikeRecording(times, np.zeros(5000, int), t_stop=100)
    np.testing.assert_array_equal(statistics.isi_histogram(rec, edges)[0], np.histogram(np.diff(times), edges)[0])


def test_no_interval_spans_a_hole():
    rec = SpikeRecording([0.1, 0.2, 0.8, 0.9], [0] * 4, t_stop=1, observed=[(0, 0.5), (0.5, 0.6), (0.7, 1)])
    assert statistics.isi_histogram(rec, [0, 0.05, 0.3, 1]).tolist() == [[0, 2, 0]]
    touching = SpikeRecording([0.1, 0.2, 0.8, 0.9], [0] * 4, t_stop=1, observed=[(0, 0.5), (0.5, 1)])
    assert statistics.isi_histogram(touching, [0, 0.05, 0.3, 1]).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize("rec", [SpikeRecording([], []), SpikeRecording([], [], n_units=2, t_stop=1.0)])
def test_nothing_recorded_is_nan_not_zero(rec):
    for name in ("cv", "cv2", "lv", "lvr", "fano"):
        values = getattr(statistics, name)(rec)
        assert values.shape == (rec.n_units,) and np.isnan(values).all()
    blind = SpikeRecording([0.5], [0], t_stop=1, observed=np.empty((0, 2)))
    assert np.isnan(statistics.firing_rates(blind)).all()
    assert statistics.firing_rates(SpikeRecording([], [], n_units=2, t_stop=1.0)).tolist() == [0, 0]


def plain_bursts(ticks, max_start, max_end, min_interval, min_duration, min_spikes):
    """The maximum-interval method as one reads it, for one unit without holes."""
    found, k = [], 0
    while k < len(ticks) - 1:
        if ticks[k + 1] - ticks[k] < max_start:
            first = k
            k += 1
            while k < len(ticks) - 1 and ticks[k + 1] - ticks[k] <= max_end:
                k += 1
            found.append([first, k])
        else:
            k += 1
    merged = found[:1]
    for burst in found[1:]:
        if ticks[burst[0]] - ticks[merged[-1][1]] < min_interval:
            merged[-1][1] = burst[1]
        else:
            merged.append(burst)
    long = [(a, b) for a, b in merged if ticks[b] - ticks[a] >= min_duration]
    return [(a, b) for a, b in long if b - a + 1 >= min_spikes]


@quick
@given(
    recordings(max_spikes=60, holes=False),
    st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 120), st.integers(0, 30), st.integers(0, 5)),
)
def test_max_interval_bursts_are_those_of_the_plain_method(rec, numbers):
    start, more, apart, shortest, spikes = numbers
    seconds = [start / SECOND, (start + more) / SECOND, apart / SECOND, shortest / SECOND]
    table = statistics.bursts_max_interval(rec, *seconds, min_spikes=spikes)
    expected = []
    for unit in range(rec.n_units):
        ticks = rec.spike_ticks[rec.spike_units == unit]
        for a, b in plain_bursts(ticks, start, start + more, apart, shortest, spikes):
            expected.append((unit, ticks[a] / SECOND, ticks[b] / SECOND, b - a + 1))
    assert [tuple(row) for row in table.itertuples(index=False)] == expected


def test_a_burst_at_the_very_end_is_kept_and_a_hole_ends_one():
    times = np.array([0.0, 0.05, 0.1, 5.0, 5.05, 5.1])
    rec = SpikeRecording(times, [0] * 6, t_stop=5.2)
    assert statistics.bursts_max_interval(rec)["n_spikes"].tolist() == [3, 3]
    split = SpikeRecording(np.arange(8) * 0.05, [0] * 8, t_stop=0.4, observed=[(0, 0.19), (0.195, 0.4)])
    assert statistics.bursts_max_interval(split)["n_spikes"].tolist() == [4, 4]


def test_bursts_say_which_thresholds_were_used_and_refuse_impossible_ones():
    table = statistics.bursts_max_interval(SpikeRecording([], [], n_units=1, t_stop=1.0), max_start=0.1)
    assert table.columns.tolist() == ["unit", "start_s", "stop_s", "n_spikes"] and len(table) == 0
    assert table.attrs["thresholds"]["max_start"] == 0.1
    with pytest.raises(RecordingError, match="max_end"):
        statistics.bursts_max_interval(SpikeRecording([], []), max_start=0.4, max_end=0.3)


def test_importing_statistics_is_light():
    heavy = "{'torch', 'plotly', 'numba', 'scipy'}"
    code = f"import sys, organoid.statistics; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_summary_holds_the_headline_numbers_and_nan_for_undefined():
    rng = np.random.default_rng(5)
    rec = SpikeRecording(rng.uniform(0, 60, 600), np.arange(600) % 5, n_units=6, t_stop=60.0)
    found = statistics.summary(rec)
    assert (found["n_units"], found["n_active_units"], found["n_spikes"]) == (6, 5, 600)
    assert found["mean_rate_hz"] == pytest.approx(10 / 6)
    assert found["median_cv"] == pytest.approx(1, abs=0.2)
    assert found["bursts_per_minute"] == len(statistics.network_bursts(rec))
    empty = statistics.summary(SpikeRecording([], [], n_units=2, t_stop=1.0))
    assert np.isnan([empty[key] for key in ("median_cv", "burst_duration_s", "fraction_in_bursts", "mean_sttc")]).all()
