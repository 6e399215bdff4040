"""Where on the array the activity is."""

import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.figures.template import INK, MUTED, SCALE, finish, number
from organoid.recording import SpikeRecording
from organoid.statistics import firing_rates

_PLACE = ["well", "x_um", "y_um"]


def array_map(rec: SpikeRecording) -> go.Figure:
    """Draw the rate at every electrode position; silent electrodes are open.

    Rates of units at one position are added. Wells are drawn side by side. Colours run from the 5 % to the 95 %
    quantile of the rates, so that one busy electrode does not make the others look alike. Where no positions in um are
    known, rows and columns of the grid (``grid_row`` and ``grid_column`` in ``rec.units``) are drawn.

    Parameters
    ----------
    rec : SpikeRecording

    Returns
    -------
    plotly Figure

    Raises
    ------
    RecordingError
        If no position is known.
    """
    places, on_grid = _places(rec), False
    if places.empty:
        places, on_grid = _grid_places(rec), True
    if places.empty:
        raise RecordingError("the recording knows no electrode positions, so no map can be drawn")
    pitch = _pitch(places)
    centres = _side_by_side(places)
    active, silent = places[places["rate"] > 0], places[~(places["rate"] > 0)]
    size = 20.0 if on_grid and not centres else _marker_size(places, pitch)
    fig = go.Figure()
    if len(silent):
        hollow = {"size": size, "color": "white", "line": {"color": MUTED, "width": 1}}
        fig.add_trace(go.Scatter(**_points(silent), marker=hollow, name="silent"))
    if len(active):
        fig.add_trace(go.Scatter(**_points(active), marker=_coloured(active["rate"].to_numpy(), size), name="active"))
    for well, (x, y) in centres.items():
        fig.add_annotation(x=x, y=y, text=str(well), showarrow=False, yshift=14, font={"size": 11, "color": INK})
    _equal_axes(fig, places, bool(centres))
    if on_grid and not centres:
        fig.update_xaxes(title_text="column")
        fig.update_yaxes(title_text="row", autorange="reversed")
    fig.update_layout(showlegend=bool(len(silent) and len(active)))
    return finish(fig, _title(places, active), _subtitle(rec, places), height=_height(places))


def _places(rec: SpikeRecording) -> pd.DataFrame:
    """Return one row a position: well, x_um, y_um, rate (Hz), label."""
    units = rec.units.assign(rate=firing_rates(rec))
    labels = units["name"].fillna("?") + ": " + units["rate"].map(number) + " Hz"
    seen = units.assign(label=labels)[[*_PLACE, "rate", "label"]]
    electrodes = rec.electrodes
    named = electrodes["electrode"].astype("string").fillna(electrodes["channel"].astype("string"))
    empty = electrodes[_PLACE].assign(rate=0.0, label="electrode " + named.fillna("?"))
    both = pd.concat([seen, empty], ignore_index=True).dropna(subset=["x_um", "y_um"])
    both["well"] = both["well"].fillna("")
    found = both.groupby(_PLACE, sort=True).agg(rate=("rate", "sum"), label=("label", _join)).reset_index()
    return pd.DataFrame(found)


def _grid_places(rec: SpikeRecording) -> pd.DataFrame:
    """Return places by row and column of the grid, in steps of 100, rows counted downwards."""
    units = rec.units
    if not {"grid_row", "grid_column"} <= set(units.columns):
        return pd.DataFrame(columns=[*_PLACE, "rate", "label"])
    rate = firing_rates(rec)
    table = units.assign(
        x_um=100.0 * pd.to_numeric(units["grid_column"], errors="coerce"),
        y_um=100.0 * pd.to_numeric(units["grid_row"], errors="coerce"),
        rate=rate,
        label=units["name"].fillna("?") + ": " + pd.Series(rate, index=units.index).map(number) + " Hz",
    )
    table["well"] = table["well"].fillna("").astype(str)
    if table["well"].nunique() > 1:
        table["y_um"] *= -1
    known = table.dropna(subset=["x_um", "y_um"])
    found = known.groupby(_PLACE, sort=True).agg(rate=("rate", "sum"), label=("label", _join)).reset_index()
    return pd.DataFrame(found)


def _join(labels: "pd.Series[str]") -> str:
    shown = [label for label in labels if ": " in label] or list(labels)[:1]
    return "<br>".join(shown[:8] + (["..."] if len(shown) > 8 else []))


