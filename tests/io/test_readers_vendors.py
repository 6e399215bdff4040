"""Traps of single formats, on real files where there are any and on files written for the trap."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_files as files
from real_recordings import real_recording

from organoid import RecordingError, read_recording
from organoid.io.info import file_info


def said(rec_or_notes: object, words: str) -> bool:
    return any(words in note for note in getattr(rec_or_notes, "notes", rec_or_notes))  # type: ignore[arg-type,union-attr]


class TestMaxWell:
    COUNTS = ((12, 184, 11, 11, 11, 4), (16, 7, 7, 7, 12, 2))

    def test_every_well_and_recording_of_the_real_file(self) -> None:
        path = real_recording("maxwell", "MaxTwo_6well.raw.h5")
        for recording, counts in enumerate(self.COUNTS):
            for well, count in enumerate(counts):
                rec = read_recording(path, well=f"well{well:03d}", recording=f"rec{recording:04d}")
                assert rec.n_spikes == count
                assert rec.sampling_rate == 10000.0
                assert read_recording(path, well=well, recording=recording).equals(rec)

    def test_spikes_before_the_first_frame_and_on_unmapped_channels_are_kept_and_counted(self) -> None:
        rec = read_recording(real_recording("maxwell", "MaxTwo_6well.raw.h5"), well="1", recording="0")
        assert said(rec, "125 of 184 spikes lie before the first recorded frame, up to 1667 frames")
        assert said(rec, "5 of 184 spikes are on channels missing from the mapping")
        assert int((rec.spike_times < 0).sum()) == 125
        assert rec.observed.tolist() == [[0.0, 1.0]]
        assert int(rec.is_observed(rec.spike_ticks).sum()) == 59

    def test_an_ambiguous_file_lists_the_choices(self) -> None:
        path = real_recording("maxwell", "MaxTwo_6well.raw.h5")
        with pytest.raises(RecordingError, match=r"12 recordings.*well= one of well000.*recording= one of rec0000"):
            read_recording(path)
        with pytest.raises(RecordingError, match=r"2 recordings; say which with recording= one of rec0000, rec0001"):
            read_recording(path, well="well003")
        with pytest.raises(RecordingError, match=r"no well '6' in this file; choices: well000"):
            read_recording(path, well=6)

    def test_frames_lost_are_holes(self, tmp_path: Path) -> None:
        rec = read_recording(files.maxwell(tmp_path))
        assert rec.observed.tolist() == [[0.0, 0.4], [0.45, 1.0]]
        assert rec.spike_times.tolist() == [-0.1, 0.01, 0.01, 0.42, 0.7, 0.9999]
        assert list(rec.units["electrode"])[:3] == [1007, 1014, 1035]

    def test_links_are_followed_from_either_side_and_ids_serve_without_them(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        whole = read_recording(path)
        for removed in ("wells", "recordings"):
            with h5py.File(path, "a") as h5:
                del h5[removed]
            again = read_recording(path, well="0", recording="0")
            assert again.spike_times.tolist() == whole.spike_times.tolist()

    def test_a_repeated_and_a_doubled_channel_are_noted(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            rows = h5["data_store/data0000/settings/mapping"][()]
            del h5["data_store/data0000/settings/mapping"]
            other = rows[:1].copy()
            other["electrode"] = 9
            h5["data_store/data0000/settings/mapping"] = np.concatenate([rows, rows[1:2], other])
        rec = read_recording(path)
        assert said(rec, "1 rows are repeated")
        assert said(rec, "1 channels lie on several electrodes")

    def test_the_rate_is_never_assumed_in_the_new_layout(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["data_store/data0000/settings/sampling"]
        with pytest.raises(RecordingError, match="settings/sampling' is missing"):
            read_recording(path)

    def test_without_frames_the_first_spike_is_time_0(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["data_store/data0000/groups/routed"]
        rec = read_recording(path)
        assert rec.spike_times[0] == 0.0
        assert said(rec, "time 0 is the first spike")

    def test_raw_only_is_recognised(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["data_store/data0000/spikes"]
        with pytest.raises(RecordingError, match="recognised, holds no detected spikes"):
            read_recording(path)
        assert file_info(path)["n_spikes"] == 0

    def test_legacy_counts_from_its_first_frame(self, tmp_path: Path) -> None:
        rec = read_recording(files.maxwell_legacy(tmp_path))
        assert rec.spike_times.tolist() == [0.0005, 0.01, 399 / 20000]
        assert len(rec.electrodes) == 3
        assert rec.events[["time_s", "kind"]].to_numpy().tolist() == [[0.005, "bits"]]
        assert len(rec.stimuli) == 0
        assert said(rec, "20000 Hz is assumed")

    def test_a_header_only_file_is_an_empty_recording(self, tmp_path: Path) -> None:
        path = files.maxwell_legacy(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["sig"], h5["proc0/spikeTimes"]
            h5.create_dataset("sig", (1028, 0), "u2", maxshape=(1028, None), chunks=(1028, 10))
        rec = read_recording(path)
        assert (rec.n_spikes, rec.n_units, len(rec.electrodes)) == (0, 0, 3)
        assert said(rec, "header only")


class TestMultiChannelSystems:
    def test_the_real_file_joins_rows_by_id(self) -> None:
        rec = read_recording(real_recording("mcs", "2014-07-09T10-17-35W8 Standard all 500 Hz.h5"))
        assert list(rec.units["name"]) == [f"E{k}" for k in range(1, 9)]
        assert np.bincount(rec.spike_units).tolist() == [26, 23, 30, 33, 29, 28, 29, 26]
        assert rec.stimuli.empty, "a digital port is a mark, not the stimulator"
        assert rec.events["time_s"].iloc[:2].tolist() == [0.216, 1.916]
        assert rec.sampling_rate == 500.0
        assert (rec.t_start, rec.t_stop) == (0.0, 19.7)

    @pytest.mark.parametrize("writer", [files.mcs, files.mcs_old])
    def test_spikes_are_spikes_and_counted_once(self, writer: object, tmp_path: Path) -> None:
        rec = read_recording(writer(tmp_path))  # type: ignore[operator]
        assert rec.spike_times.tolist() == [0.0004, 0.004, 0.00404, 0.08, 0.9]
        assert list(rec.units["name"]) == ["12", "13", "28"]
        assert rec.units["y_um"].tolist() == [1400.0, 1200.0, 200.0]
        assert rec.stimuli["duration_s"].tolist() == [0.0002, 0.0002]

    def test_a_pause_is_a_hole(self, tmp_path: Path) -> None:
        assert read_recording(files.mcs(tmp_path)).observed.tolist() == [[0.0, 0.4], [0.6, 1.0]]

    def test_cut_outs_alone_give_the_spikes(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["Data/Recording_0/TimeStampStream"]
        rec = read_recording(path)
        assert rec.n_spikes == 5
        assert said(rec, "cut-outs")

    def test_an_entity_without_its_stamps_is_noted(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["Data/Recording_0/TimeStampStream/Stream_0/TimeStampEntity_0"]
        assert said(read_recording(path), "TimeStampEntity_0 is missing")


class TestCL1:
    def test_the_simulators_file(self) -> None:
        rec = read_recording(real_recording("cl1", "cl1_simulator_20s.h5"))
        assert (rec.n_spikes, len(rec.stimuli), rec.t_stop) == (1496, 264, 20.0)
        assert rec.metadata["data_streams"]["game"]["n_entries"] == 8
        assert not set(rec.units["channel"]) & {0, 4, 7, 56, 63}
        assert int(rec.electrodes["can_stimulate"].sum()) == 59
        assert not said(rec, "interrupted")

    def test_an_interrupted_session_is_noticed(self, tmp_path: Path) -> None:
        path = files.cl1(tmp_path, pulses=[1000, 2000, 3000, 4000])
        with h5py.File(path, "a") as h5:
            del h5["data_stream"]
        assert said(read_recording(path), "may have been interrupted")

    def test_frames_that_count_from_the_device_are_shifted(self, tmp_path: Path) -> None:
        path = files.cl1(tmp_path)
        relative = read_recording(path)
        with h5py.File(path, "a") as h5:
            h5.attrs["file_format"] = np.bytes_(bytes(h5.attrs["file_format"].encode()).replace(b"I01", b"I00"))
            for name in ("spikes", "stims", "data_stream/game/index"):
                rows = h5[name][()]
                rows["timestamp"] += 19340
                h5[name][...] = rows
        shifted = read_recording(path)
        np.testing.assert_array_equal(shifted.spike_times, relative.spike_times)
        assert said(shifted, "start_timestamp (19340)")

    def test_a_pickled_attribute_is_never_unpickled(self, tmp_path: Path) -> None:
        path, trap = files.cl1(tmp_path), tmp_path / "trap"
        with h5py.File(path, "a") as h5:
            h5.attrs["application"] = np.bytes_(f"cos\nmkdir\n(S'{trap}'\ntR.".encode())
            h5.attrs["file_format"] = np.bytes_(f"cos\nmkdir\n(S'{trap}'\ntR.".encode())
        read_recording(path)
        assert not trap.exists()


class TestNWB:
    def test_the_real_file(self) -> None:
        rec = read_recording(real_recording("nwb", "A8604-211122.nwb"))
        assert list(rec.units["name"]) == ["6", "191", "206"]
        assert rec.t_stop == 1087.5289
        assert np.bincount(rec.spike_units).sum() == 21354

    def test_one_byte_ends_and_rows_of_electrodes(self, tmp_path: Path) -> None:
        rec = read_recording(files.nwb(tmp_path))
        assert np.bincount(rec.spike_units).tolist() == [20, 15]
        assert rec.units["electrode"].tolist() == [11, 10]
        assert rec.observed.tolist() == [[0.0, 1.0], [1.2, 2.0]]
        assert rec.stimuli["time_s"].tolist() == [0.5, 1.5]
        assert rec.sampling_rate == pytest.approx(30000)

    def test_ends_with_a_leading_zero(self, tmp_path: Path) -> None:
        path = files.nwb(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["units/spike_times_index"]
            h5["units/spike_times_index"] = np.array([0, 20, 35], dtype="u2")
        rec = read_recording(path)
        assert np.bincount(rec.spike_units).tolist() == [20, 15]
        assert said(rec, "begins with a 0")

    def test_units_in_a_processing_module(self, tmp_path: Path) -> None:
        path = files.nwb(tmp_path)
        with h5py.File(path, "a") as h5:
            h5.create_group("processing/ecephys")
            h5.move("units", "processing/ecephys/sorted")
            h5["processing/ecephys/sorted"].attrs["neurodata_type"] = "Units"
        assert read_recording(path).n_spikes == 35

    def test_no_units_table_is_recognised(self, tmp_path: Path) -> None:
        path = files.nwb(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["units"]
        with pytest.raises(RecordingError, match="recognised, holds no detected spikes"):
            read_recording(path)


class TestAxion:
    def test_the_real_file(self) -> None:
        rec = read_recording(real_recording("axion", "exampleRecording_1012016_plate1_DIV3_spike_list.csv.gz"))
        assert (rec.n_units, len(rec.wells)) == (269, 20)
        assert rec.sampling_rate == 12500.0
        assert rec.metadata["settings"]["Plate Type"].startswith("Maestro 48-Well")
        assert said(rec, "seems to have been cut")

    @pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
    def test_any_line_end_and_a_footer(self, end: str, tmp_path: Path) -> None:
        path = tmp_path / "list.csv"
        path.write_bytes(end.join([*files.AXION_LINES, "Well Information,,,A1,B2", "Treatment,,Control,x,"]).encode())
        rec = read_recording(path)
        assert rec.spike_times.tolist() == [0.01, 10.48, 30.0, 61.5]
        assert rec.wells == ("A1", "B2")
        assert rec.t_stop == 62.0
        assert said(rec, "2 rows are no spikes")

    def test_times_that_count_from_the_exported_section(self, tmp_path: Path) -> None:
        path = tmp_path / "list.csv"
        path.write_text("\n".join(files.AXION_LINES).replace("0s to 1m2s", "4m3s to 5m5s"))
        rec = read_recording(path)
        assert (rec.t_start, rec.t_stop) == (0.0, 62.0)
        assert said(rec, "count from the start of the exported section")

    def test_a_decimal_comma(self, tmp_path: Path) -> None:
        path = tmp_path / "list.csv"
        lines = [line.replace(",", ";").replace(".", ",") for line in files.AXION_LINES]
        path.write_text("\n".join(lines).replace("12500 Hz", "12,5 kHz").replace("0s to 1m2s", "0s to 1m2,5s"))
        rec = read_recording(path)
        assert rec.spike_times.tolist() == [0.01, 10.48, 30.0, 61.5]
        assert (rec.sampling_rate, rec.t_stop) == (12500.0, 62.5)


class TestPhy:
    @pytest.mark.parametrize("writer", [files.phy, files.phy_folder])
    def test_folder_and_zip_read_alike(self, writer: object, tmp_path: Path) -> None:
        rec = read_recording(writer(tmp_path), exclude=())  # type: ignore[operator]
        assert rec.spike_times.tolist() == [0.001, 0.002, 0.003, 0.1, 29999 / 30000]
        assert list(rec.units["name"]) == ["0", "2", "7"]
        assert list(rec.units["group"]) == ["good", "noise", "unsorted"]
        assert rec.units["channel"].tolist()[:2] == [6, 7]
        assert rec.units["y_um"].tolist()[:2] == [40.0, 60.0]

    def test_params_are_never_run(self, tmp_path: Path) -> None:
        path, trap = files.phy_folder(tmp_path), tmp_path / "trap"
        (path / "params.py").write_text(f"import os\nos.mkdir({str(trap)!r})\nsample_rate = 30000\n")
        assert read_recording(path).sampling_rate == 30000.0
        assert not trap.exists()

    def test_pickles_are_refused(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        np.save(path / "spike_clusters.npy", np.array([{}] * 5, dtype=object), allow_pickle=True)
        with pytest.raises(RecordingError, match=r"spike_clusters\.npy' is no readable numpy array"):
            read_recording(path)

    def test_the_rate_is_never_assumed(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        (path / "params.py").write_text("sample_rate = get_rate()\n")
        with pytest.raises(RecordingError, match=r"it is not set.*sampling_rate= supplies it"):
            read_recording(path)

    def test_absurd_numbers_in_texts(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        (path / "cluster_info.tsv").write_text(f"cluster_id\tch\n0\t{10**30}\n2\t5\n{-(10**30)}\t1\n")
        assert read_recording(path).units["channel"].isna().tolist() == [True, False, True]
        (path / "params.py").write_text(f"sample_rate = {10**400}\n")
        with pytest.raises(RecordingError, match=r"sample_rate in 'params\.py' gives"):
            read_recording(path)


class TestThreeBrain:
    def test_bxr_3(self, tmp_path: Path) -> None:
        rec = read_recording(files.bxr3(tmp_path))
        assert rec.spike_times[0] == 5 / 19753.775390625
        assert rec.units[["x_um", "y_um"]].to_numpy().tolist() == [[0.0, 0.0], [60.0, 60.0], [3780.0, 3780.0]]
        assert rec.wells == ("A1",)
        assert said(rec, "not settled")
        assert len(rec.observed) == 2

    def test_wells_share_one_recording(self, tmp_path: Path) -> None:
        path = files.bxr3(tmp_path)
        with h5py.File(path, "a") as h5:
            h5.copy("Well_A1", "Well_B1")
        rec = read_recording(path)
        assert (rec.n_spikes, rec.n_units, rec.wells) == (10, 6, ("A1", "B1"))
        assert read_recording(path, well="B1").n_spikes == 5
        assert [entry["n_spikes"] for entry in file_info(path)["entries"]] == [5, 5]

    def test_an_unknown_model_has_its_pitch_noted(self, tmp_path: Path) -> None:
        path = files.bxr3(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["ExperimentSettings"]
            h5.attrs["SamplingRate"] = 20000.0
        rec = read_recording(path)
        assert said(rec, "42 um assumed")
        assert rec.sampling_rate == 20000.0

    def test_bxr_2(self, tmp_path: Path) -> None:
        rec = read_recording(files.bxr2(tmp_path))
        assert rec.units["channel"].tolist() == [0, 2]
        assert rec.units["x_um"].tolist() == [0.0, 63 * 42.0]


class TestSpikeLab:
    def test_seconds_and_milliseconds_are_told_apart(self, tmp_path: Path) -> None:
        path = files.spikelab(tmp_path)
        in_s = read_recording(path)
        with h5py.File(path, "a") as h5:
            h5["spike_times"][...] = h5["spike_times"][()] * 1000
        in_ms = read_recording(path)
        np.testing.assert_allclose(in_ms.spike_times, in_s.spike_times)
        assert said(in_ms, "ms inferred")

    def test_paired_and_per_unit_and_workspace(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "paired.h5", "w") as h5:
            h5["idces"], h5["times"] = np.array([0, 1, 0]), np.array([10.0, 20.0, 30.0])
        with h5py.File(tmp_path / "units.h5", "w") as h5:
            h5["units/0"], h5["units/1"] = np.array([0.01, 0.03]), np.array([0.02])
        with h5py.File(tmp_path / "workspace.h5", "w") as h5:
            held = h5.create_group("recordings/one")
            held.attrs["__type__"], held.attrs["length_ms"], held.attrs["N"] = "SpikeData", 40.0, 2
            held["spike_times"], held["spike_times_index"] = np.array([10.0, 30.0, 20.0]), np.array([2, 3])
        for name in ("paired", "units", "workspace"):
            rec = read_recording(tmp_path / f"{name}.h5")
            assert rec.spike_times.tolist() == [0.01, 0.02, 0.03]
            assert rec.spike_units.tolist() == [0, 1, 0]


class TestStimulationLog:
    def test_an_electrical_log(self, tmp_path: Path) -> None:
        log = tmp_path / "a_log.csv"
        log.write_text('time,amplitude,duty_time_ms,stim_electrodes,tag\n0.5,150,200,"[12, 7]",train\nx,1,1,[1],\n')
        rec = read_recording(files.carmen(tmp_path), stimuli=log)
        assert rec.stimuli["electrode"].tolist() == [12, 7]
        assert rec.stimuli["amplitude"].tolist() == [0.15, 0.15]
        assert rec.stimuli["duration_s"].tolist() == pytest.approx([2e-4, 2e-4])
        assert said(rec, "1 of 2 rows of the log have no time")

    def test_the_real_optical_log(self, tmp_path: Path) -> None:
        log = real_recording("logs", "20230404T172401-2023_04_04_example_opto_stim_log.csv")
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            h5["data_store/data0000/start_time"][...] = 1680654261030
            h5["data_store/data0000/stop_time"][...] = 1680654262030
        rec = read_recording(path, stimuli=log)
        assert len(rec.stimuli) == 15
        assert rec.stimuli["time_s"].iloc[0] == pytest.approx(0.5004377, abs=1e-3)
        assert said(rec, "14 of 15 stimuli")

    def test_text_in_a_log_is_never_run(self, tmp_path: Path) -> None:
        log = tmp_path / "bad_log.csv"
        log.write_text("time,stim_electrodes\n0.5,__import__('os').getcwd()\n")
        rec = read_recording(files.carmen(tmp_path), stimuli=log)
        assert said(rec, "no readable list of electrodes")

    def test_what_is_no_log_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        with pytest.raises(RecordingError, match=r"x\.csv \(stimuli\): no column of times; its columns are a, b"):
            read_recording(files.carmen(tmp_path), stimuli=tmp_path / "x.csv")
