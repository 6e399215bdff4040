"""Fits by gradient that cannot be saved, and files of fits that were damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gradient_fits import ForeignModel, gradient

import organoid
from organoid import FitError, ModelError, OrganoidError, SpikeRecording
from organoid.losses import VanRossum
from organoid.models import LIF
from organoid.models.surrogate import ArcTan

TABLES = ("edges", "per_unit", "units", "electrodes", "curve")
ENTRIES = (*TABLES, "scores", "free_run", "notes", "settings", "model", "loss")


class Unregistered(LIF):
    """A LIF network by another name."""


@dataclass(frozen=True)
class OwnLoss(VanRossum):
    """A loss nobody registered."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": Unregistered(4, 0.002)}, "Unregistered"),
        ({"loss": OwnLoss(0.002)}, "OwnLoss"),
    ],
)
def test_what_no_file_could_bring_back_is_not_saved(
    rec: SpikeRecording, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    fitted = gradient(rec, **options)
    assert organoid.simulate(fitted, 2.0).n_units == 4
    with pytest.raises(FitError, match=message):
        fitted.save(tmp_path / "f.h5")
    assert list(tmp_path.iterdir()) == []


def test_any_model_that_keeps_the_contract_runs_and_predicts(rec: SpikeRecording, tmp_path: Path) -> None:
    fitted = gradient(rec, model=ForeignModel(), loss="likelihood")
    assert fitted.predict(rec).shape == rec.counts(0.002).shape
    simulated = organoid.simulate(fitted, 1.0)
    assert simulated.metadata["network"]["trained"] == "ForeignModel"
    with pytest.raises(FitError, match="ForeignModel"):
        fitted.save(tmp_path / "f.h5")


def test_a_model_without_a_free_form_predicts_and_says_what_it_cannot(rec: SpikeRecording) -> None:
    fitted = gradient(rec, model=LIF(4, 0.002, spike=ArcTan().relaxed), free_run=True)
    assert fitted.network is None and fitted.free_run == {}
    assert any("cannot" in note or "not simulate" in note for note in fitted.notes)
    assert fitted.predict(rec).shape == rec.counts(0.002).shape
    with pytest.raises(ModelError):
        organoid.simulate(fitted, 1.0)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_incomplete_fit_names_what_is_missing(path: Path, entry: str) -> None:
    with h5py.File(path, "a") as h5:
        del h5[entry]
    with pytest.raises(FitError, match=entry):
        organoid.load_fit(path)


def _rewrite(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        del h5[name]
        h5[name] = value

    return change


def _attribute(group: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        h5[group].attrs[name] = value

    return change


DAMAGE: dict[str, Callable[[h5py.File], None]] = {
    "scores no mapping": _rewrite("scores", "[1, 2]"),
    "notes no list": _rewrite("notes", "3"),
    "settings no JSON": _rewrite("settings", "{"),
    "free_run no mapping": _rewrite("free_run", "[]"),
    "another shape": _rewrite("model/state/bias", np.zeros(5, dtype=np.float32)),
    "network of another shape": _rewrite("network/weights", np.zeros((2, 5, 5))),
    "network of text": _rewrite("network/bias", np.array([b"a"] * 4)),
    "unknown loss": _attribute("loss", "name", "nothing"),
    "unknown model": _attribute("model", "model", "nothing"),
    "unknown kind of network": _attribute("network", "model", "nothing"),
    "unknown kind of fit": _attribute("/", "fit_by", "guessing"),
    "unknown settings of the loss": _attribute("loss", "settings", '{"nothing": 1}'),
    "settings of the loss no JSON": _attribute("loss", "settings", "{"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_fit_is_refused_in_words(path: Path, damage: str) -> None:
    with h5py.File(path, "a") as h5:
        DAMAGE[damage](h5)
    with pytest.raises(OrganoidError) as caught:
        organoid.load_fit(path)
    assert len(str(caught.value)) > 20


def test_a_fit_without_its_bin_width(path: Path) -> None:
    with h5py.File(path, "a") as h5:
        del h5.attrs["bin_width"]
    with pytest.raises(FitError):
        organoid.load_fit(path)
