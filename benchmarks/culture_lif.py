"""The culture LIF network in free run, as the default fit tries it for simulation.

    python -m benchmarks.culture_lif [FILE ...] [--units N] [--keep DIR] [--runs N] [--store]

Every recording (its N most active units) is fitted on the first 80 %; the network runs freely five times 600 s, and
medians are compared with the whole recording. With ``--keep DIR`` results are kept there and found again; ``--store``
keeps the table for the documentation.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import organoid
from benchmarks.free_run import RECORDINGS
from benchmarks.results import store
from organoid.errors import FitError
from organoid.fitting.culture_lif.candidate import fit_candidate
from organoid.fitting.culture_lif.prediction import assess_culture
from organoid.fitting.data.history import bin_history
from organoid.fitting.free_run.comparison import evaluate_free_runs, free_run_scores, summarize_activity
from organoid.fitting.free_run.recorded_range import recorded_brake
from organoid.fitting.methods.likelihood import training_part
from organoid.models.culture_lif.network import CultureLIFNetwork
from organoid.parallel import one_torch_thread

FILES = ("C57_CTX_G2CEPHYS3_TC21_DIV14_D.h5", "C57_CTX_G2CEPHYS3_TC21_DIV17_D.h5", "C57_CTX_G2CEPHYS3_TC21_DIV21_D.h5")
SHOWN = {
    "rate": "rate_ratio",
    "rate r": "rate_correlation",
    "bursts": "burst_rate_ratio",
    "duration": "burst_duration_ratio",
    "IBI CV": "ibi_cv_ratio",
    "ISI CV": "isi_cv_ratio",
    "STTC r": "sttc_correlation",
    "spatial error": "spatial_error",
    "temporal error": "temporal_error",
}
NOTES = (
    "Fitted on the first 80 %; medians of five free runs of 600 s, simulated / recorded; in brackets the second half "
    "of the recording against the first.",
    "Loss: of held-out bits/spike by the correction in free run. CPU s: fit and choice of weights, on a machine shared "
    "with other work, compilation included.",
)


def examine(path: Path, n_units: int | None, n_runs: int) -> dict[str, Any]:
    """Fit and score one recording."""
    rec = organoid.read_recording(path).culture()
    if n_units is not None and n_units < rec.n_units:
        counts = np.bincount(rec.spike_units, minlength=rec.n_units)
        rec = rec.select(units=np.sort(np.argsort(-counts)[:n_units]))
    history = bin_history(rec, 0.001)
    training, began = history.training(), time.process_time()
    with one_torch_thread():
        found = fit_candidate(training_part(rec, training), training, seed=0)
    if found is None:
        raise FitError(f"{path.name}: too many units for a culture LIF network; give --units")
    cpu = time.process_time() - began
    bits = [each.scores["bits_per_spike"] for each in assess_culture(history, [found.forced, found.weights.parameters])]
    network = CultureLIFNetwork(found.weights.parameters._replace(brake=recorded_brake(training)))
    out = {
        "name": path.stem,
        "units": rec.n_units,
        "choice": found.weights.choice,
        "bits": bits,
        "loss": 1 - bits[1] / bits[0],
        "cpu": cpu,
        "scores": evaluate_free_runs(network, rec, seed=0),
    }
    if n_runs:
        runs = free_run_scores(network, summarize_activity(rec), seed=10_000, n_runs=n_runs)
        out["stability"] = [float(value) for value in runs["rate_ratio"].quantile([0.0, 0.5, 1.0])]
    return out


def row(found: dict[str, Any]) -> dict[str, Any]:
    """Return a recording's outcome for the table."""
    scores = found["scores"]

    def beside(name: str) -> str:
        value, half = scores.get(name), scores.get(f"{name}_split_half")
        texts = ["-" if one is None else f"{one:.3f}" for one in (value, half)]
        return f"{texts[0]} ({texts[1]})"

    return {
        "recording": found["name"],
        "units": found["units"],
        "weights": found["choice"],
        "forced, bits/spike": found["bits"][0],
        "loss": f"{100 * found['loss']:.1f} %",
        **{shown: beside(name) for shown, name in SHOWN.items()},
        "rate, lowest and highest further run": None if "stability" not in found else found["stability"][::2],
        "CPU s": round(found["cpu"]),
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description="Culture LIF networks in free run.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--units", type=int, help="only so many, the most active ones")
    parser.add_argument("--runs", type=int, default=0, help="further free runs, for the highest rate of any")
    parser.add_argument("--keep", type=Path, help="folder for results; found again on the next run")
    parser.add_argument("--store", action="store_true", help="keep the table in benchmarks/results/")
    parsed = parser.parse_args(arguments)
    results = []
    for path in parsed.files or [RECORDINGS / name for name in FILES]:
        kept = None if parsed.keep is None else parsed.keep / f"culture_{path.stem}_{parsed.units or 0}.json"
        if kept is not None and kept.is_file():
            found = json.loads(kept.read_text())
        else:
            found = examine(path, parsed.units, parsed.runs)
            if kept is not None:
                kept.write_text(json.dumps(found))
        results.append(row(found))
        print(results[-1], flush=True)
    if parsed.store:
        command = "python -m benchmarks.culture_lif FILE... --store"
        store("culture_lif", results, title="Culture LIF networks in free run", command=command, notes=NOTES)
    return results


if __name__ == "__main__":
    main()
