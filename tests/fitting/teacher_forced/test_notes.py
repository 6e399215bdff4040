"""What fits say of themselves in words: positions that are missing, pulses that name no electrode."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from organoid.fitting.data.history import bin_history
from organoid.fitting.teacher_forced import notes as fit_notes
from organoid.fitting.teacher_forced.regions import MIN_UNITS
from organoid.models.spike_response.terms.stimulus import StimulusKernels
from organoid.recording import SpikeRecording


def array(n: int, unknown: int) -> SpikeRecording:
    """Return units that fire once each, 20 um apart on a line; the first ones nobody knows where."""
    place = pd.DataFrame({"x_um": 20.0 * np.arange(n), "y_um": np.zeros(n)})
    place.loc[: unknown - 1] = np.nan
    return SpikeRecording(0.01 * np.arange(1, n + 1), np.arange(n), units=place, t_start=0.0, t_stop=10.0)


def plain(n: int, stimulus: Any = None) -> Any:
    """Return what notes read of a forced fit that needs none."""
    return SimpleNamespace(
        chosen="coupled",
        coupled=np.ones(n, dtype=bool),
        kind=np.zeros(n, dtype=int),
        sampling_error=0.0,
        converged=True,
        stimulus=stimulus,
        parameters=SimpleNamespace(capacity=np.ones(n, dtype=np.int64)),
    )


@pytest.mark.parametrize(
    ("n", "unknown", "expected"), [(MIN_UNITS, 0, 0), (MIN_UNITS, 1, 1), (MIN_UNITS, MIN_UNITS, 0), (10, 1, 0)]
)
def test_a_large_array_with_a_unit_nobody_knows_where_is_told_of(n: int, unknown: int, expected: int) -> None:
    """Where all positions are unknown nothing is missing: the array has none."""
    rec = array(n, unknown)
    said = [note for note in fit_notes.of_fit(rec, bin_history(rec, 0.001), plain(n), False) if "position" in note]
    assert len(said) == expected
    assert all(note.startswith(f"{unknown} of {n} units") for note in said)


@pytest.mark.parametrize(("electrodes", "expected"), [([-1], 1), ([-1, 4], 1), ([4], 0)])
def test_pulses_that_name_no_electrode_cannot_be_given_again(electrodes: list[int], expected: int) -> None:
    n = len(electrodes)
    kernels = StimulusKernels(
        0.001,
        np.array(electrodes),
        np.zeros(n, dtype=np.int64),
        np.full(n, 30),
        np.zeros((1, 5, 10)),
        np.zeros(10),
        np.zeros(10),
    )
    rec = array(10, 0)
    said = list(fit_notes.of_response(bin_history(rec, 0.001), plain(10, kernels)))
    assert sum("name no electrode" in note for note in said) == expected
    assert any(f"{30 * n} pulses on {n} electrode" in note for note in said)
