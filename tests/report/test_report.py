"""The report: self-contained, notes first, no empty panels, sections only for what was given."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from drawn_recordings import culture, fake_session
from real_recordings import real_recording

import organoid
from organoid import RecordingError, SpikeRecording
from organoid.report import panel_data, write_report


class Page(HTMLParser):
    """Collects tags and visible text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._stack = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._stack.append(tag)

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._stack):
            self.text.append(data)

    def having(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def fake_fit():
    edges = pd.DataFrame({"pre": [0, 1], "post": [1, 0], "weight": [0.5, 0.1], "z": [6.0, 0.2], "q": [1e-6, 0.8]})
    per_unit = pd.DataFrame({"name": ["a", "b"], "bits_per_spike": [2.0, 1], "bits_per_spike_uncoupled": [1.0, 1.2]})
    scores = {"heldout_bits_per_spike": 2.5, "heldout_bits_per_spike_uncoupled": 1.2, "n_units": 12, "seconds": 3.2}
    free_run = {"rate_ratio": 0.97, "rate_ratio_range": [0.9, 1.0], "ibi_cv_ratio": None, "runaway": False}
    return SimpleNamespace(
        scores=pd.Series(scores, dtype=object),
        free_run=free_run,
        notes=("fit note", "recording note"),
        edges=edges,
        per_unit=per_unit,
    )


def fake_gradient():
    curve = pd.DataFrame({"step": range(5), "loss": np.linspace(4, 1, 5), "held_out_loss": [4, np.nan, 3, np.nan, 2]})
    held_out = pd.Series({"fitted": 2.0, "silent": 5.0, "constant_rate": 3.0, "shuffled": np.nan})
    return SimpleNamespace(curve=curve, held_out=held_out, notes=("gradient note",))


def everything():
    recording = culture(notes=("recording note",))
    session = fake_session()
    session.header = {"device": {"warnings": ["pulse responses are not calibrated"]}}
    return {
        "recording": recording,
        "fit": fake_fit(),
        "simulated": culture(seed=1, notes=("simulation note",)),
        "gradient": fake_gradient(),
        "session": session,
    }


def finite_points(trace):
    values = trace["z"] if trace["type"] == "heatmap" else trace["x" if trace["type"] == "bar" else "y"]
    return int(np.isfinite(np.array(values, dtype=float)).sum())


def assert_no_empty_panel(path):
    panels = panel_data(path)
    for name, figure in panels.items():
        assert figure["data"], name
        for trace in figure["data"]:
            assert finite_points(trace) > 0, (name, trace.get("name"))
    return panels


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(path, **everything(), title="A culture & its twin") == path
    return path


def test_every_panel_has_points(full):
    panels = assert_no_empty_panel(full)
    expected = {"raster", "array-map", "held-out", "unit-scores", "side-by-side", "rates", "burst-shape", "isi", "sttc"}
    recorded = {"spikes", "rates-distribution", "sttc-matrix", "sttc-distance", "evidence", "gallery"}
    assert set(panels) == expected | recorded | {"training", "session"}


def test_panel_data_is_what_was_drawn(full):
    rec = everything()["recording"]
    spikes = panel_data(full)["raster"]["data"][0]
    np.testing.assert_allclose(spikes["x"][::3], rec.spike_times)
    bars = panel_data(full)["held-out"]["data"][0]
    assert list(bars["x"]) == [2.5, 1.2, 0.0]


def test_the_page_is_whole_and_asks_for_nothing_outside(full):
    page = Page(full)
    assert page.having("html")[0]["lang"] == "en"
    assert "<title>A culture &amp; its twin</title>" in page.source
    assert page.source.count("plotly.js v") == 1
    assert not any("src" in attrs for _, attrs in page.tags)
    assert not page.having("link")
    assert all(attrs["href"].startswith("#") for attrs in page.having("a"))


def test_every_drawing_has_its_place_and_a_label(full):
    page = Page(full)
    places = {attrs["id"]: attrs for attrs in page.having("div") if attrs.get("role") == "img"}
    data = [attrs["id"] for attrs in page.having("script") if attrs.get("type") == "application/json"]
    assert {name.removesuffix("-data") for name in data} == set(places)
    assert all(len(attrs["aria-label"]) > 10 for attrs in places.values())
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in page.having("a")} <= set(ids)


def test_notes_and_warnings_come_first(full):
    words = Page(full).words
    assert words.index("Warning. Session: pulse responses are not calibrated") < words.index("recording note")
    for note in ("recording note", "fit note", "simulation note", "gradient note"):
        assert 0 < words.index(note) < words.index("Undefined values are dashes")
    assert words.count("recording note") == 1, "a fit repeats the notes of its recording"


