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
    curve = json.loads(results.read_text())["curve"]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name in sorted({row["mean_rate"] for row in curve}, key=float):
        rows = [row for row in curve if row["mean_rate"] == name]
        sizes, times = [row["n"] for row in rows], [row["processor_s"] for row in rows]
        axes.loglog(sizes, times, "o-", label=f"about {name} Hz")
    largest = max(row["n"] for row in curve)
    smallest = min(row["n"] for row in curve)
    last = max(row["processor_s"] for row in curve if row["n"] == largest)
    axes.loglog(
        [smallest, largest], [last * (smallest / largest) ** 2, last], ":", color="grey", label="square of the size"
    )
    axes.set(xlabel="units", ylabel="processor time, s", title="Forward and backward, 1000 steps, 4 copies, one thread")
    axes.legend()
    figure.savefig(Path(__file__).with_name("kernels-cost.svg"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
