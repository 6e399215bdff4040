"""Features of cultures by group, over age, by condition and over dose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from organoid.errors import RecordingError
from organoid.figures.template import INK, finish, number

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2933")


def group_feature(
    table: pd.DataFrame, feature: str, label: str, means: pd.DataFrame, tests: pd.DataFrame | None = None
) -> go.Figure:
    """Draw a feature of every culture by group, with means and their standard errors.

    Parameters
    ----------
    table : DataFrame
        One row per recording: group and the feature.
    feature, label : str
    means : DataFrame
        group, culture, feature: what the tests compare.
    tests : DataFrame, optional
        Rows of `compare_groups`.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no culture has a value.
    """
    if means.empty:
        raise RecordingError(f"no culture has a value of {label}")
    fig = go.Figure()
    rng = np.random.default_rng(0)
    names = sorted(means["group"].astype(str).unique())
    for k, name in enumerate(names):
        rows = means[means["group"].astype(str) == name]
        values = rows[feature].to_numpy(dtype=float)
        spread = rng.uniform(-0.12, 0.12, values.size)
        colour = _COLOURS[k % len(_COLOURS)]
        hover = [f"{culture}: {number(float(value))}" for culture, value in zip(rows["culture"], values)]
        dots = {"mode": "markers", "marker": {"color": colour, "size": 8, "opacity": 0.7}}
        fig.add_trace(go.Scatter(x=k + spread, y=values, text=hover, hovertemplate="%{text}<extra></extra>", **dots))
        error = float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0
        mean = {"mode": "markers", "marker": {"symbol": "line-ew", "size": 34, "line": {"width": 2, "color": INK}}}
        bar = {"type": "data", "array": [error], "thickness": 1.5, "width": 8, "color": INK}
        fig.add_trace(go.Scatter(x=[k], y=[values.mean()], error_y=bar, hoverinfo="skip", **mean))
    counts = means["group"].astype(str).value_counts()
    text = [f"{name}<br>{counts[name]} cultures" for name in names]
    fig.update_xaxes(tickvals=list(range(len(names))), ticktext=text, range=[-0.6, len(names) - 0.4], showgrid=False)
    fig.update_yaxes(title_text=label)
    fig.update_layout(showlegend=False)
    below = f"One point per culture, mean over its recordings; bars are standard errors; {len(table):,} recordings"
    return finish(fig, _finding(label, tests), below, height=420)


def _finding(label: str, tests: pd.DataFrame | None) -> str:
    known = tests[tests["p_permutation"].notna()] if tests is not None else None
    if known is None or known.empty:
        return f"{label[:1].upper()}{label[1:]}: too few cultures for a test"
    row = known.sort_values("p_permutation").iloc[0]
    g, p, q = (number(float(row[name]), 2) for name in ("hedges_g", "p_permutation", "q"))
    return f"{label[:1].upper()}{label[1:]}, {row['b']} against {row['a']}: Hedges' g {g}, p = {p}, q = {q}"


def age_trajectories(table: pd.DataFrame, feature: str, label: str) -> go.Figure:
    """Draw a feature over age: a thin line per culture, the mean of each group with its standard error.

    Parameters
    ----------
    table : DataFrame
        One row per recording: age, culture, the feature and, optionally, group.
    feature, label : str

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are fewer than two ages.
    """
    rows = table.assign(**{"age": pd.to_numeric(table["age"], errors="coerce"), feature: _numbers(table, feature)})
    rows = rows.dropna(subset=["age", feature])
    if rows["age"].nunique() < 2:
        raise RecordingError("fewer than two ages are known, so there is no course over age to draw")
    rows["group"] = rows["group"].astype(str) if "group" in rows else "all"
    fig = go.Figure()
    for k, (name, part) in enumerate(rows.groupby("group")):
        colour = _COLOURS[k % len(_COLOURS)]
        for _, own in part.groupby("culture"):
            line = {"color": colour, "width": 1}
            each = own.groupby("age")[feature].mean()
            thin = {"mode": "lines", "line": line, "opacity": 0.25, "showlegend": False, "hoverinfo": "skip"}
            fig.add_trace(go.Scatter(x=each.index, y=each, **thin))
        mean = part.groupby(["age", "culture"])[feature].mean().groupby(level=0).agg(["mean", "sem"])
        bar = {"type": "data", "array": mean["sem"].fillna(0.0), "thickness": 1.2, "width": 4}
        style = {"mode": "lines+markers", "line": {"color": colour, "width": 2.2}, "name": str(name)}
        fig.add_trace(go.Scatter(x=mean.index, y=mean["mean"], error_y=bar, **style))
    fig.update_xaxes(title_text="age (days)")
    fig.update_yaxes(title_text=label)
    ends = rows.groupby("age")[feature].mean()
    title = f"{label[:1].upper()}{label[1:]}: {number(float(ends.iloc[0]))} at day {number(float(ends.index[0]))}, "
    title += f"{number(float(ends.iloc[-1]))} at day {number(float(ends.index[-1]))}"
    below = "Thin lines are cultures, thick lines means of groups with standard errors"
    return finish(fig, title, below, height=400)


def dose_response_curve(
    table: pd.DataFrame, feature: str, label: str, curves: Sequence[tuple[str, Mapping[str, Any], Any, Any]]
) -> go.Figure:
    """Draw a feature over dose with fitted curves.

    Parameters
    ----------
    table : DataFrame
        One row per recording: dose, the feature and, optionally, group.
    feature, label : str
    curves : sequence of (name, fit, x, y)
        Of each group: what `dose_response` returned, and its curve (empty arrays where there is none).

    Returns
    -------
    plotly Figure
    """
    fig, said = go.Figure(), []
    dose, value = _numbers(table, "dose"), _numbers(table, feature)
    group = table["group"].astype(str).to_numpy() if "group" in table else np.full(len(table), "all")
    lowest = float(np.nanmin(dose[dose > 0], initial=np.inf))
    zero = lowest / 10 if np.isfinite(lowest) else 0.1
    for k, (name, fitted, x, y) in enumerate(curves):
        colour = _COLOURS[k % len(_COLOURS)]
        own = group == name
        dots = {"mode": "markers", "marker": {"color": colour, "size": 7, "opacity": 0.6}, "name": name}
        fig.add_trace(go.Scatter(x=np.where(dose[own] > 0, dose[own], zero), y=value[own], **dots))
        if len(x):
            line = {"color": colour, "width": 2}
            fig.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, hoverinfo="skip"))
        ec50, low, high = (number(float(fitted[key])) for key in ("ec50", "ec50_low", "ec50_high"))
        said.append(
            f"{name}: EC50 {ec50} ({low} to {high})" if fitted["ec50"] == fitted["ec50"] else f"{name}: no EC50"
        )
    fig.update_xaxes(type="log", title_text="dose (0 drawn at the left end)")
    fig.update_yaxes(title_text=label)
    fig.update_layout(showlegend=len(curves) > 1)
    return finish(fig, f"{label[:1].upper()}{label[1:]}: {'; '.join(said)}", "95 % intervals by resampling", height=400)


def _numbers(table: pd.DataFrame, name: str) -> Any:
    return pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
