"""Statistics beside their peers, in processor time: ``python -m benchmarks.statistics [--json] [--check]``.

100 units, 600 s, about 300,000 spikes with network bursts. Peers that are not installed are "not run", never a pass.
Victor-Purpura of elephant is timed on one pair of trains of 60 s and scaled by pairs and by the product of spike
numbers; its results, and the others', are compared with ours on the same input.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from organoid import SpikeRecording, statistics

GUARDS = {"sttc / spikedata": 2.0, "correlograms / SpikeInterface": 3.0, "Victor-Purpura / elephant": 1000.0}


def culture(n_units: int = 100, duration: float = 600.0, seed: int = 0) -> SpikeRecording:
    """Return bursting units on a Poisson background, at 20 kHz."""
    rng = np.random.default_rng(seed)
    times = [rng.uniform(0, duration, rng.poisson(2.5 * duration * n_units))]
    units = [rng.integers(0, n_units, times[0].size)]
    for onset in np.arange(4, duration - 4, 12.0):
        times.append(onset + rng.exponential(0.3, 30 * n_units))
        units.append(np.repeat(np.arange(n_units), 30))
    ticks = np.rint(np.concatenate(times) * 20_000)
    keep = ticks < duration * 20_000
    pairs = np.unique(np.column_stack([ticks[keep], np.concatenate(units)[keep]]).astype(np.int64), axis=0)
    return SpikeRecording(pairs[:, 0] / 20_000, pairs[:, 1], n_units=n_units, t_stop=duration, sampling_rate=20_000.0)


def cpu(work: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Return the least processor time of some calls, s, and what the last returned; one call before warms up."""
    result = work()
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        result = work()
        seconds.append(time.process_time() - begin)
    return min(seconds), result


def trains_of(rec: SpikeRecording) -> list[np.ndarray]:
    return [rec.spike_times[rec.spike_units == k] for k in range(rec.n_units)]


def sttc_peer(rec: SpikeRecording) -> tuple[float, float]:
    """Return the time of spikedata and the largest difference from ours; windows between ticks, so no ties."""
    from spikedata import SpikeData

    data = SpikeData([1000 * train for train in trains_of(rec)], length=1000 * rec.duration)
    seconds, theirs = cpu(lambda: data.spike_time_tilings(delt=50.025), 1)
    difference = np.abs(np.asarray(theirs, dtype=float) - statistics.sttc(rec, 0.050025))
    return seconds, float(np.nanmax(difference[~np.eye(rec.n_units, dtype=bool)]))


def correlogram_peer(rec: SpikeRecording) -> tuple[float, float]:
    """Return the time of SpikeInterface's compiled correlograms and the relative difference of all counts."""
    import spikeinterface.core as si
    from spikeinterface.postprocessing import compute_correlograms

    samples = rec.spike_ticks
    sorting = si.NumpySorting.from_samples_and_labels([samples], [rec.spike_units], sampling_frequency=20_000.0)
    work = lambda: compute_correlograms(sorting, window_ms=100.0, bin_ms=1.0, method="numba")  # noqa: E731
    seconds, (theirs, _) = cpu(work)
    _, ours = statistics.cross_correlograms(rec, 0.001, 0.05)
    return seconds, float(abs(theirs.sum() / ours.sum() - 1))


def victor_purpura_peer(rec: SpikeRecording) -> tuple[float, float]:
    """Return elephant's time for all pairs, scaled from one pair of 60 s, and its difference from ours on that pair."""
    import neo
    import quantities as pq
    from elephant.spike_train_dissimilarity import victor_purpura_distance

    short = rec.select(units=[0, 1], t_stop=60.0)
    pair = [neo.SpikeTrain(train * pq.s, t_stop=60.0 * pq.s) for train in trains_of(short)]
    begin = time.process_time()
    theirs = victor_purpura_distance(pair, 20.0 * pq.Hz)
    seconds = time.process_time() - begin
    counts = np.bincount(rec.spike_units, minlength=rec.n_units).astype(float)
    upper = np.triu_indices(rec.n_units, 1)
    work = np.outer(counts, counts)[upper].sum() / (len(pair[0]) * len(pair[1]))
    return seconds * work, float(abs(theirs[0, 1] - statistics.victor_purpura(short, 20.0)[0, 1]))


def run() -> list[dict[str, Any]]:
    """Return one row per job: our time, the peer's, their ratio, the guard, whether results agree."""
    rec = culture()
    jobs: list[tuple[str, Callable[[], Any], Callable[[SpikeRecording], tuple[float, float]], float]] = [
        ("sttc / spikedata", lambda: statistics.sttc(rec, 0.050025), sttc_peer, 1e-9),
        (
            "correlograms / SpikeInterface",
            lambda: statistics.cross_correlograms(rec, 0.001, 0.05),
            correlogram_peer,
            0.02,  # their bins begin at 0, ours are centred there
        ),
        ("Victor-Purpura / elephant", lambda: statistics.victor_purpura(rec, 20.0), victor_purpura_peer, 1e-6),
    ]
    rows = []
    for name, ours, peer, tolerance in jobs:
        row: dict[str, Any] = {"job": name, "ours_s": cpu(ours)[0], "guard": GUARDS[name]}
        try:
            theirs, difference = peer(rec)
        except ImportError as error:
            row["status"] = f"not run ({error.name} is not installed)"
        else:
            ratio = theirs / row["ours_s"]
            passed = ratio >= GUARDS[name] and difference <= tolerance
            row |= {
                "peer_s": theirs,
                "ratio": ratio,
                "difference": difference,
                "status": "passed" if passed else "failed",
            }
        rows.append(row)
    for name, work in (
        ("network bursts", lambda: statistics.network_bursts(rec)),
        ("unit bursts", lambda: statistics.bursts_max_interval(rec)),
        ("tables of a culture", lambda: statistics.analyze_culture(rec)),
    ):
        rows.append({"job": name, "ours_s": cpu(work)[0], "status": "no peer"})
    return [{**row, "n_spikes": rec.n_spikes} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a guard fails")
    asked = parser.parse_args()
    rows = run()
    if asked.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            ratio = f"{row['ratio']:8.1f} times (guard {row['guard']:g})" if "ratio" in row else ""
            print(f"{row['job']:32} {row['ours_s']:8.3f} s {ratio} {row['status']}")
    if asked.check and any(row["status"] == "failed" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
