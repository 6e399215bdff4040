"""Fits in files: what every kind of fit is saved through."""

import json
from os import PathLike
from typing import Any, ClassVar, Protocol

import h5py
import numpy as np
import pandas as pd

from organoid._version import __version__
from organoid.errors import FitError
from organoid.hdf5 import layout
from organoid.hdf5.atomic import new_hdf5

KIND = "fit"
HOW = "fit_by"  # root attribute: which class of fit the file holds; absent in files with a FitResult only


class SavedFit(Protocol):
    """What can be saved as a fit."""

    HOW: ClassVar[str]

    def write_to(self, group: h5py.Group) -> None:
        """Write the fit into an empty group."""

    @classmethod
    def read_from(cls, group: h5py.Group) -> Any:
        """Read a fit that `write_to` wrote."""


FITS: dict[str, type[SavedFit]] = {}  # by HOW; every subclass of `organoid.fitting.result.Fit` enters itself


def save_fit(fit: SavedFit, path: str | PathLike[str]) -> None:
    """Write a fit to an HDF5 file, which appears under its name only when complete."""
    with new_hdf5(path) as h5:
        write_fit(fit, h5)


def write_fit(fit: SavedFit, h5: h5py.File) -> None:
    """Write a fit into an empty file."""
    layout.mark(h5, KIND, __version__)
    h5.attrs[HOW] = fit.HOW
    fit.write_to(h5)


def to_json(value: Any) -> str:
    """Return JSON text of plain values, numpy values or a Series."""
    return json.dumps(value.to_dict() if isinstance(value, pd.Series) else value, default=_plain)


def read_json(group: h5py.Group, name: str, kind: type) -> Any:
    """Read what `to_json` made, and reject anything but the kind (dict or list) that was written."""
    value = layout.read_json(group, name, None)
    if not isinstance(value, kind):
        raise FitError(f"{group.file.filename}: {name!r} holds a {type(value).__name__}; expected a {kind.__name__}")
    return value


def as_integers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose integers, which come back from a file as nullable ones, are plain."""
    return table.astype({c: "int64" for c in table if table[c].dtype == "Int64"})


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON-able")
