"""Opening files for readers: HDF5 or not, whole or cut short, finished or still being written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from organoid.errors import RecordingError


@dataclass(frozen=True)
class Source:
    """What a reader is offered: the path, and the open HDF5 file if it is one."""

    path: Path
    h5: h5py.File | None


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
    if path.is_dir() or not h5py.is_hdf5(path):
        yield Source(path, None)
        return
    with open_hdf5(path) as h5:
        yield Source(path, h5)


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, also one whose writer is still running or was killed."""
    try:
        return h5py.File(path, "r")
    except OSError as first:
        try:
            return h5py.File(path, "r", swmr=True)
        except (OSError, ValueError):
            raise RecordingError(f"{path.name} begins like HDF5 but cannot be opened: {_reason(first)}") from None


def _reason(error: OSError) -> str:
    text = str(error)
    if "truncated" in text:
        return "it is cut short (the copy or download did not finish?)"
    return text[text.find("(") + 1 : text.rfind(")")] or text


def array(h5: h5py.Group, name: str, *, ndim: int, kinds: str = "fiu") -> np.ndarray[Any, Any]:
    """Read a whole dataset, checking that it is one, its number of axes and its type.

    Parameters
    ----------
    h5 : h5py.Group
    name : str
        Path of the dataset.
    ndim : int
        Expected number of axes.
    kinds : str
        Allowed numpy type kinds ("f" floats, "i" and "u" whole numbers, "S" bytes, ...).

    Raises
    ------
    RecordingError
        Naming the dataset, what it is and what was expected.
    """
    dataset = h5.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise RecordingError(f"dataset {name!r} is missing; the file holds {top_names(h5)}")
    if dataset.shape is None or dataset.ndim != ndim or dataset.dtype.kind not in kinds:
        raise RecordingError(
            f"dataset {name!r} has shape {dataset.shape} and type {dataset.dtype}; expected {ndim} axes of {kinds!r}"
        )
    try:
        return np.asarray(dataset[()])
    except (OSError, MemoryError) as error:
        raise RecordingError(f"dataset {name!r} cannot be read: {error}") from None


def text(value: Any) -> str:
    """Return the text of an HDF5 string, whether scalar, size-1 array, bytes or padded."""
    first = np.ravel(value)[0] if np.size(value) else b""
    decoded = first.decode("utf-8", errors="replace") if isinstance(first, bytes) else str(first)
    return decoded.strip("\x00 \r\n\t")


def top_names(h5: h5py.Group) -> str:
    """Return the names of a group's members, for error messages."""
    names = sorted(h5)
    shown = ", ".join(names[:12]) or "nothing"
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
