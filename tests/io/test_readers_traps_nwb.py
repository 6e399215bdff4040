"""NWB files, tables and folders that mislead."""

import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reader_files as files
from changed_files import said, written

from organoid import RecordingError, read_recording
from organoid.io.registry import NoSpikesError


class TestNWB:
    def test_the_window_without_observation_intervals(self, tmp_path: Path) -> None:
        bare = {"units/obs_intervals": None, "units/obs_intervals_index": None}
        assert said(read_recording(written(files.nwb, tmp_path, **bare)), "t_stop inferred")
        path = written(files.nwb, tmp_path, **bare)
        with h5py.File(path, "a") as h5:
            series = h5.create_group("acquisition/ElectricalSeries")
            series.attrs["neurodata_type"] = "ElectricalSeries"
            series["data"], series["starting_time"] = np.zeros((3000, 2), "i2"), 0.0
            series["starting_time"].attrs["rate"] = 1000.0
        assert read_recording(path).t_stop == 3.0
        with h5py.File(path, "a") as h5:
            h5["intervals/epochs/start_time"], h5["intervals/epochs/stop_time"] = [0.0, 1.0], [1.0, 2.5]
        assert read_recording(path).t_stop == 2.5

    def test_negative_times_zero_positions_and_trials(self, tmp_path: Path) -> None:
        place, n = "general/extracellular_ephys/electrodes", 35
        changes: dict[str, Any] = {f"{place}/x": np.zeros(3), f"{place}/y": np.zeros(3)}
        changes |= {"intervals/trials/start_time": [0.1], "intervals/trials/stop_time": [0.2]}
        path = written(files.nwb, tmp_path, **changes)
        with h5py.File(path, "a") as h5:
            h5["units/spike_times"][0] = -0.05
        rec = read_recording(path)
        assert said(rec, f"1 of {n} spikes lie before time 0")
        assert said(rec, "all 0 or unknown")
        assert rec.units["x_um"].isna().all()
        assert said(rec, "intervals/trials: 1 entries are events, not stimuli")
        assert rec.events[["time_s", "kind"]].to_numpy().tolist() == [[0.1, "trials"]]
        assert len(rec.stimuli) == 2

    def test_many_units_counted_in_one_byte_types_do_not_wrap(self, tmp_path: Path) -> None:
        sizes = np.full(250, 1)
        changes = {"units/spike_times": np.arange(250) * 0.01, "units/spike_times_index": np.cumsum(sizes).astype("u1")}
        gone = ("electrodes", "electrodes_index", "obs_intervals", "obs_intervals_index")
        changes |= {f"units/{name}": None for name in gone}
        rec = read_recording(written(files.nwb, tmp_path, **changes, **{"units/id": np.arange(250)}))
        assert np.bincount(rec.spike_units).tolist() == sizes.tolist()

    def test_a_units_table_alone_as_spikelab_exports_it(self, tmp_path: Path) -> None:
        path = tmp_path / "export.nwb"
        with h5py.File(path, "w") as h5:
            h5.attrs["start_time"], h5.attrs["length_ms"] = 500_000.0, 61_000.0
            h5["units/spike_times"], h5["units/spike_times_index"] = [500.5, 560.9, 501.0], np.array([2, 2, 3])
            h5["units/id"], h5["units/electrodes"] = np.arange(3), np.array([5, 1, 9])  # ids, not rows
            h5["units/electrodes_index"] = np.arange(1, 4)
            table = h5.create_group("general/extracellular_ephys/electrodes")
            table["id"], table["x"], table["y"] = [1, 5, 9], [30.0, 10.0, 50.0], [40.0, 20.0, 60.0]
        rec = read_recording(path)
        assert (rec.t_start, rec.t_stop, rec.n_units) == (500.0, 561.0, 3)
        assert rec.units[["electrode", "x_um"]].to_numpy().tolist() == [[5, 10.0], [1, 30.0], [9, 50.0]]
        assert said(rec, "ids of electrodes, not rows")
        with h5py.File(path, "a") as h5:
            del h5.attrs["start_time"]
        assert said(read_recording(path), "start_time is missing beside length_ms")

    def test_units_of_a_module_without_a_type(self, tmp_path: Path) -> None:
        path = files.nwb(tmp_path)
        with h5py.File(path, "a") as h5:
            h5.create_group("processing/ecephys")
            h5.move("units", "processing/ecephys/sorted")
        assert read_recording(path).metadata["table"] == "processing/ecephys/sorted"


class TestOtherFormats:
    def test_a_phy_folder_without_clusters_and_with_older_tables(self, tmp_path: Path) -> None:
        path = files.phy_folder(tmp_path)
        (path / "spike_clusters.npy").rename(path / "spike_templates.npy")
        (path / "cluster_group.tsv").rename(path / "cluster_groups.csv")
        rec = read_recording(path, exclude=())
        assert list(rec.units["group"]) == ["good", "noise", "unsorted"]
        assert said(rec, "units are the templates of the sorter")
        (path / "cluster_info.tsv").write_text("cluster_id\tch\tgroup\n0\t7\tmua\n2\t4\tgood\n7\t5\tgood\n")
        rec = read_recording(path)
        assert list(rec.units["group"]) == ["mua", "good", "good"]
        assert rec.units["channel"].tolist() == [7, 4, 5]

    def test_a_raster_counts_spikes_in_bins(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "raster.h5", "w") as h5:
            h5["raster"] = np.array([[0, 2, 0], [1, 0, 0]])
            h5["raster"].attrs["bin_size_ms"], h5["raster"].attrs["time_origin_ms"] = 10.0, 100.0
        rec = read_recording(tmp_path / "raster.h5")
        assert rec.spike_times.tolist() == [0.105, 0.115, 0.115]
        assert rec.spike_units.tolist() == [1, 0, 0]
        assert said(rec, "known to 10 ms only")

    def test_detected_events_that_were_not_sorted(self, tmp_path: Path) -> None:
        path = written(files.herdingspikes, tmp_path, cluster_id=np.empty(0), centres=np.empty((0, 2)))
        with pytest.raises(NoSpikesError, match="4 detected events that were not sorted"):
            read_recording(path)

    def test_a_spike_list_cut_short_while_packed(self, tmp_path: Path) -> None:
        path = files.axion(tmp_path)
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) * 50)[:-12])
        with pytest.raises(RecordingError, match="is a gzip file that is cut short"):
            read_recording(path)
