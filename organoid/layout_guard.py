"""Guarded reading of HDF5 datasets and attributes, for files that may be damaged or lie about their size."""

import os
from typing import Any

import h5py
import numpy as np

from organoid.errors import RecordingError
from organoid.heap_guard import check_heaps

# Deflate packs at most 1032 to 1; anything claiming more than this holds unwritten values.
_LARGEST_COMPRESSION = 1100
_UNSUSPICIOUS_BYTES = 1 << 24
_TEXT_POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
# What h5py raises on damaged objects, links, types and filters.
DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, AttributeError, SystemError)


def reason(error: BaseException) -> str:
    """Return the telling part of an HDF5 error."""
    text = str(error)
    if "truncated" in text:
        return "it is cut short (the copy or download did not finish?)"
    return text[text.find("(") + 1 : text.rfind(")")] or text or type(error).__name__


def whole(found: h5py.Dataset, name: str, view: Any = None) -> Any:
    """Read all of a dataset (or of a view on it) after checking that the file really stores it.

    Raises
    ------
    RecordingError
        Naming the dataset, if it claims far more than the file stores, keeps its values elsewhere or
        cannot be read.
    """
    try:
        shape, dtype, size = found.shape, found.dtype, int(found.size or 0)
        if shape is None:
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
        return _numbers(found) if view is None and dtype.kind in "biuf" else (found if view is None else view)[()]
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} cannot be read: {reason(error)}") from None


def _numbers(found: h5py.Dataset) -> Any:
    """Return what ``found[()]`` returns for numbers, with fewer steps."""
    values = np.empty(found.shape, found.dtype)
    if values.size:
        found.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values if values.ndim else values[()]


def attribute(owner: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute, or None where it is absent, empty or damaged."""
    try:
        place = name.encode()  # quicker than owner.attrs
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
        held = [h5py.h5a.open(owner.id, index=k) for k in places]  # much quicker than owner.attrs
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
    """Refuse rows of varying length other than texts, which no format has here: damaged texts look like them.

    The HDF5 library crashes when it follows their pointers.
    """
    parts = [dtype.fields[field][0] for field in dtype.names] if dtype.fields and dtype.names else [dtype.base]
    if any(part.hasobject and h5py.check_vlen_dtype(part) not in (None, str, bytes) for part in parts):
        raise RecordingError(f"{name!r} has the damaged type {dtype}: rows of varying length")


def _check_lengths(found: h5py.Dataset, name: str) -> None:
    """Refuse texts longer than their file, for which the HDF5 library would ask for gigabytes of memory."""
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
