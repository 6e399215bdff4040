"""Yoked controls and forks: the same pulses at the same frames; the same bytes up to the fork, and after it."""

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober

import organoid
from organoid.closed_loop import SessionError, run_session
from organoid.protocols import PeriodicPulses, Pong, RateClamp
from organoid.protocols.substituted import ForkedProtocol, SubstitutedStimuli, delivered_in, from_values, to_values


@pytest.fixture(scope="module")
def culture():
    return organoid.SimulatedCulture(organoid.preset("bursting_culture"))


@pytest.fixture(scope="module")
def clamped(culture, tmp_path_factory):
    path = tmp_path_factory.mktemp("fork") / "j.h5"
    clamp = RateClamp(target_rate=12.0, baseline=0.5)
    return run_session(clamp, culture, 6.0, seed=3, journal=path, latency="maxone")


def pulses(session):
    rows = session.stimuli[["frame", "electrode", "amplitude", "waveform"]]
    return rows.sort_values(["frame", "electrode"], ignore_index=True)


def test_a_yoked_culture_gets_the_same_pulses_at_the_same_frames(culture, clamped, tmp_path):
    control = organoid.yoke(clamped, culture, seed=8, journal=tmp_path / "y.h5")
    assert len(clamped.stimuli) > 10 and pulses(control).equals(pulses(clamped))
    assert not control.recording.equals(clamped.recording)
    assert set(control.outcome["values"]) == set(clamped.outcome["values"])
    assert control.outcome["commands"]["accepted"] == control.outcome["commands"]["delivered"]
    assert organoid.replay(tmp_path / "y.h5").same


def test_yoked_to_itself_the_culture_does_the_same(culture, clamped):
    again = organoid.yoke(clamped.path, culture)
    assert again.recording.spike_times.tobytes() == clamped.recording.spike_times.tobytes()


def test_a_yoked_game_is_played_and_changes_nothing(culture):
    played = run_session(Pong(), culture, 5.0, seed=1)
    control = organoid.yoke(played, culture, seed=2, protocol=Pong())
    assert pulses(control).equals(pulses(played))
    assert {"hits", "misses", "mean_rally"} <= set(control.outcome["values"])


def test_yoking_needs_the_same_frame_rate(clamped):
    with pytest.raises(SessionError, match=r"20000 frames/s, .* 25000"):
        organoid.yoke(clamped, organoid.SimulatedCulture(organoid.preset("bursting_culture"), profile="cl1"))


@pytest.mark.parametrize("at", [0, 1, 137, 300])
def test_a_fork_without_a_change_is_the_same_bit_for_bit(clamped, at):
    again = organoid.fork(clamped, at)
    for name in ("spike_times", "spike_units", "observed"):
        assert getattr(again.recording, name).tobytes() == getattr(clamped.recording, name).tobytes()
    assert again.stimuli.equals(clamped.stimuli) and again.commands.equals(clamped.commands)
    assert again.ticks.equals(clamped.ticks) and again.outcome == clamped.outcome


def test_a_fork_is_the_same_up_to_the_tick_and_another_after_it(clamped, tmp_path):
    at = 150
    other = organoid.fork(clamped, at, PeriodicPulses(rate=5.0, tick_rate=50.0), journal=tmp_path / "f.h5")
    fixed = ["index", "frame", "time_s", "n_spikes", "n_commands", "n_accepted"]
    assert other.ticks[fixed][: at + 1].iloc[:, :4].equals(clamped.ticks[fixed][: at + 1].iloc[:, :4])
    assert other.ticks["rate"][:at].equals(clamped.ticks["rate"][:at]) and other.ticks["rate"][at:].isna().all()
    before = clamped.commands["tick"] < at
    assert other.commands[other.commands["tick"] < at].equals(clamped.commands[before])
    assert not other.recording.equals(clamped.recording)
    assert (other.commands["label"][other.commands["tick"] >= at] == "periodic").all()
    assert organoid.replay(tmp_path / "f.h5").same


def test_a_fork_can_last_longer(clamped):
    longer = organoid.fork(clamped, 300, duration=8.0)
    assert longer.recording.t_stop == 8.0 and longer.ticks[:299].equals(clamped.ticks[:299])


def test_what_cannot_be_forked(clamped, culture):
    with pytest.raises(SessionError, match="ticks 0 to 299"):
        organoid.fork(clamped, 301)
    with pytest.raises(SessionError, match="same rate"):
        organoid.fork(clamped, 5, PeriodicPulses(tick_rate=10.0))
    with pytest.raises(SessionError, match="has no journal"):
        organoid.fork(run_session(RateClamp(), culture, 1.0), 5)


def test_schedules_are_plain_values():
    session = run_session(Prober(label="x"), FakeCulture(), 1.0)
    schedule = delivered_in(session)
    assert len(schedule) == 10 and from_values(to_values(schedule)) == schedule
    with pytest.raises(SessionError, match="no schedule"):
        from_values({"given": [[1, 0, ""]]})


def test_derived_protocols_report_what_the_inner_one_reports():
    session = run_session(SubstitutedStimuli(Prober(), ()), FakeCulture(), 1.0)
    assert not len(session.stimuli) and "seen" in session.ticks
    forked = run_session(ForkedProtocol(Prober(), Prober(every=5), 50), FakeCulture(), 1.0)
    given = np.flatnonzero(forked.ticks["n_commands"])
    assert given.tolist() == [0, 10, 20, 30, 40, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95]
