"""How well known couplings are found, against what a user would take instead.

``python -m benchmarks.recovery run [--seeds 0 1] [--durations 300 900] [--conditions ...] [--methods ...]`` adds
what is missing to ``recovery.jsonl`` (one line a condition, generator, seed, duration and method), so that a run
can be stopped and taken up again; ``python -m benchmarks.recovery table [--json]`` prints what is there.

Every method sees the same spikes: the first 80 % of each recording, in bins of 1 ms (nemos: 2 ms). ``shifted`` is
organoid on units shifted in time against each other, where every connection found is false.
nemos runs in an environment of its own, whose Python is named by ``--nemos-python``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recovery_matched import matched
from benchmarks.recovery_mismatched import mismatched
from benchmarks.recovery_peers import PEERS
from benchmarks.recovery_scores import cut, ranking
from benchmarks.recovery_wiring import CONDITIONS, Known
from organoid.fitting.connectivity.inference import infer_edges
from organoid.fitting.data.history import History

BIN_WIDTH = 1e-3  # s
TRAINING_PART = 0.8
SMALLEST_SHIFT = 10.0  # s
GENERATORS: dict[str, Callable[[str, float, int], Known]] = {"matched": matched, "mismatched": mismatched}
NEMOS = {
    "do": "recover",
    "bin_width": 2e-3,
    "window": 50,
    "n_basis": 4,
    "strengths": [1e-6, 1e-5, 1e-4],
    "maxiter": 60,
    "tol": 1e-5,
}
METHODS = ("organoid", "shifted", *PEERS, "nemos")
Key = tuple[str, str, int, float, str]


def counts_of(known: Known, bin_width: float) -> NDArray[np.int64]:
    """Return spike counts of the whole recording, shape (n_bins, n_units)."""
    n_bins = round(known.duration / bin_width)
    bins = np.minimum((known.times / bin_width).astype(np.int64), n_bins - 1)
    flat = np.bincount(bins * known.n_units + known.units, minlength=n_bins * known.n_units)
    return flat.astype(np.int64).reshape(n_bins, known.n_units)


def history_of(known: Known) -> History:
    """Return the part of the recording that a fit may see."""
    bins = (known.times / BIN_WIDTH).astype(np.int64)
    order = np.argsort(bins, kind="stable")
    n_bins = round(known.duration / BIN_WIDTH)
    whole = History(bins[order], known.units[order], n_bins, known.n_units, BIN_WIDTH, np.ones(n_bins, bool))
    return whole.training()


def shifted(known: Known, seed: int) -> Known:
    """Return the recording with every unit's train turned round by an own, large time."""
    rng = np.random.default_rng([seed, 3])
    room = known.duration - 2 * SMALLEST_SHIFT
    by = SMALLEST_SHIFT + room * (rng.permutation(known.n_units) + rng.uniform(size=known.n_units)) / known.n_units
    times = (known.times + by[known.units]) % known.duration
    return Known(times, known.units, known.n_units, known.duration, np.zeros_like(known.truth))


def with_organoid(known: Known, seed: int) -> dict[str, Any]:
    """Return scores and decisions of `infer_edges`."""
    edges = infer_edges(history_of(known), np.random.default_rng(seed))
    score, sign = np.zeros_like(known.truth), np.zeros(known.truth.shape, dtype=np.int64)
    score[edges["pre"], edges["post"]] = edges["z"]
    sign[edges["pre"], edges["post"]] = np.where(edges["q"] < 0.05, np.sign(edges["weight"]), 0)
    undecided = np.mean(edges["sign"][edges["q"] < 0.05] == 0) if (edges["q"] < 0.05).any() else 0.0
    return {**ranking(score, known.truth), **cut(sign, known.truth), "undecided": float(undecided)}


def with_nemos(known: Known, python: str) -> dict[str, Any]:
    """Return scores of nemos' kernel areas, from its own environment."""
    counts = counts_of(known, NEMOS["bin_width"]).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.npz", Path(folder) / "out.json"
        kept = round(TRAINING_PART * len(counts))
        np.savez(job, counts=counts[:kept], n_train=kept, settings=json.dumps(NEMOS))
        worker = Path(__file__).with_name("nemos_worker.py")
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir()) / "nemos_compiled")}
        command = [python, str(worker), str(job), str(out)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cache})
        result = json.loads(out.read_text())
    return {**ranking(np.array(result["area"]), known.truth), "strength": result["strength"], "cpu_s": result["cpu_s"]}


def run_one(known: Known, method: str, seed: int, nemos_python: str) -> dict[str, Any]:
    """Return the result of one method on one recording."""
    began = time.process_time()
    if method == "organoid":
        result = with_organoid(known, seed)
    elif method == "shifted":
        result = with_organoid(shifted(known, seed), seed)
    elif method == "nemos":
        result = with_nemos(known, nemos_python)
    else:
        counts = counts_of(known, BIN_WIDTH)[: round(TRAINING_PART * known.duration / BIN_WIDTH)]
        result = ranking(PEERS[method](counts), known.truth)
    return {"cpu_s": time.process_time() - began, **result}


def read_lines(path: Path) -> dict[Key, dict[str, Any]]:
    """Return what has been run already."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(r["generator"], r["condition"], r["seed"], r["duration"], r["method"]): r for r in rows}


def missing(parsed: argparse.Namespace, done: dict[Key, Any]) -> Iterator[tuple[Any, list[str]]]:
    """Yield recordings and the methods that have not seen them."""
    for duration, seed, generator, condition in product(
        parsed.durations, parsed.seeds, parsed.generators, parsed.conditions
    ):
        left = [m for m in parsed.methods if (generator, condition, seed, duration, m) not in done]
        if left:
            yield (generator, condition, seed, duration), left


def run(parsed: argparse.Namespace) -> None:
    """Run what is missing, and write each result as soon as it is there."""
    done = read_lines(parsed.out)
    for (generator, condition, seed, duration), methods in missing(parsed, done):
        known = GENERATORS[generator](condition, duration, seed)
        for method in methods:
            result = run_one(known, method, seed, parsed.nemos_python)
            row = {"generator": generator, "condition": condition, "seed": seed, "duration": duration, "method": method}
            text = json.dumps({**row, **result})
            with parsed.out.open("a") as out:
                out.write(text + "\n")
            print(text, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line."""
    from benchmarks.recovery_table import show

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--durations", type=float, nargs="+", default=[300.0, 900.0, 1800.0])
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS), choices=list(GENERATORS))
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), choices=CONDITIONS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("recovery.jsonl"))
    parser.add_argument("--nemos-python", default="python")
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(arguments)
    if parsed.what == "run":
        run(parsed)
    show(list(read_lines(parsed.out).values()), as_json=parsed.json)


if __name__ == "__main__":
    main()
