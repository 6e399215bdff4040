"""Forward and backward through a recurrent network: time and memory, against snnTorch, Norse and SpikingJelly.

``python -m benchmarks.kernels [--json]``: 1000 steps of 1 ms, 4 copies, everybody connected to everybody. All sides
take turns in one run, each with the same number of threads; medians of wall and of processor time. With one thread
the processor time does not count what else a shared machine does, so ratios are taken of it; with several, of the
wall time. Peers have their own requirements, ``benchmarks/requirements-kernels.txt``; one that is not installed is
"not run". With ``--keep FILE`` every finished piece is written there, and a second start goes on from it.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import kernels_forced, simulation
from benchmarks.finished import Finished
from benchmarks.kernels_sides import SIDES, Problem, Side, agreement, finite, rate
from benchmarks.kernels_traffic import traffic, triads

TARGET = 25.0
PARTS = ["sizes", "rates", "widths", "curve", "forced", "simulation"]
CURVE = (128, 256, 512, 1024, 2048, 4096)  # units
MEANS = {1: 0.1, 5: 0.4, 10: 0.6, 20: 0.87, 50: 1.55}  # mean drive (thresholds) by the rate it makes, about, Hz


def installed(name: str) -> bool:
    return name == "organoid" or importlib.util.find_spec(name) is not None


def seconds(run: Side) -> tuple[float, float]:
    """Return wall and processor seconds of a run."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def timed(problem: Problem, names: list[str], repeats: int) -> dict[str, Any]:
    """Return for each side median seconds, their ratio to this library's, and the rate; sides take turns."""
    sides = {name: SIDES[name](problem) for name in names if installed(name)}
    first = {name: run() for name, run in sides.items()}  # the first run is not counted
    facts = {name: {"rate_hz": rate(found), "finite_gradients": finite(found)} for name, found in first.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            times[name].append(seconds(run))
    column = 1 if torch.get_num_threads() == 1 else 0
    own = median(t[column] for t in times["organoid"])
    out: dict[str, Any] = {name: "not run: not installed" for name in names}
    for name in sides:
        wall, processor = (median(t[k] for t in times[name]) for k in (0, 1))
        ratio = (wall, processor)[column] / own
        out[name] = {"wall_s": wall, "processor_s": processor, "ratio": ratio, **facts[name]}
    return out


def memory(name: str, problem: Problem) -> float:
    """Return the MiB that a run takes on top of the network and its input, from a process of its own."""
    words = [sys.executable, "-m", "benchmarks.kernels", "--one-memory", name, json.dumps(asdict(problem))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def own_memory(name: str, problem: Problem) -> float:
    """Measure this process: the highest resident set during a run, less that before it."""
    SIDES[name](replace(problem, n_steps=20))()  # code is loaded, and compiled code too
    run = SIDES[name](problem)
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free but kept would be filled unseen
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> float:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(key + ":"))
    return float(line.split()[1]) / 1024


def by_problem(n: int, repeats: int, peers: list[str]) -> dict[str, Any]:
    """Return times and memory of all sides for one size."""
    names = ["organoid", *peers]
    memories = {name: memory(name, Problem(n)) for name in names if installed(name)}
    return {**timed(Problem(n), names, repeats), "memory_mib": memories}


def by_rate(n: int, repeats: int) -> dict[str, Any]:
    return {str(hz): timed(Problem(n, mean=mean), ["organoid", "snntorch"], repeats) for hz, mean in MEANS.items()}


def by_width(n: int, repeats: int) -> dict[str, Any]:
    widths = (0.1, 0.2, 0.3, 1.0, 0.0)
    return {str(w): timed(Problem(n, width=w), ["organoid", "snntorch"], repeats) for w in widths}


def alone(n: int, hz: int, repeats: int) -> dict[str, Any]:
    """Return this library's time for a size and a rate, and what memory had to deliver."""
    problem = Problem(n, mean=MEANS[hz])
    row = timed(problem, ["organoid"], repeats)["organoid"]
    return {"n": n, "mean_rate": str(hz), **row, **traffic(problem)}


def measured(parts: list[str], sizes: list[int], repeats: int, peers: list[str], finished: Finished) -> dict[str, Any]:
    """Return the parts asked for."""
    result: dict[str, Any] = {"target": TARGET, "threads": torch.get_num_threads()}
    if "sizes" in parts:
        if "snntorch" in peers and installed("snntorch"):
            result["same_network_as_snntorch"] = finished.once("agreement", agreement)
        ways = {n: partial(by_problem, n, repeats, peers) for n in sizes}
        result["sizes"] = {n: finished.once(f"{n} units", way) for n, way in ways.items()}
    for part, measure in (("rates", by_rate), ("widths", by_width)):
        if part in parts:
            ways = {n: partial(measure, n, repeats) for n in sizes}
            result[part] = {n: finished.once(f"{n} units, {part}", way) for n, way in ways.items()}
    if "forced" in parts:
        result["forced"] = finished.once("forced", partial(kernels_forced.forced, repeats))
    if "curve" in parts:
        result["triad_gb_s"] = finished.once("triad", triads)
        cases = [(n, hz) for n in CURVE for hz in (1, 5, 50)]
        result["curve"] = [
            finished.once(f"curve, {n} units, {hz} Hz", partial(alone, n, hz, repeats)) for n, hz in cases
        ]
    return result


def show(result: dict[str, Any]) -> None:
    """Print times, ratios and memory; everything else is in the JSON."""
    for n, entry in result.get("sizes", {}).items():
        for name in ("organoid", "snntorch", "norse", "spikingjelly"):
            if isinstance(entry.get(name), dict):
                memory_mib, row = entry["memory_mib"][name], entry[name]
                print(
                    f"{n:5} units, {name:13} {row['rate_hz']:5.1f} Hz, {row['processor_s']:7.3f} s of processor, "
                    f"{row['wall_s']:7.3f} s, {row['ratio']:6.1f} times, {memory_mib:6.0f} MiB"
                )
            elif name in entry:
                print(f"{n:5} units, {name:13} {entry[name]}")
    for part in ("rates", "widths"):
        for n, entries in result.get(part, {}).items():
            for key, entry in entries.items():
                peer = entry["snntorch"]
                ratio = f"{peer['ratio']:.1f}" if isinstance(peer, dict) else peer
                print(f"{n:5} units, {part[:-1]} {key}: snnTorch {ratio} times, {entry['organoid']['rate_hz']:.1f} Hz")
    for row in result.get("curve", []):
        moved = row["rows_gb"] + row["streams_gb"]
        print(
            f"{row['n']:5} units, {row['rate_hz']:5.1f} Hz: {row['processor_s']:.3f} s of processor, "
            f"{moved:.2f} GB, {moved / row['processor_s']:.0f} GB/s"
        )
    if "forced" in result:
        kernels_forced.show(result["forced"])
    if "simulation" in result:
        simulation.show(result["simulation"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Forward and backward through a recurrent network.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--peers", nargs="*", default=["snntorch", "norse", "spikingjelly"])
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--simulation-peers", default=sys.executable, help="python of the simulation's peers")
    parser.add_argument("--keep", type=Path, help="keep finished pieces in this file, and go on from there")
    parser.add_argument("--one-memory", nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.one_memory:
        name, values = parsed.one_memory
        print(own_memory(name, Problem(**json.loads(values))))
        return
    torch.set_num_threads(parsed.threads)
    finished = Finished(parsed.keep)
    parts = PARTS if parsed.part == "all" else [parsed.part]
    result = measured(parts, parsed.sizes, parsed.repeats, parsed.peers, finished)
    if "simulation" in parts:
        result["simulation"] = simulation.run(parsed.simulation_peers, finished=finished)
    result["load"] = finished.loads()
    if parsed.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
