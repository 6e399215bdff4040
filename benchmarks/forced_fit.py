"""How soon the forced fit reaches held-out scores, against nemos on the same bins and the same split.

``python -m benchmarks.forced_fit --nemos-python PYTHON [--json]``: the DIV 21 recording of the CARMEN files in
``../shared/recordings`` (or ``--recording``), bins of 1 ms, first 80 % for training, last 20 % for scores; the
score is the one of `organoid.fitting.teacher_forced.prediction.bits_per_spike` for both. Each side runs in a process
of its own; ``--do own usual tune best`` names the pieces to run, and results add up in the file ``--out``. nemos runs
twice:

- *usual*: PopulationGLM, log-spaced raised cosines, ridge, LBFGS, features as they come; 200 iterations;
- *best*: the same with standardised features, regulariser chosen on the last fifth of the training part, and as many
  iterations as ``--budget`` allows.

Times of nemos leave out its compilation and all scoring; ours leave out compilation too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RECORDING = Path(__file__).parents[2] / "shared/recordings/carmen/C57_CTX_G2CEPHYS3_TC21_DIV21_D.h5"
BIN_WIDTH = 1e-3  # s
USUAL = {
    "do": "curve",
    "window": 100,
    "n_basis": 5,
    "strength": 1e-5,
    "solver": "LBFGS",
    "standardise": False,
    "tol": 1e-12,
    "maxiter": 200,
    "marks": [1, 5, 10, 25, 50, 100, 150],
}
BEST = {**USUAL, "standardise": True, "maxiter": 2000, "marks": [1, 5, 10, 25, 50, *range(100, 2000, 50)]}
STRENGTHS = (1e-6, 1e-5, 1e-4)
TUNING_ITERATIONS = 30
PIECES = ("own", "usual", "tune", "best")


def counts_and_split(path: Path) -> tuple[np.ndarray, int]:
    """Return spike counts a bin and the number of training bins."""
    import organoid
    from organoid.fitting.data.history import bin_history

    rec = organoid.read_recording(path)
    history = bin_history(rec, BIN_WIDTH)
    return history.counts(0, history.n_bins).astype(np.uint8), history.n_train


def run_nemos(python: str, counts: np.ndarray, n_train: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one job in nemos' own environment."""
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.npz", Path(folder) / "out.json"
        np.savez(job, counts=counts, n_train=n_train, settings=json.dumps(settings))
        worker = Path(__file__).with_name("nemos_worker.py")
        subprocess.run([python, str(worker), str(job), str(out)], check=True, stdout=sys.stderr)
        result: dict[str, Any] = json.loads(out.read_text())
    return result


def tuned_strength(python: str, counts: np.ndarray, n_train: int, budget: float) -> tuple[float, dict[str, float]]:
    """Choose nemos' regulariser on the last fifth of the training part."""
    scores = {}
    for strength in STRENGTHS:
        settings = {**BEST, "strength": strength, "maxiter": TUNING_ITERATIONS, "marks": [], "budget_s": budget}
        scores[strength] = run_nemos(python, counts[:n_train], int(0.8 * n_train), settings)["points"][-1][3]
    return max(scores, key=lambda s: scores[s]), {f"{s:g}": v for s, v in scores.items()}


def plain_model() -> dict[str, float]:
    """Fit couplings alone (no fields, no choices) once the code is compiled; return seconds and score."""
    import torch

    from organoid import read_recording
    from organoid.fitting.data.history import bin_history
    from organoid.fitting.teacher_forced.estimate import Candidate, assemble, make_design
    from organoid.fitting.teacher_forced.prediction import bits_per_spike
    from organoid.fitting.teacher_forced.solver import solve

    history = bin_history(read_recording(_recording()), BIN_WIDTH)
    training = history.training()

    def fit() -> Any:
        design = make_design(training, np.random.default_rng(0), field_taus=())
        plain = Candidate("plain", 300.0, "none")
        solution = solve(design.problem(design.sample, plain))
        theta = np.zeros((design.scale.size, design.n_units))
        theta[design.columns(plain)] = solution.theta.numpy()
        return assemble(training, design, theta), solution

    fit()
    began, cpu = time.perf_counter(), time.process_time()
    parameters, solution = fit()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_s": cpu,
        "score": bits_per_spike(history, parameters)[0],
        "gradient_norm": solution.gradient_norm,
        "threads": torch.get_num_threads(),
        "peak_rss_mb": _peak(),
    }


def full_model() -> dict[str, float]:
    """Fit as `organoid.fit(free_run=False)` does: fields, saturation, choices, edges, scores; once warm."""
    import organoid

    rec = organoid.read_recording(_recording())
    organoid.fit(rec.select(t_stop=rec.t_start + 60.0), free_run=False)  # compiles
    began, cpu = time.perf_counter(), time.process_time()
    result = organoid.fit(rec, free_run=False)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "score": float(result.scores["heldout_bits_per_spike"]),
        "peak_rss_mb": _peak(),
    }


