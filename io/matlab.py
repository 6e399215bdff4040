"""Variables of a MATLAB file as plain Python values: version 5 through scipy, version 7.3 (HDF5) by hand.

A struct is a dict (an array of structs a list of dicts), a cell array a list, text a str, and numbers an array. Objects
and function handles are left out.
"""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, attribute, members, whole
from organoid.io.source import text

_DAMAGE = (*DAMAGE, struct.error, zlib.error, IndexError, EOFError, NotImplementedError, AssertionError, OverflowError)
_DEEPEST = 12
_REFERENCES = "#refs#"
_MOST = 200_000  # values of one file
MAGIC = b"MATLAB 5.0 MAT-file"


def is_mat5(head: bytes) -> bool:
    """Return whether a file begins as MATLAB files of version 5 do."""
    return head.startswith(MAGIC) and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def is_mat73(h5: h5py.Group) -> bool:
    """Return whether an HDF5 file was written by MATLAB: its datasets say of what class they are."""
    return any(_class_of(h5, name) for name in members(h5) if not name.startswith("#"))


def _class_of(h5: h5py.Group, name: str) -> str:
    try:
        return text(attribute(h5[name], "MATLAB_class")) if attribute(h5[name], "MATLAB_class") is not None else ""
    except DAMAGE:
        return ""


def names_in(path: Path) -> list[str]:
    """Return the names of the variables of a version 5 file, without reading them; empty if it is none."""
    import scipy.io

    try:
        return [name for name, _, _ in scipy.io.whosmat(path)]
    except _DAMAGE:
        return []


def variables(path: Path, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return some (or all) variables of a version 5 file as plain values.

    Raises
    ------
    RecordingError
        If the file is damaged or cut short.
    """
    import scipy.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held = scipy.io.loadmat(path, variable_names=names, chars_as_strings=True)
        return {name: _plain(value, 0, [0]) for name, value in held.items() if not name.startswith("__")}
    except RecordingError:
        raise
    except _DAMAGE as error:
        raise RecordingError(f"the MATLAB file is cut short or damaged: {type(error).__name__}: {error}") from None


def _plain(value: Any, depth: int, count: list[int]) -> Any:
    """Return what scipy gives for a MATLAB value as plain Python values."""
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST:
        raise RecordingError(f"the MATLAB file holds more than {_MOST} values, or structs in structs {_DEEPEST} deep")
    if not isinstance(value, np.ndarray):
        return None
    names = value.dtype.names
    if names is not None:
        rows = [{name: _plain(row[name], depth + 1, count) for name in names} for row in value.ravel(order="F")]
        return rows[0] if len(rows) == 1 else rows
    if value.dtype.kind == "O":
        return [_plain(item, depth + 1, count) for item in value.ravel(order="F")]
    if value.dtype.kind in "US":
        rows_of_text = [str(item) for item in value.ravel()]
        return rows_of_text[0] if len(rows_of_text) == 1 else rows_of_text if rows_of_text else ""
    return value if value.dtype.kind in "fiub" else None


def value_at(h5: h5py.File, name: str) -> Any:
    """Return one variable of a version 7.3 file as plain values; arrays have the axes MATLAB shows.

    Raises
    ------
    RecordingError
        If it is damaged.
    """
    try:
        return _stored(h5, h5[name], 0, [0])
    except RecordingError:
        raise
    except _DAMAGE as error:
        raise RecordingError(f"variable {name!r} is damaged: {type(error).__name__}: {error}") from None


def _address(held: Any) -> int:
    return int(h5py.h5o.get_info(held.id).addr)


def _addresses(h5: h5py.File) -> set[int]:
    """Return where the objects lie that cells may refer to: a deleted one can still be read, half overwritten."""
    held = h5[_REFERENCES]
    return {_address(held[name]) for name in members(held)}


def _stored(h5: h5py.File, held: Any, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST:
        raise RecordingError(f"the MATLAB file holds more than {_MOST} values, or structs in structs {_DEEPEST} deep")
    if isinstance(held, h5py.Group):
        fields = {name: _stored(h5, held[name], depth + 1, count) for name in members(held)}
        return fields
    kind = attribute(held, "MATLAB_class")
    kind = "" if kind is None else text(kind)
    if attribute(held, "MATLAB_empty"):
        return [] if kind in ("cell", "struct") else "" if kind == "char" else np.empty((0, 0))
    values = whole(held, str(held.name))
    if h5py.check_ref_dtype(held.dtype) is not None:
        cells = [h5[reference] for reference in np.ravel(values)]
        known = _addresses(h5)
        if any(_address(cell) not in known for cell in cells):
            raise RecordingError(f"a cell of {held.name} refers to what is no part of the file any more: it is damaged")
        return [_stored(h5, cell, depth + 1, count) for cell in cells]
    if kind == "char":
        return "".join(chr(int(code)) for code in np.ravel(np.asarray(values).T))
    found = np.asarray(values)
    return found.T if found.dtype.kind in "fiub" else None
