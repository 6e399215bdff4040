"""Pages over many cultures: the index of an analysis, and one page per plate, sharing one copy of the script."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from organoid._version import __version__
from organoid.figures.template import INK, MUTED, SCALE, finish, number
from organoid.hdf5.atomic import replace_file
from organoid.report.page import Note, Panel, Section, Table, page
from organoid.report.tables import cell

SCRIPT = "plotly.min.js"
_SHOWN = {
    "n_active_units": "active units",
    "n_spikes": "spikes",
    "duration_s": "duration (s)",
    "active_rate_hz": "Hz per active unit",
    "n_bursts": "network bursts",
    "bursts_by_chance": "by chance",
    "bursts_per_minute": "bursts/min",
    "burst_duration_s": "burst (s)",
    "fraction_in_bursts": "in bursts",
    "mean_sttc": "STTC",
}
_SAID = ("group", "age", "genotype", "treatment", "dose", "dose_unit", "region", "species")
_PLATE = {
    "active_rate_hz": "Hz per active unit",
    "n_active_units": "active units",
    "bursts_per_minute": "network bursts per minute",
    "burst_duration_s": "network burst duration (s)",
    "fraction_in_bursts": "fraction of spikes in network bursts",
    "unit_bursts_per_minute": "unit bursts per minute",
    "median_cv": "median CV of intervals",
    "mean_sttc": "mean STTC",
    "dose": "dose",
}


def write_script(folder: Path) -> Path:
    """Write the one copy of plotly.js that the pages of a folder share.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Path
    """
    from plotly.offline import get_plotlyjs

    target, content = folder / SCRIPT, get_plotlyjs().encode()
    if not target.exists() or target.stat().st_size != len(content):
        replace_file(target, content)
    return target


def write_analysis_pages(folder: Path, table: pd.DataFrame, methods: str) -> Path:
    """Write ``index.html`` and one page per plate (a file with several wells).

    Parameters
    ----------
    folder : Path
    table : DataFrame
        As ``summary.csv``.
    methods : str
        A methods paragraph.

    Returns
    -------
    Path
        The index.
    """
    analysed, failed = table[table["status"] == "analysed"], table[table["status"] != "analysed"]
    plates = {}
    for file, wells in analysed[analysed["well"].notna()].groupby("file", sort=False):
        if len(wells) > 1:
            name = f"plate_{_plate_name(wells)}.html"
            plates[name] = wells
            _write_plate(folder / name, str(file), wells)
    parts: list[Panel | Table | str] = [_table(analysed)]
    sections = [Section("cultures", "Cultures", parts)]
    if plates:
        rows = [(f"{Path(str(w['file'].iloc[0])).name}", f"{len(w)}") for w in plates.values()]
        sections.append(Section("plates", "Plates", [Table("", ("plate", "wells"), rows, links=list(plates))]))
    if len(failed):
        rows = [(_place(row), str(row["reason"])) for _, row in failed.iterrows()]
        sections.append(Section("failed", "Not analysed", [Table("", ("file", "reason"), rows)]))
    files = [
        name for name in ("summary.csv", "summary.xlsx", "summary.parquet", "groups.csv") if (folder / name).exists()
    ]
    files += ["parameters.json"] if (folder / "parameters.json").exists() else []
    link = Table("Tables and parameters.", ("file",), [(name,) for name in files], links=files)
    sections.append(Section("methods", "Methods", [methods, link]))
    notes = [
        Note(_place(row), str(row["remarks"])) for _, row in analysed.iterrows() if isinstance(row["remarks"], str)
    ]
    shown = notes[:20] + (
        [Note("More", f"{len(notes) - 20} further remarks are in summary.csv.")] if len(notes) > 20 else []
    )
    lead = f"{len(analysed):,} cultures of {analysed['file'].nunique():,} files"
    lead += f"; {len(failed):,} could not be analysed." if len(failed) else "."
    return _write(folder / "index.html", "Analysis of recordings", lead, shown, sections)


def _plate_name(wells: pd.DataFrame) -> str:
    """Return the name of a file's folders without well and recording: what comes before, and what keeps files apart."""
    first, last = (str(wells["folder"].iloc[k]) for k in (0, -1))
    well = re.sub(r"[^\w.-]+", "-", str(wells["well"].iloc[0]))
    start = first.split(f"_{well}")[0]
    end = re.search(r"_\d+$", first[len(start) + len(well) + 1 :]) if first != last else None
    return start + (end[0] if end else "")


