"""SpikeRecording: every count against a brute-force count, and windows that share no spike."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_strategies import observed_in, recordings, spikes

from organoid import RecordingError, SpikeRecording


def brute_force_counts(rec: SpikeRecording, bin_width: float) -> np.ndarray:
    """Count spike by spike with integer ticks."""
    rate = rec.sampling_rate or 1e6
    begin, end = round(rec.t_start * rate), round(rec.t_stop * rate)
    width = bin_width * rate
    edges = [begin]
    while begin + round(len(edges) * width) <= end:
        edges.append(begin + round(len(edges) * width))
    counts = np.zeros((len(edges) - 1, rec.n_units), dtype=int)
    for time, unit in zip(rec.spike_times, rec.spike_units):
        for k in range(len(edges) - 1):
            if edges[k] <= round(time * rate) < edges[k + 1]:
                counts[k, unit] += 1
    return counts


@given(spikes(), st.sampled_from([0.1, 0.05, 1 / 3, 0.25, 1.0, 100.0]))
def test_counts_are_the_brute_force_counts(held: dict[str, Any], bin_width: float) -> None:
    rec = SpikeRecording(**held)
    np.testing.assert_array_equal(rec.counts(bin_width), brute_force_counts(rec, bin_width))


@given(spikes(), st.lists(st.floats(0, 1), max_size=5))
def test_a_partition_selects_every_spike_once(held: dict[str, Any], cuts: list[float]) -> None:
    rec = SpikeRecording(**held)
    on_spikes = list(rec.spike_times[:2])
    inside = [rec.t_start + cut * rec.duration for cut in cuts] + on_spikes
    edges = sorted({rec.t_start, rec.t_stop, *(float(min(cut, rec.t_stop)) for cut in inside)})
    parts = [rec.select(t_start=a, t_stop=b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([part.spike_times for part in parts]), rec.spike_times)
    np.testing.assert_array_equal(np.concatenate([part.spike_units for part in parts]), rec.spike_units)
    assert sum(part.observed_duration for part in parts) == pytest.approx(rec.observed_duration)


@given(st.data(), spikes(), st.sampled_from([0.05, 0.1, 1 / 3]))
def test_observed_bins_are_those_wholly_inside_an_interval(
    data: st.DataObject, held: dict[str, Any], bin_width: float
) -> None:
    observed = data.draw(observed_in(held["t_start"], held["t_stop"]))
    rec = SpikeRecording(**held, observed=observed)
    rate = rec.tick_rate
    edges = rec.bin_grid(bin_width).edges()
    spans = [(round(a * rate), round(b * rate)) for a, b in observed]
    expected = [any(a <= low and high <= b for a, b in spans) for low, high in pairwise(edges)]
    assert rec.observed_bins(bin_width).tolist() == expected
    seen = [any(a <= tick < b for a, b in spans) for tick in rec.spike_ticks]
    assert rec.is_observed(rec.spike_ticks).tolist() == seen


@given(recordings())
@settings(max_examples=40)
def test_selecting_everything_changes_nothing(rec: SpikeRecording) -> None:
    assert rec.select().equals(rec)


@given(st.permutations(range(4)), st.integers(0, 2**20))
def test_spikes_are_sorted_and_equal_times_keep_their_order(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 5, 40) / 10
    rec = SpikeRecording(times, np.arange(40), t_stop=1.0)
    assert rec.spike_units.tolist() == sorted(range(40), key=lambda k: times[k])
    picked = rec.select(units=order)
    for new, old in enumerate(order):
        np.testing.assert_array_equal(
            picked.spike_times[picked.spike_units == new], rec.spike_times[rec.spike_units == old]
        )


def test_an_empty_recording_is_a_recording() -> None:
    rec = SpikeRecording([], [])
    assert (rec.n_units, rec.n_spikes, rec.duration) == (0, 0, 0.0)
    assert rec.counts(0.1).shape == (0, 0)
    assert SpikeRecording([], [], n_units=3, t_stop=1.0).counts(0.1).shape == (10, 3)


def test_silent_units_are_counted_as_silent() -> None:
    rec = SpikeRecording([0.25], [1], n_units=3, t_stop=0.5)
    assert rec.counts(0.25).tolist() == [[0, 0, 0], [0, 1, 0]]
    assert list(rec.units["name"]) == ["unit_0", "unit_1", "unit_2"]


def test_a_last_partial_bin_is_dropped() -> None:
    assert SpikeRecording([0.1, 0.95], [0, 0], t_stop=1.0).counts(0.3).tolist() == [[1], [0], [0]]


def test_several_spikes_of_a_unit_in_one_bin_are_all_counted() -> None:
    assert SpikeRecording([0.1, 0.1, 0.11], [0, 0, 0], t_stop=1.0).counts(0.5).tolist() == [[3], [0]]


def test_a_window_far_from_zero_has_no_silent_bins_before_it() -> None:
    rec = SpikeRecording([1200.05, 1200.15], [0, 0], t_start=1200.0, t_stop=1200.2)
    assert rec.counts(0.1).tolist() == [[1], [1]]


def test_an_inferred_end_is_one_tick_after_the_last_spike_and_noted() -> None:
    rec = SpikeRecording([0.5], [0], sampling_rate=1000.0)
    assert rec.t_stop == pytest.approx(0.501)
    assert "t_stop inferred" in rec.notes[0]


def test_arrays_are_read_only_and_tables_are_copies() -> None:
    times = np.array([0.1, 0.2])
    rec = SpikeRecording(times, [0, 0], t_stop=1.0)
    times[0] = 9.0
    table = rec.units
    table.loc[0, "name"] = "changed"
    for array in (rec.spike_times, rec.spike_units, rec.spike_ticks, rec.observed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert rec.spike_times[0] == 0.1
    assert rec.units["name"][0] == "unit_0"


def test_wells_are_separate_cultures() -> None:
    rec = SpikeRecording([0.1, 0.2], [0, 1], t_stop=1.0, units=pd.DataFrame({"well": ["A1", "B2"]}))
    assert rec.wells == ("A1", "B2")
    assert rec.select(well="B2").spike_times.tolist() == [0.2]
    with pytest.raises(RecordingError, match="A1, B2"):
        rec.culture()
    with pytest.raises(RecordingError, match="no well 'C3' in this recording; choices: A1, B2"):
        rec.select(well="C3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, np.nan], [0, 0]), "1 of 2 spike times are NaN"),
        (([0.1, np.inf], [0, 0]), "NaN or infinite"),
        (([0.2, np.nan, 0.1], [0, 0, 0]), "1 of 3 spike times are NaN"),
        (([0.1], [0, 0]), "two equal lengths"),
        (([0.1], [0.5]), "whole numbers"),
        (([0.1], [-1]), "units"),
        ((["x"], [0]), "must be numbers"),
        (([1e300], [0]), "samples or milliseconds"),
    ],
)
def test_impossible_spikes_are_refused(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        SpikeRecording(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_stop": 0.05}, "1 of 1 spikes lie outside"),
        ({"t_start": 0.2, "t_stop": 0.1}, "is not a window"),
        ({"n_units": 0}, "there are 0 units"),
        ({"sampling_rate": 0.0}, "sampling_rate"),
        ({"observed": [[0.5, 0.2]]}, "start < stop"),
        ({"observed": [[0.0, 0.5], [0.4, 0.6]]}, "must not overlap"),
        ({"observed": [[0.0, 5.0]]}, "reaches outside"),
        ({"units": pd.DataFrame({"name": ["a", "b"]}), "n_units": 1}, "has 2 rows"),
        ({"units": pd.DataFrame([[1, 2]], columns=["a", "a"])}, "two columns named 'a'"),
        ({"units": pd.DataFrame({"channel": ["x"]})}, "expected whole numbers"),
        ({"units": pd.DataFrame({"name": ["a\0b"]})}, "null character"),
        ({"stimuli": pd.DataFrame({"time_s": [np.nan]})}, "no finite time_s"),
        ({"electrodes": pd.DataFrame({"can_stimulate": [2]})}, "neither true nor false"),
        ({"metadata": {"a": object()}}, "JSON-able"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        SpikeRecording([0.1], [0], **{"t_stop": 1.0, **options})


@pytest.mark.parametrize("bin_width", [0.0, -1.0, np.nan, 1e-7])
def test_a_bin_shorter_than_a_tick_is_refused(bin_width: float) -> None:
    with pytest.raises(RecordingError, match="bin_width"):
        SpikeRecording([0.1], [0], t_stop=1.0).counts(bin_width)


def test_units_are_selected_by_index_name_and_mask() -> None:
    rec = SpikeRecording([0.1, 0.2, 0.3], [0, 1, 2], t_stop=1.0, units=pd.DataFrame({"name": ["a", "b", "b"]}))
    assert rec.select(units=[2, 0]).spike_times.tolist() == [0.1, 0.3]
    assert rec.select(units=["a"]).n_units == 1
    assert rec.select(units=np.array([False, True, True])).spike_units.tolist() == [0, 1]
    assert rec.select(units=[]).n_units == 0
    with pytest.raises(RecordingError, match="no single unit is named 'b'"):
        rec.select(units=["b"])
    with pytest.raises(RecordingError, match="more than once"):
        rec.select(units=[1, 1])
    with pytest.raises(RecordingError, match="whole numbers 0"):
        rec.select(units=[3])
    with pytest.raises(RecordingError, match="cannot select"):
        rec.select(t_start=-1.0)
