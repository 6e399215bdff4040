"""The page a report is written on: HTML, style and the few lines of script that draw its panels."""

import base64
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np

_STYLE = """
:root { --ink: #1f2933; --muted: #616e7c; --faint: #d9dee4; --ground: #f5f7f9; --accent: #0072B2; --warn: #B34700; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 1100px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3em; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; margin: 0 0 .5em; }
h3 { font-size: 1.05rem; margin: 0; }
p { margin: .4em 0; }
.lead, .sub, footer, caption { color: var(--muted); }
nav { margin: 14px 0 4px; display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: .95rem; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover, nav a:focus { text-decoration: underline; }
section { background: white; border: 1px solid var(--faint); border-radius: 10px; padding: 22px 26px; margin: 18px 0; }
section.notes { border-left: 5px solid var(--accent); }
section.notes.warned { border-left-color: var(--warn); }
.notes ul { margin: .3em 0; padding-left: 1.2em; }
.notes li { margin: .25em 0; overflow-wrap: anywhere; }
.warning { color: var(--warn); font-weight: 600; }
.source { color: var(--muted); }
figure { margin: 26px 0 8px; }
figure:first-of-type { margin-top: 10px; }
.sub { font-size: .92rem; margin: 2px 0 0; }
.plot { width: 100%; }
figcaption { color: var(--muted); font-size: .92rem; border-left: 3px solid var(--faint);
  padding-left: 12px; margin-top: 4px; max-width: 80ch; }
.missing { background: var(--ground); border-radius: 8px; padding: 12px 16px; margin: 10px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; min-width: 45%; }
caption { text-align: left; font-size: .92rem; padding-bottom: 6px; }
table.sortable thead th { cursor: pointer; }
td a, th a { color: var(--accent); text-decoration: none; }
th, td { text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid var(--faint); font-weight: 400; }
thead th { font-weight: 600; font-size: .9rem; border-bottom: 2px solid var(--faint); }
td.number, th.number { text-align: right; }
tbody tr:last-child > * { border-bottom: 0; }
footer { font-size: .88rem; padding-bottom: 40px; }
@media (max-width: 700px) { section { padding: 16px 14px; }
  main, header, footer { padding-left: 12px; padding-right: 12px; } }
@media print {
  body { background: white; font-size: 11pt; } nav { display: none; }
  section { border: 0; padding: 0; margin: 12px 0; } section.notes { padding-left: 14px; }
  figure, table { break-inside: avoid; } h2, h3 { break-after: avoid; } .modebar { display: none; }
}
"""

_SCRIPT = """
const settings = {responsive: true, displaylogo: false, displayModeBar: "hover",
  toImageButtonOptions: {format: "svg"},
  modeBarButtons: [[{name: "svg", title: "Download as SVG", icon: Plotly.Icons.camera, click: save}],
                   ["zoom2d", "pan2d", "resetScale2d"]]};
function save(place) {
  Plotly.downloadImage(place, {format: "svg", filename: place.id.replace("panel-", ""),
    width: place.clientWidth, height: place.clientHeight});
}
function draw(place) {  // a figure is read and drawn when it comes near the window: long pages open at once
  const source = document.getElementById(place.id + "-data");
  if (!source || place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(place, figure.data, figure.layout, settings);
}
const places = [...document.querySelectorAll("div.plot")];
const near = new IntersectionObserver((seen) => seen.forEach((each) => {
  if (each.isIntersecting) { near.unobserve(each.target); draw(each.target); }
}), {rootMargin: "600px"});
places.forEach((place) => near.observe(place));
addEventListener("beforeprint", () => places.forEach(draw));
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], value = (row, k) => row.cells[k].textContent.trim().replace(/[,\\u2013]/g, "");
  [...table.tHead.rows[0].cells].forEach((head, k) => head.addEventListener("click", () => {
    const up = head.dataset.up = head.dataset.up === "1" ? "0" : "1";
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a, k), y = value(b, k);
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, {numeric: true}) : x - y;
      return up === "1" ? order : -order;
    });
    rows.forEach((row) => body.append(row));
  }));
}
"""


