"""How good a fit is: held-out scores, training curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from organoid.errors import FitError
from organoid.figures.template import ACCENT, CONTRAST, FAINT, INK, MUTED, finish, number

_SCORES = {
    "heldout_bits_per_spike": "coupled network",
    "heldout_bits_per_spike_uncoupled": "each unit alone",
}
_BASELINES = {
    "silent": ("silent", "dot", MUTED),
    "constant_rate": ("constant rate", "dash", INK),
    "shuffled": ("shuffled units", "dashdot", CONTRAST),
}


def held_out_scores(scores: "Mapping[str, Any] | pd.Series[Any]") -> go.Figure:
    """Draw held-out bits per spike of the coupled, the uncoupled and the constant-rate model.

    The score of the constant rate is 0 by definition.

    Parameters
    ----------
    scores : mapping or Series
        ``heldout_bits_per_spike`` and, where known, ``heldout_bits_per_spike_uncoupled``.

    Returns
    -------
    plotly Figure

    Raises
    ------
    FitError
        If no score is a number.
    """
    known = {label: float(scores[key]) for key, label in _SCORES.items() if _finite(scores.get(key))}
    if not known:
        raise FitError("no held-out score is known for this fit, so none can be drawn")
    bars = {**known, "constant rate": 0.0}
    colours = [ACCENT if label == "coupled network" else MUTED for label in bars]
    fig = go.Figure(
        go.Bar(
            y=list(bars),
            x=list(bars.values()),
            orientation="h",
            marker={"color": colours},
            text=[f"{number(value)} bits/spike" if value else "0 (the reference)" for value in bars.values()],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    low, high = min(bars.values()), max(bars.values())
    room = 0.28 * ((high - low) or 1.0)
    fig.update_xaxes(title_text="held-out score (bits per spike, higher is better)")
    fig.update_xaxes(range=[low - (room if low < 0 else 0), high + room])
    fig.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    fig.update_layout(bargap=0.35)
    return finish(fig, _verdict(known), "The last part of the recording, never used in fitting", height=290)


def _verdict(known: dict[str, float]) -> str:
    coupled, alone = known.get("coupled network"), known.get("each unit alone")
    if coupled is None or alone is None:
        label, value = next(iter(known.items()))
        return f"Held-out spikes: {number(value)} bits per spike better than a constant rate ({label})"
    gain = coupled - alone
    if gain > 0:
        return f"Coupling between units adds {number(gain)} bits per spike on held-out data"
    return "Coupling between units does not help on held-out data"


def unit_scores(per_unit: pd.DataFrame) -> go.Figure:
    """Draw each unit's held-out score with coupling over its score without.

    Parameters
    ----------
    per_unit : DataFrame
        name, bits_per_spike, bits_per_spike_uncoupled and, where known, rate_hz and coupled.

    Returns
    -------
    plotly Figure

    Raises
    ------
    FitError
        If no unit has both scores.
    """
    wanted = {"bits_per_spike", "bits_per_spike_uncoupled"}
    known = per_unit.dropna(subset=sorted(wanted)) if wanted <= set(per_unit.columns) else per_unit.head(0)
    if known.empty:
        raise FitError("no unit has a held-out score both with and without coupling, so none can be drawn")
    x, y = known["bits_per_spike_uncoupled"].to_numpy(float), known["bits_per_spike"].to_numpy(float)
    names = known["name"].astype(str) if "name" in known else known.index.astype(str)
    hover = [f"{n}: {number(b)} coupled, {number(a)} alone" for n, a, b in zip(names, x, y)]
    marker = {"size": 9, "color": ACCENT, "opacity": 0.8, "line": {"color": "white", "width": 0.5}}
    low, high = float(min(x.min(), y.min(), 0)), float(max(x.max(), y.max()))
    pad = 0.05 * ((high - low) or 1.0)
    ends = [low - pad, high + pad]
    line = {"color": FAINT, "width": 1.5, "dash": "dash"}
    fig = go.Figure(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip"))
    points = {"x": x, "y": y, "mode": "markers", "marker": marker, "name": "units", "text": hover}
    fig.add_trace(go.Scatter(**points, hovertemplate="%{text}<extra></extra>"))
    fig.update_xaxes(title_text="each unit alone (bits per spike)", range=ends, constrain="domain")
    fig.update_yaxes(title_text="coupled (bits per spike)", range=ends, scaleanchor="x", constrain="domain")
    fig.update_layout(showlegend=False)
    title = f"Coupling improves prediction of {int(np.sum(y > x)):,} of {len(known):,} units"
    return finish(fig, title, "Held-out bits per spike of each unit", height=480)


def training_curve(curve: pd.DataFrame, baselines: "Mapping[str, Any] | pd.Series[Any] | None" = None) -> go.Figure:
    """Draw the loss over training steps, with what trivial models would reach.

    Parameters
    ----------
    curve : DataFrame
        step, loss (training), held_out_loss (NaN between evaluations).
    baselines : mapping or Series, optional
        Held-out losses: silent, constant_rate, shuffled, fitted; missing and NaN ones are left out.

    Returns
    -------
    plotly Figure

    Raises
    ------
    FitError
        If the curve has no finite loss.
    """
    fig = go.Figure()
    _add_curve(fig, curve, "loss", "training", {"color": FAINT, "width": 1.5}, "lines")
    _add_curve(fig, curve, "held_out_loss", "held-out", {"color": ACCENT, "width": 2.5}, "lines+markers")
    if not fig.data:
        raise FitError("the training curve holds no finite loss, so there is nothing to draw")
    steps = curve["step"].to_numpy(dtype=float)
    given = dict(baselines) if baselines is not None else {}
    for key, (label, dash, colour) in _BASELINES.items():
        if _finite(given.get(key)):
            level = float(given[key])
            line = {"color": colour, "width": 1.5, "dash": dash}
            ends, name = [steps.min(), steps.max()], f"{label} ({number(level)})"
            fig.add_trace(go.Scatter(x=ends, y=[level, level], mode="lines", line=line, name=name, hoverinfo="skip"))
    fig.update_xaxes(title_text="gradient step")
    fig.update_yaxes(title_text="loss")
    fig.update_layout(showlegend=True, legend={"orientation": "v", "x": 1.02, "y": 1, "yanchor": "top"})
    return finish(fig, _curve_title(given), "Lines across: what simpler models reach on the same data", height=430)


def _add_curve(fig: go.Figure, curve: pd.DataFrame, column: str, name: str, line: dict[str, Any], mode: str) -> None:
    if column not in curve:
        return
    known = curve[["step", column]].dropna()
    if len(known):
        x, y = known["step"].to_numpy(dtype=float), known[column].to_numpy(dtype=float)
        fig.add_trace(go.Scatter(x=x, y=y, mode=mode, line=line, marker={"size": 5}, name=name))


def _curve_title(baselines: dict[str, Any]) -> str:
    fitted, constant = baselines.get("fitted"), baselines.get("constant_rate")
    if not (_finite(fitted) and _finite(constant)):
        return "The loss over training"
    assert fitted is not None and constant is not None
    change = 100 * (float(constant) - float(fitted)) / abs(float(constant)) if float(constant) else float("nan")
    if not np.isfinite(change):
        return f"Training ends at a held-out loss of {number(float(fitted))}"
    side = "below" if change >= 0 else "above"
    return f"Training ends at a held-out loss of {number(float(fitted))}, {abs(change):.0f} % {side} a constant rate"


def _finite(value: Any) -> bool:
    return value is not None and bool(np.isfinite(float(value)))
