"""Chunks unpacked by several threads: exactly what the HDF5 library returns, or nothing."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from organoid import chunks
from organoid.chunks import unpacked

N = 200_001  # the last chunk is not full
SPIKE = np.dtype([("frameno", "i8"), ("channel", "i4"), ("amplitude", "f4")])
PACKED: dict[str, Any] = {"chunks": (4000,), "compression": "gzip", "compression_opts": 1}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_usable_cores", lambda: 2)


def values(kind: Any) -> np.ndarray:
    counted = np.arange(N) // 3
    if np.dtype(kind) != SPIKE:
        return counted.astype(kind)
    table = np.zeros(N, SPIKE)
    table["frameno"], table["channel"], table["amplitude"] = counted, counted % 60, -counted / 7
    return table


@pytest.mark.parametrize("kind", ["<f8", "<i8", "<u8", ">i8", ">f8", SPIKE])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_same_as_the_hdf5_library_returns(kind: Any, shuffle: bool, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        found = h5.create_dataset("x", data=values(kind), shuffle=shuffle, **{**PACKED, "chunks": (8000,)})
        held = unpacked(found)
        assert held is not None
        np.testing.assert_array_equal(held, found[()])
        assert held.dtype == found.dtype


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"chunks": (4000,)},
        {**PACKED, "fletcher32": True},
        {**PACKED, "compression": "lzf", "compression_opts": None},
        {**PACKED, "chunks": (N,)},
        {**PACKED, "scaleoffset": 0},
        {**PACKED, "compression_opts": 0},
    ],
)
def test_what_is_stored_in_another_way_is_left_to_the_library(stored: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        assert unpacked(h5.create_dataset("x", data=values("i8"), **stored)) is None
        assert unpacked(h5.create_dataset("two", data=np.zeros((400, 4000)), compression="gzip")) is None
        assert unpacked(h5.create_dataset("text", data=[b"x"] * 9, dtype=h5py.string_dtype())) is None


@pytest.mark.parametrize("damage", ["missing", "shorter", "longer", "garbled", "unfiltered"])
def test_damaged_and_missing_chunks_are_left_to_the_library(damage: str, tmp_path: Path) -> None:
    import zlib

    whole = values("i8")
    content = {
        "shorter": zlib.compress(bytes(16000)),
        "longer": zlib.compress(bytes(64000)),
        "garbled": b"x" * 999,
        "unfiltered": bytes(32000),
    }
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        found = h5.create_dataset("x", (N,), "i8", maxshape=(None,), **PACKED)
        if damage == "missing":
            found[4000:] = whole[4000:]
        else:
            found[...] = whole
            found.id.write_direct_chunk((8000,), content[damage], filter_mask=1 if damage == "unfiltered" else 0)
        h5.flush()
        assert unpacked(found) is None


def test_one_core_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chunks, "_usable_cores", lambda: 1)
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        assert unpacked(h5.create_dataset("x", data=values("i8"), **PACKED)) is None
