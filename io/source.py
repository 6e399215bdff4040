"""Opening files for readers: HDF5 or not, whole or cut short, and guarded access to what is inside.

Nothing here trusts a file: a dataset is read only when its type, its number of axes and the bytes
the file really stores for it make sense.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from organoid.errors import RecordingError
from organoid.hdf5.heap_check import check_names
from organoid.hdf5.safe_read import DAMAGE, attribute, member, members, reason, whole
from organoid.io.encodings import decoded

_HEAD_BYTES = 4096
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EBUSY)
_OPEN: ContextVar[tuple[Path, h5py.File] | None] = ContextVar("open HDF5 file", default=None)
_KIND_NAMES = {"f": "floating-point", "i": "whole", "u": "unsigned whole", "S": "text", "O": "text", "V": "compound"}


@dataclass(frozen=True)
class Source:
    """What a reader is offered: the path, and the open HDF5 file if it is one."""

    path: Path
    h5: h5py.File | None

    @cached_property
    def names(self) -> frozenset[str]:
        """Names at the top of an HDF5 file; empty for anything else."""
        return frozenset() if self.h5 is None else frozenset(members(self.h5))

    def marked(self, *names: str) -> bool:
        """Return whether an HDF5 file has a root attribute of one of these names."""
        return self.h5 is not None and any(h5py.h5a.exists(self.h5.id, name.encode()) for name in names)

    def has_datasets(self, *names: str) -> bool:
        """Return whether an HDF5 file has all these datasets at its top."""
        h5 = self.h5
        return h5 is not None and self.names.issuperset(names) and all(is_dataset(h5, name) for name in names)

    @cached_property
    def head(self) -> bytes:
        """First bytes of a file; empty for folders and HDF5 files."""
        if self.h5 is not None or self.path.is_dir():
            return b""
        with open(self.path, "rb") as file:
            return file.read(_HEAD_BYTES)

    @cached_property
    def start(self) -> str:
        """First characters of a text file, whatever its encoding; empty for what holds zero characters."""
        text = decoded(self.head)
        return "" if "\x00" in text else text


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a path; anything but an HDF5 file comes with ``h5=None``.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    RecordingError
        If it begins like HDF5 but cannot be opened (cut short or damaged).
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir() or not is_hdf5(path):
        yield Source(path, None)
        return
    with _opened(path) as h5:
        token = _OPEN.set((path, h5))
        try:
            yield Source(path, h5)
        finally:
            _OPEN.reset(token)


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the signature of HDF5, at its start or after a user block.

    Unlike ``h5py.is_hdf5`` this does not open the file, so it also knows one that its writer has locked.
    """
    size = path.stat().st_size
    places = [0, *(1 << k for k in range(9, max(size, 1).bit_length()))]
    with open(path, "rb") as file:
        for place in places:
            file.seek(place)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
    return False


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, or take it as it is if `open_source` has it open."""
    held = _OPEN.get()
    if held is not None and held[0] == path:
        yield held[1]
        return
    with _opened(path) as h5:
        yield h5


def _opened(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, also one whose writer is still running or was killed."""
    check_names(str(path))
    try:
        return h5py.File(path, "r")
    except DAMAGE as first:
        try:
            return h5py.File(path, "r", swmr=True)
        except DAMAGE:
            raise RecordingError(_unopened(path, first)) from None


def _unopened(path: Path, error: BaseException) -> str:
    if isinstance(error, PermissionError) and not os.access(path, os.R_OK):
        return f"{path.name} may not be read by you: change its permissions"
    if "already open for write" in str(error):
        return (
            f"{path.name} is being made by another program, or that was stopped before it had recorded anything: "
            "nothing can be read from it"
        )
    if "unable to lock" in str(error) or (isinstance(error, OSError) and error.errno in _LOCKED):
        return (
            f"{path.name} is locked: another program has it open for writing; close it there, or wait until the "
            "recording is finished, then read it again (a copy of a file being written may be incomplete)"
        )
    return f"{path.name} begins like HDF5 but cannot be opened: {reason(error)}"


def is_dataset(h5: h5py.Group, name: str) -> bool:
    """Return whether a member is a dataset."""
    return isinstance(member(h5, name), h5py.Dataset)


def holds(h5: h5py.Group, name: str) -> bool:
    """Return whether a group has a member of this name, whatever it is: also a link that leads nowhere."""
    try:
        return bool(h5.id.links.exists(name.encode()))
    except DAMAGE:
        return False


def group(h5: h5py.Group, name: str) -> h5py.Group | None:
    """Return a group, or None where there is none."""
    try:
        found = h5py.h5o.open(h5.id, name.encode())
        return h5py.Group(found) if isinstance(found, h5py.h5g.GroupID) else None
    except DAMAGE:
        return None


