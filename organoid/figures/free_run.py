"""A culture and its network in free run, one above the other, and how alike their pairs of units are."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures import spikes
from organoid.figures.comparison import correlation_of
from organoid.figures.template import ACCENT, BAND, FAINT, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import network_bursts, sttc

_MAX_SPIKES = 8_000  # of either
_MAX_PAIRS = 4_000
_STTC_DT = 0.05  # s


def side_by_side(recorded: SpikeRecording, simulated: SpikeRecording) -> go.Figure:
    """Draw typical segments of equal length: spikes and population rate, recorded above, simulated below.

    Units stand in one order, population rates on one scale, and the recording's thresholds find the network bursts
    (shaded) of both.

    Parameters
    ----------
    recorded, simulated : SpikeRecording
        The same units in the same order.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If they have different numbers of units, or the recording holds no spikes.
    """
    _check(recorded, simulated)
    busier = max(recorded, simulated, key=lambda rec: rec.n_spikes / max(rec.duration, 1e-9))
    length = min(spikes.representative_slice(busier, _MAX_SPIKES).length, recorded.duration, simulated.duration)
    thresholds = network_bursts(recorded).attrs["thresholds"]
    order, highest = spikes.order_by_rate(recorded), 0.0
    fig = make_subplots(rows=4, cols=1, row_heights=[0.32, 0.18, 0.32, 0.18], vertical_spacing=0.075)
    for top, rec, name in ((1, recorded, "recorded"), (3, simulated, "simulated")):
        part = spikes.typical_slice(rec, length)
        fig.add_trace(spikes.spike_lines(rec, part, order), row=top, col=1)
        rate = spikes.population_rate(rec, part)
        fig.add_trace(rate, row=top + 1, col=1)
        highest = max(highest, float(np.nanmax(rate.y, initial=0.0)))
        bursts = network_bursts(rec, thresholds)[["start_s", "stop_s"]].to_numpy()
        shown = bursts[(bursts[:, 1] > part.start) & (bursts[:, 0] < part.stop)]
        spikes.shade(fig, np.clip(shown, part.start, part.stop), BAND, rows=(top, top + 1))
        spikes.shade_holes(fig, rec, part, rows=(top, top + 1))
        window = [part.start, part.start + length]
        fig.update_xaxes(range=window, showticklabels=False, row=top, col=1)
        fig.update_xaxes(range=window, title_text=f"time (s), {name}", row=top + 1, col=1)
        hidden = {"showgrid": False, "showticklabels": False, "ticks": ""}
        fig.update_yaxes(title_text=f"units, {name}", range=[-1, rec.n_units], **hidden, row=top, col=1)
    for row in (2, 4):
        fig.update_yaxes(title_text="Hz per unit", range=[0, 1.05 * max(highest, 1e-9)], row=row, col=1)
    title = f"{number(length)} s of typical activity, recorded above and simulated below"
    return finish(fig, title, "Same order of units, same scales; network bursts shaded blue", height=900)


def sttc_comparison(recorded: SpikeRecording, simulated: SpikeRecording) -> go.Figure:
    """Draw the synchrony (STTC, 50 ms) of every pair of units, simulated over recorded, with the line of equality.

    Parameters
    ----------
    recorded, simulated : SpikeRecording
        The same units in the same order.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If they have different numbers of units, or no pair fires in both.
    """
    _check(recorded, simulated)
    pair = np.triu_indices(recorded.n_units, 1)
    x, y = sttc(recorded, _STTC_DT)[pair], sttc(simulated, _STTC_DT)[pair]
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if not x.size:
        raise RecordingError("no pair of units fires in both the recording and the simulation")
    ends = [float(min(x.min(), y.min(), 0.0)) - 0.02, float(max(x.max(), y.max())) + 0.02]
    fig = go.Figure()
    fig.add_trace(_pairs(x, y))
    line = {"color": FAINT, "width": 1.5, "dash": "dash"}
    fig.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip"))
    fig.update_layout(showlegend=False)
    fig.update_xaxes(range=ends, title_text="recorded STTC", constrain="domain")
    fig.update_yaxes(range=ends, title_text="simulated STTC", scaleanchor="x", scaleratio=1)
    r = correlation_of(x, y)
    means = f"Mean {number(float(y.mean()))} simulated, {number(float(x.mean()))} recorded"
    title = f"The synchrony of {x.size:,} pairs" + (f" correlates with r = {r:.3f}" if np.isfinite(r) else "")
    return finish(fig, title, means, height=520)


def _pairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> go.Scatter:
    """Return the points of pairs; every n-th of very many."""
    every = max(1, -(-x.size // _MAX_PAIRS))
    marker = {"size": 4, "color": ACCENT, "opacity": 0.45}
    hover = "%{x:.3f} recorded, %{y:.3f} simulated<extra></extra>"
    return go.Scatter(x=x[::every], y=y[::every], mode="markers", marker=marker, name="pairs", hovertemplate=hover)


def _check(recorded: SpikeRecording, simulated: SpikeRecording) -> None:
    if recorded.n_units != simulated.n_units:
        raise RecordingError(
            f"{recorded.n_units} units recorded and {simulated.n_units} simulated; expected the same units in both"
        )
    if recorded.n_spikes == 0:
        raise RecordingError("the recording holds no spikes, so there is nothing to compare")
