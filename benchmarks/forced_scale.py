"""Time and memory of the forced fit on a large, long, made-up culture.

    python -m benchmarks.forced_scale [--units 200] [--duration 3600] [--edges] [--json]

Units fire at 1 to 5 Hz in a common rhythm of bursts; every spike makes each of five other units fire 2 to 6 ms
later with probability 0.02. Printed: seconds of each step and the peak memory of the process.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from organoid import SpikeRecording
from organoid.fitting.connectivity.inference import infer_edges
from organoid.fitting.data.history import bin_history
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.prediction import assess
from organoid.parallel import one_torch_thread, peak_rss_mb

STEP = 0.05  # s, of the common rhythm


def culture(n_units: int, duration: float, seed: int = 0) -> SpikeRecording:
    """Return a bursting culture with couplings."""
    rng = np.random.default_rng(seed)
    n_steps = int(duration / STEP)
    burst = np.convolve(rng.uniform(size=n_steps) < STEP / 5, np.exp(-np.arange(12) / 4))[:n_steps]
    share = (0.4 + 12 * burst) / (0.4 + 12 * burst).mean()
    times, units = [], []
    for unit, rate in enumerate(rng.uniform(1, 5, n_units)):
        counts = rng.poisson(rate * STEP * share)
        times.append((np.repeat(np.arange(n_steps), counts) + rng.uniform(size=counts.sum())) * STEP)
        units.append(np.full(counts.sum(), unit))
    t, u = np.concatenate(times), np.concatenate(units)
    targets = rng.integers(0, n_units, (n_units, 5))
    made = rng.uniform(size=(t.size, 5)) < 0.02
    late = (t[:, None] + rng.uniform(0.002, 0.006, made.shape))[made]
    t, u = np.concatenate([t, late]), np.concatenate([u, targets[u][made]])
    inside = t < duration
    order = np.argsort(t[inside], kind="stable")
    return SpikeRecording(t[inside][order], u[inside][order], n_units=n_units, t_start=0.0, t_stop=duration)


def measure(n_units: int, duration: float, edges: bool) -> dict[str, Any]:
    """Fit one culture, timing every step."""
    rec = culture(n_units, duration)
    history = bin_history(rec, BIN_WIDTH)
    training = history.training()
    row: dict[str, Any] = {"n_units": n_units, "duration_s": duration, "n_spikes": rec.n_spikes}
    before, began = peak_rss_mb(), time.perf_counter()
    with one_torch_thread():
        design = forced_design(training, np.random.default_rng(0))
        row["design_s"] = time.perf_counter() - began
        fit = fit_forced(training, design)
        row["fit_s"] = time.perf_counter() - began - row["design_s"]
        coupled, alone = assess(history, [fit.parameters, fit.uncoupled])
        if edges:
            infer_edges(training, np.random.default_rng(1))
    return row | {
        "seconds": time.perf_counter() - began,
        "chosen": fit.chosen,
        "converged": fit.converged,
        "coupled": coupled.scores["bits_per_spike"],
        "uncoupled": alone.scores["bits_per_spike"],
        "peak_rss_mb": peak_rss_mb(),
        "rss_of_data_mb": before,
    }


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--duration", type=float, default=3600.0)
    parser.add_argument("--edges", action="store_true", help="infer edges too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = measure(options.units, options.duration, options.edges)
    if options.json:
        print(json.dumps(row))
        return
    for name, value in row.items():
        print(f"{name:16s} {value:.4g}" if isinstance(value, float) else f"{name:16s} {value}")


if __name__ == "__main__":
    main()
