"""Make the small data sets of the tutorials: a stimulated recording, a plate of wells over ages, a raw-voltage snippet.

All come from the simulated neurons of `make_sample_data.py`; nothing of the package is used.

    python sample_data/make_teaching_data.py [--out DIR]
"""

from __future__ import annotations

import argparse
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from make_sample_data import recording_datasets, write
from numpy.typing import NDArray
from simulated_culture import SAMPLES_PER_STEP, SAMPLING_RATE_HZ, Culture, Network, Units, grow, record, run

# The stimulated recording: the network of the sample culture, five more minutes, a pulse every 3 to 4 s.
STIMULATED = replace(Culture(), seed=20)
SITES = ("ch_33", "ch_36", "ch_63")  # electrodes pulses are given on, in turn
PULSE_REACH_UM = 180.0  # a pulse opens conductance in neurons within this distance, less the further away
PULSE_NS = 60.0
# The plate: cultures of 60 neurons in 8 wells, recorded at three ages; synapses grow with age.
AGES_DAYS = (7, 14, 21)
GROWTH = {7: 0.75, 14: 1.0, 21: 1.15}  # of all synaptic weights
WELLS = tuple(f"{row}{column}" for row in "AB" for column in (1, 2, 3, 4))  # row A untreated, row B treated
TREATED = 0.8  # of excitatory weights in row B
PLATE = replace(Culture(), duration_s=90.0, warm_up_s=5.0, n_neurons=150, field_width_um=700.0, weight_exc_nS=22.0)
# The voltage snippet: 8 electrodes, 6 s at 12.5 kHz.
VOLTAGE_RATE_HZ, VOLTAGE_S, N_CHANNELS = 12_500, 6.0, 8
NOISE_UV, UV_PER_COUNT = 6.0, 1.0


def pulse_program(p: Culture, net: Network, units: Units) -> tuple[NDArray[Any], list[int], tuple[Any, Any, Any]]:
    """Return times (s), sites, and what each pulse opens: step, neuron, conductance (nS)."""
    rng = np.random.Generator(np.random.PCG64(7))
    times_s = np.round(np.cumsum(3.0 + rng.random(200)), 4)
    times_s = times_s[times_s < p.duration_s - 2]
    sites = [i % len(SITES) for i in range(len(times_s))]
    places = [units.places_um[units.names.index(name)] for name in SITES]
    rows: list[tuple[int, int, float]] = []
    for time_s, site in zip(times_s, sites, strict=True):
        distance_um = np.sqrt(((net.positions_um - places[site]) ** 2).sum(axis=1))
        step = round(time_s * SAMPLING_RATE_HZ / SAMPLES_PER_STEP)
        for neuron in np.flatnonzero(distance_um < PULSE_REACH_UM).tolist():
            rows.append((step, neuron, round(PULSE_NS * (1 - distance_um[neuron] / PULSE_REACH_UM), 3)))
    steps, neurons, strengths = (np.array(column) for column in zip(*rows, strict=True))
    return times_s, sites, (steps, neurons, strengths)


def make_stimulated(out: Path) -> None:
    """Write the recording in CARMEN layout, and its pulses as a table of their own, as labs keep them."""
    p = STIMULATED
    rng = np.random.Generator(np.random.PCG64(p.seed))
    net = grow(p, rng)
    state = rng.bit_generator.state
    spontaneous = record(p, net, *run(p, rng, net))
    times_s, sites, pulses = pulse_program(p, net, spontaneous)
    rng.bit_generator.state = state  # the same background strengths
    units = record(p, net, *run(replace(p, seed=21), rng, net, pulses))
    datasets = recording_datasets(p, units) | {"meta/cond": np.array([b"stimulated"])}
    write(out / "stimulated_culture.h5", datasets)
    lines = ["time_s,channel,duration_s,amplitude,amplitude_unit"]
    lines += [f"{time_s:.4f},{SITES[site]},0.0004,2e-06,A" for time_s, site in zip(times_s, sites, strict=True)]
    (out / "stimulated_culture_pulses.csv").write_text("\n".join(lines) + "\n")


