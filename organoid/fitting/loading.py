"""`load_fit`: a fit of any kind, from its file."""

from os import PathLike
from pathlib import Path

import h5py

from organoid.errors import FitError, OrganoidError
from organoid.fitting.gradient.result import GradientFit
from organoid.fitting.result import FitResult
from organoid.fitting.serialization import HOW, KIND
from organoid.hdf5 import layout


def load_fit(path: str | PathLike[str]) -> "FitResult | GradientFit":
    """Read a fit that `organoid fit`, `FitResult.save` or `GradientFit.save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    FitResult or GradientFit
        Whichever the file holds.

    Raises
    ------
    FileNotFoundError
    FitError
        If the file is no fit; says what it is.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    if not h5py.is_hdf5(file):
        raise FitError(f"{file} is not an HDF5 file; expected a fit written by `organoid fit` or FitResult.save")
    try:
        with h5py.File(file, "r") as h5:
            kind = h5.attrs.get(layout.KIND)
            if kind != KIND:
                what = f"an organoid {kind}" if kind else "no organoid file"
                raise FitError(f"{file} is {what}; expected a fit written by `organoid fit` or FitResult.save")
            return _read(h5)
    except OrganoidError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FitError(f"{file} cannot be read as a fit, it is damaged: {error}") from None


def _read(h5: h5py.File) -> "FitResult | GradientFit":
    kinds: dict[str, type[FitResult] | type[GradientFit]] = {kind.HOW: kind for kind in (FitResult, GradientFit)}
    how = h5.attrs.get(HOW, FitResult.HOW)
    if how not in kinds:
        raise FitError(f"{h5.filename} holds a fit by {how!r}; expected one of {', '.join(kinds)}")
    return kinds[how].read_from(h5)
