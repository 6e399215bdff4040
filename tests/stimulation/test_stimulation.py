"""Pulses, trains, profiles, and the guard against an independent reading of its limits."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from organoid.errors import StimulationError
from organoid.stimulation import (
    PROFILES,
    DeviceProfile,
    Phase,
    Pulse,
    PulseTrain,
    StimulationGuard,
    device_profile,
    pulses_from_table,
    register_profile,
    stimulus_table,
)

TINY = DeviceProfile(
    name="tiny",
    unit="A",
    frame_rate=Fraction(10_000),
    max_amplitude=2e-6,
    width_grid=100e-6,
    min_width=200e-6,
    max_width=600e-6,
    max_phases=3,
    max_phase_charge=0.8e-9,
    balance_tolerance=0.1,
    max_rate=100.0,
    allowed_electrodes=frozenset(range(6)),
    forbidden_electrodes=frozenset({5}),
    max_simultaneous=3,
    max_session_dose=8e-9,
)

amplitudes = st.integers(-25, 25).map(lambda k: k * 1e-7)
widths = st.integers(1, 14).map(lambda k: k * 5e-5)
any_pulses = st.builds(
    Pulse,
    st.lists(st.tuples(amplitudes, widths), min_size=1, max_size=4).filter(lambda ps: any(a for a, _ in ps)),
    st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True),
    st.sampled_from(["A", "A", "A", "V"]),
)
balanced_pulses = st.builds(
    Pulse.biphasic,
    st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True),
    st.integers(1, 25).map(lambda k: k * 1e-7),
    st.integers(1, 7).map(lambda k: k * 1e-4),
    cathodic_first=st.booleans(),
)
mild_pulses = st.builds(
    Pulse.biphasic,
    st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
    st.integers(1, 20).map(lambda k: k * 1e-7),
    st.integers(2, 4).map(lambda k: k * 1e-4),
)
pulses = st.one_of(any_pulses, balanced_pulses, mild_pulses)
schedules = st.lists(st.tuples(st.one_of(mild_pulses, balanced_pulses), st.integers(0, 400)), min_size=1, max_size=12)


def broken_limits(pulse: Pulse, profile: DeviceProfile) -> set[str]:
    """Every limit of a single pulse, recomputed in the plainest way (TINY has all of them)."""
    widths = [phase.width_s for phase in pulse.phases]
    areas = [phase.amplitude * phase.width_s for phase in pulse.phases]
    signs = [np.sign(phase.amplitude) for phase in pulse.phases if phase.amplitude != 0]
    largest = max(abs(area) for area in areas)
    checks = {
        "unit": pulse.unit != profile.unit,
        "allowed_electrodes": any(e not in range(6) for e in pulse.electrodes),
        "forbidden_electrodes": 5 in pulse.electrodes,
        "max_simultaneous": len(pulse.electrodes) > 3,
        "max_phases": len(widths) > 3,
        "min_width": min(widths) < 200e-6 - 1e-12,
        "max_width": max(widths) > 600e-6 + 1e-12,
        "width_grid": any(abs(w * 1e4 - round(w * 1e4)) > 1e-6 for w in widths),
        "max_amplitude": max(abs(phase.amplitude) for phase in pulse.phases) > 2e-6 * (1 + 1e-6),
        "max_phase_charge": pulse.unit == "A" and largest > 0.8e-9 * (1 + 1e-6),
        "alternation": any(a == b for a, b in pairwise(signs)),
        "balance_tolerance": abs(sum(areas)) > (0.1 + 1e-6) * largest,
        "max_session_dose": sum(abs(area) for area in areas) * len(pulse.electrodes) > 8e-9 * (1 + 1e-6),
    }
    return {limit for limit, broken in checks.items() if broken}


def test_profiles_are_registered() -> None:
    assert {"simulated", "cl1", "maxone"} <= set(PROFILES)


def test_biphasic_pulse_has_size_polarity_and_no_net_charge() -> None:
    pulse = Pulse.biphasic([3, 4], 1e-6, 200e-6, gap=40e-6)
    assert [phase.amplitude for phase in pulse.phases] == [-1e-6, 0.0, 1e-6]
    assert pulse.duration == pytest.approx(440e-6)
    assert pulse.phase_charges[0] == pytest.approx(-2e-10)
    assert pulse.net_charge == 0
    assert pulse.dose == pytest.approx(8e-10)
    assert Pulse.biphasic(3, 1e-6, 1e-4, cathodic_first=False).phases[0].amplitude > 0


def test_voltage_pulses_have_no_charge() -> None:
    pulse = Pulse.biphasic(0, 0.4, 1e-4, unit="V")
    assert pulse.net_area == 0
    with pytest.raises(StimulationError, match="impedance"):
        _ = pulse.net_charge


@given(pulses)
def test_pulses_survive_json(pulse: Pulse) -> None:
    assert Pulse.from_dict(json.loads(json.dumps(pulse.to_dict()))) == pulse


@pytest.mark.parametrize(
    ("phases", "electrodes", "unit", "message"),
    [
        ([(1e-6, 1e-4)], [], "A", "at least one index"),
        ([(1e-6, 1e-4)], [-1], "A", "0 or more"),
        ([(1e-6, 1e-4)], [1, 1], "A", "each electrode once"),
        ([(1e-6, 1e-4)], [1.5], "A", "whole number"),
        ([(1e-6, 1e-4)], [True], "A", "whole number"),
        ([(1e-6, 1e-4)], 3, "A", "sequence"),
        ([(1e-6, 1e-4)], [0], "mV", "'A' .* or 'V'"),
        ([(1e-6, 0.0)], [0], "A", "positive width"),
        ([(float("nan"), 1e-4)], [0], "A", "finite"),
        ([("one", 1e-4)], [0], "A", "number"),
        ([1e-6], [0], "A", "amplitude in A or V, width in s"),
        ([], [0], "A", "not zero"),
        ([(0.0, 1e-4)], [0], "A", "not zero"),
    ],
)
def test_malformed_pulses_are_refused(phases: object, electrodes: object, unit: object, message: str) -> None:
    with pytest.raises(StimulationError, match=message):
        Pulse(phases, electrodes, unit)  # type: ignore[arg-type]


def test_biphasic_wants_a_size() -> None:
    with pytest.raises(StimulationError, match="positive size"):
        Pulse.biphasic(0, -1e-6, 1e-4)


def test_trains_keep_their_rate_on_the_frame_clock() -> None:
    train = PulseTrain(Pulse.biphasic(0, 1e-6, 1e-4), 91, 30.0)
    frames = train.frames(100, Fraction(25_000))
    assert frames[0] == 100
    assert frames[90] == 100 + 3 * 25_000
    assert set(np.diff(frames)) == {833, 834}
    assert train.times(2.0)[90] == pytest.approx(5.0)
    assert PulseTrain.from_dict(json.loads(json.dumps(train.to_dict()))) == train


def test_trains_must_not_overlap() -> None:
    with pytest.raises(StimulationError, match="do not overlap"):
        PulseTrain(Pulse.biphasic(0, 1e-6, 1e-3), 2, 600.0)


@given(pulses)
def test_guard_agrees_with_an_independent_reading(pulse: Pulse) -> None:
    verdict = StimulationGuard(TINY).check(pulse)
    broken = broken_limits(pulse, TINY)
    assert verdict.accepted == (not broken)
    assert bool(verdict) == verdict.accepted
    if broken:
        assert verdict.limit in broken
        assert verdict.reason


@given(mild_pulses, st.floats(0.01, 1.0))
def test_weaker_pulses_stay_accepted(pulse: Pulse, factor: float) -> None:
    guard = StimulationGuard(TINY)
    assume(guard.check(pulse).accepted)
    assert guard.check(pulse.scaled(factor)).accepted


@given(schedules)
def test_admitted_pulses_keep_rate_overlap_and_dose_limits(schedule: list[tuple[Pulse, int]]) -> None:
    guard = StimulationGuard(TINY)
    admitted = [(pulse, frame) for pulse, frame in schedule if guard.admit(pulse, frame)]
    assert sum(pulse.dose for pulse, _ in admitted) <= 8e-9 * (1 + 1e-6)
    for electrode in range(6):
        starts = sorted(frame for pulse, frame in admitted if electrode in pulse.electrodes)
        assert all(b - a >= 100 for a, b in pairwise(starts))
    for frame in range(420):
        active = [p.electrodes for p, f in admitted if f <= frame < f + p.duration * 10_000 - 1e-6]
        assert sum(map(len, active)) <= 3


@given(schedules, st.integers(0, 400))
def test_check_is_pure_and_release_undoes_admit(schedule: list[tuple[Pulse, int]], frame: int) -> None:
    guard = StimulationGuard(TINY)
    for pulse, at in schedule[1:]:
        guard.admit(pulse, at)
    before, pulse = guard.history, schedule[0][0]
    verdict = guard.check(pulse, frame)
    assert guard.history == before
    if guard.admit(pulse, frame):
        assert verdict.accepted
        guard.release(pulse, frame)
    assert guard.history == before


@given(schedules, st.integers(0, 500), balanced_pulses, st.integers(0, 200))
def test_forgetting_changes_no_later_verdict(
    schedule: list[tuple[Pulse, int]], now: int, pulse: Pulse, later: int
) -> None:
    forgetful, keeper = StimulationGuard(TINY), StimulationGuard(TINY)
    for other, at in schedule:
        forgetful.admit(other, at)
        keeper.admit(other, at)
    forgetful.forget(now)
    assert forgetful.check(pulse, now + later) == keeper.check(pulse, now + later)
    assert forgetful.earliest_free(pulse, now) == keeper.earliest_free(pulse, now)


@given(schedules, balanced_pulses, st.integers(0, 400))
def test_earliest_free_is_free_and_earliest(schedule: list[tuple[Pulse, int]], pulse: Pulse, wanted: int) -> None:
    guard = StimulationGuard(replace(TINY, max_rate=10_000.0, max_session_dose=None))
    admitted = [(other, at) for other, at in schedule if guard.admit(other, at)]

    def is_free(frame: int) -> bool:
        return all(
            frame + pulse.n_frames(TINY.frame_rate) <= at
            or at + other.n_frames(TINY.frame_rate) <= frame
            or not set(pulse.electrodes) & set(other.electrodes)
            for other, at in admitted
        )

    expected = next(frame for frame in range(wanted, wanted + 1_000) if is_free(frame))
    assert guard.earliest_free(pulse, wanted) == expected


def test_history_can_be_put_back() -> None:
    guard, other = StimulationGuard(TINY), StimulationGuard(TINY)
    pulse = Pulse.biphasic(0, 1e-6, 200e-6)
    guard.admit(pulse, 50)
    other.restore(guard.history)
    assert other.check(pulse, 100).limit == "max_rate"
    assert other.history.dose == pytest.approx(pulse.dose)
    with pytest.raises(StimulationError, match="was admitted"):
        other.release(pulse, 51)


def test_session_dose_runs_out() -> None:
    guard = StimulationGuard(TINY)
    pulse = Pulse.biphasic(0, 2e-6, 400e-6)
    verdicts = [guard.admit(pulse, 1_000 * k) for k in range(6)]
    assert [verdict.accepted for verdict in verdicts] == [True] * 5 + [False]
    assert verdicts[5].limit == "max_session_dose"


@pytest.mark.parametrize(
    ("pulse", "limit"),
    [
        (Pulse.biphasic(12, 3e-6, 1e-3), ""),
        (Pulse.biphasic(12, 3.001e-6, 1e-4), "max_amplitude"),
        (Pulse.biphasic(12, 2.9e-6, 1.04e-3), "max_phase_charge"),
        (Pulse.biphasic(12, 1e-6, 110e-6), "width_grid"),
        (Pulse.biphasic(7, 1e-6, 100e-6), "forbidden_electrodes"),
        (Pulse.biphasic(64, 1e-6, 100e-6), "allowed_electrodes"),
        (Pulse.biphasic(12, 0.4, 100e-6, unit="V"), "unit"),
        (Pulse.monophasic(12, -3e-6, 1e-3), "balance_tolerance"),
        (Pulse((Phase(-3e-6, 1e-3), Phase(0.1e-6, 20e-6)), (12,)), "balance_tolerance"),
        (Pulse((Phase(-1e-6, 1e-4), Phase(-1e-6, 1e-4), Phase(2e-6, 1e-4)), (12,)), "alternation"),
        (Pulse((Phase(-1e-6, 1e-4), Phase(2e-6, 1e-4), Phase(-1e-6, 1e-4)), (12,)), ""),
    ],
)
def test_cl1_limits(pulse: Pulse, limit: str) -> None:
    assert StimulationGuard("cl1").check(pulse).limit == limit


def test_maxone_counts_in_dac_steps() -> None:
    profile = device_profile("maxone")
    wish = Pulse.biphasic(1, 0.4, 210e-6, unit="V")
    verdict = StimulationGuard(profile).check(wish)
    assert verdict.limit == "width_grid"
    snapped = profile.snapped(wish)
    assert StimulationGuard(profile).check(snapped).accepted
    assert snapped.peak == pytest.approx(138 * 2.9e-3)
    assert snapped.phases[0].width_s == pytest.approx(200e-6)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_profiles_survive_json_and_take_a_typical_pulse(name: str) -> None:
    profile = PROFILES[name]
    assert DeviceProfile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile
    amplitude = 1e-6 if profile.unit == "A" else 0.29
    assert StimulationGuard(profile).check(Pulse.biphasic(1, amplitude, 200e-6, unit=profile.unit)).accepted


def test_profiles_are_checked_and_named() -> None:
    with pytest.raises(StimulationError, match=r"choices: .*cl1"):
        device_profile("cl2")
    with pytest.raises(StimulationError, match="already called"):
        register_profile(replace(PROFILES["cl1"], max_amplitude=4e-6))
    with pytest.raises(StimulationError, match="max_rate"):
        replace(TINY, max_rate=0.0)
    small = PROFILES["cl1"].for_electrodes(10, forbidden=[3])
    assert small.allowed_electrodes == frozenset(range(10))
    assert {0, 3, 7} <= small.forbidden_electrodes


ELECTRODES = pd.DataFrame({"electrode": [100, 200, 300, None], "channel": [5, 6, 7, 8]})


@given(st.lists(st.tuples(st.integers(0, 1_000), any_pulses.map(lambda p: p.on(p.electrodes[0] % 4))), max_size=6))
def test_tables_of_stimuli_give_the_pulses_back(entries: list[tuple[int, Pulse]]) -> None:
    unique = {(time, pulse.phases, pulse.unit): (float(time), pulse) for time, pulse in entries}
    given_pulses = sorted(unique.values(), key=lambda pair: pair[0])
    table = stimulus_table([time for time, _ in given_pulses], [pulse for _, pulse in given_pulses], ELECTRODES)
    assert pulses_from_table(table, ELECTRODES) == given_pulses


def test_tables_without_waveform_mean_two_equal_phases() -> None:
    table = pd.DataFrame(
        {"time_s": [1.0, 1.0], "duration_s": 4e-4, "electrode": [300, 100], "amplitude": -2e-6, "amplitude_unit": "A"}
    )
    ((time, pulse),) = pulses_from_table(table, ELECTRODES)
    assert (time, pulse.electrodes) == (1.0, (2, 0))
    assert pulse.phases == (Phase(-2e-6, 2e-4), Phase(2e-6, 2e-4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"electrode": 999}, "not in the table"),
        ({"amplitude": None}, "no amplitude"),
        ({"amplitude_unit": "mV"}, "'A'"),
    ],
)
def test_unusable_rows_are_named(change: dict[str, object], message: str) -> None:
    row = {"time_s": 1.0, "duration_s": 4e-4, "electrode": 300, "amplitude": -2e-6, "amplitude_unit": "A"}
    with pytest.raises(StimulationError, match=message):
        pulses_from_table(pd.DataFrame([{**row, **change}]), ELECTRODES)
