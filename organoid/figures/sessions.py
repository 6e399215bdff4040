"""A closed-loop session: what the culture did, when it was stimulated, what the protocol reported."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures import spikes
from organoid.figures.template import ACCENT, CONTRAST, INK, finish, seconds

_TICK_COLUMNS = ("index", "frame", "time_s", "n_spikes", "n_commands", "n_accepted")
_MAX_MARKS = 1_000
_MAX_REPORTED = 3
_UNITS = {"hz": "Hz", "s": "s", "ms": "ms", "um": "µm", "uA": "µA", "a": "A", "v": "V", "nC": "nC"}


def session(session: Any, *, max_spikes: int = spikes.MAX_SPIKES) -> go.Figure:
    """Draw spikes with stimuli above them, the population rate, and what the protocol reported over time.

    Parameters
    ----------
    session : Session
        Anything with ``recording``, ``ticks`` (time_s and what the protocol reported; a column ``error``
        is drawn first) and, optionally, ``outcome``.
    max_spikes : int
        Up to here every spike is drawn, beyond it rates in time bins.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If the session holds neither spikes nor ticks.
    """
    rec = session.recording
    reported = _reported(session.ticks)
    if rec.n_spikes == 0 and not reported:
        raise RecordingError("the session holds no spikes and its protocol reported nothing")
    n_rows = 2 + len(reported)
    heights = [0.5, 0.2] + [0.3] * len(reported)
    fig = make_subplots(rows=n_rows, cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.05)
    part = spikes.Slice(rec.t_start, rec.t_stop, True)
    _add_spikes(fig, rec, part, max_spikes)
    _add_stimuli(fig, rec)
    for k, column in enumerate(reported):
        _add_reported(fig, session.ticks, column, row=3 + k)
    fig.update_xaxes(title_text="time (s)", row=n_rows, col=1)
    fig.update_xaxes(range=[rec.t_start, rec.t_stop])
    fig.update_layout(showlegend=False)
    return finish(fig, _title(session), _subtitle(rec, max_spikes), height=430 + 150 * len(reported))


def _reported(ticks: pd.DataFrame) -> list[str]:
    """Return the columns worth a panel: what the protocol reported, its error first."""
    names = [str(name) for name in ticks.columns if name not in _TICK_COLUMNS]
    known = [n for n in names if np.isfinite(pd.to_numeric(ticks[n], errors="coerce").to_numpy(dtype=float)).any()]
    return sorted(known, key=lambda name: "error" not in name)[:_MAX_REPORTED]


def _add_spikes(fig: go.Figure, rec: Any, part: spikes.Slice, max_spikes: int) -> None:
    if rec.n_spikes:
        row = spikes.order_by_rate(rec)
        drawn = spikes.spike_lines(rec, part, row) if rec.n_spikes <= max_spikes else spikes.activity_map(rec, row)
        fig.add_trace(drawn, row=1, col=1)
    fig.add_trace(spikes.population_rate(rec, part, 0.1), row=2, col=1)
    spikes.shade_holes(fig, rec, part, rows=(1, 2))
    spikes.unit_axis(fig, rec, top=rec.n_units * 1.06 + 1)
    fig.update_yaxes(title_text="Hz per unit", rangemode="tozero", row=2, col=1)


def _add_stimuli(fig: go.Figure, rec: Any) -> None:
    times = np.unique(rec.stimuli["time_s"].to_numpy(dtype=float))
    if not times.size:
        return
    shown = times if times.size <= _MAX_MARKS else times[np.linspace(0, times.size - 1, _MAX_MARKS).astype(int)]
    marker = {"symbol": "triangle-down", "size": 7, "color": CONTRAST}
    y = np.full(shown.size, rec.n_units * 1.03 + 0.4)
    marks = go.Scatter(x=shown, y=y, mode="markers", marker=marker, name="stimuli")
    marks.hovertemplate = "stimulus at %{x:.3f} s<extra></extra>"
    fig.add_trace(marks, row=1, col=1)


def _add_reported(fig: go.Figure, ticks: pd.DataFrame, column: str, *, row: int) -> None:
    known = ticks[["time_s", column]].apply(pd.to_numeric, errors="coerce").dropna()
    group = np.arange(len(known)) * spikes.MAX_POINTS // max(len(known), spikes.MAX_POINTS)
    thinned = known.groupby(group).mean()
    x, y = thinned["time_s"].to_numpy(), thinned[column].to_numpy()
    colour = ACCENT if "error" in column else INK
    mode = "lines" if len(thinned) > 60 else "lines+markers"
    line = {"color": colour, "width": 1.5}
    fig.add_trace(go.Scatter(x=x, y=y, mode=mode, line=line, marker={"size": 5}, name=column), row=row, col=1)
    if "error" in column:
        fig.add_hline(y=0, line={"color": INK, "width": 0.8}, row=row, col=1)
    fig.update_yaxes(title_text=_with_unit(column), row=row, col=1)


def _with_unit(column: str) -> str:
    """Return a column's name as an axis title: ``error_hz`` becomes "error (Hz)"."""
    stem, _, suffix = column.rpartition("_")
    unit = _UNITS.get(suffix) if stem else None
    return f"{stem.replace('_', ' ')} ({unit})" if unit else column.replace("_", " ")


def _title(session: Any) -> str:
    rec = session.recording
    n_stimuli = int(np.unique(rec.stimuli["time_s"].to_numpy(dtype=float)).size)
    text = f"A session of {seconds(rec.duration)}: {rec.n_spikes:,} spikes, {n_stimuli:,} stimuli"
    status = dict(getattr(session, "outcome", None) or {}).get("status")
    return f"{text}; {status}" if status else text


def _subtitle(rec: Any, max_spikes: int) -> str:
    spikes_as = "Rows: units" if rec.n_spikes <= max_spikes else "Rows: rates of units"
    n_times = int(np.unique(rec.stimuli["time_s"].to_numpy(dtype=float)).size)
    if not n_times:
        return spikes_as
    share = f" ({_MAX_MARKS:,} of {n_times:,} shown)" if n_times > _MAX_MARKS else ""
    return f"{spikes_as}; triangles: stimuli{share}"
