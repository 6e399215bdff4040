"""Figures: every trace holds points, titles say what is seen, and what cannot be drawn is refused in words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from drawn_recordings import culture, fake_session

from organoid import FitError, RecordingError, SpikeRecording, figures, statistics
from organoid.figures.spikes import representative_slice
from organoid.figures.template import number


def points(trace):
    """How many finite points a trace shows."""
    values = trace.z if trace.type == "heatmap" else (trace.x if trace.type == "bar" else trace.y)
    return int(np.isfinite(np.asarray(values, dtype=float)).sum())


def check(fig):
    assert isinstance(fig, go.Figure)
    assert len(fig.data) > 0 and all(points(trace) > 0 for trace in fig.data)
    assert not any(trace.type.endswith("gl") for trace in fig.data)
    assert len(fig.layout.title.text) > 10
    return fig


def test_raster_draws_every_spike_and_shades_bursts():
    rec = culture()
    fig = check(figures.raster(rec))
    assert points(fig.data[0]) == 2 * rec.n_spikes  # two ends of a stroke
    assert "12 units fire at" in fig.layout.title.text and "network bursts per minute" in fig.layout.title.text
    assert fig.layout.shapes[0].path.count("M") == 12
    assert "blue" in fig.layout.title.subtitle.text


def test_raster_of_a_big_recording_shows_a_stretch_and_says_so():
    rec = culture(duration=300.0)
    fig = check(figures.raster(rec, max_spikes=2_000))
    part = representative_slice(rec, 2_000)
    assert points(fig.data[0]) <= 2 * 2 * 2_000 and not part.whole
    assert f"stretch of {part.length:g} s" in fig.layout.title.subtitle.text
    assert tuple(fig.layout.xaxis.range) == (part.start, part.stop)
    assert len(fig.data) == 3  # the whole recording below


def test_the_stretch_is_a_usual_one():
    quiet, loud = np.arange(0, 100, 0.1), np.arange(100, 110, 0.001)
    rec = SpikeRecording(np.append(quiet, loud), np.zeros(quiet.size + loud.size, int), t_stop=200)
    part = representative_slice(rec, 3_000)
    assert part.stop <= 100 or part.start >= 110


def test_raster_shades_unobserved_time_and_copes_with_one_spike():
    holed = culture(observed=[(0, 20), (30, 60)])
    assert "grey" in check(figures.raster(holed)).layout.title.subtitle.text
    check(figures.raster(SpikeRecording([0.5], [0])))
    with pytest.raises(RecordingError, match="no spikes"):
        figures.raster(SpikeRecording([], [], n_units=3, t_stop=1.0))


def test_array_map_leaves_silent_electrodes_hollow_and_adds_units_of_one():
    electrodes = pd.DataFrame({"channel": range(4), "x_um": [0, 100, 200, 300], "y_um": 0.0})
    units = pd.DataFrame({"name": ["a", "b", "c"], "x_um": [0.0, 0.0, 100.0], "y_um": 0.0})
    rec = SpikeRecording([0.1, 0.2, 0.3], [0, 1, 1], t_stop=1.0, units=units, electrodes=electrodes)
    fig = check(figures.array_map(rec))
    silent, active = fig.data
    assert sorted(silent.x) == [100, 200, 300] and silent.marker.color == "white"
    assert list(active.x) == [0] and active.marker.color[0] == pytest.approx(np.log10(3))
    assert "Spikes at 1 of 4 places" in fig.layout.title.text
    with pytest.raises(RecordingError, match="positions"):
        figures.array_map(SpikeRecording([0.1], [0], t_stop=1.0))


def test_array_map_sets_wells_apart_as_on_the_plate():
    units = pd.DataFrame({"name": list("abcd"), "x_um": 0.0, "y_um": [0, 50, 0, 50], "well": ["A1", "A1", "B2", "B2"]})
    fig = check(figures.array_map(SpikeRecording([0.1, 0.2, 0.3, 0.4], range(4), t_stop=1.0, units=units)))
    assert len({(x, y) for x, y in zip(fig.data[0].x, fig.data[0].y)}) == 4
    names = {note.text: (note.x, note.y) for note in fig.layout.annotations}
    assert names["B2"][0] > names["A1"][0] and names["B2"][1] < names["A1"][1]


def test_comparisons_of_a_recording_with_a_simulation():
    recorded, simulated = culture(), culture(seed=1)
    fig = check(figures.rates_comparison(recorded, simulated))
    assert fig.layout.xaxis.type == fig.layout.yaxis.type == "log"
    assert "12 units" in fig.layout.title.text
    assert len(check(figures.burst_shape(recorded, simulated)).data) == 6  # of each the ends of a band and the mean
    assert len(check(figures.isi_comparison(recorded, simulated)).data) == 2
    check(figures.burst_shape(recorded))
    check(figures.isi_comparison(recorded))


def test_a_silent_unit_is_drawn_hollow_at_the_floor():
    recorded = SpikeRecording([0.1, 0.2, 0.3], [0, 1, 1], t_stop=1.0)
    simulated = SpikeRecording([0.1], [1], n_units=2, t_stop=1.0)
    hollow = check(figures.rates_comparison(recorded, simulated)).data[1]
    assert hollow.marker.color == "white" and list(hollow.y) == [0.5]


def test_comparisons_refuse_what_cannot_be_compared():
    with pytest.raises(RecordingError, match="same units"):
        figures.rates_comparison(culture(), culture(n_units=3))
    nothing = SpikeRecording([], [], n_units=2, t_stop=1.0)
    with pytest.raises(RecordingError, match="nothing to compare"):
        figures.rates_comparison(nothing, nothing)
    with pytest.raises(RecordingError, match="network burst"):
        figures.burst_shape(culture(bursts=False))
    with pytest.raises(RecordingError, match="fires twice"):
        figures.isi_comparison(nothing)


def test_a_dead_simulation_is_named_beside_the_recorded_burst():
    dead = SpikeRecording([], [], n_units=12, t_stop=60.0)
    assert "no bursts simulated" in check(figures.burst_shape(culture(), dead)).layout.title.text


def test_held_out_scores_say_whether_coupling_helps():
    both = {"heldout_bits_per_spike": 3.0, "heldout_bits_per_spike_uncoupled": 1.5}
    fig = check(figures.held_out_scores(both))
    assert list(fig.data[0].x) == [3.0, 1.5, 0.0] and "adds 1.50 bits" in fig.layout.title.text
    worse = figures.held_out_scores({**both, "heldout_bits_per_spike": 1.0})
    assert "does not help" in worse.layout.title.text
    assert list(figures.held_out_scores(pd.Series({"heldout_bits_per_spike": -0.5})).data[0].x) == [-0.5, 0.0]
    with pytest.raises(FitError):
        figures.held_out_scores({"heldout_bits_per_spike": np.nan})


def test_unit_scores_leave_out_undefined_units():
    table = pd.DataFrame(
        {"name": list("abc"), "bits_per_spike": [2.0, 1.0, np.nan], "bits_per_spike_uncoupled": [1.0, 1.5, 1.0]}
    )
    fig = check(figures.unit_scores(table))
    assert "1 of 2 units" in fig.layout.title.text
    with pytest.raises(FitError):
        figures.unit_scores(pd.DataFrame())


def test_training_curve_draws_known_baselines_only():
    curve = pd.DataFrame({"step": range(4), "loss": [4.0, 3, 2, 1], "held_out_loss": [4.5, np.nan, np.nan, 2.0]})
    fig = check(figures.training_curve(curve, pd.Series({"fitted": 2.0, "constant_rate": 4.0, "shuffled": np.nan})))
    assert [trace.name for trace in fig.data] == ["training", "held-out", "constant rate (4)"]
    assert "50 % below" in fig.layout.title.text
    check(figures.training_curve(curve))
    with pytest.raises(FitError):
        figures.training_curve(curve.assign(loss=np.nan, held_out_loss=np.nan))


def test_session_shows_stimuli_and_the_error_first():
    fig = check(figures.session(fake_session()))
    assert [trace.name for trace in fig.data] == ["spikes", "population rate", "stimuli", "error", "rate"]
    assert points(fig.data[2]) == 2  # two moments, three electrodes
    assert "2 stimuli; completed" in fig.layout.title.text


def test_a_busy_session_becomes_a_map_of_rates():
    fig = check(figures.session(fake_session(), max_spikes=100))
    assert fig.data[0].type == "heatmap"
    empty = SimpleNamespace(recording=SpikeRecording([], [], t_stop=1.0), ticks=pd.DataFrame({"time_s": []}))
    with pytest.raises(RecordingError):
        figures.session(empty)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.104, "3.10"), (257056.0, "257,056"), (0.0123456, "0.0123"), (1e-7, "1.00e-07"), (np.nan, "–")],
)
def test_numbers_are_written_for_readers(value, text):
    assert number(value) == text


def test_side_by_side_shows_equal_stretches_on_one_scale():
    recorded, simulated = culture(duration=120.0), culture(duration=200.0, seed=1)
    fig = check(figures.side_by_side(recorded, simulated))
    lengths = [np.diff(axis.range)[0] for axis in (fig.layout.xaxis, fig.layout.xaxis2, fig.layout.xaxis3)]
    np.testing.assert_allclose(lengths, lengths[0])
    assert fig.layout.yaxis2.range == fig.layout.yaxis4.range and fig.layout.yaxis2.range[1] > 0
    assert sum("M" in shape.path for shape in fig.layout.shapes) == 4, "bursts shaded in all four rows"
    with pytest.raises(RecordingError, match="units"):
        figures.side_by_side(recorded, culture(n_units=3))


def test_side_by_side_of_a_silent_simulation_still_draws_the_recording():
    silent = SpikeRecording([], [], n_units=12, t_start=0.0, t_stop=60.0)
    fig = figures.side_by_side(culture(), silent)
    assert points(fig.data[0]) > 0 and fig.layout.yaxis4.range[1] > 1


def test_sttc_comparison_holds_every_pair_once():
    recorded, simulated = culture(), culture(seed=1)
    fig = check(figures.sttc_comparison(recorded, simulated))
    pairs = np.triu_indices(12, 1)
    np.testing.assert_allclose(fig.data[0].x, statistics.sttc(recorded, 0.05)[pairs])
    np.testing.assert_allclose(fig.data[0].y, statistics.sttc(simulated, 0.05)[pairs])


def test_goodness_draws_bands_and_distances():
    bands = pd.DataFrame(
        {"curve": "calibration", "x": [1e-4, 1e-3, 1e-2], "y": [0.0, 1.1e-3, 0.9e-2], "n": [1e5, 1e4, 1e3]}
    )
    x = np.linspace(0.25, 1, 4)
    curves = [
        pd.DataFrame({"curve": c, "x": x, "y": x + e, "n": 9.0}) for c, e in (("units", 0.01), ("population", -0.2))
    ]
    fig = check(figures.goodness(pd.concat([bands, *curves], ignore_index=True), 1e-3))
    assert "20 held-out spikes where 30 were expected" in fig.layout.title.text
    calibration = next(trace for trace in fig.data if trace.error_y.array is not None)
    np.testing.assert_allclose(calibration.x, [1.0, 10.0])
    np.testing.assert_allclose(calibration.y, [1.1, 9.0])
    assert fig.layout.yaxis2.range[1] >= 0.2
    with pytest.raises(FitError, match="no calibration curve"):
        figures.goodness(pd.DataFrame(), 1e-3)
