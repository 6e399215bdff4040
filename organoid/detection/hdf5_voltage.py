"""Voltage in HDF5 files: MaxWell, Multi Channel Systems, 3Brain, Cortical Labs and NWB, a few lines for each layout."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.detection.voltage import Run, Voltage
from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, attribute, member, members, reason
from organoid.io.clock import spans_of_stamps
from organoid.io.frames import runs_of_frames
from organoid.io.source import scalar, text, texts

MAXONE_CHANNELS, MAXONE_RATE = 1024, 20000.0
GRID_PITCH_UM = 42.0


class Hdf5Voltage(Voltage):
    """Counts of one dataset, and how they become volt: ``(counts - zero) * gain``."""

    def __init__(
        self,
        h5: h5py.File,
        take: Callable[[int, int], NDArray[Any]],
        gain: NDArray[np.float64] | float,
        zero: NDArray[np.float64] | float = 0.0,
        **known: Any,
    ) -> None:
        super().__init__(**known)
        self.h5, self.take, self.gain, self.zero = h5, take, gain, zero

    def read(self, begin: int, end: int) -> NDArray[np.floating[Any]]:
        """Return some rows, V."""
        try:
            counts = self.take(begin, end)
        except DAMAGE as error:
            raise RecordingError(f"rows {begin} to {end} of the voltage cannot be read: {_why(error)}") from None
        return np.asarray((counts.astype(np.float64) - self.zero) * self.gain)

    def close(self) -> None:
        """Close the file."""
        self.h5.close()


def _why(error: BaseException) -> str:
    """Return the reason of a failure; a missing compression plugin is named."""
    said = str(error)
    if "required filter" in said.lower() or "plugin" in said.lower():
        return (
            "it is compressed in a way that the HDF5 library here does not know (MaxWell's mxw-data?): install the "
            "vendor's decompression library and set HDF5_PLUGIN_PATH to its folder"
        )
    return reason(error)


def _pick(names: Sequence[str], asked: str | None, what: str) -> str:
    """Return the one name that is meant, by name or by the number at its end."""
    if asked is None:
        if len(names) == 1:
            return names[0]
        raise RecordingError(
            f"this file holds {len(names)} {what}s; say which with {what}= one of {', '.join(names[:12])}"
        )
    digits = re.compile(rf"\D*0*{int(asked)}") if asked.isdecimal() else None
    found = [name for name in names if name == asked] or [name for name in names if digits and digits.fullmatch(name)]
    if len(found) != 1:
        raise RecordingError(f"no {what} {asked!r} with voltage; choices: {', '.join(names[:12]) or 'none'}")
    return found[0]


def _dataset(h5: h5py.Group, name: str, ndim: int | None = None) -> h5py.Dataset:
    found = member(h5, name)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf" or (ndim and found.ndim != ndim):
        raise RecordingError(f"recognised, but holds no voltage (no dataset {name!r} of numbers)")
    return found


def _number(h5: h5py.Group, name: str) -> float | None:
    found = member(h5, name)
    return scalar(found[()]) if isinstance(found, h5py.Dataset) else None


def _rate(value: float | None, where: str) -> float:
    if value is None or not 1 <= value <= 1e9:
        raise RecordingError(f"the sampling rate ({where}) is {value}; expected a number of Hz")
    return value


def _table(names: list[str], **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"name": names, **columns})


def maxwell(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open one well and recording of a MaxTwo file, or of a MaxOne file of the new layout."""
    held = {(w, r): f"wells/{w}/{r}" for w in members(h5["wells"]) for r in members(h5[f"wells/{w}"])}
    name = _pick(sorted({w for w, _ in held}), well, "well")
    rec = _pick(sorted({r for w, r in held if w == name}), recording, "recording")
    entry = h5[held[(name, rec)]]
    raw = _dataset(entry, "groups/routed/raw", 2)
    rate = _rate(_number(entry, "settings/sampling"), "settings/sampling")
    notes: list[str] = []
    frames = _dataset(entry, "groups/routed/frame_nos", 1)
    stamped = runs_of_frames(frames, "frame_nos", notes)
    rows = np.cumsum([0] + [stop - start for start, stop in stamped])
    first = stamped[0][0] if stamped else 0
    runs = [Run(int(a), int(b), (start - first) / rate) for a, b, (start, _) in zip(rows, rows[1:], stamped)]
    numbers = np.asarray(entry["groups/routed/channels"][()]).astype(np.int64)
    places = _mapped(entry["settings/mapping"][()], numbers)
    lsb = _number(entry, "settings/lsb")
    if lsb is None:
        notes.append("settings/lsb is missing: voltage is in counts, not volt")
    return Hdf5Voltage(
        h5,
        lambda a, b: np.asarray(raw[:, a:b]).T,
        lsb or 1.0,
        sampling_rate=rate,
        electrodes=places.assign(well=name),
        runs=runs,
        metadata={"format": "maxwell", "well": name, "recording": rec},
        notes=notes,
    )


