"""`load_fit`: a fit of any kind, from its file."""

from os import PathLike
from pathlib import Path

import h5py

from organoid.errors import FitError, OrganoidError
from organoid.fitting.gradient.result import GradientFit
from organoid.fitting.result import Fit, FitResult
from organoid.fitting.serialization import FITS, HOW, KIND
from organoid.hdf5 import layout

KINDS = (FitResult, GradientFit)  # importing a kind of fit enters it in `FITS`


def load_fit(path: str | PathLike[str]) -> Fit:
    """Read a fit that `organoid fit` or `Fit.save` wrote.

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

    Examples
    --------
    >>> import tempfile, numpy as np, organoid
    >>> rng = np.random.default_rng(0)
    >>> rec = organoid.SpikeRecording(rng.uniform(0, 20, 400), rng.integers(0, 3, 400), t_stop=20.0)
    >>> result = organoid.fit(rec, free_run=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(f"{folder}/fit.h5")
    ...     again = organoid.load_fit(f"{folder}/fit.h5")
    >>> again.network.describe() == result.network.describe()
    True
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
            return fit_in(h5)
    except OrganoidError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FitError(f"{file} cannot be read as a fit, it is damaged: {error}") from None


def fit_in(h5: h5py.File) -> Fit:
    """Return the fit in an open file."""
    how = h5.attrs.get(HOW, FitResult.HOW)
    if how not in FITS:
        raise FitError(f"{h5.filename} holds a fit by {how!r}; expected one of {', '.join(FITS)}")
    result: Fit = FITS[how].read_from(h5)
    return result
