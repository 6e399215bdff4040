"""Traps seen in real files that no other test of readers covers, each on a file written for it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_files as files
from changed_files import put, said, written

from organoid import RecordingError, read_recording
from organoid.io.frames import runs_of_frames
from organoid.io.info import file_info
from organoid.io.registry import NoSpikesError

ENTRY = "data_store/data0000"


class TestCarmen:
    def test_a_clock_that_started_long_before_keeps_its_times(self, tmp_path: Path) -> None:
        times = np.concatenate([np.linspace(1200.0, 1799.0, n) for n in (20, 10, 5)])
        rec = read_recording(written(files.carmen, tmp_path, spikes=times, recordingtime=None))
        assert (rec.t_start, rec.t_stop) == (1200.0, 1799.000001)
        assert said(rec, "summary/duration says 1 s")
        assert said(rec, "the clock did not start with the recording")

    def test_two_units_of_one_electrode_and_repeated_times(self, tmp_path: Path) -> None:
        epos, names = np.array([[200.0, 200.0], [1300.0, 1300.0]]), np.array([b"ch_13a", b"ch_13b"])
        times = np.array([0.1, 0.1, 0.1, 0.2, 0.1, 0.1004])
        changes = {"spikes": times, "sCount": np.array([4, 2]), "epos": epos, "names": names}
        rec = read_recording(written(files.carmen, tmp_path, **changes))
        assert rec.spike_times.tolist() == [0.1, 0.1, 0.1, 0.1, 0.1004, 0.2]
        assert (rec.n_units, len(rec.electrodes)) == (2, 1)
        assert rec.counts(0.001)[100].tolist() == [3, 2]

    def test_six_datasets_are_enough(self, tmp_path: Path) -> None:
        path = tmp_path / "six.h5"
        with h5py.File(path, "w") as h5:
            h5["spikes"], h5["sCount"] = np.array([167.5, 168.0, 500.0]), np.array([2, 1], dtype="i4")
            h5["epos"], h5["names"] = np.array([[0.0, 50.0], [0.0, 0.0]]), np.array([b"A1_11", b"A1_12"])
            h5["array"], h5["channels"] = b"Axion 48 well", np.array([b"A1_11", b"A1_12"])
        rec = read_recording(path)
        assert (rec.n_units, rec.t_start, rec.wells) == (2, 167.5, ("A1",))
        assert said(rec, "says nothing about the culture")

    def test_an_adult_is_not_500_days_old(self, tmp_path: Path) -> None:
        assert said(read_recording(written(files.carmen, tmp_path, **{"meta/age": np.array([500.0])})), "adult animals")

    def test_one_spike_is_a_recording(self, tmp_path: Path) -> None:
        changes = {
            "spikes": np.array([136.2]),
            "sCount": np.array([1]),
            "epos": np.zeros((2, 1)),
            "recordingtime": None,
        }
        rec = read_recording(written(files.carmen, tmp_path, names=np.array([b"ch_12"]), **changes))
        assert (rec.n_spikes, rec.n_units) == (1, 1)
        assert 0 < rec.duration < 1e-5


def two_wells(folder: Path) -> Path:
    """Write a MaxTwo file of two wells and two recordings with different electrodes, one of them without spikes."""
    path = folder / "plate.raw.h5"
    with h5py.File(path, "w") as h5:
        h5["version"] = np.array([b"20190530"])
        for number, (well, rec) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            entry = h5.create_group(f"data_store/data{number:04d}")
            spikes = [(1000 + k, 1 + k % 2, -5.0) for k in range(number + 1)]
            files.maxwell_entry(entry, well, rec, np.arange(1000, 2000), spikes)
            put(h5, f"{entry.name}/settings/mapping", files.maxwell_mapping([1, 2, 7 + number]))
            h5[f"wells/well{well:03d}/rec{rec:04d}"] = h5py.SoftLink(entry.name)
            h5[f"recordings/rec{rec:04d}/well{well:03d}"] = h5py.SoftLink(entry.name)
            put(h5, f"wellplate/well{well:03d}/name", np.array([str(well + 1).encode()]))
        del h5["data_store/data0003/spikes"]
        h5["wells/well000/rec0002"] = h5py.SoftLink("/data_store/data0099")
    return path


class TestMaxWell:
    def test_info_lists_what_there_is_and_does_not_fail(self, tmp_path: Path) -> None:
        info = file_info(two_wells(tmp_path))
        held = [(entry["well"], entry["recording"], entry["n_spikes"]) for entry in info["entries"]]
        assert held == [("well000", "rec0000", 1), ("well000", "rec0001", 2), ("well001", "rec0000", 3)]
        assert info["n_spikes"] == 6
        assert any("well001 rec0001: recognised, holds no detected spikes" in note for note in info["notes"])
        assert any("well000 rec0002" in note and "leads nowhere" in note for note in info["notes"])

    def test_names_numbers_and_wrong_ones(self, tmp_path: Path) -> None:
        path = two_wells(tmp_path)
        with pytest.raises(RecordingError, match=r"5 recordings; say which with well= one of well000, well001"):
            read_recording(path)
        named = read_recording(path, well="well000", recording="rec0001")
        assert read_recording(path, well=0, recording=1).equals(named)
        assert named.electrodes["channel"].tolist() == [1, 2, 8]
        with pytest.raises(NoSpikesError, match="holds no detected spikes"):
            read_recording(path, well=1, recording=1)
        with pytest.raises(RecordingError, match=r"no recording '7' in this file; choices: rec0000, rec0001, rec0002"):
            read_recording(path, well=0, recording=7)

    def test_notes_of_odd_spikes_and_frames(self, tmp_path: Path) -> None:
        rec = read_recording(files.maxwell(tmp_path))
        assert said(rec, "500 of 10000 frames were lost in 1 gaps")
        assert said(rec, "1 of 6 spikes lie before the first recorded frame, up to 1000 frames")
        assert said(rec, "1 of 6 spikes lie in gaps of lost frames")
        assert said(rec, "1 of 6 spikes are on channels missing from the mapping (99)")
        assert rec.is_observed(rec.spike_ticks).tolist() == [False, True, True, False, True, True]

    def test_numbered_stimuli_of_later_versions(self, tmp_path: Path) -> None:
        kinds = [("frameno", "i8"), ("eventtype", "u4"), ("eventid", "u4"), ("eventmessage", h5py.string_dtype())]
        rows = [(5200, 5, 1, '{"text": "custom_id 12"}'), (6000, 7, 2, "start")]
        path = written(files.maxwell, tmp_path, **{f"{ENTRY}/events": np.array(rows, dtype=kinds)})
        rec = read_recording(path)
        assert rec.stimuli[["time_s", "waveform_id"]].to_numpy().tolist() == [[0.02, 12]]
        assert rec.events[["time_s", "kind", "label"]].to_numpy().tolist() == [[0.1, "type 7", "start"]]
        assert said(rec, "1 events of 'events' (type 7) are marks, not pulses")
        assert read_recording(path, stimuli="events:type 7").stimuli["time_s"].tolist() == [0.02, 0.1]

    def test_a_rate_and_a_geometry_no_chip_has_are_noted(self, tmp_path: Path) -> None:
        mapping = files.maxwell_mapping([1, 2, 5])
        mapping["x"][1] += 3.0
        changes = {f"{ENTRY}/settings/mapping": mapping, f"{ENTRY}/settings/sampling": np.array([12345.0])}
        rec = read_recording(written(files.maxwell, tmp_path, **changes))
        assert said(rec, "1 of 3 positions are not those of their electrode numbers")
        assert said(rec, "the sampling rate is 12345 Hz")

    def test_frames_of_a_group_with_another_name(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        expected = read_recording(path)
        with h5py.File(path, "a") as h5:
            h5.move(f"{ENTRY}/groups/routed", f"{ENTRY}/groups/all_channels")
        assert read_recording(path).observed.tolist() == expected.observed.tolist()

    def test_gaps_are_found_wherever_they_lie(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        with h5py.File(tmp_path / "frames.h5", "w") as h5:
            for n_gaps in (0, 1, 2, 40):
                steps = np.ones(300_000, dtype=np.int64)
                steps[rng.choice(300_000, n_gaps, replace=False)] += rng.integers(1, 1000, n_gaps)
                frames = 777 + np.cumsum(steps)
                h5[f"f{n_gaps}"] = frames.astype("u8")
                cuts = np.flatnonzero(np.diff(frames) > 1)
                expected = list(zip(frames[np.r_[0, cuts + 1]], frames[np.r_[cuts, len(frames) - 1]] + 1))
                assert runs_of_frames(h5[f"f{n_gaps}"], "f", []) == expected
            frames[150_000] = frames[149_990]
            h5["back"] = frames
            with pytest.raises(RecordingError, match="'back': frame numbers step back"):
                runs_of_frames(h5["back"], "back", [])


class TestMultiChannelSystems:
    STREAM = "Data/Recording_0/TimeStampStream/Stream_0"

    def test_several_recordings_are_listed_and_chosen(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            h5.copy("Data/Recording_0", "Data/Recording_1")
            put(h5, "Data/Recording_1/TimeStampStream/Stream_0/TimeStampEntity_0", np.array([[800]]))
            del h5["Data/Recording_1/SegmentStream"]
        assert [entry["n_spikes"] for entry in file_info(path)["entries"]] == [5, 3]
        with pytest.raises(RecordingError, match="recording= one of Recording_0, Recording_1"):
            read_recording(path)
        assert read_recording(path, recording=1).n_spikes == 3

    def test_cut_outs_of_another_detector_are_not_dropped(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            cut_outs = h5["Data/Recording_0/SegmentStream/Stream_0"]
            cut_outs.attrs["SourceStreamGUID"] = b"bbbb"
            put(cut_outs, "SegmentData_ts_1", np.array([[5000]], dtype="i8"))
        rec = read_recording(path)
        assert rec.n_spikes == 5 + 4
        assert said(rec, "2 spike streams are kept side by side")

    def test_cut_outs_with_other_counts_are_not_counted_and_averages_are_no_spikes(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            put(h5, "Data/Recording_0/SegmentStream/Stream_0/SegmentData_ts_1", np.array([[5000]], dtype="i8"))
        rec = read_recording(path)
        assert rec.n_spikes == 5
        assert said(rec, "the time stamps are used")
        with h5py.File(path, "a") as h5:
            h5["Data/Recording_0/SegmentStream/Stream_0"].attrs["DataSubType"] = b"Average"
            del h5["Data/Recording_0/TimeStampStream"]
        with pytest.raises(NoSpikesError):
            read_recording(path)

    def test_stamps_on_one_axis_and_labels_from_the_voltage(self, tmp_path: Path) -> None:
        path = files.mcs_old(tmp_path)
        with h5py.File(path, "a") as h5:
            stream = h5["Data/Recording_0/EventStream/Stream_1"]
            for number in range(3):
                put(stream, f"EventEntity_{number}", stream[f"EventEntity_{number}"][0])
            rows = [(2, "13"), (1, "12,13"), (0, "12")]
            put(
                stream,
                "InfoEvent",
                np.array(rows, dtype=[("EventID", "i4"), ("SourceChannelIDs", h5py.string_dtype())]),
            )
            info = np.array(
                [(12, "E1 \r\n", 40), (13, "E2", 40)], [("ChannelID", "i4"), ("Label", files.TEXT), ("Tick", "i4")]
            )
            put(h5, "Data/Recording_0/AnalogStream/Stream_0/InfoChannel", info)
        rec = read_recording(path)
        assert rec.spike_times.tolist() == [0.0004, 0.004, 0.00404, 0.08, 0.9]
        assert list(rec.units["name"]) == ["E1", "channel 12,13", "E2"]
        assert rec.units["channel"].fillna(-1).tolist() == [12, -1, 13]

    def test_an_empty_stream_of_stamps_does_not_hide_older_spikes(self, tmp_path: Path) -> None:
        path = files.mcs_old(tmp_path)
        with h5py.File(path, "a") as h5:
            h5.create_group(self.STREAM)
        rec = read_recording(path)
        assert list(rec.units["name"]) == ["12", "13", "28"]
        assert said(rec, "names no sources of spikes")

    def test_user_marks_have_no_duration_and_a_hexagonal_array_no_grid(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            events = h5["Data/Recording_0/EventStream/Stream_0"]
            events.attrs["DataSubType"] = b"UserInput"
            put(events, "EventEntity_0", np.array([[100000], [0]], dtype="i8"))
            h5["Data"].attrs["MeaName"] = b"60HexaMEA40/10iR"
        rec = read_recording(path)
        assert len(rec.stimuli) == 0
        assert rec.events[["time_s", "duration_s", "kind"]].to_numpy().tolist() == [[0.1, 0.0, "UserInput"]]
        assert said(rec, "gives no electrode distance")


class TestThreeBrain:
    def test_raw_files_of_either_age_hold_no_spikes(self, tmp_path: Path) -> None:
        old = written(files.bxr2, tmp_path, **{"3BResults": None, "3BData/Raw": np.zeros(100, "u2")})
        assert file_info(old)["notes"] == ["recognised, holds no detected spikes"]
        new = written(files.bxr3, tmp_path, **{"Well_A1/SpikeTimes": None, "Well_A1/Raw": np.zeros(100, "u2")})
        with pytest.raises(NoSpikesError, match="recognised, holds no detected spikes"):
            read_recording(new)

    @pytest.mark.parametrize(("model", "pitch"), [("CorePlate1W", 60.0), ("Stimulo", 81.0), ("Arena", 42.0)])
    def test_the_pitch_follows_the_model(self, model: str, pitch: float, tmp_path: Path) -> None:
        settings = {"TimeConverter": {"FrameRate": 20000.0}, "MeaPlate": {"Model": model}}
        rec = read_recording(
            written(files.bxr3, tmp_path, ExperimentSettings=np.array([json.dumps(settings).encode()]))
        )
        assert rec.units["x_um"].tolist() == [0.0, pitch, 63 * pitch]
        assert said(rec, "42 um assumed") == (pitch == 42.0)

    def test_sorted_units_of_one_channel_and_marks_of_the_user(self, tmp_path: Path) -> None:
        rec = read_recording(written(files.bxr3, tmp_path, **{"Well_A1/SpikeUnits": np.array([1, 0, 2, 0, 0])}))
        assert list(rec.units["name"]) == ["ch0_1", "ch0_2", "ch65_0", "ch4095_0"]
        marks = np.array([(5,)], dtype=[("Frame", "i8")])
        rec = read_recording(written(files.bxr2, tmp_path, **{"3BUserInfo/ExpMarkers": marks}))
        assert said(rec, "1 marks that are left out") and not len(rec.events)  # not the columns of a mark


class TestCL1:
    def test_tables_that_were_not_asked_for(self, tmp_path: Path) -> None:
        rec = read_recording(written(files.cl1, tmp_path, stims=None, data_stream=None))
        assert len(rec.stimuli) == 0
        assert said(rec, "stimulation was not stored")
        with pytest.raises(NoSpikesError):
            read_recording(written(files.cl1, tmp_path, spikes=None))

    def test_a_program_that_dies_early_leaves_a_file_of_full_length(self, tmp_path: Path) -> None:
        path = files.cl1(tmp_path, pulses=[5000 * k for k in range(1, 16)])  # 3 s of pulses
        with h5py.File(path, "a") as h5:
            rows = h5["data_stream/game/index"][()]
            rows["timestamp"] = [9000, 74000]
            put(h5, "data_stream/game/index", rows)
            h5.attrs["duration_frames"], h5.attrs["end_timestamp"] = 3_000_000, 19340 + 3_000_000
            h5.attrs["git_hash"] = h5py.Empty("S1")
        rec = read_recording(path)
        assert rec.t_stop == 120.0
        assert said(rec, "pulses and log entries stop at 3.000 s, 117.000 s before the end")

    def test_spikes_on_ground_channels_and_beyond_are_counted(self, tmp_path: Path) -> None:
        path = files.cl1(tmp_path)
        with h5py.File(path, "a") as h5:
            rows = h5["spikes"][()]
            rows["channel"][:3] = [0, 4, 99]
            h5["spikes"][...] = rows
        rec = read_recording(path)
        assert said(rec, "2 of 30 spikes are on ground or reference channels")
        assert said(rec, "1 of 30 spikes are on channels that do not exist")
