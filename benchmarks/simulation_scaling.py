"""What a large network costs: by size, by rate, by part, and against the memory's own speed.

``python -m benchmarks.simulation_scaling [--json]``, on one thread. Networks of N LIF units with 100 connections each
(N - 1 where there are fewer) and weights so small that the bias alone sets the rate. Parts are differences between runs
of the same network: *membrane* without noise, silent; *noise* what noise adds to that; *spikes and delivery* what
firing adds. The bound is what the bytes that must pass would take at the speed of a copying loop (STREAM's triad, in
the same process): of the membrane two accesses to the ring a unit and step and its other arrays once a block, of a
synaptic operation its row entry and two accesses to the ring.

References
----------
McCalpin (1995), Memory bandwidth and machine balance in current high performance computers, IEEE TCCA Newsletter.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from statistics import median
from typing import Any

import numba
import numpy as np

from organoid.models.neurons.lif import LIFParameters
from organoid.models.simulators.event_builder import event_lif
from organoid.models.simulators.event_connections import Connections, random_connections
from organoid.models.simulators.event_driven import EventDrivenLIF

DT, DELAY, FAN_OUT = 1e-4, 1.5e-3, 100
CELLS = LIFParameters(tau_mem=0.02, tau_syn=(0.005,), refractory=0.002, delay=DELAY, noise_sd=0.1)
SIZES, USUAL_RATE = (100, 316, 1000, 3162, 10_000, 31_623, 100_000), 20.0
RATES, USUAL_SIZE = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0), 10_000
UPDATES, RUNS = 4e7, 5  # units x steps of a run
BLOCK_ARRAYS, RING = 8, 2  # accesses of 8 bytes: a unit and block; a unit and step, or a synaptic operation
ENTRY = 8  # bytes of a connection
Wires = tuple[Any, Any]


@numba.njit(cache=True)
def _triad(a: Any, b: Any, c: Any) -> None:
    for i in range(a.size):
        a[i] = b[i] + 3.0 * c[i]


def bandwidth(n: int) -> float:
    """Return bytes a second of the triad over three arrays of n numbers."""
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    _triad(a, b, c)
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(max(1, int(2e7 / n))):
            _triad(a, b, c)
        took.append((time.perf_counter() - began) / max(1, int(2e7 / n)))
    return 24.0 * n / median(took)


def bias_for(rate: float) -> float:
    """Return the bias at which an unconnected noisy unit fires at a rate, by halving an interval; 0 Hz is silence."""
    if not rate:
        return -5.0
    low, high = 0.5, 3.0
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        cells = event_lif(500, DT, Connections([], [], 0.0), CELLS, bias=middle)
        done = cells.advance(cells.initial_state(0), 20_000)
        low, high = (middle, high) if done.steps.size / (500 * 2.0) < rate else (low, middle)
    return high


def network(n: int, wires: Wires, noise_sd: float, bias: float) -> EventDrivenLIF:
    """Return a network whose connections carry spikes and change nothing."""
    return event_lif(n, DT, Connections(*wires, np.float32(1e-9)), replace(CELLS, noise_sd=noise_sd), bias=bias)


def time_of(net: EventDrivenLIF) -> tuple[float, float]:
    """Return seconds a simulated second (median), and the rate, Hz."""
    state = net.advance(net.initial_state(0), 20).state
    state.voltage[:] = np.random.default_rng(0).random(net.n_units)  # no volleys: units at all phases
    n_steps = max(50, int(UPDATES / net.n_units))
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        done = net.advance(state, n_steps)
        took.append((time.perf_counter() - began) / (n_steps * DT))
    return median(took), done.steps.size / (net.n_units * n_steps * DT)


def point(n: int, bias: float, wires: Wires, per_byte: float) -> dict[str, float]:
    """Return the cost of one size and rate, in seconds a simulated second."""
    membrane, _ = time_of(network(n, wires, 0.0, -5.0))
    noise = time_of(network(n, wires, CELLS.noise_sd, -5.0))[0] - membrane
    total, found = time_of(network(n, wires, CELLS.noise_sd, bias))
    steps, operations = n / DT, found * wires[0].size
    moved = steps * 8 * (RING + BLOCK_ARRAYS * DT / DELAY) + operations * (ENTRY + 8 * RING)
    return {
        "n_units": n,
        "rate_hz": found,
        "total_s": total,
        "membrane_s": membrane,
        "noise_s": noise,
        "spikes_s": total - membrane - noise,
        "ns_a_unit_and_step": 1e9 * membrane / steps,
        "ns_a_number": 1e9 * noise / steps,
        "ns_an_operation": 1e9 * (total - membrane - noise) / operations,
        "bound_s": moved * per_byte,
    }


def run() -> dict[str, Any]:
    """Return everything measured, as plain values."""
    numba.set_num_threads(1)
    speeds = {"memory": bandwidth(8_000_000), "second cache": bandwidth(30_000)}
    per_byte = 1 / speeds["memory"]
    biases = {rate: bias_for(rate) for rate in {USUAL_RATE, *RATES}}
    out: dict[str, Any] = {"bytes_a_second": speeds, "by_size": [], "by_rate": []}
    for n in SIZES:
        wires = random_connections(n, min(FAN_OUT, n - 1), seed=1)
        out["by_size"].append(point(n, biases[USUAL_RATE], wires, per_byte))
        if n == USUAL_SIZE:
            out["by_rate"] = [point(n, biases[rate], wires, per_byte) for rate in RATES]
    return out


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="What a large network costs.")
    parser.add_argument("--json", action="store_true")
    results = run()
    if parser.parse_args(arguments).json:
        print(json.dumps(results, indent=1))
        return results
    print({name: f"{speed / 1e9:.1f} GB/s" for name, speed in results["bytes_a_second"].items()})
    for held in (*results["by_size"], *results["by_rate"]):
        print("  ".join(f"{key} {value:.3g}" for key, value in held.items()))
    return results


if __name__ == "__main__":
    main()
