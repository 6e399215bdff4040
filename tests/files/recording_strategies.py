"""Hypothesis strategies that make recordings: empty, silent units, ties, holes, odd tables, far from 0."""

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st

from organoid import SpikeRecording

settings.register_profile("organoid", deadline=None, max_examples=60)  # a busy machine is no failure
settings.load_profile("organoid")

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.floats(-1e6, 1e6) | st.just(float("nan"))
WHOLE = st.none() | st.integers(-(2**40), 2**40)


@st.composite
def spikes(draw: st.DrawFn, max_units: int = 4, max_spikes: int = 30) -> dict[str, Any]:
    """Draw spike times on a coarse grid (ties and bin edges are common) and their units."""
    n_units = draw(st.integers(0, max_units))
    rate = draw(st.sampled_from([None, 100.0, 1000.0, 7702.0, 19753.774]))
    start = draw(st.sampled_from([0.0, -0.5, 1200.0, 1.0 / 3.0]))
    step = draw(st.sampled_from([0.001, 0.01, 0.05, 1 / 3]))
    n = draw(st.integers(0, max_spikes)) if n_units else 0
    times = [start + step * draw(st.integers(0, 40)) for _ in range(n)]
    units = [draw(st.integers(0, n_units - 1)) for _ in range(n)]
    return {
        "spike_times": np.array(times, dtype=float),
        "spike_units": np.array(units, dtype=int),
        "n_units": n_units,
        "t_start": start,
        "t_stop": start + step * draw(st.integers(41, 60)) + 0.2,
        "sampling_rate": rate,
    }


@st.composite
def observed_in(draw: st.DrawFn, start: float, stop: float) -> np.ndarray:
    """Draw ordered disjoint intervals inside a window."""
    cuts = sorted(draw(st.lists(st.integers(0, 1000), unique=True, max_size=8)))
    edges = start + (stop - start) * np.array(cuts[: len(cuts) // 2 * 2], dtype=float) / 1000
    spans = np.clip(edges, start, stop).reshape(-1, 2)
    return spans[spans[:, 0] < spans[:, 1]]


def table(draw: st.DrawFn, n_rows: int, columns: dict[str, st.SearchStrategy[Any]]) -> pd.DataFrame:
    """Draw a table with some of the columns."""
    chosen = [name for name in columns if draw(st.booleans())]
    data = {name: [draw(columns[name]) for _ in range(n_rows)] for name in chosen}
    return pd.DataFrame(data, index=range(n_rows))


@st.composite
def recordings(draw: st.DrawFn) -> SpikeRecording:
    """Draw a recording with everything it can carry."""
    held = draw(spikes())
    place = {"channel": WHOLE, "electrode": WHOLE, "x_um": NUMBERS, "y_um": NUMBERS, "well": st.none() | TEXTS}
    other = draw(TEXTS.filter(lambda name: name not in {"name", *place}))  # those hold numbers
    extra = {other: st.one_of(TEXTS), "missing": NUMBERS, "quality": st.integers(0, 9), "kept": st.booleans()}
    n_stimuli = draw(st.integers(0, 3))
    times = [held["t_start"] + 0.01 * k for k in range(n_stimuli)]
    stimuli = table(
        draw, n_stimuli, {"duration_s": NUMBERS, "electrode": WHOLE, "amplitude_unit": st.sampled_from("AV")}
    )
    return SpikeRecording(
        **held,
        units=table(draw, held["n_units"], {"name": TEXTS, **place, **extra}),
        electrodes=draw(st.none()) or table(draw, draw(st.integers(0, 3)), {**place, "can_stimulate": st.booleans()}),
        stimuli=stimuli.assign(time_s=times),
        events=table(draw, n_stimuli, {"kind": TEXTS, "label": TEXTS, "port": WHOLE}).assign(time_s=times),
        observed=draw(st.none() | observed_in(held["t_start"], held["t_stop"])),
        metadata=draw(st.dictionaries(TEXTS, NUMBERS | TEXTS | st.lists(WHOLE, max_size=2), max_size=3)),
        notes=draw(st.lists(TEXTS, max_size=3)),
    )
