"""How a network left alone is compared with its recording."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic_recordings import another_end, bursting, changed, known_network, poisson, recorded

import organoid
from organoid import SpikeRecording
from organoid.fitting.free_run.comparison import (
    SCORE_NAMES,
    compare,
    evaluate_free_runs,
    free_run,
    free_run_scores,
    split_half,
    summarise,
    summarize_activity,
)
from organoid.fitting.free_run.criteria import discrepancy, drift, reasons
from organoid.fitting.free_run.settings import GOOD, FreeRunSettings, Plan
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.models.spike_response.terms.brake import NO_BRAKE

RATIOS = ("rate_ratio", "burst_rate_ratio", "burst_duration_ratio", "ibi_cv_ratio", "isi_cv_ratio")


def network_of(bias: float, n: int = 4, **changes: Any) -> SpikeResponseNetwork:
    p = plain_parameters(dt=1e-3, tau=np.array([0.01]), weights=np.zeros((1, n, n)), bias=np.full(n, bias))
    return SpikeResponseNetwork(p._replace(**changes))


@pytest.fixture(scope="module")
def culture() -> SpikeRecording:
    """Bursts, and rates that differ from unit to unit."""
    rec = bursting(6, 120.0, 1)
    keep = np.random.default_rng(0).uniform(size=rec.n_spikes) < np.linspace(0.4, 1, 6)[rec.spike_units]
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


# --- comparing ----------------------------------------------------------------------------------------------------


def test_a_recording_is_like_itself(culture: SpikeRecording) -> None:
    recorded_portrait = summarize_activity(culture)
    assert recorded_portrait.burst_rate > 0.2 and 0.5 < recorded_portrait.fraction_in_bursts < 1
    scores = compare(recorded_portrait, summarize_activity(culture, recorded_portrait.thresholds))
    assert set(scores) == set(SCORE_NAMES)
    for name in RATIOS:
        assert scores[name] == 1.0, name
    assert scores["rate_correlation"] == pytest.approx(1.0)
    assert scores["sttc_correlation"] == pytest.approx(1.0)
    assert scores["fraction_in_bursts"] == scores["fraction_in_bursts_recorded"]


def test_scores_by_hand(culture: SpikeRecording) -> None:
    """Half the spikes, thrown out at random: rates halve, burst times stay, correlation of rates stays near 1."""
    keep = np.random.default_rng(1).uniform(size=culture.n_spikes) < 0.5
    thinner = changed(culture, times=culture.spike_times[keep], units=culture.spike_units[keep])
    one = summarize_activity(culture)
    other = summarize_activity(thinner, one.thresholds)
    scores = compare(one, other)
    assert scores["rate_ratio"] == pytest.approx(keep.mean())
    rates = [np.bincount(r.spike_units, minlength=6) / 120.0 for r in (culture, thinner)]
    np.testing.assert_allclose(one.rates, rates[0])
    assert scores["rate_correlation"] == pytest.approx(np.corrcoef(rates[1], rates[0])[0, 1])
    off = ~np.eye(6, dtype=bool)
    assert scores["sttc_correlation"] == pytest.approx(np.corrcoef(other.sttc[off], one.sttc[off])[0, 1])
    assert other.thresholds == one.thresholds, "the recording's thresholds, unchanged"
    assert scores["burst_rate_ratio"] == pytest.approx(other.burst_rate / one.burst_rate)
    table = organoid.statistics.population_rate_bursts(thinner, one.thresholds)
    assert other.burst_rate == pytest.approx(len(table) / 120.0)
    assert other.burst_duration == pytest.approx((table["stop_s"] - table["start_s"]).mean())
    assert other.fraction_in_bursts == pytest.approx(table["n_spikes"].sum() / thinner.n_spikes)
    gaps = np.diff(table["start_s"])
    assert other.ibi_cv == pytest.approx(np.std(gaps) / np.mean(gaps))
    counts = np.histogram(thinner.spike_times, np.arange(0, 121, 2.0))[0]
    assert other.highest_rate == counts.max() / 2


def test_interval_variation_only_of_units_with_fifty_spikes() -> None:
    rec = poisson([2.0, 0.3], 100.0, 0)
    portrait = summarize_activity(rec)
    assert np.isfinite(portrait.isi_cv[0]) and np.isnan(portrait.isi_cv[1])
    few = compare(portrait, summarize_activity(poisson([0.2, 0.2], 100.0, 0), portrait.thresholds))
    assert np.isnan(few["isi_cv_ratio"])


def test_rates_respect_holes(culture: SpikeRecording) -> None:
    spans = np.array([[0.0, 30.0], [60.0, 120.0]])
    inside = (culture.spike_times < 30) | (culture.spike_times >= 60)
    holey = changed(culture, times=culture.spike_times[inside], units=culture.spike_units[inside], observed=spans)
    assert summarize_activity(holey).rates.sum() == pytest.approx(inside.sum() / 90.0)


def test_split_half_compares_the_second_half_with_the_first(culture: SpikeRecording) -> None:
    """Twice as many spikes in the second half, by doubling each: the same bursts, twice the rate."""
    late = culture.spike_times >= 60
    extra = culture.spike_times[late] + 1e-4
    doubled = changed(
        culture,
        times=np.concatenate([culture.spike_times, extra]),
        units=np.concatenate([culture.spike_units, culture.spike_units[late]]),
    )
    before = split_half(culture, summarize_activity(culture))
    after = split_half(doubled, summarize_activity(culture))
    assert after["rate_ratio"] == pytest.approx(2 * before["rate_ratio"], rel=1e-3)
    assert after["rate_correlation"] == pytest.approx(before["rate_correlation"], abs=1e-3)
    summary = evaluate_free_runs(network_of(-60.0, n=6), doubled, settings=FreeRunSettings(n_runs=1))
    assert summary["rate_ratio_split_half"] == pytest.approx(after["rate_ratio"])
    assert set(SCORE_NAMES) == {k.removesuffix("_split_half") for k in summary if k.endswith("_split_half")}


# --- dead and wild ------------------------------------------------------------------------------------------------


def test_a_dead_network_scores_zero_and_undefined(culture: SpikeRecording) -> None:
    summary = evaluate_free_runs(network_of(-60.0, n=6), culture, settings=FreeRunSettings(n_runs=2))
    assert summary["rate_ratio"] == 0.0 and summary["burst_rate_ratio"] == 0.0
    for name in ("rate_correlation", "burst_duration_ratio", "ibi_cv_ratio", "isi_cv_ratio", "sttc_correlation"):
        assert summary[name] is None and summary[f"{name}_range"] is None, name
    assert summary["runaway"] is False
    assert summary["fraction_in_bursts_recorded"] == pytest.approx(summarize_activity(culture).fraction_in_bursts)
    assert summary["passed"] is False
    said = summary["reasons"]
    assert any("0.00 times the recorded" in text for text in said)
    assert any("network bursts" in text for text in said)


def test_summary_is_strict_json(culture: SpikeRecording) -> None:
    summary = summarise(free_run_scores(network_of(-60.0, n=6), summarize_activity(culture), n_runs=1))
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text) == summary and "null" in text


def test_a_wild_network_is_called_wild(culture: SpikeRecording) -> None:
    """Stopped by its own limit, or seen above five times the recording's highest rate."""
    limit = 5 * summarize_activity(culture).highest_rate
    for net in (network_of(3.0, n=6, rate_limit=limit), network_of(3.0, n=6)):
        summary = evaluate_free_runs(net, culture, settings=FreeRunSettings(n_runs=1))
        assert summary["runaway"] is True and summary["passed"] is False
        assert [text.startswith("in free run the network runs away") for text in summary["reasons"]] == [True]


