"""Geometry, recruitment, the tissue on its frame clock, `simulate` and the presets."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_network import StubNetwork, StubResult, line

import organoid
from organoid.culture import (
    Recruitment,
    StimulationCalibration,
    Tissue,
    TissueState,
    place,
    simulate,
)
from organoid.culture.geometry import with_stimulated
from organoid.errors import ModelError, StimulationError
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.stimulation import Pulse

WIDTH = 200e-6
STRONG = Pulse.biphasic(0, 3e-6, WIDTH)
QUIET = 0.0
DISTANCES = np.array([[0.0, 50.0, 100.0, 150.0, 200.0, 300.0, 400.0, 1e4, np.inf]])


def escape_network(n: int = 6, dt: float = 1e-3, capacity: int = 1) -> SpikeResponseNetwork:
    weights = np.random.default_rng(3).normal(0.0, 0.8, (2, n, n))
    weights[0, np.arange(n), np.arange(n)] = -6.0
    return SpikeResponseNetwork(
        plain_parameters(
            dt=dt,
            tau=np.array([0.005, 0.05]),
            weights=weights,
            bias=np.full(n, -3.5),
            capacity=np.full(n, capacity),
        )
    )


def tissue_of(network: FreeRunningNetwork, **changes: float) -> Tissue:
    """A line of units, 100 um apart, each with an electrode, well calibrated."""
    geometry = place(network.n_units, line(network.n_units, 100.0), line(network.n_units, 100.0))
    return Tissue(
        network, geometry, replace(Recruitment(), **changes), StimulationCalibration(1.0, 0.5, "calibrated", 40)
    )


# --- geometry ---------------------------------------------------------------------------------------------------


def test_distances_run_from_electrodes_to_units() -> None:
    geometry = place(3, line(3), pd.DataFrame({"x_um": [0.0, 200.0], "y_um": [150.0, 0.0]}))
    assert geometry.distances == pytest.approx(np.array([[150, 250, np.hypot(400, 150)], [200, 0, 200]]))
    assert geometry.nearest_electrode.tolist() == [0, 1, 1]
    assert geometry.warnings == ()


def test_without_electrodes_they_stand_where_units_are() -> None:
    units = pd.DataFrame({"x_um": [0.0, 0.0, 50.0], "y_um": 0.0, "electrode": [7, 7, 9]})
    geometry = place(3, units)
    assert geometry.electrodes["electrode"].tolist() == [7, 9]
    assert "2 virtual electrodes" in geometry.warnings[0]


def test_units_without_position_are_out_of_reach() -> None:
    units = pd.DataFrame({"x_um": [0.0, np.nan], "y_um": [0.0, 5.0]})
    geometry = place(2, units, line(2))
    assert np.isinf(geometry.distances[:, 1]).all()
    assert "1 of 2 units have no position" in geometry.warnings[0]
    assert Recruitment().probability(Pulse.biphasic([0, 1], 10e-6, 1e-3), geometry.distances)[1] == 0


def test_without_any_position_each_unit_has_its_own_electrode() -> None:
    geometry = place(3)
    assert geometry.distances[1].tolist() == [np.inf, 0.0, np.inf]
    assert "reaching that unit alone" in geometry.warnings[0]


def test_electrodes_that_cannot_stimulate_are_known() -> None:
    electrodes = pd.DataFrame({"x_um": [0.0, 1.0, np.nan], "y_um": 0.0, "can_stimulate": [True, False, True]})
    assert place(2, line(2), electrodes).unreachable.tolist() == [1, 2]


# --- recruitment ------------------------------------------------------------------------------------------------


def test_defaults_do_what_they_were_chosen_for() -> None:
    one, three = (Recruitment().probability(Pulse.biphasic(0, a, WIDTH), DISTANCES) for a in (1e-6, 3e-6))
    assert one[0] > 0.99
    assert one[4] < 0.05
    assert three[4] > 0.8
    assert three[-1] == 0


@given(st.floats(1e-8, 1e-5), st.floats(1.01, 10.0), st.booleans(), st.sampled_from(["A", "V"]))
def test_recruitment_falls_with_distance_and_grows_with_strength(
    amplitude: float, factor: float, cathodic_first: bool, unit: str
) -> None:
    scale = 1.0 if unit == "A" else Recruitment().access_resistance
    pulse = Pulse.biphasic(0, amplitude * scale, WIDTH, unit=unit, cathodic_first=cathodic_first)  # type: ignore[arg-type]
    p = Recruitment().probability(pulse, DISTANCES)
    assert np.all(np.diff(p) <= 0)
    assert np.all(Recruitment().probability(pulse.scaled(factor), DISTANCES) >= p)
    wider = Pulse.biphasic(0, amplitude * scale, WIDTH * factor, unit=unit)  # type: ignore[arg-type]
    assert np.all(Recruitment().probability(wider, DISTANCES) >= p)


def test_cathodic_phases_recruit_more_than_anodic_ones() -> None:
    cathodic, anodic = (Pulse.monophasic(0, sign * 1e-6, WIDTH) for sign in (-1, 1))
    p, q = (Recruitment().probability(pulse, DISTANCES) for pulse in (cathodic, anodic))
    assert np.all(p[:5] > q[:5])
    thrice = Recruitment().probability(anodic.scaled(3.0), DISTANCES)
    assert thrice == pytest.approx(p)


def test_threshold_follows_its_equations() -> None:
    law = Recruitment()
    current = (law.threshold + law.spread * 150.0**2) * (1 + law.chronaxie / 5e-4) / (1 + law.chronaxie / 2e-4)
    p = law.probability(Pulse.monophasic(0, -current, 5e-4), DISTANCES)
    assert p[3] == pytest.approx(0.5)


def test_electrodes_act_independently() -> None:
    distances = np.array([[100.0], [150.0]])
    single = [Recruitment().probability(Pulse.biphasic(k, 1e-6, WIDTH), distances)[0] for k in (0, 1)]
    both = Recruitment().probability(Pulse.biphasic([0, 1], 1e-6, WIDTH), distances)[0]
    assert both == pytest.approx(1 - (1 - single[0]) * (1 - single[1]))


def test_refractory_units_are_not_recruited() -> None:
    factor = Recruitment().availability(np.array([-1e-3, 0.0, 1.9e-3, 2e-3, 3e-3, 10e-3, 1e6]))
    assert factor[:4].tolist() == [0, 0, 0, 0]
    assert 0.5 < factor[4] < factor[5] < factor[6] == 1
    hard = replace(Recruitment(), recovery=0.0).availability(np.array([-1e-3, 1.9e-3, 2e-3]))
    assert hard.tolist() == [0, 0, 1]


def test_neurons_hit_is_density_times_area() -> None:
    sharp = replace(Recruitment(), log_slope=1e-3)
    radius2_mm2 = (2e-6 - sharp.threshold) / sharp.spread * 1e-6
    assert sharp.neurons_hit(Pulse.monophasic(0, -2e-6, WIDTH)) == pytest.approx(100 * np.pi * radius2_mm2, rel=0.01)
    weak = Recruitment().neurons_hit(Pulse.biphasic(0, 1e-9, WIDTH))
    assert 0 <= weak < 1e-3


@pytest.mark.parametrize(
    "change",
    [{"threshold": 0.0}, {"spread": -1.0}, {"anodic_factor": 0.5}, {"latency_max": 6e-3}, {"log_slope": np.nan}],
)
def test_impossible_recruitment_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(StimulationError, match=next(iter(change))[:5]):
        replace(Recruitment(), **change)


def test_calibration_warns_until_calibrated() -> None:
    assert "not calibrated" in StimulationCalibration().warnings[0]
    assert StimulationCalibration(1.0, 0.2, "calibrated", 30).warnings == ()
    with pytest.raises(StimulationError):
        StimulationCalibration(status="done")


# --- tissue -----------------------------------------------------------------------------------------------------


def test_steps_must_be_whole_frames() -> None:
    with pytest.raises(ModelError, match="whole number"):
        tissue_of(StubNetwork(dt=0.33e-3))
    geometry = place(5, line(5))
    assert Tissue(StubNetwork(dt=1e-3), geometry, frame_rate=Fraction(25_000)).frames_per_step == 25


def test_network_spikes_lie_inside_their_step() -> None:
    network = StubNetwork(rate=300.0, capacity=4)
    tissue = tissue_of(network)
    block = tissue.advance(tissue.initial_state(3), 20_000)
    plain = network.advance(network.initial_state(3), 1_000)
    got = np.lexsort((block.spike_units, block.spike_frames // 20))
    assert (block.spike_frames[got] // 20).tolist() == plain.steps.tolist()
    assert block.spike_units[got].tolist() == plain.units.tolist()
    pairs = set(zip(block.spike_frames.tolist(), block.spike_units.tolist(), strict=True))
    assert len(pairs) == block.spike_frames.size, "two spikes of one unit in one frame"
    offsets = np.bincount(block.spike_frames % 20, minlength=20)
    assert offsets.min() > 0.6 * offsets.mean()


def test_recruited_units_spike_soon_and_the_network_answers_in_the_next_step() -> None:
    tissue = tissue_of(StubNetwork(rate=QUIET, couplings=((0, 4),)), spread=1.0)
    block = tissue.advance(tissue.initial_state(1), 2_000, [(1_007, STRONG)])
    assert block.spike_units.tolist() == [0, 4]
    assert block.direct.tolist() == [True, False]
    assert 1_007 < block.spike_frames[0] < 1_007 + 100
    assert block.spike_frames[1] // 20 == block.spike_frames[0] // 20 + 1


def test_the_volley_reaches_the_fields_in_the_next_step() -> None:
    network = StubNetwork(rate=QUIET)
    calibration = StimulationCalibration(0.0, 1e3, "calibrated", 40)
    tissue = Tissue(network, place(5, line(5, 2_000.0), line(5, 2_000.0)), calibration=calibration)
    block = tissue.advance(tissue.initial_state(1), 2_000, [(1_007, STRONG)])
    own = block.spike_frames[~block.direct] // 20
    assert own.size >= 4, "a unit that is forced in that step has no spike of its own"
    assert set(own.tolist()) == {51}


def test_latencies_are_short_and_spread() -> None:
    tissue = tissue_of(StubNetwork(1, rate=QUIET))
    pulses = [(1_000 * k, STRONG) for k in range(1, 300)]
    block = tissue.advance(tissue.initial_state(1), 400_000, pulses)
    latency = (block.spike_frames % 1_000) / 20_000
    assert block.spike_frames.size > 295
    assert 0.3e-3 - 1e-9 <= latency.min() < 0.4e-3
    assert 2.5e-3 < latency.max() <= 3e-3
    assert np.median(latency) < 1.5e-3


def test_a_unit_that_just_spiked_or_is_about_to_is_not_recruited_again() -> None:
    tissue = tissue_of(StubNetwork(1, rate=QUIET))
    pulses = [(1_000, STRONG), (1_001, STRONG), (1_060, STRONG), (1_200, STRONG)]
    block = tissue.advance(tissue.initial_state(1), 2_000, pulses)
    gaps = np.diff(block.spike_frames)
    assert np.all(gaps >= 40)
    assert 2 <= block.spike_frames.size <= 3


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3_000), max_size=12),
    st.lists(st.tuples(st.integers(0, 2_999), st.integers(0, 5)), max_size=6),
    st.sampled_from([(1e-3, 1), (5e-3, 1), (2e-3, 3), (5e-5, 1)]),
)
def test_cuts_change_nothing(cuts: list[int], hits: list[tuple[int, int]], kind: tuple[float, int]) -> None:
    tissue = tissue_of(escape_network(dt=kind[0], capacity=kind[1]))
    pulses = [(frame, STRONG.on(electrode)) for frame, electrode in sorted(hits)]
    whole = tissue.advance(tissue.initial_state(5), 3_000, pulses)
    state: TissueState = tissue.initial_state(5)
    frames, units = [], []
    for cut in [*sorted(cuts), 3_000]:
        due = [pair for pair in pulses if state.frame <= pair[0] < cut]
        block = tissue.advance(state, cut, due)
        state = block.state
        frames.append(block.spike_frames)
        units.append(block.spike_units)
    assert np.concatenate(frames).tolist() == whole.spike_frames.tolist()
    assert np.concatenate(units).tolist() == whole.spike_units.tolist()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2_999), st.integers(0, 5), st.integers(0, 2**40))
def test_spikes_before_the_first_pulse_are_the_same_without_it(frame: int, electrode: int, seed: int) -> None:
    tissue = tissue_of(escape_network())
    without = tissue.advance(tissue.initial_state(seed), 3_000)
    with_pulse = tissue.advance(tissue.initial_state(seed), 3_000, [(frame, STRONG.on(electrode))])
    before, other = without.spike_frames < frame, with_pulse.spike_frames < frame
    assert without.spike_frames[before].tolist() == with_pulse.spike_frames[other].tolist()
    assert without.spike_units[before].tolist() == with_pulse.spike_units[other].tolist()


def test_pulses_out_of_place_are_refused() -> None:
    tissue = tissue_of(StubNetwork())
    state = tissue.initial_state(0)
    with pytest.raises(StimulationError, match="expected frames in order"):
        tissue.advance(state, 100, [(100, STRONG)])
    with pytest.raises(StimulationError, match="expected frames in order"):
        tissue.advance(state, 100, [(50, STRONG), (40, STRONG)])
    with pytest.raises(StimulationError, match="electrode 9"):
        tissue.advance(state, 100, [(50, STRONG.on(9))])


# --- simulate ---------------------------------------------------------------------------------------------------


def test_simulate_returns_a_recording_on_the_frame_grid() -> None:
    rec = simulate(StubNetwork(rate=20.0), 3.0, seed=4)
    assert (rec.sampling_rate, rec.t_start, rec.t_stop, rec.n_units) == (20_000, 0.0, 3.0, 5)
    assert np.array_equal(rec.spike_times, rec.spike_ticks / 20_000)
    assert rec.n_spikes == pytest.approx(300, abs=60)
    assert rec.metadata["runaway"] is False
    assert rec.equals(simulate(StubNetwork(rate=20.0), 3.0, seed=4))
    assert not rec.equals(simulate(StubNetwork(rate=20.0), 3.0, seed=5))


def test_simulate_is_a_longer_piece_of_the_same_future() -> None:
    short, long = (simulate(StubNetwork(rate=20.0), duration) for duration in (1.7, 5.0))
    assert short.spike_times.tolist() == long.select(t_stop=1.7).spike_times.tolist()


def test_simulate_knows_the_tables_of_a_fit_and_gives_pulses() -> None:
    electrodes = line(5).assign(electrode=[10, 20, 30, 40, 50])
    result = StubResult(StubNetwork(rate=QUIET), line(5), electrodes)
    rec = organoid.simulate(result, 2.0, stimuli=[(0.5, STRONG.on(2)), (1.0, STRONG.on([0, 4]))])
    assert rec.stimuli["electrode"].tolist() == [30, 10, 50]
    assert rec.units["x_um"].tolist() == [0, 200, 400, 600, 800]
    assert rec.n_spikes > 0
    assert np.all((rec.spike_times - 0.5) % 0.5 < 0.02)
    assert any("not calibrated" in note for note in rec.notes)
    again = organoid.simulate(result, 2.0, stimuli=rec.stimuli)
    assert again.spike_times.tolist() == rec.spike_times.tolist()
    assert again.stimuli.equals(rec.stimuli)


@pytest.mark.parametrize(
    ("stimuli", "message"),
    [([(5.0, STRONG)], "runs from 0 to 2 s"), ([STRONG], "time in s, Pulse"), ([(0.1, 3)], "expected a Pulse")],
)
def test_unusable_stimuli_are_named(stimuli: list[object], message: str) -> None:
    with pytest.raises(StimulationError, match=message):
        simulate(StubNetwork(), 2.0, stimuli=stimuli)  # type: ignore[arg-type]


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), "ten"])
def test_impossible_durations_are_refused(duration: float) -> None:
    with pytest.raises(ModelError, match="duration"):
        simulate(StubNetwork(), duration)


def test_what_cannot_run_freely_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot run freely"):
        simulate(object(), 1.0)


def test_a_network_that_runs_away_is_cut_off_and_said_so() -> None:
    rec = simulate(StubNetwork(runaway_step=2_500), 60.0, stimuli=[(1.0, STRONG), (50.0, STRONG)])
    assert rec.t_stop == pytest.approx(2.5)
    assert rec.metadata["runaway"] is True
    assert rec.metadata["runaway_time_s"] == pytest.approx(2.5)
    assert len(rec.stimuli) == 1
    assert any(note.startswith("runaway: ") for note in rec.notes)


def test_a_network_without_a_limit_of_its_own_is_cut_off_too() -> None:
    rec = simulate(StubNetwork(rate=900.0), 3_600.0)
    assert rec.metadata["runaway"] is True
    assert rec.t_stop <= 2.0


def test_electrodes_that_were_stimulated_join_a_table_and_can_be() -> None:
    known = pd.DataFrame({"channel": [0, 1], "electrode": [0, 1], "can_stimulate": [True, False]})
    pulses = pd.DataFrame({"time_s": [0.1, 0.2], "channel": pd.array([33, 0], dtype="Int64")})
    table, named = with_stimulated(
        known, pulses.assign(electrode=pd.array([pd.NA] * 2, dtype="Int64")), 2, np.arange(2)
    )
    assert table["can_stimulate"].tolist() == [True, False, True]
    assert named["electrode"].tolist() == [33, 0]
