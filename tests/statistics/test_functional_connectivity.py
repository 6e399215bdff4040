"""Functional connections, distances through PySpike, graphs."""

import numpy as np
import pandas as pd
import pytest

from organoid import RecordingError, SpikeRecording, statistics


def chain(rng, n=6, rate=5.0, duration=600.0, strength=0.3, delay=0.002):
    """Independent Poisson units; each of the first three drives the next but two."""
    times = [rng.uniform(0, duration, rng.poisson(rate * duration)) for _ in range(n)]
    for k in range(3):
        driven = times[k][rng.random(times[k].size) < strength] + delay + rng.normal(0, 0.0003, 1)
        times[k + 3] = np.concatenate([times[k + 3], driven[driven < duration]])
    units = np.repeat(np.arange(n), [t.size for t in times])
    return SpikeRecording(np.concatenate(times), units, n_units=n, t_stop=duration, sampling_rate=20_000.0)


def test_correlogram_test_finds_driven_pairs_in_their_direction_and_their_strength():
    table = statistics.connectivity(chain(np.random.default_rng(0)))
    found = table[table["q"] < 0.05]
    assert {(row.pre, row.post) for row in found.itertuples()} == {(0, 3), (1, 4), (2, 5)}
    np.testing.assert_allclose(found["weight"], 0.8 * 0.3, atol=0.03)


def test_independent_units_have_few_connections():
    false = [
        (statistics.connectivity(chain(np.random.default_rng(seed), n=8, strength=0.0), "ccg")["q"] < 0.05).sum()
        for seed in range(5)
    ]
    assert sum(false) <= 2


@pytest.mark.parametrize("method", ["sttc", "correlation"])
def test_coefficients_stand_beside_shifted_recordings(method):
    rng = np.random.default_rng(1)
    rec = chain(rng, duration=200.0)
    table = statistics.connectivity(rec, method)
    assert (table["pre"] < table["post"]).all() and len(table) == 15
    strong = table.set_index(["pre", "post"])["q"] < 0.05
    assert strong[[(0, 3), (1, 4), (2, 5)]].all() and strong.sum() <= 4
    matrix = statistics.sttc(rec) if method == "sttc" else statistics.correlation(rec, 0.01)
    np.testing.assert_allclose(table["weight"], matrix[table["pre"], table["post"]])


def test_false_discovery_rates_are_those_of_benjamini_and_hochberg():
    scipy_stats = pytest.importorskip("scipy.stats")
    p = np.random.default_rng(0).uniform(0, 0.2, 50)
    np.testing.assert_allclose(statistics.benjamini_hochberg(p), scipy_stats.false_discovery_control(p))
    holed = statistics.benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(holed, [0.02, np.nan, 0.04])


def test_shifts_keep_every_unit_and_the_observed_time():
    rec = chain(np.random.default_rng(2), duration=50.0)
    holed = SpikeRecording(
        rec.spike_times, rec.spike_units, n_units=6, t_stop=50.0, sampling_rate=2e4, observed=[(0, 10), (20, 50)]
    )
    moved = statistics.circular_shifts(holed, 1)
    assert moved.is_observed(moved.spike_ticks).all()
    seen = holed.is_observed(holed.spike_ticks)
    np.testing.assert_array_equal(np.bincount(moved.spike_units), np.bincount(holed.spike_units[seen]))
    assert abs(statistics.correlation(moved, 0.01)[0, 3]) < 0.1 < statistics.correlation(rec, 0.01)[0, 3]


def test_unknown_methods_are_named():
    with pytest.raises(RecordingError, match='"ccg", "sttc" or "correlation"'):
        statistics.connectivity(SpikeRecording([], [], n_units=2, t_stop=1.0), "granger")


def test_distances_are_those_of_pyspike_and_undefined_for_silent_units():
    pyspike = pytest.importorskip("pyspike")
    rec = chain(np.random.default_rng(3), n=6, duration=20.0)
    wider = SpikeRecording(rec.spike_times, rec.spike_units, n_units=7, t_stop=20.0, sampling_rate=2e4)
    trains = [pyspike.SpikeTrain(rec.spike_times[rec.spike_units == k], (0.0, 20.0)) for k in range(6)]
    for ours, theirs, equal in (
        (statistics.isi_distance, pyspike.isi_distance, 0.0),
        (statistics.spike_distance, pyspike.spike_distance, 0.0),
        (statistics.spike_synchronisation, pyspike.spike_sync, 1.0),
    ):
        matrix = ours(wider)
        assert matrix[0, 4] == matrix[4, 0] == pytest.approx(theirs(trains[0], trains[4]))
        assert (np.diag(matrix)[:6] == equal).all() and np.isnan(matrix[6]).all()
        assert np.isnan(ours(SpikeRecording([], [], n_units=2, t_stop=1.0))).all()
        holed = SpikeRecording(
            rec.spike_times, rec.spike_units, n_units=6, t_stop=20.0, sampling_rate=2e4, observed=[(0, 5), (8, 20)]
        )
        assert np.isfinite(ours(holed)).all()


def ring(n, reach):
    pairs = [(k, (k + d) % n) for k in range(n) for d in range(1, reach + 1)]
    table = pd.DataFrame({"pre": [a for a, _ in pairs], "post": [b for _, b in pairs], "weight": 1.0, "q": 0.01})
    table.attrs["n_units"] = n
    return table


def test_measures_of_a_ring_lattice_are_the_closed_forms():
    pytest.importorskip("networkx")
    table = statistics.graph_measures(ring(20, 2), n_null=10).set_index("measure")
    assert table.loc["n_edges", "value"] == 40 and table.loc["mean_degree", "value"] == 4
    assert table.loc["clustering", "value"] == pytest.approx(0.5)  # 3 (k - 2) / (4 (k - 1)) with k = 4
    assert table.loc["path_length", "value"] == pytest.approx(sum(-(-d // 2) for d in range(1, 11)) * 2 / 19 - 5 / 19)
    assert table.loc["clustering", "z"] > 3 and table.loc["small_world", "value"] > 1
    assert table.loc["density", "null_sd"] != table.loc["density", "null_sd"]


def test_density_keeps_the_heaviest_edges_and_empty_graphs_are_undefined():
    pytest.importorskip("networkx")
    edges = ring(20, 2).assign(weight=np.arange(40.0) + 1, q=0.5)
    assert statistics.graph_measures(edges, n_null=2).set_index("measure").loc["n_edges", "value"] == 0
    kept = statistics.graph_measures(edges, density=0.1, n_null=2).set_index("measure")
    assert kept.loc["n_edges", "value"] == 19 and kept.loc["mean_strength", "value"] == pytest.approx(
        2 * np.sort(edges["weight"])[-19:].sum() / 20
    )
    with pytest.raises(RecordingError, match="lacks"):
        statistics.graph_measures(pd.DataFrame({"pre": [0]}), 2)
    with pytest.raises(RecordingError, match="density"):
        statistics.graph_measures(edges, density=0.0)
