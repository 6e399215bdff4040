"""Sessions: ticks, latency, the gate, what the runtime promises, and the checker of devices."""

import math
import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober, Recorder
from hypothesis import given, settings
from hypothesis import strategies as st

import organoid
from organoid.closed_loop import (
    Block,
    Command,
    Receipt,
    SessionError,
    check_device,
    run_session,
)
from organoid.closed_loop.blocks import check_block
from organoid.errors import DeviceError
from organoid.stimulation import Pulse


class Collector:
    """A protocol that keeps every spike it sees, tick by tick."""

    def __init__(self, tick_rate):
        self.tick_rate = tick_rate

    def start(self, info, rng):
        return ()

    def decide(self, tick, state):
        block = tick.block
        assert np.all((block.spike_frames >= block.start_frame) & (block.spike_frames < block.stop_frame))
        seen = tuple(zip(block.spike_frames.tolist(), block.spike_units.tolist()))
        assert tick.counts.sum() == len(seen)
        return [], (*state, (block.start_frame, block.stop_frame, seen))

    def finish(self, state):
        return {"ticks": [[a, b, [list(s) for s in seen]] for a, b, seen in state]}


class TestSession:
    @pytest.mark.slow
    @settings(max_examples=20, deadline=None)
    @given(st.sampled_from([30.0, 3333.3, 100.0, 7.77, 999.0]), st.integers(0, 50))
    def test_every_spike_is_seen_exactly_once(self, tick_rate, seed):
        session = run_session(Collector(tick_rate), FakeCulture(rate=10.0), 0.6, seed=seed)
        ticks = session.outcome["values"]["ticks"]
        assert ticks[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(ticks))
        seen = [tuple(s) for tick in ticks for s in tick[2]]
        device = FakeCulture(rate=10.0)
        device.start(seed)
        whole = device.advance(12_000)
        expected = list(zip(whole.spike_frames.tolist(), whole.spike_units.tolist()))
        assert seen == [pair for pair in expected if pair[0] < ticks[-1][1]]
        rec = session.recording
        assert rec.spike_ticks.tolist() == [f for f, _ in expected] and rec.t_stop == 0.6
        assert rec.spike_units.tolist() == [u for _, u in expected]

    def test_effects_only_later(self):
        quiet = run_session(Prober(amplitude=2e-6), FakeCulture(), 1.0, seed=2, deliver=False).recording
        session = run_session(Prober(amplitude=2e-6), FakeCulture(), 1.0, seed=2)
        first = session.stimuli["time_s"].iloc[0]
        assert first == session.ticks["time_s"].iloc[0]
        for rec in (quiet, session.recording):
            assert np.all(rec.spike_times[rec.spike_times < first] == quiet.spike_times[quiet.spike_times < first])
        assert session.recording.n_spikes > quiet.n_spikes

    def test_observers_see_every_tick(self):
        watcher = Recorder()
        session = run_session(Prober(), FakeCulture(), 1.0, observers=[watcher])
        assert [row[0] for row in watcher.seen] == list(range(100))
        assert [row[1] for row in watcher.seen] == session.ticks["n_spikes"].tolist()
        assert [row[2] for row in watcher.seen] == session.ticks["n_commands"].tolist()

    def test_what_the_guard_refuses_never_reaches_the_device(self):
        device = FakeCulture()
        session = run_session(Prober(amplitude=1.0), device, 1.0)
        assert not session.commands["accepted"].any() and (session.commands["stage"] == "guard").all()
        assert session.commands["reason"].str.contains("amplitude").all()
        assert session.outcome["commands"]["refused at guard"] == 10 and len(session.stimuli) == 0
        assert not [call for call in device.calls if call[0] == "stimulate"]

    def test_a_pulse_with_net_charge_is_refused(self):
        class Unbalanced(Prober):
            def decide(self, tick, state):
                return [Command(Pulse.monophasic(0, 1e-6, 100e-6))], state

        session = run_session(Unbalanced(), FakeCulture(), 0.1)
        assert session.commands["reason"].str.contains("not balanced").all()

    def test_open_circuit_decides_and_delivers_nothing(self):
        session = run_session(Prober(), FakeCulture(), 1.0, deliver=False)
        assert (session.commands["stage"] == "open circuit").all() and len(session.stimuli) == 0
        assert session.outcome["commands"]["refused at open circuit"] == 10

    def test_what_is_due_after_the_end_is_refused(self):
        session = run_session(Prober(at_frame=50_000), FakeCulture(), 1.0)
        assert (session.commands["stage"] == "session").all()

    def test_a_frame_in_the_past_means_now(self):
        session = run_session(Prober(at_frame=1), FakeCulture(), 1.0)
        assert (session.commands["planned_frame"] == session.commands["decided_frame"]).all()

    def test_a_device_that_refuses_frees_the_guard(self):
        class Deaf(FakeCulture):
            def stimulate(self, commands):
                return [Receipt(False, None, "busy") for _ in commands]

        session = run_session(Prober(tick_rate=1000.0, every=1), Deaf(n_units=1), 0.1)
        assert (session.commands["stage"].iloc[:-1] == "device").all()
        assert session.outcome["commands"]["refused at device"] == 99

    def test_a_remainder_is_recorded_without_a_decision(self):
        session = run_session(Prober(tick_rate=3.0), FakeCulture(), 1.1)
        assert len(session.ticks) == 3 and session.recording.t_stop == 1.1

    def test_without_a_journal_the_session_is_the_same(self, tmp_path):
        kept = run_session(Prober(), FakeCulture(blanking=40), 2.0, seed=1)
        filed = run_session(Prober(), FakeCulture(blanking=40), 2.0, seed=1, journal=tmp_path / "j.h5")
        assert kept.recording.equals(filed.recording) and kept.ticks.equals(filed.ticks)
        assert kept.commands.equals(filed.commands) and kept.path is None

    @pytest.mark.parametrize("seed", [-1, 1.5, 2**63, True, "7"])
    def test_impossible_seeds_are_refused(self, seed):
        with pytest.raises(SessionError, match="seed"):
            run_session(Prober(), FakeCulture(), 1.0, seed=seed)

    def test_the_device_is_stopped_and_closed(self):
        device = FakeCulture()
        run_session(Prober(), device, 1.0)
        assert device.calls[-2:] == [("interrupt",), ("close",)]

    @pytest.mark.parametrize("taken", ["frame", "wall_x"])
    def test_a_reported_name_that_is_taken_is_refused(self, taken):
        class Odd(Prober):
            def report(self, state):
                return {taken: 1.0}

        with pytest.raises(SessionError, match=taken):
            run_session(Odd(), FakeCulture(), 1.0)

    def test_state_is_a_value(self):
        states = []

        class Watched(Prober):
            def decide(self, tick, state):
                before = dict(state)
                out = super().decide(tick, state)
                assert state == before
                again = super().decide(tick, state)
                assert again[1] == out[1] and again[0] == out[0]
                states.append(state)
                return out

        run_session(Watched(), FakeCulture(), 1.0)
        assert [s["given"] for s in states] == [math.ceil(k / 10) for k in range(100)]

    def test_a_device_that_stops_early_is_journalled_up_to_there(self, tmp_path):
        class Wild(FakeCulture):
            def advance(self, until):
                if until <= 10_000:
                    return super().advance(until)
                if self.frame == 10_050:
                    raise DeviceError("the network ran away")
                return super().advance(10_050)

        with pytest.raises(DeviceError, match="ran away"):
            run_session(Prober(), Wild(), 2.0, journal=tmp_path / "j.h5")
        assert organoid.read_recording(tmp_path / "j.h5").t_stop == 10_050 / 20_000

    def test_ctrl_c_and_termination_end_it_properly(self, tmp_path):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
        for number, error in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):

            class Stopper:
                def on_tick(self, tick, commands, number=number):
                    if tick.index == 50:
                        os.kill(os.getpid(), number)

            device, path = FakeCulture(), tmp_path / f"{number}.h5"
            with pytest.raises(error):
                run_session(Prober(), device, 5.0, journal=path, observers=[Stopper()])
            session = organoid.closed_loop.read_session(path)
            assert session.outcome["status"] == "interrupted" and len(session.ticks) >= 51
            assert device.calls[-2:] == [("interrupt",), ("close",)]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGINT, before)

    def test_runs_in_another_thread(self):
        found = []
        thread = threading.Thread(target=lambda: found.append(run_session(Prober(), FakeCulture(), 0.5)))
        thread.start()
        thread.join()
        assert found[0].outcome["status"] == "completed"


