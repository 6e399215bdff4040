"""How long readers take, against reading the same datasets with h5py and one stable sort of the times.

``python -m benchmarks.readers [--json]``: 800,000 spikes of 60 units in several layouts, written to a
temporary folder; both ways are measured in turn, in one run, and compared by their medians. The
bound is 1.5 times.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np

import organoid

N_SPIKES, N_UNITS, DURATION, RATE = 800_000, 60, 1800.0, 25000.0
BOUND = 1.5
Plain = Callable[[h5py.File], np.ndarray]


def trains(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return sample numbers, unit after unit, and the spikes of each unit."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(N_SPIKES, np.full(N_UNITS, 1 / N_UNITS))
    samples = [np.sort(rng.integers(0, int(DURATION * RATE), count)) for count in counts]
    return np.concatenate(samples), counts


def write_carmen(path: Path, compression: str | None = None) -> None:
    samples, counts = trains()
    with h5py.File(path, "w") as h5:
        h5.create_dataset("spikes", data=samples / RATE, compression=compression)
        h5["sCount"] = counts.astype("i4")
        h5["epos"] = np.arange(2 * N_UNITS, dtype=float).reshape(2, -1) * 200
        h5["names"] = np.array([f"ch_{k}".encode() for k in range(N_UNITS)])
        h5["array"], h5["recordingtime"] = np.array([b"MCS_8x8_200um"]), np.array([0.0, DURATION])
        h5["meta/age"], h5["meta/species"] = np.array([21]), np.array([b"mouse"])


def write_carmen_gzip(path: Path) -> None:
    write_carmen(path, "gzip")


def write_nwb(path: Path) -> None:
    samples, counts = trains()
    with h5py.File(path, "w") as h5:
        h5.attrs["nwb_version"] = "2.6.0"
        h5["units/spike_times"], h5["units/spike_times_index"] = samples / RATE, np.cumsum(counts)
        h5["units/id"] = np.arange(N_UNITS)


def write_maxwell(path: Path) -> None:
    samples, counts = trains()
    units = np.repeat(np.arange(N_UNITS), counts)
    order = np.argsort(samples, kind="stable")
    spikes = np.zeros(N_SPIKES, dtype=[("frameno", "i8"), ("channel", "i4"), ("amplitude", "f4")])
    spikes["frameno"], spikes["channel"] = samples[order], units[order]
    mapping = np.zeros(N_UNITS, dtype=[("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")])
    mapping["channel"] = mapping["electrode"] = np.arange(N_UNITS)
    with h5py.File(path, "w") as h5:
        h5["version"] = np.array([b"20190530"])
        entry = h5.create_group("data_store/data0000")
        entry.create_dataset("spikes", data=spikes, compression="gzip")
        entry["settings/sampling"], entry["settings/mapping"] = np.array([RATE]), mapping
        frames = np.arange(int(DURATION * RATE), dtype="u8")
        entry.create_dataset("groups/routed/frame_nos", data=frames, compression="gzip", compression_opts=1)
        h5["wells/well000/rec0000"] = h5py.SoftLink("/data_store/data0000")


def write_organoid(path: Path) -> None:
    samples, counts = trains()
    units = np.repeat(np.arange(N_UNITS), counts)
    rec = organoid.SpikeRecording(samples / RATE, units, t_start=0.0, t_stop=DURATION, sampling_rate=RATE)
    organoid.write_recording(rec, path)


def plain_carmen(h5: h5py.File) -> np.ndarray:
    for name in ("sCount", "epos", "names", "recordingtime"):
        h5[name][()]
    return np.asarray(h5["spikes"][()])


def plain_nwb(h5: h5py.File) -> np.ndarray:
    h5["units/spike_times_index"][()]
    return np.asarray(h5["units/spike_times"][()])


def plain_maxwell(h5: h5py.File) -> np.ndarray:
    entry = h5["data_store/data0000"]
    entry["settings/mapping"][()]
    return np.asarray(entry["spikes"].fields(["frameno", "channel"])[()]["frameno"])


def plain_organoid(h5: h5py.File) -> np.ndarray:
    held: dict[str, Any] = {}
    h5.visititems(lambda name, item: held.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return np.asarray(held["spikes/time_s"])


LAYOUTS: dict[str, tuple[Callable[[Path], None], Plain]] = {
    "carmen": (write_carmen, plain_carmen),
    "carmen, gzip": (write_carmen_gzip, plain_carmen),
    "nwb": (write_nwb, plain_nwb),
    "maxwell": (write_maxwell, plain_maxwell),
    "organoid": (write_organoid, plain_organoid),
}


def measure(path: Path, plain: Plain, repeats: int) -> dict[str, float]:
    """Return median seconds of both ways, taken in turn, and their ratio."""
    plains, reads = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        with h5py.File(path, "r") as h5:
            np.argsort(plain(h5), kind="stable")
        middle = time.perf_counter()
        rec = organoid.read_recording(path)
        reads.append(time.perf_counter() - middle)
        plains.append(middle - begin)
        assert rec.n_spikes == N_SPIKES
    return {"plain_s": median(plains), "reader_s": median(reads), "ratio": median(reads) / median(plains)}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Readers against plain h5py and one sort.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=11)
    parsed = parser.parse_args(arguments)
    results: dict[str, Any] = {"n_spikes": N_SPIKES, "n_units": N_UNITS, "bound": BOUND, "layouts": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, plain) in LAYOUTS.items():
            path = Path(folder) / f"{write.__name__}.h5"
            write(path)
            results["layouts"][name] = measure(path, plain, parsed.repeats)
    if parsed.json:
        print(json.dumps(results, indent=1))
    else:
        for name, held in results["layouts"].items():
            print(
                f"{name:14} plain {held['plain_s'] * 1e3:6.1f} ms, reader {held['reader_s'] * 1e3:6.1f} ms, "
                f"ratio {held['ratio']:.2f}"
            )
    return results


if __name__ == "__main__":
    main()
