"""Make ``bursting_culture.h5``, a synthetic bursting culture, and its true connectivity.

The culture is a network of Izhikevich neurons with conductance synapses that depress (Tsodyks and Markram), wired by
distance under an 8x8 electrode grid of which only some electrodes lie near a neuron. It is independent data: this file
imports nothing from the package and shares no code with its models.

    python sample_data/make_sample_data.py [--out DIR]

The same spikes should come out everywhere: the inner loop uses only + - * / and comparisons (no libm call, threads or
fast math), its random numbers are integers, and everything drawn at the start is rounded before it is used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from simulated_culture import (
    COLUMNS,
    EXCITATORY,
    INHIBITORY,
    SAMPLING_RATE_HZ,
    STEP_MS,
    Culture,
    Network,
    Units,
    grow,
    record,
    run,
)


def network_bursts(counts: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the first and the past-the-end bin of each network burst; ``counts`` is (bins of 1 ms, units).

    The population count, averaged over 100 ms, stays above m + 0.005 and somewhere reaches 4 m + 0.02 spikes per ms
    (m: its mean over the recording).
    """
    population = counts.sum(axis=1).astype(np.float64)
    mean = population.mean()
    smooth = np.convolve(population, np.ones(100), mode="same") / 100
    edges = np.diff(np.concatenate([[0], (smooth > mean + 0.005).astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    high = np.array([smooth[i:j].max() >= 4 * mean + 0.02 for i, j in zip(starts, stops, strict=True)], dtype=bool)
    return starts[high], stops[high]


def describe(p: Culture, units: Units) -> dict[str, float]:
    """Compute the statistics quoted in the README."""
    n_bins = round(p.duration_s * 1000)
    bins = [train * 1000 // SAMPLING_RATE_HZ for train in units.trains]
    counts = np.stack([np.bincount(b, minlength=n_bins) for b in bins], axis=1)
    binary = counts > 0
    starts, stops = network_bursts(binary)
    inside = np.zeros(n_bins, dtype=bool)
    for i, j in zip(starts, stops, strict=True):
        inside[i:j] = True
    rates_Hz = counts.sum(axis=0) / p.duration_s
    intervals_s = np.diff(starts) / 1000
    merged = np.array([len(m) > 1 for m in units.members])
    return {
        "units": len(bins),
        "merged units": int(merged.sum()),
        "spikes": int(counts.sum()),
        "mean rate, Hz": rates_Hz.mean(),
        "median rate, Hz": np.median(rates_Hz),
        "lowest rate, Hz": rates_Hz.min(),
        "highest rate, Hz": rates_Hz.max(),
        "SD of ln(rate)": np.log(rates_Hz).std(),
        "rate between bursts, Hz": counts[~inside].sum() / (~inside).sum() * 1000 / len(bins),
        "network bursts per minute": 60 * len(starts) / p.duration_s,
        "mean burst duration, s": (stops - starts).mean() / 1000,
        "5 % of bursts shorter than, s": np.quantile(stops - starts, 0.05) / 1000,
        "5 % of bursts longer than, s": np.quantile(stops - starts, 0.95) / 1000,
        "mean inter-burst interval, s": intervals_s.mean(),
        "CV of inter-burst intervals": intervals_s.std() / intervals_s.mean(),
        "fraction of spikes in bursts": binary[inside].sum() / binary.sum(),
        "bins of 2+ spikes, merged units": (counts[:, merged] > 1).sum() / binary[:, merged].sum(),
        "bins of 2+ spikes, other units": (counts[:, ~merged] > 1).sum() / binary[:, ~merged].sum(),
    }


def _strings(values: list[str]) -> NDArray[np.bytes_]:
    return np.array([value.encode() for value in values], dtype=bytes)


def recording_datasets(p: Culture, units: Units) -> dict[str, NDArray[Any]]:
    """Lay the recording out as CARMEN files are."""
    return {
        "spikes": np.concatenate(units.trains) / SAMPLING_RATE_HZ,
        "sCount": np.array([train.size for train in units.trains], dtype="<i4"),
        "epos": units.places_um.T,
        "names": _strings(units.names),
        "array": _strings(["MCS_8x8_200um"]),
        "recordingtime": np.array([0.0, p.duration_s]),
        "meta/species": _strings(["synthetic"]),
        "meta/region": _strings(["none (simulated network)"]),
        "meta/cond": _strings(["spontaneous"]),
        "meta/key": _strings([f"make_sample_data.py, seed {p.seed}"]),
    }


def truth_datasets(p: Culture, net: Network, units: Units) -> dict[str, NDArray[Any]]:
    """Lay out the true connectivity of the recorded units (neurons of one electrode merged) and of all neurons.

    Matrices are pre x post. The delay of merged synapses is that of the strongest one.
    """
    signed_nS = np.where(net.inhibitory[:, None], -net.weight_nS, net.weight_nS)
    n_units = len(units.members)
    weights_nS, delays_s = np.zeros((n_units, n_units)), np.full((n_units, n_units), np.nan)
    for i, pre in enumerate(units.members):
        for j, post in enumerate(units.members):
            block = np.ix_(pre, post)
            weights_nS[i, j] = np.round(signed_nS[block].sum(), 3)
            if net.weight_nS[block].any():
                delays_s[i, j] = net.delay[block].flat[net.weight_nS[block].argmax()] * STEP_MS / 1e3
    kind = np.where(net.inhibitory, "inhibitory", "excitatory")
    kinds = [str(kind[m[0]]) if len(set(kind[m])) == 1 else "mixed" for m in units.members]
    unit_of_neuron = np.full(p.n_neurons, -1, dtype="<i4")
    for i, m in enumerate(units.members):
        unit_of_neuron[m] = i
    pre_index, post_index = np.nonzero(net.weight_nS)
    parameters = asdict(p) | {"cell_parameters": COLUMNS, "excitatory": EXCITATORY, "inhibitory": INHIBITORY}
    return {
        "units/name": _strings(units.names),
        "units/type": _strings(kinds),
        "units/n_neurons": np.array([len(m) for m in units.members], dtype="<i4"),
        "units/neurons": np.array([[*m, -1][:2] for m in units.members], dtype="<i4"),
        "units/weight_nS": weights_nS,
        "units/delay_s": delays_s,
        "neurons/position_um": net.positions_um,
        "neurons/type": _strings(kind.tolist()),
        "neurons/unit": unit_of_neuron,
        "synapses/pre": pre_index.astype("<i4"),
        "synapses/post": post_index.astype("<i4"),
        "synapses/weight_nS": np.round(signed_nS[pre_index, post_index], 3),
        "synapses/delay_s": net.delay[pre_index, post_index] * STEP_MS / 1e3,
        "n_hidden_neurons": np.array([(unit_of_neuron < 0).sum()], dtype="<i4"),
        "parameters": _strings([json.dumps(parameters)]),
    }


def write(path: Path, datasets: dict[str, NDArray[Any]]) -> dict[str, str]:
    """Write the datasets (through a temporary name); returns the SHA-256 of the bytes of each."""
    partial = path.with_name(path.name + ".part")
    with h5py.File(partial, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)
    os.replace(partial, path)
    return {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in datasets.items()}


def make(out: Path) -> tuple[dict[str, dict[str, str]], dict[str, float]]:
    """Simulate the culture and write both files to ``out``; returns the hashes of their datasets and the statistics."""
    p = Culture()
    rng = np.random.Generator(np.random.PCG64(p.seed))
    net = grow(p, rng)
    units = record(p, net, *run(p, rng, net))
    files = {
        "bursting_culture.h5": recording_datasets(p, units),
        "bursting_culture_truth.h5": truth_datasets(p, net, units),
    }
    return {name: write(out / name, datasets) for name, datasets in files.items()}, describe(p, units)


def main() -> None:
    """Write both files and ``hashes.json``, and print what the culture is like."""
    parser = argparse.ArgumentParser(description="Make the synthetic bursting culture and its true connectivity.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: beside this script)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    hashes, statistics = make(out)
    (out / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    for name, value in statistics.items():
        print(f"{name:34s} {value:.4g}" if isinstance(value, float) else f"{name:34s} {value}")
    print(f"written to {out} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
