"""Room on the disk, taken before it is needed: the HDF5 library does not survive a disk that is full."""

import os
import shutil
from pathlib import Path

import h5py

from organoid.errors import JournalError

MARGIN = 1 << 20  # bytes that stay free for the last flush and the outcome
_STEP = 4 << 20  # bytes taken at once, where there are so many
_END_OF_FILE_AT = 28  # offset of the end-of-file address in a superblock of version 2 or 3


class Reserve:
    """Keep a journal's file longer than what is in it, so that writing never meets a full disk.

    Parameters
    ----------
    path : Path
    h5 : h5py.File
        The file, open for writing.
    """

    def __init__(self, path: Path, h5: h5py.File) -> None:
        self._path, self._h5, self._taken = path, h5, 0

    def ensure(self, n_bytes: int) -> None:
        """Make sure that `n_bytes` more can be written, and the end of the journal after them.

        Raises
        ------
        JournalError
            If the disk is full; what is reserved for the end of the journal is still there.
        """
        need = self._h5.id.get_filesize() + n_bytes + MARGIN
        if need <= self._taken:
            return
        try:
            self._taken = _take(self._path, need)
        except OSError as error:
            raise JournalError(
                f"the journal {self._path} cannot grow: {error.strerror or error}; it holds the session up to "
                "now: free some room, or write to another disk"
            ) from None

    def give_back(self) -> None:
        """Cut the closed file where its content ends."""
        with self._path.open("r+b") as file:
            file.seek(_END_OF_FILE_AT)
            end = int.from_bytes(file.read(8), "little")
            if 0 < end < self._path.stat().st_size:
                file.truncate(end)


def make_file(path: Path, n_bytes: int) -> None:
    """Make a new, empty file where there is room for `n_bytes` and the end of a journal.

    Raises
    ------
    JournalError
        If it exists, cannot be made, or the disk has not so much room.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise JournalError(
            f"{path} exists; a journal never replaces a file: give another name, or move the old one away"
        ) from None
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be created: {error.strerror or error}") from None
    try:
        _take(path, n_bytes + MARGIN)
        os.truncate(path, 0)
    except OSError as error:
        path.unlink(missing_ok=True)
        need = f"{(n_bytes + MARGIN) / 1e6:.1f} MB are needed"
        raise JournalError(f"the journal {path} cannot be created: {error.strerror or error}; {need}") from None


def _take(path: Path, size: int) -> int:
    """Take room on the disk, a step more where there is so much; returns how much."""
    try:
        return _allocate(path, size + _STEP)
    except OSError:
        return _allocate(path, size)


def _allocate(path: Path, size: int) -> int:
    if hasattr(os, "posix_fallocate"):
        file = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)
    elif shutil.disk_usage(path.parent).free < size - path.stat().st_size:
        raise OSError("no space left on the disk")
    return size
