"""Figures of spike detection: the noise of each channel, and cut-outs around spikes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures.template import INK, MUTED, finish
from organoid.recording import SpikeRecording

_COLUMNS = 3


def noise_levels(rec: SpikeRecording) -> go.Figure:
    """Draw how many channels have which noise.

    Parameters
    ----------
    rec : SpikeRecording
        From `organoid.detection.detect`: its units have the column noise_uv.

    Returns
    -------
    plotly Figure
    """
    units = rec.units
    if "noise_uv" not in units:
        raise RecordingError("the units of this recording have no noise_uv: it was not detected here")
    noise = units["noise_uv"].to_numpy(dtype=float)
    alive = noise[np.isfinite(noise) & (noise > 0)]
    if not alive.size:
        raise RecordingError("no channel has any noise, so there is nothing to draw")
    fig = go.Figure(go.Histogram(x=alive, nbinsx=min(60, max(10, alive.size // 4)), marker_color=INK))
    fig.update_xaxes(title_text="noise (uV)", rangemode="tozero")
    fig.update_yaxes(title_text="channels")
    middle = float(np.median(alive))
    dead = noise.size - alive.size
    said = f"{alive.size} of {noise.size} channels" + (f"; {dead} without any noise are left out" if dead else "")
    return finish(fig, f"The noise is {middle:.3g} uV on the median channel", said, height=360)


def cutouts(held: Mapping[str, NDArray[np.float64]], sampling_rate: float) -> go.Figure:
    """Draw filtered voltage around some spikes of some channels, and their mean.

    Parameters
    ----------
    held : mapping
        Name of a channel to an array (n, samples) of V, the spike in the middle.
    sampling_rate : float, Hz

    Returns
    -------
    plotly Figure
    """
    if not held:
        raise RecordingError("there are no spikes to cut out")
    rows = -(-len(held) // _COLUMNS)
    fig = make_subplots(rows=rows, cols=min(_COLUMNS, len(held)), subplot_titles=list(held), shared_xaxes=True)
    for k, cuts in enumerate(held.values()):
        place: dict[str, Any] = {"row": k // _COLUMNS + 1, "col": k % _COLUMNS + 1}
        time = (np.arange(cuts.shape[1]) - cuts.shape[1] // 2) / sampling_rate * 1000
        gap = np.full((len(cuts), 1), np.nan)
        lines = np.concatenate([cuts * 1e6, gap], axis=1).ravel()
        times = np.tile(np.append(time, np.nan), len(cuts))
        fig.add_trace(go.Scatter(x=times, y=lines, mode="lines", line={"width": 0.6, "color": MUTED}), **place)
        mean = cuts.mean(axis=0) * 1e6
        fig.add_trace(go.Scatter(x=time, y=mean, mode="lines", line={"width": 2, "color": INK}), **place)
    fig.update_layout(showlegend=False)
    fig.update_xaxes(title_text="ms", row=rows)
    n = sum(len(cuts) for cuts in held.values())
    return finish(
        fig, "Filtered voltage around detected spikes", f"{n} spikes, uV; means in bold", height=260 * rows + 60
    )
