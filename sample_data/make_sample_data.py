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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numba
import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE_HZ = 25_000
SAMPLES_PER_STEP = 2
STEP_MS = 1e3 * SAMPLES_PER_STEP / SAMPLING_RATE_HZ


@dataclass(frozen=True)
class Culture:
    """Every number of the simulated culture; units are in the names."""

    seed: int = 20
    duration_s: float = 300.0
    warm_up_s: float = 10.0
    n_neurons: int = 300
    inhibitory_fraction: float = 0.3
    field_start_um: float = 200.0
    field_width_um: float = 1400.0
    electrode_pitch_um: float = 200.0
    detection_radius_um: float = 60.0
    merge_radius_um: float = 34.0
    detector_dead_time_ms: float = 0.2
    connection_peak: float = 0.35
    connection_length_um: float = 400.0
    synaptic_delay_ms: float = 0.8
    conduction_speed_um_per_ms: float = 300.0
    weight_exc_nS: float = 12.0
    weight_inh_nS: float = 14.0
    weight_log_sd: float = 1.0
    release_exc: float = 0.24
    release_inh: float = 0.11
    tau_recovery_exc_ms: float = 900.0
    tau_recovery_inh_ms: float = 400.0
    tau_ampa_ms: float = 3.0
    tau_nmda_ms: float = 80.0
    nmda_fraction: float = 0.075
    nmda_blocked_mV: float = -65.0
    nmda_unblocked_mV: float = -30.0
    tau_gaba_ms: float = 8.0
    reversal_exc_mV: float = 0.0
    reversal_inh_mV: float = -70.0
    background_rate_Hz: float = 120.0
    background_weight_nS: float = 1.12
    background_log_sd: float = 0.65
    refractory_ms: float = 2.0
    tau_ahp_ms: float = 1000.0
    ahp_per_spike_nS: float = 0.14


# C v' = k (v - vr)(v - vt) - u + I,  u' = a (b (v - vr) - u);  at v >= peak: v = c, u += d  (mV, ms, pF, pA, nS)
COLUMNS = ("C", "k", "vr", "vt", "peak", "a", "b", "c", "d")
EXCITATORY = (100.0, 0.7, -60.0, -40.0, 35.0, 0.03, -2.0, -50.0, 30.0)
INHIBITORY = (60.0, 1.0, -56.0, -42.0, 25.0, 0.1, 2.0, -52.0, 40.0)


@dataclass(frozen=True)
class Network:
    """Positions (n, 2) in um, who is inhibitory, peak conductances (pre, post) in nS, delays (pre, post) in steps."""

    positions_um: NDArray[np.float64]
    inhibitory: NDArray[np.bool_]
    weight_nS: NDArray[np.float64]
    delay: NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What the electrodes see: names, places (N, 2) in um, the neurons of each, threshold crossings in samples."""

    names: list[str]
    places_um: NDArray[np.float64]
    members: list[list[int]]
    trains: list[NDArray[np.int64]]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw nearly normal deviates (sum of twelve uniforms), rounded so that no last bit can differ."""
    return np.round(rng.random((12, *shape)).sum(axis=0) - 6.0, 6)


def grow(p: Culture, rng: np.random.Generator) -> Network:
    """Scatter the neurons uniformly and wire them.

    P(connection) = connection_peak * exp(-distance / connection_length_um); weights are log-normal.
    """
    positions_um = np.round(p.field_start_um + p.field_width_um * rng.random((p.n_neurons, 2)), 1)
    inhibitory = np.zeros(p.n_neurons, dtype=bool)
    inhibitory[np.argsort(rng.random(p.n_neurons))[: round(p.inhibitory_fraction * p.n_neurons)]] = True
    offsets_um = positions_um[:, None, :] - positions_um[None, :, :]
    distance_um = np.sqrt((offsets_um**2).sum(axis=2))
    connected = rng.random(distance_um.shape) < p.connection_peak * np.exp(-distance_um / p.connection_length_um)
    np.fill_diagonal(connected, False)
    mean_nS = np.where(inhibitory, p.weight_inh_nS, p.weight_exc_nS)[:, None]
    spread = np.exp(p.weight_log_sd * _normal(rng, distance_um.shape) - p.weight_log_sd**2 / 2)
    weight_nS = np.where(connected, np.maximum(np.round(mean_nS * spread, 3), 0.001), 0.0)
    delay_ms = p.synaptic_delay_ms + distance_um / p.conduction_speed_um_per_ms
    delay = np.where(connected, np.ceil(np.round(delay_ms / STEP_MS, 3)), 0).astype(np.int64)
    return Network(positions_um, inhibitory, weight_nS, delay)