def _mapped(mapping: Any, numbers: NDArray[np.int64]) -> pd.DataFrame:
    """Return channels with their electrodes and positions, from the first row of each channel."""
    listed = pd.DataFrame({key: mapping[key] for key in ("channel", "electrode", "x", "y")}).drop_duplicates("channel")
    rows = listed.set_index("channel").reindex(numbers)
    electrode = rows["electrode"].astype("Int64").to_numpy()
    names = [f"ch{number}" for number in numbers.tolist()]
    return _table(names, channel=numbers, electrode=electrode, x_um=rows["x"].to_numpy(), y_um=rows["y"].to_numpy())


def maxwell_legacy(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open a legacy MaxOne file: the routed channels of ``sig``."""
    sig = _dataset(h5, "sig", 2)
    mapping = h5["mapping"][()]
    used = mapping[(mapping["channel"] >= 0) & (mapping["channel"] < MAXONE_CHANNELS) & (mapping["electrode"] >= 0)]
    numbers = np.unique(used["channel"]).astype(np.int64)
    rate, lsb = _number(h5, "settings/sampling") or MAXONE_RATE, _number(h5, "settings/lsb")
    notes = ["lost frames are not looked for in the voltage of legacy files"]
    if lsb is None:
        notes.append("settings/lsb is missing: voltage is in counts, not volt")
    lower, upper = int(numbers.min()), int(numbers.max()) + 1
    return Hdf5Voltage(
        h5,
        lambda a, b: np.asarray(sig[lower:upper, a:b])[numbers - lower].T,
        lsb or 1.0,
        sampling_rate=rate,
        electrodes=_mapped(used, numbers),
        runs=[Run(0, int(sig.shape[1]))],
        metadata={"format": "maxwell"},
        notes=notes,
    )


def mcs(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open the electrode stream of a recording of Multi Channel Systems."""
    names = [name for name in members(h5["Data"]) if name.startswith("Recording_")]
    name = _pick(names, recording, "recording")
    parent = f"Data/{name}/AnalogStream"
    streams = [s for s in (members(h5[parent]) if parent in h5 else []) if _is_electrodes(h5[f"{parent}/{s}"])]
    if not streams:
        raise RecordingError(f"recognised, but {name} holds no voltage (no electrode stream)")
    stream = h5[f"{parent}/{streams[0]}"]
    data, info = _dataset(stream, "ChannelData", 2), stream["InfoChannel"][()]
    stamps = np.asarray(stream["ChannelDataTimeStamps"][()]).astype(np.int64).reshape(-1, 3)
    ticks = np.unique(info["Tick"])
    if ticks.size != 1 or ticks[0] <= 0:
        raise RecordingError(f"the channels have different sampling rates (Tick {ticks.tolist()} us)")
    order = np.argsort(info["RowIndex"]) if "RowIndex" in info.dtype.names else np.arange(len(info))
    info = info[order]
    runs = [Run(int(first), int(last) + 1, int(start) * 1e-6) for start, first, last in stamps]
    gain = info["ConversionFactor"].astype(float) * 10.0 ** info["Exponent"].astype(float)
    notes = [f"voltage is that of {streams[0]}; there are also {', '.join(streams[1:])}"] if len(streams) > 1 else []
    return Hdf5Voltage(
        h5,
        lambda a, b: np.asarray(data[:, a:b]).T,
        gain,
        info["ADZero"].astype(float),
        sampling_rate=1e6 / float(ticks[0]),
        electrodes=_table(texts(info["Label"]), channel=info["ChannelID"].astype(np.int64)),
        runs=runs,
        metadata={"format": "mcs", "recording": name},
        notes=notes,
    )


def _is_electrodes(stream: h5py.Group) -> bool:
    return text(attribute(stream, "DataSubType") or "Electrode") == "Electrode" and "ChannelData" in stream


def threebrain_v3(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open a BRW file of version 3: one flat dataset, frame after frame, or frames by channels."""
    raw = _dataset(h5, "3BData/Raw")
    chs = h5["3BRecInfo/3BMeaStreams/Raw/Chs"][()]
    n = len(chs)
    values = {
        key: _number(h5, f"3BRecInfo/3BRecVars/{key}") for key in ("SamplingRate", "MinVolt", "MaxVolt", "BitDepth")
    }
    low, high, bits = values["MinVolt"], values["MaxVolt"], values["BitDepth"]
    if low is None or high is None or bits is None or not 1 <= bits <= 32:
        raise RecordingError("MinVolt, MaxVolt or BitDepth is missing in 3BRecInfo/3BRecVars")
    sign = _number(h5, "3BRecInfo/3BRecVars/SignalInversion") or 1.0
    gain = sign * (high - low) / 2.0**bits * 1e-6
    columns, rows = chs["Col"].astype(np.int64), chs["Row"].astype(np.int64)
    return Hdf5Voltage(
        h5,
        _flat(raw, n),
        gain,
        -low / ((high - low) / 2.0**bits),
        sampling_rate=_rate(values["SamplingRate"], "SamplingRate"),
        electrodes=_grid(rows - 1, columns - 1),
        runs=[Run(0, int(raw.shape[0] if raw.ndim == 2 else raw.shape[0] // max(n, 1)))],
        metadata={"format": "3brain"},
    )


def _flat(raw: h5py.Dataset, n: int) -> Callable[[int, int], NDArray[Any]]:
    """Return what reads rows of a dataset that is flat, or has an axis for the channels."""
    if raw.ndim == 2:
        return lambda a, b: np.asarray(raw[a:b])
    return lambda a, b: np.asarray(raw[a * n : b * n]).reshape(-1, n)


def _grid(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> pd.DataFrame:
    names = [f"r{row + 1}c{column + 1}" for row, column in zip(rows.tolist(), columns.tolist())]
    return _table(names, channel=rows * 64 + columns, x_um=columns * GRID_PITCH_UM, y_um=rows * GRID_PITCH_UM)


def threebrain_v4(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open a well of a BRW file of version 4: whole frames, or only what lies around events (sparse)."""
    wells = [name for name in members(h5) if name.startswith("Well_")]
    name = _pick(wells, None if well is None else f"Well_{well.removeprefix('Well_')}", "well")
    settings = json.loads(text(h5["ExperimentSettings"][()])) if "ExperimentSettings" in h5 else {}
    stored = np.asarray(h5[f"{name}/StoredChIdxs"][()]).astype(np.int64)
    said = scalar(attribute(h5, "SamplingRate")) or settings.get("TimeConverter", {}).get("FrameRate")
    rate, scale = _rate(said, "SamplingRate"), settings.get("ValueConverter", {})
    span = scale.get("MaxDigitalValue", 4095) - scale.get("MinDigitalValue", 0)
    low, high = scale.get("MinAnalogValue", -4125.0), scale.get("MaxAnalogValue", 4125.0)
    gain = (high - low) / span * 1e-6
    chunks = np.asarray(h5["TOC"][()]).astype(np.int64)
    known = {
        "sampling_rate": rate,
        "electrodes": _grid(stored // 64, stored % 64).assign(well=name.removeprefix("Well_")),
        "metadata": {"format": "3brain", "well": name},
    }
    zero = scale.get("MinDigitalValue", 0) - low / ((high - low) / span)
    if f"{name}/Raw" in h5:
        raw = _dataset(h5, f"{name}/Raw")
        return Hdf5Voltage(h5, _flat(raw, stored.size), gain, zero, runs=_chunk_runs(chunks, rate), **known)
    if f"{name}/EventsBasedSparseRaw" in h5:
        from organoid.detection.sparse_voltage import SparseChunks

        sparse = SparseChunks(h5, name, stored, chunks, float(zero))
        notes = [
            "the file keeps voltage around events only; elsewhere it is taken as 0, and the noise is of what is kept"
        ]
        runs = [Run(int(a), int(b), int(a) / rate) for a, b in chunks]
        return Hdf5Voltage(h5, sparse.read, gain, zero, runs=runs, notes=notes, **known)
    raise RecordingError(
        f"recognised, but {name} holds no voltage that is read (it holds {', '.join(members(h5[name])[:8])})"
    )


def _chunk_runs(chunks: NDArray[np.int64], rate: float) -> list[Run]:
    """Return runs of whole frames: chunks that follow each other are one."""
    runs: list[Run] = []
    row = 0
    for start, stop in chunks.tolist():
        begin = row
        row += stop - start
        if runs and start == round(runs[-1].start * rate) + runs[-1].end - runs[-1].begin:
            runs[-1] = Run(runs[-1].begin, row, runs[-1].start)
        else:
            runs.append(Run(begin, row, start / rate))
    return runs


def cl1(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open the samples of a Cortical Labs file."""
    samples = _dataset(h5, "samples", 2)
    microvolt = scalar(attribute(h5, "uV_per_sample_unit"))
    rate = _rate(scalar(attribute(h5, "frames_per_second")), "frames_per_second")
    numbers = np.arange(samples.shape[1])
    names = [f"ch{number}" for number in numbers.tolist()]
    return Hdf5Voltage(
        h5,
        lambda a, b: np.asarray(samples[a:b]),
        (microvolt or 1e6) * 1e-6,
        sampling_rate=rate,
        electrodes=_table(names, channel=numbers, electrode=numbers),
        runs=[Run(0, int(samples.shape[0]))],
        metadata={"format": "cl1"},
        notes=[] if microvolt else ["attribute uV_per_sample_unit is missing: voltage is in counts, not volt"],
    )


def nwb(h5: h5py.File, well: str | None, recording: str | None) -> Voltage:
    """Open an ElectricalSeries of an NWB file."""
    place = "acquisition"
    found = [
        name
        for name in (members(h5[place]) if place in h5 else [])
        if text(attribute(h5[f"{place}/{name}"], "neurodata_type") or "") == "ElectricalSeries"
    ]
    name = _pick(found, recording, "recording") if found else ""
    if not name:
        raise RecordingError("recognised, but holds no voltage (no ElectricalSeries in acquisition)")
    series = h5[f"{place}/{name}"]
    data, notes = _dataset(series, "data"), list[str]()
    n = data.shape[1] if data.ndim == 2 else 1
    rate, runs = _clock(series, int(data.shape[0]), notes)
    gain = scalar(attribute(data, "conversion")) or 1.0
    each = member(series, "channel_conversion")
    gains = gain * np.asarray(each[()], dtype=float) if isinstance(each, h5py.Dataset) else gain
    offset = scalar(attribute(data, "offset")) or 0.0
    return Hdf5Voltage(
        h5,
        lambda a, b: np.asarray(data[a:b]).reshape(-1, n),
        gains,
        -offset / gain,
        sampling_rate=rate,
        electrodes=_nwb_electrodes(h5, series, n),
        runs=runs,
        metadata={"format": "nwb", "series": name},
        notes=notes,
    )


def _clock(series: h5py.Group, n: int, notes: list[str]) -> tuple[float, list[Run]]:
    """Return the sampling rate and the runs without gaps, from a rate or from time stamps."""
    start = member(series, "starting_time")
    if isinstance(start, h5py.Dataset):
        return _rate(scalar(attribute(start, "rate")), "starting_time"), [Run(0, n, scalar(start[()]) or 0.0)]
    stamps = _dataset(series, "timestamps", 1)
    spans = spans_of_stamps(stamps, "timestamps", notes)
    step = float(np.median(np.diff(stamps[: min(n, 4096)]))) if n > 1 else 0.0
    if spans is None or step <= 0:
        raise RecordingError("the time stamps of the voltage do not rise evenly")
    rows = np.rint((spans[:, 1] - spans[:, 0]) / step).astype(int)
    edges = np.concatenate([[0], np.cumsum(rows)])
    edges[-1] = n
    return 1 / step, [Run(int(a), int(b), float(t)) for a, b, t in zip(edges, edges[1:], spans[:, 0])]


def _nwb_electrodes(h5: h5py.File, series: h5py.Group, n: int) -> pd.DataFrame:
    table = member(h5, "general/extracellular_ephys/electrodes")
    listed = member(series, "electrodes")
    rows = np.asarray(listed[()]).astype(int) if isinstance(listed, h5py.Dataset) and listed.size == n else np.arange(n)
    if not isinstance(table, h5py.Group) or "id" not in table or rows.max(initial=-1) >= table["id"].size:
        return _table([f"ch{k}" for k in range(n)], channel=np.arange(n))
    ids = np.asarray(table["id"][()])[rows].astype(np.int64)
    known = {}
    for column, names in (("x_um", ("x", "rel_x")), ("y_um", ("y", "rel_y"))):
        held = next((member(table, name) for name in names if name in table), None)
        if isinstance(held, h5py.Dataset) and held.dtype.kind == "f":
            known[column] = np.asarray(held[()])[rows].astype(float)
    return _table([f"el{number}" for number in ids.tolist()], electrode=ids, **known)
