"""Compressed files of any format: unpacked into a temporary place once, and read from there.

gzip, bzip2, xz, zip and tar are told by their first bytes, not by their names. What unpacks to far more than any
recording shrinks is rejected before it fills the disk.
"""

import atexit
import bz2
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from organoid.errors import RecordingError

_MAGIC: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda path: gzip.open(path)),
    b"BZh": ("bzip2", lambda path: bz2.open(path)),
    b"\xfd7zXZ\x00": ("xz", lambda path: lzma.open(path)),
}
_ZIP, _TAR_MARK, _TAR_AT = b"PK\x03\x04", b"ustar", 257
_DAMAGE: tuple[type[BaseException], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_DAMAGE += (tarfile.TarError, RuntimeError, NotImplementedError, ValueError)
_BLOCK = 1 << 20
_LARGEST_COMPRESSION = 1100  # deflate packs at most 1032 to 1
_UNSUSPICIOUS_BYTES = 1 << 28
_READ_PACKED = ("spike_times.npy", "unit_ids.npy")  # zip archives that a reader takes as they are
_HIDDEN = ("__MACOSX", ".")  # what file managers add to archives
_DEEPEST = 4  # packed in packed
_KEPT = 4  # unpacked files kept at a time
_unpacked: dict[tuple[str, int, int], tuple[Path, Path]] = {}


def unpacked(path: Path) -> Path:
    """Return where a recording lies unpacked: `path` itself unless it is compressed.

    The unpacked copy is kept until the program ends, so that a second look costs nothing.

    Raises
    ------
    RecordingError
        If the file is damaged, holds several recordings, or unpacks to an absurd size.
    """
    kind = _kind(path)
    if kind is None:
        return path
    said = path.stat()
    key = (str(path.resolve()), said.st_mtime_ns, said.st_size)
    if key not in _unpacked:
        folder = Path(tempfile.mkdtemp(prefix="organoid-"))
        try:
            found = _unpack(path, kind, folder)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, _DAMAGE) and not isinstance(error, RecordingError):
                raise _failure(path, kind, error) from None
            raise
        while len(_unpacked) >= _KEPT:
            shutil.rmtree(_unpacked.pop(next(iter(_unpacked)))[0], ignore_errors=True)
        _unpacked[key] = (folder, found)
    return _unpacked[key][1]


@atexit.register
def _clean() -> None:
    for folder, _ in _unpacked.values():
        shutil.rmtree(folder, ignore_errors=True)
    _unpacked.clear()


def _failure(path: Path, kind: str, error: BaseException) -> RecordingError:
    if isinstance(error, OSError) and error.errno in (28, 122):  # disk or quota full
        return RecordingError(f"{path} is compressed ({kind}), and {tempfile.gettempdir()} has no room to unpack it")
    return RecordingError(f"{path} is a {kind} file that is cut short or damaged: {error}")


def _kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(_TAR_AT + len(_TAR_MARK))
    for magic, (name, _) in _MAGIC.items():
        if start.startswith(magic):
            return name
    if start.startswith(_ZIP):
        return "zip" if _is_to_unpack(path) else None
    return "tar" if start[_TAR_AT:] == _TAR_MARK else None


def _is_to_unpack(path: Path) -> bool:
    """Return whether a zip archive holds files that no reader takes from inside it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name).name for name in archive.namelist()]
    except _DAMAGE:
        return False
    return bool(names) and not any(name in _READ_PACKED for name in names) and not _is_npz(names)


def _is_npz(names: list[str]) -> bool:
    return all(name.endswith(".npy") for name in names)


def _unpack(path: Path, kind: str, folder: Path) -> Path:
    """Unpack one file or a folder into `folder` and return what was packed."""
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            found = _extract(path, {name: partial(archive.open, name) for name in names}, folder)
        return _inner(found, folder)
    if kind == "tar":
        return _inner(_untar(path, folder), folder)
    target = folder / _bare_name(path, kind)
    with next(opener for name, opener in _MAGIC.values() if name == kind)(path) as packed:
        _copy(packed, target, path)
    return _inner(target, folder)


def _inner(found: Path, folder: Path) -> Path:
    """Return what was packed, unpacked again if it is packed itself (a tar inside gzip, a gzipped list in a zip)."""
    kind = _kind(found)
    depth = len(found.relative_to(folder).parts)
    if kind is None or depth > _DEEPEST:
        return found
    inside = found.with_name(f"{found.name}.d")
    inside.mkdir()
    return _unpack(found, kind, inside)


def _untar(path: Path, folder: Path) -> Path:
    with tarfile.open(path) as archive:
        files = [info for info in archive.getmembers() if info.isfile()]
        return _extract(path, {info.name: partial(_member, archive, info) for info in files}, folder)


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    held = archive.extractfile(info)
    assert held is not None  # only regular files are listed
    return held


def _extract(path: Path, members: dict[str, Callable[[], IO[bytes]]], folder: Path) -> Path:
    """Copy the files of an archive below a folder: the one file, or the folder of several."""
    wanted = {name: member for name, member in members.items() if not _is_hidden(name)}
    if not wanted:
        raise RecordingError(f"{path} is an archive that holds no files")
    outside = [name for name in wanted if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute()]
    if outside:
        raise RecordingError(f"{path} holds the file {outside[0]!r}, which would be written outside its folder")
    inside = folder / "packed"
    for name, member in wanted.items():
        target = inside / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with member() as source:
            _copy(source, target, path)
    here = inside
    while True:
        held = list(here.iterdir())
        if len(held) != 1:
            return here
        here = held[0]
        if here.is_file():
            return here


def _is_hidden(name: str) -> bool:
    return any(part.startswith(_HIDDEN) and part != ".." for part in PurePosixPath(name).parts)


def _bare_name(path: Path, kind: str) -> str:
    """Return the name of the file without the suffix that says how it is compressed."""
    return path.stem if path.suffix.lower() in (".gz", ".gzip", ".bz2", ".xz", ".lzma", ".tgz") else path.name


def _copy(source: IO[bytes], target: Path, path: Path) -> None:
    limit = max(_UNSUSPICIOUS_BYTES, path.stat().st_size * _LARGEST_COMPRESSION)
    written = 0
    with open(target, "wb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > limit:
                raise RecordingError(f"{path} unpacks to more than {limit / 1e9:.3g} GB, which no recording does")
            file.write(block)