def test_tables_say_what_was_measured(full):
    words = Page(full).words
    for text in ("network bursts per minute", "0.97", "0.900 to 1", "1 of 2 possible connections", "3.20"):
        assert text in words


def test_sections_are_there_only_for_what_was_given(tmp_path):
    given = everything()
    for name, heading in (
        ("recording", "Recorded activity"),
        ("fit", "Fit"),
        ("simulated", "Free run"),
        ("gradient", "Training by gradient"),
        ("session", "Closed-loop session"),
    ):
        page = Page(write_report(tmp_path / f"{name}.html", **{name: given[name]}))
        ids = {attrs.get("id") for attrs in page.having("section")}
        wanted = {"recording": "activity", "simulated": "free-run", "gradient": "training"}.get(name, name)
        assert heading in page.words and wanted in ids
        beside = {"units", "synchrony", "bursts", "methods"} if name == "recording" else set()
        assert len(ids - beside - {"notes", "summary", "free-run" if name == "fit" else None}) == 1
        assert_no_empty_panel(tmp_path / f"{name}.html")


def test_a_panel_that_cannot_be_drawn_says_why(tmp_path):
    rec = SpikeRecording([], [], n_units=2, t_stop=5.0)
    page = Page(write_report(tmp_path / "silent.html", recording=rec))
    assert "The recording holds no spikes" in page.words
    assert "no electrode positions" in page.words
    assert panel_data(tmp_path / "silent.html") == {}


def test_wells_are_summarised_one_by_one(tmp_path):
    units = pd.DataFrame({"name": list("abcd"), "well": ["A1", "A1", "B1", "B1"], "x_um": [0, 1, 0, 1], "y_um": 0.0})
    rec = SpikeRecording(np.linspace(0, 9, 40), np.arange(40) % 4, t_stop=10.0, units=units)
    page = Page(write_report(tmp_path / "wells.html", recording=rec))
    assert "4 units, 40 spikes in 2 wells" in page.words and "each well is a culture of its own" in page.words
    assert_no_empty_panel(tmp_path / "wells.html")


def test_text_from_files_cannot_become_markup(tmp_path):
    units = pd.DataFrame({"name": ["</script><b>x"], "x_um": [0.0], "y_um": [0.0]})
    rec = SpikeRecording([0.1, 0.2], [0, 0], t_stop=1.0, units=units, notes=("<script>alert(1)</script>",))
    page = Page(write_report(tmp_path / "hostile.html", recording=rec, title="<i>t</i>"))
    assert not page.having("b") and not page.having("i")
    assert "<script>alert(1)</script>" in page.words
    assert "array-map" in panel_data(tmp_path / "hostile.html")


def test_an_earlier_report_survives_a_failure_and_nothing_is_left_behind(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("organoid.hdf5.atomic.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, recording=culture())
    assert path.read_text() == "earlier" and [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_nothing_to_report_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="nothing to report"):
        write_report(tmp_path / "x.html")


def test_warnings_are_drawn_from_bad_results(tmp_path):
    fit, gradient, session = fake_fit(), fake_gradient(), fake_session()
    fit.free_run["runaway"] = True
    fit.scores["heldout_bits_per_spike"] = -0.1
    gradient.held_out["fitted"] = 9.0
    session.outcome = {"status": "interrupted"}
    words = Page(write_report(tmp_path / "bad.html", fit=fit, gradient=gradient, session=session)).words
    for text in ("runs away", "no better than a constant rate", "did not complete: interrupted"):
        assert text in words


@pytest.mark.parametrize(
    "name",
    ["C57_CTX_G2CEPHYS3_TC21_DIV21_D.h5", "ON_20140507_MW1007-103_DIV02_00_001.h5", "Torborg2004_2001-10-22-0.h5"],
)
def test_real_recordings_make_a_report(tmp_path, name):
    rec = organoid.read_recording(real_recording("carmen", name))
    panels = assert_no_empty_panel(write_report(tmp_path / "real.html", recording=rec))
    assert {"raster", "array-map"} <= set(panels)


def test_a_window_of_one_tick_is_not_told_by_its_digits(tmp_path):
    rec = SpikeRecording([0.5], [0], n_units=1, t_start=0.5)
    write_report(tmp_path / "r.html", recording=rec)
    assert "over less than 1 ms" in (tmp_path / "r.html").read_text(encoding="utf-8")
