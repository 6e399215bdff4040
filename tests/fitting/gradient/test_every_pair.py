"""Every model with every loss, beyond the pairs that are saved and run elsewhere: it trains, and has its controls."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_recordings import bursting

import organoid
from organoid.fitting import FitResult, GradientFit
from organoid.losses import LOSSES
from organoid.models import MODELS

COMPILED = ("adaptive_lif", "escape_lif")
PAIRS = sorted({(m, x) for m in COMPILED for x in LOSSES if x != "van_rossum"} | {(m, "likelihood") for m in MODELS})
SHORT = {"n_steps": 1, "batch": 2, "window": 0.2, "warmup": 0.1, "bin_width": 0.004}


def test_all_models_and_losses_are_there() -> None:
    assert len(PAIRS) > 20 and {"lif", "adex", "culture_lif"} <= {model for model, _ in PAIRS}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "loss"), PAIRS)
def test_a_pair_trains_and_has_its_controls(model: str, loss: str) -> None:
    by_likelihood = loss == "likelihood" and model in ("escape_lif", "culture_lif")
    options = {} if by_likelihood else SHORT
    fitted = organoid.fit(bursting(4, 20.0, 3), model=model, loss=loss, free_run=False, **options)
    assert isinstance(fitted, FitResult if by_likelihood else GradientFit)
    assert list(fitted.held_out.index) == ["fitted", "silent", "constant_rate", "own_history", "shuffled"]
    assert np.isfinite(fitted.held_out[["fitted", "constant_rate"]]).all()
    assert np.isfinite(fitted.scores["heldout_bits_per_spike_uncoupled"])
