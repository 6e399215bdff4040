"""``organoid fit --all-wells``: every culture fitted, none stops the others, one table."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import organoid
from organoid.cli import main
from organoid.cli import wells as cli_wells
from organoid.cli.support import OutputError, UsageError
from organoid.cli.work import FitRequest
from organoid.errors import OrganoidError


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
    found = cli_wells.fit_wells(request(plate, out), False, pool=ThreadPoolExecutor)
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
    def fake(asked: FitRequest, progress: bool) -> dict[str, Any]:
        if asked.well == "A1":
            raise ZeroDivisionError("a bug")
        return {"n_units": 1, "free_run": {"passed": True, "rate_ratio": 0.9}, "notes": []}

    monkeypatch.setattr(cli_wells, "fit_file", fake)
    found = cli_wells.fit_wells(request(plate, tmp_path / "fits"), False, pool=ThreadPoolExecutor)
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
        cli_wells.fit_wells(request(plate, **{"out": tmp_path / "fits", **changes}), False)


@pytest.mark.slow
def test_the_command_fits_in_processes(plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["fit", str(plate), "--all-wells", "--out", str(tmp_path / "fits"), "--no-free-run"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in found["wells"]] == ["fitted", "skipped", "fitted"]
