"""Heaps of HDF5 files that damage can make the HDF5 library read for ever: walked first, they give an error."""

import mmap
import os
import struct
from functools import lru_cache

from organoid.errors import RecordingError

_HEAP_MARK = b"GCOL\x01\x00\x00\x00"
_HEAP_HEADER = 16
_LARGEST_SEARCH = 1 << 26  # larger files are mostly voltage, and take long to search
_NAMES_MARK = b"HEAP\x00\x00\x00\x00"
_NAMES_SEARCH = 1 << 20  # groups are made first, so their names lie near the front
_LAST_FREE = 1
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def check_names(path: str) -> None:
    """Check the heaps of names of the groups in the first part of an HDF5 file.

    The free parts of such a heap are a chain. Where damage leads it back to a part before, the library
    follows it for ever, and asks for memory at each step.

    Raises
    ------
    RecordingError
        If a chain does not end.
    """
    status = os.stat(path)
    place = _endless_names(path, status.st_size, status.st_mtime_ns)
    if place is not None:
        raise RecordingError(f"{os.path.basename(path)} is damaged: its heap of names at byte {place} cannot be read")


@lru_cache(maxsize=64)
def _endless_names(path: str, size: int, changed: int) -> int | None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        base = max(content.find(_SIGNATURE, 0, _NAMES_SEARCH), 0)  # addresses count from here
        place = content.find(_NAMES_MARK, 0, _NAMES_SEARCH)
        while place >= 0:
            if _is_endless(content, place, base):
                return place
            place = content.find(_NAMES_MARK, place + 1, _NAMES_SEARCH)
    return None


def _is_endless(content: mmap.mmap, place: int, base: int) -> bool:
    """Return whether the chain of free parts of the heap at `place` comes back to a part before."""
    if place + 32 > len(content):
        return False
    _, free, start = struct.unpack_from("<QQQ", content, place + 8)
    start += base
    seen: set[int] = set()
    while free != _LAST_FREE and start + free + 16 <= len(content):
        if free in seen:
            return True
        seen.add(free)
        free = int(struct.unpack_from("<Q", content, start + free)[0])
    return False


def check_heaps(path: str) -> None:
    """Check the heaps of texts of an HDF5 file.

    Texts of variable length lie in global heap collections. Where damage gives a free object in one the
    size 0, the library never gets past it.

    Raises
    ------
    RecordingError
        If the library would not come back from one of them.
    """
    try:
        status = os.stat(path)
    except OSError:  # held in memory: written by this process, not damaged
        return
    place = _damaged_heap(path, status.st_size, status.st_mtime_ns)
    if place is not None:
        raise RecordingError(f"the file is damaged: its heap of texts at byte {place} cannot be read")


@lru_cache(maxsize=64)
def _damaged_heap(path: str, size: int, changed: int) -> int | None:
    if not 0 < size <= _LARGEST_SEARCH:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(_HEAP_MARK)
        while place >= 0:
            if not _walk(content, place):
                return place
            place = content.find(_HEAP_MARK, place + 1)
    return None


def _walk(content: mmap.mmap, place: int) -> bool:
    """Return whether each object of a collection leads to the next."""
    if place + _HEAP_HEADER > len(content):
        return True
    size = int(struct.unpack_from("<Q", content, place + 8)[0])
    end, at = min(place + size, len(content)), place + _HEAP_HEADER
    while at + _HEAP_HEADER <= end:
        index, length = struct.unpack_from("<HxxxxxxQ", content, at)
        if index == 0:
            if length < _HEAP_HEADER:
                return False
            at += length
        else:
            at += _HEAP_HEADER + (length + 7) // 8 * 8
    return True
