"""Packed, dangerous and locked files, and texts in any encoding."""

import bz2
import gzip
import lzma
import multiprocessing
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reader_files as files
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from organoid import RecordingError, read_recording
from organoid.cli import app
from organoid.io.encodings import decoded, encoding_of
from organoid.io.info import file_info


def _gz(path: Path, target: Path) -> Path:
    return _bytes(target.with_name(path.name + ".gz"), gzip.compress(path.read_bytes()))


def _bz2(path: Path, target: Path) -> Path:
    return _bytes(target.with_name(path.name + ".bz2"), bz2.compress(path.read_bytes()))


def _xz(path: Path, target: Path) -> Path:
    return _bytes(target.with_name(path.name + ".xz"), lzma.compress(path.read_bytes()))


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _zip(path: Path, target: Path) -> Path:
    with zipfile.ZipFile(target.with_suffix(".zip"), "w") as archive:
        for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
            archive.write(item, item.relative_to(path.parent))
        archive.writestr("__MACOSX/._x", "")
    return target.with_suffix(".zip")


def _tar(path: Path, target: Path) -> Path:
    with tarfile.open(target.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(path, arcname=path.name)
    return target.with_suffix(".tar.gz")


@pytest.mark.parametrize("pack", [_gz, _bz2, _xz, _zip, _tar])
@pytest.mark.parametrize("writer", ["carmen", "nwb", "mat_mea_nap", "si_folder", "axion", "ptrain", "phy", "maxwell"])
def test_packed_files_of_every_kind(writer: str, pack: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = files.WRITERS[writer](tmp_path / "in")
    if path.is_dir() and pack in (_gz, _bz2, _xz):
        pytest.skip("a folder is packed as an archive")
    packed = pack(path, tmp_path / "packed.x")
    expected = read_recording(path)
    shutil.rmtree(tmp_path / "in")
    assert read_recording(packed).equals(expected)
    assert file_info(packed)["n_spikes"] == expected.n_spikes


def test_damaged_and_dangerous_archives(tmp_path: Path) -> None:
    path = files.carmen(tmp_path)
    cut = _bytes(tmp_path / "cut.h5.gz", gzip.compress(path.read_bytes())[:-200])
    with pytest.raises(RecordingError, match=r"cut\.h5\.gz is a gzip file that is cut short"):
        read_recording(cut)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../outside.h5", b"x")
    with pytest.raises(RecordingError, match="would be written outside its folder"):
        read_recording(tmp_path / "evil.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("__MACOSX/x", b"x")
    with pytest.raises(RecordingError, match="holds no files"):
        read_recording(tmp_path / "empty.zip")


def test_a_bomb_is_rejected_before_it_fills_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("organoid.io.packed._UNSUSPICIOUS_BYTES", 1 << 16)
    monkeypatch.setattr("organoid.io.packed._LARGEST_COMPRESSION", 10)
    bomb = _bytes(tmp_path / "bomb.h5.gz", gzip.compress(bytes(1 << 22)))
    with pytest.raises(RecordingError, match="unpacks to more than"):
        read_recording(bomb)


def _hold(path: str, ready: Any, done: Any) -> None:
    with h5py.File(path, "a"):
        ready.set()
        done.wait(20)


def test_a_file_its_writer_has_locked(tmp_path: Path) -> None:
    path = files.carmen(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    writer = context.Process(target=_hold, args=(str(path), ready, done))
    writer.start()
    try:
        assert ready.wait(60)
        with pytest.raises(RecordingError, match="is locked: another program has it open for writing"):
            read_recording(path)
    finally:
        done.set()
        writer.join(30)


class TestEncodings:
    @given(st.text(max_size=60), st.sampled_from(["utf-8-sig", "utf-16"]))
    def test_marked_texts_come_back(self, text: str, encoding: str) -> None:
        assert (
            decoded(text.encode(encoding, "surrogatepass") if encoding == "utf-16" else text.encode(encoding)) == text
        )

    @given(st.text(st.characters(codec="cp1252", min_codepoint=32), min_size=1, max_size=60))
    def test_code_pages_come_back(self, text: str) -> None:
        content = text.encode("cp1252")
        if encoding_of(content) == "cp1252":
            assert decoded(content) == text

    def test_texts_without_a_mark(self) -> None:
        assert decoded("Größe".encode("utf-16-le")) == "Größe"
        assert decoded("Größe".encode("cp1252")) == "Größe"
        assert decoded("类器官".encode()) == "类器官"

    @pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
    def test_lists_and_tables_in_any_encoding(self, encoding: str, tmp_path: Path) -> None:
        lines = ["Operatör,,Time (s),Electrode", "Größe,x,0.5,A1_11", ",,0.7,B2_12"]
        (tmp_path / "list.csv").write_text("\n".join(lines), encoding=encoding)
        rec = read_recording(tmp_path / "list.csv")
        assert (rec.n_spikes, rec.metadata["settings"]["Größe"]) == (2, "x")
        path = files.phy_folder(tmp_path)
        (path / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgut für alle\n2\tgood\n", encoding=encoding)
        assert read_recording(path).units["group"].tolist() == ["gut für alle", "good", "unsorted"]

    def test_names_of_any_bytes(self, tmp_path: Path) -> None:
        import os

        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9_\xe7\xb1\xbb.h5"))
        shutil.copyfile(files.carmen(tmp_path), path)
        assert read_recording(path).n_spikes == 35
        done = CliRunner().invoke(app, ["info", str(path), "--json"])
        assert done.exit_code == 0
        latin = files.carmen(tmp_path)
        with h5py.File(latin, "a") as h5:
            del h5["meta/species"]
            h5["meta/species"] = np.array(["Mäuse".encode("cp1252")])
        assert read_recording(latin).metadata["species"] == "Mäuse"
