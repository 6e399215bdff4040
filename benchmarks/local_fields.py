"""What fields of regions are worth on a large array: held-out score, correlation against distance, time, memory.

``python -m benchmarks.local_fields FILE [--units N]`` takes the N most active units of a recording with positions;
``--waves N`` makes up a culture of N units through which waves travel. Both fits, with and without regions, choose
their basis and prior inside the training part; each runs in a process of its own.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.synthetic_recordings import travelling_waves

import organoid
from organoid.fitting.data.history import bin_history
from organoid.fitting.free_run.calibration import choose_free_weights
from organoid.fitting.free_run.comparison import STTC_DT, compare, free_run, summarize_activity
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.prediction import assess
from organoid.fitting.teacher_forced.regions import find_regions, places
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.parallel import one_torch_thread, peak_rss_mb
from organoid.statistics import sttc

Array = NDArray[np.float64]

RUN, N_RUNS, N_BANDS = 600.0, 2, 6
WIDTH = 2600.0  # um, of the culture with waves


def measure(rec: organoid.SpikeRecording, local: bool, correct: bool) -> dict[str, Any]:
    """Fit with or without regions; hold predictions against the last 20 %, free runs against the recording."""
    history = bin_history(rec, BIN_WIDTH)
    training, began, cpu = history.training(), time.perf_counter(), time.process_time()
    with one_torch_thread():
        regions = find_regions(places(rec)) if local else None
        design = forced_design(training, np.random.default_rng(0), regions)
        forced = fit_forced(training, design)
        fitted = time.perf_counter() - began, time.process_time() - cpu
        coupled, alone = assess(history, [forced.parameters, forced.uncoupled])
        parameters, how = forced.parameters, "forced"
        if correct:
            part = rec.select(t_stop=rec.t_start + training.n_bins * BIN_WIDTH)
            weights = choose_free_weights(part, training, design, forced, seed=0)
            parameters, how = weights.parameters, weights.choice
    return {
        "local": local,
        "regions": 0 if regions is None else regions.n_regions,
        "chosen": forced.chosen,
        "bits": coupled.scores["bits_per_spike"],
        "bits_uncoupled": alone.scores["bits_per_spike"],
        "seconds": fitted[0],
        "cpu_s": fitted[1],
        "weights": how,
        **free_scores(SpikeResponseNetwork(parameters), rec),
        "all_cpu_s": time.process_time() - cpu,
        "peak_rss_mb": peak_rss_mb(),
    }


def free_scores(network: SpikeResponseNetwork, rec: organoid.SpikeRecording) -> dict[str, Any]:
    """Return medians over free runs: rates, agreement of STTC, and its course with distance beside the recorded one."""
    recorded, place = summarize_activity(rec), places(rec)
    rows, courses = [], []
    for seed in range(N_RUNS):
        simulated, stopped = free_run(network, RUN, seed)
        rows.append(compare(recorded, summarize_activity(simulated, recorded.thresholds)) | {"runaway": float(stopped)})
        courses.append(by_distance(sttc(simulated, STTC_DT), place))
    names = ("rate_ratio", "rate_correlation", "sttc_correlation", "runaway")
    course, simulated_course = by_distance(recorded.sttc, place), np.mean(courses, axis=0)
    return {
        **{name: float(np.median([row[name] for row in rows])) for name in names},
        "sttc_by_distance": np.round(course, 4).tolist(),
        "sttc_by_distance_free": np.round(simulated_course, 4).tolist(),
        "distance_error": float(np.sqrt(np.mean((course - simulated_course) ** 2))),
    }


def by_distance(matrix: Array, place: Array) -> Array:
    """Return the mean of pairs in bands of distance that hold equally many pairs."""
    a, b = np.triu_indices(len(place), 1)
    order = np.argsort(np.hypot(*(place[a] - place[b]).T), kind="stable")
    return np.array([np.nanmean(matrix[a[part], b[part]]) for part in np.array_split(order, N_BANDS)])


def most_active(path: Path, n_units: int | None) -> organoid.SpikeRecording:
    """Read one culture, or its most active units."""
    rec = organoid.read_recording(path).culture()
    if n_units is None:
        return rec
    order = np.argsort(-np.bincount(rec.spike_units, minlength=rec.n_units), kind="stable")
    return rec.select(units=np.sort(order[:n_units]))


def main() -> None:
    """Command line; one line of JSON a fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--units", type=int)
    parser.add_argument("--waves", type=int)
    parser.add_argument("--duration", type=float, default=600.0, help="of waves, s")
    parser.add_argument(
        "--forced-only", action="store_true", help="run the forced weights freely, without a correction"
    )
    given = parser.parse_args()
    made_up = given.waves is not None
    rec = travelling_waves(given.waves, given.duration, 0, WIDTH) if made_up else most_active(given.file, given.units)
    print(json.dumps({"n_units": rec.n_units, "n_spikes": rec.n_spikes, "duration_s": rec.duration}), flush=True)
    for local in (False, True):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # so that the peak of memory is its own
            print(json.dumps(pool.apply(measure, (rec, local, not given.forced_only)), default=float), flush=True)


if __name__ == "__main__":
    main()