def dataset(h5: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset, or raise naming it and what is there instead."""
    found = member(h5, name)
    if isinstance(found, h5py.Dataset):
        return found
    what = "is a group, not a dataset" if found is not None else "is missing or a link that leads nowhere"
    raise RecordingError(f"dataset {name!r} {what}; {h5.name} holds {top_names(h5)}")


def array(h5: h5py.Group, name: str, *, ndim: int, kinds: str = "fiu") -> np.ndarray[Any, Any]:
    """Read a whole dataset, checking that it is one, its number of axes and its type; parameters as for `numeric`."""
    return np.asarray(whole(numeric(h5, name, ndim=ndim, kinds=kinds), name))


def numeric(h5: h5py.Group, name: str, *, ndim: int, kinds: str = "fiu") -> h5py.Dataset:
    """Return a dataset, checking that it is one, its number of axes and its type.

    Parameters
    ----------
    h5 : h5py.Group
    name : str
        Path of the dataset.
    ndim : int
        Expected number of axes.
    kinds : str
        Allowed numpy type kinds ("f" floats, "i" and "u" integers, "S" and "O" text, ...).

    Raises
    ------
    RecordingError
        Naming the dataset, what it is and what was expected.
    """
    found = dataset(h5, name)
    try:
        shape, dtype = found.shape, found.dtype
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} has a damaged type or shape: {reason(error)}") from None
    if shape is None or len(shape) != ndim or dtype.kind not in kinds:
        wanted = " or ".join(_KIND_NAMES.get(kind, kind) for kind in kinds)
        raise RecordingError(
            f"dataset {name!r} has shape {shape} and type {dtype}; expected {ndim} "
            f"{'axis' if ndim == 1 else 'axes'} of {wanted} values"
        )
    return found


def columns(h5: h5py.Group, name: str, wanted: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Read some columns of a one-axis compound dataset of numbers; the other columns stay on disk.

    Raises
    ------
    RecordingError
        Naming the dataset, its columns and what was expected.
    """
    found = dataset(h5, name)
    try:
        held, ndim = found.dtype.names or (), found.ndim
        kinds = {column: found.dtype[column].kind for column in wanted if column in held}
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} has a damaged type: {reason(error)}") from None
    if ndim != 1 or any(kinds.get(column, "?") not in "fiu" for column in wanted):
        raise RecordingError(
            f"dataset {name!r} has {ndim} axes and the columns {', '.join(held) or 'none'}; expected one axis "
            f"and numbers in {', '.join(wanted)}"
        )
    small = sum(found.dtype[column].itemsize for column in wanted) * 2 >= found.dtype.itemsize
    table = whole(found, name, None if small else found.fields(list(wanted)))  # picking columns costs as well
    return {column: table[column] for column in wanted}


def table(h5: h5py.Group, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Read all columns of a small one-axis compound dataset, texts as they are stored.

    Raises
    ------
    RecordingError
        Naming the dataset and what it is.
    """
    found = dataset(h5, name)
    try:
        held, ndim = found.dtype.names, found.ndim
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} has a damaged type: {reason(error)}") from None
    if held is None or ndim != 1:
        raise RecordingError(f"dataset {name!r} has {ndim} axes and type {found.dtype}; expected a table, one axis")
    rows = whole(found, name)
    return {column: rows[column] for column in held}


def text_attribute(owner: h5py.Group | h5py.Dataset, name: str, notes: list[str]) -> str | None:
    """Return a text attribute, or None with a note where it is missing or no text."""
    value = attribute(owner, name)
    if isinstance(value, str | bytes) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "SO" and value.size == 1
    ):
        return text(value)
    notes.append(f"attribute {name} is missing or no text")
    return None


def number_attribute(
    owner: h5py.Group | h5py.Dataset, name: str, notes: list[str], least: float, most: float
) -> float | None:
    """Return a number attribute, or None with a note where it is missing, no number or out of bounds."""
    value = scalar(attribute(owner, name))
    if value is None or not least <= value <= most:
        notes.append(f"attribute {name} is {value}, not a number from {least:g} to {most:g}; it is left out")
        return None
    return value


def scalar(value: Any) -> float | None:
    """Return the number in a scalar or size-1 array, or None if it is not one finite number."""
    try:
        flat = np.ravel(np.asarray(value))
        if flat.size != 1 or flat.dtype.kind not in "fiu":
            return None
        number = float(flat[0])
    except DAMAGE:
        return None
    return number if np.isfinite(number) else None


def number_at(h5: h5py.Group, name: str, notes: list[str] | None = None) -> float | None:
    """Return the number in a one-value dataset, or None; what is missing or odd is noted if a list is given."""
    value = _value_at(h5, name, "fiu", "number", notes)
    number = scalar(value)
    if value is not None and number is None and notes is not None:
        notes.append(f"{name} is not a finite number and is ignored")
    return number


def text_at(h5: h5py.Group, name: str, notes: list[str] | None = None) -> str:
    """Return the text in a one-value dataset, or ""; what is missing or odd is noted if a list is given."""
    value = _value_at(h5, name, "SO", "text", notes)
    return "" if value is None else text(value)


def _value_at(h5: h5py.Group, name: str, kinds: str, what: str, notes: list[str] | None) -> Any:
    found = member(h5, name)
    problem = "is missing"
    try:
        if isinstance(found, h5py.Dataset):
            if found.size == 1 and found.dtype.kind in kinds:
                return whole(found, name)
            problem = f"does not hold one {what} and is ignored"
    except DAMAGE as error:
        problem = f"cannot be read: {error if isinstance(error, RecordingError) else reason(error)}"
    if notes is not None:
        notes.append(f"{name} {problem}")
    return None


def text(value: Any) -> str:
    """Return the text of an HDF5 string, whether scalar, size-1 array, bytes or padded."""
    first = np.ravel(value)[0] if np.size(value) else b""
    found = decoded(first) if isinstance(first, bytes) else _recoded(str(first))
    return found.replace("\x00", "").encode("utf-8", errors="replace").decode("utf-8").strip()


def _recoded(text: str) -> str:
    """Return a text that h5py took for UTF-8, which others write in a code page of their own."""
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    return decoded(text.encode("utf-8", "surrogateescape"))


def texts(values: Any) -> list[str]:
    """Return the texts of an array of HDF5 strings."""
    return [text(value) for value in np.ravel(values)]


def top_names(h5: h5py.Group) -> str:
    """Return the names of a group's members, for error messages."""
    names = members(h5)
    shown = ", ".join(names[:12]) or "nothing"
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
