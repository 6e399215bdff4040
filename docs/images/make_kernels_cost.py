"""Draw ``kernels-cost.svg``: time of forward and backward against the size of the network and its rate.

    python -m benchmarks.kernels --part curve --json > curve.json && python docs/images/make_kernels_cost.py curve.json

Needs matplotlib, which is among the requirements of that benchmark.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt


def main(results: Path) -> None:
    """Write the picture beside this file."""
    measured = json.loads(results.read_text())
    curve = measured["curve"]
    figure, (cost, speed) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in sorted({row["mean_rate"] for row in curve}, key=float):
        rows = [row for row in curve if row["mean_rate"] == name]
        sizes, times = [row["n"] for row in rows], [row["processor_s"] for row in rows]
        moved = [row["rows_gb"] + row["streams_gb"] for row in rows]
        cost.loglog(sizes, times, "o-", label=f"about {name} Hz")
        speed.loglog(sizes, [gb / s for gb, s in zip(moved, times, strict=True)], "o-", label=f"about {name} Hz")
    ends = [min(row["n"] for row in curve), max(row["n"] for row in curve)]
    last = max(row["processor_s"] for row in curve if row["n"] == ends[1])
    cost.loglog(ends, [last * (ends[0] / ends[1]) ** 2, last], ":", color="grey", label="square of the size")
    for where, style in (("memory", "--"), ("second cache", ":")):
        speed.axhline(measured["triad_gb_s"][where], ls=style, color="grey", label=f"triad, {where}")
    cost.set(xlabel="units", ylabel="processor time, s", title="Forward and backward, 1000 steps, 4 copies, one thread")
    speed.set(xlabel="units", ylabel="rows of weights and streams, GB/s", title="Against the speed of memory")
    for axes in (cost, speed):
        axes.set_xticks(sorted({row["n"] for row in curve}), sorted({str(row["n"]) for row in curve}, key=int))
        axes.minorticks_off()
    speed.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    cost.legend()
    speed.legend()
    figure.savefig(Path(__file__).with_name("kernels-cost.svg"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
