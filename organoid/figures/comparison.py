"""A recording beside a simulation of the same units."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.figures.template import ACCENT, BAND, FAINT, HOLE, MUTED, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates, isi_histogram, network_bursts, psth
from organoid.statistics.trains import intervals

_ISI_EDGES = np.concatenate([[0.0], np.geomspace(1e-4, 1e3, 71)])
_SHORT = 1e-3  # s: less than a neuron's refractory time


def rates_comparison(recorded: SpikeRecording, simulated: SpikeRecording) -> go.Figure:
    """Draw each unit's simulated rate over its recorded one, both logarithmic, with the line of equality.

    Units silent in either are drawn as open markers at half the lowest rate.

    Parameters
    ----------
    recorded, simulated : SpikeRecording
        The same units in the same order.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If they have different numbers of units, or no unit fires in either.
    """
    if recorded.n_units != simulated.n_units:
        raise RecordingError(
            f"{recorded.n_units} units recorded and {simulated.n_units} simulated; expected the same units in both"
        )
    x, y = firing_rates(recorded), firing_rates(simulated)
    firing = np.concatenate([x[x > 0], y[y > 0]])
    if not firing.size:
        raise RecordingError("no unit fires in the recording or the simulation, so there is nothing to compare")
    floor = firing.min() / 2
    fig = _scatter_of_rates(recorded, x, y, floor)
    low, high = np.log10(floor) - 0.15, np.log10(firing.max()) + 0.15
    ends = 10 ** np.array([low, high])
    line = {"color": FAINT, "width": 1.5, "dash": "dash"}
    fig.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equal", hoverinfo="skip"))
    for axis, name in ((fig.update_xaxes, "recorded"), (fig.update_yaxes, "simulated")):
        axis(type="log", range=[low, high], title_text=f"{name} rate (Hz)", dtick=1, constrain="domain")
    fig.update_yaxes(scaleanchor="x", scaleratio=1)
    r = correlation_of(x, y)
    means = f"mean {number(float(np.nanmean(y)))} Hz simulated, {number(float(np.nanmean(x)))} Hz recorded"
    title = f"Simulated and recorded rates of {recorded.n_units:,} units"
    title += f" correlate with r = {r:.3f}" if np.isfinite(r) else " side by side"
    return finish(fig, title, f"{means[0].upper()}{means[1:]}", height=520)


def _scatter_of_rates(rec: SpikeRecording, x: NDArray[np.float64], y: NDArray[np.float64], floor: float) -> go.Figure:
    fig = go.Figure()
    names = rec.units["name"].fillna("?").to_numpy()
    silent = ~((x > 0) & (y > 0))
    for mask, fill, name in ((~silent, ACCENT, "units"), (silent, "white", "silent in one")):
        if mask.any():
            marker = {"size": 9, "color": fill, "opacity": 0.8, "line": {"color": ACCENT, "width": 1}}
            both = np.fmax(np.column_stack([x, y])[mask], floor)
            hover = [
                f"{n}: {number(a)} Hz recorded, {number(b)} Hz simulated"
                for n, a, b in zip(names[mask], x[mask], y[mask])
            ]
            points = {"x": both[:, 0], "y": both[:, 1], "mode": "markers", "marker": marker, "name": name}
            fig.add_trace(go.Scatter(**points, text=hover, hovertemplate="%{text}<extra></extra>"))
    return fig


def correlation_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Pearson's correlation over finite pairs, NaN where undefined."""
    keep = np.isfinite(x) & np.isfinite(y)
    if keep.sum() < 2 or np.ptp(x[keep]) == 0 or np.ptp(y[keep]) == 0:
        return float("nan")
    return float(np.corrcoef(x[keep], y[keep])[0, 1])


def isi_comparison(recorded: SpikeRecording, simulated: SpikeRecording | None = None) -> go.Figure:
    """Draw the inter-spike intervals of all units, from 0 on, on a logarithmic axis; below 1 ms is shaded.

    Parameters
    ----------
    recorded : SpikeRecording
    simulated : SpikeRecording, optional

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no unit fires twice.
    """
    fig, said = go.Figure(), []
    for rec, name, colour in _both(recorded, simulated):
        isi = intervals(rec).durations
        if not isi.size:
            continue
        counts = isi_histogram(rec, _ISI_EDGES).sum(axis=0)
        middle = np.append(1e-4 / 10**0.05, np.sqrt(_ISI_EDGES[1:-1] * _ISI_EDGES[2:]))  # all below 0.1 ms in one bin
        line = {"color": colour, "width": 2, "shape": "hvh"}
        fig.add_trace(
            go.Scatter(
                x=middle,
                y=counts / isi.size,
                mode="lines",
                line=line,
                name=name,
                hovertemplate="%{x:.3g} s: %{y:.2%}<extra>" + name + "</extra>",
            )
        )
        said.append((f"{_duration(float(np.median(isi)))} {name}", f"{np.mean(isi < _SHORT):.1%} {name}"))
    if not said:
        raise RecordingError("no unit fires twice, so there are no inter-spike intervals to draw")
    fig.add_vrect(x0=1e-5, x1=_SHORT, fillcolor=HOLE, line={"width": 0}, layer="below")
    decades = [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]
    labels = ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]
    reach = [-4.1, float(np.log10(max(np.max(trace.x[np.asarray(trace.y) > 0]) for trace in fig.data))) + 0.2]
    fig.update_xaxes(type="log", title_text="inter-spike interval", range=reach, tickvals=decades, ticktext=labels)
    fig.update_yaxes(title_text="fraction of intervals", tickformat=".0%", rangemode="tozero")
    fig.update_layout(showlegend=simulated is not None)
    title = f"Half of all inter-spike intervals are shorter than {_sides([one for one, _ in said], simulated)}"
    below = f"Below 1 ms (grey): {_sides([two for _, two in said], simulated)} of intervals; all units pooled"
    return finish(fig, title, below, height=400)


