"""Three ways to get a free-running network out of a recording, held against the same bars.

``python -m benchmarks.free_methods FILE... [--ways forced moments gradient]``: one forced fit a file, then the forced
weights as they are, all weights after the moment stage, all weights after training by gradient; no gate, nothing
taken back. One line of JSON a file and way. Figures and their reading: docs/free-run.md.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters

import organoid
from benchmarks.free_run import measure
from organoid.fitting.data.history import bin_history
from organoid.fitting.free_run.bptt import fit_free_by_gradient
from organoid.fitting.free_run.moments import ALL, fit_free
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.prediction import bits_per_spike
from organoid.parallel import one_torch_thread

WAYS = ("forced", "moments", "gradient")


def compare_ways(path: Path, ways: list[str], seed: int = 0) -> list[dict[str, Any]]:
    """Return scores, bars met and seconds of every way."""
    rec = organoid.read_recording(path).culture()
    history = bin_history(rec, BIN_WIDTH)
    training = history.training()
    with one_torch_thread():
        design = forced_design(training, np.random.default_rng(seed))
        forced = fit_forced(training, design)
        bits, _ = bits_per_spike(history, forced.parameters)
        make: dict[str, Callable[[], SpikeResponseParameters]] = {
            "forced": lambda: forced.parameters,
            "moments": lambda: fit_free(training, design, forced, ALL, seed=seed).parameters,
            "gradient": lambda: fit_free_by_gradient(training, design, forced, seed=seed).parameters,
        }
        out = []
        for way in ways:
            began, cpu = time.perf_counter(), time.process_time()
            parameters = make[way]()
            spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
            row = {"file": path.name, "way": way, **spent, **measure(SpikeResponseNetwork(parameters), rec, bits, seed)}
            print(json.dumps(row, default=float), flush=True)
            out.append(row)
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    given = parser.parse_args()
    for path in given.files:
        compare_ways(path, given.ways)


if __name__ == "__main__":
    main()
