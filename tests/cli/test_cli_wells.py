"""``organoid fit --all-wells``: every culture fitted, none stops the others, one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import organoid
from organoid import wells
from organoid.cli import main
from organoid.cli import wells as cli_wells
from organoid.cli.support import OutputError, UsageError
from organoid.cli.work import FitRequest
from organoid.errors import FitError, OrganoidError


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Three wells: two that can be fitted, one almost silent between them."""
    rng = np.random.default_rng(0)
    times = [rng.uniform(0, 30, 600), [1.0, 2.0], rng.uniform(0, 30, 300)]
    units = [rng.integers(0, 2, 600), [2, 2], np.full(300, 3)]
    table = pd.DataFrame({"name": list("abcd"), "well": ["A1", "A1", "B 2", "C3"]})
    path = tmp_path / "plate.h5"
    rec = organoid.SpikeRecording(np.concatenate(times), np.concatenate(units), t_stop=30.0, t_start=0.0, units=table)
    organoid.write_recording(rec, path)
    return path


def request(file: Path, out: Path | None, **changes: Any) -> FitRequest:
    asked = {"model": "escape_lif", "loss": "likelihood", "seed": 0, "settings": {"free_run": False}, "well": None}
    return FitRequest(**{**asked, "file": file, "recording": None, "out": out, "report": None, **changes})


def test_every_well_is_fitted_or_says_why_not(plate: Path, tmp_path: Path) -> None:
    out = tmp_path / "fits"
    found = cli_wells.fit_all(request(plate, out), False, workers=1)
    wells = found["wells"]
    assert [(row["well"], row["status"]) for row in wells] == [("A1", "fitted"), ("B 2", "skipped"), ("C3", "fitted")]
    assert "2 observed spikes" in wells[1]["reason"] and wells[0]["reason"] is None
    assert sorted(path.name for path in out.iterdir()) == ["A1.h5", "C3.h5", "wells.csv"]
    alone = organoid.fit(organoid.read_recording(plate, well="A1"), free_run=False)
    assert organoid.load_fit(out / "A1.h5").network.describe() == alone.network.describe()
    table = pd.read_csv(found["table"])
    assert list(table["status"]) == ["fitted", "skipped", "fitted"] and list(table["n_units"].dropna()) == [2, 1]


def test_a_bug_in_one_well_does_not_cost_the_others(
    plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(rec: organoid.SpikeRecording, **asked: Any) -> organoid.FitResult:
        if rec.n_units == 2:
            raise ZeroDivisionError("a bug")
        return made

    made = organoid.fit(organoid.read_recording(plate, well="C3"), free_run=False)
    made.free_run.update({"passed": True, "rate_ratio": 0.9})
    monkeypatch.setattr(wells, "fit", fake)
    found = cli_wells.fit_all(request(plate, tmp_path / "fits"), False, workers=1)
    assert [row["status"] for row in found["wells"]] == ["failed", "fitted", "fitted"]
    assert found["wells"][0]["reason"] == "ZeroDivisionError: a bug"
    assert list(pd.read_csv(found["table"])["free_run_rate_ratio"].dropna()) == [0.9, 0.9]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"well": "A1"}, UsageError, "do not go together"),
        ({"out": None}, UsageError, "needs --out DIR"),
        ({"out": Path("x.h5")}, OutputError, "folders"),
        ({"model": "nonsense"}, UsageError, "choices"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    plate: Path, tmp_path: Path, changes: dict[str, Any], kind: type[OrganoidError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        cli_wells.fit_all(request(plate, **{"out": tmp_path / "fits", **changes}), False)


def test_recordings_are_fitted_from_python(plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = organoid.read_recording(plate)
    pages: list[str] = []
    monkeypatch.setattr(wells, "report_page", lambda **given: pages.append(given["title"]) or "<html>")
    (tmp_path / "pages").mkdir()
    found = organoid.fit_wells(rec, workers=1, free_run=False, seed=3, report=tmp_path / "pages")
    assert list(found.fits) == ["A1", "C3"] and list(found.table["name"]) == ["A1", "B-2", "C3"]
    assert found.fits["C3"].settings["seed"] == 3 and found.table["heldout_bits_per_spike"].notna().sum() == 2
    assert pages == ["Fit of A1", "Fit of C3"]
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["A1.html", "C3.html"]
    with pytest.raises(FitError, match="nonsense"):
        organoid.fit_wells(rec, nonsense=1)
    with pytest.raises(FitError, match="fits every well"):
        organoid.fit_wells(rec, well="A1")


def test_every_fit_is_written_as_soon_as_it_is_made(
    plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been computed is not lost where a later culture ends everything."""
    fit = wells.fit

    def ends(rec: organoid.SpikeRecording, **asked: Any) -> organoid.fitting.Fit:
        if rec.n_units == 1:
            raise KeyboardInterrupt
        return fit(rec, **asked)

    monkeypatch.setattr(wells, "fit", ends)
    with pytest.raises(KeyboardInterrupt):
        organoid.fit_wells(plate, out=tmp_path, workers=1, free_run=False)
    assert (tmp_path / "A1.h5").is_file()


@pytest.mark.slow
def test_the_command_fits_in_processes(plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["fit", str(plate), "--all-wells", "--out", str(tmp_path / "fits"), "--no-free-run"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in found["wells"]] == ["fitted", "skipped", "fitted"]
