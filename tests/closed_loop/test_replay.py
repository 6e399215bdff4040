"""Replay: the same session again, the first difference, and what cannot be compared."""

import json
import shutil

import h5py
import pytest
from closed_loop_fakes import FakeCulture, Prober

from organoid.closed_loop import JournalError, ReplayReport, SessionError, read_session, replay, run_session
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.reader import open_journal
from organoid.closed_loop.replay.recorded_device import RecordedDevice


def build_device(name, group):
    assert name == "fake culture"
    return FakeCulture.read_from(group)


def build_protocol(description):
    return Prober(**description["parameters"])


def no_device(name, group):
    return None


def record(path, protocol=None, device=None, duration=3.0, **options):
    run_session(protocol or Prober(), device or FakeCulture(blanking=40), duration, journal=path, **options)
    return path


def alter(path, dataset, index, value, field=None):
    with h5py.File(path, "r+") as h5:
        rows = h5[dataset][()]
        if field is None:
            rows[index] = value
        else:
            rows[field][index] = value
        h5[dataset][()] = rows


def rewrite(path, name, change):
    with h5py.File(path, "r+") as h5:
        values = json.loads(h5[name].asstr()[()])
        change(values)
        h5[name][()] = json.dumps(values)


class TestResimulation:
    def test_an_untouched_session_is_the_same(self, tmp_path):
        report = replay(record(tmp_path / "j.h5", seed=7, latency="maxone"), build_device, build_protocol)
        assert isinstance(report, ReplayReport)
        assert report.same and report.mode == "resimulated" and report.n_datasets > 30 and report.n_ticks == 300
        assert "every dataset compared is equal" in str(report)

    def test_open_circuit_and_thirds_of_a_hertz(self, tmp_path):
        path = record(tmp_path / "j.h5", Prober(tick_rate=100 / 3), deliver=False)
        assert replay(path, build_device, build_protocol).same

    @pytest.mark.parametrize(
        ("dataset", "index", "value", "field"),
        [
            ("spikes/time_s", 5, 0.123, None),
            ("spikes/unit", 3, 77, None),
            (schema.TICKS, 40, 12.5, "seen"),
            (schema.COMMANDS, 2, 5, "due_frame"),
            (schema.COMMANDS, 1, b"guard", "stage"),
            ("stimuli/amplitude", 0, -9e-6, None),
            (schema.DEADLINES, 7, 1.0, "latency_s"),
            ("observed", 0, (0.0, 0.001), None),
        ],
    )
    def test_the_first_difference_is_named(self, tmp_path, dataset, index, value, field):
        path = record(tmp_path / "j.h5")
        alter(path, dataset, index, value, field)
        report = replay(path, build_device, build_protocol)
        assert report.status == "different"
        assert report.difference.dataset == (dataset if field is None else f"{dataset}.{field}")
        assert report.difference.index == index and report.difference.recorded != report.difference.rerun
        assert f"[{index}]" in str(report)

    def test_the_wall_clock_is_not_compared(self, tmp_path):
        path = record(tmp_path / "j.h5")
        alter(path, schema.DEADLINES, 4, 1e6, "wall_decide_s")
        rewrite_wall = "2001-01-01T00:00:00+00:00"
        with h5py.File(path, "r+") as h5:
            h5[schema.WALL_STARTED][()] = rewrite_wall
        assert replay(path, build_device, build_protocol).same

    def test_an_outcome_that_differs_is_named(self, tmp_path):
        path = record(tmp_path / "j.h5")
        with h5py.File(path, "r+") as h5:
            data = h5[schema.OUTCOME][()].tobytes().replace(b'"given": 30', b'"given": 31')
            h5[schema.OUTCOME][()] = list(data)
        assert replay(path, build_device, build_protocol).difference.dataset.startswith("session/outcome")

    @pytest.mark.parametrize("name", ["numpy", "processor", "organoid"])
    def test_other_versions_are_not_comparable(self, tmp_path, name):
        path = record(tmp_path / "j.h5")
        rewrite(path, schema.VERSIONS, lambda values: values.update({name: "0.0"}))
        alter(path, "spikes/time_s", 5, 0.123)
        report = replay(path, build_device, build_protocol)
        assert report.status == "not comparable" and not report.same
        assert f"{name} was 0.0" in report.notes[0] and report.difference is not None

    def test_changed_code_is_noted(self, tmp_path):
        path = record(tmp_path / "j.h5")
        rewrite(path, schema.VERSIONS, lambda values: values.update(source="x"))
        rewrite(path, schema.HEADER, lambda values: values["protocol"].update(source_sha256="y"))
        report = replay(path, build_device, build_protocol)
        assert report.same and len(report.notes) == 2

    def test_a_failed_session_is_replayed_as_far_as_it_came(self, tmp_path):
        with pytest.raises(ValueError, match="lost its way"):
            record(tmp_path / "j.h5", Prober(fail_at=123))
        report = replay(tmp_path / "j.h5", build_device, build_protocol)
        assert report.same and report.n_ticks == 123 and "cut short" in report.notes[-1]
        alter(tmp_path / "j.h5", schema.TICKS, 100, 3, "n_spikes")
        assert replay(tmp_path / "j.h5", build_device, build_protocol).difference.index == 100

    def test_a_killed_session_is_replayed_as_far_as_it_came(self, tmp_path):
        path, copy = tmp_path / "j.h5", tmp_path / "copy.h5"

        class Copier:
            def on_tick(self, tick, commands):
                if tick.index == 700 and not copy.exists():
                    shutil.copy(path, copy)

        record(path, duration=10.0, observers=[Copier()])
        assert read_session(copy).outcome["status"] == "running"
        report = replay(copy, build_device, build_protocol)
        assert report.same and report.n_ticks == round(read_session(copy).recording.t_stop * 100)
        assert replay(copy, no_device, build_protocol).same

    def test_what_cannot_be_built_again(self, tmp_path):
        def gone(description):
            raise SessionError("no such protocol")

        with pytest.raises(SessionError, match="no such"):
            replay(record(tmp_path / "j.h5"), build_device, gone)
        (tmp_path / "x.h5").write_bytes(b"")
        with pytest.raises(JournalError):
            replay(tmp_path / "x.h5", build_device, build_protocol)


class TestDecisions:
    def test_recorded_spikes_give_the_recorded_decisions(self, tmp_path):
        path = record(tmp_path / "j.h5", latency="maxone")
        report = replay(path, no_device, build_protocol)
        assert report.same and report.mode == "decisions" and report.n_datasets == 5

    def test_another_protocol_decides_otherwise(self, tmp_path):
        report = replay(record(tmp_path / "j.h5"), no_device, lambda description: Prober(every=9))
        assert report.status == "different" and report.difference.dataset.startswith(schema.TICKS)

    def test_the_recorded_device_gives_everything_again(self, tmp_path):
        path = record(tmp_path / "j.h5")
        with open_journal(path) as h5:
            again = run_session(Prober(), RecordedDevice(h5), 3.0).recording
        with open_journal(path) as h5:
            first = run_session(Prober(), RecordedDevice(h5), 3.0)
        assert again.equals(first.recording) and len(first.stimuli) == 30
        assert first.recording.observed.shape == (31, 2)