def burst_shape(
    recorded: SpikeRecording, simulated: SpikeRecording | None = None, *, bursts: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the mean population rate around the peak of network bursts, and where half of the bursts lie.

    The recording's thresholds find the bursts in both.

    Parameters
    ----------
    recorded : SpikeRecording
    simulated : SpikeRecording, optional
    bursts : DataFrame, optional
        What `network_bursts` returned for the recording.

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If the recording has no network bursts.
    """
    bursts = network_bursts(recorded) if bursts is None else bursts
    if bursts.empty:
        raise RecordingError("no network burst was found in the recording, so there is no shape to draw")
    window, bin_width = _around_peak(bursts)
    fig, lengths = go.Figure(), []
    for rec, name, colour in _both(recorded, simulated):
        found = bursts if rec is recorded else network_bursts(rec, thresholds=bursts.attrs["thresholds"], n_shifts=0)
        if found.empty:
            lengths.append(f"no bursts {name}")
            continue
        rate = psth(rec, found["peak_s"].to_numpy(), window, bin_width).mean(axis=1)
        line = {"color": colour, "width": 2}
        label = f"{name} ({len(found):,} bursts)"
        times, each = aligned_rates(rec, found["peak_s"].to_numpy(), window, bin_width)
        low, high = np.nanquantile(each, [0.25, 0.75], axis=0) if len(each) else (np.zeros(0), np.zeros(0))
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        fig.add_trace(go.Scatter(x=times, y=low, **band))
        fig.add_trace(go.Scatter(x=times, y=high, fill="tonexty", fillcolor=BAND if colour == ACCENT else HOLE, **band))
        fig.add_trace(go.Scatter(x=rate.index + bin_width / 2, y=rate.to_numpy(), mode="lines", line=line, name=label))
        lengths.append(f"{_duration(_mean_length(found))} {name}")
    fig.update_xaxes(title_text="time from the burst's peak (s)")
    fig.update_yaxes(title_text="rate (Hz per unit)", rangemode="tozero")
    fig.update_layout(showlegend=simulated is not None)
    title = f"A network burst lasts {_sides(lengths, simulated)} on average"
    below = f"Mean of {len(bursts):,} recorded bursts aligned to their peaks; half of the bursts lie in the shaded band"
    return finish(fig, title, below, height=400)


def aligned_rates(
    rec: SpikeRecording, events: NDArray[np.float64], window: tuple[float, float], bin_width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean rate per unit around each event: times of bins, s, and rates, Hz, shape (n_events, n_bins).

    Parameters
    ----------
    rec : SpikeRecording
    events : ndarray, s
    window : (float, float), s
    bin_width : float, s

    Returns
    -------
    times, rates : ndarray
    """
    edges = np.arange(window[0], window[1] + bin_width / 2, bin_width)
    around = np.searchsorted(rec.spike_times, (events[:, None] + edges).ravel()).reshape(events.size, edges.size)
    rates = np.diff(around, axis=1) / (bin_width * max(rec.n_units, 1))
    return (edges[:-1] + edges[1:]) / 2, np.asarray(rates, dtype=np.float64)


def _around_peak(bursts: pd.DataFrame) -> tuple[tuple[float, float], float]:
    """Return the segment around a peak that shows a burst of usual length, and a bin width for it."""
    span = float(np.clip(_mean_length(bursts), 0.3, 20.0))
    return (-1.5 * span, 2.5 * span), float(np.ceil(20 * span)) / 1000


def _mean_length(bursts: pd.DataFrame) -> float:
    return float((bursts["stop_s"] - bursts["start_s"]).mean())


def _duration(seconds: float, digits: int = 3) -> str:
    return f"{number(seconds, digits)} s" if seconds >= 1 else f"{number(1000 * seconds, digits)} ms"


def _sides(words: list[str], simulated: SpikeRecording | None) -> str:
    return " and ".join(words) if simulated is not None else words[0].removesuffix(" recorded")


def _both(recorded: SpikeRecording, simulated: SpikeRecording | None) -> list[tuple[SpikeRecording, str, str]]:
    first = (recorded, "recorded", MUTED if simulated is not None else ACCENT)
    return [first] if simulated is None else [first, (simulated, "simulated", ACCENT)]
