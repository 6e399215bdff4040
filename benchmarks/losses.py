"""Every registered loss with every registered model on one real recording: held-out loss before and after training.

``python -m benchmarks.losses [--json] [--cells CELLS.json]``: each cell is ``organoid.fit(rec, model=..., loss=...)``
with one budget of gradient steps for all. Before is the network with nothing trained but biases set to the recorded
rates; controls are independent spikes at the training rates, and silence. ``--cells`` keeps finished cells in a file,
so that a run can be stopped and go on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import organoid
from organoid.fitting.methods.gradient import GradientSettings, fit_gradient
from organoid.losses import LOSSES
from organoid.models import MODELS

RECORDING = Path(__file__).parents[2] / "shared/recordings/carmen/C57_CTX_G2CEPHYS3_TC21_DIV14_D.h5"
SECONDS = 60.0
BUDGET: dict[str, Any] = {
    "n_steps": 25,
    "batch": 24,
    "window": 0.3,
    "warmup": 0.1,
    "learning_rate": 0.02,
    "bin_width": 0.004,
}

Cell = dict[str, Any]


def cell(rec: organoid.SpikeRecording, model: str, loss: str) -> Cell:
    """Train one model with one loss; return its held-out losses and those of the controls."""
    begin = time.perf_counter()
    fit: Any = _fit(rec, model, loss)
    return {
        "model": model,
        "loss": loss,
        "before": float(fit.curve.held_out_loss.iloc[0]),
        "after": float(fit.held_out["fitted"]),
        "constant_rate": float(fit.held_out["constant_rate"]),
        "silent": _finite(fit.held_out["silent"]),
        "bits_per_spike": float(fit.scores["heldout_bits_per_spike"]),
        "seconds": time.perf_counter() - begin,
    }


def _fit(rec: organoid.SpikeRecording, model: str, loss: str) -> Any:
    if (model, loss) != ("escape_lif", "likelihood"):
        return organoid.fit(rec, model=model, loss=loss, free_run=False, **BUDGET)
    # By these names `fit` takes the convex way, which has a benchmark of its own; here it is trained like the others.
    options = dict(BUDGET)
    bin_width = options.pop("bin_width")
    settings = GradientSettings(**options, free_run=False)
    return fit_gradient(rec, model=model, loss=loss, bin_width=bin_width, settings=settings)


def _finite(value: float) -> float | None:
    """Return None for infinity, which JSON does not know: the likelihood of silence where there are spikes."""
    return float(value) if math.isfinite(value) else None


def improved(found: Cell) -> bool:
    """Tell whether training lowered the held-out loss."""
    return bool(found["after"] < found["before"])


def table(cells: list[Cell]) -> str:
    """Return the cells as a table in Markdown: a row for each loss, before and after for each model."""
    models = list(dict.fromkeys(found["model"] for found in cells))
    at = {(found["loss"], found["model"]): found for found in cells}
    lines = [f"| loss | {' | '.join(models)} | constant rate | silent |", "|---" * (len(models) + 3) + "|"]
    for loss in dict.fromkeys(found["loss"] for found in cells):
        row = [at.get((loss, model)) for model in models]
        known = next(found for found in row if found is not None)
        controls = [_number(known[name]) for name in ("constant_rate", "silent")]
        lines.append(f"| {loss} | {' | '.join([*map(_text, row), *controls])} |")
    return "\n".join(lines)


def _text(found: Cell | None) -> str:
    if found is None:
        return "not run"
    text = f"{_number(found['before'])} to {_number(found['after'])}"
    return text if improved(found) else f"{text} (no better)"


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.3g}"


def measured(rec: organoid.SpikeRecording, models: list[str], losses: list[str], keep: Path | None) -> list[Cell]:
    """Return all cells, those already in the file taken from there."""
    cells: list[Cell] = json.loads(keep.read_text()) if keep is not None and keep.exists() else []
    done = {(found["model"], found["loss"]): found for found in cells}
    for model in models:
        for loss in losses:
            if (model, loss) not in done:
                done[model, loss] = cell(rec, model, loss)
                if keep is not None:
                    keep.write_text(json.dumps(list(done.values()), indent=1))
    return [done[model, loss] for loss in losses for model in models]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Every loss with every model on one real recording.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cells", type=Path, help="keep finished cells in this file, and go on from there")
    parser.add_argument("--recording", type=Path, default=RECORDING)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=list(LOSSES))
    parsed = parser.parse_args(arguments)
    if not parsed.recording.exists():
        parser.error(f"{parsed.recording} is not there; give a recording with --recording FILE")
    rec = organoid.read_recording(parsed.recording).culture()
    rec = rec.select(t_stop=rec.t_start + SECONDS)
    cells = measured(rec, parsed.models, parsed.losses, parsed.cells)
    results = {
        "recording": parsed.recording.name,
        "seconds_of_recording": SECONDS,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "budget": BUDGET,
        "seconds": sum(found["seconds"] for found in cells),
        "n_cells": len(cells),
        "n_improved": sum(map(improved, cells)),
        "n_below_constant_rate": sum(found["after"] < found["constant_rate"] for found in cells),
        "cells": cells,
    }
    print(json.dumps(results, indent=1) if parsed.json else table(cells))
    return results


if __name__ == "__main__":
    main()
