"""Network bursts: why they were found, and what each of them is like."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures import spikes
from organoid.figures.comparison import aligned_rates
from organoid.figures.template import ACCENT, BAND, CONTRAST, INK, MUTED, SCALE, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import network_burst_evidence, network_bursts
from organoid.statistics.network import unit_bursts_of_rule

_MAX_BURSTS = 300


def burst_evidence(
    rec: SpikeRecording, bursts: pd.DataFrame | None = None, evidence: pd.DataFrame | None = None
) -> go.Figure:
    """Draw on what network bursts rest: counts against chance, the rule on the activity, and units per burst.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bursts, evidence : DataFrame, optional
        What `network_bursts` and `network_burst_evidence` returned.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no unit bursts.
    """
    found = network_bursts(rec) if bursts is None else bursts
    counts = network_burst_evidence(rec, found) if evidence is None else evidence
    used = found.attrs["thresholds"]
    fig = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"colspan": 2}, None], [{}, {}]],
        row_heights=[0.5, 0.5],
        vertical_spacing=0.2,
        horizontal_spacing=0.12,
    )
    _draw_rule(fig, rec, found)
    for name, colour, dash in (("found", ACCENT, "solid"), ("expected", CONTRAST, "dash")):
        label = "found" if name == "found" else "after circular shifts"
        line = {"color": colour, "width": 2, "dash": dash, "shape": "hv"}
        y = np.where(counts[name] > 0, counts[name].to_numpy(dtype=float), np.nan)
        if not np.isfinite(y).any():
            continue  # a logarithmic axis has no place for 0
        fig.add_trace(go.Scatter(x=counts["min_units"], y=y, mode="lines", line=line, name=label), row=2, col=1)
    fig.add_vline(x=used["min_units"], line={"color": INK, "width": 1, "dash": "dot"}, row=2, col=1)
    fig.update_xaxes(title_text="units asked for", row=2, col=1)
    fig.update_yaxes(title_text="intervals", type="log", dtick=1, row=2, col=1)
    if len(found):
        taking_part = np.bincount(found["n_units"].to_numpy(dtype=np.int64))
        units = np.flatnonzero(taking_part)
        bars = {"marker": {"color": ACCENT}, "showlegend": False, "name": "bursts", "width": 1.0}
        fig.add_trace(go.Bar(x=units, y=taking_part[units], **bars), row=2, col=2)
    fig.update_xaxes(title_text="units that fire in a burst", range=[0, rec.n_units + 1], row=2, col=2)
    fig.update_yaxes(title_text="network bursts", row=2, col=2)
    fig.update_layout(legend={"orientation": "h", "x": 0, "y": -0.12, "xanchor": "left", "yanchor": "top"})
    expected = found.attrs["chance"]["expected"]
    title = f"{len(found):,} network bursts, {number(expected)} expected by chance"
    interval = 1000 * used["max_interval_s"]
    below = (
        f"At least {used['min_units']:g} units burst at once (dotted), bounded where fewer than "
        f"{used['edge_units']:g} do; "
        f"a unit bursts while {used['min_spikes']:g} spikes or more follow each other by less than {interval:g} ms, "
        f"pauses of up to {1000 * used['max_gap_s']:g} ms between such stretches included"
    )
    return finish(fig, title, below, height=640)


def _draw_rule(fig: go.Figure, rec: SpikeRecording, found: pd.DataFrame) -> None:
    used = found.attrs["thresholds"]
    table = unit_bursts_of_rule(rec, used)
    if table.empty:
        raise RecordingError("no unit bursts, so there is nothing that network bursts could be made of")
    start, stop = table["start_s"].to_numpy(), table["stop_s"].to_numpy()
    part = spikes.representative_slice(rec)
    if len(found) and not ((found["start_s"] < part.stop) & (found["stop_s"] > part.start)).any():
        middle = float(found["peak_s"].iloc[len(found) // 2])
        first = float(np.clip(middle - part.length / 2, rec.t_start, rec.t_stop - part.length))
        part = spikes.Slice(first, first + part.length, False)
    inside = (start < part.stop) & (stop > part.start)
    times = np.concatenate([start[inside], stop[inside]])
    order = np.argsort(times, kind="stable")
    level = np.cumsum(np.repeat([1, -1], inside.sum())[order])
    x = np.clip(np.concatenate([[part.start], times[order], [part.stop]]), part.start, part.stop)
    y = np.concatenate([[0], level, [0]])
    line = {"color": INK, "width": 1.2, "shape": "hv"}
    fig.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, name="units bursting"), row=1, col=1)
    for name, dash in (("min_units", "dot"), ("edge_units", "dash")):
        fig.add_hline(y=used[name], line={"color": MUTED, "width": 1, "dash": dash}, row=1, col=1)
    shown = found[(found["stop_s"] > part.start) & (found["start_s"] < part.stop)]
    spikes.shade(fig, np.clip(shown[["start_s", "stop_s"]].to_numpy(), part.start, part.stop), BAND, rows=(1,))
    fig.update_xaxes(title_text="time (s)", range=[part.start, part.stop], row=1, col=1)
    fig.update_yaxes(title_text="units bursting", rangemode="tozero", row=1, col=1)


def burst_gallery(rec: SpikeRecording, bursts: pd.DataFrame | None = None) -> go.Figure:
    """Draw every network burst as a row: the population rate around its peak, in the order of the recording.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bursts : DataFrame, optional

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no network bursts.
    """
    found = network_bursts(rec) if bursts is None else bursts
    if found.empty:
        raise RecordingError("no network burst was found, so there is none to draw")
    every = -(-len(found) // _MAX_BURSTS)
    shown = found.iloc[::every]
    durations = (found["stop_s"] - found["start_s"]).to_numpy()
    length = float(np.clip(np.quantile(durations, 0.9), 0.2, 20.0))
    bin_width = length / 60
    times, rates = aligned_rates(rec, shown["peak_s"].to_numpy(), (-1.0 * length, 2.0 * length), bin_width)
    fig = go.Figure(
        go.Heatmap(
            x=times.astype(np.float32),
            y=np.arange(1, len(found) + 1, every),
            z=rates.astype(np.float32),
            colorscale=[[0, "white"], *SCALE[1:]],
            zmin=0,
            zmax=float(np.quantile(rates, 0.99)) or None,
            colorbar={"title": {"text": "Hz per unit"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="burst %{y}, %{x:.3f} s: %{z:.1f} Hz per unit<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="time from the burst's peak (s)")
    fig.update_yaxes(title_text="network burst", autorange="reversed")
    low, middle, high = (number(float(value)) for value in np.quantile(durations, [0.25, 0.5, 0.75]))
    title = f"Half of the {len(found):,} network bursts last between {low} and {high} s, median {middle} s"
    some = "" if every == 1 else f"; every {every}th is drawn"
    return finish(
        fig, title, f"Population rate around the peak of each burst, in the order of the recording{some}", height=480
    )
