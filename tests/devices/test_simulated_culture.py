"""`SimulatedCulture` and `ReplayedRecording` as devices."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_network import StubNetwork, StubResult, line

import organoid
from organoid.closed_loop.contracts import Block, Command, Device
from organoid.culture import Recruitment, StimulationCalibration
from organoid.devices import DEVICES, ReplayedRecording, SimulatedCulture
from organoid.errors import DeviceError
from organoid.recording import SpikeRecording
from organoid.stimulation import PROFILES, Pulse

PULSE = Pulse.biphasic(0, 3e-6, 200e-6)


def quiet_culture(n_units: int = 5, **options: object) -> SimulatedCulture:
    culture = SimulatedCulture(StubResult(StubNetwork(n_units, rate=0.0), line(n_units), line(n_units)), **options)  # type: ignore[arg-type]
    culture.start(1)
    return culture


def preset_culture(seed: int = 7, **options: object) -> SimulatedCulture:
    culture = SimulatedCulture(organoid.preset("bursting_culture"), **options)  # type: ignore[arg-type]
    culture.start(seed)
    return culture


def joined(blocks: list[Block]) -> tuple[list[int], list[int]]:
    frames = np.concatenate([block.spike_frames for block in blocks])
    units = np.concatenate([block.spike_units for block in blocks])
    return frames.tolist(), units.tolist()


def test_registry_of_devices() -> None:
    assert {"simulated_culture", "replayed_recording"} <= set(DEVICES)


def test_both_keep_the_device_contract_for_the_type_checker() -> None:
    recording = SpikeRecording([0.1], [0], t_stop=1.0)
    devices: list[Device] = [quiet_culture(), ReplayedRecording(recording)]
    for device in devices:
        device.start(0)
        assert device.advance(10).stop_frame == 10
        device.interrupt()
        device.close()


def test_info_says_what_is_behind_it() -> None:
    info = quiet_culture(calibration=StimulationCalibration(1.0, 0.2, "calibrated", 30)).info
    assert info.frame_rate == Fraction(20_000)
    assert info.n_units == 5
    assert info.profile.allowed_electrodes == frozenset(range(5))
    assert info.description["network"]["model"] == "stub"
    assert info.description["calibration"] == {"gamma": 1.0, "beta": 0.2, "status": "calibrated", "n_pulses": 30}
    assert info.description["recruitment"]["threshold"] == Recruitment().threshold
    assert info.warnings == ()
    assert any("not calibrated" in warning for warning in quiet_culture().info.warnings)


def test_a_profile_sets_clock_and_limits() -> None:
    culture = quiet_culture(profile="cl1")
    assert culture.info.frame_rate == Fraction(25_000)
    refused, accepted = culture.stimulate([Command(PULSE), Command(PULSE.on(1))])
    assert not refused.accepted
    assert "must not be stimulated" in refused.reason
    assert accepted.accepted
    forbidding = quiet_culture(electrodes=line(3).assign(can_stimulate=[True, False, True]))
    assert not forbidding.stimulate([Command(PULSE.on(1))])[0].accepted


def test_recruited_units_spike_within_20_ms_at_the_stimulated_place() -> None:
    culture = quiet_culture()
    culture.advance(2_003)
    (receipt,) = culture.stimulate([Command(PULSE.on(2), label="probe")])
    assert (receipt.accepted, receipt.frame) == (True, 2_003)
    block = culture.advance(2_403)
    assert block.delivered[0].frame == 2_003
    assert block.delivered[0].command.label == "probe"
    assert 2 in block.spike_units.tolist()
    assert np.all((block.spike_frames > 2_003) & (block.spike_frames < 2_003 + 100))


def test_recruitment_falls_with_distance() -> None:
    culture = quiet_culture()
    hits = np.zeros(5)
    for k in range(200):
        culture.stimulate([Command(PULSE, at_frame=2_000 * k)])
        hits += np.bincount(culture.advance(2_000 * (k + 1)).spike_units, minlength=5)
    assert hits[0] > 195
    assert np.all(np.diff(hits) <= 0)
    assert 120 < hits[1] < 199
    assert hits[4] <= 2


def test_a_second_pulse_finds_units_refractory() -> None:
    culture = quiet_culture(1)
    culture.stimulate([Command(PULSE, at_frame=1_000), Command(PULSE, at_frame=1_040)])
    block = culture.advance(2_000)
    assert len(block.delivered) == 2
    assert block.spike_frames.size == 1


def test_a_busy_electrode_delays_a_pulse_and_a_fast_one_is_refused() -> None:
    long = Pulse.biphasic(0, 1e-6, 2e-3)
    culture = quiet_culture()
    first, second, third = culture.stimulate([Command(long), Command(long), Command(long.on(1))])
    assert (first.frame, second.frame, third.frame) == (0, 80, 0)
    culture = quiet_culture()
    first, second = culture.stimulate([Command(PULSE, at_frame=100), Command(PULSE, at_frame=100)])
    assert first.frame == 100
    assert not second.accepted
    assert "500 Hz" in second.reason


def test_pulses_in_the_past_come_now_and_order_is_by_frame() -> None:
    culture = quiet_culture()
    culture.advance(500)
    receipts = culture.stimulate(
        [Command(PULSE.on(k), at_frame=at) for k, at in ((0, 900), (1, 100), (2, None), (3, 700))]
    )
    assert [receipt.frame for receipt in receipts] == [900, 500, 500, 700]
    block = culture.advance(800)
    assert [(given.frame, given.command.pulse.electrodes[0]) for given in block.delivered] == [
        (500, 1),
        (500, 2),
        (700, 3),
    ]
    assert [given.frame for given in culture.advance(1_000).delivered] == [900]


def test_interrupt_drops_waiting_pulses_and_their_dose() -> None:
    culture = quiet_culture()
    commands = [Command(PULSE.on(0), at_frame=100), Command(PULSE.on([1, 2]), at_frame=100), Command(PULSE.on(3), 100)]
    culture.stimulate(commands)
    before = culture.snapshot().guard.dose
    culture.interrupt([2, 3])
    assert culture.snapshot().guard.dose == pytest.approx(before / 4)
    assert [given.command.pulse.electrodes for given in culture.advance(200).delivered] == [(0,)]
    culture.stimulate(commands)
    culture.interrupt()
    assert culture.advance(400).delivered == ()


def test_dose_limit_of_a_session_holds() -> None:
    profile = replace(PROFILES["simulated"], name="frugal", max_session_dose=3e-9)
    culture = quiet_culture(profile=profile)
    receipts = culture.stimulate([Command(PULSE, at_frame=1_000 * k) for k in range(4)])
    assert [receipt.accepted for receipt in receipts] == [True, True, False, False]
    assert "dose" in receipts[2].reason
    culture.start(1)
    assert culture.stimulate([Command(PULSE)])[0].accepted


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 12_000), max_size=10), st.lists(st.tuples(st.integers(0, 11_000), st.integers(0, 63))))
def test_cuts_change_nothing(cuts: list[int], hits: list[tuple[int, int]]) -> None:
    commands = [Command(PULSE.on(electrode), at_frame=frame) for frame, electrode in hits]
    whole, pieces = preset_culture(blanking=2e-3), preset_culture(blanking=2e-3)
    assert whole.stimulate(commands) == pieces.stimulate(commands)
    expected = whole.advance(12_000)
    blocks = [pieces.advance(cut) for cut in [*sorted(cuts), 12_000]]
    assert joined(blocks) == joined([expected])
    assert [given for block in blocks for given in block.delivered] == list(expected.delivered)
    assert pieces.n_blanked == whole.n_blanked


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 20_000), max_size=8), st.integers(0, 19_000), st.integers(0, 2**32))
def test_spikes_before_the_first_pulse_are_those_without_it(cuts: list[int], first: int, seed: int) -> None:
    silent, stimulated = preset_culture(seed), preset_culture(seed)
    expected = silent.advance(20_000)
    blocks = [stimulated.advance(cut) for cut in sorted(cut for cut in cuts if cut <= first)]
    stimulated.stimulate([Command(PULSE.on(27), at_frame=first), Command(PULSE.on(30), at_frame=first)])
    blocks += [stimulated.advance(cut) for cut in sorted(cut for cut in cuts if cut > first)] + [
        stimulated.advance(20_000)
    ]
    frames, units = joined(blocks)
    n_before = int(np.searchsorted(expected.spike_frames, first))
    assert frames[:n_before] == expected.spike_frames[:n_before].tolist()
    assert units[:n_before] == expected.spike_units[:n_before].tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6_000), st.integers(0, 8_000), st.booleans())
def test_a_restored_snapshot_has_the_same_future(at: int, pulse_frame: int, by_pickle: bool) -> None:
    culture = preset_culture(blanking=3e-3)
    culture.stimulate([Command(PULSE.on(27), at_frame=pulse_frame), Command(PULSE.on(28), at_frame=7_000)])
    culture.advance(at)
    snapshot = culture.snapshot()

    def future(device: SimulatedCulture) -> tuple[object, ...]:
        receipts = device.stimulate([Command(PULSE.on(27)), Command(PULSE.on(40), at_frame=9_000)])
        block = device.advance(14_000)
        return joined([block]), block.delivered, receipts, device.n_blanked

    first = future(culture)
    other = preset_culture(seed=99, blanking=3e-3)
    other.restore(pickle.loads(pickle.dumps(snapshot)) if by_pickle else snapshot)
    assert other.frame == at
    assert future(other) == first
    culture.restore(snapshot)
    assert future(culture) == first


def test_seeds_differ_and_starting_again_repeats() -> None:
    culture = preset_culture(1)
    first = culture.advance(100_000)
    culture.start(1)
    again = culture.advance(100_000)
    culture.start(2)
    other = culture.advance(100_000)
    assert joined([first]) == joined([again])
    assert joined([first]) != joined([other])


def test_blanking_hides_spikes_near_the_electrode_and_counts_them() -> None:
    open_eyed, blind = preset_culture(), preset_culture(blanking=5e-3)
    for culture in (open_eyed, blind):
        culture.stimulate([Command(PULSE.on(27), at_frame=1_000 * k) for k in range(1, 40)])
    seen, hidden = open_eyed.advance(60_000), blind.advance(60_000)
    at_electrode = int(open_eyed.info.units.index[open_eyed.info.units["electrode"] == 27][0])
    direct = (seen.spike_units == at_electrode) & (seen.spike_frames % 1_000 < 100) & (seen.spike_frames < 40_000)
    assert direct.sum() > 30
    lost = set(zip(*joined([seen]), strict=True)) - set(zip(*joined([hidden]), strict=True))
    assert {unit for _, unit in lost} == {at_electrode}
    assert blind.n_blanked == len(lost) == seen.spike_frames.size - hidden.spike_frames.size
    assert any("go undetected for 5 ms" in warning for warning in blind.info.warnings)


def test_it_is_built_again_from_a_file(tmp_path: Path) -> None:
    calibration = StimulationCalibration(0.8, 0.3, "calibrated", 30)
    recruitment = replace(Recruitment(), spread=2e-11)
    culture = preset_culture(profile="cl1", calibration=calibration, recruitment=recruitment, blanking=1e-3)
    with h5py.File(tmp_path / "culture.h5", "w") as h5:
        culture.write_to(h5)
    with h5py.File(tmp_path / "culture.h5") as h5:
        again = SimulatedCulture.read_from(h5)
    again.start(7)
    for device in (culture, again):
        device.stimulate([Command(PULSE.on(27), at_frame=1_000)])
    assert again.info.description == culture.info.description
    assert again.info.warnings == culture.info.warnings
    assert again.info.profile == culture.info.profile
    assert again.info.units.equals(culture.info.units)
    assert again.info.electrodes.equals(culture.info.electrodes)
    assert joined([again.advance(50_000)]) == joined([culture.advance(50_000)])


def test_a_network_of_unknown_kind_leaves_nothing() -> None:
    with h5py.File("none", "w", driver="core", backing_store=False) as h5:
        quiet_culture().write_to(h5)
        assert not len(h5)
        with pytest.raises(DeviceError, match="cannot be stored"):
            SimulatedCulture.read_from(h5)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_presets_pass_the_device_check(profile: str) -> None:
    organoid.check_device(SimulatedCulture(organoid.preset("bursting_culture"), profile=profile))


def test_replayed_recordings_pass_the_device_check() -> None:
    organoid.check_device(ReplayedRecording(organoid.simulate(organoid.preset("asynchronous_culture"), 2.0)))


def test_runaway_ends_the_block_and_then_the_device() -> None:
    culture = SimulatedCulture(StubNetwork(runaway_step=25))
    culture.start(0)
    block = culture.advance(10_000)
    assert block.stop_frame == 500
    with pytest.raises(DeviceError, match=r"ran away at 0\.025 s"):
        culture.advance(10_000)


def test_a_device_must_be_started_and_cannot_go_back() -> None:
    culture = SimulatedCulture(StubNetwork())
    with pytest.raises(DeviceError, match="start"):
        culture.advance(10)
    culture.start(0)
    culture.advance(100)
    with pytest.raises(DeviceError, match="at frame 100"):
        culture.advance(99)
    culture.close()
    with pytest.raises(DeviceError, match="start"):
        culture.stimulate([])
    with pytest.raises(DeviceError, match="blanking"):
        quiet_culture(blanking=-1.0)


def test_voltage_pulses_work_on_a_voltage_profile() -> None:
    culture = quiet_culture(profile="maxone")
    pulse = culture.info.profile.snapped(Pulse.biphasic(2, 0.6, 200e-6, unit="V"))
    assert culture.stimulate([Command(pulse)])[0].accepted
    assert 2 in culture.advance(200).spike_units.tolist()


# --- replay of a recording ---------------------------------------------------------------------------------------


def test_a_replay_gives_every_spike_once_and_refuses_pulses() -> None:
    recording = organoid.simulate(organoid.preset("asynchronous_culture"), 5.0).select(t_start=1.0, t_stop=4.0)
    device = ReplayedRecording(recording)
    device.start(0)
    blocks = [device.advance(frame) for frame in (100, 100, 33_333, 60_000, 80_000)]
    frames, units = joined(blocks)
    assert units == recording.spike_units.tolist()
    assert frames == (recording.spike_ticks - 20_000).tolist()
    assert device.n_frames == 60_000
    (receipt,) = device.stimulate([Command(PULSE)])
    assert (receipt.accepted, receipt.reason) == (False, "a recording cannot be stimulated")
    assert all(not block.delivered for block in blocks)


def test_a_replay_of_unknown_rate_counts_microseconds() -> None:
    device = ReplayedRecording(SpikeRecording([0.25, 0.5], [0, 1], t_stop=1.0))
    assert device.info.frame_rate == 1_000_000
    device.start(0)
    assert device.advance(300_000).spike_frames.tolist() == [250_000]
    snapshot = device.snapshot()
    assert device.advance(600_000).spike_units.tolist() == [1]
    device.restore(snapshot)
    assert device.advance(600_000).spike_units.tolist() == [1]


def test_a_replay_of_several_wells_asks_for_one() -> None:
    recording = SpikeRecording([0.1, 0.2], [0, 1], t_stop=1.0, units=pd.DataFrame({"well": ["a", "b"]}))
    with pytest.raises(organoid.RecordingError, match="a, b"):
        ReplayedRecording(recording)
    assert ReplayedRecording(recording.select(well="b")).info.n_units == 1
