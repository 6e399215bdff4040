"""Rates and latencies around events."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_statistics import SECOND, quick, recordings

from organoid import RecordingError, SpikeRecording, statistics


def test_psth_of_a_unit_locked_to_the_event():
    events = np.arange(1.0, 9.0)
    rec = SpikeRecording(np.concatenate([events + 0.0125, events - 0.01]), [0] * 8 + [1] * 8, n_units=3, t_stop=10)
    table = statistics.psth(rec, events, (-0.02, 0.03), 0.005)
    assert table.index.name == "time_s" and table.columns.tolist() == [0, 1, 2]
    np.testing.assert_allclose(table.index, np.arange(-4, 6) * 0.005, atol=1e-12)
    assert table[0].to_numpy().nonzero()[0].tolist() == [6]
    assert table[0].iloc[6] == pytest.approx(200)  # one spike a trial in 5 ms
    assert table[1].iloc[2] == pytest.approx(200)  # on an edge: the bin that begins there
    assert (table[2] == 0).all()


@quick
@given(recordings(), st.lists(st.integers(-50, 3000), max_size=5), st.integers(1, 60))
def test_psth_is_counted_trial_by_trial(rec, moments, width):
    events = np.array(moments) / SECOND
    table = statistics.psth(rec, events, (-0.1, 0.2), width / SECOND).to_numpy()
    for k in range(300 // width):
        left = np.array(moments, dtype=int) - 100 + k * width
        cells = [np.arange(a, a + width) for a in left]
        seen = [a for a, cell in zip(left, cells) if rec.is_observed(cell).all()]
        for unit in range(rec.n_units):
            ticks = rec.spike_ticks[rec.spike_units == unit]
            if not seen:
                assert np.isnan(table[k, unit])
                continue
            rate = sum(np.sum((ticks >= a) & (ticks < a + width)) for a in seen) / (len(seen) * width / SECOND)
            assert table[k, unit] == pytest.approx(rate)


def test_the_first_spike_is_strictly_after_the_event_and_up_to_the_end():
    rec = SpikeRecording([1.0, 1.05, 1.07, 3.1], [0, 0, 0, 1], t_stop=4)
    first = statistics.first_spikes(rec, [1.0, 3.0], 0.1)
    np.testing.assert_allclose(first, [[0.05, np.nan], [np.nan, 0.1]], atol=1e-9)
    np.testing.assert_allclose(statistics.first_spikes(rec, [1.0], (0.05, 0.1)), [[0.07, np.nan]], atol=1e-9)


def test_response_latency_summarises_trials():
    events = np.array([1.0, 2.0, 3.0, 4.0])
    rec = SpikeRecording([1.01, 2.02, 3.03], [0, 0, 0], n_units=2, t_stop=5)
    table = statistics.response_latency(rec, events, 0.1)
    assert table["n_trials"].tolist() == [4, 4]
    assert table["probability"].tolist() == [0.75, 0]
    assert table["latency_s"].iloc[0] == pytest.approx(0.02)
    assert table["jitter_s"].iloc[0] == pytest.approx(np.std([0.01, 0.02, 0.03]))
    assert np.isnan(table.loc[1, ["latency_s", "jitter_s"]].to_numpy(float)).all()


def test_trials_that_were_not_seen_do_not_count_but_short_blanking_is_forgiven():
    blanked = [(0, 1.0), (1.002, 2.0), (2.002, 2.03), (3.5, 5)]
    rec = SpikeRecording([1.01, 2.01], [0, 0], t_stop=5, observed=blanked)
    assert statistics.response_latency(rec, [1.0, 2.0, 3.0], 0.1)["n_trials"].tolist() == [1]
    assert statistics.psth(rec, [1.0, 2.0], (0, 0.1), 0.001)[0].isna().iloc[:2].all()


def test_no_events_and_bad_windows():
    rec = SpikeRecording([0.5], [0], t_stop=1)
    assert statistics.psth(rec, [], (0, 0.1), 0.01)[0].isna().all()
    assert np.isnan(statistics.response_latency(rec, [], 0.1)["probability"]).all()
    for call in (
        lambda: statistics.psth(rec, [0.1], (0.1, 0.1), 0.01),
        lambda: statistics.response_latency(rec, [0.1], -0.1),
        lambda: statistics.first_spikes(rec, [np.nan], 0.1),
    ):
        with pytest.raises(RecordingError):
            call()
