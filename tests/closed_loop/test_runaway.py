"""A culture that runs away is stopped from outside, on any device; warnings about pulses reach the outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid import Pulse, RunawayError, SpikeRecording, run_session
from organoid.closed_loop import Block, Command
from organoid.closed_loop.journal.reader import read_session, session_summary
from organoid.closed_loop.runaway import RunawayWatch, highest_rate
from organoid.errors import SessionError
from organoid.report.sections import notes
from organoid.statistics.runaway import RUNAWAY_FACTOR as FACTOR
from organoid.statistics.runaway import RUNAWAY_WINDOW as SPAN


class Wild(FakeCulture):
    """Fires ten times as much from a time on, s."""

    def __init__(self, since: float) -> None:
        super().__init__(rate=10.0)
        self.since = since

    def advance(self, until: int) -> Block:
        block = super().advance(until)
        late = block.spike_frames >= self.since * float(self.frame_rate)
        times = np.where(late, 10, 1)
        return replace(
            block, spike_frames=np.repeat(block.spike_frames, times), spike_units=np.repeat(block.spike_units, times)
        )


class Steady:
    """Gives a pulse every tick."""

    tick_rate = 10

    def start(self, info: Any, rng: Any) -> int:
        return 0

    def decide(self, tick: Any, state: int) -> tuple[list[Command], int]:
        return [Command(Pulse.biphasic(2, 1e-6, 200e-6))], state + 1

    def report(self, state: int) -> dict[str, float]:
        return {}

    def finish(self, state: int) -> dict[str, Any]:
        return {}


def reference() -> SpikeRecording:
    rng = np.random.default_rng(0)
    return SpikeRecording(np.sort(rng.uniform(0, 60, 4800)), rng.integers(0, 8, 4800), n_units=8, t_stop=60.0)


def test_a_session_is_stopped_within_a_second_and_says_so(tmp_path: Path) -> None:
    device, path = Wild(since=5.0), tmp_path / "s.h5"
    with pytest.raises(RunawayError, match=r"spikes/s over the last 2 s, more than 5 times the \d+"):
        run_session(Steady(), device, 60.0, journal=path, reference=reference())
    told = session_summary(path)
    assert told["status"] == "failed" and "RunawayError" in told["error"]
    session = read_session(path)
    reached = 5.0 + SPAN * (FACTOR * highest_rate(reference()) - 80) / (800 - 80)  # when 2 s hold too much
    assert session.recording.t_stop == pytest.approx(reached, abs=1.0)
    assert device.closed and ("interrupt",) in device.calls
    assert session.header["runaway_limit_hz"] == pytest.approx(FACTOR * highest_rate(reference()))


def test_a_culture_that_lives_as_recorded_is_left_alone() -> None:
    session = run_session(Steady(), FakeCulture(rate=10.0), 20.0, reference=reference())
    assert session.outcome["status"] == "completed"
    wild = run_session(Steady(), Wild(since=5.0), 20.0)  # nobody knows what is too much
    assert wild.outcome["status"] == "completed" and wild.header["runaway_limit_hz"] is None


def test_a_report_says_where_nobody_watches(tmp_path: Path) -> None:
    def said(session: Any) -> bool:
        nothing = dict.fromkeys(("recording", "fit", "simulated", "gradient", "analysis"))
        return any("no watch from outside" in note.text for note in notes(session=session, **nothing))

    path = tmp_path / "s.h5"
    assert said(run_session(Steady(), FakeCulture(), 1.0, journal=path))
    assert session_summary(path)["runaway_limit_hz"] is None
    assert not said(run_session(Steady(), FakeCulture(), 1.0, reference=80.0, journal=tmp_path / "t.h5"))
    assert session_summary(tmp_path / "t.h5")["runaway_limit_hz"] == FACTOR * 80.0


def test_a_reference_that_says_nothing_is_refused() -> None:
    silent = SpikeRecording([], [], n_units=8, t_stop=60.0)
    with pytest.raises(SessionError, match="a recording without spikes"):
        run_session(Steady(), FakeCulture(), 1.0, reference=silent)
    with pytest.raises(SessionError, match=r"-3\.0 spikes/s"):
        run_session(Steady(), FakeCulture(), 1.0, reference=-3.0)


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_highest_rate_is_that_of_the_fullest_window(ticks: list[int]) -> None:
    times = np.sort(np.array(ticks)) / 1000
    rec = SpikeRecording(times, np.zeros(times.size, dtype=int), n_units=1, t_stop=41.0)
    most = max(int(((rec.spike_times >= t) & (rec.spike_times < t + SPAN)).sum()) for t in rec.spike_times)
    assert highest_rate(rec) == most / SPAN


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_watch_counts_the_last_two_seconds(counts: list[int], step: float) -> None:
    watch, per_span = RunawayWatch(4.0), round(SPAN / step)
    for k, count in enumerate(counts):
        held = sum(counts[max(0, k + 1 - per_span) : k + 1])
        too_much = k + 1 >= per_span and held / SPAN > FACTOR * 4.0
        if too_much:
            with pytest.raises(RunawayError):
                watch.add((k + 1) * step, count)
            return
        watch.add((k + 1) * step, count)


def test_warnings_about_pulses_reach_the_outcome(tmp_path: Path) -> None:
    class Large(FakeCulture):
        @property
        def info(self) -> Any:
            found = super().info
            none = dict.fromkeys(("max_phase_charge", "max_session_dose", "max_minute_dose", "max_hour_dose"))
            disc = {"electrode_area_um2": 1e6, "max_charge_density_uc_cm2": None, "max_amplitude": 1.0}
            return replace(found, profile=replace(found.profile, **disc, **none))

    class Strong(Steady):
        def decide(self, tick: Any, state: int) -> tuple[list[Command], int]:
            return [Command(Pulse.biphasic(2, 0.01, 200e-6))], state + 1

    session = run_session(Strong(), Large(), 1.0, journal=tmp_path / "s.h5")
    assert len(session.outcome["warnings"]) == 1
    assert "Shannon's k" in session_summary(tmp_path / "s.h5")["warnings"][0]
    assert "warnings" not in run_session(Steady(), FakeCulture(), 1.0).outcome
