"""Recordings of one culture behind each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import organoid
from organoid import RecordingError, SpikeRecording


def recording(names: list[str], seed: int, *, t_start: float = 0.0, duration: float = 4.0) -> SpikeRecording:
    rng = np.random.default_rng(seed)
    times = t_start + np.sort(rng.integers(0, int(duration * 1000), 50)) / 1000
    return SpikeRecording(
        times,
        rng.integers(0, len(names), 50),
        t_start=t_start,
        t_stop=t_start + duration,
        sampling_rate=1000.0,
        units=pd.DataFrame({"name": names}),
        stimuli=pd.DataFrame({"time_s": [t_start + 1.0], "electrode": [seed]}),
        observed=[[t_start, t_start + 1.0], [t_start + 1.5, t_start + duration]],
    )


def test_spikes_stimuli_and_holes_move_together_and_units_match_by_name() -> None:
    a, b = recording(["x", "y", "z"], 1), recording(["z", "x", "y"], 2, t_start=100.0)
    both = organoid.concatenate([a, b], gap=3.0)
    assert (both.t_start, both.t_stop, both.n_spikes) == (0.0, 11.0, 100)
    assert both.stimuli["time_s"].tolist() == [1.0, 8.0]
    assert both.observed.tolist() == [[0.0, 1.0], [1.5, 4.0], [7.0, 8.0], [8.5, 11.0]]
    second = both.select(t_start=7.0)
    for name in "xyz":
        mine = b.spike_times[b.spike_units == list(b.units["name"]).index(name)] - 93.0
        assert np.allclose(second.spike_times[second.spike_units == "xyz".index(name)], mine, atol=1e-9)


@given(st.integers(1, 4), st.floats(0.0, 50.0))
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost_and_gaps_are_unobserved(n: int, gap: float) -> None:
    parts = [recording(["a", "b"], seed, t_start=10.0 * seed) for seed in range(n)]
    whole = organoid.concatenate(parts, gap=gap)
    assert whole.n_spikes == sum(part.n_spikes for part in parts)
    assert np.isclose(whole.observed_duration, sum(part.observed_duration for part in parts))
    for part, place in zip(parts, whole.metadata["joined"]):
        back = whole.select(t_start=place["t_start"], t_stop=place["t_stop"])
        assert np.allclose(back.spike_times - place["t_start"], part.spike_times - part.t_start, atol=1e-6)
        assert np.array_equal(back.spike_units, part.spike_units)


def test_units_that_do_not_match_are_named() -> None:
    with pytest.raises(RecordingError, match=r"recording 1 has other units.*y are missing, w are new"):
        organoid.concatenate([recording(["x", "y"], 1), recording(["x", "w"], 2)])
    with pytest.raises(RecordingError, match="one recording or more"):
        organoid.concatenate([])
    with pytest.raises(RecordingError, match="gap -1"):
        organoid.concatenate([recording(["x", "y"], 1)], gap=-1.0)
