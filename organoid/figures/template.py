"""The look all figures share: white ground, one accent, readable type, colours that colour-blind readers can tell."""

from typing import Any

import plotly.graph_objects as go

INK = "#1f2933"
MUTED = "#7b8794"
FAINT = "#cbd2d9"
GRID = "#edf0f3"
ACCENT = "#0072B2"  # blue and vermilion of Okabe and Ito, "Color Universal Design", 2008
CONTRAST = "#D55E00"
BAND = "rgba(0, 114, 178, 0.10)"
HOLE = "rgba(123, 135, 148, 0.22)"
SCALE = [[0.0, "#d6e6f2"], [0.35, "#7fb4d8"], [0.7, "#0072B2"], [1.0, "#08304f"]]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def template() -> go.layout.Template:
    """Return the common plotly template."""
    axis: dict[str, Any] = {
        "showgrid": True,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": FAINT,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": FAINT,
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout = go.Layout(
        font={"family": FONT, "size": 13, "color": INK},
        title={
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "pad": {"l": 16},
            "font": {"size": 17},
            "subtitle": {"font": {"size": 13, "color": MUTED}},
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=[ACCENT, INK, CONTRAST, MUTED, "#009E73", "#CC79A7", "#E69F00", "#56B4E9"],
        xaxis=axis,
        yaxis=axis,
        margin={"l": 70, "r": 24, "t": 84, "b": 56},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        hoverlabel={"font": {"family": FONT}},
    )
    return go.layout.Template(layout=layout)


def finish(fig: go.Figure, title: str, subtitle: str = "", *, height: int = 420) -> go.Figure:
    """Give a figure the common look and a title that says what is seen; returns the figure."""
    fig.update_layout(template=template(), height=height)
    fig.update_layout(title={"text": title, "subtitle": {"text": subtitle}})
    return fig


def number(value: float, digits: int = 3) -> str:
    """Return a number for readers: three digits, integers in full, a dash for undefined."""
    if value is None or value != value:
        return "–"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.{max(digits - 1 - _magnitude(value), 0)}f}"
    return f"{value:.{digits - 1}e}"


def seconds(value: float) -> str:
    """Return a duration for reading, with its unit; windows of a tick or so say nothing by their digits."""
    return f"{number(value)} s" if value == 0 or value >= 1e-3 else "less than 1 ms"


def _magnitude(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])
