"""Every registered loss with every registered model on one real recording: held-out loss before and after training.

``python -m benchmarks.losses [--json] [--out TABLE.md]``: each cell is ``organoid.fit(rec, model=..., loss=...)`` with
one budget of gradient steps for all. Before is the untrained network; controls are independent spikes at the training
rates, silence, and the same network trained on the spikes of wrong units.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from organoid.models import MODELS

import organoid
from organoid.losses import LOSSES

RECORDING = Path(__file__).parents[2] / "shared/recordings/carmen/C57_CTX_G2CEPHYS3_TC21_DIV14_D.h5"
SECONDS = 90.0
BUDGET = {"n_steps": 40, "batch": 32, "window": 0.4, "warmup": 0.2, "learning_rate": 0.02, "bin_width": 0.004}


def cell(rec: organoid.SpikeRecording, model: str, loss: str, seed: int = 0, compare: bool = True) -> dict[str, Any]:
    """Train one model with one loss; return its held-out losses and those of the controls."""
    begin = time.perf_counter()
    fit: Any = organoid.fit(rec, model=model, loss=loss, seed=seed, free_run=False, compare=compare, **BUDGET)
    held_out = fit.held_out
    return {
        "model": model,
        "loss": loss,
        "before": float(fit.curve.held_out_loss.iloc[0]),
        "after": float(held_out["fitted"]),
        "constant_rate": float(held_out["constant_rate"]),
        "silent": float(held_out["silent"]),
        "shuffled": float(held_out["shuffled"]),
        "bits_per_spike": float(fit.scores["heldout_bits_per_spike"]),
        "seconds": time.perf_counter() - begin,
    }


def improved(found: dict[str, Any]) -> bool:
    """Tell whether training lowered the held-out loss, or there was nothing to lower."""
    return found["after"] < found["before"] or found["after"] == 0


def table(cells: list[dict[str, Any]]) -> str:
    """Return the cells as a table in Markdown: a row for each loss, before and after for each model."""
    models = list(dict.fromkeys(found["model"] for found in cells))
    losses = list(dict.fromkeys(found["loss"] for found in cells))
    at = {(found["loss"], found["model"]): found for found in cells}
    lines = [
        "| loss | " + " | ".join(models) + " | constant rate | silent |",
        "|---" * (len(models) + 3) + "|",
    ]
    for loss in losses:
        row = [at[loss, model] for model in models]
        parts = [_text(found) for found in row]
        lines.append(
            f"| {loss} | {' | '.join(parts)} | {_number(row[0]['constant_rate'])} | {_number(row[0]['silent'])} |"
        )
    return "\n".join(lines)


def _text(found: dict[str, Any]) -> str:
    text = f"{_number(found['before'])} to {_number(found['after'])}"
    if not math.isnan(found["shuffled"]):
        text += f" ({_number(found['shuffled'])})"
    return text if improved(found) else f"{text} **no better**"


def _number(value: float) -> str:
    return "inf" if math.isinf(value) else f"{value:.3g}"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Every loss with every model on one real recording.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table here as Markdown")
    parser.add_argument("--recording", type=Path, default=RECORDING)
    parser.add_argument("--models", nargs="+", default=sorted(MODELS), choices=sorted(MODELS))
    parser.add_argument("--losses", nargs="+", default=sorted(LOSSES), choices=sorted(LOSSES))
    parsed = parser.parse_args(arguments)
    if not parsed.recording.exists():
        parser.error(f"{parsed.recording} is not there; give a recording with --recording FILE")
    rec = organoid.read_recording(parsed.recording).culture()
    rec = rec.select(t_stop=rec.t_start + SECONDS)
    begin = time.perf_counter()
    cells = [cell(rec, model, loss) for loss in parsed.losses for model in parsed.models]
    results = {
        "recording": parsed.recording.name,
        "seconds_of_recording": SECONDS,
        "n_units": rec.n_units,
        "n_spikes": rec.n_spikes,
        "budget": BUDGET,
        "seconds": time.perf_counter() - begin,
        "n_cells": len(cells),
        "n_improved": sum(map(improved, cells)),
        "cells": cells,
    }
    if parsed.out is not None:
        parsed.out.write_text(table(cells) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1) if parsed.json else table(cells))
    return results


if __name__ == "__main__":
    main()