def _spin(stop):
    while not stop.is_set():
        sum(range(10_000))


@pytest.mark.slow
def test_a_loaded_machine_changes_nothing(tmp_path):
    calm = run_session(Prober(), FakeCulture(), 10.0, seed=5, latency="maxone")
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    load = [context.Process(target=_spin, args=(stop,)) for _ in range(4)]
    for process in load:
        process.start()
    try:
        loaded = run_session(Prober(), FakeCulture(), 10.0, seed=5, latency="maxone", journal=tmp_path / "j.h5")
    finally:
        stop.set()
        for process in load:
            process.join()
    assert calm.recording.equals(loaded.recording) and calm.ticks.equals(loaded.ticks)
    assert calm.commands.equals(loaded.commands)


UNSEEDED = count(100)


class Broken(FakeCulture):
    """A device with one rule broken."""

    def __init__(self, **wrong):
        super().__init__()
        self.wrong = wrong

    @property
    def info(self):
        info = super().info
        return self.wrong["info"](info) if "info" in self.wrong else info

    def start(self, seed):
        super().start(next(UNSEEDED) if "deaf to seeds" in self.wrong else seed)

    def advance(self, until):
        start = self.frame
        block = super().advance(until)
        if "acausal" in self.wrong and self.queue:
            block = replace(block, spike_units=7 - block.spike_units)
        return self.wrong["block"](block, start) if "block" in self.wrong else block

    def stimulate(self, commands):
        receipts = super().stimulate(commands)
        return self.wrong["receipts"](receipts) if "receipts" in self.wrong else receipts

    def interrupt(self, electrodes=None):
        if "deaf to interrupts" not in self.wrong:
            super().interrupt(electrodes)

    @classmethod
    def read_from(cls, group):
        return FakeCulture()


