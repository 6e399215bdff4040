"""The guard against an independent integrator that keeps every pulse and sums in whole numbers."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from organoid.errors import StimulationError
from organoid.stimulation import PROFILES, DeviceProfile, Phase, Pulse, StimulationGuard

# Areas are counted here in units of 1e-11 C: amplitudes in 0.1 uA times widths in 0.1 ms.
LIMITED = DeviceProfile(
    name="limited",
    unit="A",
    frame_rate=Fraction(10_000),
    max_amplitude=2e-6,
    width_grid=100e-6,
    min_width=100e-6,
    max_width=400e-6,
    max_phases=2,
    max_phase_charge=None,
    balance_tolerance=0.1,
    max_rate=500.0,
    max_simultaneous=4,
    max_session_dose=1500e-11,
    max_net_charge=10e-11,
)

Shape = tuple[int, int, int, tuple[int, ...]]


class Integrator:
    """Every rule that looks at other pulses, by going through all of them."""

    def __init__(self) -> None:
        self.given: list[tuple[int, Shape]] = []

    def refusal(self, start: int, shape: Shape) -> str:
        first, second, width, electrodes = shape
        doses = [(abs(a) + abs(b)) * w * len(e) for _, (a, b, w, e) in self.given]
        if sum(doses) + (abs(first) + abs(second)) * width * len(electrodes) > 1500:
            return "max_session_dose"
        for electrode in electrodes:
            net = sum((a + b) * w for _, (a, b, w, e) in self.given if electrode in e)
            after = net + (first + second) * width
            if abs(after) > 10 and abs(after) > abs(net):
                return "max_net_charge"
        return self.neighbour(start, start + 2 * width, set(electrodes))

    def neighbour(self, start: int, stop: int, electrodes: set[int]) -> str:
        active = set(electrodes)
        for other, (_, _, width, theirs) in self.given:
            overlap = start < other + 2 * width and other < stop
            if electrodes & set(theirs) and (overlap or abs(start - other) < 20):
                return "max_rate"
            active |= set(theirs) if overlap else set()
        return "max_simultaneous" if len(active) > 4 else ""


def pulse_of(shape: Shape) -> Pulse:
    first, second, width, electrodes = shape
    return Pulse((Phase(first * 1e-7, width * 1e-4), Phase(second * 1e-7, width * 1e-4)), electrodes)


def random_shape(rng: np.random.Generator) -> Shape:
    size, sign = int(rng.integers(10, 20)), int(rng.choice([-1, 1]))
    other = min(20, size + int(rng.choice([-1, 0, 0, 1], p=[0.2, 0.2, 0.2, 0.4])))
    if abs(size - other) * 10 > max(size, other):
        other = size
    electrodes = tuple(int(e) for e in rng.choice(6, size=rng.integers(1, 4), replace=False))
    return sign * size, -sign * other, int(rng.integers(1, 5)), electrodes


def disagreements(seed: int) -> tuple[int, set[str]]:
    """Play one program of pulses, some of them taken back, to both; count different verdicts."""
    rng = np.random.default_rng(seed)
    guard, integrator = StimulationGuard(LIMITED), Integrator()
    different, seen, frame = 0, set(), 0
    for _ in range(30):
        frame += int(rng.integers(0, 25))
        shape = random_shape(rng)
        expected = integrator.refusal(frame, shape)
        limit = guard.admit(pulse_of(shape), frame).limit
        different += limit != expected
        seen.add(limit)
        if not expected:
            integrator.given.append((frame, shape))
        if integrator.given and rng.random() < 0.1:
            start, gone = integrator.given.pop(int(rng.integers(len(integrator.given))))
            guard.release(pulse_of(gone), start)
        if rng.random() < 0.2:
            guard.restore(guard.history)
    return different, seen


def compare(seeds: range) -> None:
    results = [disagreements(seed) for seed in seeds]
    assert sum(different for different, _ in results) == 0
    every = {"", "max_session_dose", "max_net_charge", "max_rate", "max_simultaneous"}
    assert set().union(*(seen for _, seen in results)) == every


def test_guard_agrees_with_an_independent_integrator() -> None:
    compare(range(100))


@pytest.mark.slow
def test_guard_agrees_with_an_independent_integrator_in_10000_programs() -> None:
    compare(range(10_000))


@pytest.mark.parametrize("name", ["simulated", "cl1", "maxone"])
def test_one_percent_of_imbalance_is_stopped(name: str) -> None:
    profile = replace(PROFILES[name], max_rate=500.0, amplitude_step=None, max_session_dose=None)
    assert profile.max_net_charge is not None
    size = 0.9 if profile.unit == "V" else 1e-6
    pulse = Pulse((Phase(-size, 200e-6), Phase(0.99 * size, 200e-6)), (12,), profile.unit)
    guard, interval = StimulationGuard(profile), profile.min_interval_frames
    allowed = round(profile.max_net_charge / abs(pulse.net_area))
    verdicts = [guard.admit(pulse, k * interval) for k in range(allowed + 1)]
    assert all(verdicts[:allowed])
    assert verdicts[allowed].limit == "max_net_charge"
    balanced = Pulse.biphasic(12, 0.5e-6, 200e-6) if profile.unit == "A" else None
    assert balanced is None or guard.admit(balanced, (allowed + 1) * interval)


def test_a_pulse_that_brings_an_electrode_back_is_allowed() -> None:
    guard = StimulationGuard(LIMITED)
    for k in range(3):
        guard.admit(pulse_of((-10, 11, 3, (0,))), 100 * k)
    assert guard.check(pulse_of((-10, 11, 3, (0,)))).limit == "max_net_charge"
    assert guard.check(pulse_of((-10, 11, 3, (1,))))
    assert guard.admit(pulse_of((10, -11, 3, (0,))), 300)
    assert guard.history.net_quanta == ((0, 60_000_000),)


def test_a_profile_of_an_older_journal_has_no_net_limit() -> None:
    values = LIMITED.to_dict()
    del values["max_net_charge"]
    assert DeviceProfile.from_dict(values).max_net_charge is None
    with pytest.raises(StimulationError, match="max_net_charge -1"):
        replace(LIMITED, max_net_charge=-1.0)


def test_beyond_the_limit_only_the_way_back_is_open() -> None:
    guard, out, back = StimulationGuard(LIMITED), pulse_of((-10, 11, 3, (0,))), pulse_of((10, -11, 3, (0,)))
    program = [out, out, out, back, back, out, out]
    assert all(guard.admit(pulse, 100 * k) for k, pulse in enumerate(program))
    for k in (3, 4):  # the pulses that had balanced it were not given after all
        guard.release(back, 100 * k)
    assert guard.history.net_quanta == ((0, 150_000_000),)
    assert guard.check(out).limit == "max_net_charge"
    assert guard.check(back)