def test_a_calm_network_is_not() -> None:
    rec = poisson([5.0] * 4, 60.0, 0)
    summary = evaluate_free_runs(network_of(float(np.log(0.005 / 0.995))), rec, settings=FreeRunSettings(n_runs=1))
    assert not summary["runaway"] and summary["rate_ratio"] == pytest.approx(1.0, abs=0.1)
    assert summary["passed"] is True and summary["reasons"] == [] and summary["drift"] == []


def test_a_recording_that_changes_is_told_from_a_network_that_fails() -> None:
    """Units that fire twice as often in the second half: the network at the mean is alive, and the fit says so."""
    late = poisson([8.0] * 4, 60.0, 1)
    both = [poisson([4.0] * 4, 60.0, 0).spike_times, late.spike_times + 60.0]
    units = [poisson([4.0] * 4, 60.0, 0).spike_units, late.spike_units]
    rec = SpikeRecording(np.concatenate(both), np.concatenate(units), n_units=4, t_start=0.0, t_stop=120.0)
    summary = evaluate_free_runs(network_of(float(np.log(0.006 / 0.994))), rec, settings=FreeRunSettings(n_runs=1))
    assert summary["passed"] is True
    (said,) = summary["drift"]
    assert f"mean rate {summary['rate_ratio_split_half']:.2f} times" in said and "burst" not in said
    silent = {f"{name}_split_half": None for name in SCORE_NAMES}
    assert "mean rate undefined" in next(drift(silent, bursts_count=True))


