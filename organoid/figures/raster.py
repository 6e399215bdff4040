"""Spikes of all units over time, the population rate below."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures import spikes
from organoid.figures.template import ACCENT, BAND, finish, number, seconds
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates, network_bursts


def raster(
    rec: SpikeRecording, *, max_spikes: int = spikes.MAX_SPIKES, bursts: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the spikes of every unit and the population rate below, network bursts shaded.

    A recording of more than `max_spikes` spikes is shown by one segment of it, chosen as the one whose
    number of spikes is nearest the median segment; a third row then shows where it lies in the whole.

    Parameters
    ----------
    rec : SpikeRecording
    max_spikes : int
    bursts : DataFrame, optional
        As `network_bursts` returns. Default: found here (not in recordings of several wells).

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no spikes to draw.
    """
    if rec.n_spikes == 0:
        raise RecordingError("the recording holds no spikes, so there is nothing to draw")
    part = spikes.representative_slice(rec, max_spikes)
    found = _bursts(rec) if bursts is None else bursts
    n_rows = 2 if part.whole else 3
    fig = make_subplots(rows=n_rows, cols=1, row_heights=[0.62, 0.25, 0.13][:n_rows], vertical_spacing=0.07)
    fig.add_trace(spikes.spike_lines(rec, part, spikes.order_by_rate(rec)), row=1, col=1)
    fig.add_trace(spikes.population_rate(rec, part), row=2, col=1)
    _shade_bursts(fig, found, part)
    holed = spikes.shade_holes(fig, rec, part, rows=(1, 2))
    window = [part.start, part.stop]
    fig.update_xaxes(range=window, row=1, col=1, matches="x2", showticklabels=False)
    fig.update_xaxes(range=window, row=2, col=1, title_text="time (s)" if part.whole else None)
    spikes.unit_axis(fig, rec, top=rec.n_units)
    fig.update_yaxes(title_text="Hz per unit", rangemode="tozero", row=2, col=1)
    if not part.whole:
        _add_overview(fig, rec, part)
    return finish(fig, _title(rec, found), _subtitle(part, found, holed), height=640 if part.whole else 740)


def full_raster(rec: SpikeRecording, *, bursts: pd.DataFrame | None = None) -> go.Figure:
    """Draw every spike of a recording, to be zoomed into; population rate and a slider over all time below.

    Network bursts are shaded, stimuli marked above the spikes.

    Parameters
    ----------
    rec : SpikeRecording
    bursts : DataFrame, optional
        As `network_bursts` returns. Default: found here (not in recordings of several wells).

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no spikes to draw.
    """
    if rec.n_spikes == 0:
        raise RecordingError("the recording holds no spikes, so there is nothing to draw")
    found = _bursts(rec) if bursts is None else bursts
    whole = spikes.Slice(rec.t_start, rec.t_stop, True)
    fig = make_subplots(rows=2, cols=1, row_heights=[0.74, 0.26], vertical_spacing=0.04, shared_xaxes=True)
    fig.add_trace(spikes.spike_markers(rec, spikes.order_by_rate(rec)), row=1, col=1)
    fig.add_trace(spikes.population_rate(rec, whole, max(rec.duration / 2000, 0.02)), row=2, col=1)
    marked = spikes.mark_stimuli(fig, rec)
    _shade_bursts(fig, found, whole)
    holed = spikes.shade_holes(fig, rec, whole, rows=(1, 2))
    spikes.unit_axis(fig, rec, top=rec.n_units * (1.04 if marked else 1.0))
    fig.update_xaxes(range=[rec.t_start, rec.t_stop])
    slider = {"visible": True, "thickness": 0.1, "range": [rec.t_start, rec.t_stop]}
    fig.update_xaxes(title_text="time (s)", rangeslider=slider, row=2, col=1)
    fig.update_yaxes(title_text="Hz per unit", rangemode="tozero", nticks=4, row=2, col=1)
    words = ["all of them are here: zoom in, or drag the handles of the slider"]
    words += ["network bursts shaded blue"] if found is not None and len(found) else []
    words += ["unobserved time grey"] if holed else []
    words += ["triangles mark stimuli"] if marked else []
    title = f"{rec.n_spikes:,} spikes in {seconds(rec.duration)}"
    return finish(fig, title, f"{words[0][0].upper()}{'; '.join(words)[1:]}", height=720)


def _bursts(rec: SpikeRecording) -> pd.DataFrame | None:
    return network_bursts(rec) if len(rec.wells) < 2 else None


def _shade_bursts(fig: go.Figure, bursts: pd.DataFrame | None, part: spikes.Slice) -> None:
    if bursts is None:
        return
    shown = bursts[(bursts["stop_s"] > part.start) & (bursts["start_s"] < part.stop)]
    spikes.shade(fig, shown[["start_s", "stop_s"]].to_numpy(), BAND, rows=(1, 2))


def _add_overview(fig: go.Figure, rec: SpikeRecording, part: spikes.Slice) -> None:
    whole = spikes.Slice(rec.t_start, rec.t_stop, True)
    fig.add_trace(spikes.population_rate(rec, whole, rec.duration / 500), row=3, col=1)
    spikes.shade_holes(fig, rec, whole, rows=(3,))
    fig.add_vrect(x0=part.start, x1=part.stop, line={"color": ACCENT, "width": 1.5}, fillcolor=BAND, row=3, col=1)
    fig.update_xaxes(title_text="time (s); the whole recording, the stretch above framed", row=3, col=1)
    fig.update_xaxes(range=[rec.t_start, rec.t_stop], row=3, col=1)
    fig.update_yaxes(title_text="Hz", rangemode="tozero", nticks=4, row=3, col=1)


def _title(rec: SpikeRecording, bursts: pd.DataFrame | None) -> str:
    units = "1 unit fires" if rec.n_units == 1 else f"{rec.n_units:,} units fire"
    text = f"{units} at {number(float(np.mean(firing_rates(rec))))} Hz on average"
    if bursts is None:
        return f"{text}, in {len(rec.wells)} wells"
    per_minute = 60 * len(bursts) / rec.observed_duration if rec.observed_duration else 0.0
    if not len(bursts):
        return f"{text}, without network bursts"
    return f"{text}, with {number(per_minute)} network bursts per minute"


def _subtitle(part: spikes.Slice, bursts: pd.DataFrame | None, holed: bool) -> str:
    words = []
    if not part.whole:
        words.append(f"A stretch of {number(part.length)} s of typical activity, from {number(part.start, 6)} s on")
    if bursts is not None and len(bursts):
        words.append("network bursts shaded blue")
    if holed:
        words.append("unobserved time grey")
    text = "; ".join(words)
    return text[:1].upper() + text[1:]
