"""``organoid calibrate``: responses of a fit on recordings with test pulses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pulsed_network import plain_result, pulsed

import organoid
from organoid import FitResult
from organoid.io.organoid_hdf5 import write_recording


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("calibrate")
    plain_result().save(folder / "fit.h5")
    write_recording(pulsed(1), folder / "stimulated.h5")
    return folder / "fit.h5", folder / "stimulated.h5"


def test_a_fit_is_calibrated_and_written(run: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    fit, stimulated = files
    before, out = fit.read_bytes(), tmp_path / "new.h5"
    code, text, _ = run("calibrate", fit, stimulated, "--out", out)
    assert code == 0
    assert "calibrated (30 pulses, 2 electrodes)" in text and "electrode  after a pulse" in text
    again = organoid.load_fit(out)
    assert isinstance(again, FitResult) and again.calibration_status == "calibrated (30 pulses, 2 electrodes)"
    assert fit.read_bytes() == before
    code, text, _ = run("calibrate", fit, stimulated, "--out", tmp_path / "few.h5", "--n-pulses", 10, "--json")
    found = json.loads(text)
    assert code == 0 and found["calibration"] == "calibrated (20 pulses, 2 electrodes)"
    assert np.isfinite(found["evoked"]["20_100ms"]["r"])


def test_what_cannot_be_calibrated_is_one_sentence(run: Any, files: tuple[Path, Path], tmp_path: Path) -> None:
    fit, stimulated = files
    bare = tmp_path / "bare.h5"
    rec = pulsed(1)
    write_recording(organoid.SpikeRecording(rec.spike_times, rec.spike_units, n_units=rec.n_units, t_stop=90.0), bare)
    for arguments, message in (
        ((fit, bare, "--out", tmp_path / "a.h5"), "has no stimuli"),
        ((stimulated, stimulated, "--out", tmp_path / "a.h5"), "expected a fit"),
        ((fit, stimulated, "--out", fit), "fit.h5"),
        ((fit, stimulated, "--out", tmp_path / "a.h5", "--report", tmp_path / "a.h5"), "same name"),
    ):
        code, _, err = run("calibrate", *arguments)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "a.h5").exists()
