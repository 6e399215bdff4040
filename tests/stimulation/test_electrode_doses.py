"""Doses of a minute and an hour: against a list of all pulses, and against every true window."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from test_guard_integrator import LIMITED

from organoid.errors import StimulationError
from organoid.stimulation import Phase, Pulse, StimulationGuard

RATE = 1000  # frames per second
PROFILE = replace(
    LIMITED,
    frame_rate=Fraction(RATE),
    width_grid=1e-3,
    min_width=1e-3,
    max_width=4e-3,
    max_amplitude=1e-5,
    max_rate=1.0,
    max_simultaneous=None,
    max_session_dose=None,
    max_net_charge=None,
    max_minute_dose=200e-10,
    max_hour_dose=700e-10,
)
WINDOWS = {"max_minute_dose": (60, 200), "max_hour_dose": (3600, 700)}  # s, limit in 1e-10 C

Given = tuple[int, int, tuple[int, ...]]  # frame, dose of each electrode in 1e-10 C, electrodes


def pulse_of(dose: int, electrodes: tuple[int, ...]) -> Pulse:
    """Two phases of 1 ms."""
    return Pulse((Phase(-dose / 2 * 1e-7, 1e-3), Phase(dose / 2 * 1e-7, 1e-3)), electrodes)


def refusal(given: list[Given], frame: int, dose: int, electrodes: tuple[int, ...]) -> set[str]:
    """Limits that some run of 61 (3601) whole seconds around the pulse would break, by adding everything up."""
    second, broken = frame // RATE, set()
    for electrode in electrodes:
        mine = [(at // RATE, d) for at, d, e in given if electrode in e]
        for name, (seconds, limit) in WINDOWS.items():
            ends = {second, *(at for at, _ in mine if second <= at <= second + seconds)}
            sums = [sum(d for at, d in mine if end - seconds - 1 < at <= end) for end in ends]
            if max(sums) + dose > limit:
                broken.add(name)
    return broken


def play(seed: int) -> tuple[int, int, set[str]]:
    """One program: different verdicts, true windows that hold too much, limits seen."""
    rng = np.random.default_rng(seed)
    guard, given, frame, different = StimulationGuard(PROFILE), [], 0, 0
    seen: set[str] = set()
    gap = float(rng.choice([2.0, 12.0, 60.0, 200.0]))
    for _ in range(60):
        frame += RATE + int(rng.exponential(gap * RATE))
        start = frame + int(rng.choice([0, 0, 0, 30_000]))  # some are planned ahead
        dose = 2 * int(rng.integers(1, 40))
        electrodes = tuple(int(e) for e in rng.choice(3, size=rng.integers(1, 3), replace=False))
        verdict = guard.admit(pulse_of(dose, electrodes), start)
        if verdict.limit == "max_rate":
            continue
        broken = refusal(given, start, dose, electrodes)
        different += verdict.limit not in broken if broken else not verdict
        seen.add(verdict.limit)
        if verdict:
            given.append((start, dose, electrodes))
        if given and rng.random() < 0.1:
            at, d, e = given.pop(int(rng.integers(len(given))))
            if at >= frame - RATE:  # what is older may be forgotten: only pulses that wait are taken back
                guard.release(pulse_of(d, e), at)
            else:
                given.append((at, d, e))
        if rng.random() < 0.2:
            guard.restore(guard.history)
        guard.forget(frame - RATE)
    return different, beyond(given), seen


def beyond(given: list[Given]) -> int:
    """Windows of exactly a minute or an hour, from any pulse on, that hold more than the limit."""
    found = 0
    for electrode in range(3):
        mine = [(at, d) for at, d, e in given if electrode in e]
        for seconds, limit in WINDOWS.values():
            found += sum(sum(d for at, d in mine if at0 <= at < at0 + seconds * RATE) > limit for at0, _ in mine)
    return found


def compare(seeds: range) -> None:
    results = [play(seed) for seed in seeds]
    assert sum(different for different, _, _ in results) == 0
    assert sum(wrong for _, wrong, _ in results) == 0
    assert set().union(*(seen for *_, seen in results)) == {"", *WINDOWS}


def test_doses_agree_with_a_list_of_all_pulses() -> None:
    compare(range(60))


@pytest.mark.slow
def test_doses_agree_with_a_list_of_all_pulses_in_2000_programs() -> None:
    compare(range(2_000))


def test_what_is_kept_does_not_grow_with_a_session() -> None:
    guard, pulse = StimulationGuard(replace(PROFILE, max_minute_dose=None, max_hour_dose=1.0)), pulse_of(2, (0,))
    for second in range(0, 10_000, 2):
        assert guard.admit(pulse, second * RATE)
        guard.forget(second * RATE)
    assert len(guard.history.electrode_quanta) <= 1801


def test_an_electrode_recovers_after_a_minute_and_others_are_not_touched() -> None:
    guard = StimulationGuard(replace(PROFILE, max_minute_dose=10e-10, max_hour_dose=None))
    assert guard.admit(pulse_of(10, (0,)), 0)
    refused = guard.check(pulse_of(2, (0,)), 30 * RATE)
    assert refused.limit == "max_minute_dose"
    assert "electrode 0" in refused.reason and "in one minute" in refused.reason
    assert guard.check(pulse_of(2, (1,)), 30 * RATE)
    assert guard.check(pulse_of(2, (0,)), 61 * RATE)


def test_density_and_shannons_k_follow_their_definitions() -> None:
    disc = replace(LIMITED, electrode_area_um2=1000.0, max_charge_density_uc_cm2=30.0)  # 1e-5 cm2: 0.3 nC at most
    guard = StimulationGuard(disc)
    assert guard.check(Pulse((Phase(-1e-6, 3e-4), Phase(1e-6, 3e-4)), (0,)))
    refused = guard.check(Pulse((Phase(-1.1e-6, 3e-4), Phase(1.1e-6, 3e-4)), (0,)))
    assert refused.limit == "max_charge_density_uc_cm2"
    assert "33 uC/cm2" in refused.reason
    large = replace(
        disc, electrode_area_um2=1e6, max_charge_density_uc_cm2=None, max_amplitude=1.0, max_session_dose=None
    )
    for k, warned in ((1.7, False), (1.8, True)):
        charge = float(np.sqrt(10**k * 1e-2)) * 1e-6  # Q (uC) of which log10(Q / 0.01 cm2) + log10(Q) is k
        pulse = Pulse((Phase(-charge / 1e-4, 1e-4), Phase(charge / 1e-4, 1e-4)), (0,))
        verdict = StimulationGuard(large).admit(pulse, 0)
        assert verdict and bool(verdict.warning) == warned
        assert not warned or f"is {k:.2f}" in verdict.warning
    assert not StimulationGuard(replace(large, electrode_area_um2=None)).admit(pulse, 0).warning


def test_impossible_limits_are_rejected() -> None:
    with pytest.raises(StimulationError, match="max_hour_dose -1"):
        replace(LIMITED, max_hour_dose=-1.0)
    with pytest.raises(StimulationError, match="electrode_area_um2 0"):
        replace(LIMITED, electrode_area_um2=0.0)
