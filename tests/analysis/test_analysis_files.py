"""Analysis of many files: rows for failures, runs that add up and go on, tables and pages."""

import json

import numpy as np
import pandas as pd
import pytest

import organoid
from organoid import RecordingError, SpikeRecording, analysis, statistics
from organoid.analysis import files as analysis_files
from organoid.report import panel_data


def recording(seed=0, *, n_units=12, well=None, **more):
    rng = np.random.default_rng(seed)
    times, units = [rng.uniform(0, 60, 60 * n_units)], [rng.integers(0, n_units, 60 * n_units)]
    for onset in np.arange(3, 57, 6.0):
        times.append(onset + rng.exponential(0.2, 12 * n_units))
        units.append(np.repeat(np.arange(n_units), 12))
    table = {"name": [f"u{k}" for k in range(n_units)]} | ({"well": well} if well else {})
    time, unit = np.concatenate(times), np.concatenate(units)
    keep = time < 60
    return SpikeRecording(
        time[keep], unit[keep], n_units=n_units, t_stop=60.0, sampling_rate=20_000.0, units=pd.DataFrame(table), **more
    )


@pytest.fixture
def write(tmp_path):
    def call(rec, name):
        organoid.write_recording(rec, tmp_path / name)
        return tmp_path / name

    return call


def test_a_file_that_cannot_be_analysed_is_a_row_and_the_others_go_on(write, tmp_path):
    good = write(recording(metadata={"age": 21, "genotype": "wt", "n_units": "five"}), "WT + KO (n=3), DIV 12 µ.h5")
    bad = tmp_path / "notes.txt"
    bad.write_text("nothing to see")
    found = analysis.analyze([bad, good, tmp_path / "absent.h5"], tmp_path / "out", workers=1)
    assert [row["status"] for row in found.rows] == ["failed", "analysed", "failed"]
    table = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("status")
    assert table.loc["analysed", "age"] == 21 and table.loc["analysed", "file_n_units"] == "five"
    assert table.loc["analysed", "n_bursts"] == 9 and table.loc["analysed", "bursts_by_chance"] < 1
    assert "notes.txt" in (tmp_path / "out" / "index.html").read_text()
    assert table.loc["failed", "reason"].notna().all()