def make_plate(out: Path) -> None:
    """Write one compressed spike list an age, and the table of groups."""
    groups = ["file,well,group,culture,age"]
    for age in AGES_DAYS:
        spikes: list[tuple[int, str]] = []
        for number, well in enumerate(WELLS):
            factor = GROWTH[age] * (TREATED if well[0] == "B" else 1.0)
            p = replace(PLATE, seed=100 + 10 * number, weight_exc_nS=PLATE.weight_exc_nS * factor)
            rng = np.random.Generator(np.random.PCG64(p.seed))
            net = grow(p, rng)
            units = record(p, net, *run(p, rng, net))
            for name, train in zip(units.names, units.trains, strict=True):
                spikes += [(int(sample), f"{well}_{name[3:]}") for sample in train]
            groups.append(f"plate_day{age:02}.csv.gz,{well},{'treated' if well[0] == 'B' else 'control'},{well},{age}")
        spikes.sort()
        lines = ["Time (s),Electrode,Amplitude(mV)"]
        lines += [f"{sample / SAMPLING_RATE_HZ:.5f},{electrode},0.02" for sample, electrode in spikes]
        with open(out / f"plate_day{age:02}.csv.gz", "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
            packed.write(("\n".join(lines) + "\n").encode())
    (out / "plate_groups.csv").write_text("\n".join(groups) + "\n")


def make_voltage(out: Path) -> None:
    """Write voltage in the layout of an NWB ElectricalSeries, and the true spike times beside it."""
    p = replace(Culture(), duration_s=VOLTAGE_S)
    rng = np.random.Generator(np.random.PCG64(p.seed))
    net = grow(p, rng)
    units = record(p, net, *run(p, rng, net))
    busiest = np.argsort([-train.size for train in units.trains], kind="stable")[:N_CHANNELS]
    noise = np.random.Generator(np.random.PCG64(3))
    n = round(VOLTAGE_S * VOLTAGE_RATE_HZ)
    voltage_uv = NOISE_UV * noise.standard_normal((n, N_CHANNELS))
    t_ms = np.arange(-5, 20) / VOLTAGE_RATE_HZ * 1e3
    shape = -np.exp(-((t_ms / 0.15) ** 2)) + 0.35 * np.exp(-(((t_ms - 0.5) / 0.3) ** 2))
    truth: dict[str, NDArray[Any]] = {}
    for channel, unit in enumerate(busiest):
        at = np.rint(units.trains[unit] / SAMPLING_RATE_HZ * VOLTAGE_RATE_HZ).astype(int)
        at = at[(at >= 5) & (at < n - 20)]
        for sample in at:
            voltage_uv[sample - 5 : sample + 20, channel] += (45.0 + 5.0 * channel) * shape
        truth[f"true_spike_times/{units.names[unit]}"] = at / VOLTAGE_RATE_HZ
    with h5py.File(out / "voltage_snippet.nwb", "w") as file:
        file.attrs["nwb_version"], file.attrs["neurodata_type"], file.attrs["namespace"] = "2.7.0", "NWBFile", "core"
        series = file.create_group("acquisition/ElectricalSeries")
        series.attrs["neurodata_type"], series.attrs["namespace"] = "ElectricalSeries", "core"
        counts = np.rint(voltage_uv / UV_PER_COUNT).astype("<i2")
        data = series.create_dataset("data", data=counts, compression="gzip", compression_opts=9, shuffle=True)
        data.attrs["conversion"], data.attrs["unit"], data.attrs["offset"] = UV_PER_COUNT * 1e-6, "volts", 0.0
        series.create_dataset("starting_time", data=0.0).attrs["rate"] = float(VOLTAGE_RATE_HZ)
        for name, values in truth.items():
            file.create_dataset(name, data=values)


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description="Make the small data sets of the tutorials.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: beside this script)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    make_stimulated(out)
    make_plate(out)
    make_voltage(out)


if __name__ == "__main__":
    main()
