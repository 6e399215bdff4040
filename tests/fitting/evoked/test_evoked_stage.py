"""Responses to pulses calibrated in free run: against known filters, and against plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulsed_network import SHORT, N, plain_result, pulsed
from scipy.special import expit
from synthetic_recordings import DT, known_network

import organoid
from organoid import FitError, FitResult, SpikeRecording
from organoid.culture import simulate
from organoid.fitting.data.history import warmed_up
from organoid.fitting.evoked.filters import FilterBasis, Trials, forced_filters
from organoid.fitting.evoked.sessions import histogram, session, split_pulses
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.methods.several import between_responses
from organoid.models.spike_response.terms.stimulus import SILENT, StimulusKernels


@pytest.fixture(scope="module")
def rec() -> SpikeRecording:
    return pulsed(1)


@pytest.fixture(scope="module")
def result() -> FitResult:
    return plain_result()


@pytest.fixture(scope="module")
def calibrated(result: FitResult, rec: SpikeRecording) -> FitResult:
    return result.calibrate(rec, settings=SHORT)


# --- calibration ------------------------------------------------------------------------------------------------


def test_it_answers_held_out_pulses_at_the_right_places_and_with_the_right_amount(calibrated: FitResult) -> None:
    early = calibrated.evoked["20_100ms"]
    assert early["r"] > 0.85
    assert np.sum(early["simulated"]) == pytest.approx(np.sum(early["training"]), rel=0.3)
    assert calibrated.evoked["electrodes"] == [3, 5]
    assert calibrated.calibration_status == "calibrated (30 pulses, 2 electrodes)"
    assert len(calibrated.scores["test_pulses"]) == 29
    assert abs(calibrated.evoked["sham"]["simulated"][0]) < 0.1 * np.mean(early["recorded"])


def test_without_pulses_nothing_changes_to_the_bit(
    result: FitResult, calibrated: FitResult, rec: SpikeRecording
) -> None:
    before, after = (simulate(each, 20.0, seed=3) for each in (result, calibrated))
    assert np.array_equal(before.spike_times, after.spike_times)
    assert np.array_equal(before.spike_units, after.spike_units)
    with_pulses = simulate(calibrated, 20.0, seed=3, stimuli=rec.stimuli[rec.stimuli["time_s"].between(8, 20)])
    first = float(with_pulses.stimuli["time_s"].min())
    assert np.array_equal(with_pulses.select(t_stop=first).spike_times, before.select(t_stop=first).spike_times)
    assert not np.array_equal(with_pulses.spike_times, before.spike_times)


def test_pulses_of_a_recording_are_played_as_recorded(calibrated: FitResult, rec: SpikeRecording) -> None:
    played = simulate(calibrated, 90.0, seed=4, stimuli=rec.stimuli)
    assert played.stimuli["amplitude"].isna().all()
    assert played.stimuli["electrode"].tolist() == rec.stimuli["electrode"].tolist()
    lag = (
        played.spike_times
        - rec.stimuli["time_s"].to_numpy()[
            np.maximum(np.searchsorted(rec.stimuli["time_s"], played.spike_times, side="right") - 1, 0)
        ]
    )
    assert not np.any((lag >= 0) & (lag < 0.004)), "blanked bins hold no spikes"
    assert played.observed_duration == pytest.approx(90.0 - len(rec.stimuli) * calibrated.evoked["blanked_s"])


def test_an_unknown_electrode_answers_with_the_mean_of_the_others(calibrated: FitResult) -> None:
    kernels = calibrated.network.stimulus
    assert kernels is not None and kernels.has(77) and not kernels.knows(77)
    track = kernels.track(np.array([0]), np.array([77]), np.array([np.nan]), np.array([""]))
    assert np.allclose(kernels.curves[track.curves[0]], kernels.curves[:2].mean(0))
    stimuli = pd.DataFrame({"time_s": [1.0], "electrode": [77]})
    assert simulate(calibrated, 2.0, stimuli=stimuli).stimuli["electrode"].tolist() == [77]


def test_a_calibration_is_saved_with_its_scores(calibrated: FitResult, tmp_path: Path) -> None:
    calibrated.save(tmp_path / "fit.h5")
    again = organoid.load_fit(tmp_path / "fit.h5")
    assert isinstance(again, FitResult)
    assert again.calibration_status == calibrated.calibration_status
    assert again.evoked["20_100ms"] == calibrated.evoked["20_100ms"]
    assert again.network.describe() == calibrated.network.describe()
    device = organoid.SimulatedCulture(again)
    assert device.info.description["calibration"]["status"] == "calibrated (30 pulses, 2 electrodes)"
    assert "r_20_100ms" in device.info.description["network"]["stimulus"]["scores"]


def test_test_pulses_are_not_learned_from(result: FitResult, rec: SpikeRecording, calibrated: FitResult) -> None:
    one = session(rec, DT)
    held = one.times[~one.training]
    nearest = np.maximum(np.searchsorted(one.times, rec.spike_times, side="right") - 1, 0)
    following = np.append(one.times, rec.t_stop)[nearest + 1]
    after_test = (rec.spike_times >= one.times[0]) & ~one.training[nearest] & (rec.spike_times < following - 0.4)
    rng = np.random.default_rng(0)
    other = SpikeRecording(
        rec.spike_times,
        np.where(after_test, rng.permutation(N)[rec.spike_units], rec.spike_units),
        n_units=N,
        t_stop=rec.t_stop,
        sampling_rate=rec.sampling_rate,
        units=rec.units,
        stimuli=rec.stimuli,
        observed=rec.observed,
    )
    few = EvokedSettings(reach=0.2, rounds=1, polish_rounds=1, polish_copies=1, background=(0.5, 1.4))
    a, b = (result.calibrate(each, settings=few).network.stimulus for each in (rec, other))
    assert a is not None and b is not None and held.size == 29
    assert np.array_equal(a.baseline, b.baseline)
    assert np.array_equal(a.curves, b.curves)


def test_networks_and_recordings_that_cannot_be_calibrated_are_rejected_with_the_reason(
    result: FitResult, rec: SpikeRecording
) -> None:
    silent = known_network(-30.0)
    with pytest.raises(FitError, match="silent in free run"):
        replace(result, network=silent).calibrate(rec)
    with pytest.raises(FitError, match="runs away in free run"):
        replace(result, network=known_network(1.0)).calibrate(rec)
    bare = simulate(result, 20.0, seed=1)
    with pytest.raises(FitError, match="no stimuli"):
        result.calibrate(bare)
    with pytest.raises(FitError, match="lacks 4 of the fit's 8 units"):
        result.calibrate(rec.select(units=[f"u{k}" for k in range(4, N)]))


def test_a_unit_that_was_not_recorded_gets_the_filter_all_electrodes_share(
    result: FitResult, rec: SpikeRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("organoid.fitting.evoked.calibrate.MAX_MISSING", 0.2)
    few = EvokedSettings(reach=0.2, rounds=2, polish_rounds=1, polish_copies=1, background=(0.5, 1.4))
    without = result.calibrate(rec.select(units=[f"u{k}" for k in range(1, N)]), settings=few)
    kernels = without.network.stimulus
    assert kernels is not None and not kernels.curves[:, :, 0].any() and kernels.curves[:, :, 1].any()
    assert not kernels.baseline[:, 0].any() and np.isfinite(without.evoked["20_100ms"]["r"])


# --- plain arithmetic -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 3)), min_size=1, max_size=60), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_pulses_are_split_electrode_by_electrode(pairs: list[tuple[int, int]], n: int) -> None:
    pairs = sorted(set(pairs))
    bins, electrodes = (np.array(column) for column in zip(*pairs))
    every_other, first = split_pulses(bins, electrodes, None), split_pulses(bins, electrodes, n)
    for at in np.unique(bins):
        assert np.unique(every_other[bins == at]).size == 1, "pulses at one time stay together"
    if np.unique(bins).size == bins.size:
        for electrode in np.unique(electrodes):
            own = every_other[electrodes == electrode]
            assert np.array_equal(own, np.arange(own.size) % 2 == 0)
            assert np.array_equal(first[electrodes == electrode], np.arange(own.size) < n)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_histograms_count_observed_bins_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bins, units = np.sort(rng.integers(0, 200, 300)), rng.integers(0, 3, 300)
    observed, onsets = rng.uniform(size=200) < 0.8, np.sort(rng.integers(0, 200, 5))
    found = histogram(bins, units, 3, onsets, 20, observed)
    counts, trials = np.zeros((20, 3)), np.zeros(20)
    for onset in onsets:
        for lag in range(20):
            if onset + lag < 200 and observed[onset + lag]:
                trials[lag] += 1
                for unit in range(3):
                    counts[lag, unit] += np.sum((bins == onset + lag) & (units == unit))
    assert np.array_equal(found.counts, counts) and np.array_equal(found.trials, trials)


def test_forced_filters_are_where_the_penalised_likelihood_is_largest() -> None:
    rng = np.random.default_rng(1)
    values, capacity = rng.uniform(size=(15, 3)), np.array([1, 2])
    offsets = rng.normal(-2.0, 0.5, (40, 15, 2)).astype(np.float32)
    true = rng.normal(size=(3, 2))
    counts = rng.binomial(capacity, expit(offsets + values @ true)).astype(np.float32)
    trials = Trials(
        offsets, counts, np.ones((40, 15)), np.zeros(40, dtype=np.int64), np.arange(40), np.ones((40, 2), np.float32)
    )
    basis = FilterBasis(values, 0, np.array([0]), np.array([40]), DT)
    weights = forced_filters(trials, capacity, basis, EvokedSettings(ridge=3.0))[0]
    shared = forced_filters(trials, capacity, basis, EvokedSettings(ridge=3.0, min_pulses=50))[0]

    def loss(w: np.ndarray, prior: np.ndarray) -> float:
        p = expit(offsets.astype(float) + values @ w)
        spikes = counts * np.log(p) + (capacity - counts) * np.log1p(-p)
        return float(-spikes.sum() + 1.5 * np.sum((w - prior) ** 2))

    for found, prior in ((shared, np.zeros((3, 2))), (weights, shared)):
        for at in np.ndindex(3, 2):
            shift = np.zeros((3, 2))
            shift[at] = 1e-3
            slope = (loss(found + shift, prior) - loss(found - shift, prior)) / 2e-3
            assert abs(slope) < 0.05


def test_blanked_steps_are_silent_and_the_baseline_lasts_as_long_as_it_should() -> None:
    curves = np.ones((1, 5, 2))
    kernels = StimulusKernels(
        DT, np.array([4]), np.array([0]), np.array([1]), curves, np.full(2, -9.0), np.full(2, 9.0),
        baseline=np.array([[0.5, -0.5]]), baseline_steps=8, blanked=2,
    )  # fmt: skip
    track = kernels.track(np.array([10]), np.array([4]), np.array([np.nan]), np.array([""]))
    steps, drive = kernels.drive(track, 0, 30)
    assert steps.tolist() == list(range(10, 18))
    assert np.all(drive[:2] == SILENT)
    assert np.allclose(drive[2:5], [1.5, 0.5]) and np.allclose(drive[5:], [0.5, -0.5])


def test_bins_soon_after_a_long_hole_carry_history_only() -> None:
    observed = np.ones(20_000, dtype=bool)
    observed[5_000:7_000] = False
    observed[9_000:9_004] = False
    kept = warmed_up(observed, DT)
    assert not kept[7_000:7_400].any() and kept[7_400:9_000].all() and kept[9_004:].all() and kept[:5_000].all()


def test_between_responses_leaves_out_what_pulses_evoke(rec: SpikeRecording) -> None:
    rest = between_responses(rec)
    assert len(rest.stimuli) == 0 and rest.n_spikes == rec.n_spikes
    middle = rec.stimuli["time_s"].to_numpy() + 0.3
    inside = (rest.observed[:, 0][:, None] <= middle) & (middle < rest.observed[:, 1][:, None])
    assert not inside.any() and rest.observed_duration > 0.3 * rec.duration
