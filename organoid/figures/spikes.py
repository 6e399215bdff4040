"""Spikes as lines, activity as rates: the parts rasters are made of."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from organoid.figures.template import ACCENT, CONTRAST, HOLE, INK
from organoid.recording import SpikeRecording

MAX_SPIKES = 15_000
MAX_POINTS = 1_500
_MAX_MARKS = 2_000
_LARGEST_SINGLE = 4096.0  # s: single precision then still has steps below half a millisecond
_LENGTHS = (3600, 1800, 1200, 600, 300, 120, 60, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1)


@dataclass(frozen=True)
class Slice:
    """Part of a recording that is drawn, s; `whole` where it is all of it."""

    start: float
    stop: float
    whole: bool

    @property
    def length(self) -> float:
        """Length, s."""
        return self.stop - self.start


def representative_slice(rec: SpikeRecording, max_spikes: int = MAX_SPIKES) -> Slice:
    """Return a round segment of at most about `max_spikes` spikes whose activity is nearest the usual one."""
    if rec.n_spikes <= max_spikes or rec.duration == 0:
        return Slice(rec.t_start, rec.t_stop, True)
    longest = rec.duration * max_spikes / rec.n_spikes
    return typical_slice(rec, next((x for x in _LENGTHS if x <= longest), longest))


def typical_slice(rec: SpikeRecording, length: float) -> Slice:
    """Return the segment of a length, s, whose number of spikes is nearest the usual one."""
    if length >= rec.duration or rec.n_spikes == 0:
        return Slice(rec.t_start, rec.t_stop, True)
    starts = rec.t_start + np.arange(int(rec.duration / length)) * length
    n = np.diff(np.searchsorted(rec.spike_times, np.append(starts, starts[-1] + length)))
    active = n[n > 0]
    start = float(starts[np.argmin(np.abs(n - np.median(active)))])
    return Slice(start, min(start + length, rec.t_stop), False)


def order_by_rate(rec: SpikeRecording) -> NDArray[np.int64]:
    """Return the row of each unit when the busiest one is at the top."""
    counts = np.bincount(rec.spike_units, minlength=rec.n_units)
    row = np.empty(rec.n_units, dtype=np.int64)
    row[np.argsort(counts, kind="stable")] = np.arange(rec.n_units)
    return row


def spike_lines(rec: SpikeRecording, part: Slice, row: NDArray[np.int64]) -> go.Scatter:
    """Return the spikes of a slice as short upright strokes, all in one trace."""
    begin, end = np.searchsorted(rec.spike_times, [part.start, part.stop])
    times, rows = rec.spike_times[begin:end], row[rec.spike_units[begin:end]]
    x = np.repeat(times, 3)
    x[2::3] = np.nan
    half = max(0.42, rec.n_units / 250)  # strokes of many units overlap rather than vanish
    y = np.repeat(rows.astype(np.float32), 3) + np.tile(np.array([-half, half, np.nan], np.float32), times.size)
    width = 1.0 if times.size > 3000 else 1.2
    line = {"color": INK, "width": width, "simplify": False}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="spikes")


def spike_markers(rec: SpikeRecording, row: NDArray[np.int64]) -> go.Scattergl:
    """Return all spikes as one trace of short strokes drawn by the GPU."""
    single = np.float32 if rec.t_stop < _LARGEST_SINGLE else np.float64
    size = float(np.clip(300 / max(rec.n_units, 1), 2.0, 7.0))
    return go.Scattergl(
        x=rec.spike_times.astype(single),
        y=row[rec.spike_units].astype(np.int16 if rec.n_units < 2**15 else np.int32),
        mode="markers",
        marker={"symbol": "line-ns", "size": size, "line": {"width": 0.7, "color": INK}, "color": INK, "opacity": 0.6},
        hoverinfo="skip",
        showlegend=False,
        name="spikes",
    )


def mark_stimuli(fig: go.Figure, rec: SpikeRecording) -> bool:
    """Mark stimuli above the first row; return whether there are any."""
    times = np.unique(rec.stimuli["time_s"].to_numpy(dtype=float))
    if not times.size:
        return False
    every = -(-times.size // _MAX_MARKS)
    marker = {"symbol": "triangle-down", "size": 7, "color": CONTRAST}
    above = np.full(times[::every].size, rec.n_units * 1.02)
    hover = "stimulus at %{x:.4f} s<extra></extra>"
    fig.add_trace(
        go.Scatter(x=times[::every], y=above, mode="markers", marker=marker, showlegend=False, hovertemplate=hover),
        row=1,
        col=1,
    )
    return True


def activity_map(rec: SpikeRecording, row: NDArray[np.int64]) -> go.Heatmap:
    """Return rates of all units over time as a heat map, for recordings too busy for strokes."""
    bin_width = max(rec.duration / 400, 0.05)
    rates = rec.counts(bin_width).astype(np.float32) / bin_width
    times = rec.t_start + (np.arange(len(rates)) + 0.5) * bin_width
    return go.Heatmap(
        x=times,
        z=rates[:, np.argsort(row)].T,
        y=np.arange(rec.n_units),
        colorscale=[[0, "white"], [1, INK]],
        zmax=float(np.quantile(rates, 0.995)) or None,
        zmin=0,
        showscale=False,
        name="rates",
        hovertemplate="%{x:.1f} s, row %{y}: %{z:.1f} Hz<extra></extra>",
    )


def population_rate(rec: SpikeRecording, part: Slice, min_bin: float = 0.02) -> go.Scatter:
    """Return the mean rate per unit over a slice; gaps where nothing was observed."""
    bin_width = max(min(max(min_bin, part.length / MAX_POINTS), part.length), 1 / rec.tick_rate)
    counts = rec.counts(bin_width, part.start, part.stop).sum(axis=1)
    rate = counts / (bin_width * max(rec.n_units, 1))
    rate[~rec.observed_bins(bin_width, part.start, part.stop)] = np.nan
    times = part.start + (np.arange(rate.size) + 0.5) * bin_width
    return go.Scatter(
        x=times,
        y=rate.astype(np.float32),
        mode="lines",
        line={"color": ACCENT, "width": 1.2, "simplify": False},
        name="population rate",
        showlegend=False,
        hovertemplate="%{x:.2f} s: %{y:.2f} Hz per unit<extra></extra>",
    )


def shade(fig: go.Figure, spans: NDArray[np.float64], colour: str, *, rows: tuple[int, ...]) -> None:
    """Shade segments of time, shape (n, 2), s, behind what rows of a one-column figure show."""
    if not len(spans):
        return
    bands = "".join(f"M{start:.6f},0H{stop:.6f}V1H{start:.6f}Z" for start, stop in spans.tolist())
    for row in rows:  # one path holds all bands: a shape for each would take plotly minutes
        axis = str(row) if row > 1 else ""
        where = {"xref": f"x{axis}", "yref": f"y{axis} domain", "layer": "below"}
        fig.add_shape(type="path", path=bands, fillcolor=colour, line={"width": 0}, **where)


def shade_holes(fig: go.Figure, rec: SpikeRecording, part: Slice, *, rows: tuple[int, ...]) -> bool:
    """Shade the time in which nothing could be seen; return whether there is any."""
    edges = np.concatenate([[rec.t_start], rec.observed.ravel(), [rec.t_stop]]).reshape(-1, 2)
    holes = edges[(edges[:, 1] > edges[:, 0]) & (edges[:, 0] < part.stop) & (edges[:, 1] > part.start)]
    shade(fig, np.clip(holes, part.start, part.stop), HOLE, rows=rows)
    return len(holes) > 0


def unit_axis(fig: go.Figure, rec: SpikeRecording, *, top: float) -> None:
    """Label the first row's vertical axis: one row per unit, their order by rate and no number of its own."""
    name = f"{rec.n_units:,} units, busiest on top" if rec.n_units > 1 else "1 unit"
    hidden = {"showgrid": False, "showticklabels": False, "ticks": ""}
    fig.update_yaxes(title_text=name, range=[-1, top], **hidden, row=1, col=1)
