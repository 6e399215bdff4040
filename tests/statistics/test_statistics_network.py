"""Network bursts: planted ones are found once and whole, chance finds none, thresholds travel, holes are respected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid import RecordingError, SpikeRecording
from organoid.statistics import bursts_max_interval, network_burst_evidence, network_bursts, remarks, summary

COLUMNS = ["start_s", "peak_s", "stop_s", "n_spikes", "n_units"]


def culture(onsets, *, n_units=20, duration=60.0, background=0.5, length=0.3, spikes_each=10, seed=0, **more):
    """Poisson background with planted bursts in which every unit fires `spikes_each` times."""
    rng = np.random.default_rng(seed)
    times = [rng.uniform(0, duration, rng.poisson(background * duration * n_units))]
    units = [rng.integers(0, n_units, times[0].size)]
    for onset in onsets:
        times.append(rng.uniform(onset, onset + length, spikes_each * n_units))
        units.append(np.repeat(np.arange(n_units), spikes_each))
    return SpikeRecording(np.concatenate(times), np.concatenate(units), n_units=n_units, t_stop=duration, **more)


def decaying(every, *, duration=600.0, n_units=30, spikes_each=15, tau=0.6, tonic=0):
    """Bursts that decay, planted at a fixed interval; `tonic` further units fire 20 times a second throughout."""
    rng = np.random.default_rng(1)
    onsets = np.arange(every, duration - 4, every)
    times = [rng.uniform(0, duration, rng.poisson(0.2 * duration * n_units))]
    units = [rng.integers(0, n_units, times[0].size)]
    for onset in onsets:
        times.append(onset + rng.exponential(tau, spikes_each * n_units))
        units.append(np.repeat(np.arange(n_units), spikes_each))
    for k in range(tonic):
        times.append(np.arange(0, duration - 0.02, 0.05) + rng.uniform(0, 0.01))
        units.append(np.full(times[-1].size, n_units + k))
    time, unit = np.concatenate(times), np.concatenate(units)
    keep = time < duration
    return SpikeRecording(time[keep], unit[keep], n_units=n_units + tonic, t_stop=duration), len(onsets)


def shifted(rec, rng):
    """The recording with every unit shifted circularly by its own time."""
    times = (rec.spike_times - rec.t_start + rng.uniform(0, rec.duration, rec.n_units)[rec.spike_units]) % rec.duration
    return SpikeRecording(
        times + rec.t_start, rec.spike_units, n_units=rec.n_units, t_start=rec.t_start, t_stop=rec.t_stop
    )


def by_hand(rec, thresholds):
    """The definition, tick by tick, for a recording without holes."""
    tick = rec.tick_rate
    n = np.zeros(round(rec.duration * tick) + 1, dtype=int)
    seconds, spikes = thresholds["max_interval_s"], thresholds["min_spikes"]
    for row in bursts_max_interval(rec, seconds, seconds, thresholds["max_gap_s"], 0, spikes).itertuples():
        n[round(row.start_s * tick) : round(row.stop_s * tick) + 1] += 1
    found, k = [], 0
    while k < n.size:
        if n[k] >= thresholds["edge_units"]:
            first = k
            while k < n.size and n[k] >= thresholds["edge_units"]:
                k += 1
            found.append([first, k - 1, n[first:k].max()])
        k += 1
    joined = []
    for first, last, peak in found:
        if joined and first - joined[-1][1] <= thresholds["max_gap_s"] * tick:
            joined[-1] = [joined[-1][0], last, max(peak, joined[-1][2])]
        else:
            joined.append([first, last, peak])
    return np.array([(a / tick, b / tick) for a, b, peak in joined if peak >= thresholds["min_units"]]).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_bursts_are_those_of_the_definition(seed):
    rec = culture(np.arange(2, 18, 3.3), duration=20.0, background=3.0, seed=seed, sampling_rate=1000.0)
    table = network_bursts(rec)
    np.testing.assert_allclose(
        table[["start_s", "stop_s"]].to_numpy(), by_hand(rec, table.attrs["thresholds"]), atol=5.1e-4
    )
    for row in table.itertuples():
        inside = (rec.spike_times >= row.start_s) & (rec.spike_times <= row.stop_s)
        assert row.n_spikes == inside.sum()
        assert row.n_units == np.unique(rec.spike_units[inside]).size


def test_every_planted_burst_is_found_once():
    onsets = np.array([5.0, 12.0, 30.0, 45.5])
    table = network_bursts(culture(onsets))
    assert len(table) == 4
    np.testing.assert_allclose(table["start_s"], onsets, atol=0.1)
    assert (table["n_units"] == 20).all()
    assert ((table["start_s"] <= table["peak_s"]) & (table["peak_s"] <= table["stop_s"])).all()
    assert table.columns.tolist() == COLUMNS


@pytest.mark.parametrize("tonic", [0, 4])
def test_duration_and_number_do_not_depend_on_how_often_bursts_come(tonic):
    lasting = []
    for every in (2, 5, 20):
        rec, planted = decaying(every, tonic=tonic)
        table = network_bursts(rec)
        assert len(table) == planted
        lasting.append((table["stop_s"] - table["start_s"]).mean())
    assert max(lasting) < 1.1 * min(lasting)


@pytest.mark.parametrize(("base", "peak", "length", "every"), [(20, 300, 3.0, 8.0), (5, 200, 6.0, 12.0)])
@pytest.mark.parametrize("seed", range(3))
def test_bursts_of_seconds_in_which_units_pause_are_found_whole(base, peak, length, every, seed):
    rng, onsets = np.random.default_rng(seed), np.arange(1, 300 - length, every)
    times = [rng.uniform(0, 300, rng.poisson(base * 300))]
    times += [rng.uniform(onset, onset + length, rng.poisson((peak - base) * length)) for onset in onsets]
    time = np.concatenate(times)
    found = network_bursts(SpikeRecording(time, rng.integers(0, 16, time.size), n_units=16, t_stop=300.0))
    assert len(found) == onsets.size
    np.testing.assert_allclose(found["start_s"], onsets, atol=0.4)
    np.testing.assert_allclose(found["stop_s"] - found["start_s"], length, atol=0.6)


def test_one_burst_and_a_burst_at_either_end_are_found():
    assert len(network_bursts(culture([30.0]))) == 1
    assert len(network_bursts(culture([0.0, 59.7]))) == 2


def test_independent_units_have_no_network_bursts():
    rng = np.random.default_rng(0)
    for _ in range(5):
        rec = SpikeRecording(rng.uniform(0, 600, 2880), rng.integers(0, 16, 2880), n_units=16, t_stop=600.0)
        assert len(network_bursts(rec)) <= 1


def test_one_unit_bursting_alone_is_no_network_burst():
    rec = culture([], n_units=16, duration=600.0, background=0.3)
    alone = (np.arange(5, 595, 10.0)[:, None] + np.linspace(0, 0.5, 40)).ravel()
    units = np.concatenate([rec.spike_units, np.zeros(alone.size, dtype=int)])
    table = network_bursts(SpikeRecording(np.concatenate([rec.spike_times, alone]), units, n_units=16, t_stop=600.0))
    assert len(table) == 0


def test_units_that_burst_often_but_independently_do_not_pass():
    rng = np.random.default_rng(2)
    rec, planted = decaying(2.0)
    assert len(network_bursts(rec)) == planted
    assert len(network_bursts(shifted(rec, rng))) <= 0.1 * planted


def test_expected_by_chance_is_what_shifted_recordings_give():
    rng = np.random.default_rng(3)
    rec = culture(np.cumsum(rng.uniform(0.5, 2.5, 190)), n_units=12, duration=300.0, background=2.0)
    rule = {"min_units": 5, "edge_units": 5, "max_interval_s": 0.1, "min_spikes": 3, "max_gap_s": 0.0}
    expected = network_bursts(rec, rule, n_shifts=60).attrs["chance"]["expected"]
    found = [len(network_bursts(shifted(rec, rng), rule, n_shifts=0)) for _ in range(30)]
    assert expected > 50
    assert expected == pytest.approx(np.mean(found), rel=0.1)


def test_a_recording_that_shows_no_more_than_chance_says_so():
    rng = np.random.default_rng(4)
    times = np.concatenate([rng.uniform(0, 300, 1500) for _ in range(3)])
    rec = SpikeRecording(times, np.repeat(np.arange(3), 1500), n_units=3, t_stop=300.0)
    table = network_bursts(rec)
    assert len(table) == 0 and "by chance" in table.attrs["chance"]["remark"]
    assert any("by chance" in text for text in remarks(rec, table))
    forced = network_bursts(rec, {**table.attrs["thresholds"], "min_units": 3})
    assert len(forced) > 0 and f"{len(forced)} found where" in forced.attrs["chance"]["remark"]


def test_evidence_counts_found_and_expected_for_every_number_of_units():
    rec, planted = decaying(5.0)
    table = network_bursts(rec)
    evidence = network_burst_evidence(rec, table).set_index("min_units")
    used = table.attrs["thresholds"]["min_units"]
    assert evidence.loc[used, "found"] == planted == len(table)
    assert evidence.loc[used, "expected"] == pytest.approx(table.attrs["chance"]["expected"])
    edge = table.attrs["thresholds"]["edge_units"]
    assert evidence.loc[edge:, "found"].is_monotonic_decreasing  # below, intervals of fewer units may join
    assert evidence["found"].iloc[-1] == 0


def test_thresholds_travel_to_a_dead_simulation_which_then_has_no_bursts():
    found = network_bursts(culture(np.arange(1, 59, 4.0)))
    dead = culture([], background=0.01, seed=3)
    again = network_bursts(dead, thresholds=found.attrs["thresholds"])
    assert len(again) == 0 and again.attrs["thresholds"] == found.attrs["thresholds"]
    assert again.columns.tolist() == COLUMNS


def test_two_recordings_are_judged_alike_whichever_comes_first():
    first, second = culture([5.0, 20.0]), culture(np.arange(1, 59, 4.0), seed=1)
    numbers = [summary(rec) for rec in (first, second, first)]
    assert numbers[0].equals(numbers[2]) and numbers[1]["n_bursts"] == 15


def test_a_hole_in_the_observed_time_cuts_a_burst():
    whole = culture([10.0], length=1.0, spikes_each=40)
    holed = culture([10.0], length=1.0, spikes_each=40, observed=[(0, 10.4), (10.5, 60)])
    assert len(network_bursts(whole)) == 1
    table = network_bursts(holed)
    assert len(table) == 2
    assert table["stop_s"].iloc[0] < 10.4 and table["start_s"].iloc[1] >= 10.5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([None, 1000.0, 12_500.0, 20_000.0, 31_250.0]))
def test_order_of_units_and_shift_do_not_matter(seed, sampling_rate):
    rec = culture([3.0, 7.0], n_units=6, duration=10.0, background=3.0, seed=seed, sampling_rate=sampling_rate)
    table = network_bursts(rec)
    other = network_bursts(rec.select(units=np.random.default_rng(seed).permutation(6)))
    np.testing.assert_array_equal(other.to_numpy(), table.to_numpy())
    assert other.attrs == table.attrs
    later = SpikeRecording(
        rec.spike_times + 64, rec.spike_units, n_units=6, t_start=64, t_stop=74, sampling_rate=sampling_rate
    )
    moved = network_bursts(later)
    np.testing.assert_allclose(moved.to_numpy() - np.array([64, 64, 64, 0, 0]), table.to_numpy(), atol=1e-6)
    assert moved.attrs == table.attrs


@pytest.mark.parametrize(
    "rec",
    [
        SpikeRecording([], []),
        SpikeRecording([], [], n_units=3, t_stop=5.0),
        SpikeRecording([0.5], [0], t_stop=5.0),
        SpikeRecording([0.5], [0], t_stop=5.0, observed=np.empty((0, 2))),
        SpikeRecording([1.0, 2.0], [0, 1], n_units=3, t_start=0, t_stop=60, observed=np.empty((0, 2))),
        SpikeRecording([], [], n_units=2, t_start=3.0, t_stop=3.0),
    ],
)
def test_little_or_nothing_gives_an_empty_table(rec):
    table = network_bursts(rec)
    assert len(table) == 0 and table.columns.tolist() == COLUMNS
    again = network_bursts(rec, thresholds=table.attrs["thresholds"])
    assert len(again) == 0 and again.attrs["thresholds"] == table.attrs["thresholds"]
    assert len(network_burst_evidence(rec, table)) > 0
    values = summary(rec, table.attrs["thresholds"])
    assert not np.isinf(np.array(values.tolist(), dtype=float)).any()


def test_a_day_takes_no_more_memory_than_its_spikes():
    import tracemalloc

    rng = np.random.default_rng(0)
    rec = SpikeRecording(rng.uniform(0, 86_400, 20_000), rng.integers(0, 60, 20_000), n_units=60, t_stop=86_400.0)
    tracemalloc.start()
    network_bursts(rec)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"thresholds": {"low_hz": 4.0, "high_hz": 3.0}}, "thresholds lack min_units"),
        ({"max_chance": 0.0}, "max_chance 0.0"),
        ({"min_fraction": 1.5}, "min_fraction 1.5"),
        ({"n_shifts": -1}, "n_shifts is -1"),
        ({"max_interval": -0.1}, "-0.1"),
    ],
)
def test_impossible_requests_are_named(more, words):
    with pytest.raises(RecordingError, match=words):
        network_bursts(culture([]), **more)


def test_impossible_thresholds_are_named():
    rec = culture([5.0])
    used = network_bursts(rec).attrs["thresholds"]
    with pytest.raises(RecordingError, match="edge_units <= min_units"):
        network_bursts(rec, thresholds={**used, "edge_units": 30})


def test_a_rate_over_a_handful_of_ticks_is_undefined_and_said_so():
    rec = SpikeRecording([136.18], [0], t_start=136.18, sampling_rate=12_500.0)
    values = summary(rec)
    assert np.isnan(values["mean_rate_hz"]) and values["n_active_units"] == 0
    assert any("inferred" in text for text in remarks(rec, network_bursts(rec)))
