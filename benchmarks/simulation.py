"""A large network against other simulators, and against itself on two threads.

``python -m benchmarks.simulation [--json] [--peers PYTHON] [--keep FILE]``: 10,000 LIF units, 100 connections each, at
about 20 Hz, steps of 0.1 ms, once without noise and once with white noise of each unit. Medians of several runs of one
simulated second, all sides in one run. What is timed: for us `organoid.simulate`, recording and all; for Brian2's
standalone mode the loop as the binary reports it, for the others the call that runs. Building and compiling are not
counted on any side. Peers run in ``PYTHON``, an environment with `requirements-simulation.txt`; one that is missing is
"not run". With ``--keep`` every side is written to a file as soon as it is measured, and a second start goes on there.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np

import organoid
from benchmarks.finished import Finished
from benchmarks.simulation_peers import SPIKES
from benchmarks.simulation_statistics import summary, welch
from organoid.models.neurons.lif import LIFParameters
from organoid.models.simulators.event_builder import event_lif
from organoid.models.simulators.event_connections import Connections, random_connections
from organoid.models.simulators.event_driven import EventDrivenLIF

N_UNITS, FAN_OUT, DT, SECONDS, RUNS = 10_000, 100, 1e-4, 1.0, 5
NOISE = {"quiet": 0.0, "noisy": 0.2}
PEERS = {"quiet": ("brian2_cpp", "brian2_cython", "nest"), "noisy": ("brian2_cpp",)}
TARGETS = {"brian2_cpp": 1.3, "brian2_cython": 3.0, "two_threads": 1.5}
ROOT = Path(__file__).parent.parent


def definition(noise_sd: float) -> dict[str, Any]:
    """Return the network as plain arrays: four fifths excite, inhibition is five times as strong."""
    pre, post = random_connections(N_UNITS, FAN_OUT, seed=1)
    decay = math.exp(-DT / 0.02)
    return {
        "n_units": N_UNITS,
        "pre": pre,
        "post": post,
        "weight": np.where(pre < 0.8 * N_UNITS, 0.3, -1.5).astype(np.float32),
        "bias": np.random.default_rng(2).uniform(0.9, 1.3, N_UNITS),
        "dt": DT,
        "tau_mem": 0.02,
        "tau_syn": 0.005,
        "refractory": 0.002,
        "delay": 0.0015,
        "noise_sd": noise_sd * math.sqrt((1 + decay) / (1 - decay)),  # of the input of a step
    }


def ours(net: dict[str, Any], noise_sd: float) -> EventDrivenLIF:
    """Return the same network as one of ours."""
    cells = LIFParameters(
        tau_mem=net["tau_mem"], tau_syn=(net["tau_syn"],), refractory=net["refractory"], noise_sd=noise_sd
    )
    wires = Connections(net["pre"], net["post"], net["weight"], net["delay"])
    return event_lif(N_UNITS, DT, wires, cells, bias=net["bias"])


def time_ours(network: EventDrivenLIF, threads: int) -> dict[str, Any]:
    """Return seconds and statistics of each run, with another seed in each."""
    took, found = [], []
    numba.set_num_threads(threads)
    organoid.simulate(network, 0.01)
    for seed in range(RUNS):
        began = time.perf_counter()
        rec = organoid.simulate(network, SECONDS, seed=seed)
        took.append(time.perf_counter() - began)
        steps = np.floor(rec.spike_times / DT + 1e-3) * DT  # a recording places a spike inside its step
        found.append(summary(steps, rec.spike_units, N_UNITS, SECONDS))
    return {"seconds": took, "median_s": median(took), "statistics": found, "work": rec.metadata["synaptic_operations"]}


def time_peer(peer: str, net: dict[str, Any], python: str) -> dict[str, Any]:
    """Return the same of a peer, or why it was not run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.npz"
        np.savez(path, **net)
        command = [python, "-m", "benchmarks.simulation_peers", peer, str(path), str(SECONDS), str(RUNS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"not run": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
        with np.load(path.with_name(SPIKES)) as spikes:
            steps, units = np.rint(spikes["times"] / DT).astype(int), spikes["units"]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**result, "median_s": median(result["seconds"]), "same_spikes": same_spikes(net, steps, units)}


def same_spikes(net: dict[str, Any], steps: Any, units: Any) -> dict[str, float] | None:
    """Return how many spikes a noiseless network has in common with ours before the first difference, and its time."""
    if net["noise_sd"]:
        return None
    network = ours(net, 0.0)
    done = network.advance(network.initial_state(0), round(SECONDS / DT))
    a, b = (np.sort(s.astype(np.int64) * N_UNITS + u) for s, u in ((done.steps, done.units), (steps, units)))
    n = min(a.size, b.size)
    differ = np.flatnonzero(a[:n] != b[:n])
    first = int(differ[0]) if differ.size else n
    return {"spikes": first, "of": int(a.size), "until_s": float(a[min(first, a.size - 1)] // N_UNITS * DT)}


def sides(name: str, python: str) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what to measure of one network, by side."""
    net = definition(NOISE[name])
    network = ours(net, NOISE[name])
    out: dict[str, Callable[[], dict[str, Any]]] = {"ours": partial(time_ours, network, 1)}
    if numba.config.NUMBA_NUM_THREADS > 1:
        out["ours, two threads"] = partial(time_ours, network, 2)
    return out | {peer: partial(time_peer, peer, net, python) for peer in PEERS[name]}


def compared(name: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the sides of one network with their ratios to ours and their statistics beside ours."""
    alone = found["ours"]["median_s"]
    ratios = {side: held["median_s"] / alone for side, held in found.items() if "median_s" in held and side != "ours"}
    if "ours, two threads" in ratios:
        ratios["two_threads"] = 1 / ratios.pop("ours, two threads")
    agreement = {}
    if "statistics" in found["brian2_cpp"] and NOISE[name]:
        agreement = welch(found["ours"]["statistics"], found["brian2_cpp"]["statistics"])
    return {"sides": found, "faster_than": ratios, "agreement_with_brian2": agreement}


def run(
    python: str = sys.executable,
    networks: tuple[str, ...] = ("quiet", "noisy"),
    finished: Finished | None = None,
) -> dict[str, Any]:
    """Return everything measured, as plain values."""
    finished = finished or Finished()
    held = {}
    for name in networks:
        measures = sides(name, python)
        found = {side: finished.once(f"simulation, {name}: {side}", measure) for side, measure in measures.items()}
        held[name] = compared(name, found)
    setting = {"n_units": N_UNITS, "fan_out": FAN_OUT, "dt_s": DT, "simulated_s": SECONDS, "runs": RUNS}
    return {**setting, "targets": TARGETS, "networks": held, "load": finished.loads()}


def show(results: dict[str, Any]) -> None:
    """Print medians and ratios."""
    for name, held in results["networks"].items():
        for side, found in held["sides"].items():
            if "not run" in found:
                print(f"{name}: {side:20} not run: {found['not run']}")
            else:
                s = found["statistics"][-1]
                print(
                    f"{name}: {side:20} {found['median_s']:.3f} s a simulated s "
                    f"({s['mean_rate_hz']:.2f} Hz, CV {s['mean_isi_cv']:.3f}) {found.get('same_spikes') or ''}"
                )
        print(f"{name}: ours faster by", {k: round(v, 2) for k, v in held["faster_than"].items()})
        for key, v in held["agreement_with_brian2"].items():
            print(f"{name}: {key:20} {v['ours']:.5g} and {v['theirs']:.5g}, standard error {v['standard_error']:.2g}")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="A large network against other simulators.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", default=sys.executable, help="python of an environment with the peers")
    parser.add_argument("--networks", nargs="*", default=["quiet", "noisy"], choices=list(NOISE))
    parser.add_argument("--keep", type=Path, help="keep finished sides in this file, and go on from there")
    parsed = parser.parse_args(arguments)
    results = run(parsed.peers, tuple(parsed.networks), Finished(parsed.keep))
    if parsed.json:
        print(json.dumps(results, indent=1))
    else:
        show(results)
    return results


if __name__ == "__main__":
    main()
