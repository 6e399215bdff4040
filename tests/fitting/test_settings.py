"""Options of fits: known names, defaults, which method a model and a loss get, light imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic_recordings import poisson

import organoid
from organoid.errors import FitError
from organoid.fitting import METHODS, FreeRunSettings, GradientSettings, LikelihoodSettings, methods
from organoid.fitting.methods import ANY, Method, method_for, settings_for

ROOT = Path(__file__).parent.parent.parent
LIKELIHOOD, GRADIENT = method_for("escape_lif", "likelihood"), method_for("lif", "van_rossum")


def test_the_likelihood_fit_is_one_model_and_one_loss() -> None:
    assert LIKELIHOOD.settings is LikelihoodSettings and GRADIENT.settings is GradientSettings
    assert (
        method_for("escape_lif", "rate")
        is method_for("lif", "likelihood")
        is method_for(object(), object())
        is GRADIENT
    )


def test_a_method_is_a_registry_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, ("toy", ANY), Method("a toy", GradientSettings, f"{__name__}:toy_fit"))
    asked: Any = organoid.fit(poisson([4.0, 6.0], 20.0, seed=1), model="toy", loss="rate", n_steps=7, seed=3)
    assert (asked["model"], asked["loss"], asked["seed"], asked["settings"].n_steps) == ("toy", "rate", 3, 7)


def toy_fit(rec: organoid.SpikeRecording, **asked: Any) -> dict[str, Any]:
    return asked


def test_names_come_before_settings() -> None:
    found = settings_for(GRADIENT, GradientSettings(n_steps=5, batch=3), {"n_steps": 9})
    assert found == GradientSettings(n_steps=9, batch=3)
    assert settings_for(LIKELIHOOD, None, {"bin_width": None}) == LikelihoodSettings()


def test_options_of_another_method_are_accepted_at_their_defaults_only() -> None:
    assert settings_for(GRADIENT, None, {"exact": False, "delays": [], "device": None}) == GradientSettings()
    with pytest.raises(FitError, match="exact=True belongs to the likelihood fit"):
        settings_for(GRADIENT, None, {"exact": True})
    with pytest.raises(FitError, match="n_steps=9 belongs to a fit by gradient"):
        settings_for(LIKELIHOOD, None, {"n_steps": 9})


@pytest.mark.parametrize(("method", "known"), [(LIKELIHOOD, "coupling_prior"), (GRADIENT, "learning_rate")])
def test_an_unknown_name_is_rejected_with_the_known_ones(method: Method, known: str) -> None:
    with pytest.raises(FitError, match=rf"unknown settings \['nonsense'\] for .*known: .*{known}") as raised:
        settings_for(method, None, {"nonsense": 1})
    assert "\n" not in str(raised.value)
    with pytest.raises(FitError, match="does not go with"):
        settings_for(method, LikelihoodSettings() if method is GRADIENT else GradientSettings(), {})


def test_free_runs_are_on_unless_turned_off() -> None:
    few = FreeRunSettings(n_runs=2)
    assert LikelihoodSettings().free_runs == FreeRunSettings() == GradientSettings().free_runs
    assert GradientSettings(free_run=False).free_runs is None and LikelihoodSettings(free_run=few).free_runs is few
    with pytest.raises(FitError, match="n_runs=0"):
        FreeRunSettings(n_runs=0)


def test_options_are_read_without_torch() -> None:
    code = "import sys, organoid.fitting.settings, organoid.fitting.methods as m; assert m.METHODS\n"
    code += "print(*sorted({'torch', 'numba', 'numpy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "", done.stdout + done.stderr


@pytest.mark.parametrize("key", sorted(METHODS))
def test_every_method_has_its_place(key: tuple[str, str]) -> None:
    module, function = METHODS[key].place.split(":")
    assert callable(getattr(methods.import_module(module), function))
