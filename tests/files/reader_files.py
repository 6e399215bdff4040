"""Writers of small valid files, one a format, in the published layouts. They are no evidence about vendors' files.

Each takes a folder and returns the path of what it wrote. `WRITERS` lists them by name.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from matlab_files import mat73, mat_cell_explorer, mat_mea_nap, mat_wave_clus
from sorted_files import phy, phy_folder, si_folder, si_npz

from organoid import SpikeRecording, write_recording

TEXT = h5py.string_dtype()


def organoid_file(folder: Path) -> Path:
    units = pd.DataFrame({"name": ["a", "b", "c"], "x_um": [0.0, 1.0, np.nan], "channel": [3, None, 5]})
    stimuli = pd.DataFrame({"time_s": [0.5], "amplitude": [1e-6], "amplitude_unit": ["A"]})
    rec = SpikeRecording(
        np.linspace(0.1, 1.9, 40),
        np.arange(40) % 3,
        t_stop=2.0,
        sampling_rate=20000.0,
        units=units,
        stimuli=stimuli,
        observed=[[0.0, 1.0], [1.1, 2.0]],
        metadata={"age": 30},
        notes=["from a test"],
    )
    write_recording(rec, folder / "organoid.h5")
    return folder / "organoid.h5"


def organoid_unsealed(folder: Path) -> Path:
    """Write a file without checksums, as by hand."""
    path = organoid_file(folder).rename(folder / "by_hand.h5")
    with h5py.File(path, "a") as h5:
        h5.attrs.pop("crc32", None)
        h5.visititems(lambda _, item: item.attrs.pop("crc32", None) and None)
    return path


def organoid_session(folder: Path) -> Path:
    """Write what a session journal holds of a recording; its writer may be stopped between two columns."""
    path = organoid_unsealed(folder).rename(folder / "session.h5")
    with h5py.File(path, "a") as h5:
        h5.attrs["organoid_kind"] = "session"
    return path


def carmen(folder: Path) -> Path:
    path = folder / "carmen.h5"
    with h5py.File(path, "w") as h5:
        h5["spikes"] = np.concatenate([np.arange(1, 21) * 0.04, np.arange(1, 11) * 0.09, np.arange(1, 6) * 0.17])
        h5["sCount"] = np.array([20, 10, 5], dtype="i4")
        h5["epos"] = np.array([[200.0, 400.0, 400.0], [1400.0, 1400.0, 200.0]])
        h5["names"] = np.array([b"ch_12a", b"ch_22a", b"ch_28a"])
        h5["array"] = np.array([b"MCS_8x8_200um"])
        h5["recordingtime"] = np.array([0.0, 1.0])
        h5["meta/age"] = np.array([7], dtype="i4")
        h5["meta/species"] = np.array([b"mouse"])
        h5["summary/N"] = np.array([3], dtype="i4")
        h5["summary/totalspikes"] = np.array([35], dtype="i4")
        h5["summary/duration"] = np.array([1.0])
    return path


def carmen_plate(folder: Path) -> Path:
    path = folder / "plate.h5"
    with h5py.File(path, "w") as h5:
        h5["spikes"] = 165.0 + np.concatenate([np.arange(12) * 0.08, np.arange(8) * 0.11])
        h5["sCount"] = np.array([12, 8], dtype="i4")
        h5["epos"] = np.array([[200.0, 2000.0], [5000.0, 5000.0]])
        h5["names"] = h5["channels"] = np.array([b"A1_21", b"B2_44"])
        h5["array"] = np.array([b"Axion 48 well"])
        h5["well"] = np.array([b"A1", b"B2"])
        h5["treatment"] = np.array([b"control", b"drug"])
        h5["dose"] = np.array([b"0", b"NA"])
    return path


MAPPING = np.dtype([("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")])


def maxwell_mapping(channels: list[int]) -> np.ndarray:
    electrodes = [1000 + 7 * channel for channel in channels]
    rows = [(c, e, e % 220 * 17.5, e // 220 * 17.5) for c, e in zip(channels, electrodes)]
    return np.array(rows, dtype=MAPPING)


def maxwell_entry(group: h5py.Group, well: int, recording: int, frames: np.ndarray, spikes: list[tuple]) -> None:
    group["spikes"] = np.array(spikes, dtype=[("frameno", "i8"), ("channel", "i4"), ("amplitude", "f4")])
    group.create_dataset("groups/routed/frame_nos", data=frames.astype("u8"), compression="gzip")
    group["groups/routed/channels"] = np.array([1, 2, 5], dtype="u2")
    group["settings/mapping"] = maxwell_mapping([1, 2, 5])
    group["settings/sampling"] = np.array([10000.0])
    for name, value in (("gain", 512.0), ("hpf", 300.0), ("lsb", 6.29e-6), ("spike_threshold", 5.0)):
        group[f"settings/{name}"] = np.array([value])
    group["start_time"] = np.array([1_600_000_000_000])
    group["stop_time"] = np.array([1_600_000_000_000 + frames.size // 10])
    group["well_id"], group["recording_id"] = np.array([well], "i4"), np.array([recording], "i4")


def maxwell(folder: Path) -> Path:
    """Write one MaxTwo well with lost frames, a spike before them, one in the gap, one on an unmapped channel."""
    path = folder / "maxwell.raw.h5"
    frames = np.concatenate([np.arange(5000, 9000), np.arange(9500, 15000)])
    spikes = [(4000, 1, -5.0), (5100, 1, -5.0), (5100, 2, -6.0), (9200, 5, -5.5), (12000, 99, -7.0), (14999, 1, -5.0)]
    with h5py.File(path, "w") as h5:
        h5["version"], h5["mxw_version"] = np.array([b"20190530"]), np.array([b"20.1.8"])
        h5["wellplate/id"], h5["wellplate/version"] = np.array([b"M1"]), np.array([b"MaxTwo"])
        h5["wellplate/well000/name"], h5["wellplate/well000/group_name"] = np.array([b"1"]), np.array([b"control"])
        maxwell_entry(h5.create_group("data_store/data0000"), 0, 0, frames, spikes)
        h5["wells/well000/rec0000"] = h5py.SoftLink("/data_store/data0000")
        h5["recordings/rec0000/well000"] = h5py.SoftLink("/data_store/data0000")
    return path


def maxwell_legacy(folder: Path) -> Path:
    path = folder / "maxone.raw.h5"
    sig = np.zeros((1028, 400), dtype="u2")
    counter = 70000 + np.arange(400)
    sig[1026], sig[1027] = counter & 0xFFFF, counter >> 16
    spikes = [(70010, 1, -5.0), (70200, 2, -5.0), (70399, 1, -6.0)]
    with h5py.File(path, "w") as h5:
        h5["version"], h5["mxw_version"] = np.array([b"20160704"]), np.array([b"1.0"])
        h5["wellplate/id"], h5["wellplate/version"] = np.array([b"1"]), np.array([b"MaxOne"])
        h5["mapping"] = np.append(maxwell_mapping([1, 2, 5]), np.array([(-1, -1, 0.0, 0.0)], dtype=MAPPING))
        h5.create_dataset("sig", data=sig, compression="gzip", chunks=(1028, 100))
        h5["proc0/spikeTimes"] = np.array(spikes, dtype=[("frameno", "i8"), ("channel", "i4"), ("amplitude", "f4")])
        h5["bits"] = np.array([(70100, 1), (70110, 0)], dtype=[("frameno", "i8"), ("bits", "i4")])
        for name, value in (("gain", 512.0), ("hpf", 300.0), ("lsb", 6.29e-6)):
            h5[f"settings/{name}"] = np.array([value])
    return path


def _info(rows: list[dict[str, Any]]) -> np.ndarray:
    kinds = {name: TEXT if isinstance(value, str) else np.dtype("i4") for name, value in rows[0].items()}
    return np.array([tuple(row.values()) for row in rows], dtype=list(kinds.items()))


def mcs_recording(recording: h5py.Group, spans: list[tuple[int, int]], tick: int = 40) -> None:
    """Write the start of a recording: its attributes and one stream of voltage in segments of samples."""
    recording.attrs["RecordingID"], recording.attrs["TimeStamp"] = np.int32(0), np.int64(0)
    recording.attrs["Duration"] = np.int64(spans[-1][1])
    stream = recording.create_group("AnalogStream/Stream_0")
    stream.attrs["DataSubType"], stream.attrs["StreamGUID"] = b"Electrode", b"aaaa"
    starts = np.cumsum([0] + [(b - a) // tick for a, b in spans])
    rows = [(a, int(n), int(m) - 1) for (a, _), n, m in zip(spans, starts[:-1], starts[1:])]
    stream["ChannelDataTimeStamps"] = np.array(rows, dtype="i8")
    stream["InfoChannel"] = _info([{"ChannelID": k, "Label": f"{k}", "Tick": tick} for k in (12, 13)])


def mcs_spikes(stream: h5py.Group, prefix: str, key: str, rows: int = 1) -> list[dict[str, Any]]:
    stamps = {0: [400, 80000, 900000], 1: [4000, 4040], 2: []}
    for number, times in stamps.items():
        data = np.zeros((rows, len(times)), dtype="i8")
        data[0] = times
        stream[f"{prefix}{number}"] = data
    stream.attrs["SourceStreamGUID"], stream.attrs["Label"] = b"aaaa", b"Spike Detector (1)    \r\n"
    labels = {0: "12", 1: "13", 2: "28"}
    return [{key: k, "GroupID": 0, "SourceChannelIDs": str(k), "SourceChannelLabels": labels[k]} for k in (2, 1, 0)]


def mcs_file(path: Path) -> h5py.File:
    h5 = h5py.File(path, "w")
    h5.attrs["McsHdf5ProtocolType"], h5.attrs["McsHdf5ProtocolVersion"] = b"RawData", np.int32(3)
    data = h5.create_group("Data")
    for name in ("ProgramName", "ProgramVersion", "MeaLayout", "MeaSN", "Comment"):
        data.attrs[name] = b"x   \r\n"
    data.attrs["MeaName"], data.attrs["DateInTicks"] = b"60MEA200/30iR-Ti    \r\n", np.int64(635404978551720981)
    return h5


def mcs_events(recording: h5py.Group, name: str) -> None:
    events = recording.create_group(f"EventStream/{name}")
    events.attrs["DataSubType"] = b"StgSideband"
    events["EventEntity_0"] = np.array([[100000, 200000], [200, 200]], dtype="i8")
    events["InfoEvent"] = _info([{"EventID": 0, "GroupID": 0, "Label": "pulse", "SourceChannelIDs": "8"}])


def mcs(folder: Path) -> Path:
    """Write spikes as time stamps and again as cut-outs, stimulator events, and a pause."""
    path = folder / "mcs.h5"
    with mcs_file(path) as h5:
        recording = h5.create_group("Data/Recording_0")
        mcs_recording(recording, [(0, 400000), (600000, 1000000)])
        stream = recording.create_group("TimeStampStream/Stream_0")
        stream.attrs["DataSubType"] = b"NeuralSpike"
        rows = mcs_spikes(stream, "TimeStampEntity_", "TimeStampEntityID")
        stream["InfoTimeStamp"] = _info([{**row, "Unit": "s", "Exponent": -6} for row in rows])
        cut_outs = recording.create_group("SegmentStream/Stream_0")
        cut_outs.attrs["DataSubType"] = b"Spike"
        cut_outs["InfoSegment"] = _info(mcs_spikes(cut_outs, "SegmentData_ts_", "SegmentID"))
        mcs_events(recording, "Stream_0")
    return path


def mcs_old(folder: Path) -> Path:
    """Write spikes the old way, as events of sub-type SpikeTimeStamp."""
    path = folder / "mcs_old.h5"
    with mcs_file(path) as h5:
        recording = h5.create_group("Data/Recording_0")
        mcs_recording(recording, [(0, 1000000)])
        stream = recording.create_group("EventStream/Stream_1")
        stream.attrs["DataSubType"] = b"SpikeTimeStamp"
        stream["InfoEvent"] = _info(mcs_spikes(stream, "EventEntity_", "EventID", rows=2))
        mcs_events(recording, "Stream_0")
    return path


def cl1(folder: Path, pulses: list[int] | None = None) -> Path:
    path = folder / "cl1.h5"
    spikes = np.zeros(30, dtype=[("timestamp", "i8"), ("channel", "u1"), ("samples", "f4", (75,))])
    spikes["timestamp"], spikes["channel"] = np.arange(30) * 1600 + 200, np.arange(30) % 5 + 8
    times = np.repeat([5000, 15000, 25000, 35000, 45000] if pulses is None else pulses, 2)
    stims = np.zeros(times.size, dtype=[("timestamp", "i8"), ("channel", "u1")])
    stims["timestamp"], stims["channel"] = times, np.arange(times.size) % 2 + 9
    index = np.array([(9000, 0, 3), (40000, 3, 6)], [("timestamp", "i8"), ("start_index", "u8"), ("end_index", "u8")])
    numbers = {"channel_count": 64, "sampling_frequency": 25000, "frames_per_second": 25000, "duration_frames": 50000}
    stamps = {"start_timestamp": 19340, "end_timestamp": 69340, "duration_seconds": 2.0, "uV_per_sample_unit": 0.195}
    with h5py.File(path, "w") as h5:
        h5.attrs["PYTABLES_FORMAT_VERSION"] = b"2.1"
        h5.attrs["file_format"] = (
            b"(dp0\nVversion\np1\nVSDK\np2\nsVstim_and_spike_timestamps_relative_to_start\np3\nI01\ns."
        )
        for name, value in {**numbers, **stamps}.items():
            h5.attrs[name] = value
        for name in ("created_utc", "ended_utc", "hostname", "project_id", "cell_batch_id"):
            h5.attrs[name] = b"x"
        h5["spikes"], h5["stims"] = spikes, stims
        h5["spikes"].attrs["NROWS"], h5["stims"].attrs["NROWS"] = spikes.size, stims.size
        h5["data_stream/game/index"], h5["data_stream/game/data"] = index, np.frombuffer(b"abcdef", "u1")
    return path


def nwb(folder: Path) -> Path:
    path = folder / "units.nwb"
    times = np.concatenate([np.arange(20) * 0.1 + 0.01, np.arange(15) * 0.13 + 0.02])
    with h5py.File(path, "w") as h5:
        h5.attrs["nwb_version"], h5.attrs["neurodata_type"] = "2.6.0", "NWBFile"
        for name in ("identifier", "session_description", "session_start_time"):
            h5[name] = "x"
        h5["units/spike_times"], h5["units/spike_times_index"] = times, np.array([20, 35], dtype="u1")
        h5["units/spike_times"].attrs["resolution"] = 1 / 30000
        h5["units/id"] = np.array([6, 191])
        h5["units/electrodes"], h5["units/electrodes_index"] = np.array([1, 0, 2]), np.array([1, 3], dtype="u1")
        h5["units/obs_intervals"] = np.array([[0.0, 1.0], [1.2, 2.0], [0.0, 2.0]])
        h5["units/obs_intervals_index"] = np.array([2, 3], dtype="u1")
        electrodes = h5.create_group("general/extracellular_ephys/electrodes")
        electrodes["id"], electrodes["x"] = np.array([10, 11, 12]), np.array([0.0, 20.0, 40.0])
        electrodes["y"] = np.array([5.0, 5.0, 5.0])
        h5["intervals/stimulation/start_time"] = np.array([0.5, 1.5])
        h5["intervals/stimulation/stop_time"] = np.array([0.6, 1.6])
        h5["general/subject/species"] = "Homo sapiens"
    return path


AXION_LINES = [
    "Investigator,,Time (s),Electrode,Amplitude(mV)",
    "Sampling Frequency,12500 Hz,0.01,A1_11,0.05",
    "Actual File Section Run,0s to 1m2s,10.48,B2_34,0.02",
    '"Notes, long",x,30.0,A1_11,0.06',
    ",,61.5,A1_12,0.03",
]


def axion(folder: Path) -> Path:
    path = folder / "spike_list.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(("\r".join(AXION_LINES) + "\r").encode())
    return path


def bxr3(folder: Path) -> Path:
    path = folder / "results.bxr"
    settings = {"TimeConverter": {"FrameRate": 19753.775390625}, "MeaPlate": {"Model": "AccuraV2"}}
    with h5py.File(path, "w") as h5:
        h5.attrs["Version"] = 301
        h5.create_dataset(
            "ExperimentSettings", data=[json.dumps({**settings, "BiologicalModel": "Organoid"})], dtype=TEXT
        )
        h5["TOC"] = np.array([[0, 10000], [10000, 20000], [30000, 40000]], dtype="i8")
        well = h5.create_group("Well_A1")
        well["SpikeTimes"] = np.array([5, 100, 100, 19999, 35000], dtype="i8")
        well["SpikeChIdxs"] = np.array([0, 65, 0, 4095, 65], dtype="i4")
        well["SpikeUnits"] = np.zeros(5, dtype="i4")
        well["StoredChIdxs"] = np.array([0, 65, 4095], dtype="i4")
    return path


def bxr2(folder: Path) -> Path:
    path = folder / "results_v2.bxr"
    channels = np.array([(1, 1), (1, 2), (64, 64)], dtype=[("Row", "i2"), ("Col", "i2")])
    with h5py.File(path, "w") as h5:
        h5["3BRecInfo/3BRecVars/SamplingRate"] = np.array([17855.5])
        h5["3BRecInfo/3BRecVars/NRecFrames"] = np.array([40000])
        h5["3BRecInfo/3BMeaChip/NRows"] = h5["3BRecInfo/3BMeaChip/NCols"] = np.array([64])
        h5["3BRecInfo/3BMeaStreams/Raw/Chs"] = channels
        h5["3BResults/3BChEvents/SpikeTimes"] = np.array([10, 20, 39999], dtype="i8")
        h5["3BResults/3BChEvents/SpikeChIDs"] = np.array([0, 2, 0], dtype="i4")
    return path


def spikelab(folder: Path) -> Path:
    path = folder / "spikedata.h5"
    with h5py.File(path, "w") as h5:
        h5.attrs["length_ms"], h5.attrs["start_time"] = 2000.0, 0.0
        h5["spike_times"] = np.concatenate([np.arange(10) * 0.19, np.arange(5) * 0.39])
        h5["spike_times_index"] = np.array([10, 15])
    return path


def herdingspikes(folder: Path) -> Path:
    path = folder / "herding.hdf5"
    with h5py.File(path, "w") as h5:
        h5["times"], h5["cluster_id"] = np.array([7, 70, 700, 7000]), np.array([0, 1, 0, 1])
        h5["centres"], h5["Sampling"] = np.array([[1.0, 2.0], [3.0, 4.0]]), 7022.0
    return path


def ptrain(folder: Path) -> Path:
    path = folder / "ptrain_20200101_01_nbasal"
    path.mkdir()
    for channel, samples in (("A04", [120, 3000, 9000]), ("A05", []), ("B03", [121, 15000])):
        rows = [(20000, 0.0), *((sample, 30.0 + sample / 1000) for sample in samples)]
        text = "".join(f"{a:16.7e}{b:16.7e}\n" for a, b in rows)
        (path / f"ptrain_20200101_01_nbasal_{channel}.txt").write_text(text)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    writer.__name__: writer
    for writer in (
        organoid_file, organoid_unsealed, organoid_session, carmen, carmen_plate,
        maxwell, maxwell_legacy, mcs, mcs_old, cl1, nwb, axion, phy, phy_folder,
        bxr3, bxr2, spikelab, herdingspikes, ptrain, si_npz, si_folder,
        mat_mea_nap, mat_wave_clus, mat_cell_explorer, mat73,
    )
}  # fmt: skip
