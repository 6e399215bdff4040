"""The simulated culture behind the sample data: Izhikevich neurons, depressing synapses, electrodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
