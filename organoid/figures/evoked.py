"""What follows stimuli: rasters, rates per site, sites by units, dose curves; a simulation beside them."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from organoid.errors import RecordingError
from organoid.figures.template import ACCENT, CONTRAST, FAINT, HOLE, INK, MUTED, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import psth, stimuli_by_electrode
from organoid.statistics.trains import observed_before, observed_spans

_WINDOW = (-0.1, 0.5)  # s
_ANSWER = (0.0, 0.1)  # s after a stimulus
_DOSE_WINDOW = 0.5  # s: answers of a whole culture may come late
_BIN = 0.005  # s
_MAX_SITES = 8
_MAX_SPIKES = 60_000


def evoked_raster(rec: SpikeRecording) -> go.Figure:
    """Draw the spikes around every stimulus, one row per stimulus, sites one above the other; rate below.

    Parameters
    ----------
    rec : SpikeRecording
        One culture with stimuli.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no stimuli.
    """
    sites = _sites(rec)
    shown = dict(list(sites.items())[:_MAX_SITES])
    fig = make_subplots(rows=2, cols=1, row_heights=[0.7, 0.3], vertical_spacing=0.06, shared_xaxes=True)
    row, xs, ys = 0, [], []
    for site, times in shown.items():
        trial, lag, _ = _around(rec, times)
        xs.append(lag)
        ys.append(row + trial)
        fig.add_annotation(
            x=_WINDOW[0],
            y=row,
            text=_site(site),
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 11, "color": MUTED},
            row=1,
            col=1,
        )
        row += times.size + 1
        fig.add_hline(y=row - 1, line={"color": FAINT, "width": 1}, row=1, col=1)
    x, y = np.concatenate(xs), np.concatenate(ys)
    every = max(1, -(-x.size // _MAX_SPIKES))
    marker = {"symbol": "line-ns", "size": float(np.clip(300 / max(row, 1), 2, 6)), "line": {"width": 1, "color": INK}}
    points = {"mode": "markers", "marker": marker, "hoverinfo": "skip", "showlegend": False}
    fig.add_trace(go.Scattergl(x=x[::every].astype(np.float32), y=y[::every].astype(np.int32), **points), row=1, col=1)
    times = np.concatenate(list(sites.values()))
    rate = psth(rec, times, _WINDOW, _BIN).mean(axis=1)
    line = {"color": ACCENT, "width": 1.5, "shape": "hv"}
    fig.add_trace(go.Scatter(x=rate.index, y=rate, mode="lines", line=line, showlegend=False), row=2, col=1)
    _mark_zero(fig)
    fig.update_yaxes(title_text="stimuli", range=[-1, row], showticklabels=False, ticks="", row=1, col=1)
    fig.update_yaxes(title_text="Hz per unit", rangemode="tozero", row=2, col=1)
    fig.update_xaxes(title_text="time from the stimulus (s)", range=list(_WINDOW), row=2, col=1)
    some = f"; the first {_MAX_SITES} of {len(sites)} sites" if len(sites) > _MAX_SITES else ""
    some += f"; every {every}th spike" if every > 1 else ""
    title = f"{times.size:,} stimuli at {_count(len(sites))}: {_answer_words(rec, times)}"
    return finish(fig, title, f"Spikes of all units around each stimulus{some}", height=640)


def psth_by_site(rec: SpikeRecording, simulated: SpikeRecording | None = None) -> go.Figure:
    """Draw the mean rate around the stimuli of each site, a simulation over the recording where one is given.

    Parameters
    ----------
    rec : SpikeRecording
        One culture with stimuli.
    simulated : SpikeRecording, optional
        A simulation of the same units, with stimuli at sites of the same names.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no stimuli.
    """
    sites = _sites(rec)
    shown = list(sites.items())[:_MAX_SITES]
    others = stimuli_by_electrode(simulated) if simulated is not None else {}
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    titles = [f"{_site(site)} ({times.size} stimuli)" for site, times in shown]
    fig = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=titles,
        shared_xaxes=True,
        shared_yaxes=True,
        vertical_spacing=0.35 / rows,
    )
    for k, (site, times) in enumerate(shown):
        where = {"row": 1 + k // columns, "col": 1 + k % columns}
        for source, events, name, colour in (
            (rec, times, "recorded", MUTED if simulated is not None else ACCENT),
            (simulated, others.get(site), "simulated", ACCENT),
        ):
            if source is not None and events is not None:
                rate = psth(source, events, _WINDOW, _BIN).mean(axis=1)
                line = {"color": colour, "width": 1.6, "shape": "hv"}
                trace = go.Scatter(
                    x=rate.index, y=rate, mode="lines", line=line, name=name, showlegend=k == 0 and bool(others)
                )
                fig.add_trace(trace, **where)
        fig.update_xaxes(title_text="time from the stimulus (s)" if where["row"] == rows else None, **where)
    _mark_zero(fig)
    fig.update_yaxes(rangemode="tozero")
    fig.update_yaxes(title_text="Hz per unit", col=1)
    fig.update_annotations(font={"size": 12})
    extra = extra_spikes(rec)
    best = extra.sum(axis=1).idxmax()
    title = f"Most is evoked at {_site(best)}: {number(float(extra.sum(axis=1).max()))} extra spikes within 100 ms"
    if len(sites) == 1:
        times = next(iter(sites.values()))
        title = f"{times.size:,} stimuli at one site: {_answer_words(rec, times)}"
    below = f"Mean over units and stimuli, bins of {1000 * _BIN:g} ms"
    below += f"; {_MAX_SITES} of {len(sites)} sites" if len(sites) > _MAX_SITES else ""
    return finish(fig, title, below, height=150 + 210 * rows)


def site_matrix(rec: SpikeRecording) -> go.Figure:
    """Draw how many extra spikes each unit fires within 100 ms of a stimulus at each site.

    Parameters
    ----------
    rec : SpikeRecording
        One culture with stimuli.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If there are no stimuli.
    """
    _sites(rec)
    extra = extra_spikes(rec)
    order = np.argsort(-extra.sum(axis=0).to_numpy(), kind="stable")
    names = rec.units["name"].fillna("?").to_numpy()
    values = extra.to_numpy()[:, order].astype(np.float32)
    reach = float(np.nanquantile(np.abs(values), 0.98)) or 0.01
    fig = go.Figure(
        go.Heatmap(
            z=values,
            x=np.arange(order.size),
            y=[_site(site) for site in extra.index],
            customdata=np.tile(names[order], (len(extra), 1)),
            colorscale="RdBu_r",
            zmid=0,
            zmin=-reach,
            zmax=reach,
            colorbar={"title": {"text": "extra spikes"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{y}, unit %{customdata}: %{z:.2f} extra spikes<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="units, those that answer most first", showticklabels=False, ticks="")
    answering = int(np.sum(extra.max(axis=0) >= 0.5))
    title = f"{answering:,} of {rec.n_units:,} units fire half an extra spike or more after a stimulus at some site"
    below = "Spikes within 100 ms of a stimulus beyond those of the 100 ms before; colours end at the 98 % quantile"
    return finish(fig, title, below, height=190 + 34 * len(extra))


def dose_curve(rec: SpikeRecording, simulated: SpikeRecording | None = None) -> go.Figure:
    """Draw the extra spikes of all units over the amplitude of the stimulus, one line per site and pulse width.

    Parameters
    ----------
    rec : SpikeRecording
        One culture, stimulated at several known amplitudes.
    simulated : SpikeRecording, optional
        A simulation with stimuli of known amplitudes.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If fewer than two amplitudes are known.
    """
    fig = go.Figure()
    spans = []
    for source, name, colour in (
        (rec, "recorded", ACCENT if simulated is None else MUTED),
        (simulated, "simulated", ACCENT),
    ):
        if source is None:
            continue
        for label, x, each in _by_amplitude(source):
            mean = np.array([values.mean() for values in each])
            error = np.array([values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else 0.0 for values in each])
            bars = {"type": "data", "array": error, "thickness": 1.2, "width": 3}
            text = f"{name}, {label}" if label else name
            style = {"mode": "lines+markers", "error_y": bars, "name": text, "marker": {"size": 7}}
            line = {"width": 1.8, **({"color": colour} if label == "" else {})}
            fig.add_trace(go.Scatter(x=x, y=mean, line=line, **style))
            spans.append((x, mean))
    if not any(x.size > 1 for x, _ in spans):
        raise RecordingError("fewer than two amplitudes of stimuli are known, so there is no dose curve to draw")
    unit = rec.stimuli["amplitude_unit"].dropna()
    fig.update_xaxes(title_text=f"amplitude ({unit.iloc[0] if len(unit) else 'unknown unit'})", rangemode="tozero")
    fig.update_yaxes(title_text=f"extra spikes within {1000 * _DOSE_WINDOW:g} ms")
    fig.update_layout(showlegend=len(fig.data) > 1)
    x, mean = next((x, mean) for x, mean in spans if x.size > 1)
    low, high = number(float(mean[0])), number(float(mean[-1]))
    ends = f"{number(float(x[0]))} to {number(float(x[-1]))} {unit.iloc[0] if len(unit) else ''}".strip()
    title = f"From {ends} the answer goes from {low} to {high} extra spikes"
    return finish(fig, title, "All units together; bars are standard errors over stimuli", height=420)


def extra_spikes(rec: SpikeRecording) -> pd.DataFrame:
    """Return the spikes in the 100 ms after a stimulus beyond those before; one row per site, one column per unit.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    DataFrame
    """
    rows = {}
    for site, times in stimuli_by_electrode(rec).items():
        rates = psth(rec, times, (-_ANSWER[1], _ANSWER[1]), _BIN)
        before = rates[rates.index < 0].mean()
        rows[site] = (rates[rates.index >= 0] - before).sum() * _BIN
    return pd.DataFrame(rows).T


def _by_amplitude(rec: SpikeRecording) -> list[tuple[str, NDArray[np.float64], list[NDArray[np.float64]]]]:
    """Return per site and width: a label, amplitudes, and the extra spikes of each stimulus at each of them."""
    table = rec.stimuli
    table = table[table["amplitude"].notna()]
    parts = zip(table["electrode"].astype("string").fillna("").tolist(), table["duration_s"].to_numpy(dtype=float))
    words = [
        ", ".join(([f"electrode {site}"] if site else []) + ([f"{1e6 * width:.0f} µs"] if np.isfinite(width) else []))
        for site, width in parts
    ]
    labels = pd.Series(words, index=table.index, dtype=object)
    found = []
    several = labels.nunique() > 1
    for label, group in list(table.groupby(labels, sort=False))[:_MAX_SITES]:
        amplitude = group["amplitude"].round(9)
        each = [
            _extra_of(rec, np.unique(part["time_s"].to_numpy(float)), _DOSE_WINDOW)
            for _, part in group.groupby(amplitude)
        ]
        found.append((str(label) if several else "", np.sort(amplitude.unique()).astype(float), each))
    return found


def _extra_of(rec: SpikeRecording, times: NDArray[np.float64], window: float = _ANSWER[1]) -> NDArray[np.float64]:
    """Return for each stimulus the spikes after it beyond those before, each per observed time."""
    spans, reach = observed_spans(rec), round(window * rec.tick_rate)
    ticks = np.rint(times * rec.tick_rate).astype(np.int64)
    edges = np.column_stack([ticks - reach, ticks, ticks + reach])
    seen = np.diff(observed_before(edges.ravel(), spans).reshape(edges.shape), axis=1) / reach
    inside = rec.spike_ticks[rec.is_observed(rec.spike_ticks)]
    n = np.diff(np.searchsorted(inside, edges.ravel()).reshape(edges.shape), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.where(seen > 0.5, n / seen, np.nan)
    return np.asarray((full[:, 1] - full[:, 0])[np.isfinite(full).all(axis=1)], dtype=np.float64)


def _around(
    rec: SpikeRecording, times: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return trial, lag (s) and unit of the spikes around each time."""
    begin, end = (np.searchsorted(rec.spike_times, times + edge) for edge in _WINDOW)
    trial = np.repeat(np.arange(times.size), end - begin)
    spike = np.arange(trial.size) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin) + begin[trial]
    return trial, rec.spike_times[spike] - times[trial], rec.spike_units[spike]


def _answer_words(rec: SpikeRecording, times: NDArray[np.float64]) -> str:
    each = _extra_of(rec, times)
    if not each.size:
        return "too little was observed around them to say what they evoke"
    mean, error = float(each.mean()), float(each.std() / np.sqrt(max(each.size - 1, 1)))
    if abs(mean) < 2 * error:
        return "no clear answer within 100 ms"
    return f"{number(abs(mean))} spikes {'more' if mean > 0 else 'fewer'} in the 100 ms after than before"


def _site(name: object) -> str:
    return "unknown electrode" if name == "unknown" else f"electrode {name}"


def _count(n: int) -> str:
    return "one site" if n == 1 else f"{n} sites"


def _sites(rec: SpikeRecording) -> dict[str, NDArray[np.float64]]:
    sites = stimuli_by_electrode(rec)
    if not sites or not rec.n_units:
        raise RecordingError("the recording holds no stimuli, so there is no response to draw")
    return sites


def _mark_zero(fig: go.Figure) -> None:
    fig.add_vline(x=0, line={"color": CONTRAST, "width": 1})
    fig.add_vrect(x0=_ANSWER[0], x1=_ANSWER[1], fillcolor=HOLE, line={"width": 0}, layer="below", opacity=0.4)
