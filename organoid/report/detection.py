"""The report page of spike detection."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid._version import __version__
from organoid.errors import RecordingError
from organoid.figures.detection import cutouts, noise_levels
from organoid.figures.raster import raster
from organoid.hdf5.atomic import replace_file
from organoid.recording import SpikeRecording
from organoid.report.page import Note, Panel, Section, page
from organoid.report.tables import summary_table


def write_detection_report(
    path: str | PathLike[str], rec: SpikeRecording, held: Mapping[str, NDArray[np.float64]], *, title: str
) -> Path:
    """Write a page on detected spikes: noise levels, example cut-outs, raster.

    Parameters
    ----------
    path : path
    rec : SpikeRecording
        From `organoid.detection.detect`.
    held : mapping
        From `organoid.detection.detector.example_cutouts`.
    title : str

    Returns
    -------
    Path
    """
    from plotly.offline import get_plotlyjs

    rate = rec.sampling_rate or 1.0
    drawn: tuple[tuple[str, Callable[[], Any], str], ...] = (
        ("noise", lambda: noise_levels(rec), "The threshold of each channel is a multiple of its noise."),
        ("cutouts", lambda: cutouts(held, rate), "Spikes of the most active channels; what is no spike shows here."),
        ("raster", lambda: raster(rec), ""),
    )
    parts: list[Panel] = []
    for name, draw, caption in drawn:
        try:
            parts.append(Panel(name, draw(), caption))
        except RecordingError as error:
            parts.append(Panel(name, None, caption, str(error)))
    sections = [Section("detection", "Detection", [summary_table({"detected": rec}), *parts])]
    lead = f"{rec.n_spikes:,} spikes on {rec.n_units} channels in {rec.observed_duration:.6g} s."
    notes = [Note("recording", text) for text in rec.notes]
    text = page(title, lead, notes, sections, get_plotlyjs(), f"Written by organoid {__version__}.")
    return replace_file(path, text.encode("utf-8", "replace"))
