"""How long readers take, against reading the same datasets with h5py and one stable sort of the times.

``python -m benchmarks.readers [--json]``: 800,000 spikes of 60 units in every layout that is read from HDF5,
and in a phy folder, written to a temporary folder; both ways are measured in turn, in one run, and compared
by their medians. The bound is 1.5 times.

Once each way starts with all freed memory given back to the system, so that it pays for the memory it takes, as in
a program that reads one file; once with what the allocator keeps of the other way's memory. Where reading takes a
few milliseconds new memory costs as much as anything else, and what is kept depends on the sizes of all arrays.

Stored as the real files are where there are any: CARMEN in one chunk, deflated; MaxWell in chunks of 1,000 spikes;
CL1 in chunks of 1,696 with their waveforms; Multi Channel Systems in deflated chunks of 8,192 stamps.
"""

import argparse
import ctypes
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np

import organoid

N_SPIKES, N_UNITS, DURATION, RATE = 800_000, 60, 1800.0, 25000.0
BOUND = 1.5
SPIKE = np.dtype([("frameno", "i8"), ("channel", "i4"), ("amplitude", "f4")])
MAPPING = np.dtype([("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")])
Written = Callable[[Path], None]
Plain = Callable[[Path], np.ndarray]


@cache
def trains(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return sample numbers, unit after unit, and the number of spikes of each unit."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(N_SPIKES, np.full(N_UNITS, 1 / N_UNITS))
    samples = [np.sort(rng.integers(0, int(DURATION * RATE), count)) for count in counts]
    return np.concatenate(samples), counts


def in_time() -> tuple[np.ndarray, np.ndarray]:
    """Return the same spikes in order of time, and their units."""
    samples, counts = trains()
    order = np.argsort(samples, kind="stable")
    return samples[order], np.repeat(np.arange(N_UNITS), counts)[order]


def write_carmen(path: Path, **stored: Any) -> None:
    samples, counts = trains()
    with h5py.File(path, "w") as h5:
        h5.create_dataset("spikes", data=samples / RATE, **stored)
        h5["sCount"] = counts.astype("i4")
        h5["epos"] = np.arange(2 * N_UNITS, dtype=float).reshape(2, -1) * 200
        h5["names"] = np.array([f"ch_{k}".encode() for k in range(N_UNITS)])
        h5["array"], h5["recordingtime"] = np.array([b"MCS_8x8_200um"]), np.array([0.0, DURATION])
        h5["meta/age"], h5["meta/species"] = np.array([21]), np.array([b"mouse"])


def write_carmen_gzip(path: Path) -> None:
    write_carmen(path, compression="gzip", compression_opts=7, chunks=(N_SPIKES,))


def plain_carmen(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        for name in ("sCount", "epos", "names", "array", "recordingtime", "meta/age", "meta/species"):
            h5[name][()]
        return np.asarray(h5["spikes"][()])


def write_nwb(path: Path) -> None:
    samples, counts = trains()
    with h5py.File(path, "w") as h5:
        h5.attrs["nwb_version"] = "2.6.0"
        h5["units/spike_times"], h5["units/spike_times_index"] = samples / RATE, np.cumsum(counts)
        h5["units/id"] = np.arange(N_UNITS)


def plain_nwb(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        h5["units/spike_times_index"][()], h5["units/id"][()]
        return np.asarray(h5["units/spike_times"][()])


def maxwell_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the spikes and the mapping of a MaxWell file."""
    samples, units = in_time()
    spikes, mapping = np.zeros(N_SPIKES, SPIKE), np.zeros(N_UNITS, MAPPING)
    spikes["frameno"], spikes["channel"] = samples, units
    mapping["channel"] = mapping["electrode"] = np.arange(N_UNITS)
    return spikes, mapping


def write_maxwell(path: Path, **stored: Any) -> None:
    spikes, mapping = maxwell_tables()
    with h5py.File(path, "w") as h5:
        h5["version"] = np.array([b"20190530"])
        entry = h5.create_group("data_store/data0000")
        entry.create_dataset("spikes", data=spikes, **(stored or {"chunks": (1000,), "compression": 0}))
        entry["settings/sampling"], entry["settings/mapping"] = np.array([RATE]), mapping
        frames = np.arange(int(DURATION * RATE), dtype="u8")
        entry.create_dataset("groups/routed/frame_nos", data=frames, chunks=(20000,), compression=1)
        h5["wells/well000/rec0000"] = h5py.SoftLink("/data_store/data0000")


def write_maxwell_gzip(path: Path) -> None:
    write_maxwell(path, compression="gzip")


def plain_maxwell(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        entry = h5["data_store/data0000"]
        entry["settings/mapping"][()], entry["settings/sampling"][()]
        return np.asarray(entry["spikes"].fields(["frameno", "channel"])[()]["frameno"])


def write_maxwell_legacy(path: Path) -> None:
    spikes, mapping = maxwell_tables()
    with h5py.File(path, "w") as h5:
        h5["version"], h5["mapping"] = np.array([b"20160704"]), mapping
        h5.create_dataset("proc0/spikeTimes", data=spikes, chunks=(1000,), compression=0)


def plain_maxwell_legacy(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        h5["mapping"][()]
        return np.asarray(h5["proc0/spikeTimes"].fields(["frameno", "channel"])[()]["frameno"])


def write_mcs(path: Path) -> None:
    samples, counts = trains()
    info = np.dtype([("TimeStampEntityID", "i4"), ("Exponent", "i4"), ("SourceChannelIDs", h5py.string_dtype())])
    with h5py.File(path, "w") as h5:
        h5.attrs["McsHdf5ProtocolType"] = b"RawData"
        recording = h5.create_group("Data/Recording_0")
        recording.attrs["TimeStamp"], recording.attrs["Duration"] = 0, int(DURATION * 1e6)
        stream = recording.create_group("TimeStampStream/Stream_0")
        for k, train in enumerate(np.split(samples, np.cumsum(counts)[:-1])):
            stamps = np.rint(train * (1e6 / RATE)).astype("i8")[None]
            stream.create_dataset(f"TimeStampEntity_{k}", data=stamps, chunks=(1, 8192), compression=5, shuffle=True)
        stream["InfoTimeStamp"] = np.array([(k, -6, str(k)) for k in range(N_UNITS)], info)


def plain_mcs(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        stream = h5["Data/Recording_0/TimeStampStream/Stream_0"]
        stream["InfoTimeStamp"][()]
        return np.concatenate([stream[f"TimeStampEntity_{k}"][0] for k in range(N_UNITS)])


def write_bxr3(path: Path) -> None:
    samples, units = in_time()
    with h5py.File(path, "w") as h5:
        h5.attrs["Version"], h5.attrs["SamplingRate"] = 301, RATE
        well = h5.create_group("Well_A1")
        well["SpikeTimes"], well["SpikeChIdxs"] = samples, units.astype("i4")
        well["StoredChIdxs"] = np.arange(4096, dtype="i4")


def plain_bxr3(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        well = h5["Well_A1"]
        well["SpikeChIdxs"][()], well["StoredChIdxs"][()]
        return np.asarray(well["SpikeTimes"][()])


def write_bxr2(path: Path) -> None:
    samples, units = in_time()
    with h5py.File(path, "w") as h5:
        h5["3BRecInfo/3BRecVars/SamplingRate"] = np.array([RATE])
        h5["3BRecInfo/3BRecVars/NRecFrames"] = np.array([int(DURATION * RATE)])
        channels = np.array([(k // 64 + 1, k % 64 + 1) for k in range(4096)], [("Row", "i2"), ("Col", "i2")])
        h5["3BRecInfo/3BMeaStreams/Raw/Chs"] = channels
        events = h5.create_group("3BResults/3BChEvents")
        events["SpikeTimes"], events["SpikeChIDs"] = samples, units.astype("i4")


def plain_bxr2(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        h5["3BRecInfo/3BMeaStreams/Raw/Chs"][()], h5["3BResults/3BChEvents/SpikeChIDs"][()]
        return np.asarray(h5["3BResults/3BChEvents/SpikeTimes"][()])


def write_cl1(path: Path) -> None:
    samples, units = in_time()
    kind = np.dtype([("timestamp", "i8"), ("channel", "u1"), ("samples", "f4", (75,))])
    with h5py.File(path, "w") as h5:
        h5.attrs["PYTABLES_FORMAT_VERSION"] = b"2.1"
        h5.attrs["frames_per_second"], h5.attrs["duration_frames"] = RATE, int(DURATION * RATE)
        table = h5.create_dataset("spikes", (N_SPIKES,), kind, chunks=(1696,))
        for begin in range(0, N_SPIKES, 100_000):
            rows = np.zeros(100_000, kind)
            rows["timestamp"], rows["channel"] = samples[begin : begin + 100_000], units[begin : begin + 100_000]
            table[begin : begin + 100_000] = rows


def plain_cl1(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        return np.asarray(h5["spikes"].fields(["timestamp", "channel"])[()]["timestamp"])


def write_spikelab(path: Path) -> None:
    samples, counts = trains()
    with h5py.File(path, "w") as h5:
        h5.attrs["length_ms"], h5.attrs["start_time"] = DURATION * 1000, 0.0
        h5["spike_times"], h5["spike_times_index"] = samples / RATE, np.cumsum(counts)


def plain_spikelab(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        h5["spike_times_index"][()]
        return np.asarray(h5["spike_times"][()])


def write_herdingspikes(path: Path) -> None:
    samples, units = in_time()
    with h5py.File(path, "w") as h5:
        h5["times"], h5["cluster_id"], h5["Sampling"] = samples, units, RATE
        h5["centres"] = np.zeros((N_UNITS, 2))


def plain_herdingspikes(path: Path) -> np.ndarray:
    with h5py.File(path) as h5:
        h5["cluster_id"][()], h5["centres"][()]
        return np.asarray(h5["times"][()])


def write_phy(path: Path) -> None:
    samples, units = in_time()
    path.mkdir()
    np.save(path / "spike_times.npy", samples[:, None].astype("u8"))
    np.save(path / "spike_clusters.npy", units.astype("i4"))
    (path / "params.py").write_text(f"sample_rate = {RATE}\n")


def plain_phy(path: Path) -> np.ndarray:
    np.load(path / "spike_clusters.npy")
    return np.asarray(np.load(path / "spike_times.npy").ravel())


def write_organoid(path: Path) -> None:
    samples, counts = trains()
    units = np.repeat(np.arange(N_UNITS), counts)
    rec = organoid.SpikeRecording(samples / RATE, units, t_start=0.0, t_stop=DURATION, sampling_rate=RATE)
    organoid.write_recording(rec, path)


def plain_organoid(path: Path) -> np.ndarray:
    held: dict[str, Any] = {}
    with h5py.File(path) as h5:
        h5.visititems(lambda name, item: held.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return np.asarray(held["spikes/time_s"])


LAYOUTS: dict[str, tuple[Written, Plain]] = {
    "carmen": (write_carmen, plain_carmen),
    "carmen, deflated": (write_carmen_gzip, plain_carmen),
    "nwb": (write_nwb, plain_nwb),
    "maxwell": (write_maxwell, plain_maxwell),
    "maxwell, deflated": (write_maxwell_gzip, plain_maxwell),
    "maxwell, legacy": (write_maxwell_legacy, plain_maxwell_legacy),
    "mcs": (write_mcs, plain_mcs),
    "3brain, bxr v3": (write_bxr3, plain_bxr3),
    "3brain, bxr v2": (write_bxr2, plain_bxr2),
    "cl1": (write_cl1, plain_cl1),
    "spikelab": (write_spikelab, plain_spikelab),
    "herdingspikes": (write_herdingspikes, plain_herdingspikes),
    "phy folder": (write_phy, plain_phy),
    "organoid": (write_organoid, plain_organoid),
}


def give_back() -> None:
    """Give freed memory back to the system (with glibc; elsewhere nothing happens)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measure(path: Path, plain: Plain, repeats: int, before: Callable[[], None]) -> dict[str, float]:
    """Return median seconds of both ways, taken in turn, and their ratio, by the wall and of the processor."""
    clocks = {"": time.perf_counter, "_cpu": time.process_time}
    held: dict[str, list[float]] = {f"{way}{clock}_s": [] for way in ("plain", "reader") for clock in clocks}
    for _ in range(repeats):
        for way in ("plain", "reader"):
            before()
            begin = {clock: now() for clock, now in clocks.items()}
            if way == "plain":
                np.argsort(plain(path), kind="stable")
            else:
                assert organoid.read_recording(path).n_spikes == N_SPIKES
            for clock, now in clocks.items():
                held[f"{way}{clock}_s"].append(now() - begin[clock])
    middle = {name: median(values) for name, values in held.items()}
    ratios = {f"ratio{clock}": middle[f"reader{clock}_s"] / middle[f"plain{clock}_s"] for clock in clocks}
    return {**middle, **ratios}


MEMORY: dict[str, Callable[[], None]] = {"new": give_back, "kept": lambda: None}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="Readers against plain h5py and one sort.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--only", nargs="*", default=list(LAYOUTS), metavar="LAYOUT")
    parsed = parser.parse_args(arguments)
    results: dict[str, Any] = {"n_spikes": N_SPIKES, "n_units": N_UNITS, "bound": BOUND, "layouts": {}}
    for name in parsed.only:
        write, plain = LAYOUTS[name]
        folder = Path(tempfile.mkdtemp())
        try:
            write(folder / "recording")
            held = {memory: measure(folder / "recording", plain, parsed.repeats, do) for memory, do in MEMORY.items()}
        finally:
            shutil.rmtree(folder)
        results["layouts"][name] = held
        if not parsed.json:
            for memory, one in held.items():
                print(
                    f"{name:18} memory {memory:5} processor: plain {one['plain_cpu_s'] * 1e3:6.1f} ms, reader "
                    f"{one['reader_cpu_s'] * 1e3:6.1f} ms, ratio {one['ratio_cpu']:.2f} (wall {one['ratio']:.2f})"
                )
    if parsed.json:
        print(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
