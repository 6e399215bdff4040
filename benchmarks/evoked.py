"""Evoked responses of fitted networks, against those of the simulated culture they were fitted to.

    python -m benchmarks.evoked [--json] [--duration 900]
    python -m benchmarks.evoked TABLE ...  (sites, left-out, stability and others: benchmarks.evoked_recordings)

A preset culture gets single pulses on six electrodes, at random times. A network is fitted to spikes and pulses of one
recording, another to the spikes alone; both are corrected in free run, needed or not. All are then given a
schedule of pulses that no fit saw.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import organoid
from benchmarks import evoked_recordings
from organoid import SpikeRecording
from organoid.culture import Recruitment, StimulationCalibration, simulate
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.free_run.comparison import free_run_scores, summarise, summarize_activity
from organoid.fitting.free_run.moments import fit_free
from organoid.fitting.free_run.recorded_stimuli import with_recorded_pulses
from organoid.fitting.free_run.settings import ALL
from organoid.fitting.methods.likelihood import BIN_WIDTH
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced
from organoid.fitting.teacher_forced.prediction import bits_per_spike
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.stimulation import Pulse

Array = NDArray[np.float64]
ELECTRODES = (9, 13, 27, 36, 50, 54)
AMPLITUDE, WIDTH = 2e-6, 200e-6  # A, s
WINDOWS = {"0-20 ms": (0.0, 0.020), "20-100 ms": (0.020, 0.100), "100-500 ms": (0.100, 0.500)}
TEST_DURATION = 1800.0  # s
# How pulses reach the culture, which no fit knows: further than the defaults that a network without a fitted response
# uses, and hidden neurons are hit, too.
TRUTH: dict[str, Any] = {
    "recruitment": Recruitment(spread=1e-11),
    "calibration": StimulationCalibration(1.0, 0.2, "calibrated", 40),
}


def schedule(duration: float, seed: int) -> list[tuple[float, Pulse]]:
    """Return pulses in random order of electrodes, 1 s and an exponential second apart."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(1.0 + rng.exponential(1.0, int(duration)))
    times = times[times < duration - 1.0]
    where = rng.choice(ELECTRODES, times.size)
    return [(float(t), Pulse.biphasic(int(e), AMPLITUDE, WIDTH)) for t, e in zip(times, where)]


def evoked(rec: SpikeRecording) -> dict[str, Array]:
    """Return spikes a pulse in each window, less those expected of the mean rate, shape (electrode, unit)."""
    found: dict[str, Array] = {}
    onsets = rec.stimuli["time_s"].to_numpy(dtype=float)
    electrodes = rec.stimuli["electrode"].to_numpy(dtype=int)
    rate = np.bincount(rec.spike_units, minlength=rec.n_units) / rec.duration
    order = np.argsort(rec.spike_units, kind="stable")
    per_unit = np.split(rec.spike_times[order], np.cumsum(np.bincount(rec.spike_units, minlength=rec.n_units))[:-1])
    for name, (a, b) in WINDOWS.items():
        counts = np.stack([np.searchsorted(t, onsets + b) - np.searchsorted(t, onsets + a) for t in per_unit], axis=1)
        found[name] = np.stack([counts[electrodes == e].mean(0) for e in ELECTRODES]) - rate * (b - a)
    return found


def compare(found: dict[str, Array], truth: dict[str, Array]) -> dict[str, dict[str, float]]:
    """Return correlation over electrodes and units, site specificity and gain of every window."""

    def one(a: Array, b: Array) -> dict[str, float]:
        site_a, site_b = (x - x.mean(0) - x.mean(1, keepdims=True) + x.mean() for x in (a, b))
        return {
            "r": float(np.corrcoef(a.ravel(), b.ravel())[0, 1]),
            "site_r": float(np.corrcoef(site_a.ravel(), site_b.ravel())[0, 1]),
            "gain": float(a.sum() / b.sum()),
            "explained": float(1.0 - ((a - b) ** 2).sum() / (b**2).sum()),
        }

    return {name: one(found[name], truth[name]) for name in WINDOWS}


def bare(rec: SpikeRecording) -> SpikeRecording:
    """Return the spikes without the pulses."""
    return SpikeRecording(
        rec.spike_times,
        rec.spike_units,
        n_units=rec.n_units,
        t_start=rec.t_start,
        t_stop=rec.t_stop,
        sampling_rate=rec.sampling_rate,
        units=rec.units,
        electrodes=rec.electrodes,
    )


def run(preset: str, duration: float) -> dict[str, Any]:
    """Fit with and without pulses, and compare what unseen pulses evoke."""
    culture = organoid.preset(preset)
    rec = simulate(culture, duration, stimuli=schedule(duration, 1), seed=1, **TRUTH)
    unseen = schedule(TEST_DURATION, 2)
    truth, again = (evoked(simulate(culture, TEST_DURATION, stimuli=unseen, seed=seed, **TRUTH)) for seed in (2, 3))
    found: dict[str, Any] = {"pulses": len(rec.stimuli), "culture, other seed": compare(again, truth)}
    for name, seen in (("spikes alone", bare(rec)), ("spikes and pulses", rec)):
        history = bin_history(seen, BIN_WIDTH)
        training = history.training()
        began = time.process_time()
        design = forced_design(training, np.random.default_rng(0))
        forced = fit_forced(training, design)
        score = bits_per_spike(history, forced.parameters, forced.stimulus)[0]
        found[name] = {"heldout_bits_per_spike": score, "chosen": forced.chosen, "cpu_s": time.process_time() - began}
        corrected = fit_free(training, design, forced, ALL)
        for weights, parameters in (("forced", forced.parameters), ("corrected", corrected.parameters)):
            network = SpikeResponseNetwork(parameters, forced.stimulus)
            twin = _Twin(network, culture.units, culture.electrodes)
            responses = compare(evoked(simulate(twin, TEST_DURATION, stimuli=unseen, seed=4)), truth)
            found[name][weights] = {**responses, "free_run": alone(network, history, seen)}
    return found


def alone(network: SpikeResponseNetwork, history: History, rec: SpikeRecording) -> dict[str, Any]:
    """Return how the network lives when it gets the recorded pulses."""
    runs = free_run_scores(with_recorded_pulses(network, history), summarize_activity(rec), n_runs=3, duration=300.0)
    summary = summarise(runs)
    return {key: summary[key] for key in ("rate_ratio", "burst_rate_ratio", "sttc_correlation")}


class _Twin:
    """A network with its places, as a fit has them."""

    def __init__(self, network: SpikeResponseNetwork, units: pd.DataFrame, electrodes: pd.DataFrame) -> None:
        self.network, self.units, self.electrodes = network, units, electrodes


def main() -> None:
    """Run and print."""
    if sys.argv[1:2] and sys.argv[1] in evoked_recordings.TABLES:
        evoked_recordings.main(sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--duration", type=float, default=900.0)
    parser.add_argument("--preset", action="append")
    options = parser.parse_args()
    presets = options.preset or ["bursting_culture", "asynchronous_culture"]
    found = {preset: run(preset, options.duration) for preset in presets}
    print(json.dumps(found, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