BROKEN = {
    "frame_rate is an exact": {"info": lambda info: replace(info, frame_rate=20_000.0)},
    "has a name": {"info": lambda info: replace(info, name="")},
    "plain JSON values": {"info": lambda info: replace(info, description={"x": object()})},
    "rows of the table": {
        "info": lambda info: replace(
            info, profile=info.profile.__class__(**{**info.profile.to_dict(), "allowed_electrodes": range(99)})
        )
    },
    "blocks are what was asked for.*asked for frames": {"block": lambda b, start: replace(b, start_frame=start + 1)},
    "blocks are what was asked for.*stopped": {
        "block": lambda b, start: Block(start, b.stop_frame - 1, b.spike_frames[:0], b.spike_units[:0])
    },
    "blocks are what was asked for.*in order": {
        "block": lambda b, start: replace(b, spike_frames=b.spike_frames[::-1] + (b.spike_frames.size > 1))
    },
    "blocks are what was asked for.*units": {"block": lambda b, start: replace(b, spike_units=b.spike_units + 8)},
    "blocks are what was asked for.*whole numbers": {
        "block": lambda b, start: replace(b, spike_units=b.spike_units * 1.0)
    },
    "the same seed gives the same": {"deaf to seeds": True},
    "how time is cut": {
        "block": lambda b, start: replace(b, spike_units=b.spike_units * ((b.stop_frame - start) < 19_999))
    },
    "one receipt for each": {"receipts": lambda r: r[:-1]},
    "frame asked for or later": {"receipts": lambda r: [Receipt(True, 0) for _ in r]},
    "a rejection has a reason": {"receipts": lambda r: [Receipt(False, None) for _ in r]},
    "delivered once, at its frame": {"receipts": lambda r: [Receipt(True, x.frame + 1) for x in r]},
    "names its command": {
        "block": lambda b, start: replace(
            b, delivered=tuple(replace(d, command=replace(d.command, label="mine")) for d in b.delivered)
        )
    },
    "changes nothing before it": {"acausal": True},
    "interrupt empties the queue": {"deaf to interrupts": True},
}


class TestCheckDevice:
    def test_a_good_device_passes(self):
        check_device(FakeCulture())
        check_device(FakeCulture(blanking=40))

    @pytest.mark.parametrize("rule", BROKEN)
    def test_each_broken_rule_is_named(self, rule):
        with pytest.raises(DeviceError, match=rule):
            check_device(Broken(**BROKEN[rule]))

    def test_a_device_that_comes_back_changed_is_noticed(self):
        class Forgetful(FakeCulture):
            @classmethod
            def read_from(cls, group):
                return FakeCulture(rate=5.0)

        with pytest.raises(DeviceError, match="built again"):
            check_device(Forgetful())

    def test_blocks_with_holes_outside_are_refused(self):
        none = np.empty(0, dtype=np.int64)
        with pytest.raises(DeviceError, match="unobserved"):
            check_block(Block(0, 10, none, none, unobserved=((5, 11),)), 0, 10, 1)
