"""Whether predictions can be trusted: calibration, and time-rescaled intervals."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from organoid.errors import FitError
from organoid.figures.template import ACCENT, CONTRAST, FAINT, INK, finish, number

_REFERENCE = {"mode": "lines", "line": {"color": FAINT, "width": 1.5, "dash": "dash"}, "hoverinfo": "skip"}
_LEAST_REACH = 0.05  # smaller distances are drawn small
_LINES = {
    "units": ("intervals of each unit", ACCENT),
    "population": ("intervals of any unit", INK),
    "identity": ("which unit fired", CONTRAST),
}


def goodness(curves: pd.DataFrame, bin_width: float) -> go.Figure:
    """Draw the calibration curve, and how far rescaled values are from the uniform distribution.

    Parameters
    ----------
    curves : DataFrame
        ``FitResult.goodness``: curve, x, y, n.
    bin_width : float, s
        Of the fit, to draw rates.

    Returns
    -------
    plotly Figure

    Raises
    ------
    FitError
        If the fit holds no calibration curve.
    """
    bands = curves[curves["curve"] == "calibration"] if "curve" in curves else curves.head(0)
    if bands.empty:
        raise FitError("the fit holds no calibration curve (it had no held-out spikes, or an older version wrote it)")
    titles = ("Calibration", "Rescaled intervals")
    fig = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.12)
    _draw_bands(fig, bands, bin_width)
    worst = _draw_distances(fig, curves)
    fig.update_annotations(font={"size": 13}, x=0, xanchor="left", selector={"text": titles[0]})
    fig.update_annotations(font={"size": 13}, x=0.56, xanchor="left", selector={"text": titles[1]})
    fig.update_layout(legend={"orientation": "h", "x": 0.56, "y": -0.2, "xanchor": "left", "yanchor": "top"})
    subtitle = f"Held-out spikes in ten bands of expected rate; largest distance of rescaled values {number(worst, 2)}"
    return finish(fig, _verdict(bands), subtitle, height=460)


def _draw_bands(fig: go.Figure, bands: pd.DataFrame, bin_width: float) -> None:
    x, y = bands["x"].to_numpy(float) / bin_width, bands["y"].to_numpy(float) / bin_width
    error = np.sqrt(bands["y"].to_numpy(float) / bands["n"].to_numpy(float)) / bin_width
    above = y > 0  # a logarithmic axis has no place for 0
    ends = [float(min(x.min(), y[above].min(initial=x.min()))) / 1.5, float(max(x.max(), y.max())) * 1.5]
    fig.add_trace(go.Scatter(x=ends, y=ends, showlegend=False, **_REFERENCE), row=1, col=1)
    fig.add_trace(
        go.Scatter(
            x=x[above],
            y=y[above],
            error_y={"type": "data", "array": 2 * error[above], "color": ACCENT, "thickness": 1.2, "width": 3},
            mode="lines+markers",
            marker={"size": 8, "color": ACCENT},
            line={"color": ACCENT, "width": 1.5},
            hovertemplate="expected %{x:.3g} Hz, observed %{y:.3g} Hz<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=1,
    )
    fig.update_xaxes(title_text="expected rate (Hz)", type="log", dtick=1, row=1, col=1)
    fig.update_yaxes(title_text="observed rate (Hz)", type="log", dtick=1, row=1, col=1)


def _draw_distances(fig: go.Figure, curves: pd.DataFrame) -> float:
    fig.add_trace(go.Scatter(x=[0, 1], y=[0, 0], showlegend=False, **_REFERENCE), row=1, col=2)
    worst = 0.0
    for curve, (label, colour) in _LINES.items():
        rows = curves[(curves["curve"] == curve) & curves["y"].notna()]
        if rows.empty:
            continue
        distance = (rows["y"] - rows["x"]).to_numpy(float)
        worst = max(worst, float(np.abs(distance).max()))
        x = np.r_[0.0, rows["x"]]
        style = {"color": colour, "width": 2}
        fig.add_trace(
            go.Scatter(x=x, y=np.r_[0.0, distance], mode="lines", name=label, line=style, hoverinfo="skip"),
            row=1,
            col=2,
        )
    fig.update_xaxes(title_text="rescaled value", range=[0, 1], row=1, col=2)
    reach = max(1.1 * worst, _LEAST_REACH)
    fig.update_yaxes(title_text="distance from uniform", range=[-reach, reach], row=1, col=2)
    return worst


def _verdict(bands: pd.DataFrame) -> str:
    expected, observed = float((bands["x"] * bands["n"]).sum()), float((bands["y"] * bands["n"]).sum())
    return f"{number(observed)} held-out spikes where {number(round(expected))} were expected"
