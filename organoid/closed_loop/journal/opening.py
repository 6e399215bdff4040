"""How a journal comes to its name: only when what it holds at the start is on the disk."""

import os
import uuid
from pathlib import Path

import h5py

from organoid.closed_loop.journal.reserve import reason_of
from organoid.errors import JournalError


def in_memory() -> h5py.File:
    """Return an HDF5 file that is never written to a disk."""
    return h5py.File(f"journal-{uuid.uuid4().hex}", "w", libver="latest", driver="core", backing_store=False)


def open_unnamed(path: Path, content: bytes) -> tuple[h5py.File, Path]:
    """Open a new file beside a journal's name, under another one, with what is in it so far; returns it and its place.

    Raises
    ------
    JournalError
        If the journal exists, or none can be created there.
    """
    if os.path.lexists(path):
        raise _exists(path)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        draft.write_bytes(content)
        return h5py.File(draft, "r+", libver="latest"), draft
    except (OSError, RuntimeError) as error:
        draft.unlink(missing_ok=True)
        raise JournalError(f"the journal {path} cannot be created: {reason_of(error)}") from None


def publish(draft: Path, path: Path) -> None:
    """Give an open file its name; one that has come there meanwhile is never replaced.

    Raises
    ------
    JournalError
        If there is a file of that name.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise _exists(path) from None
        os.rename(draft, path)
    else:
        draft.unlink()


def _exists(path: Path) -> JournalError:
    return JournalError(f"{path} exists; a journal never replaces a file: give another name, or move the old one away")
