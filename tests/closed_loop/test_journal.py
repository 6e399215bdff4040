"""The journal: what it holds, that it can always be read, and that a kill costs little."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from closed_loop_fakes import FakeCulture, Prober
from hypothesis import given
from hypothesis import strategies as st

import organoid
from organoid.closed_loop import JournalError, SessionError, read_session, run_session
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.provenance import describe
from organoid.closed_loop.journal.reader import open_journal
from organoid.closed_loop.journal.writer import _outcome_bytes
from organoid.closed_loop.replay.compare import first_difference
from organoid.errors import DeviceError
from organoid.stimulation import pulses_from_table

ROOT = Path(__file__).resolve().parents[2]
N_KILLS = int(os.environ.get("ORGANOID_KILLS", "40"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "session.h5"
    run_session(Prober(label="probe"), FakeCulture(blanking=40), 5.0, seed=3, journal=path, latency="maxone")
    return path


class TestContent:
    def test_it_is_a_recording(self, finished):
        rec = organoid.read_recording(finished)
        assert rec.equals(read_session(finished).recording)
        assert (rec.t_start, rec.t_stop, rec.sampling_rate) == (0.0, 5.0, 20_000.0)
        assert rec.n_units == 8 and list(rec.units["name"]) == [f"u{k}" for k in range(8)]
        assert rec.metadata == {"protocol": "prober", "device": "fake culture", "seed": 3}

    def test_the_recording_can_be_written_and_read_again(self, finished, tmp_path):
        rec = organoid.read_recording(finished)
        organoid.write_recording(rec, tmp_path / "rec.h5")
        assert organoid.read_recording(tmp_path / "rec.h5").equals(rec)

    def test_blanking_makes_holes(self, finished):
        session = read_session(finished)
        holes = np.stack([session.recording.observed[:-1, 1], session.recording.observed[1:, 0]], axis=1)
        starts = session.stimuli["time_s"].to_numpy()
        assert holes.shape[0] == starts.size
        assert np.allclose(holes[:, 0], starts) and np.all(np.diff(holes, axis=1) <= 0.002 + 1e-12)

    def test_stimuli_hold_the_whole_waveform(self, finished):
        rec = organoid.read_recording(finished)
        pulses = pulses_from_table(rec.stimuli, rec.electrodes)
        assert len(pulses) == 50 and len(rec.stimuli) == 50
        assert [p.phases[0].amplitude for _, p in pulses[:2]] == [-2e-6, -2e-6]
        assert [p.electrodes for _, p in pulses[:3]] == [(0,), (1,), (2,)]
        assert set(rec.stimuli["amplitude_unit"]) == {"A"} and set(rec.stimuli["duration_s"]) == {400e-6}
        with open_journal(finished) as h5:
            assert h5[schema.WAVEFORMS]["amplitude"].tolist() == [-2e-6, 2e-6]

    def test_new_waveforms_may_come_at_any_time(self, tmp_path):
        class Growing(Prober):
            def decide(self, tick, state):
                self.amplitude = 1e-6 + tick.index * 1e-8
                return super().decide(tick, state)

        session = run_session(Growing(), FakeCulture(), 3.0, journal=tmp_path / "j.h5")
        assert session.stimuli["waveform_id"].tolist() == list(range(30))
        assert session.stimuli["amplitude"].tolist() == [-(1e-6 + k * 10 * 1e-8) for k in range(30)]

    def test_commands_and_stimuli_refer_to_each_other(self, finished):
        session = read_session(finished)
        rows = session.commands.loc[session.stimuli["command"].to_numpy(dtype=int)]
        assert (rows["planned_frame"].to_numpy() == session.stimuli["frame"].to_numpy()).all()
        assert (rows["label"] == "probe").all() and rows["electrodes"].iloc[1] == (1,)

    def test_header_versions_and_outcome(self, finished):
        session = read_session(finished)
        assert session.header["seed"] == 3 and session.header["duration_s"] == "5"
        assert session.header["protocol"]["parameters"] == {"tick_rate": 100.0, "every": 10}
        assert len(session.header["protocol"]["source_sha256"]) == 64
        assert session.header["device"]["profile"]["name"] == "simulated"
        assert {"organoid", "numpy", "numba", "python", "machine", "processor"} <= set(session.versions)
        assert session.outcome["status"] == "completed" and session.outcome["values"]["given"] == 50
        with open_journal(finished) as h5:
            assert "class Prober" in h5[schema.SOURCE].asstr()[()]

    def test_deadlines(self, finished):
        deadlines = read_session(finished).deadlines
        assert np.allclose(deadlines["planned_s"], 0.01 * np.arange(1, 501))
        assert np.allclose(deadlines["deadline_s"] - deadlines["planned_s"], 0.01)
        assert (deadlines["wall_decide_s"] > 0).all() and (np.diff(deadlines["wall_start_s"]) > 0).all()

    def test_no_variable_length_data_grows(self, finished):
        with open_journal(finished) as h5:
            growing = []
            h5.visititems(lambda name, item: growing.append(item) if getattr(item, "chunks", None) else None)
            texts = [h5py.check_string_dtype(item.dtype) for item in growing]
            assert len(growing) > 15 and all(text is None or text.length for text in texts)

    @given(st.text(max_size=100))
    def test_text_is_cut_at_whole_characters(self, text):
        data = schema.to_bytes(text, 32)
        assert len(data) <= 32 and (data.decode() == text or data.endswith(b"..."))

    def test_an_outcome_too_large_says_so(self):
        data = _outcome_bytes({"status": "completed", "values": list(range(50_000))})
        found = json.loads(data.tobytes().rstrip(b"\0"))
        assert found["status"] == "completed" and found["values"] is None and "64 KiB" in found["values_left_out"]


class TestSafety:
    def test_an_existing_file_is_refused_and_untouched(self, tmp_path):
        path = tmp_path / "precious.h5"
        path.write_bytes(b"do not touch")
        device = FakeCulture()
        with pytest.raises(JournalError, match="never replaces"):
            run_session(Prober(), device, 1.0, journal=path)
        assert path.read_bytes() == b"do not touch" and device.calls == []

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(JournalError, match="cannot be created"):
            run_session(Prober(), FakeCulture(), 1.0, journal=tmp_path / "nowhere" / "j.h5")

    def test_an_error_in_start_leaves_no_file(self, tmp_path):
        class Unbound(Prober):
            def start(self, info, rng):
                raise SessionError("site 'stimulation' has no electrode")

        with pytest.raises(SessionError, match="no electrode"):
            run_session(Unbound(), FakeCulture(), 1.0, journal=tmp_path / "j.h5")
        assert not (tmp_path / "j.h5").exists()

    def test_a_device_that_cannot_write_itself_leaves_no_file(self, tmp_path):
        class Speechless(FakeCulture):
            def write_to(self, group):
                raise DeviceError("nothing to say")

        with pytest.raises(DeviceError, match="nothing to say"):
            run_session(Prober(), Speechless(), 1.0, journal=tmp_path / "j.h5")
        assert not (tmp_path / "j.h5").exists()

    def test_an_error_in_decide_keeps_everything_so_far(self, tmp_path):
        device = FakeCulture()
        with pytest.raises(ValueError, match="lost its way"):
            run_session(Prober(fail_at=150), device, 5.0, journal=tmp_path / "j.h5")
        session = read_session(tmp_path / "j.h5")
        assert session.outcome["status"] == "failed" and "lost its way" in session.outcome["error"]
        assert len(session.ticks) == 150 and session.recording.t_stop == 1.51
        whole = run_session(Prober(), FakeCulture(), 5.0).recording
        assert np.array_equal(session.recording.spike_times, whole.spike_times[whole.spike_times < 1.51])
        assert device.calls[-2:] == [("interrupt",), ("close",)]

    def test_an_error_in_the_device_closes_it_too(self, tmp_path):
        class Failing(FakeCulture):
            def interrupt(self, electrodes=None):
                super().interrupt(electrodes)
                raise DeviceError("interrupt failed")

        device = Failing()
        with pytest.raises(DeviceError, match="interrupt failed"):
            run_session(Prober(), device, 1.0, journal=tmp_path / "j.h5")
        assert device.closed and len(read_session(tmp_path / "j.h5").ticks) == 100

    def test_it_can_be_read_while_it_is_written(self, tmp_path):
        path, seen = tmp_path / "j.h5", []

        class Reader:
            def on_tick(self, tick, commands):
                if tick.index == 300:
                    code = f"import organoid; print(organoid.read_recording({str(path)!r}).t_stop)"
                    out = subprocess.run(
                        [sys.executable, "-c", code],
                        cwd=ROOT,
                        capture_output=True,
                        text=True,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    )
                    seen.append(out.stdout.strip() or out.stderr)

        run_session(Prober(), FakeCulture(), 4.0, journal=path, observers=[Reader()])
        assert 0 <= float(seen[0]) <= 3.01

    def test_other_files_are_not_journals(self, tmp_path):
        (tmp_path / "text.h5").write_text("hello")
        with pytest.raises(JournalError, match="cannot be opened"):
            read_session(tmp_path / "text.h5")
        rec = organoid.SpikeRecording([0.1], [0])
        organoid.write_recording(rec, tmp_path / "rec.h5")
        with pytest.raises(JournalError, match="holds: recording"):
            read_session(tmp_path / "rec.h5")
        with pytest.raises(FileNotFoundError):
            read_session(tmp_path / "none.h5")


class TestSameSeed:
    def test_same_seed_same_journal(self, finished, tmp_path):
        again = tmp_path / "again.h5"
        run_session(Prober(label="probe"), FakeCulture(blanking=40), 5.0, seed=3, journal=again, latency="maxone")
        with open_journal(finished) as a, open_journal(again) as b:
            difference, n = first_difference(a, b)
        assert difference is None and n > 30

    def test_another_seed_another_journal(self, finished, tmp_path):
        again = tmp_path / "again.h5"
        run_session(Prober(label="probe"), FakeCulture(blanking=40), 5.0, seed=4, journal=again, latency="maxone")
        with open_journal(finished) as a, open_journal(again) as b:
            difference, _ = first_difference(a, b)
        assert difference.dataset == "spikes/time_s" and difference.index == 0


@pytest.mark.slow
def test_killed_sessions_lose_little():
    """`python tests/closed_loop/kill_journal.py 200` (or ORGANOID_KILLS=200) runs more of them."""
    out = subprocess.run(
        [sys.executable, "tests/closed_loop/kill_journal.py", str(N_KILLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert out.returncode == 0, out.stdout + out.stderr
    summary = json.loads(out.stdout)
    assert summary["kills"] == summary["opened"] == summary["within_promise"] == N_KILLS


def test_a_protocol_typed_in_a_notebook_has_no_file(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    names = {"__name__": "__main__"}
    exec("class Typed:\n    tick_rate = 10.0\n", names)
    found, text = describe(names["Typed"]())
    assert (found["file"], text) == ("", "")
