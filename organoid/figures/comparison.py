"""A recording beside a simulation of the same units."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.figures.template import ACCENT, FAINT, MUTED, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates, isi_histogram, network_bursts, psth

_ISI_EDGES = np.geomspace(1e-3, 1e2, 51)


def rates_comparison(recorded: SpikeRecording, simulated: SpikeRecording) -> go.Figure:
    """Draw each unit's simulated rate over its recorded one, both logarithmic, with the line of equality.

    Units silent in either are drawn hollow at half the lowest rate.

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
    """Draw the inter-spike intervals of all units, on a logarithmic axis.

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
    fig, modes = go.Figure(), []
    for rec, name, colour in _both(recorded, simulated):
        counts = isi_histogram(rec, _ISI_EDGES).sum(axis=0)
        if counts.sum() == 0:
            continue
        middle = np.sqrt(_ISI_EDGES[:-1] * _ISI_EDGES[1:])
        line = {"color": colour, "width": 2, "shape": "hvh"}
        fig.add_trace(
            go.Scatter(
                x=middle,
                y=counts / counts.sum(),
                mode="lines",
                line=line,
                name=name,
                hovertemplate="%{x:.3g} s: %{y:.2%}<extra>" + name + "</extra>",
            )
        )
        modes.append(f"{_duration(float(middle[np.argmax(counts)]), 2)} {name}")
    if not modes:
        raise RecordingError("no unit fires twice, so there are no inter-spike intervals to draw")
    decades = [1e-3, 1e-2, 0.1, 1, 10, 100]
    labels = ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]
    fig.update_xaxes(type="log", title_text="inter-spike interval", range=[-3, 2], tickvals=decades, ticktext=labels)
    fig.update_yaxes(title_text="share of intervals", tickformat=".0%", rangemode="tozero")
    fig.update_layout(showlegend=simulated is not None)
    title = f"The most frequent inter-spike interval is {_sides(modes, simulated)}"
    return finish(fig, title, "All units pooled; ten bins a decade", height=400)


def burst_shape(recorded: SpikeRecording, simulated: SpikeRecording | None = None) -> go.Figure:
    """Draw the mean population rate around the peak of network bursts.

    The recording's thresholds find the bursts in both.

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
        If the recording has no network bursts.
    """
    bursts = network_bursts(recorded)
    if bursts.empty:
        raise RecordingError("no network burst was found in the recording, so there is no shape to draw")
    window, bin_width = _around_peak(bursts)
    fig, lengths = go.Figure(), []
    for rec, name, colour in _both(recorded, simulated):
        found = network_bursts(rec, thresholds=bursts.attrs["thresholds"])
        if found.empty:
            lengths.append(f"no bursts {name}")
            continue
        rate = psth(rec, found["peak_s"].to_numpy(), window, bin_width).mean(axis=1)
        line = {"color": colour, "width": 2}
        label = f"{name} ({len(found):,} bursts)"
        fig.add_trace(go.Scatter(x=rate.index + bin_width / 2, y=rate.to_numpy(), mode="lines", line=line, name=label))
        lengths.append(f"{_duration(_mean_length(found))} {name}")
    fig.update_xaxes(title_text="time from the burst's peak (s)")
    fig.update_yaxes(title_text="rate (Hz per unit)", rangemode="tozero")
    fig.update_layout(showlegend=simulated is not None)
    title = f"A network burst lasts {_sides(lengths, simulated)} on average"
    return finish(fig, title, f"Mean over {len(bursts):,} recorded bursts, aligned to their peaks", height=400)


def _around_peak(bursts: pd.DataFrame) -> tuple[tuple[float, float], float]:
    """Return the stretch around a peak that shows a burst of usual length, and a bin width for it."""
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