def edges_alone() -> dict[str, float]:
    """Estimate connections of the training part, once warm."""
    import organoid
    from organoid.fitting.connectivity.inference import infer_edges
    from organoid.fitting.data.history import bin_history

    training = bin_history(organoid.read_recording(_recording()), BIN_WIDTH).training()
    infer_edges(training, np.random.default_rng(0))
    began, cpu = time.perf_counter(), time.process_time()
    infer_edges(training, np.random.default_rng(0))
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "peak_rss_mb": _peak(),
    }


PARTS = {"plain": plain_model, "full": full_model, "edges": edges_alone}


def _recording() -> Path:
    return Path(os.environ.get("FORCED_FIT_RECORDING", RECORDING))


def _peak() -> float:
    from organoid.parallel import peak_rss_mb

    return peak_rss_mb()


def run_part(name: str) -> dict[str, float]:
    """Run one of our sides in a fresh process, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.forced_fit", "--part", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_to(points: list[list[float]], level: float, clock: int) -> float | None:
    """Return when a curve first reaches a score (None: never). `clock` 1: seconds, 2: CPU seconds."""
    return next((p[clock] for p in points if p[3] >= level), None)


def compare(own: dict[str, Any], nemos: dict[str, Any]) -> dict[str, Any]:
    """Return how many times sooner we are at nemos' score levels."""
    found: dict[str, Any] = {}
    for name, run in nemos.items():
        last = run["points"][-1]
        first = next((m for m in ("plain", "full") if own[m]["score"] >= last[3]), None)
        found[name] = {"nemos_score": last[3], "iterations": last[0], "reached_by": first}
        for clock, key in ((1, "seconds"), (2, "cpu_s")):
            found[name][f"nemos_{key}"] = last[clock]
            found[name][f"times_sooner_{key}"] = last[clock] / own[first][key] if first else None
    return found


def measure(parsed: argparse.Namespace) -> dict[str, Any]:
    """Run the pieces asked for, and add them to what the file holds."""
    results: dict[str, Any] = json.loads(parsed.out.read_text()) if parsed.out.exists() else {}
    results["recording"] = _recording().name
    nemos = results.setdefault("nemos", {})
    for piece in parsed.do:
        if piece == "own":  # before anything large is read here: a child starts with its parent's peak memory
            results["own"] = {name: run_part(name) for name in PARTS}
        elif parsed.nemos_python is None:
            print(f"nemos, {piece}: not run; name its Python with --nemos-python", file=sys.stderr)
        elif piece == "usual":
            counts, n_train = counts_and_split(_recording())
            nemos["usual"] = run_nemos(parsed.nemos_python, counts, n_train, {**USUAL, "budget_s": parsed.budget})
        elif piece == "tune":
            counts, n_train = counts_and_split(_recording())
            strength, validation = tuned_strength(parsed.nemos_python, counts, n_train, parsed.budget)
            results["tuned"] = {"strength": strength, "validation": validation}
        else:
            counts, n_train = counts_and_split(_recording())
            settings = {**BEST, "strength": results["tuned"]["strength"], "budget_s": parsed.budget}
            nemos["best"] = run_nemos(parsed.nemos_python, counts, n_train, settings)
        parsed.out.write_text(json.dumps(results))
    if "own" in results:
        results["comparison"] = compare(results["own"], nemos)
    return results


def show(results: dict[str, Any]) -> None:
    """Print what was measured, what nemos does better included."""
    for name, part in results.get("own", {}).items():
        score = f", {part['score']:.3f} bits/spike" if "score" in part else ""
        times = f"{part['seconds']:6.1f} s ({part['cpu_s']:.1f} CPU-s)"
        print(f"organoid {name:6} {times}{score}, {part['peak_rss_mb']:.0f} MB")
    for name, run in results["nemos"].items():
        for steps, seconds, cpu, score in run["points"]:
            print(f"nemos {name:6} {steps:5d} iterations {seconds:7.1f} s ({cpu:.1f} CPU-s), {score:.3f} bits/spike")
        print(f"nemos {name:6} peak {run['peak_rss_mb']:.0f} MB")
    for name, entry in results.get("comparison", {}).items():
        print(name, json.dumps(entry))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--nemos-python")
    parser.add_argument("--budget", type=float, default=600.0, help="longest fit of nemos, s")
    parser.add_argument("--do", nargs="+", default=list(PIECES), choices=PIECES)
    parser.add_argument("--out", type=Path, default=Path("forced_fit.json"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.part:
        print(json.dumps(PARTS[parsed.part]()))
        return
    if parsed.recording:
        os.environ["FORCED_FIT_RECORDING"] = str(parsed.recording)
    results = measure(parsed)
    if parsed.json:
        print(json.dumps(results, indent=1))
    else:
        show(results)


if __name__ == "__main__":
    main()
