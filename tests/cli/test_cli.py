"""The command line, as a user meets it: what it prints, how it exits, what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import organoid
from organoid import statistics
from organoid.cli.support import plain, sentence
from organoid.hdf5 import layout
from organoid.sample_culture import sample_path

ROOT = Path(__file__).parents[2]
SAMPLE = sample_path()
COMMANDS = ("demo", "info", "formats", "convert", "analyze", "compare", "fit", "calibrate", "simulate", "run", "replay")


# --- speed and imports ---


def test_help_is_quick_and_names_every_command():
    """Quick because nothing heavy is imported; the time itself depends on the machine."""
    code = "import sys; sys.argv = ['organoid', '--help']; from organoid.cli import main\n"
    code += "try: main()\nexcept SystemExit as left: assert not left.code\n"
    code += "heavy = {'torch', 'numba', 'plotly', 'scipy', 'pandas', 'numpy', 'h5py'} & set(sys.modules)\n"
    code += "assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_info_imports_nothing_heavy():
    code = (
        "import sys; from organoid.cli import main\n"
        f"try: main(['info', {str(SAMPLE)!r}, '--json'])\n"
        "except SystemExit as left: assert not left.code\n"
        "heavy = {'torch', 'numba', 'plotly', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Usage: organoid {command}" in out and "--json" in out


def test_version(run):
    assert run("--version") == (0, f"organoid {organoid.__version__}\n", "")


# --- info, formats, convert ---


def test_info_in_text_and_json(run):
    code, out, err = run("info", SAMPLE)
    assert (code, err) == (0, "")
    rec = organoid.read_recording(SAMPLE)
    assert f"{rec.n_spikes:,}" in out
    found = json.loads(run("info", SAMPLE, "--json")[1])
    keys = {"format", "n_units", "n_spikes", "n_stimuli", "t_start", "t_stop", "notes", "wells", "entries"}
    assert keys <= set(found)
    assert (found["format"], found["n_units"], found["n_spikes"]) == ("carmen", rec.n_units, rec.n_spikes)
    assert (found["t_start"], found["t_stop"]) == (rec.t_start, rec.t_stop)


def test_info_gives_totals_of_several_wells(run, wells):
    found = json.loads(run("info", wells, "--json")[1])
    assert found["wells"] == ["A1", "B2"]
    assert [row["n_spikes"] for row in found["entries"]] == [600, 300]
    assert found["n_spikes"] == 900
    assert "B2" in run("info", wells)[1]


def test_formats_says_what_each_reader_rests_on(run):
    rows = json.loads(run("formats", "--json")[1])
    assert {"organoid", "carmen", "maxwell", "mcs", "nwb"} <= {row["name"] for row in rows}
    assert all(row["evidence"] for row in rows)
    assert all(row["name"] in run("formats")[1] for row in rows)


def test_convert_writes_what_it_read(run, tmp_path, wells):
    out = tmp_path / "converted.h5"
    code, printed, _ = run("convert", SAMPLE, out)
    assert code == 0 and str(out) in printed
    assert organoid.read_recording(out).equals(organoid.read_recording(SAMPLE))
    assert json.loads(run("convert", wells, out, "--well", "B2", "--json")[1])["n_spikes"] == 300


def test_convert_never_replaces_its_input(refused, wells):
    assert "also the input" in refused("convert", wells, wells)


# --- analyze, compare ---


def test_convert_writes_what_the_suffix_says(run, refused, tmp_path):
    code, _, err = run("convert", SAMPLE, tmp_path / "spikes.csv")
    assert (code, err) == (0, "")
    rec, table = organoid.read_recording(SAMPLE), pd.read_csv(tmp_path / "spikes.csv")
    np.testing.assert_array_equal(table["time_s"], rec.spike_times)
    np.testing.assert_array_equal(table["unit"], rec.spike_units)
    for name in ("out.mat", "out"):
        assert "expected .h5" in refused("convert", SAMPLE, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_analyze_writes_a_folder_a_culture_and_again_over_it(run, tmp_path, wells):
    out = tmp_path / "tables"
    other = tmp_path / "elsewhere" / wells.name
    other.parent.mkdir()
    other.write_bytes(wells.read_bytes())
    for _ in range(2):
        code, printed, err = run("analyze", wells, other, "--out", out, "--json")
        assert (code, err) == (0, "")
    found = json.loads(printed)["cultures"]
    assert [row["folder"] for row in found] == ["wells_A1", "wells_B2", "wells_A1_2", "wells_B2_2"]
    assert [row["n_spikes"] for row in found] == [600, 300, 600, 300]
    around = {"summary.csv", "index.html", "parameters.json", "plotly.min.js", "records", "plate_wells.html"}
    assert {path.name for path in out.iterdir()} == around | {"plate_wells_2.html"} | {row["folder"] for row in found}
    units = pd.read_csv(out / "wells_A1" / "units.csv")
    rec = organoid.read_recording(wells, well="A1")
    np.testing.assert_allclose(units["rate_hz"], statistics.firing_rates(rec))
    np.testing.assert_allclose(units["fano"], statistics.fano(rec))
    assert (out / "wells_A1" / "report.html").stat().st_size > 10_000
    assert len(pd.read_csv(out / "summary.csv")) == 4


def test_analyze_goes_on_where_a_file_cannot_be_read_and_says_so(run, refused, tmp_path, wells):
    (tmp_path / "notes.txt").write_text("no spikes here\n")
    code, out, error = run("analyze", wells, tmp_path / "notes.txt", "--out", tmp_path / "tables")
    assert code == 2 and "1 not analysed" in out and "notes.txt" in out
    assert error.count("\n") == 1 and "1 of 3 could not be analysed (notes.txt)" in error
    assert "none of the files" in refused("analyze", tmp_path / "notes.txt", "--out", tmp_path / "others")


def test_compare_judges_both_by_the_same_rule(run, tmp_path):
    half = tmp_path / "half.h5"
    rec = organoid.read_recording(SAMPLE)
    organoid.write_recording(rec.select(t_stop=rec.duration / 2), half)
    found = json.loads(run("compare", SAMPLE, half, "--json")[1])
    expected = statistics.summary(organoid.read_recording(half))
    assert found["statistics"]["b"]["bursts_per_minute"] == expected["bursts_per_minute"]
    assert found["statistics"]["a"]["n_spikes"] == rec.n_spikes
    assert "bursts per minute" in run("compare", SAMPLE, half)[1]


# --- fit, simulate, run, replay ---


def test_fit_prints_json_alone_and_saves(fitted):
    path, found, err = fitted
    assert err == ""  # no progress bar where nobody looks
    keys = {"n_units", "n_spikes", "seconds", "peak_rss_mb", "free_run", "notes"}
    assert keys | {"heldout_bits_per_spike", "heldout_bits_per_spike_uncoupled"} <= set(found)
    assert found["heldout_bits_per_spike"] > found["heldout_bits_per_spike_uncoupled"] > 0
    assert isinstance(found["free_run"], dict)
    loaded = organoid.load_fit(path)
    assert loaded.scores["heldout_bits_per_spike"] == found["heldout_bits_per_spike"]


def test_simulate_is_a_recording_and_repeats(run, tmp_path, fitted):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    for path in (first, second):
        code, out, err = run("simulate", fitted[0], "--duration", 5, "--out", path, "--seed", 3, "--json")
        assert (code, err) == (0, "")
    assert json.loads(out)["duration_s"] == 5.0
    a, b = (organoid.read_recording(path) for path in (first, second))
    assert a.equals(b) and a.n_spikes == json.loads(out)["n_spikes"]


def test_run_then_replay(run, refused, tmp_path):
    journal, page = tmp_path / "s.h5", tmp_path / "s.html"
    asked = ("run", "periodic_pulses", "--culture", "preset:bursting_culture", "--duration", 5, "--out", journal)
    code, out, err = run(*asked, "--report", page, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["status"] == "completed" and found["n_pulses"] > 0
    assert any("not calibrated" in warning for warning in found["warnings"])
    assert "<html" in page.read_text()
    assert json.loads(run("info", journal, "--json")[1])["n_stimuli"] > 0
    code, out, _ = run("replay", journal, "--json")
    assert (code, json.loads(out)["status"]) == (0, "same")
    assert "exists already" in refused(*asked)


def test_replay_that_differs_says_where_and_exits_with_3(run, tmp_path):
    journal = tmp_path / "s.h5"
    run("run", "periodic_pulses", "--culture", "preset:bursting_culture", "--duration", 3, "--out", journal)
    with h5py.File(journal, "r+") as file:
        file[layout.SPIKE_TIMES][3] += 1e-4
    code, out, _ = run("replay", journal)
    assert code == 3
    assert f"{layout.SPIKE_TIMES}[3]" in out


def test_dry_run_plans_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("run", "rate_clamp", "--culture", "preset:bursting_culture", "--dry-run")
    code, out, _ = run(*asked)
    assert code == 0 and "(at most)" in out
    assert json.loads(run(*asked, "--json")[1])["pulses"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_gradient_fit_is_scored_saved_and_simulated(run, tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 40, 800))
    source, out, page = (tmp_path / name for name in ("short.h5", "fit.h5", "fit.html"))
    organoid.write_recording(organoid.SpikeRecording(times, np.arange(800) % 2, t_stop=40.0), source)
    asked = ("fit", source, "--model", "lif", "--loss", "rate", "--out", out, "--report", page)
    code, printed, err = run(*asked, "--no-free-run", "--json")
    assert (code, err) == (0, "")
    found = json.loads(printed)
    assert isinstance(found["heldout_bits_per_spike_uncoupled"], float) and found["free_run"] == {}
    assert {"held_out_loss", "held_out_loss_silent", "held_out_loss_constant_rate"} <= set(found)
    assert page.is_file()
    assert run("simulate", out, "--duration", 2, "--out", tmp_path / "sim.h5")[0] == 0


@pytest.mark.slow
def test_demo_runs_the_whole_chain(run, tmp_path, monkeypatch, fitted):
    """With a fit that is there already; the continuous integration runs the command as it is."""
    out = tmp_path / "light"
    out.mkdir()
    for name in ("fit.h5", "session.h5"):
        (out / name).write_text("of an earlier demo, to be replaced")

    def known(rec, out, say, progress):
        shutil.copyfile(fitted[0], out / "fit.h5")
        return organoid.load_fit(out / "fit.h5")

    monkeypatch.setattr("organoid.demo._fit", known)
    monkeypatch.setattr("organoid.demo.SESSION_S", 10.0)
    code, printed, errors = run("demo", "--out", out, "--json")
    assert not code, errors
    found = json.loads(printed)
    assert found["session"]["replay"] == "same"
    assert found["training"]["fitted"] < min(found["training"][name] for name in ("silent", "constant_rate"))
    assert {Path(path).name for path in found["files"]} == {"fit.h5", "report.html", "session.h5", "simulation.h5"}
    assert organoid.read_recording(out / "simulation.h5").n_spikes > 0


# --- bugs, and the small helpers ---


def test_a_bug_is_exit_code_1_and_its_traceback_comes_with_debug(run, monkeypatch):
    def broken(*arguments, **options):
        raise KeyError("lost")

    monkeypatch.setattr("organoid.io.info.file_info", broken)
    code, out, err = run("info", SAMPLE)
    assert (code, out) == (1, "")
    assert "Bug in organoid: KeyError" in err and "--debug" in err and "Traceback" not in err
    code, _, err = run("info", SAMPLE, "--debug")
    assert code == 1 and "Traceback" in err


def test_json_values_are_plain():
    value = {"a": np.float64("nan"), "b": np.array([1.0, np.inf]), "c": (1, True, None), "d": Path("x")}
    assert plain(value) == {"a": None, "b": [1.0, None], "c": [1, True, None], "d": "x"}
    assert plain(pd.Series({"x": float("nan"), "y": 2})) == {"x": None, "y": 2}


def test_errors_become_one_line():
    assert sentence(FileNotFoundError(2, "No such file", "a.h5")) == "a.h5: No such file"
    assert sentence(ValueError("two\n  lines, name one with well=")) == "two lines, name one with --well"
    assert sentence(KeyError()) == "KeyError"
