"""Guarded reading of HDF5 datasets and attributes, for files that may be damaged or lie about their size."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.heap_check import check_heaps

# Deflate packs at most 1032 to 1; anything claiming more than this holds unwritten values.
_LARGEST_COMPRESSION = 1100
_UNSUSPICIOUS_BYTES = 1 << 24
_PART = 1 << 16  # values
_TEXT_POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
# What h5py raises on damaged objects, links, types and filters.
DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, AttributeError, SystemError)


def reason(error: BaseException) -> str:
    """Return the telling part of an HDF5 error."""
    text = str(error)
    if "truncated" in text:
        return "it is cut short (the copy or download did not finish?)"
    return text[text.find("(") + 1 : text.rfind(")")] or text or type(error).__name__


def member(h5: h5py.Group, name: str) -> h5py.Dataset | h5py.Group | None:
    """Return a dataset or group, or None where it is absent, damaged or a link that leads nowhere."""
    try:
        place = name.encode()
        if not h5.id.links.exists(place):  # finding that out by opening it is slow
            return None
        found = h5py.h5o.open(h5.id, place)  # half the time of h5[name]
        if isinstance(found, h5py.h5d.DatasetID):
            return h5py.Dataset(found, readonly=True)
        return h5py.Group(found) if isinstance(found, h5py.h5g.GroupID) else None
    except DAMAGE:
        return None


def members(h5: h5py.Group) -> list[str]:
    """Return the names of a group's members, sorted; empty if they cannot be listed."""
    names: list[bytes] = []
    try:
        h5.id.links.iterate(names.append)  # a sixth of the time of iter(h5)
    except DAMAGE:
        return []
    return sorted(name.decode("utf-8", "backslashreplace") for name in names)


def whole(found: h5py.Dataset, name: str, view: Any = None) -> Any:
    """Read all of a dataset (or of a view on it) after checking that the file really stores it.

    Raises
    ------
    RecordingError
        Naming the dataset, if it claims far more than the file stores, keeps its values elsewhere or
        cannot be read.
    """
    with _told(name):
        _check_claims(found, name)
        dtype = found.dtype
        return _numbers(found) if view is None and dtype.kind in "biuf" else (found if view is None else view)[()]


def parts(found: h5py.Dataset, name: str) -> Iterator[NDArray[Any]]:
    """Yield what `whole` returns for numbers along one axis, part after part in the same memory.

    Memory that is new to a process costs more than reading into it. Chunks are unpacked whole, so what is
    stored in chunks comes in one part.

    Raises
    ------
    RecordingError
        As `whole` does.
    """
    with _told(name):
        _check_claims(found, name)
        (n,), space = found.shape, found.id.get_space()
        if n <= _PART or found.chunks is not None:
            yield _numbers(found)
            return
        room = np.empty(_PART, found.dtype)
        for begin in range(0, n, _PART):
            part = room[: n - begin]
            space.select_hyperslab((begin,), part.shape)
            found.id.read(h5py.h5s.create_simple(part.shape), space, part)
            yield part


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what h5py raises on damage into an error that names the dataset."""
    try:
        yield
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} cannot be read: {reason(error)}") from None


def _check_claims(found: h5py.Dataset, name: str) -> None:
    """Check that the file really stores what a dataset claims to hold, itself, and leads nowhere dangerous."""
    dtype, size = found.dtype, int(found.size or 0)
    if found.shape is None:
        raise RecordingError(f"dataset {name!r} holds nothing (its space is null)")
    claimed, stored = size * dtype.itemsize, int(found.id.get_storage_size())
    if claimed > _UNSUSPICIOUS_BYTES and claimed > _LARGEST_COMPRESSION * stored:
        raise RecordingError(
            f"dataset {name!r} claims {size:.3g} values ({claimed / 1e9:.3g} GB), but the file stores "
            f"only {stored} bytes of it"
        )
    if found.external:
        raise RecordingError(f"dataset {name!r} keeps its values in another file, which is not followed")
    if dtype.hasobject:
        _check_pointers(dtype, name)
        check_heaps(_file_of(found))
        _check_lengths(found, name)


def _numbers(found: h5py.Dataset) -> Any:
    """Return what ``found[()]`` returns for numbers, with fewer steps."""
    values = np.empty(found.shape, found.dtype)
    if values.size:
        found.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values if values.ndim else values[()]


def attribute(owner: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute, or None where it is absent, empty or damaged."""
    try:
        place = name.encode()  # faster than owner.attrs
        value = _attribute(owner, h5py.h5a.open(owner.id, place)) if h5py.h5a.exists(owner.id, place) else None
    except RecordingError:
        raise
    except DAMAGE:
        return None
    return None if isinstance(value, h5py.Empty) else value


def attributes(owner: h5py.Group | h5py.Dataset, name: str) -> dict[str, Any]:
    """Return all attributes of the object called `name`.

    Raises
    ------
    RecordingError
        If one of them is damaged.
    """
    try:
        places = range(h5py.h5a.get_num_attrs(owner.id))
        held = [h5py.h5a.open(owner.id, index=k) for k in places]  # much faster than owner.attrs
        return {found.name.decode("utf-8", "surrogateescape"): _attribute(owner, found) for found in held}
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"the attributes of {name!r} cannot be read: {reason(error)}") from None


def _attribute(owner: h5py.Group | h5py.Dataset, found: h5py.h5a.AttrID) -> Any:
    dtype, name = found.dtype, found.name.decode("utf-8", "surrogateescape")
    if dtype.hasobject:
        _check_pointers(dtype, name)
        check_heaps(_file_of(owner))
    if found.shape != () or dtype.kind not in "iufO" or (dtype.hasobject and h5py.check_string_dtype(dtype) is None):
        return owner.attrs[name]
    value = np.empty((), dtype)  # most of them: one number or text
    found.read(value)
    held = value[()]
    return held.decode("utf-8", "surrogateescape") if isinstance(held, bytes) and dtype.hasobject else held


def _check_pointers(dtype: np.dtype[Any], name: str) -> None:
    """Reject rows of varying length other than texts, which no format has here: damaged texts look like them.

    The HDF5 library crashes when it follows their pointers.
    """
    parts = [dtype.fields[field][0] for field in dtype.names] if dtype.fields and dtype.names else [dtype.base]
    if any(part.hasobject and h5py.check_vlen_dtype(part) not in (None, str, bytes) for part in parts):
        raise RecordingError(f"{name!r} has the damaged type {dtype}: rows of varying length")


def _check_lengths(found: h5py.Dataset, name: str) -> None:
    """Reject texts longer than their file, for which the HDF5 library would ask for gigabytes of memory."""
    place, path = found.id.get_offset(), _file_of(found)
    if place is None or found.size * _TEXT_POINTER.itemsize != found.id.get_storage_size() or not os.path.isfile(path):
        return
    pointers = np.fromfile(path, _TEXT_POINTER, found.size, offset=place)
    if pointers.size and int(pointers["length"].max()) > os.path.getsize(path):
        raise RecordingError(
            f"dataset {name!r} claims a text of {pointers['length'].max()} bytes, longer than its file"
        )


def _file_of(owner: h5py.Group | h5py.Dataset) -> str:
    return os.fsdecode(h5py.h5f.get_name(owner.id))
