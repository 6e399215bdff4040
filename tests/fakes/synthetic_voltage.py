"""Synthetic voltage with known spikes, bursts and artefacts, and writers of it in the layouts whose voltage is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

SIGMA = 5e-6  # V
LSB = 0.1e-6  # V per count
SNR = (4, 5, 6, 8, 10)


@dataclass
class Synthetic:
    """Voltage (channels, samples), V, and what is in it."""

    voltage: np.ndarray
    rate: float
    spikes: list[np.ndarray]  # s, of each channel
    artefacts: np.ndarray  # s

    @property
    def counts(self) -> np.ndarray:
        return np.clip(np.rint(self.voltage / LSB), -30000, 30000).astype("i2")


def shape(rate: float) -> np.ndarray:
    """Return a biphasic spike of 2 ms with a trough of -1 at 0.6 ms."""
    t = np.arange(int(2e-3 * rate)) / rate * 1e3
    form = -np.exp(-(((t - 0.6) / 0.15) ** 2)) + 0.35 * np.exp(-(((t - 1.1) / 0.3) ** 2))
    return form / -form.min()


def synthetic(
    n_channels: int = 10, seconds: float = 10.0, rate: float = 25000.0, seed: int = 0, artefacts: bool = True
) -> Synthetic:
    """Make noise, Poisson spikes of 3 Hz, network bursts every 4 s, and artefacts every 3 s on all channels."""
    rng = np.random.default_rng(seed)
    voltage = rng.normal(0, SIGMA, (n_channels, int(seconds * rate)))
    form = shape(rate)
    trough = int(np.argmin(form))
    pulses = np.arange(2.0, seconds - 0.5, 3.0) if artefacts else np.empty(0)
    spikes = []
    for channel in range(n_channels):
        bursts = [b + np.abs(rng.normal(0, 0.15, 20)) for b in np.arange(1.0, seconds - 1, 4.0)]
        times = np.sort(np.concatenate([rng.uniform(0.05, seconds - 0.05, rng.poisson(3 * seconds)), *bursts]))
        times = times[np.append(True, np.diff(times) > 2.5e-3)]
        for pulse in pulses:
            times = times[(times < pulse - 3e-3) | (times > pulse + 8e-3)]
        samples = np.rint(times * rate).astype(int)
        for sample in samples:
            at = sample - trough
            voltage[channel, at : at + form.size] += SNR[channel % len(SNR)] * SIGMA * form
        spikes.append(samples / rate)
    tail = np.arange(int(3e-3 * rate))
    for pulse in pulses:
        at = int(pulse * rate)
        voltage[:, at : at + tail.size] += 500e-6 * np.exp(-tail / (0.6e-3 * rate)) * np.where(tail < 25, 1, -0.5)
    return Synthetic(voltage, rate, spikes, pulses)


def cl1(path: Path, held: Synthetic) -> None:
    with h5py.File(path, "w") as h5:
        h5.attrs["PYTABLES_FORMAT_VERSION"], h5.attrs["frames_per_second"] = b"2.1", held.rate
        h5.attrs["uV_per_sample_unit"] = LSB * 1e6
        h5["samples"] = held.counts.T


def mcs(path: Path, held: Synthetic) -> None:
    n, half = held.counts.shape[1], held.counts.shape[1] // 2
    tick = round(1e6 / held.rate)
    with h5py.File(path, "w") as h5:
        h5.attrs["McsHdf5ProtocolType"] = b"RawData"
        stream = h5.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream.attrs["DataSubType"] = b"Electrode"
        stream["ChannelData"] = held.counts.astype("i4")[::-1] + 7
        stamps = [(0, 0, half - 1), (half * tick, half, n - 1)]
        stream["ChannelDataTimeStamps"] = np.array(stamps, dtype="i8")
        kinds = [("ChannelID", "i4"), ("RowIndex", "i4"), ("Label", "S4"), ("Exponent", "i4"), ("ADZero", "i4")]
        rows = [(k, len(held.counts) - 1 - k, str(k + 11), -7, 7, 1, tick) for k in range(len(held.counts))]
        info = np.array(rows, dtype=[*kinds, ("ConversionFactor", "i8"), ("Tick", "i8")])
        stream["InfoChannel"] = info[np.argsort(info["RowIndex"])]
        stream["ChannelData"][...] = stream["ChannelData"][()][np.argsort(np.arange(len(held.counts)))]


def maxwell(path: Path, held: Synthetic) -> None:
    n = len(held.counts)
    with h5py.File(path, "w") as h5:
        h5["version"] = np.array([b"20190530"])
        entry = h5.create_group("data_store/data0000")
        entry["groups/routed/raw"] = (held.counts.astype("i4") + 32768).astype("u2")
        entry["groups/routed/frame_nos"] = np.arange(500, 500 + held.counts.shape[1]).astype("u8")
        entry["groups/routed/channels"] = np.arange(n).astype("u2")
        entry["settings/sampling"], entry["settings/lsb"] = np.array([held.rate]), np.array([LSB])
        kinds = [("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")]
        entry["settings/mapping"] = np.array([(k, 100 + k, 17.5 * k, 0.0) for k in range(n)], dtype=kinds)
        h5["wells/well000/rec0000"] = h5py.SoftLink("/data_store/data0000")


def brw3(path: Path, held: Synthetic) -> None:
    n, span = len(held.counts), 65536 * LSB * 1e6
    with h5py.File(path, "w") as h5:
        variables = {"SamplingRate": held.rate, "MinVolt": -span / 2, "MaxVolt": span / 2, "BitDepth": 16}
        for name, value in {**variables, "SignalInversion": 1.0}.items():
            h5[f"3BRecInfo/3BRecVars/{name}"] = np.array([value])
        rows = np.array([(1, k + 1) for k in range(n)], dtype=[("Row", "i2"), ("Col", "i2")])
        h5["3BRecInfo/3BMeaStreams/Raw/Chs"] = rows
        h5["3BData/Raw"] = (held.counts.T.astype("i4") + 32768).astype("u2").ravel()


def brw4(path: Path, held: Synthetic, *, sparse: bool = False) -> None:
    counts = (held.counts.T.astype("i4") + 32768).astype("u2")
    frames, n = counts.shape
    span = 65536 * LSB * 1e6
    values = {"MinDigitalValue": 0, "MaxDigitalValue": 65536, "MinAnalogValue": -span / 2, "MaxAnalogValue": span / 2}
    settings = {"TimeConverter": {"FrameRate": held.rate}, "ValueConverter": values}
    cut = frames // 2
    with h5py.File(path, "w") as h5:
        h5.create_dataset("ExperimentSettings", data=[json.dumps(settings)], dtype=h5py.string_dtype())
        h5["TOC"] = np.array([[0, cut], [cut, frames]])
        h5["Well_A1/StoredChIdxs"] = np.arange(n).astype("i4")
        if not sparse:
            h5["Well_A1/Raw"] = counts.ravel()
            return
        chunks = [_sparse(counts, begin, end) for begin, end in ((0, cut), (cut, frames))]
        h5["Well_A1/EventsBasedSparseRaw"] = np.frombuffer(b"".join(chunks), dtype="u1")
        h5["Well_A1/EventsBasedSparseRawTOC"] = np.array([0, len(chunks[0])])


def _sparse(counts: np.ndarray, begin: int, end: int) -> bytes:
    parts = []
    for channel in range(counts.shape[1]):
        held = b""
        for first in range(begin, end, 5000):  # everything is kept, in ranges
            last = min(first + 5000, end)
            held += np.array([first, last], "<i8").tobytes() + counts[first:last, channel].astype("<u2").tobytes()
        parts.append(np.array([channel, len(held)], "<i4").tobytes() + held)
    return b"".join(parts)


def brw4_sparse(path: Path, held: Synthetic) -> None:
    brw4(path, held, sparse=True)


def nwb(path: Path, held: Synthetic) -> None:
    with h5py.File(path, "w") as h5:
        h5.attrs["nwb_version"] = "2.7.0"
        series = h5.create_group("acquisition/ElectricalSeries")
        series.attrs["neurodata_type"] = "ElectricalSeries"
        series["data"] = held.counts.T
        series["data"].attrs["conversion"] = LSB
        series["starting_time"] = 0.0
        series["starting_time"].attrs["rate"] = held.rate


def maxwell_legacy(path: Path, held: Synthetic) -> None:
    n, frames = held.counts.shape
    sig = np.zeros((1028, frames), "u2")
    sig[:n] = (held.counts.astype("i4") + 32768).astype("u2")
    with h5py.File(path, "w") as h5:
        h5["version"] = np.array([b"20160704"])
        h5.create_dataset("sig", data=sig, chunks=(64, 4096), compression="gzip", compression_opts=1)
        kinds = [("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")]
        h5["mapping"] = np.array([(k, 100 + k, 17.5 * k, 0.0) for k in range(n)], dtype=kinds)
        h5["settings/sampling"], h5["settings/lsb"] = np.array([held.rate]), np.array([LSB])


WRITERS: dict[str, Callable[[Path, Synthetic], None]] = {
    writer.__name__: writer for writer in (cl1, mcs, maxwell, maxwell_legacy, brw3, brw4, brw4_sparse, nwb)
}
