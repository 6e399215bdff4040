"""Fits of odd recordings, and recordings that are rejected."""

from __future__ import annotations

import escape_oracle as oracle
import numpy as np
import pytest
from fit_checks import same_network
from real_recordings import real_recording
from synthetic_recordings import bursting, changed, known_network, poisson, recorded

import organoid
from organoid import SpikeRecording
from organoid.fitting import FitResult

BIN = 1e-3

BIN = 1e-3


def check_fit(result: FitResult, rec: SpikeRecording) -> None:
    p = result.network.parameters
    for value in (p.weights, p.bias, p.field_weights, p.ceiling, p.drive_low, p.drive_high, p.rate_limit):
        assert np.all(np.isfinite(value))
    test = rec.select(t_start=result.settings["training_stop"])
    if test.n_spikes:
        assert np.isfinite(result.scores["heldout_bits_per_spike"])
        assert np.isfinite(result.scores["heldout_bits_per_spike_uncoupled"])
    mu = result.predict(rec)
    assert np.all(np.isfinite(mu)) and mu.min() >= 0 and np.all(mu <= p.capacity)


def at(times: np.ndarray, units: np.ndarray, n_units: int, duration: float) -> SpikeRecording:
    return SpikeRecording(times, units, n_units=n_units, t_start=0.0, t_stop=duration)


def one_unit() -> SpikeRecording:
    return poisson([6.0], 30.0, 0)


def drifting() -> SpikeRecording:
    rec = poisson([10.0, 10.0, 10.0], 40.0, 1)
    keep = np.random.default_rng(0).uniform(size=rec.n_spikes) < 1 - 0.95 * rec.spike_times / 40
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def wakes_up_in_the_test_part() -> SpikeRecording:
    rec = poisson([5.0, 5.0, 5.0], 40.0, 2)
    keep = (rec.spike_units != 2) | (rec.spike_times > 33)
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def falls_silent_in_the_test_part() -> SpikeRecording:
    rec = poisson([5.0, 5.0, 5.0], 40.0, 2)
    keep = (rec.spike_units != 2) | (rec.spike_times < 31)
    return changed(rec, times=rec.spike_times[keep], units=rec.spike_units[keep])


def with_holes() -> SpikeRecording:
    rec = poisson([5.0, 8.0, 3.0], 40.0, 3)
    return changed(rec, observed=np.array([[0.0, 3.0], [3.5, 20.0], [28.0, 39.0]]))


def unobserved_validation_block() -> SpikeRecording:
    rec = poisson([5.0, 8.0, 3.0], 40.0, 3)
    return changed(rec, observed=np.array([[0.0, 25.0], [33.0, 40.0]]))


def identical_units() -> SpikeRecording:
    rec = poisson([8.0], 30.0, 4)
    return at(np.tile(rec.spike_times, 2), np.repeat([0, 1], rec.n_spikes), 2, 30.0)


def fires_every_millisecond() -> SpikeRecording:
    rec = poisson([5.0], 20.0, 5)
    clock = np.arange(20_000) * 1e-3 + 5e-4
    return at(np.r_[clock, rec.spike_times], np.r_[np.zeros(20_000, int), np.ones(rec.n_spikes, int)], 2, 20.0)


def several_a_bin() -> SpikeRecording:
    rec = poisson([5.0, 5.0], 30.0, 6)
    return at(np.repeat(rec.spike_times, 4), np.repeat(rec.spike_units, 4), 2, 30.0)


def one_burst() -> SpikeRecording:
    rng = np.random.default_rng(7)
    return at(5 + rng.uniform(0, 0.2, 400), rng.integers(0, 4, 400), 4, 60.0)


def eleven_seconds() -> SpikeRecording:
    return poisson([4.0, 4.0], 11.0, 8)


def odd_clock() -> SpikeRecording:
    rec = bursting(4, 40.0, 9)
    ticks = np.floor(rec.spike_times * 7702.0)
    return SpikeRecording(ticks / 7702.0, rec.spike_units, n_units=4, t_start=0.0, t_stop=40.0, sampling_rate=7702.0)


ODD = (
    one_unit,
    drifting,
    wakes_up_in_the_test_part,
    falls_silent_in_the_test_part,
    with_holes,
    unobserved_validation_block,
    identical_units,
    fires_every_millisecond,
    several_a_bin,
    one_burst,
    eleven_seconds,
    odd_clock,
)


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.slow
def test_odd_recordings_give_finite_fits(make: object) -> None:
    rec = make()  # type: ignore[operator]
    result = organoid.fit(rec, free_run=False)
    check_fit(result, rec)
    n = rec.n_units
    assert len(result.edges) == n * (n - 1) and len(result.per_unit) == n
    if make is one_unit:
        assert result.settings["chosen"] == "own history only" or result.scores["n_coupled_units"] <= 1
    if make is wakes_up_in_the_test_part:
        assert result.scores["heldout_bits_per_spike"] < 1e-9  # nothing better than constant rates can be known
        assert any("no spike in the training part" in note for note in result.notes)
    if make is falls_silent_in_the_test_part:
        assert np.isnan(result.per_unit["bits_per_spike"][2]) and np.isfinite(result.per_unit["bits_per_spike"][0])
    if make is with_holes:
        assert any("not fully observed" in note for note in result.notes)
    if make is several_a_bin:
        assert result.network.parameters.capacity.tolist() == [4, 4] or min(result.network.parameters.capacity) >= 4
    if make is one_burst:
        assert np.isnan(result.scores["heldout_bits_per_spike"])
    if make in (identical_units, fires_every_millisecond):
        assert result.scores["heldout_bits_per_spike"] > -0.05


