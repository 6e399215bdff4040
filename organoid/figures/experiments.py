"""An experiment: outcomes of all seeds arm by arm, and learning curves."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures.template import ACCENT, CONTRAST, INK, MUTED, finish


def experiment(result: Any) -> go.Figure:
    """Draw the outcome of every session, arm by arm, with means and intervals; below, the learning curves.

    Parameters
    ----------
    result : ExperimentResult
        Anything with ``plan``, ``summary()``, ``outcomes(culture, arm)`` and ``curve(culture, arm)``.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no session has a result.
    """
    plan, table = result.plan, result.summary()
    if not table["n"].sum():
        raise RecordingError("no session of the experiment has a result yet")
    cultures, with_curves = list(plan.cultures), plan.curve is not None and len(result.curves) > 0
    fig = make_subplots(
        rows=2 if with_curves else 1,
        cols=len(cultures),
        shared_yaxes="rows",
        subplot_titles=cultures,
        vertical_spacing=0.24,
        horizontal_spacing=0.04,
    )
    for column, culture in enumerate(cultures, start=1):
        _add_outcomes(fig, result, table, culture, column)
        if with_curves:
            _add_curves(fig, result, culture, column)
    fig.update_yaxes(title_text=plan.outcome.replace("_", " "), row=1, col=1)
    if with_curves:
        fig.update_yaxes(title_text=f"{plan.curve}".replace("_", " "), row=2, col=1)
        fig.update_xaxes(title_text="block of the session", row=2)
    fig.update_layout(showlegend=False)
    n = int(table["n"].max())
    title = f"{plan.name}: {plan.outcome.replace('_', ' ')} under {len(plan.arms)} conditions and controls"
    subtitle = f"Points: {n} seeds; bars: mean and 95 % interval; blue: {plan.first}, the condition under test"
    return finish(fig, title, subtitle, height=760 if with_curves else 460)


def _add_outcomes(fig: go.Figure, result: Any, table: Any, culture: str, column: int) -> None:
    plan = result.plan
    rows = table[table["culture"] == culture].set_index("arm")
    for place, arm in enumerate(plan.arms):
        values = result.outcomes(culture, arm).dropna().to_numpy()
        color = ACCENT if arm == plan.first else (INK if arm in plan.conditions else MUTED)
        x = place + np.linspace(-0.22, 0.22, values.size) if values.size > 1 else np.full(values.size, place)
        marker = {"size": 5, "color": color, "opacity": 0.45}
        fig.add_trace(go.Scatter(x=x, y=values, mode="markers", marker=marker, name=arm), row=1, col=column)
        row = rows.loc[arm]
        error = {"type": "data", "symmetric": False, "thickness": 2, "width": 6}
        error |= {"array": [row["high"] - row["mean"]], "arrayminus": [row["mean"] - row["low"]]}
        mean = go.Scatter(x=[place], y=[row["mean"]], error_y=error, mode="markers", name=f"{arm}, mean")
        mean.marker = {"size": 9, "color": color, "symbol": "line-ew-open", "line": {"width": 3, "color": color}}
        fig.add_trace(mean, row=1, col=column)
    labels = [arm.replace("_", " ") for arm in plan.arms]
    fig.update_xaxes(tickvals=list(range(len(labels))), ticktext=labels, tickangle=-40, row=1, col=column)


def _add_curves(fig: go.Figure, result: Any, culture: str, column: int) -> None:
    for arm in result.plan.arms:
        curve = result.curve(culture, arm).to_numpy(dtype=float)
        if not curve.size:
            continue
        color = ACCENT if arm == result.plan.first else (CONTRAST if arm == "yoked" else MUTED)
        width = 3 if arm == result.plan.first else 1.2
        mean = np.nanmean(curve, axis=0) if np.isfinite(curve).any() else np.full(curve.shape[1], np.nan)
        x = np.arange(1, curve.shape[1] + 1)
        line = go.Scatter(x=x, y=mean, mode="lines", line={"color": color, "width": width}, name=arm)
        fig.add_trace(line, row=2, col=column)