# --- free runs ----------------------------------------------------------------------------------------------------


def test_free_run_holds_every_spike_inside_its_step() -> None:
    net = known_network()
    rec, stopped = free_run(net, 20.0, 3)
    done = net.advance(net.initial_state(3), 20_000)
    assert not stopped and rec.t_start == 0.0 and rec.t_stop == 20.0 and rec.n_units == 8
    counts = np.zeros((20_000, 8), dtype=int)
    np.add.at(counts, (done.steps, done.units), 1)
    in_steps = np.zeros_like(counts)
    np.add.at(in_steps, ((rec.spike_times / 1e-3).astype(int), rec.spike_units), 1)
    assert np.array_equal(in_steps, counts)
    offset = np.mod(rec.spike_times / 1e-3, 1.0)
    assert abs(offset.mean() - 0.5) < 4.5 / np.sqrt(12 * offset.size)
    again, _ = free_run(net, 20.0, 3)
    assert again.equals(rec) and not free_run(net, 20.0, 4)[0].equals(rec)


def test_free_run_of_any_seed_ends_well() -> None:
    net = network_of(3.0, n=20)
    for seed in range(600):
        rec, _ = free_run(net, 0.001, seed)
        assert rec.n_spikes > 0


def test_seeds_are_consecutive_and_runs_repeat(culture: SpikeRecording) -> None:
    net = network_of(-5.0, n=6)
    runs = free_run_scores(net, summarize_activity(culture), seed=10, n_runs=3, duration=20.0)
    assert len(runs) == 3 and runs["rate_hz"].nunique() == 3
    again = free_run_scores(net, summarize_activity(culture), seed=11, n_runs=2, duration=20.0)
    assert np.array_equal(runs["rate_hz"][1:], again["rate_hz"])


def test_summary_is_the_median_of_what_is_defined(culture: SpikeRecording) -> None:
    runs = free_run_scores(network_of(-5.0, n=6), summarize_activity(culture), n_runs=3, duration=20.0)
    runs.loc[:, "ibi_cv_ratio"] = [np.nan, 2.0, 4.0]
    summary = summarise(runs)
    assert summary["ibi_cv_ratio"] == 3.0 and summary["ibi_cv_ratio_range"] == [2.0, 4.0]
    assert summary["rate_ratio"] == np.median(runs["rate_ratio"])


def test_the_network_of_a_recording_lives_like_it() -> None:
    """The true network, scored against 300 s of itself."""
    net = known_network()
    summary = summarise(free_run_scores(net, summarize_activity(recorded(net, 300.0, 5)), n_runs=1))
    assert summary["rate_ratio"] == pytest.approx(1.0, abs=0.05)
    assert summary["rate_correlation"] > 0.98 and summary["sttc_correlation"] > 0.9
    assert summary["isi_cv_ratio"] == pytest.approx(1.0, abs=0.1) and not summary["runaway"]


def test_a_recording_without_bursts_asks_for_none() -> None:
    rec = poisson([5.0] * 4, 60.0, 0)
    portrait = summarize_activity(rec)
    scores = compare(portrait, replace(portrait, burst_rate=0.1))
    assert portrait.burst_rate == 0.0 and np.isnan(scores["burst_rate_ratio"])


def short(windows: tuple[tuple[float, int], ...]) -> FreeRunSettings:
    """Everything of a fit with free runs, but short."""
    plans = (Plan(windows, 10_000, False), Plan(windows, 10_000, True))
    return FreeRunSettings(duration=20.0, check_duration=20.0, plans=plans)


SHORT = short(((0.3, 4), (1.0, 2)))


def test_scores_are_part_of_a_fit() -> None:
    rec = recorded(known_network(), 30.0, seed=2)
    result = organoid.fit(rec, free_run=SHORT)
    assert set(SCORE_NAMES) <= set(result.free_run) and result.free_run["runaway"] is False
    json.dumps(result.free_run, allow_nan=False)
    without = organoid.fit(rec, free_run=False)
    assert without.free_run == {} and any("not calibrated in free run" in note for note in without.notes)
    assert without.forced.describe() == result.forced.describe()
    unbraked = SpikeResponseNetwork(without.network.parameters._replace(brake=NO_BRAKE))
    assert unbraked.describe() == without.forced.describe()
    assert without.edges.equals(result.edges)
    for name in ("heldout_bits_per_spike", "heldout_bits_per_spike_uncoupled"):
        assert without.scores[name] == result.scores[name]


