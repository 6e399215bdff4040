"""Bursts of the population rate: planted ones are found, thresholds travel, holes and silence are respected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid import RecordingError, SpikeRecording
from organoid.statistics import population_rate_bursts


def culture(onsets, *, n_units=20, duration=60.0, background=0.5, length=0.3, spikes_each=10, seed=0, **more):
    """Poisson background with planted bursts in which every unit fires `spikes_each` times."""
    rng = np.random.default_rng(seed)
    times = [rng.uniform(0, duration, rng.poisson(background * duration * n_units))]
    units = [rng.integers(0, n_units, times[0].size)]
    for onset in onsets:
        times.append(rng.uniform(onset, onset + length, spikes_each * n_units))
        units.append(np.repeat(np.arange(n_units), spikes_each))
    return SpikeRecording(np.concatenate(times), np.concatenate(units), n_units=n_units, t_stop=duration, **more)


def plain(rec, low, high):
    """The definition, bin by bin, for a recording without holes."""
    counts = rec.counts(0.001).sum(axis=1)
    rate = np.array([counts[max(k - 50, 0) : k + 50].sum() / 0.1 for k in range(counts.size)])
    bursts, k = [], 0
    while k < rate.size:
        if rate[k] > low:
            first = k
            while k < rate.size and rate[k] > low:
                k += 1
            if rate[first:k].max() > high:
                bursts.append((first, first + int(np.argmax(rate[first:k])), k))
        k += 1
    return np.array(bursts).reshape(-1, 3) / 1000


@pytest.mark.parametrize("seed", range(4))
def test_bursts_are_those_of_the_definition(seed):
    onsets = np.arange(2, 18, 3.3)
    rec = culture(onsets, duration=20.0, seed=seed)
    table = population_rate_bursts(rec)
    mean = rec.n_spikes / rec.duration
    used = table.attrs["thresholds"]
    assert used == {"low_hz": pytest.approx(mean + 5), "high_hz": pytest.approx(4 * mean + 20), "smoothing_s": 0.1}
    expected = plain(rec, used["low_hz"], used["high_hz"])
    np.testing.assert_allclose(table[["start_s", "peak_s", "stop_s"]].to_numpy(), expected, atol=1e-9)
    for row in table.itertuples():
        inside = (rec.spike_times >= row.start_s) & (rec.spike_times < row.stop_s)
        assert row.n_spikes == inside.sum()
        assert row.n_units == np.unique(rec.spike_units[inside]).size


def test_every_planted_burst_is_found_once():
    onsets = np.array([5.0, 12.0, 30.0, 45.5])
    table = population_rate_bursts(culture(onsets))
    assert len(table) == 4
    np.testing.assert_allclose(table["start_s"], onsets, atol=0.1)
    assert (table["n_units"] == 20).all()
    assert ((table["start_s"] <= table["peak_s"]) & (table["peak_s"] < table["stop_s"])).all()


def test_one_burst_and_a_burst_at_either_end_are_found():
    assert len(population_rate_bursts(culture([30.0]))) == 1
    ends = population_rate_bursts(culture([0.0, 59.7]))
    assert len(ends) == 2
    assert ends["start_s"].iloc[0] == 0 and ends["stop_s"].iloc[1] == 60


def test_thresholds_travel_to_a_dead_simulation_which_then_has_no_bursts():
    found = population_rate_bursts(culture(np.arange(1, 59, 4.0)))
    dead = culture([], background=0.01, seed=3)
    again = population_rate_bursts(dead, thresholds=found.attrs["thresholds"])
    assert len(again) == 0 and again.attrs["thresholds"] == found.attrs["thresholds"]
    assert again.columns.tolist() == ["start_s", "peak_s", "stop_s", "n_spikes", "n_units"]


def test_a_dip_between_the_thresholds_does_not_split_a_burst():
    quick = np.concatenate([np.linspace(10, 10.2, 200), np.linspace(10.25, 10.45, 20), np.linspace(10.5, 10.7, 200)])
    rec = SpikeRecording(quick, np.arange(quick.size) % 7, t_stop=60)
    assert len(population_rate_bursts(rec, thresholds={"low_hz": 20, "high_hz": 500})) == 1
    assert len(population_rate_bursts(rec, thresholds={"low_hz": 499, "high_hz": 500})) == 2


def test_a_hole_in_the_observed_time_cuts_a_burst():
    whole = culture([10.0], length=1.0, spikes_each=40)
    holed = culture([10.0], length=1.0, spikes_each=40, observed=[(0, 10.4), (10.5, 60)])
    assert len(population_rate_bursts(whole)) == 1
    table = population_rate_bursts(holed, thresholds=population_rate_bursts(whole).attrs["thresholds"])
    assert len(table) == 2
    assert table["stop_s"].iloc[0] == 10.4 and table["start_s"].iloc[1] == 10.5
    assert not holed.is_observed(np.array([10_450_000]))[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([None, 1000.0, 12_500.0, 20_000.0, 31_250.0]))
def test_order_of_units_and_shift_do_not_matter(seed, sampling_rate):
    rec = culture([3.0, 7.0], n_units=5, duration=10.0, seed=seed, sampling_rate=sampling_rate)
    table = population_rate_bursts(rec)
    order = np.random.default_rng(seed).permutation(5)
    np.testing.assert_array_equal(population_rate_bursts(rec.select(units=order)).to_numpy(), table.to_numpy())
    later = SpikeRecording(
        rec.spike_times + 64, rec.spike_units, n_units=5, t_start=64, t_stop=74, sampling_rate=sampling_rate
    )
    moved = population_rate_bursts(later).to_numpy() - np.array([64, 64, 64, 0, 0])
    np.testing.assert_allclose(moved, table.to_numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "rec",
    [
        SpikeRecording([], []),
        SpikeRecording([], [], n_units=3, t_stop=5.0),
        SpikeRecording([0.5], [0], t_stop=5.0),
        SpikeRecording([0.5], [0], t_stop=5.0, observed=np.empty((0, 2))),
    ],
)
def test_little_or_nothing_gives_an_empty_table(rec):
    table = population_rate_bursts(rec)
    assert len(table) == 0 and {"low_hz", "high_hz"} <= set(table.attrs["thresholds"])


def test_impossible_requests_are_named():
    rec = culture([])
    with pytest.raises(RecordingError, match="low_hz"):
        population_rate_bursts(rec, thresholds={"high_hz": 3.0})
    with pytest.raises(RecordingError, match="low_hz <= high_hz"):
        population_rate_bursts(rec, thresholds={"low_hz": 4.0, "high_hz": 3.0})
    with pytest.raises(RecordingError, match="millisecond"):
        population_rate_bursts(rec, smoothing=0.0005)


def test_bursts_of_sixty_units_are_found():
    rec = culture(np.arange(5, 590, 3.0), n_units=60, duration=600.0, background=2.0)
    assert len(population_rate_bursts(rec)) > 150
