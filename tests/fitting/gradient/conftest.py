"""A culture, a fit to it and its file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from gradient_fits import TINY, culture, gradient

from organoid import SpikeRecording
from organoid.fitting import GradientFit


@pytest.fixture(scope="session")
def rec() -> SpikeRecording:
    return culture()


@pytest.fixture(scope="session")
def result(rec: SpikeRecording) -> GradientFit:
    return gradient(rec, free_run=True, settings=dataclasses.replace(TINY, n_steps=40, learning_rate=0.03))


@pytest.fixture
def path(result: GradientFit, tmp_path: Path) -> Path:
    result.save(tmp_path / "fit.h5")
    return tmp_path / "fit.h5"
