"""CARMEN files: the counts of the published ones, and every trap on files written here."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from real_recordings import real_recording

from organoid import RecordingError, read_recording
from organoid.io.info import file_info

REAL = [
    ("C57_CTX_G2CEPHYS3_TC21_DIV10_D.h5", 40, 20023, 0.0, 911.1),
    ("C57_CTX_G2CEPHYS3_TC21_DIV14_D.h5", 55, 80141, 0.0, 911.1),
    ("C57_CTX_G2CEPHYS3_TC21_DIV17_D.h5", 57, 158131, 0.0, 911.1),
    ("C57_CTX_G2CEPHYS3_TC21_DIV21_D.h5", 58, 257056, 0.0, 911.1),
    ("hiPSN_tc146_d13_spikes6sd.h5", 37, 14354, 0.0, 300.09632),
    ("hiPSN_tc146_d21_spikes6sd.h5", 43, 29737, 0.0, 300.07548),
    ("CO_20140212_MW1007-51_DIV05_00_001.h5", 256, 53081, 165.768, 1154.47408),
    ("ON_20140507_MW1007-103_DIV02_00_001.h5", 1, 1, 136.18248, 136.18248),
    ("Demas2006_p21nobdr1.h5", 39, 96190, 1200.00065, 1799.9886),
    ("Torborg2004_2001-10-22-0.h5", 7, 1781, 0.0, 1215.59355),
    ("Maccione2014_P9_7March11_control_SpkTs_bursts_filtered.h5", 1240, 448089, 0.0, 1799.99961),
]


@pytest.mark.parametrize(("name", "n_units", "n_spikes", "t_start", "t_stop"), REAL)
def test_counts_and_window_of_published_files(
    name: str, n_units: int, n_spikes: int, t_start: float, t_stop: float
) -> None:
    path = real_recording("carmen", name)
    rec = read_recording(path)
    assert (rec.n_units, rec.n_spikes) == (n_units, n_spikes)
    assert rec.t_start == pytest.approx(t_start, abs=1e-5)
    assert rec.t_stop == pytest.approx(t_stop, abs=1e-5)
    info = file_info(path)
    assert (info["format"], info["n_units"], info["n_spikes"]) == ("carmen", n_units, n_spikes)
    assert sum(entry["n_spikes"] for entry in info["entries"]) == n_spikes
    with h5py.File(path) as h5:
        times = [np.sort(part) for part in np.split(h5["spikes"][()], np.cumsum(h5["sCount"][()])[:-1])]
    for unit in (0, n_units // 2, n_units - 1):
        np.testing.assert_array_equal(rec.spike_times[rec.spike_units == unit], times[unit])


def test_a_plate_holds_46_wells() -> None:
    rec = read_recording(real_recording("carmen", "CO_20140212_MW1007-51_DIV05_00_001.h5"))
    assert len(rec.wells) == 46
    assert rec.metadata["wells"]["A1"] == {"treatment": "control", "dose": "0", "units": "uM"}
    assert sum(rec.select(well=well).n_spikes for well in rec.wells) == 53081
    assert list(rec.select(well="A1").units["name"]) == ["A1_21", "A1_42", "A1_44"]


def test_a_wrong_array_label_is_noted_and_a_right_one_is_not() -> None:
    wrong = read_recording(real_recording("carmen", "hiPSN_tc146_d13_spikes6sd.h5"))
    assert any("APS_64x64_42um" in note and "200 um" in note for note in wrong.notes)
    right = read_recording(real_recording("carmen", REAL[-1][0]))
    assert not any("label" in note for note in right.notes)


def test_positions_follow_the_names_of_the_electrodes() -> None:
    rec = read_recording(real_recording("carmen", "C57_CTX_G2CEPHYS3_TC21_DIV14_D.h5"))
    units = rec.units.set_index("name")
    assert units.loc["ch_12B_unit_0", ["x_um", "y_um"]].tolist() == [200.0, 1400.0]
    assert rec.metadata["age"] == 14
    assert rec.metadata["species"] == "mouse"
    assert rec.notes == ("meta does not say: cond",)


def carmen(path: Path, **fields: Any) -> Path:
    """Write a small CARMEN file; a field given as None is left out."""
    held: dict[str, Any] = {
        "spikes": np.array([0.1, 0.5, 0.9, 0.2, 0.3]),
        "sCount": np.array([3, 2], dtype="i4"),
        "epos": np.array([[200.0, 400.0], [200.0, 200.0]]),
        "names": np.array([b"ch_17", b"ch_27"]),
        "array": np.array([b"MCS_8x8_200um"]),
        "recordingtime": np.array([0.0, 1.0]),
        "meta/age": np.array([7]),
        "meta/species": np.array([b"mouse"]),
        "summary/N": np.array([2]),
        **fields,
    }
    with h5py.File(path, "w") as h5:
        for name, value in held.items():
            if value is not None:
                h5[name] = value
    return path


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"names": None}, "named by their order"),
        ({"names": np.array([b"a"])}, "holds 1 names for 2 units"),
        ({"names": np.array([b"a", b"a"])}, "more than once"),
        ({"epos": None}, "positions unknown"),
        ({"epos": np.zeros((3, 3))}, "positions unknown: epos has shape"),
        ({"epos": np.array([[np.nan, 1.0], [0.0, 0.0]])}, "1 of 2 positions"),
        ({"array": None}, "no label"),
        ({"array": b"MCS_8x8_42um"}, "doubtful"),
        ({"recordingtime": None}, "t_stop inferred"),
        ({"recordingtime": np.array([0.0, 0.5])}, "t_stop moved"),
        ({"recordingtime": np.array([0.2, 1.0])}, "t_start moved"),
        ({"recordingtime": np.array([1.0, 0.0])}, "stored window ignored"),
        ({"recordingtime": np.array([0.0, 100.0])}, "spikes run only"),
        ({"meta/age": None}, "meta does not say: age"),
        ({"meta/age": None, "meta/species": None}, "nothing about the culture"),
        ({"meta/age": b"old"}, "meta/age is not one number"),
        ({"meta/age": np.arange(3)}, "meta/age does not hold one value"),
        ({"summary/N": np.array([3])}, "summary/N says 3"),
        ({"summary/duration": np.array([600.0])}, "summary/duration says 600"),
        ({"spikes": np.array([-0.1, 0.5, 0.9, 0.2, 0.3]), "recordingtime": None}, "spikes before 0"),
        ({"spikes": np.array([0.5, 0.1, 0.9, 0.2, 0.3])}, "step back 1 times"),
        ({"sCount": np.array([5, 0])}, "1 of 2 units have no spikes"),
        ({"well": np.array([b"A1", b"A2"])}, "name no well"),
    ],
)
def test_every_oddity_is_noted(tmp_path: Path, fields: dict[str, Any], note: str) -> None:
    rec = read_recording(carmen(tmp_path / "odd.h5", **fields))
    assert any(note in held for held in rec.notes), rec.notes
    assert rec.n_spikes == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sCount": np.array([3, 1])}, "do not add up: 'sCount' sums to 4"),
        ({"sCount": np.array([-1, 6])}, "'sCount' must hold whole"),
        ({"sCount": np.array([2.5, 2.5])}, "'sCount' must hold whole"),
        ({"sCount": np.array([10**18, -(10**18) + 5])}, "'sCount' must hold whole"),
        ({"sCount": np.array([b"3", b"2"])}, "'sCount' has shape"),
        ({"spikes": np.array([0.1, np.nan, 0.9, 0.2, 0.3])}, "'spikes': 1 of 5 times are NaN"),
        ({"spikes": np.zeros((5, 1))}, "'spikes' has shape"),
        ({"spikes": np.array([0.1, 1e300, 0.9, 0.2, 0.3])}, "samples or milliseconds"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_recording(carmen(tmp_path / "bad.h5", **fields))


def test_bytes_scalars_and_missing_metadata_are_taken(tmp_path: Path) -> None:
    fields = {"array": b"MCS_8x8_200um  \r\n", "epos": np.array([[200, 400], [200, 200]]), "summary/N": None}
    rec = read_recording(carmen(tmp_path / "plain.h5", **fields))
    assert rec.metadata["array"] == "MCS_8x8_200um"
    assert [note for note in rec.notes if "meta does not say" not in note] == []


def test_an_empty_file_of_the_layout_is_an_empty_recording(tmp_path: Path) -> None:
    fields = {"spikes": np.empty(0), "sCount": np.empty(0, "i4"), "epos": np.empty((2, 0)), "names": None}
    rec = read_recording(carmen(tmp_path / "empty.h5", **fields))
    assert (rec.n_units, rec.n_spikes, rec.t_stop) == (0, 0, 1.0)
    assert any("no spikes" in note for note in rec.notes)


def test_a_trillion_claimed_spikes_are_refused_at_once(tmp_path: Path) -> None:
    path = carmen(tmp_path / "huge.h5", spikes=None)
    with h5py.File(path, "a") as h5:
        h5.create_dataset("spikes", (10**12,), "f8", chunks=(1024,))
    with pytest.raises(RecordingError, match=r"'spikes' claims 1e\+12 values"):
        read_recording(path)
