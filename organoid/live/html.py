"""The live page itself: one HTML text; it asks for what is new, as fast as it can draw it and no faster."""

from organoid.figures.template import ACCENT, CONTRAST, FAINT, FONT, GRID, INK, MUTED, SCALE

_COLOURS = [[0.0, "#ffffff"], [0.02, SCALE[0][1]], *SCALE[1:]]  # no spike is white, the first one is seen
_STYLE = f"""
body {{ margin: 0; padding: 16px 24px; font: 14px/1.45 {FONT}; color: {INK}; background: white; }}
header {{ display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 18px; }}
h1 {{ font-size: 19px; margin: 0; }}
#status {{ color: {MUTED}; flex: 1; min-width: 14em; }}
button {{ font: inherit; font-weight: 600; color: white; background: {CONTRAST}; border: 0; border-radius: 6px;
  padding: 7px 16px; cursor: pointer; }}
button:disabled {{ background: {FAINT}; cursor: default; }}
#raster {{ height: 400px; }} #rate {{ height: 190px; }}
main {{ display: grid; grid-template-columns: minmax(0, 1fr) 250px; gap: 8px 24px; }}
@media (max-width: 900px) {{ main {{ grid-template-columns: minmax(0, 1fr); }} }}
h2 {{ font-size: 14px; margin: 14px 0 4px; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ padding: 3px 0; border-bottom: 1px solid {GRID}; }}
td + td {{ text-align: right; font-variant-numeric: tabular-nums; }}
"""

_SCRIPT = f"""
const $ = id => document.getElementById(id);
const axis = {{gridcolor: "{GRID}", linecolor: "{FAINT}", zeroline: false, automargin: true, fixedrange: true}};
const base = {{font: {{family: {FONT!r}, size: 12, color: "{INK}"}}, margin: {{l: 56, r: 12, t: 8, b: 36}},
  showlegend: false, uirevision: 1}};
const options = {{displayModeBar: false, responsive: true}};
const scale = {_COLOURS};
const page = {{last: -1, bins: [], updates: 0, drawn: 0, over: false}};
window.page = page;
const number = x => x === null || x === undefined ? "–" : Number.isInteger(x) ? x.toLocaleString("en")
  : Math.abs(x) >= 1000 || Math.abs(x) < 0.001 && x !== 0 ? x.toExponential(2) : x.toPrecision(4);

function rows(id, values) {{
  const table = $(id);
  const names = Object.keys(values);
  if (table.rows.length !== names.length) {{
    table.replaceChildren();
    for (const name of names) {{
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell();
    }}
  }}
  names.forEach((name, k) => {{ table.rows[k].cells[1].textContent = number(values[name]); }});
}}

function take(state) {{
  const width = Math.round(state.window_s / state.bin_s);
  if (state.bins.length && state.first_bin > page.last + 1) page.bins = [];
  for (const counts of state.bins) page.bins.push(counts);
  if (page.bins.length > width) page.bins.splice(0, page.bins.length - width);
  if (state.bins.length) page.last = state.first_bin + state.bins.length - 1;
}}

async function draw(state) {{
  const n = page.bins.length, first = page.last + 1 - n;
  const x = Array.from({{length: n}}, (_, k) => (first + k + 0.5) * state.bin_s);
  const z = Array.from({{length: state.n_rows || 0}}, (_, row) => page.bins.map(counts => counts[row]));
  const per = 1 / (state.bin_s * Math.max(state.n_units || 1, 1));
  const rate = page.bins.map(counts => counts.reduce((sum, value) => sum + value, 0) * per);
  const end = Math.max((page.last + 1) * state.bin_s, state.window_s), range = [end - state.window_s, end];
  const pulses = state.stimuli.filter(item => item[0] >= range[0]);
  const top = (state.n_rows || 1) + 0.5;
  await Plotly.react("raster", [
    {{type: "heatmap", x: x, z: z, colorscale: scale, zmin: 0, zmax: 3, showscale: false,
      hovertemplate: "%{{x:.1f}} s, row %{{y}}: %{{z}} spikes<extra></extra>"}},
    {{type: "scatter", mode: "markers", x: pulses.map(item => item[0]), y: pulses.map(() => top),
      marker: {{symbol: "triangle-down", size: 8, color: "{CONTRAST}"}}, text: pulses.map(item => item[2]),
      customdata: pulses.map(item => item[1]), cliponaxis: false,
      hovertemplate: "pulse on electrode %{{customdata}} at %{{x:.3f}} s %{{text}}<extra></extra>"}}],
    {{...base, xaxis: {{...axis, range: range}}, yaxis: {{...axis, title: {{text: state.n_rows < state.n_units
      ? "row of units" : "unit"}}, range: [-0.5, top + 1]}}}}, options);
  await Plotly.react("rate", [{{type: "scatter", mode: "lines", x: x, y: rate, line: {{color: "{ACCENT}", width: 1.5}},
    hovertemplate: "%{{x:.1f}} s: %{{y:.2f}} Hz per unit<extra></extra>"}}],
    {{...base, xaxis: {{...axis, range: range, title: {{text: "time (s)"}}}},
      yaxis: {{...axis, rangemode: "tozero", title: {{text: "Hz per unit"}}}}}}, options);
  rows("numbers", state.numbers);
  const t = state.totals;
  rows("totals", {{"spikes": t.spikes, "pulses": t.pulses, "ticks": t.ticks}});
  const slowest = state.slowest_decision_ms;
  rows("deadlines", {{"late commands": t.late, "missed deadlines": t.missed, "slowest decision (ms)": slowest}});
  $("title").textContent = state.title || "Session";
  $("status").textContent = `${{state.status}}, ${{state.time_s.toFixed(1)}} s, ${{state.device || ""}}`;
  page.updates += 1;
  page.drawn = t.spikes;
}}

function ended(text) {{
  page.over = true;
  $("stop").disabled = true;
  if (text) $("status").textContent = text;
}}

async function follow() {{
  while (!page.over) {{
    const began = performance.now();
    try {{
      const answer = await fetch("state?after=" + page.last, {{cache: "no-store"}});
      const state = await answer.json();
      take(state);
      await draw(state);
      if (state.status !== "running") ended("");
    }} catch (error) {{ ended("the session has ended; nothing answers any more"); }}
    await new Promise(resume => setTimeout(resume, Math.max(20, 120 - (performance.now() - began))));
  }}
}}

$("stop").onclick = async () => {{
  $("stop").disabled = true;
  $("stop").textContent = "Stopping";
  await fetch("stop", {{method: "POST"}});
}};
follow();
"""

PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>organoid: live session</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{_STYLE}</style><script src="plotly.js"></script></head>
<body><header><h1 id="title">Session</h1><span id="status">waiting for the first tick</span>
<button id="stop">Stop the session</button></header>
<main><div><h2>Spikes in bins of 0.1 s; triangles: pulses</h2><div id="raster"></div>
<h2>Population rate</h2><div id="rate"></div></div>
<aside><h2>Protocol</h2><table id="numbers"></table><h2>Totals</h2><table id="totals"></table>
<h2>Deadlines</h2><table id="deadlines"></table></aside></main>
<script>{_SCRIPT}</script></body></html>
"""
