"""Raw voltage is never read: it can be huge, and often needs a plugin of the vendor's that nobody has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reader_files as files

from organoid import read_recording
from organoid.io.info import file_info

VENDORS_FILTER = 401
RAW: dict[Callable[[Path], Path], list[str]] = {
    files.maxwell: ["data_store/data0000/groups/routed/raw", "data_store/data0000/groups/routed/triggered_raw"],
    files.maxwell_legacy: [],
    files.mcs: [
        "Data/Recording_0/AnalogStream/Stream_0/ChannelData",
        "Data/Recording_0/SegmentStream/Stream_0/SegmentData_0",
    ],
    files.cl1: ["samples"],
    files.nwb: ["acquisition/ElectricalSeries/data", "units/waveform_mean"],
    files.bxr3: ["Well_A1/Raw", "Well_A1/EventsBasedSparseRaw", "Well_A1/SpikeForms", "Well_A1/NoiseMean"],
    files.bxr2: ["3BData/Raw", "3BResults/3BChEvents/SpikeForms"],
    files.spikelab: ["raw_data"],
    files.herdingspikes: ["shapes"],
    files.carmen: ["raw"],
}


def unreadable(h5: h5py.File, name: str) -> None:
    """Write voltage packed by a filter that is not installed: reading any of it is an error."""
    found = h5.create_dataset(
        name, (16, 1000), "u2", chunks=(16, 500), compression=VENDORS_FILTER, allow_unknown_filter=True
    )
    for column in (0, 500):
        found.id.write_direct_chunk((0, column), b"packed by the vendor's plugin")
    with pytest.raises(OSError):
        found[()]


@pytest.mark.parametrize("writer", RAW, ids=lambda writer: writer.__name__)
def test_spikes_are_read_though_the_voltage_cannot_be(writer: Callable[[Path], Path], tmp_path: Path) -> None:
    path = writer(tmp_path)
    expected = read_recording(path)
    with h5py.File(path, "a") as h5:
        for name in RAW[writer]:
            unreadable(h5, name)
    rec = read_recording(path)
    np.testing.assert_array_equal(rec.spike_times, expected.spike_times)
    np.testing.assert_array_equal(rec.spike_units, expected.spike_units)
    assert rec.observed.tolist() == expected.observed.tolist()
    assert file_info(path)["n_spikes"] == expected.n_spikes


def test_a_file_of_nothing_but_voltage_is_told_without_reading_it(tmp_path: Path) -> None:
    for writer, spikes in ((files.maxwell, "data_store/data0000/spikes"), (files.bxr3, "Well_A1/SpikeTimes")):
        path = writer(tmp_path)
        with h5py.File(path, "a") as h5:
            del h5[spikes]
            unreadable(h5, RAW[writer][0])
        assert any("recognised, holds no detected spikes" in note for note in file_info(path)["notes"])


def test_of_the_voltage_of_old_maxone_files_only_the_frame_counter_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, asked = files.maxwell_legacy(tmp_path), []
    original = h5py.Dataset.__getitem__

    def recorded(self: h5py.Dataset, arguments: Any, *options: Any, **named: Any) -> Any:
        if str(self.name).endswith("sig"):
            asked.append(arguments)
        return original(self, arguments, *options, **named)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", recorded)
    assert read_recording(path).n_spikes == 3
    assert {(row, part.start, part.stop) for row, part in asked} == {
        (r, k, k + 1) for r in (1026, 1027) for k in (0, 399)
    }