def _place(row: "pd.Series[Any]") -> str:
    parts = (Path(str(row["file"])).name, row["well"], row["recording"])
    return " ".join(str(part) for part in parts if isinstance(part, str))


def _table(table: pd.DataFrame) -> Table:
    said = [name for name in _SAID if name in table and table[name].notna().any()]
    rows = [
        (_place(row), *(cell(_known(row[name])) for name in said), *(cell(_known(row[name])) for name in _SHOWN))
        for _, row in table.iterrows()
    ]
    links = [f"{name}/report.html" for name in table["folder"]]
    caption = "A click on a heading sorts. All numbers are in summary.csv."
    return Table(caption, ("culture", *said, *_SHOWN.values()), rows, links=links, sortable=True)


def _known(value: Any) -> Any:
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _write_plate(path: Path, file: str, wells: pd.DataFrame) -> None:
    caption = "Each circle is a well, in its place on the plate. The menu chooses what colours it; grey: undefined."
    rows = wells.assign(file=wells["well"], well=None)
    parts: list[Panel | Table | str] = [Panel("plate", plate_map(wells), caption), _table(rows)]
    lead = f"{len(wells)} wells, each a culture of its own."
    _write(path, f"Plate {Path(file).name}", lead, [], [Section("plate", "Plate", parts)], home="index.html")


def plate_map(wells: pd.DataFrame) -> go.Figure:
    """Draw the wells of a plate, coloured by a column that a menu chooses.

    Parameters
    ----------
    wells : DataFrame
        Rows of ``summary.csv``: well, and numbers.

    Returns
    -------
    plotly Figure
    """
    places = [_cell(str(well), k, len(wells)) for k, well in enumerate(wells["well"])]
    x, y = [column for _, column in places], [row for row, _ in places]
    fig, buttons = go.Figure(), []
    values_of = {name: pd.to_numeric(wells[name], errors="coerce").to_numpy(float) for name in _PLATE if name in wells}
    values_of = {name: values for name, values in values_of.items() if np.isfinite(values).any()}
    for k, (name, values) in enumerate(values_of.items()):
        known = np.isfinite(values)
        bar = {"title": {"text": _PLATE[name], "side": "right"}, "thickness": 14, "outlinewidth": 0}
        marker = {
            "size": 34,
            "color": np.where(known, values, np.nan),
            "colorscale": SCALE,
            "cmin": float(np.quantile(values[known], 0.05)),
            "cmax": float(np.quantile(values[known], 0.95)) + 1e-12,
            "colorbar": bar,
            "line": {"color": MUTED, "width": 1},
        }
        hover = [f"{well}: {number(float(value))} {_PLATE[name]}" for well, value in zip(wells["well"], values)]
        trace = go.Scatter(
            x=x,
            y=y,
            mode="markers+text",
            text=wells["well"].to_list(),
            textposition="bottom center",
            marker=marker,
            hovertext=hover,
            hoverinfo="text",
            visible=k == 0,
            textfont={"size": 10, "color": INK},
            showlegend=False,
        )
        fig.add_trace(trace)
        visible = [j == k for j in range(len(values_of))]
        buttons.append({"label": _PLATE[name], "method": "restyle", "args": [{"visible": visible}]})
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "direction": "down"}
    fig.update_layout(updatemenus=[menu])
    hidden = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(**hidden, range=[min(x) - 0.8, max(x) + 0.8])
    fig.update_yaxes(**hidden, range=[max(y) + 0.9, min(y) - 0.8], scaleanchor="x")
    height = int(np.clip(220 + 62 * (max(y) - min(y) + 1), 380, 760))
    fig = finish(fig, f"{len(wells)} wells with spikes", height=height)
    return fig.update_layout(margin={"t": 120})


def _cell(well: str, k: int, n: int) -> tuple[int, int]:
    """Return row and column of a well by its name, else in reading order."""
    match = re.fullmatch(r"([A-Z])0?(\d{1,2})", well)
    if match:
        return ord(match[1]) - ord("A"), int(match[2]) - 1
    row, column = divmod(k, int(np.ceil(np.sqrt(n * 1.5))))
    return row, column


def _write(
    path: Path, title: str, lead: str, notes: list[Note], sections: list[Section], home: str | None = None
) -> Path:
    footer = f"Written by organoid {__version__}."
    text = page(title, lead, notes, sections, None, footer, script=SCRIPT, home=home)
    return replace_file(path, text.encode())
