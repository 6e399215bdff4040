"""Kinds of fault found in public reports: siblings, clocks, marks, labels."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import reader_files as files
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from organoid import RecordingError, SpikeRecording, find_pulses, read_recording, write_recording
from organoid.cli import app
from organoid.io.clock import check_clock, continued
from organoid.io.info import file_info
from organoid.io.user_tables import times_table

SEED = 4


def said(rec: SpikeRecording, words: str) -> bool:
    return any(words in note for note in rec.notes)


def phy(folder: Path, **arrays: Any) -> Path:
    path = files.phy_folder(folder)
    for name, values in arrays.items():
        np.save(path / f"{name}.npy", values)
    return path


class TestSiblings:
    def test_sparse_templates_name_their_columns(self, tmp_path: Path) -> None:
        templates = np.zeros((3, 10, 2), "f4")
        templates[:, 5, 0], templates[:, 5, 1] = -9, -1
        columns = np.array([[3, 2], [1, -1], [0, 4]])  # -1 and the number of channels stand for none
        rec = read_recording(phy(tmp_path, templates=templates, templates_ind=columns), exclude=())
        assert rec.units["channel"].tolist()[:2] == [7, 4]
        assert rec.units["y_um"].tolist()[:2] == [60.0, 0.0]

    def test_columns_that_name_no_channel_leave_channels_unknown(self, tmp_path: Path) -> None:
        rec = read_recording(phy(tmp_path, templates=np.ones((3, 10, 2)), templates_ind=np.full((3, 2), 9)), exclude=())
        assert rec.units["channel"].isna().all()
        assert said(rec, "names channels up to 9, but there are 4")

    def test_templates_are_unwhitened(self, tmp_path: Path) -> None:
        templates = np.zeros((3, 10, 4))
        templates[:, 5, 0] = -1.0
        inverse = np.eye(4)
        inverse[0] = [0.1, 0.0, 5.0, 0.0]  # whitened channel 0 is mostly channel 2
        rec = read_recording(phy(tmp_path, templates=templates, whitening_mat_inv=inverse), exclude=())
        assert rec.units["channel"].tolist()[0] == 6
        (tmp_path / "sorted" / "whitening_mat_inv.npy").unlink()
        np.save(tmp_path / "sorted" / "whitening_mat.npy", np.linalg.inv(inverse + np.diag([0, 1.0, 1.0, 1.0]) * 0.5))
        assert read_recording(tmp_path / "sorted", exclude=()).units["channel"].tolist()[0] == 6

    @pytest.mark.parametrize("newer", [True, False])
    def test_labels_changed_later_win(self, newer: bool, tmp_path: Path) -> None:
        import os

        path = files.phy_folder(tmp_path)
        (path / "cluster_info.tsv").write_text("cluster_id\tgroup\n0\tgood\n2\tgood\n7\tgood\n")
        (path / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n2\tmua\n")
        for name, time in (("cluster_info.tsv", 1000), ("cluster_group.tsv", 2000 if newer else 500)):
            os.utime(path / name, (time, time))
        rec = read_recording(path)
        assert rec.units["group"].tolist() == ["good", "mua" if newer else "good", "good"]
        assert said(rec, "give 1 clusters different labels")

    def test_params_that_are_no_python(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        (path / "params.py").write_text("dat_path = 'C:\\Users\\lab.dat'\nsample_rate = 30000.  # Hz\n")
        rec = read_recording(path)
        assert rec.sampling_rate == 30000.0
        assert rec.metadata["params"]["dat_path"] == "C:\\Users\\lab.dat"


class TestClocks:
    def test_pauses_in_time_stamps_are_holes(self, tmp_path: Path) -> None:
        stamps = np.concatenate([np.arange(0, 1, 0.01), np.arange(3, 5, 0.01)])
        path = files.nwb(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5["units/obs_intervals"], h5["units/obs_intervals_index"]
            series = h5.create_group("acquisition/ElectricalSeries")
            series.attrs["neurodata_type"] = "ElectricalSeries"
            series["data"], series["timestamps"] = np.zeros((stamps.size, 2), "i2"), stamps
        rec = read_recording(path)
        np.testing.assert_allclose(rec.observed, [[0, 1.0], [3, 5.0]], atol=1e-9)
        assert said(rec, "has 1 gaps of 2 s in all")
        assert said(rec, "spikes lie outside the observed times")

    @given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 10**6))
    def test_pauses_are_found_wherever_they_are(self, lengths: list[int], seed: int) -> None:
        from organoid.io import clock

        rng = np.random.default_rng(seed)
        parts, here = [], 0.0
        for n in lengths:
            parts.append(here + np.arange(n + 2) * 0.01)
            here = parts[-1][-1] + 0.01 + float(rng.integers(1, 50)) * 0.1
        stamps, notes = np.concatenate(parts), list[str]()
        small, clock._ROWS = clock._ROWS, 16
        try:
            with h5py.File("x", "w", driver="core", backing_store=False) as h5:
                h5["t"] = stamps
                spans = clock.spans_of_stamps(h5["t"], "t", notes)
        finally:
            clock._ROWS = small
        assert spans is not None
        if len(lengths) - 1 <= 0.01 * stamps.size:
            np.testing.assert_allclose(spans, [[p[0], p[-1] + 0.01] for p in parts], atol=1e-9)
        else:
            assert any("irregular" in note for note in notes)

    def test_a_counter_of_32_bits_that_ran_over_is_carried_on(self, tmp_path: Path) -> None:
        samples = np.array([2**31 - 20, 2**31 - 10, 2**31 + 5, 2**31 + 900])
        path = phy(tmp_path, spike_times=samples.astype("u4").astype("i4"), spike_clusters=np.array([0, 2, 0, 7]))
        rec = read_recording(path, exclude=())
        assert rec.spike_ticks.tolist() == samples.tolist()
        assert said(rec, "ran over 1 times, first after spike 1")
        np.save(path / "spike_times.npy", np.sort(samples.astype("u4").astype("i4")))
        with pytest.raises(RecordingError, match=r"a counter of 32 bits ran over, and the order .* does not show when"):
            read_recording(path)

    @given(st.lists(st.integers(0, 2**33), min_size=1, max_size=30).map(sorted), st.sampled_from(["i4", "u4"]))
    def test_carried_counters_against_the_truth(self, drawn: list[int], kind: str) -> None:
        true = np.sort(np.array(drawn) % 2**29) + np.arange(len(drawn)) * 2**29  # steps below a quarter of a turn
        wrapped = true.astype("u8").astype("u4").astype(kind).astype(np.int64)
        if true[0] < 2**31:  # begins before the first turn
            assert continued(wrapped, "x", []).tolist() == true.tolist()

    def test_seconds_in_32_bits_are_doubted_where_they_are_coarse(self) -> None:
        times = np.sort(np.random.default_rng(SEED).uniform(0, 36000, 2000))
        units = np.zeros(times.size, int)
        coarse = SpikeRecording(times.astype("f4").astype(float), units, t_stop=36001, sampling_rate=20000.0)
        assert "stored as 32-bit numbers" in check_clock(coarse)[0]
        assert check_clock(SpikeRecording(times, units, t_stop=36001)) == []
        assert check_clock(SpikeRecording(np.rint(times), units, t_stop=36001)) == []  # a slow clock, no loss

    def test_milliseconds_taken_for_seconds_are_doubted(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(SEED)
        milliseconds = np.sort(rng.uniform(0, 120_000, 600))
        keep = np.append(True, np.diff(milliseconds) > 3)
        with h5py.File(tmp_path / "ms.h5", "w") as h5:
            h5["spikes"], h5["sCount"] = milliseconds[keep], np.array([keep.sum()])
        assert said(read_recording(tmp_path / "ms.h5"), "are the times in milliseconds or samples, not seconds?")

    def test_impossible_rates_are_doubted(self) -> None:
        rec = SpikeRecording(np.arange(3000) * 1e-4, np.zeros(3000, int))
        assert "which no neuron does" in check_clock(rec)[0]

    def test_a_quiet_culture_is_not_doubted(self) -> None:
        times = np.sort(np.random.default_rng(SEED).uniform(0, 7200, 400))
        assert check_clock(SpikeRecording(times, np.arange(400) % 8, t_stop=7200)) == []

    def test_lost_frames_of_legacy_files_are_found(self, tmp_path: Path) -> None:
        path = files.maxwell_legacy(tmp_path)
        with h5py.File(path, "a") as h5:
            counter = 70000 + np.arange(400) + 50 * (np.arange(400) >= 300)
            h5["sig"][1026], h5["sig"][1027] = counter & 0xFFFF, counter >> 16
        rec = read_recording(path)
        np.testing.assert_allclose(rec.observed, [[0, 0.015], [0.0175, 0.0225]])
        assert said(rec, "50 of 450 frames were lost in 1 gaps")


class TestMarks:
    def test_a_stimulator_reports_starts_and_stops(self, tmp_path: Path) -> None:
        path = files.mcs(tmp_path)
        labels = ["STG 1 Single Pulse Start", "STG 1 Single Pulse Stop", "STG 1 Marker Start"]
        with h5py.File(path, "a") as h5:
            stream = h5["Data/Recording_0/EventStream/Stream_0"]
            del stream["EventEntity_0"], stream["InfoEvent"]
            times = {0: [100000, 300000], 1: [100200, 300400], 2: [50000]}
            for k, stamps in times.items():
                stream[f"EventEntity_{k}"] = np.array([stamps, [0] * len(stamps)], dtype="i8")
            rows = [
                {"EventID": k, "GroupID": 0, "Label": label, "SourceChannelIDs": "8"} for k, label in enumerate(labels)
            ]
            stream["InfoEvent"] = files._info([{**row, "SourceChannelLabels": row["Label"]} for row in rows])
        rec = read_recording(path)
        np.testing.assert_allclose(rec.stimuli[["time_s", "duration_s"]], [[0.1, 0.0002], [0.3, 0.0004]])
        assert rec.events["label"].tolist() == ["STG 1 Marker Start"]

    def test_marks_of_the_user_in_results_of_3brain(self, tmp_path: Path) -> None:
        path = files.bxr2(tmp_path)
        kinds = [("Type", "i2"), ("MarkIn", "i8"), ("MarkOut", "i8"), ("Desc", h5py.string_dtype())]
        with h5py.File(path, "a") as h5:
            h5["3BUserInfo/ExpMarkers"] = np.array([(1, 17855, 17855, "drug")], dtype=kinds)
        rec = read_recording(path)
        assert rec.events[["kind", "label"]].to_numpy().tolist() == [["marker type 1", "drug"]]
        assert rec.events["time_s"].iloc[0] == pytest.approx(17855 / 17855.5)

    def test_two_channels_on_one_electrode_are_noted(self, tmp_path: Path) -> None:
        path = files.maxwell(tmp_path)
        with h5py.File(path, "a") as h5:
            mapping = h5["data_store/data0000/settings/mapping"]
            rows = mapping[()]
            rows["electrode"][1] = rows["electrode"][0]
            mapping[...] = rows
        assert said(read_recording(path), "1 electrodes are recorded by several channels")

    def test_events_are_written_selected_and_read_back(self, tmp_path: Path) -> None:
        events = {"time_s": [0.2, 0.8], "kind": ["port", "note"], "label": ["1", "light"]}
        rec = SpikeRecording([0.1, 0.9], [0, 0], t_stop=1.0, events=events)
        write_recording(rec, tmp_path / "e.h5")
        assert read_recording(tmp_path / "e.h5").equals(rec)
        assert rec.select(t_start=0.5).events["label"].tolist() == ["light"]
        with pytest.raises(RecordingError, match="1 of 1 events have no finite time_s"):
            SpikeRecording([], [], events={"time_s": [np.nan]})


class TestSupplied:
    def test_labels_act(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        assert [read_recording(path, **how).n_units for how in ({}, {"exclude": ()}, {"labels": ["good"]})] == [2, 3, 1]
        assert said(read_recording(path), "1 of 3 units (2 spikes) labelled noise are left out; exclude=()")
        assert file_info(path)["labels"] == {"good": 1, "noise": 1, "unsorted": 1}
        with pytest.raises(RecordingError, match=r"no unit has the label best; there are good \(1\), noise \(1\)"):
            read_recording(path, labels=["best"])
        with pytest.raises(RecordingError, match="all 3 units would be left out"):
            read_recording(path, exclude=["good", "noise", "unsorted"])
        with pytest.raises(RecordingError, match="this file has none"):
            read_recording(files.carmen(tmp_path), labels=["good"])

    def test_a_sampling_rate_where_the_file_has_none(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        (path / "params.py").unlink()
        rec = read_recording(path, sampling_rate=30000.0)
        assert rec.spike_times.tolist() == [0.001, 0.003, 29999 / 30000]
        with pytest.raises(RecordingError, match=r"params\.py is missing.*sampling_rate= supplies it"):
            read_recording(path)
        carmen = read_recording(files.carmen(tmp_path), sampling_rate=25000)
        assert (carmen.sampling_rate, carmen.tick_rate) == (25000.0, 25000.0)
        with pytest.raises(RecordingError, match="sampling_rate is -1"):
            read_recording(path, sampling_rate=-1)

    @pytest.mark.parametrize(
        ("text", "times"),
        [
            ("0.1\n0.5\n", [0.1, 0.5]),
            ("time_ms,electrode,amplitude\n100,3,1e-6\n500,,\n", [0.1, 0.5]),
            ("Time (s);Label\n0,5;b\n0,1;a\n", [0.1, 0.5]),
            ("onset,duration (ms)\n0.1,2\n0.5,2\n", [0.1, 0.5]),
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_times_as_people_keep_them(self, text: str, times: list[float], encoding: str, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text(text, encoding=encoding)
        assert times_table(tmp_path / "t.csv", "stimuli")["time_s"].tolist() == times
        rec = read_recording(files.carmen(tmp_path), stimuli=tmp_path / "t.csv", events=tmp_path / "t.csv")
        assert rec.stimuli["time_s"].tolist() == rec.events["time_s"].tolist() == times

    def test_names_of_channels_that_differ_by_their_number(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("time_s,channel\n0.1,ch_33\n0.2,ch_36\n0.3,\n")
        assert times_table(tmp_path / "t.csv", "stimuli")["channel"].tolist() == [33, 36, pd.NA]
        for name in ("left", "A1\n0.2,B1"):
            (tmp_path / "t.csv").write_text(f"time_s,channel\n0.1,{name}\n")
            with pytest.raises(RecordingError, match=r"column channel holds .* expected whole numbers"):
                times_table(tmp_path / "t.csv", "stimuli")

    def test_what_is_no_list_of_times(self, tmp_path: Path) -> None:
        path = files.carmen(tmp_path)
        for given_text, words in (
            ("", "holds no rows"),
            ("time_s\nx\n", "none of the 1 stimuli has a time"),
            ("a\n1\n", "no column"),
        ):
            (tmp_path / "t.csv").write_text(given_text)
            with pytest.raises(RecordingError, match=words):
                read_recording(path, stimuli=tmp_path / "t.csv")
        with pytest.raises(FileNotFoundError, match="absent"):
            read_recording(path, stimuli=tmp_path / "absent.csv")
        with pytest.raises(RecordingError, match="expected a file, a table or times"):
            read_recording(path, stimuli={"a": 1})  # type: ignore[arg-type]

    def test_stimuli_from_tables_arrays_and_events(self, tmp_path: Path) -> None:
        path = files.carmen(tmp_path)
        assert read_recording(path, stimuli=[0.2, 0.1]).stimuli["time_s"].tolist() == [0.1, 0.2]
        table = pd.DataFrame({"time_s": [0.3], "electrode": [7]})
        assert read_recording(path, stimuli=table).stimuli["electrode"].tolist() == [7]
        legacy = files.maxwell_legacy(tmp_path)
        assert read_recording(legacy, stimuli="events:bits").stimuli["time_s"].tolist() == [0.005]
        with pytest.raises(RecordingError, match=r"holds no events 'camera'.*kinds of events: bits"):
            read_recording(legacy, stimuli="events:camera")

    def test_metadata_on_the_command_line(self, tmp_path: Path) -> None:
        out = tmp_path / "out.h5"
        arguments = ["convert", str(files.carmen(tmp_path)), str(out), "--set", "age=21", "--set", "genotype=wt"]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert {"age": 21, "genotype": "wt"}.items() <= read_recording(out).metadata.items()


class TestPulses:
    def culture(self, pulses: np.ndarray, fraction: float) -> SpikeRecording:
        """Return a bursting culture of 40 units with artefact spikes on a fraction of them at every pulse."""
        rng = np.random.default_rng(SEED)
        times, units = [rng.uniform(0, 120, 4000)], [rng.integers(0, 40, 4000)]
        for burst in np.arange(1, 119, 4.0) + rng.uniform(-0.5, 0.5, 30):
            times.append(burst + np.abs(rng.normal(0, 0.1, 400)))
            units.append(rng.integers(0, 40, 400))
        for pulse in pulses:
            hit = np.flatnonzero(rng.random(40) < fraction)
            times.append(pulse + rng.uniform(0, 2e-4, hit.size))
            units.append(hit)
        return SpikeRecording(np.concatenate(times), np.concatenate(units), n_units=40, t_stop=121.0)

    def test_pulses_are_found_with_their_evidence(self) -> None:
        pulses = np.arange(2.3, 119, 2.0007)
        found = find_pulses(self.culture(pulses[::1], 0.8))
        assert len(found) == pulses.size
        assert np.abs(found["time_s"].to_numpy() - pulses).max() < 1e-3
        evidence = found.attrs["evidence"]
        assert evidence["period_s"] == pytest.approx(2.0007, abs=1e-5)
        assert evidence["log10_p"] < -20

    def test_some_pulses_may_be_missing(self) -> None:
        pulses = np.delete(np.arange(2.3, 119, 2.0), [3, 4, 20, 21, 22])
        assert len(find_pulses(self.culture(pulses, 0.8))) == pulses.size

    def test_bursts_are_no_pulses(self) -> None:
        assert len(find_pulses(self.culture(np.empty(0), 0.8))) == 0

    def test_irregular_coincidences_are_no_pulses(self) -> None:
        irregular = np.sort(np.random.default_rng(1).uniform(2, 118, 30))
        assert len(find_pulses(self.culture(irregular, 0.8))) == 0

    def test_voltage(self) -> None:
        rng = np.random.default_rng(SEED)
        voltage = rng.normal(0, 5e-6, (8, 200_000))
        for start in range(5000, 195_000, 10_000):
            voltage[:, start : start + 20] += 400e-6
        found = find_pulses(voltage, sampling_rate=20000.0)
        np.testing.assert_allclose(found["time_s"], np.arange(5000, 195_000, 10_000) / 20000)
        with pytest.raises(RecordingError, match="need its sampling rate"):
            find_pulses(voltage)

    def test_as_stimuli_of_a_file(self, tmp_path: Path) -> None:
        write_recording(self.culture(np.arange(2.3, 119, 2.0), 0.8), tmp_path / "x.h5")
        assert len(read_recording(tmp_path / "x.h5", stimuli="artefacts").stimuli) == 59


def test_a_spike_list_of_another_layout_of_electrodes(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("Time (s),Electrode\n0.1,E1\n0.2,E2\n0.3,E1\n")
    rec = read_recording(tmp_path / "list.csv")
    assert (rec.n_spikes, rec.units["name"].tolist(), rec.wells) == (3, ["E1", "E2"], ())
    (tmp_path / "list.csv").write_text("Time (s),Electrode\nx,\ny,\n")
    with pytest.raises(RecordingError, match="none of the 2 rows is a spike; the first is row 2"):
        read_recording(tmp_path / "list.csv")


def test_sorted_units_of_results_of_3brain(tmp_path: Path) -> None:
    path = files.bxr2(tmp_path)
    with h5py.File(path, "a") as h5:
        h5["3BResults/3BChEvents/SpikeUnits"] = np.array([4, -2, 5], dtype="i4")
    rec = read_recording(path, sorted_units=True)
    assert (rec.n_units, rec.n_spikes) == (2, 2)
    assert rec.units[["name", "channel"]].to_numpy().tolist() == [["ch0_4", 0], ["ch0_5", 0]]
    assert said(rec, "1 of 3 spikes have negative unit ids")
    assert read_recording(path).n_units == 2