def test_nothing_analysed_is_an_error_that_gives_the_reasons(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(RecordingError, match=r"a\.txt"):
        analysis.analyze([tmp_path / "a.txt"], tmp_path / "out", workers=1)
    with pytest.raises(RecordingError, match="no files"):
        analysis.analyze([], tmp_path / "out")


def test_runs_into_one_folder_add_up_and_computed_ones_are_kept(write, tmp_path, monkeypatch):
    first, second, out = write(recording(0), "one.h5"), write(recording(1), "two.h5"), tmp_path / "out"
    analysis.analyze([first], out, workers=1)
    assert len(analysis.analyze([second], out, workers=1).summary) == 2
    called = []
    monkeypatch.setattr(
        analysis_files, "analyze_culture", lambda *a: called.append(a) or statistics.analyze_culture(*a)
    )
    again = analysis.analyze([first, second], out, workers=1)
    assert called == [] and len(again.rows) == 2 and all(row["status"] == "analysed" for row in again.rows)
    organoid.write_recording(recording(5), first)  # the file changed
    analysis.analyze([first, second], out, workers=1)
    assert len(called) == 1
    analysis.analyze([first], out, workers=1, settings=analysis.AnalysisSettings(burst_min_spikes=5))
    assert len(called) == 2 and len(pd.read_csv(out / "summary.csv")) == 2


def test_files_of_one_name_do_not_mix(write, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for k, folder in enumerate("ab"):
        organoid.write_recording(recording(k, n_units=10 + k), tmp_path / folder / "x.h5")
    out = tmp_path / "out"
    analysis.analyze([tmp_path / "a" / "x.h5"], out, workers=1)
    found = analysis.analyze([tmp_path / "b" / "x.h5", tmp_path / "a" / "x.h5"], out, workers=1)
    assert [row["folder"] for row in found.rows] == ["x_2", "x"]
    assert len(pd.read_csv(out / "x_2" / "units.csv")) == 11


def test_tables_and_pages_hold_names_parameters_and_one_script(write, tmp_path):
    rec = recording(stimuli={"time_s": np.arange(2.0, 58, 2), "electrode": [7, 9] * 14})
    out = tmp_path / "out"
    analysis.analyze([write(rec, "one.h5")], out, workers=1)
    folder = out / "one"
    units = pd.read_csv(folder / "units.csv")
    np.testing.assert_allclose(units["rate_hz"], statistics.firing_rates(rec))
    assert units["backbone"].all() and {"bursts_per_minute", "active", "isi_below_1ms"} <= set(units)
    bursts = pd.read_csv(folder / "bursts.csv")
    assert bursts["name"].tolist() == [f"u{k}" for k in bursts["unit"]]
    assert {"n_found", "n_expected_by_chance"} <= set(pd.read_csv(folder / "network_bursts.csv"))
    sttc = pd.read_csv(folder / "sttc.csv", index_col="unit")
    np.testing.assert_allclose(sttc, statistics.sttc(rec))
    responses = pd.read_csv(folder / "responses.csv")
    assert set(responses["electrode"]) == {7, 9} and len(responses) == 24
    expected = statistics.response_latency(rec, np.arange(2.0, 58, 4), 0.1)
    np.testing.assert_allclose(responses.query("electrode == 7")["probability"], expected["probability"])
    page = (folder / "report.html").read_text()
    assert 'src="../plotly.min.js"' in page and "units.csv" in page and "maximum-interval method" in page
    assert (folder / "report.html").stat().st_size < 1e6 and (out / "plotly.min.js").stat().st_size > 3e6
    used = json.loads((out / "parameters.json").read_text())["parameters"]
    assert used == analysis.AnalysisSettings().as_mapping()
    panels = panel_data(folder / "report.html")
    assert {"spikes", "evidence", "gallery", "sttc-matrix", "evoked-raster", "site-matrix"} <= set(panels)
    spikes = panels["spikes"]["data"][0]
    assert spikes["type"] == "scattergl" and len(spikes["x"]) == rec.n_spikes


def test_a_plate_has_its_page_and_wells_their_own_metadata(write, tmp_path):
    wells = ["A1"] * 6 + ["B2"] * 6
    meta = {"wells": {"A1": {"treatment": "control", "dose": "0", "units": "uM"}, "B2": {"treatment": "drug"}}}
    out = tmp_path / "out"
    found = analysis.analyze([write(recording(well=wells, metadata=meta), "plate.h5")], out, workers=1)
    table = found.summary.set_index("well")
    assert table.loc["B2", "treatment"] == "drug" and table.loc["A1", "dose_unit"] == "uM"
    page = out / "plate_plate.html"
    assert "plate" in panel_data(page) and "plate_A1/report.html" in page.read_text()


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_tables_in_other_formats_hold_the_same(write, tmp_path, kind):
    pytest.importorskip({"xlsx": "openpyxl", "parquet": "pyarrow"}[kind])
    out = tmp_path / "out"
    analysis.analyze([write(recording(), "one.h5")], out, workers=1, table_format=kind)
    read = pd.read_excel if kind == "xlsx" else pd.read_parquet
    np.testing.assert_allclose(read(out / "one" / f"units.{kind}")["rate_hz"], statistics.firing_rates(recording()))
    assert (out / "summary.csv").exists() and (out / f"summary.{kind}").exists()


def test_odd_recordings_become_rows_with_undefined_numbers(write, tmp_path):
    odd = {
        "nothing.h5": SpikeRecording([1.0, 2.0], [0, 1], n_units=3, t_stop=60, observed=np.empty((0, 2))),
        "silent.h5": SpikeRecording([], [], n_units=4, t_stop=60.0),
        "one.h5": SpikeRecording([136.18], [0], t_start=136.18, sampling_rate=12_500.0),
        "together.h5": SpikeRecording([1.0] * 5, range(5), t_stop=60.0),
        "edges.h5": SpikeRecording([0.0, 59.9999], [0, 0], t_stop=60.0),
        "empty.h5": SpikeRecording([], [], n_units=2, t_start=3.0, t_stop=3.0),
        "long.h5": SpikeRecording([5.0, 1e9 - 1], [0, 1], t_stop=1e9),
    }
    files = [write(rec, name) for name, rec in odd.items()]
    found = analysis.analyze(files, tmp_path / "out", workers=1)
    assert [row["status"] for row in found.rows] == ["analysed"] * len(odd)
    numbers = found.summary.select_dtypes("number").to_numpy(dtype=float)
    assert not np.isinf(numbers).any()
    said = found.summary.set_index("folder")["remarks"]
    assert "nothing was observed" in said["nothing"] and "inferred" in said["one"]
    assert np.isnan(found.summary.set_index("folder").loc["nothing", "bursts_per_minute"])


def test_results_do_not_depend_on_the_number_of_workers(write, tmp_path):
    files = [write(recording(k), f"r{k}.h5") for k in range(2)]
    one = analysis.analyze(files, tmp_path / "one", workers=1).summary
    two = analysis.analyze(files, tmp_path / "two", workers=2).summary
    pd.testing.assert_frame_equal(one, two)


def test_parameters_of_an_earlier_run_can_be_used_and_wrong_ones_are_named(tmp_path):
    path = tmp_path / "parameters.json"
    path.write_text(json.dumps({"parameters": {"burst_min_spikes": 5, "sttc_dt": 0.02}}))
    found = analysis_files.read_parameters(path)
    assert (found.burst_min_spikes, found.sttc_dt) == (5, 0.02)
    for text, words in (("{", "not JSON"), ('{"speed": 3}', "no parameter 'speed'"), ('{"sttc_dt": "x"}', "a number")):
        path.write_text(text)
        with pytest.raises(RecordingError, match=words):
            analysis_files.read_parameters(path)


def test_compare_gives_each_recording_the_same_numbers_either_way(write):
    a, b = write(recording(0), "a.h5"), write(recording(1, n_units=8), "b.h5")
    there, back = analysis.compare(a, b), analysis.compare(b, a)
    assert there["statistics"]["a"].equals(back["statistics"]["b"])
    assert there["statistics"]["b"].equals(back["statistics"]["a"])