@dataclass(frozen=True)
class Panel:
    """A figure on the page, or the reason why it is not there.

    Parameters
    ----------
    name : str
        Becomes the id ``panel-<name>``.
    figure : plotly Figure, or None
    caption : str
        What it means.
    reason : str
        Why there is no figure.
    """

    name: str
    figure: Any
    caption: str
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A small table; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    links: Sequence[str] = ()  # one per row: where its name leads
    sortable: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order."""

    name: str
    title: str
    parts: list[Panel | Table | str] = field(default_factory=list)


@dataclass(frozen=True)
class Note:
    """One remark; `source` says what it is about."""

    source: str
    text: str
    warning: bool = False


def page(
    title: str,
    lead: str,
    notes: list[Note],
    sections: list[Section],
    plotly_js: str | None,
    footer: str,
    *,
    script: str | None = None,
    home: str | None = None,
) -> str:
    """Return the whole page as HTML.

    Parameters
    ----------
    title, lead : str
    notes : list of Note
    sections : list of Section
    plotly_js : str, optional
        The script that draws figures, to stand in the page itself.
    footer : str
    script : str, optional
        Where that script is instead, relative to the page.
    home : str, optional
        A page above this one.
    """
    library = (
        f'<script src="{html.escape(script, quote=True)}"></script>' if script else f"<script>{plotly_js}</script>"
    )
    body = "\n".join([_notes(notes), *(_section(section) for section in sections)])
    links = "".join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in sections)
    up = f'<a href="{html.escape(home, quote=True)}">All cultures</a>' if home else ""
    nav = f'<nav aria-label="Sections">{up}{links}</nav>'
    head = f"<h1>{html.escape(title)}</h1>\n<p class='lead'>{html.escape(lead)}</p>\n{nav}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
{head}
<noscript><p class="warning">The figures of this page are drawn by JavaScript, which is switched off.</p></noscript>
</header>
<main>
{body}
</main>
<footer><p>{html.escape(footer)}</p></footer>
{library}
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _notes(notes: list[Note]) -> str:
    if not notes:
        return '<section class="notes" id="notes"><h2>Notes</h2><p>Nothing to remark.</p></section>'
    ordered = sorted(notes, key=lambda note: not note.warning)
    items = "\n".join(f"<li>{_note(note)}</li>" for note in ordered)
    warned = any(note.warning for note in notes)
    title = "Notes and warnings" if warned else "Notes"
    kind = "notes warned" if warned else "notes"
    return f'<section class="{kind}" id="notes"><h2>{title}</h2><ul>\n{items}\n</ul></section>'


def _note(note: Note) -> str:
    mark = '<span class="warning">Warning.</span> ' if note.warning else ""
    return f'{mark}<span class="source">{html.escape(note.source)}:</span> {html.escape(note.text)}'


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    heading = f'<h2 id="{section.name}-title">{html.escape(section.title)}</h2>'
    return f'<section id="{section.name}" aria-labelledby="{section.name}-title">\n{heading}\n{parts}\n</section>'


def _part(part: Panel | Table | str) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    return _table(part) if isinstance(part, Table) else _panel(part)


def _table(table: Table) -> str:
    kinds = ["", *(' class="number"' for _ in table.columns[1:])]
    head = "".join(f'<th scope="col"{k}>{html.escape(c)}</th>' for c, k in zip(table.columns, kinds))
    rows = []
    for k, (first, *cells) in enumerate(table.rows):
        rest = "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in cells)
        name = html.escape(first)
        name = f'<a href="{html.escape(quote(table.links[k]), quote=True)}">{name}</a>' if table.links else name
        rows.append(f'<tr><th scope="row">{name}</th>{rest}</tr>')
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    body = "\n".join(rows)
    kind = ' class="sortable"' if table.sortable else ""
    top = f"{caption}<thead><tr>{head}</tr></thead>"
    return f'<div class="scroll"><table{kind}>{top}<tbody>\n{body}\n</tbody></table></div>'


def _panel(panel: Panel) -> str:
    if panel.figure is None:
        return f'<p class="missing" id="panel-{panel.name}"><strong>Not drawn.</strong> {html.escape(panel.reason)}</p>'
    figure = json.loads(panel.figure.to_json())
    title, subtitle = _take_title(figure["layout"])
    label = html.escape(f"{title}. {subtitle}", quote=True)
    below = f'<p class="sub">{html.escape(subtitle)}</p>' if subtitle else ""
    height = int(figure["layout"].get("height", 420))
    data = json.dumps(figure, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f"""<figure>
<h3>{html.escape(title)}</h3>{below}
<div class="plot" id="panel-{panel.name}" role="img" aria-label="{label}" style="height:{height}px"></div>
<figcaption>{html.escape(panel.caption)}</figcaption>
<script type="application/json" class="panel" id="panel-{panel.name}-data">{data}</script>
</figure>"""


def _take_title(layout: dict[str, Any]) -> tuple[str, str]:
    """Move a figure's title out of its drawing, where it can wrap, and give the drawing its room."""
    title = layout.pop("title", {})
    legend = layout.get("legend", {}).get("orientation") != "v" and layout.get("showlegend", False)
    freed = 44 if legend else 62
    layout["margin"] = {**layout.get("margin", {}), "t": 84 - freed}
    layout["height"] = int(layout.get("height", 420)) - freed
    return str(title.get("text", "")), str(title.get("subtitle", {}).get("text", ""))


def read_panels(text: str) -> dict[str, dict[str, Any]]:
    """Return what the panels of a page show: panel name to ``{"data": [...], "layout": {...}}``."""
    pattern = r'<script type="application/json" class="panel" id="panel-([\w-]+)-data">(.*?)</script>'
    return {name: _decoded(json.loads(data)) for name, data in re.findall(pattern, text, flags=re.DOTALL)}


def _decoded(value: Any) -> Any:
    """Return JSON with plotly's packed arrays as numpy arrays."""
    if isinstance(value, dict):
        if {"dtype", "bdata"} <= set(value):
            flat = np.frombuffer(base64.b64decode(value["bdata"]), dtype=np.dtype(value["dtype"]))
            shape = [int(n) for n in str(value.get("shape", flat.size)).split(",")]
            return flat.reshape(shape)
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
