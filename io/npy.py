"""Files of a folder or zip archive, and numpy arrays in them, read without trusting their sizes."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.io.encodings import decoded

_LARGEST_TEXT = 1 << 26
_LARGEST_HEADER = 1 << 17  # twice what its length field can say in the first version of .npy
_LARGEST_COMPRESSION = 1100
_PART = 1 << 16  # values
_UNSUSPICIOUS_BYTES = 1 << 24
_DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Files:
    """The files of one folder, on disk or inside a zip archive."""

    names: frozenset[str]
    folder: Path | None = None
    archive: zipfile.ZipFile | None = None
    prefix: str = ""

    def size(self, name: str) -> int:
        """Return the size of a file, bytes; reject an archive member that unpacks to far more than it holds."""
        if self.folder is not None:
            return (self.folder / name).stat().st_size
        assert self.archive is not None
        info = self.archive.getinfo(self.prefix + name)
        if info.file_size > _UNSUSPICIOUS_BYTES and info.file_size > _LARGEST_COMPRESSION * info.compress_size:
            raise RecordingError(f"file {name!r} claims {info.file_size} bytes packed in {info.compress_size}")
        return info.file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        if name not in self.names:
            raise RecordingError(f"file {name!r} is missing; there are {', '.join(sorted(self.names)[:12])}")
        self.size(name)
        try:
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            assert self.archive is not None
            return self.archive.read(self.prefix + name)
        except _DAMAGE as error:
            raise RecordingError(f"file {name!r} is damaged: {error}") from None

    def parts(self, name: str) -> tuple[int, Callable[[], Iterator[NDArray[Any]]]]:
        """Return how many numbers `array` returns, and what gives them, flat, part after part in the same memory.

        Memory that is new to a process costs more than reading into it, so those of a file on disk are
        never all held.
        """
        held = None if self.folder is None or name not in self.names else _plain_numbers(self.folder / name)
        if self.folder is None or held is None:
            values = self.array(name).ravel()  # says what is wrong, if something is
            return values.size, lambda: iter([values])
        path, header = self.folder / name, held
        return header.size, lambda: _stretches(path, header)

    def _buffer(self, name: str) -> NDArray[np.uint8]:
        """Return the bytes of a file; those of a file on disk lie in memory of their own, which may be changed."""
        if self.folder is None or name not in self.names:
            return np.frombuffer(self.read(name), np.uint8)
        try:
            return np.fromfile(self.folder / name, np.uint8)
        except _DAMAGE as error:
            raise RecordingError(f"file {name!r} is damaged: {error}") from None

    def text(self, name: str) -> str:
        """Return the text of a small file."""
        if name in self.names and self.size(name) > _LARGEST_TEXT:
            raise RecordingError(f"file {name!r} is {self.size(name)} bytes long, too long for a text of settings")
        return decoded(self.read(name))

    def changed(self, name: str) -> float:
        """Return when a file was last changed, s since 1970; archives know it to 2 s."""
        if self.folder is not None:
            return (self.folder / name).stat().st_mtime_ns * 1e-9
        assert self.archive is not None
        date = self.archive.getinfo(self.prefix + name).date_time
        return datetime(*date).timestamp() if min(date[1:3]) > 0 else 0.0

    def array(self, name: str, kinds: str = "fiu") -> NDArray[Any]:
        """Return the array in an .npy file; nothing is unpickled.

        Raises
        ------
        RecordingError
            Naming the file and what it holds.
        """
        raw = self._buffer(name)
        try:
            values = _unpacked(raw)
        except (*_DAMAGE, MemoryError, SyntaxError, TypeError, KeyError) as error:
            raise RecordingError(f"file {name!r} is no readable numpy array: {error}") from None
        if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
            raise RecordingError(f"file {name!r} does not hold an array of numbers")
        return values


class _Header(NamedTuple):
    """What an .npy file says of its numbers."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    begin: int  # where the numbers begin, bytes

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _header(stream: BinaryIO) -> _Header | None:
    """Read the header of an .npy file; None if it is in a rare version or of anything but numbers."""
    take = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(stream))
    held = None if take is None else _Header(*take(stream), stream.tell())
    return None if held is None or held.dtype.kind not in "biuf" or min(held.shape, default=0) < 0 else held


def _plain_numbers(path: Path) -> _Header | None:
    """Read the header of an .npy file; None unless the file holds all it says, along one axis."""
    try:
        with open(path, "rb") as file:
            held = _header(file)
            size = os.fstat(file.fileno()).st_size
    except (*_DAMAGE, MemoryError, SyntaxError, TypeError, KeyError):
        return None
    if held is None or held.dtype.kind == "b" or max(held.shape, default=0) != held.size:
        return None
    return held if size - held.begin >= held.size * held.dtype.itemsize else None


def _stretches(path: Path, held: _Header) -> Iterator[NDArray[Any]]:
    with open(path, "rb") as file:
        file.seek(held.begin)
        room = np.empty(min(held.size, _PART), held.dtype)
        for begin in range(0, max(held.size, 1), _PART):
            part = room[: held.size - begin]
            if file.readinto(part.view(np.uint8).data) < part.nbytes:
                raise RecordingError(f"file {path.name!r} became shorter while it was read")
            yield part


def _unpacked(raw: NDArray[np.uint8]) -> Any:
    """Return what ``np.load`` returns, without copying the numbers."""
    stream = io.BytesIO(raw[:_LARGEST_HEADER].tobytes())
    held = _header(stream)
    if held is None:
        return np.load(io.BytesIO(raw.tobytes()), allow_pickle=False)
    values = raw[held.begin : held.begin + held.size * held.dtype.itemsize].view(held.dtype)
    return values.reshape(held.shape, order="F" if held.by_columns else "C")


@contextmanager
def open_files(path: Path, marker: str) -> Iterator[Files | None]:
    """Open the folder that holds the file `marker`: `path` itself, or a folder inside the zip archive `path`."""
    if path.is_dir():
        names = frozenset(item.name for item in path.iterdir() if item.is_file())
        yield Files(names, folder=path) if marker in names else None
        return
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE:
        yield None
        return
    with archive:
        found = sorted(
            (name for name in archive.namelist() if PurePosixPath(name).name == marker),
            key=lambda name: name.count("/"),
        )
        if not found:
            yield None
            return
        prefix = found[0][: -len(marker)]
        names = frozenset(
            name[len(prefix) :] for name in archive.namelist() if name.startswith(prefix) and name != prefix
        )
        yield Files(names, archive=archive, prefix=prefix)