def test_a_silent_unit_that_wakes_up_costs_what_the_formula_says() -> None:
    """Finite and the same for everybody: the floor is half a spike in the training part."""
    rec = wakes_up_in_the_test_part()
    result = organoid.fit(rec, free_run=False)
    counts, mu = rec.counts(BIN), result.predict(rec)
    mean = np.maximum(counts[:32_000].sum(0), 0.5) / 32_000
    assert mean[2] == 0.5 / 32_000
    by_hand = oracle.bits_per_spike(counts[32_000:], mu[32_000:], mean)
    assert result.scores["heldout_bits_per_spike"] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("bin_width", [0.0005, 0.005])
@pytest.mark.slow
def test_other_bin_widths(bin_width: float) -> None:
    rec = recorded(known_network(), 30.0, seed=3)
    result = organoid.fit(rec, bin_width=bin_width, free_run=False)
    check_fit(result, rec)
    assert result.bin_width == result.network.dt == bin_width
    assert result.predict(rec).shape == rec.counts(bin_width).shape


@pytest.mark.slow
def test_short_bursting_cultures_are_coupled() -> None:
    gains = []
    for seed in range(3):
        scores = organoid.fit(bursting(5, 15.0, seed), free_run=False).scores
        gains.append(scores["heldout_bits_per_spike"] - scores["heldout_bits_per_spike_uncoupled"])
    assert min(gains) > 0.1


def test_bursting_culture_gains_from_the_population() -> None:
    rec = bursting(6, 90.0, 10)
    result = organoid.fit(rec, free_run=False)
    assert result.scores["heldout_bits_per_spike"] > result.scores["heldout_bits_per_spike_uncoupled"] + 0.2
    assert result.predict(rec).sum() == pytest.approx(rec.n_spikes, rel=0.05)


def test_too_little_is_refused() -> None:
    with pytest.raises(organoid.FitError, match=r"9\.5 s.*10 s"):
        organoid.fit(poisson([20.0], 9.5, 0))
    with pytest.raises(organoid.FitError, match="spikes"):
        organoid.fit(poisson([0.5], 20.0, 0))
    late = poisson([50.0, 50.0], 20.0, 0)
    keep = late.spike_times > 16.0
    with pytest.raises(organoid.FitError, match="0 observed spikes"):
        organoid.fit(changed(late, times=late.spike_times[keep], units=late.spike_units[keep]))
    with pytest.raises(organoid.FitError):
        organoid.fit(SpikeRecording([], [], n_units=0, t_stop=100.0))
    with pytest.raises(organoid.FitError, match="observed"):
        organoid.fit(changed(late, observed=np.array([[0.0, 15.0]])))
    with pytest.raises(organoid.FitError, match="compare=True belongs to a fit by gradient"):
        organoid.fit(late, compare=True)


def test_spikes_nobody_could_see_are_not_enough() -> None:
    rec = poisson([9.0, 9.0], 40.0, 2)
    early = rec.spike_times < 20
    hidden = changed(rec, times=rec.spike_times[early], units=rec.spike_units[early], observed=np.array([[20.0, 40.0]]))
    with pytest.raises(organoid.FitError, match="spikes"):
        organoid.fit(hidden, free_run=False)


def test_several_wells_are_refused_by_name() -> None:
    import pandas as pd

    rec = poisson([8.0, 8.0, 8.0, 8.0], 20.0, 0)
    plate = SpikeRecording(
        rec.spike_times,
        rec.spike_units,
        t_start=0.0,
        t_stop=20.0,
        units=pd.DataFrame({"well": ["A1", "A1", "B3", "B3"]}),
    )
    with pytest.raises(organoid.RecordingError, match="A1, B3"):
        organoid.fit(plate)
    one = organoid.fit(plate, well="B3", free_run=False)
    assert one.network.n_units == 2
    same_network(one, organoid.fit(plate.select(well="B3"), free_run=False))


@pytest.mark.slow
def test_real_culture_is_predicted_no_worse_than_by_own_history() -> None:
    rec = organoid.read_recording(real_recording("carmen", "hiPSN_tc146_d21_spikes6sd.h5"))
    result = organoid.fit(rec, free_run=False)
    scores = result.scores
    assert scores["heldout_bits_per_spike"] >= scores["heldout_bits_per_spike_uncoupled"] - 0.01
    assert scores["heldout_bits_per_spike"] > 0.5
    test = slice(round(result.settings["training_stop"] / BIN) - round(rec.t_start / BIN), None)
    mu, counts = result.predict(rec)[test], rec.counts(BIN)[test]
    assert mu.sum() == pytest.approx(counts.sum(), rel=0.15)
