"""The quick ways in which readers take spikes give what the plain ways give, bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid import RecordingError, SpikeRecording
from organoid.hdf5.safe_read import member, members, parts
from organoid.io.frames import frame_times
from organoid.io.npy import open_files
from organoid.io.numbering import distinct, distinct_in, distinct_of_parts
from organoid.io.source import holds, open_hdf5, open_source
from organoid.recording.validation import Rising, highest, never_fall

TYPES = ["u1", "i2", ">i4", "i8", "u8", "f8"]


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(TYPES), st.sampled_from([5, 255, 256, 70_000, 1 << 23]))
def test_places_are_those_of_unique(data: st.DataObject, kind: str, top: int) -> None:
    least = 0 if kind[0] == "u" else -3
    top = min(top, 200 if kind == "u1" else 30_000 if kind == "i2" else top)
    numbers = np.array(data.draw(st.lists(st.integers(least, top), max_size=30)), dtype=kind)
    found, places = distinct(numbers)
    wanted, inverse = np.unique(numbers.astype(np.int64), return_inverse=True)
    assert found.dtype == np.int64
    assert found.tolist() == wanted.tolist()
    assert places.tolist() == inverse.tolist()
    assert not places.flags.writeable


@pytest.mark.parametrize("second", [[1, 0], [300], [70_000, 2], [-1, 4], [1 << 40]])
def test_a_later_part_may_need_a_longer_type_or_a_sort(second: list[int]) -> None:
    held = [np.array([3, 3, 0]), np.array(second)]
    found, places = distinct_of_parts(3 + len(second), lambda: iter(held))
    assert found[places].tolist() == [3, 3, 0, *second]
    assert np.array_equal(found, np.unique(np.concatenate(held)))


def test_a_dataset_comes_in_parts_contiguous_or_not(tmp_path: Path) -> None:
    numbers = np.arange(150_001, dtype="i4") % 777
    with h5py.File(tmp_path / "numbers.h5", "w") as h5:
        h5["contiguous"], h5["big_endian"], h5["none"] = numbers, numbers.astype(">i2"), numbers[:0]
        h5.create_dataset("chunked", data=numbers, chunks=(1000,), compression=1)
        h5["unsure"] = numbers + 0.5
        assert len(list(parts(h5["contiguous"], "contiguous"))) == 3
        for name in ("contiguous", "big_endian", "chunked"):
            together = np.concatenate([part.copy() for part in parts(h5[name], name)])
            assert np.array_equal(together, numbers)
            found, places = distinct_in(h5, name)
            assert np.array_equal(found[places], numbers)
        assert distinct_in(h5, "none")[1].size == 0
        with pytest.raises(RecordingError, match="'unsure' holds numbers that are not whole"):
            distinct_in(h5, "unsure", "fiu")


@pytest.mark.parametrize("kind", ["i8", "u8", "f8", ">i8", "i4", "f4"])
@pytest.mark.parametrize("in_order", [True, False])
def test_seconds_are_one_division_of_whole_numbers(kind: str, in_order: bool) -> None:
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 1 << 24, 70_000)
    frames = (np.sort(whole) if in_order else whole).astype(kind)
    wanted = (frames.astype(np.int64) - 1234) / 19753.774
    for in_place in (False, True):
        given_frames = frames.copy()
        times, first, last, spikes = frame_times(given_frames, 1234, 19753.774, "x", in_place=in_place)
        assert np.array_equal(times, wanted)
        assert (first, last) == (wanted.min(), wanted.max())
        assert not times.flags.writeable
        assert isinstance(spikes, Rising) == in_order
        reused = in_place and np.dtype(kind).itemsize == 8
        assert np.shares_memory(times, given_frames) == reused
        assert in_place or np.array_equal(given_frames, frames)


def test_one_frame_far_from_all_others_is_found_wherever_it_stands() -> None:
    for place in (0, 40_000, 69_999):
        frames = np.arange(70_000)
        frames[place] = 1 << 60
        for kind in ("i8", "u8", "f8"):
            with pytest.raises(RecordingError, match="'x' holds frame numbers from"):
                frame_times(frames.astype(kind), 0, 1e4, "x")
        huge = frames.astype("u8")
        huge[place] = (1 << 64) - 1
        with pytest.raises(RecordingError, match="'x' holds frame numbers from"):
            frame_times(huge, 0, 1e4, "x", in_place=True)
        odd = np.arange(70_000) * 1.0
        odd[place] += 0.5
        with pytest.raises(RecordingError, match="'x' holds frame numbers that are not whole"):
            frame_times(odd, 0, 1e4, "x")


@pytest.mark.parametrize("place", [1, 32_767, 32_768, 32_769, 65_536, 69_999])
def test_a_single_fall_is_seen_wherever_it_stands(place: int) -> None:
    numbers = np.arange(70_000.0)
    assert never_fall(numbers)
    numbers[place] -= 1.5
    assert not never_fall(numbers)
    numbers[place] = np.nan
    assert not never_fall(numbers)


@pytest.mark.parametrize("kind", ["i1", "u1", "<i4", ">i4", "i8", "u8"])
def test_the_highest_of_whole_numbers_and_whether_one_is_negative(kind: str) -> None:
    assert highest(np.array([3, 100, 7], dtype=kind)) == 100
    assert highest(np.array([], dtype=kind)) == -1
    if kind != "u1" and kind != "u8":
        assert highest(np.array([3, -1, 7], dtype=kind)) == -1


def test_short_unit_numbers_are_those_of_the_recording_and_widen() -> None:
    rng = np.random.default_rng(1)
    times, units = rng.uniform(0, 9, 500), rng.integers(0, 200, 500)
    recs = [SpikeRecording(times, units.astype(kind), n_units=200) for kind in ("u1", "i2", ">i4", "u8", "i8")]
    for rec in recs:
        assert rec.counts(1.0).sum() == recs[-1].counts(1.0).sum()
        assert rec.select(units=[150, 3]).equals(recs[-1].select(units=[150, 3]))
        assert rec.equals(recs[-1])
        assert rec.spike_units.dtype == np.int64
        assert not rec.spike_units.flags.writeable
        assert np.array_equal(rec.spike_units, units[np.argsort(times, kind="stable")])


def test_arrays_that_somebody_can_change_are_copied() -> None:
    root = np.arange(10.0)
    view = root[:]
    view.flags.writeable = False
    rec = SpikeRecording(view, np.zeros(10, dtype=np.uint8), t_stop=20.0)
    root[0] = 5.0
    assert rec.spike_times[0] == 0.0
    few = np.arange(1000.0)
    few.flags.writeable = False
    assert not np.shares_memory(SpikeRecording(few[:10], np.zeros(10, dtype=int), t_stop=20.0).spike_times, few)


def test_a_table_given_as_columns_is_the_one_given_as_a_frame() -> None:
    columns: dict[str, Any] = {
        "name": ["a", "b"],
        "channel": np.array([7, 1 << 40]),
        "x_um": np.array([1.0, np.nan], dtype="f4"),
        "well": np.array(["A1", "B2"]),
        "group": ["good", None],
        "index": np.array([1, 2], dtype=np.uint64),
        "kept": np.array([True, False]),
    }
    frame, mapping = (SpikeRecording([0.1], [0], units=units).units for units in (pd.DataFrame(columns), columns))
    pd.testing.assert_frame_equal(frame, mapping)
    with pytest.raises(RecordingError, match="different lengths"):
        SpikeRecording([0.1], [0], units={**columns, "x_um": np.zeros(3)})
    with pytest.raises(RecordingError, match="table of units has 2 rows, but there are 3"):
        SpikeRecording([0.1], [0], n_units=3, units=columns)


def arrays(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in {
        "flat": np.arange(100_000, dtype="u8"),
        "column": np.arange(70_000, dtype=">i4")[:, None],
        "square": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "none": np.arange(0),
    }.items():
        np.save(folder / f"{name}.npy", values)
        yield f"{name}.npy", values


def test_numpy_files_come_in_parts(tmp_path: Path) -> None:
    held = dict(arrays(tmp_path))
    np.save(tmp_path / "flags.npy", np.array([True]))
    whole = (tmp_path / "flat.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    with open_files(tmp_path, "flat.npy") as files:
        assert files is not None
        for name, values in held.items():
            size, parts_of = files.parts(name)
            assert np.array_equal(np.concatenate([part.copy() for part in parts_of()]), values.ravel())
            assert size == values.size
            assert np.array_equal(files.array(name), values)
        for name in ("flags.npy", "cut.npy", "absent.npy"):
            with pytest.raises(RecordingError, match=name):
                files.parts(name)


def test_members_links_and_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as h5:
        h5["group/inside"] = 1
        h5["nowhere"], h5["elsewhere"] = h5py.SoftLink("/absent"), h5py.ExternalLink("absent.h5", "/x")
        h5["type"] = np.dtype("i4")
        h5.id.links.create_soft(b"\xff", b"/group")
    with open_source(path) as source, open_hdf5(path) as h5:
        assert source.h5 is not None
        assert h5.id == source.h5.id  # opened once
        assert members(h5) == sorted(["group", "nowhere", "elsewhere", "type", "\\xff"])
        assert isinstance(member(h5, "group/inside"), h5py.Dataset)
        assert not any(member(h5, name) for name in ("nowhere", "elsewhere", "type", "absent", "nowhere/x", "\\xff"))
        assert [holds(h5, name) for name in ("group/inside", "nowhere", "absent", "absent/x")] == [
            True,
            True,
            False,
            False,
        ]
    with open_hdf5(path) as h5:
        assert isinstance(h5["group"], h5py.Group)
