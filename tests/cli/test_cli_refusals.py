"""What the command line rejects: exit code 2 and one sentence."""

import h5py
import numpy as np
import pytest

import organoid
from organoid.sample_culture import sample_path

SAMPLE = sample_path()


def _copy(path, change):
    path.write_bytes(SAMPLE.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _one_spike_too_many(file):
    file["sCount"][0] += 1


def _not_a_time(file):
    file["spikes"][5] = np.nan


def _text(path):
    path.write_text("no spikes here\n")


def _empty(path):
    h5py.File(path, "w").close()


def _truncated(path):
    whole = SAMPLE.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _other_layout(path):
    with h5py.File(path, "w") as file:
        file["voltage"], file["gain"] = np.zeros(3), 1.0


def _counts(path):
    _copy(path, _one_spike_too_many)


def _nan(path):
    _copy(path, _not_a_time)


BROKEN = {
    "text": (_text, "not an HDF5 file"),
    "empty": (_empty, "unknown layout; top-level names are nothing"),
    "truncated": (_truncated, "cut short"),
    "other layout": (_other_layout, "unknown layout; top-level names are gain, voltage"),
    "counts": (_counts, "do not add up"),
    "nan": (_nan, "NaN"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("command", ["info", "fit", "convert"])
def test_broken_files_are_refused_in_one_sentence(refused, tmp_path, kind, command):
    path, out = tmp_path / "broken.h5", tmp_path / "out.h5"
    make, said = BROKEN[kind]
    make(path)
    rest = {"info": (), "fit": ("--out", out), "convert": (out,)}[command]
    message = refused(command, path, *rest)
    assert said in message and path.name in message
    assert not out.exists()


def test_missing_file(refused, tmp_path):
    assert "nothing.h5" in refused("info", tmp_path / "nothing.h5")


def test_fit_names_the_wells(refused, tmp_path, wells):
    out = tmp_path / "fit.h5"
    message = refused("fit", wells, "--out", out)
    assert "A1, B2" in message and "--well" in message
    assert "choices: A1, B2" in refused("fit", wells, "--out", out, "--well", "C3")


def test_fit_refuses_one_spike_saying_why(refused, tmp_path):
    path = tmp_path / "one.h5"
    organoid.write_recording(organoid.SpikeRecording([1.0], [0], t_stop=100.0), path)
    assert "a fit needs 50 or more" in refused("fit", path, "--out", tmp_path / "fit.h5")


@pytest.mark.parametrize("where", ["/proc/out.h5", "missing/out.h5", "."])
@pytest.mark.parametrize("option", ["--out", "--report"])
def test_outputs_are_tried_before_long_work(refused, tmp_path, monkeypatch, where, option):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(organoid, "fit", lambda *a, **k: pytest.fail("began to fit"), raising=False)
    assert "cannot write" in refused("fit", SAMPLE, option, where)
    assert "cannot write" in refused("simulate", "preset:bursting_culture", "--duration", 1, "--out", where)
    assert "cannot write" in refused("run", "rate_clamp", "--culture", "preset:bursting_culture", "--out", where)
    assert list(tmp_path.iterdir()) == []


def test_demo_refuses_a_file_as_its_folder(refused, wells):
    assert "not a folder" in refused("demo", "--out", wells)


def test_fit_says_what_would_be_lost(refused, tmp_path):
    assert "nothing would be kept" in refused("fit", SAMPLE)
    same = tmp_path / "same"
    assert "same name" in refused("fit", SAMPLE, "--out", same, "--report", same)
    assert "choices: escape_lif" in refused("fit", SAMPLE, "--model", "perceptron", "--out", same)


def test_what_is_no_fit_no_journal_no_protocol(refused, tmp_path, wells):
    out = tmp_path / "out.h5"
    assert "expected a fit" in refused("simulate", wells, "--duration", 1, "--out", out)
    assert "choices" in refused("simulate", "preset:none", "--duration", 1, "--out", out)
    assert "not the journal" in refused("replay", wells)
    run = ("run", "--culture", "preset:bursting_culture", "--out", out)
    assert "choices" in refused(*run, "no_protocol")
    assert "choices" in refused(*run, "rate_clamp", "--latency", "none")
    assert "positive" in refused(*run, "rate_clamp", "--duration", -1)
    assert "positive" in refused("simulate", "preset:bursting_culture", "--duration", "nan", "--out", out)
    assert "--dry-run" in refused("run", "rate_clamp", "--culture", "preset:bursting_culture")
    assert not out.exists()


def test_a_protocol_file_that_fails_is_the_users_to_mend(refused, tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    raise RuntimeError('half done')\n")
    spec = f"{tmp_path / 'mine.py'}:Mine"
    message = refused("run", spec, "--culture", "preset:bursting_culture", "--out", tmp_path / "s.h5")
    assert "half done" in message
