// Figures of executed tutorials: JSON beside an empty box; drawn when the page is there, again when it changes.
// A title longer than a line of the page goes on in the next, and the margin above grows with it.
function wrapTitle(layout, width) {
  if (!layout.title || !layout.title.text || layout.title.text.includes("<")) return;
  const most = Math.max(20, Math.floor(width / 9));
  const lines = [""];
  for (const word of layout.title.text.split(" ")) {
    const last = lines[lines.length - 1];
    if (last && last.length + word.length >= most) lines.push(word);
    else lines[lines.length - 1] = last ? last + " " + word : word;
  }
  layout.title.text = lines.join("<br>");
  const template = (layout.template && layout.template.layout && layout.template.layout.margin) || {};
  const margin = Object.assign({}, template, layout.margin);
  margin.t = (margin.t || 80) + 22 * (lines.length - 1);
  layout.margin = margin;
  if (layout.height) layout.height += 22 * (lines.length - 1);
}
function drawFigures() {
  document.querySelectorAll("div.figure").forEach(function (box) {
    const source = box.querySelector("script[type='application/json']");
    if (!source || box.dataset.drawn) return;
    box.dataset.drawn = "1";
    const figure = JSON.parse(source.textContent);
    const target = document.createElement("div");
    box.appendChild(target);
    figure.layout.autosize = true;
    delete figure.layout.width;
    wrapTitle(figure.layout, target.clientWidth);
    Plotly.newPlot(target, figure.data, figure.layout, { responsive: true, displaylogo: false });
  });
}
if (typeof document$ !== "undefined") document$.subscribe(drawFigures);
else document.addEventListener("DOMContentLoaded", drawFigures);
