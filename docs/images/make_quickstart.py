"""Draw ``quickstart.png``: the sample culture and its twin, by the fit of ``organoid demo``.

    organoid demo && python docs/images/make_quickstart.py organoid-demo

Needs a Chromium browser on the path to turn the page into a picture.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from plotly.offline import get_plotlyjs

import organoid
from organoid import figures
from organoid.sample_culture import sample_path
from organoid.statistics import network_bursts

SHOWN_S = 60.0
SIZE = (1120, 900)


def main(demo: Path) -> None:
    """Write the picture beside this file."""
    recorded = organoid.read_recording(sample_path())
    simulated = organoid.read_recording(demo / "simulation.h5")
    thresholds = network_bursts(recorded).attrs["thresholds"]
    plots = []
    for rec, title in ((recorded, "Recorded"), (simulated, "The fitted network, left to itself")):
        shown = rec.select(t_start=0.0, t_stop=SHOWN_S)
        figure = figures.raster(shown, bursts=network_bursts(shown, thresholds))
        figure.update_layout(title_text=title, height=SIZE[1] // 2, width=SIZE[0])
        plots.append(figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))
    page = f"<html><body style='margin:0'><script>{get_plotlyjs()}</script>{''.join(plots)}</body></html>"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(page, encoding="utf-8")
        target = Path(__file__).with_name("quickstart.png").resolve()
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000"]
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        subprocess.run(["chromium", *options, size, f"--screenshot={target}", source.as_uri()], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
