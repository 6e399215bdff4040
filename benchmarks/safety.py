"""The forced fit on every recording there is: finite, converged, and never worse than no coupling.

    python -m benchmarks.safety [FILE ...] [--json]

Without files: all readable recordings under ``../shared/recordings``, every well by itself, where a culture has
5 units and 1,000 spikes or more. Scores are held-out bits/spike on the last 20 %; nothing is tuned by file.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import organoid
from organoid.errors import OrganoidError
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.methods.likelihood import BIN_WIDTH, check_enough
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED
from organoid.fitting.teacher_forced.design import Design, assemble, forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.model_selection import BASES, constant_rates
from organoid.fitting.teacher_forced.prediction import assess, bits_per_spike
from organoid.fitting.teacher_forced.regions import find_regions, places
from organoid.fitting.teacher_forced.solver import solve
from organoid.io.info import file_info
from organoid.parallel import one_torch_thread, peak_rss_mb
from organoid.recording import SpikeRecording

RECORDINGS = Path(__file__).parents[1] / ".." / "shared" / "recordings"
MIN_UNITS, MIN_SPIKES = 5, 1000
TOLERANCE = 0.01  # bits/spike
COLUMNS = {
    "culture": "culture",
    "n_units": "units",
    "n_spikes": "spikes",
    "coupled": "coupled",
    "uncoupled": "uncoupled",
    "plain": "plain",
    "slope": "slope",
    "ratio": "exp/obs",
    "converged": "conv.",
    "seconds": "s",
    "chosen": "chosen",
}


def cultures(files: list[Path]) -> Iterator[tuple[str, SpikeRecording]]:
    """Yield the cultures of files that are large enough, by name."""
    for file in files:
        try:
            entries = file_info(file)["entries"]
        except OrganoidError:
            continue
        for entry in entries:
            if entry["n_units"] < MIN_UNITS or entry["n_spikes"] < MIN_SPIKES:
                continue
            options = {key: entry[key] for key in ("well", "recording") if entry.get(key) is not None}
            name = " ".join([file.name.split(".")[0], *map(str, options.values())])
            yield name, organoid.read_recording(file, **options)


def measure(name: str, rec: SpikeRecording) -> dict[str, Any]:
    """Fit one culture on its first 80 % and score it on the rest."""
    history = bin_history(rec, BIN_WIDTH)
    check_enough(rec, history)
    training = history.training()
    began = time.perf_counter()
    with one_torch_thread():
        design = forced_design(training, np.random.default_rng(0), find_regions(places(rec)))
        fit = fit_forced(training, design)
        seconds = time.perf_counter() - began
        coupled, alone = assess(history, [fit.parameters, fit.uncoupled])
        plain = plain_score(history, training, design)
    row = {
        "culture": name,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "coupled": coupled.scores["bits_per_spike"],
        "uncoupled": alone.scores["bits_per_spike"],
        "plain": plain,
        "slope": coupled.scores["calibration_slope"],
        "ratio": coupled.scores["expected_ratio"],
        "converged": fit.converged,
        "seconds": seconds,
        "chosen": fit.chosen,
        "peak_rss_mb": peak_rss_mb(),
    }
    return row | {"safe": is_safe(row)}


def plain_score(history: History, training: History, design: Design) -> float:
    """Return the score of what most people would fit: four traces of every unit, one prior, no choice, no fallback."""
    if design.n_units > MAX_COUPLED:
        return float("nan")
    theta = constant_rates(design, design.sample)
    theta[design.columns(BASES[0])] = solve(design.problem(design.sample, BASES[0])).theta.numpy()
    return bits_per_spike(history, assemble(training, design, theta))[0]


def is_safe(row: dict[str, Any]) -> bool | None:
    """Whether a fit is finite, and neither worse than the uncoupled model nor than constant rates (within 0.01).

    None where the last 20 % hold no spikes, so that no score is defined.
    """
    if np.isinf(row["ratio"]) or np.isnan(row["ratio"]):
        return None
    floor = max(row["uncoupled"], 0.0) - TOLERANCE if np.isfinite(row["uncoupled"]) else -TOLERANCE
    return bool(np.isfinite(row["coupled"]) and row["coupled"] >= floor)


def show(row: dict[str, Any]) -> None:
    """Print one line of the table."""
    cells = [f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS]
    verdict = {True: "", False: " NOT SAFE", None: " no spikes in the last 20 %"}[row["safe"]]
    print("| " + " | ".join(cells) + " |" + verdict, flush=True)


def main() -> None:
    """Measure all cultures, or those of the files given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--max-units", type=int, default=10**9, help="leave larger cultures out, saying so")
    options = parser.parse_args()
    files = options.files or sorted(path for path in RECORDINGS.rglob("*") if path.is_file())
    rows = []
    if not options.json:
        print("| " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * len(COLUMNS))
    for name, rec in cultures(files):
        if rec.n_units > options.max_units:
            print(f"left out: {name} ({rec.n_units} units)")
            continue
        try:
            rows.append(measure(name, rec))
        except OrganoidError as error:
            print(f"refused: {name}: {error}")
            continue
        if not options.json:
            show(rows[-1])
    safe, judged = (sum(row["safe"] in kinds for row in rows) for kinds in ((True,), (True, False)))
    if options.json:
        print(json.dumps({"cultures": rows, "safe": safe, "of": judged}))
    else:
        print(f"\n{safe} of {judged} at or above the uncoupled model - {TOLERANCE} and above -{TOLERANCE}")


if __name__ == "__main__":
    main()
