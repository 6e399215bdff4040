"""Ticks of a session, and latency profiles."""

import math
from fractions import Fraction

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober
from hypothesis import given
from hypothesis import strategies as st

from organoid.closed_loop import (
    LATENCY_PROFILES,
    LatencyProfile,
    SessionError,
    TickClock,
    latency_profile,
    run_session,
    session_summary,
)
from organoid.closed_loop.random_streams import stream
from organoid.closed_loop.ticks import as_fraction
from organoid.errors import DeadlineError


class TestTicks:
    def test_30_hz_stays_30_hz(self):
        clock = TickClock.of(Fraction(25_000), 30.0, 60)
        ends = [clock.boundary(k) for k in range(clock.n_ticks + 1)]
        assert clock.n_ticks == 1800 and ends[-1] == 60 * 25_000
        assert set(np.diff(ends)) == {833, 834}

    def test_3333_point_3_hz_is_33333_tenths(self):
        clock = TickClock.of(Fraction(25_000), 3333.3, 10)
        assert clock.tick_rate == Fraction(33333, 10) and clock.n_ticks == 33333
        assert clock.boundary(33333) == 250_000

    def test_thirds_are_recognised(self):
        assert as_fraction(100 / 3, "rate") == Fraction(100, 3)

    @pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf, "fast", "1/0"])
    def test_impossible_rates_are_refused(self, rate):
        with pytest.raises(SessionError, match="tick_rate"):
            TickClock.of(Fraction(20_000), rate, 1)

    def test_more_ticks_than_frames_are_refused(self):
        with pytest.raises(SessionError, match="at most one tick a frame"):
            TickClock.of(Fraction(100), 101.0, 1)

    def test_a_session_holds_at_least_a_tick(self):
        with pytest.raises(SessionError, match="longer"):
            TickClock.of(Fraction(20_000), 1.0, 0.5)

    @given(
        st.fractions(min_value=1, max_value=50_000, max_denominator=1000),
        st.fractions(min_value=Fraction(1, 100), max_value=1, max_denominator=10_000),
        st.integers(0, 100_000),
    )
    def test_boundaries_are_exact(self, frame_rate, ratio, k):
        tick_rate = frame_rate * ratio
        clock = TickClock(frame_rate, tick_rate, 10 / tick_rate)
        exact = k * frame_rate / tick_rate
        assert 0 <= exact - clock.boundary(k) < 1
        assert clock.boundary(k + 1) > clock.boundary(k)
        assert clock.boundary(clock.n_ticks) <= clock.end_frame
        n = clock.ticks_before(clock.boundary(min(k, clock.n_ticks)))
        assert n >= min(k, clock.n_ticks) and clock.boundary(n) <= clock.boundary(min(k, clock.n_ticks))


class TestLatency:
    def test_quantiles_of_the_published_sample(self):
        rng = np.random.default_rng(1)
        delays = [LATENCY_PROFILES["maxone"].sample(rng) for _ in range(20_000)]
        assert np.quantile(delays, [0.05, 0.5, 0.95]) == pytest.approx([3.0e-3, 5.85e-3, 8.45e-3], rel=0.02)

    def test_names(self):
        assert latency_profile("finalspark").sample(np.random.default_rng(0)) >= 0.2
        assert latency_profile("ideal").sample(np.random.default_rng(0)) == 0
        with pytest.raises(SessionError, match="choices: ideal"):
            latency_profile("warp")

    @pytest.mark.parametrize("points", [((0, 1), (0.1,)), ((0, 0.5), (0, 1)), ((0, 1), (1, 0)), ((0, 1), (-1, 1))])
    def test_impossible_profiles_are_refused(self, points):
        with pytest.raises(SessionError):
            LatencyProfile("odd", *points)

    def test_late_commands_are_delivered_later_and_counted(self):
        session = run_session(Prober(), FakeCulture(), 5.0, seed=1, latency="maxone")
        commands = session.commands
        delay = session.deadlines["latency_s"].to_numpy()[commands["tick"]]
        due = commands["decided_frame"] + np.ceil(delay * 20_000)
        assert (commands["due_frame"] == due).all() and commands["late"].all()
        assert (session.stimuli["frame"].to_numpy() == due.to_numpy()).all()
        assert session.outcome["commands"]["late"] == len(commands)

    def test_lateness_is_counted_from_what_was_meant(self, tmp_path):
        path = tmp_path / "j.h5"
        five = LatencyProfile("five", (0, 1), (5e-3, 5e-3))
        session = run_session(Prober(), FakeCulture(), 2.0, latency=five, journal=path)
        expected = {"median": 5.0, "95 %": 5.0, "worst": 5.0}
        assert session.lateness == pytest.approx(expected) and session_summary(path)["lateness_ms"] == session.lateness
        assert run_session(Prober(), FakeCulture(), 2.0).lateness == dict.fromkeys(expected, 0.0)
        assert run_session(Prober(), FakeCulture(), 2.0, deliver=False).lateness == {}

    def test_finalspark_misses_every_deadline_of_a_10_ms_loop(self):
        session = run_session(Prober(), FakeCulture(), 2.0, latency="finalspark")
        assert session.outcome["commands"]["missed"] == (session.ticks["n_commands"] > 0).sum()
        with pytest.raises(DeadlineError, match="past the next tick"):
            run_session(Prober(), FakeCulture(), 2.0, latency="finalspark", on_missed="raise")

    def test_latency_does_not_shift_other_streams(self):
        ideal = run_session(Prober(), FakeCulture(), 1.0, seed=4)
        late = run_session(Prober(), FakeCulture(), 1.0, seed=4, latency="maxone")
        assert ideal.outcome["values"]["draw"] == late.outcome["values"]["draw"]
        assert stream(4, "protocol").random() == ideal.outcome["values"]["draw"] != stream(4, "latency").random()