@numba.njit
def _simulate(
    n_steps, seed, cells, inhibitory, drive_nS, drive_chance, synapses, decay, recovery, release, constants, pulses
):
    """Integrate the network (forward Euler); returns the sample number and the neuron of each spike.

    ``synapses`` holds first, target, weight_nS and delay (steps); those of neuron j are rows ``first[j]:first[j + 1]``.
    A spike releases ``release * x``; x, the vesicles left, falls by as much and recovers to 1 with tau_recovery.
    ``decay`` and ``recovery`` are step / tau; the NMDA block is lifted in proportion to the depolarisation.
    ``pulses`` holds steps (in order), neurons and nS: conductance that a stimulus opens at once.
    """
    n = cells.shape[1]
    C, k, vr, vt, peak, a, b, c, d = cells
    first, target, weight_nS, delay = synapses
    nmda_fraction, reversal_exc_mV, reversal_inh_mV, refractory_ms, ahp_nS, blocked_mV, unblocked_mV = constants
    step_per_C, step_a = STEP_MS * (1.0 / C), STEP_MS * a
    v, u, wait_ms, vesicles = vr.copy(), np.zeros(n), np.zeros(n), np.ones(n)
    ampa, nmda, gaba, ahp = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    n_slots = delay.max() + 1
    arriving_nS = np.zeros((2, n_slots, n))
    samples, neurons = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    random = np.uint64(seed) * np.uint64(2654435769) + np.uint64(88172645463325252)
    pulse_step, pulse_neuron, pulse_nS = pulses
    next_pulse = 0
    for step in range(n_steps):
        slot = step % n_slots
        while next_pulse < pulse_step.size and pulse_step[next_pulse] == step:
            ampa[pulse_neuron[next_pulse]] += pulse_nS[next_pulse]
            next_pulse += 1
        for i in range(n):
            random ^= random << np.uint64(13)
            random ^= random >> np.uint64(7)
            random ^= random << np.uint64(17)
            kind = 1 if inhibitory[i] else 0
            ampa[i] += arriving_nS[0, slot, i] - decay[0] * ampa[i]
            nmda[i] += nmda_fraction * arriving_nS[0, slot, i] - decay[1] * nmda[i]
            gaba[i] += arriving_nS[1, slot, i] - decay[2] * gaba[i]
            ahp[i] -= decay[3] * ahp[i]
            vesicles[i] += recovery[kind] * (1.0 - vesicles[i])
            arriving_nS[0, slot, i] = 0.0
            arriving_nS[1, slot, i] = 0.0
            if (random >> np.uint64(32)) < drive_chance:
                ampa[i] += drive_nS[i]
            if wait_ms[i] > 0.0:
                wait_ms[i] -= STEP_MS
                continue
            before = v[i]
            unblocked = min(max((before - blocked_mV) / (unblocked_mV - blocked_mV), 0.0), 1.0)
            excitation_pA = (ampa[i] + unblocked * nmda[i]) * (reversal_exc_mV - before)
            inhibition_pA = (gaba[i] + ahp[i]) * (reversal_inh_mV - before)
            membrane_pA = k[i] * (before - vr[i]) * (before - vt[i]) - u[i]
            v[i] += step_per_C[i] * (membrane_pA + excitation_pA + inhibition_pA)
            u[i] += step_a[i] * (b[i] * (before - vr[i]) - u[i])
            if v[i] < peak[i]:
                continue
            in_second_half = v[i] - peak[i] < peak[i] - before
            samples.append(SAMPLES_PER_STEP * step + (1 if in_second_half else 0))
            neurons.append(i)
            v[i], wait_ms[i] = c[i], refractory_ms
            u[i] += d[i]
            ahp[i] += ahp_nS
            released = release[kind] * vesicles[i]
            vesicles[i] -= released
            for s in range(first[i], first[i + 1]):
                arriving_nS[kind, (step + delay[s]) % n_slots, target[s]] += released * weight_nS[s]
    return np.array(samples), np.array(neurons)


