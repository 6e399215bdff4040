"""Held-out score and time of the forced fit by what units are coupled through.

    python -m benchmarks.bases [--json] [FILE ...]

Every basis is fitted in the default way: fields, priors and kinds of units are chosen inside the training part.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import organoid
from organoid.fitting.data.history import bin_history
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.prediction import bits_per_spike
from organoid.parallel import one_torch_thread, peak_rss_mb

RECORDINGS = Path(__file__).resolve().parent.parent.parent / "shared" / "recordings" / "carmen"
FILES = ("C57_CTX_G2CEPHYS3_TC21_DIV21_D.h5", "hiPSN_tc146_d21_spikes6sd.h5")
BASES: dict[str, tuple[str, tuple[float, ...]]] = {
    "traces": ("traces", ()),
    "cosines": ("cosines", ()),
    "traces, delays 5 and 15 ms": ("traces", (0.005, 0.015)),
}


def measure(path: Path, name: str) -> dict[str, Any]:
    """Fit one recording with one basis."""
    basis, delays = BASES[name]
    history = bin_history(organoid.read_recording(path).culture(), BIN_WIDTH)
    training = history.training()
    began, wall = time.process_time(), time.perf_counter()
    design = forced_design(training, np.random.default_rng(0), None, basis, delays)
    designed = time.process_time() - began
    with one_torch_thread():
        forced = fit_forced(training, design)
    found = {
        "columns": int(design.scale.size),
        "cpu_s": time.process_time() - began,
        "of_it_features_s": designed,
        "wall_s": time.perf_counter() - wall,
        "chosen": forced.chosen,
        "heldout_bits_per_spike": bits_per_spike(history, forced.parameters)[0],
        "peak_rss_mb": peak_rss_mb(),
    }
    return {"file": path.name, "basis": name, **found}


def main() -> None:
    """Run and print, one line a fit; compile first, on the shorter file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = options.files or [RECORDINGS / name for name in FILES]
    measure(files[-1], "traces, delays 5 and 15 ms")
    for path in files:
        for name in BASES:
            found = measure(path, name)
            print(json.dumps(found) if options.json else found, flush=True)


if __name__ == "__main__":
    main()
