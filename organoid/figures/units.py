"""Units of a culture: their rates, and how synchronous they are."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.figures.template import ACCENT, INK, SCALE, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates, sttc

_MAX_PAIRS = 4_000
_LIGHT_TO_DARK = [[0, "white"], *SCALE[1:]]
_LARGEST_MATRIX = 400  # units; more than that are no cells but pixels


def rate_distribution(rec: SpikeRecording, active_rate: float = 1 / 60) -> go.Figure:
    """Draw how many units fire at which rate, on a logarithmic axis.

    Parameters
    ----------
    rec : SpikeRecording
    active_rate : float, Hz
        From which on a unit counts as active; marked by a line.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no unit fires.
    """
    rates = firing_rates(rec)
    firing = rates[rates > 0]
    if not firing.size:
        raise RecordingError("no unit fires, so there are no rates to draw")
    low, high = np.floor(np.log10(firing.min()) * 5) / 5, np.ceil(np.log10(firing.max()) * 5 + 1e-9) / 5
    edges = np.arange(low, high + 0.3, 0.2)
    counts, _ = np.histogram(np.log10(firing), edges)
    middle = 10 ** ((edges[:-1] + edges[1:]) / 2)
    width = np.diff(10**edges)
    hover = "%{customdata[0]:.3g} to %{customdata[1]:.3g} Hz: %{y} units<extra></extra>"
    ends = np.column_stack([10 ** edges[:-1], 10 ** edges[1:]])
    bars = {"marker": {"color": ACCENT, "line": {"color": "white", "width": 1}}, "customdata": ends}
    fig = go.Figure(go.Bar(x=middle, y=counts, width=width * 0.98, hovertemplate=hover, **bars))
    if np.log10(active_rate) > edges[0]:
        fig.add_vline(x=active_rate, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_xaxes(type="log", title_text="rate (Hz)", dtick=1)
    fig.update_yaxes(title_text="units")
    n_active = int(np.sum(rates >= active_rate))
    title = f"Half of the {firing.size:,} units that fire are above {number(float(np.median(firing)))} Hz"
    below = f"{n_active:,} of {rec.n_units:,} units are active ({number(active_rate)} Hz or more)"
    return finish(fig, title, below, height=360)


def sttc_matrix(rec: SpikeRecording, matrix: NDArray[np.float64] | None = None, dt: float = 0.05) -> go.Figure:
    """Draw the synchrony of all pairs of units, the busiest first.

    Parameters
    ----------
    rec : SpikeRecording
    matrix : ndarray, optional
        What `sttc` returned.
    dt : float, s

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If fewer than two units fire, or there are too many to draw.
    """
    rates = firing_rates(rec)
    order = np.argsort(-np.nan_to_num(rates), kind="stable")
    order = order[rates[order] > 0]
    if order.size < 2:
        raise RecordingError("fewer than two units fire, so there is no synchrony to draw")
    if order.size > _LARGEST_MATRIX:
        order = order[:_LARGEST_MATRIX]
    values = (sttc(rec, dt) if matrix is None else matrix)[np.ix_(order, order)].astype(np.float32)
    np.fill_diagonal(values, np.nan)
    above = values[np.triu_indices(order.size, 1)]
    reach = float(np.nanquantile(np.abs(above), 0.98)) or 0.01
    signed = float(np.nanquantile(above, 0.02)) < -0.1 * reach
    colours = (
        {"colorscale": "RdBu_r", "zmid": 0, "zmin": -reach} if signed else {"colorscale": _LIGHT_TO_DARK, "zmin": 0}
    )
    names = rec.units["name"].fillna("?").to_numpy()[order]
    fig = go.Figure(
        go.Heatmap(
            z=values,
            x=names if len(set(names)) == len(names) else None,
            y=names if len(set(names)) == len(names) else None,
            **colours,
            zmax=reach,
            colorbar={"title": {"text": "STTC"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        )
    )
    hidden = {"showticklabels": order.size <= 40, "showgrid": False, "ticks": ""}
    fig.update_xaxes(title_text="units, busiest first", constrain="domain", **hidden)
    fig.update_yaxes(title_text="units", scaleanchor="x", autorange="reversed", constrain="domain", **hidden)
    title = f"The mean synchrony of {above.size:,} pairs is {number(float(np.nanmean(above)))} (STTC, {1000 * dt:g} ms)"
    shown = "Colours" if order.size < _LARGEST_MATRIX else f"The {_LARGEST_MATRIX} busiest units; colours"
    return finish(fig, title, f"{shown} end at the 98 % quantile", height=600)


def sttc_distance(rec: SpikeRecording, matrix: NDArray[np.float64] | None = None, dt: float = 0.05) -> go.Figure:
    """Draw the synchrony of pairs over their distance, with means in ten bands.

    Parameters
    ----------
    rec : SpikeRecording
    matrix : ndarray, optional
        What `sttc` returned.
    dt : float, s

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no distances are known, or too few pairs fire.
    """
    place = rec.units[["x_um", "y_um"]].to_numpy(dtype=float)
    pre, post = np.triu_indices(rec.n_units, 1)
    distance = np.hypot(*(place[pre] - place[post]).T) if rec.n_units else np.zeros(0)
    values = (sttc(rec, dt) if matrix is None else matrix)[pre, post]
    keep = np.isfinite(distance) & np.isfinite(values)
    distance, values = distance[keep], values[keep]
    if values.size < 10 or np.ptp(distance) == 0:
        raise RecordingError("positions of the units are not known, or too few pairs fire, for synchrony over distance")
    every = -(-values.size // _MAX_PAIRS)
    marker = {"size": 4, "color": ACCENT, "opacity": 0.3}
    hover = "%{x:.0f} µm: %{y:.3f}<extra></extra>"
    points = {"mode": "markers", "marker": marker, "name": f"{values.size:,} pairs of units", "hovertemplate": hover}
    fig = go.Figure(go.Scatter(x=distance[::every], y=values[::every], **points))
    bands = np.unique(np.quantile(distance, np.linspace(0, 1, 11)))
    which = np.clip(np.searchsorted(bands, distance, side="right") - 1, 0, bands.size - 2)
    n = np.bincount(which, minlength=bands.size - 1)
    x, y = (np.bincount(which, weights=w, minlength=n.size)[n > 0] / n[n > 0] for w in (distance, values))
    line = {"color": INK, "width": 2}
    fig.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", line=line, name="mean of a tenth of the pairs"))
    fig.update_xaxes(title_text="distance (µm)", rangemode="tozero")
    fig.update_yaxes(title_text=f"STTC ({1000 * dt:g} ms)")
    near, far = number(float(y[0])), number(float(y[-1]))
    title = f"The nearest tenth of pairs has a mean synchrony of {near}, the farthest {far}"
    return finish(fig, title, height=400)
