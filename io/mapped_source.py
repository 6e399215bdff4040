"""Named arrays of a file of any layout, for mappings: HDF5 (MATLAB 7.3 too), MATLAB 5, NPZ and NPY, CSV."""

import csv
import fnmatch
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import attribute, member, members, whole
from organoid.io import matlab
from organoid.io.encodings import decoded
from organoid.io.npy import Files, open_files
from organoid.io.source import is_hdf5, open_hdf5, text

_LARGEST_TEXT = 1 << 31
_MOST_NAMES = 20_000
_COLUMN = re.compile(r"(.+?)\[\s*(?::\s*,\s*)?(\d+)\s*\]")


class Arrays(Protocol):
    """A file as named values."""

    kind: str

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        ...

    def get(self, name: str) -> Any:
        """Return an array, a list (cells, datasets of a group), a text, or None where there is nothing of that name."""
        ...


class Hdf5Arrays:
    """Datasets by path, attributes as ``path@name`` or ``@name``; groups and paths with ``*`` are lists by name."""

    kind = "HDF5"

    def __init__(self, h5: h5py.File) -> None:
        self.h5 = h5

    def names(self) -> list[str]:
        """Return the paths of all datasets, and attributes of the root."""
        found: list[str] = []

        def visit(path: str) -> None:
            group = member(self.h5, path) if path else self.h5
            for name in members(group) if isinstance(group, h5py.Group) else []:
                inner = f"{path}/{name}" if path else name
                held = member(self.h5, inner)
                if isinstance(held, h5py.Dataset):
                    found.append(inner)
                elif isinstance(held, h5py.Group) and not name.startswith("#") and inner.count("/") < 8:
                    visit(inner)
                if len(found) > _MOST_NAMES:
                    return

        visit("")
        return found + [f"@{name}" for name in self.h5.attrs]

    def get(self, name: str) -> Any:
        """Return a dataset, an attribute, a compound's column (``path.column``) or the datasets of a group."""
        path, at, key = name.partition("@")
        path = path.strip("/")
        if at:
            owner = member(self.h5, path) if path else self.h5
            return None if owner is None else attribute(owner, key)
        if "*" in path:
            return self._matching(path.split("/")) or None
        held = member(self.h5, path)
        if held is None and "." in path:
            return self._below(path)
        if isinstance(held, h5py.Group):
            return self._matching([*path.split("/"), "*"]) or None
        if not isinstance(held, h5py.Dataset):
            return None
        if attribute(held, "MATLAB_class") is not None:
            return matlab.value_at(self.h5, path)
        values = whole(held, path)
        return _texts(values) if held.dtype.kind in "SO" and h5py.check_string_dtype(held.dtype) else values

    def _matching(self, parts: list[str]) -> dict[str, Any]:
        """Return the datasets whose path fits, by what stands for the star, in natural order."""
        star = next(k for k, part in enumerate(parts) if "*" in part)
        parent = "/".join(parts[:star])
        group = member(self.h5, parent) if parent else self.h5
        names = members(group) if isinstance(group, h5py.Group) else []
        found: dict[str, Any] = {}
        for name in sorted(fnmatch.filter(names, parts[star]), key=_natural):
            inner = "/".join([*parts[:star], name, *parts[star + 1 :]])
            if isinstance(member(self.h5, inner), h5py.Dataset):
                found[name] = self.get(inner)
        return found

    def _below(self, path: str) -> Any:
        """Return ``table.column`` of a compound, or ``struct.field`` as MATLAB writes it."""
        owner, column = path.rsplit(".", 1)
        found = self._column(owner, column)
        return found if found is not None else self.get(path.replace(".", "/"))

    def _column(self, path: str, column: str) -> Any:
        held = member(self.h5, path)
        if not isinstance(held, h5py.Dataset) or column not in (held.dtype.names or ()):
            return None
        return whole(held, path, held.fields(column))


