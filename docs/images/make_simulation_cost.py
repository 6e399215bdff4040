"""Draw ``simulation-cost.svg``: what a large network costs, by size and by rate.

    python -m benchmarks.simulation_scaling --json > cost.json && python docs/images/make_simulation_cost.py cost.json

Needs matplotlib (`benchmarks/requirements-simulation.txt`).
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

PARTS = (("membrane_s", "membrane", "#4477aa"), ("noise_s", "noise", "#ccbb44"), ("spikes_s", "spikes", "#ee6677"))
AXES = (("by_size", "n_units", "units (20 Hz)"), ("by_rate", "rate_hz", "rate, Hz (10,000 units)"))


def main(source: Path) -> None:
    """Write the picture beside this file."""
    measured = json.loads(source.read_text())
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, (series, key, label) in zip(panels, AXES):
        points = measured[series]
        x = [point[key] for point in points]
        panel.loglog(x, [point["total_s"] for point in points], "k-o", ms=4, label="total")
        for name, title, colour in PARTS:
            panel.loglog(x, [max(point[name], 0) for point in points], "-o", ms=3, color=colour, label=title)
        panel.loglog(x, [point["bound_s"] for point in points], "k:", label="memory bound")
        panel.axhline(1.0, color="0.8", lw=0.8, zorder=0)
        panel.set_xlabel(label)
        panel.set_ylabel("s a simulated s, one thread")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).with_name("simulation-cost.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
