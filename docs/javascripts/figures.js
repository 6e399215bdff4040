// Figures of executed tutorials: JSON beside an empty box; drawn when the page is there, again when it changes.
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
    Plotly.newPlot(target, figure.data, figure.layout, { responsive: true, displaylogo: false });
  });
}
if (typeof document$ !== "undefined") document$.subscribe(drawFigures);
else document.addEventListener("DOMContentLoaded", drawFigures);
