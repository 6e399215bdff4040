"""Room on the disk, taken before it is needed: the HDF5 library does not survive a disk that is full.

The room is taken in a file without a name beside the journal. The journal's own file cannot hold it: the library cuts
that one to its content at every flush.
"""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

from organoid.errors import JournalError

MARGIN = 1 << 20  # bytes that stay free for the last flush and the outcome


class Reserve:
    """Hold room for the end of a journal; it is free again when released, or when the process is gone.

    Parameters
    ----------
    path : Path
        The journal.
    n_bytes : int
        Size of the journal at its start.

    Raises
    ------
    JournalError
        If nothing can be written there, or not so much.
    """

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._path, self._size = path, 0
        try:
            self._file = tempfile.TemporaryFile(dir=path.parent)
            self._take(n_bytes)
        except OSError as error:
            need = f"{(2 * n_bytes + MARGIN) / 1e6:.1f} MB of room are needed"
            raise JournalError(f"the journal {path} cannot be created: {reason_of(error)}; {need}") from None

    def ensure(self, n_bytes: int) -> None:
        """Make sure that `n_bytes` can be written, and as many again with the end of the journal after a release.

        Raises
        ------
        JournalError
            If the disk is full.
        """
        try:
            self._take(n_bytes)
        except OSError as error:
            raise JournalError(
                f"the journal {self._path} cannot grow: {reason_of(error)}; it holds the session up to "
                "now: free some room, or write to another disk"
            ) from None

    def _take(self, n_bytes: int) -> None:
        size = n_bytes + MARGIN
        if size > self._size:
            _allocate(self._file.fileno(), size)
            self._size = size
        if not self.has_room(n_bytes):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def has_room(self, n_bytes: int) -> bool:
        """Return whether the disk has so much room, besides what is held."""
        return shutil.disk_usage(self._path.parent).free >= n_bytes

    def release(self) -> None:
        """Let go of the room."""
        self._file.close()


def reason_of(error: Exception) -> str:
    """Return why a write failed, in one line; the HDF5 library puts the system's words into several."""
    quoted = re.search(r"error message = '([^']*)'", str(error))
    if quoted:
        return quoted.group(1)
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def _allocate(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, bytes(size))