@pytest.mark.parametrize("make", [lambda: recorded(known_network(), 30.0, seed=2), lambda: bursting(4, 60.0, 3)])
@pytest.mark.slow
def test_free_weights_do_not_see_the_last_fifth(make: Any) -> None:
    """Stage 2 and its gate included; and the same seed gives the same weights."""
    rec = make()
    one, again, other = (organoid.fit(each, free_run=SHORT) for each in (rec, rec, another_end(rec, seed=1)))
    for name in ("network", "forced", "uncoupled"):
        hashes = {getattr(result, name).describe()["sha256"] for result in (one, again, other)}
        assert len(hashes) == 1, name
    assert one.settings["free_run_weights"] == other.settings["free_run_weights"]
    assert one.free_run == again.free_run


@pytest.mark.slow
def test_the_correction_runs_in_torch_too() -> None:
    result = organoid.fit(bursting(4, 60.0, 3), device="cpu", free_run=SHORT)
    assert np.all(np.isfinite(result.network.parameters.weights))
    assert result.free_run["passed"] == result.free_run["alive"] == (not result.free_run["reasons"])
    with pytest.raises(organoid.FitError, match="device"):
        organoid.fit(bursting(4, 60.0, 3), model="lif", loss="rate", device="cpu")


@pytest.mark.parametrize("length", [2.0, 6.0])
@pytest.mark.slow
def test_free_weights_with_regular_holes(length: float) -> None:
    """A recording with a blank every few seconds, as when a probe pulse is given."""
    rec = bursting(4, 60.0, 3)
    edges = np.arange(0.0, 60.0, length)
    spans = np.column_stack([edges, np.minimum(edges + length - 0.01, 60.0)])
    result = organoid.fit(changed(rec, observed=spans), free_run=short(((4.0, 2),)))
    assert np.all(np.isfinite(result.network.parameters.weights))


# --- the verdict --------------------------------------------------------------------------------------------------

ALIVE = {
    "runaway": False,
    "rate_ratio": 1.1,
    "rate_correlation": 0.9,
    "burst_rate_ratio": 0.8,
    "burst_duration_ratio": 1.2,
    "extra_bursts_per_minute": 0.4,
}


@pytest.mark.parametrize(
    ("changes", "bursts_count", "said"),
    [
        ({}, True, None),
        ({}, False, None),
        ({"rate_ratio": 0.8}, False, "0.80 times the recorded"),
        ({"rate_ratio": None}, False, "undefined"),
        ({"burst_rate_ratio": 0.7}, True, "0.70 times as many network bursts"),
        ({"burst_rate_ratio": 0.7}, False, None),
        ({"burst_duration_ratio": None}, True, "undefined"),
        ({"burst_duration_ratio": 1.4}, True, "last 1.40 times"),
        ({"extra_bursts_per_minute": 0.6}, False, "0.60 network bursts per minute more"),
        ({"extra_bursts_per_minute": 9.0}, True, None),
        ({"runaway": True, "rate_ratio": 9.0}, True, "runs away"),
    ],
)
def test_what_keeps_a_network_from_being_alive(changes: dict[str, Any], bursts_count: bool, said: str | None) -> None:
    found = list(reasons({**ALIVE, **changes}, bursts_count))
    assert len(found) == (said is not None) and (said is None or said in found[0])


def test_good_asks_for_more_than_alive() -> None:
    assert not list(reasons(ALIVE, True)) and len(list(reasons(ALIVE, True, GOOD))) == 2
    perfect = ALIVE | {"rate_ratio": 1.0, "rate_correlation": 1.0, "burst_rate_ratio": 1.0, "burst_duration_ratio": 1.0}
    assert (
        discrepancy(perfect, True) == 0.0 < discrepancy(ALIVE, True) < discrepancy({**ALIVE, "rate_ratio": 0.0}, True)
    )
    assert discrepancy({**ALIVE, "runaway": True}, True) == np.inf
    assert discrepancy(perfect, False) == pytest.approx(0.4), "extra bursts count where the recording has none"