NO_PULSES = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))


def run(
    p: Culture, rng: np.random.Generator, net: Network, pulses: tuple[Any, Any, Any] = NO_PULSES
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Simulate; returns the spikes of all neurons after the warm-up as sample numbers from 0 and neuron indices.

    ``pulses`` are steps after the warm-up, neurons, and conductances in nS.
    """
    warm_up_steps = round(p.warm_up_s * SAMPLING_RATE_HZ / SAMPLES_PER_STEP)
    pre, post = np.nonzero(net.weight_nS)
    first = np.searchsorted(pre, np.arange(p.n_neurons + 1))
    cells = np.where(net.inhibitory, np.array(INHIBITORY)[:, None], np.array(EXCITATORY)[:, None])
    drive_nS = np.round(p.background_weight_nS * np.exp(p.background_log_sd * _normal(rng, (p.n_neurons,))), 4)
    samples, neurons = _simulate(
        round((p.warm_up_s + p.duration_s) * SAMPLING_RATE_HZ / SAMPLES_PER_STEP),
        p.seed,
        cells,
        net.inhibitory,
        drive_nS,
        np.uint64(round(p.background_rate_Hz * STEP_MS * 1e-3 * 2**32)),
        (first, post, net.weight_nS[pre, post], net.delay[pre, post]),
        STEP_MS / np.array([p.tau_ampa_ms, p.tau_nmda_ms, p.tau_gaba_ms, p.tau_ahp_ms]),
        STEP_MS / np.array([p.tau_recovery_exc_ms, p.tau_recovery_inh_ms]),
        np.array([p.release_exc, p.release_inh]),
        (
            p.nmda_fraction,
            p.reversal_exc_mV,
            p.reversal_inh_mV,
            p.refractory_ms,
            p.ahp_per_spike_nS,
            p.nmda_blocked_mV,
            p.nmda_unblocked_mV,
        ),
        (pulses[0] + warm_up_steps, pulses[1], pulses[2]),
    )
    samples -= round(p.warm_up_s * SAMPLING_RATE_HZ)
    return samples[samples >= 0], neurons[samples >= 0]


def record(p: Culture, net: Network, samples: NDArray[np.int64], neurons: NDArray[np.int64]) -> Units:
    """Place the electrodes and collect their threshold crossings.

    An electrode sees its nearest neuron within detection_radius_um and, merged with it, a second one within
    merge_radius_um. A crossing within the detector's dead time after the one before is lost. Silent ones are left out.
    """
    names, places_um, members, trains = [], [], [], []
    radii_um = (p.detection_radius_um, p.merge_radius_um)
    for column, row in ((i, j) for i in range(1, 9) for j in range(1, 9) if not (i in (1, 8) and j in (1, 8))):
        place_um = np.array([column, 9 - row]) * p.electrode_pitch_um
        distance_um = np.sqrt(((net.positions_um - place_um) ** 2).sum(axis=1))
        near = np.argsort(distance_um, kind="stable")[:2]
        seen = [int(i) for i, radius_um in zip(near, radii_um, strict=True) if distance_um[i] < radius_um]
        train = _after_dead_time(np.sort(samples[np.isin(neurons, seen)]), p.detector_dead_time_ms)
        if train.size:
            names.append(f"ch_{column}{row}")
            places_um.append(place_um)
            members.append(seen)
            trains.append(train)
    return Units(names, np.array(places_um), members, trains)


def _after_dead_time(train: NDArray[np.int64], dead_time_ms: float) -> NDArray[np.int64]:
    """Keep the crossings (samples, sorted) that a detector with a dead time reports."""
    kept: list[int] = []
    for sample in train.tolist():
        if not kept or sample - kept[-1] >= dead_time_ms * 1e-3 * SAMPLING_RATE_HZ:
            kept.append(sample)
    return np.array(kept, dtype=np.int64)


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