def _side_by_side(places: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Move each of several wells to its own place in a grid; return where their names go."""
    wells = sorted(places["well"].unique())
    if len(wells) < 2:
        return {}
    groups = places.groupby("well")[["x_um", "y_um"]]
    places[["x_um", "y_um"]] -= (groups.transform("min") + groups.transform("max")) / 2
    wide, tall = (max(2 * float(places[axis].max()), 100.0) for axis in ("x_um", "y_um"))
    cells = _plate(wells)
    for well, (row, column) in cells.items():
        places.loc[places["well"] == well, ["x_um", "y_um"]] += [1.6 * column * wide, -2.0 * row * tall]
    return {well: (1.6 * column * wide, -2.0 * row * tall + tall / 2) for well, (row, column) in cells.items()}


def _plate(wells: list[str]) -> dict[str, tuple[int, int]]:
    """Return row and column of each well: as on the plate where names say so (A1, B3), else in reading order."""
    named = {well: re.fullmatch(r"([A-Z])0?(\d{1,2})", well) for well in wells}
    if all(named.values()):
        return {well: (ord(match[1]) - ord("A"), int(match[2]) - 1) for well, match in named.items() if match}
    columns = int(np.ceil(np.sqrt(len(wells) * 1.5)))
    return {well: divmod(k, columns) for k, well in enumerate(wells)}


def _pitch(places: pd.DataFrame) -> float:
    """Return the distance of neighbouring electrodes, um; NaN where there is only one."""
    steps = np.concatenate([np.diff(np.unique(places[axis])) for axis in ("x_um", "y_um")])
    steps = steps[steps > 1]
    return float(steps.min()) if steps.size else float("nan")


def _marker_size(places: pd.DataFrame, pitch: float) -> float:
    """Return a size in pixels at which neighbouring electrodes do not touch."""
    extent = max(float(np.ptp(places["x_um"])), float(np.ptp(places["y_um"])))
    return float(np.clip(430 * pitch / extent, 5, 24)) if np.isfinite(pitch) else 24.0


def _points(places: pd.DataFrame) -> dict[str, object]:
    return {
        "x": places["x_um"].to_numpy(),
        "y": places["y_um"].to_numpy(),
        "mode": "markers",
        "text": places["label"].to_list(),
        "hovertemplate": "%{text}<extra></extra>",
    }


def _coloured(rates: NDArray[np.float64], size: float) -> dict[str, object]:
    low, high = np.quantile(np.log10(rates), [0.05, 0.95])
    middle = (low + high) / 2
    low, high = min(low, middle - 0.25), max(high, middle + 0.25)  # half a decade at least
    ticks = _round_rates(float(low), float(high))
    return {
        "size": size,
        "color": np.log10(rates),
        "colorscale": SCALE,
        "cmin": low,
        "cmax": high,
        "line": {"color": "white", "width": 0.5},
        "colorbar": {
            "title": {"text": "rate (Hz)", "side": "top"},
            "orientation": "h",
            "len": 300,
            "lenmode": "pixels",
            "x": 0.5,
            "y": -0.16,
            "yanchor": "top",
            "tickvals": ticks,
            "ticktext": [f"{10**tick:.3g}" for tick in ticks],
            "thickness": 12,
            "outlinewidth": 0,
        },
    }


def _round_rates(low: float, high: float) -> NDArray[np.float64]:
    """Return the logarithms of round rates between two ends: 1, 2 and 5 of each decade, or only 1 over many."""
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    steps = np.log10([1.0, 2.0, 5.0]) if high - low < 2 else np.zeros(1)
    ticks = (decades[:, None] + steps).ravel()
    return ticks[(ticks >= low) & (ticks <= high)]


def _equal_axes(fig: go.Figure, places: pd.DataFrame, several: bool) -> None:
    pad = 0.08 * max(float(np.ptp(places["x_um"])), float(np.ptp(places["y_um"])), 50.0)
    x = [places["x_um"].min() - pad, places["x_um"].max() + pad]
    y = [places["y_um"].min() - pad, places["y_um"].max() + pad * (2 if several else 1)]
    fig.update_xaxes(range=x, title_text="x (µm)", visible=not several)
    fig.update_yaxes(range=y, title_text="y (µm)", visible=not several)
    fig.update_xaxes(constrain="domain")
    fig.update_yaxes(scaleanchor="x", scaleratio=1, constrain="domain")


def _height(places: pd.DataFrame) -> int:
    wide, tall = np.ptp(places["x_um"]) or 1, np.ptp(places["y_um"]) or 1
    return int(np.clip(230 + 700 * tall / wide, 380, 690))


def _title(places: pd.DataFrame, active: pd.DataFrame) -> str:
    if active.empty:
        return f"No spike was recorded at the {len(places):,} electrodes with a known position"
    top = number(float(places["rate"].max()))
    return f"Spikes at {len(active):,} of {len(places):,} places, at most {top} Hz"


def _subtitle(rec: SpikeRecording, places: pd.DataFrame) -> str:
    words = ["Rates of units at one position are added"] if rec.n_units > len(places) else []
    lost = int(rec.units[["x_um", "y_um"]].isna().any(axis=1).sum())
    if lost:
        words.append(f"{lost} units have no known position")
    return "; ".join(words)