class MatlabArrays:
    """Variables of a MATLAB 5 file; fields of structs as ``variable.field``."""

    kind = "MATLAB"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of the variables and, one level down, their fields."""
        found: list[str] = []
        for name, value in matlab.variables(self.path).items():
            found += [f"{name}.{field}" for field in value] if isinstance(value, dict) else [name]
        return found

    def get(self, name: str) -> Any:
        """Return a variable, or a field of one."""
        top, *fields = name.split(".")
        value = matlab.variables(self.path, (top,)).get(top)
        for field in fields:
            if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
                value = [item.get(field) for item in value]
            else:
                value = value.get(field) if isinstance(value, dict) else None
        return value


class NumpyArrays:
    """Arrays of an NPZ archive, or of the NPY files of a folder."""

    kind = "NumPy"

    def __init__(self, files: Files) -> None:
        self.files = files

    def names(self) -> list[str]:
        """Return the names of the arrays."""
        return sorted(name.removesuffix(".npy") for name in self.files.names if name.endswith(".npy"))

    def get(self, name: str) -> Any:
        """Return an array."""
        file = f"{name}.npy"
        if name.endswith("*"):
            names = [held for held in self.names() if held.startswith(name.rstrip("*"))]
            return {held: self.get(held) for held in sorted(names, key=_natural)} or None
        if file not in self.files.names:
            return None
        values = self.files.array(file, "fiubU")
        return values.ravel().tolist() if values.dtype.kind == "U" else values


class OneArray:
    """The array of one NPY file, named ``array``."""

    kind = "NumPy"

    def __init__(self, path: Path) -> None:
        self.files = Files(frozenset({path.name}), folder=path.parent)
        self.file = path.name

    def names(self) -> list[str]:
        """Return the one name."""
        return ["array"]

    def get(self, name: str) -> Any:
        """Return the array."""
        return self.files.array(self.file, "fiub") if name == "array" else None


class CsvArrays:
    """Columns of a CSV by the names in its header, or ``1``, ``2``, ... where it has none."""

    kind = "CSV"

    def __init__(self, path: Path, delimiter: str | None) -> None:
        if path.stat().st_size > _LARGEST_TEXT:
            raise RecordingError(f"{path.name} is {path.stat().st_size} bytes long, too long for a table of spikes")
        lines = [line for line in decoded(path.read_bytes()).splitlines() if line.strip() and not line.startswith("#")]
        if not lines:
            raise RecordingError(f"{path.name} holds no rows")
        separator = delimiter or max(",;\t ", key=lines[0].count)
        try:
            rows = [
                [cell.strip() for cell in row if separator != " " or cell]
                for row in csv.reader(lines, delimiter=separator)
            ]
        except csv.Error as error:
            raise RecordingError(f"{path.name} is no readable CSV: {error}") from None
        header = None if all(_is_number(cell) for cell in rows[0] if cell) else rows[0]
        self.columns = header or [str(k + 1) for k in range(len(rows[0]))]
        self.rows = rows[1:] if header else rows
        self.decimal_comma = separator == ";"

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.columns)

    def get(self, name: str) -> Any:
        """Return a column: numbers where all cells are, texts else."""
        if name not in self.columns:
            return None
        k = self.columns.index(name)
        cells = [row[k] if k < len(row) else "" for row in self.rows]
        plain = [cell.replace(",", ".") for cell in cells] if self.decimal_comma else cells
        if all(_is_number(cell) for cell in plain):
            return np.array([float(cell) for cell in plain])
        return cells


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _natural(name: str) -> tuple[Any, ...]:
    """Return a key that sorts unit2 before unit10."""
    digits = "".join(letter if letter.isdecimal() else " " for letter in name).split()
    return (name.rstrip("0123456789"), int(digits[-1]) if digits and name[-1:].isdecimal() else -1, name)


def _texts(values: Any) -> list[str]:
    return [text(value) for value in np.ravel(values)]


@contextmanager
def open_arrays(path: Path, delimiter: str | None = None) -> Iterator[Arrays]:
    """Open a file of any layout as named values.

    Raises
    ------
    RecordingError
        If it is none of the kinds read.
    """
    if path.is_dir():
        yield NumpyArrays(Files(frozenset(item.name for item in path.iterdir() if item.is_file()), folder=path))
        return
    if is_hdf5(path):
        with open_hdf5(path) as h5:
            yield Hdf5Arrays(h5)
        return
    with open(path, "rb") as file:
        head = file.read(4096)
    if matlab.is_mat5(head):
        yield MatlabArrays(path)
    elif head.startswith(b"PK"):
        with open_files(path, _any_array(path)) as files:
            if files is None:
                raise RecordingError(f"{path.name} is an archive without NumPy arrays")
            yield NumpyArrays(files)
    elif head.startswith(b"\x93NUMPY"):
        yield OneArray(path)
    elif "\x00" in decoded(head):
        raise RecordingError(f"{path.name} is neither HDF5, MATLAB, NumPy nor text (it begins with {head[:16]!r})")
    else:
        yield CsvArrays(path, delimiter)


def _any_array(path: Path) -> str:
    """Return the name of some array in an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return next((Path(name).name for name in archive.namelist() if name.endswith(".npy")), "")
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise RecordingError(f"{path.name} is a damaged archive: {error}") from None


def column_of(arrays: Arrays, name: str) -> Any:
    """Return what `Arrays.get` returns, or one column of it: ``name[:, 1]`` or ``name[1]``, counted from 0."""
    match = _COLUMN.fullmatch(name)
    if match is None:
        return arrays.get(name)
    values, k = arrays.get(match[1]), int(match[2])
    if not isinstance(values, np.ndarray) or values.ndim != 2 or k >= values.shape[1]:
        return None
    return values[:, k]


def flat_numbers(value: Any) -> NDArray[np.float64] | None:
    """Return a value as one flat array of numbers, or None where it is none."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value.astype(np.float64).ravel()
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return np.array([float(value)])
    if isinstance(value, list) and not value:
        return np.empty(0)
    return None
