"""What memory must deliver for forward and backward through a recurrent network, and how fast it can.

Rows of weights are read for every spike forward, and for every unit near threshold backward; the gradient of a row is
read and written for every spike. Beside them flow arrays of the size of the input: input, spikes, the gradient of the
spikes, and the gradient of the drive, which is written and read.
"""

from __future__ import annotations

import torch

from benchmarks.kernels_sides import DT, Problem, network
from benchmarks.simulation_scaling import bandwidth

BYTES, STREAMS, ROWS_A_SPIKE = 4, 5, 3
IN_MEMORY, IN_CACHE = 20_000_000, 50_000  # numbers in each array of a triad


def traffic(p: Problem) -> dict[str, float]:
    """Return gigabytes of rows and of streams, and the share of units near threshold."""
    net = network(p)
    with torch.no_grad():
        run = net.trajectory(p.drive)
        near = int((run.logits.abs() * net.escape_width < p.surrogate.support).sum())
        spikes = int(run.spikes.sum())
    entries = p.batch * p.n_steps * p.n
    return {
        "near": near / entries,
        "rate_hz": spikes / entries / DT,
        "rows_gb": (near + ROWS_A_SPIKE * spikes) * p.n * BYTES / 1e9,
        "streams_gb": STREAMS * entries * BYTES / 1e9,
    }


def triads() -> dict[str, float]:
    """Return the gigabytes a second of a triad over arrays in main memory, and in the second cache."""
    return {"memory": bandwidth(IN_MEMORY) / 1e9, "second cache": bandwidth(IN_CACHE) / 1e9}
