"""What detection makes of spikes: closed forms, and nothing depends on how time is cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import organoid
from organoid import Pulse, SimulatedCulture, run_session
from organoid.closed_loop import Command
from organoid.closed_loop.journal.reader import read_session
from organoid.culture.readout import Detector
from organoid.devices import Readout
from organoid.errors import DeviceError
from organoid.protocols import PeriodicPulses

RATE = 20_000  # frames per second
DURATION = 400  # s
NEAREST = np.array([0, 1, 2, 2])


def poisson(rates: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = [np.unique(rng.integers(0, DURATION * RATE, rng.poisson(rate * DURATION))) for rate in rates]
    frames, units = np.concatenate(parts), np.repeat(np.arange(len(parts)), [part.size for part in parts])
    order = np.argsort(frames, kind="stable")
    return frames[order], units[order]


def detected(readout: Readout, rates: list[float], cuts: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    detector = Detector(readout, NEAREST, 4, RATE)
    detector.start(3)
    frames, units = poisson(rates)
    edges = [0, *(cuts or []), DURATION * RATE]
    parts = []
    for a, b in pairwise(edges):
        inside = (frames >= a) & (frames < b)
        parts.append(detector.detect(a, b, frames[inside], units[inside], ())[:2])
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def rate_of(units: np.ndarray, k: int) -> float:
    return float((units == k).sum() / DURATION)


def test_rates_follow_the_closed_form() -> None:
    readout = Readout(
        detection=(0.8, 1.0, 1.0, 1.0), dead_time=(0.02, 0.01, 0.0, 0.0), false_positives=(2.0, 0.0, 3.0, 9.0)
    )
    _, units = detected(readout, [20.0, 30.0, 5.0, 7.0])
    seen = 0.8 * 20 + 2.0
    assert rate_of(units, 0) == pytest.approx(seen / (1 + seen * 0.02), rel=0.03)
    assert rate_of(units, 1) == pytest.approx(30.0 / (1 + 30.0 * 0.01), rel=0.03)
    both = rate_of(units, 2) + rate_of(units, 3)
    assert both == pytest.approx(5 + 7 + 3, rel=0.03), "false positives are shared by the units of an electrode"
    assert rate_of(units, 2) == pytest.approx(5 + 1.5, rel=0.06)


def test_no_two_detections_of_an_electrode_are_nearer_than_its_dead_time() -> None:
    frames, units = detected(Readout(dead_time=0.005, false_positives=20.0), [40.0, 60.0, 30.0, 30.0])
    for electrode in range(3):
        mine = frames[NEAREST[units] == electrode]
        assert mine.size > 5000 and np.diff(mine).min() >= 0.005 * RATE


@given(st.lists(st.integers(1, DURATION * RATE - 1), max_size=6, unique=True))
@settings(max_examples=10, deadline=None)
def test_it_does_not_depend_on_where_blocks_are_cut(cuts: list[int]) -> None:
    readout = Readout(detection=0.7, dead_time=0.004, false_positives=1.0)
    whole, parts = (detected(readout, [5.0, 5.0, 5.0, 5.0], c) for c in (None, sorted(cuts)))
    assert np.array_equal(whole[0], parts[0]) and np.array_equal(whole[1], parts[1])


def test_artefacts_blind_all_electrodes_and_go_on_in_the_next_block() -> None:
    detector = Detector(Readout(artefact=0.002, false_positives=50.0), NEAREST, 4, RATE)
    detector.start(0)
    spikes = np.arange(0, 200), np.zeros(200, dtype=int)
    frames, _, blind = detector.detect(0, 200, *spikes, [50, 70, 190])
    assert blind == ((50, 110), (190, 200))
    assert not np.any((frames >= 50) & (frames < 110)) and not np.any(frames >= 190)
    assert np.isin(np.arange(0, 50), frames).all()
    *_, blind = detector.detect(200, 400, np.empty(0, int), np.empty(0, int), [])
    assert blind == ((200, 230),)
    assert detector.detect(400, 500, np.empty(0, int), np.empty(0, int), [])[2] == ()


@pytest.fixture(scope="module")
def culture() -> organoid.culture.PresetCulture:
    return organoid.preset("asynchronous_culture")


def spikes_of(device: SimulatedCulture, seed: int = 1) -> np.ndarray:
    device.start(seed)
    block = device.advance(5 * RATE)
    return np.stack([block.spike_frames, block.spike_units])


def test_a_perfect_readout_changes_nothing(culture: organoid.culture.PresetCulture) -> None:
    assert np.array_equal(spikes_of(SimulatedCulture(culture)), spikes_of(SimulatedCulture(culture, readout=Readout())))


def test_snapshots_carry_it(culture: organoid.culture.PresetCulture) -> None:
    device = SimulatedCulture(culture, readout=Readout(0.6, 0.02, 2.0, 0.003))
    device.start(2)
    device.advance(RATE)
    kept = device.snapshot()
    first = device.advance(2 * RATE)
    device.restore(kept)
    again = device.advance(2 * RATE)
    assert np.array_equal(first.spike_frames, again.spike_frames)
    assert device.side_by_side([1, 2]) is None


def test_a_session_says_what_could_not_be_seen_and_is_replayed(
    culture: organoid.culture.PresetCulture, tmp_path: Path
) -> None:
    device = SimulatedCulture(culture, readout=Readout(0.9, 0.001, 0.5, 0.004))
    session = run_session(PeriodicPulses(), device, 5.0, journal=tmp_path / "s.h5")
    n = len(session.recording.stimuli)
    assert n > 0
    assert session.recording.observed_duration == pytest.approx(5.0 - 0.004 * n, abs=0.004 * n / 2)
    assert session.header["device"]["description"]["readout"]["detection"] == 0.9
    assert organoid.replay(tmp_path / "s.h5").same
    assert read_session(tmp_path / "s.h5").recording.n_spikes == session.recording.n_spikes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"detection": 1.2}, "detection = 1.2"),
        ({"dead_time": -1.0}, "dead_time"),
        ({"artefact": float("nan")}, "artefact"),
    ],
)
def test_impossible_numbers_are_rejected(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        Readout(**wrong)


def test_a_list_must_have_a_number_for_each_electrode(culture: organoid.culture.PresetCulture) -> None:
    with pytest.raises(DeviceError, match="detection has 2 values; expected one, or one for each of"):
        SimulatedCulture(culture, readout=Readout(detection=(0.5, 0.6)))


def test_pulses_are_given_through_it(culture: organoid.culture.PresetCulture) -> None:
    device = SimulatedCulture(culture, readout=Readout(artefact=0.005))
    device.start(0)
    device.stimulate([Command(Pulse.biphasic(12, 2e-6, 200e-6), at_frame=RATE)])
    block = device.advance(2 * RATE)
    assert block.unobserved == ((RATE, RATE + 100),)
    assert not np.any((block.spike_frames >= RATE) & (block.spike_frames < RATE + 100))
