"""`FitResult`: a fitted network with its scores, and how it is saved."""

import json
import os
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import organoid
from organoid import layout
from organoid.errors import FitError, OrganoidError
from organoid.fitting.history import bin_history
from organoid.fitting.predict import expected_counts
from organoid.models.escape_lif import EscapeLIF
from organoid.models.storage import put_network, take_network
from organoid.recording import SpikeRecording

if TYPE_CHECKING:
    from organoid.fitting.gradient_result import GradientFit

KIND = "fit"
HOW = "fit_by"  # root attribute: which class of fit the file holds; absent in files with a FitResult only
_JSON = {"scores": dict, "free_run": dict, "notes": list, "settings": dict}
_NETWORKS = ("network", "forced", "uncoupled")
_TABLES = ("edges", "per_unit", "units", "electrodes")
_GOODNESS = "goodness"  # absent in files of older versions


@dataclass(frozen=True)
class FitResult:
    """A network fitted to a recording by forced likelihood.

    Parameters
    ----------
    network : EscapeLIF
        The network to simulate and stimulate with (weights ``free``, or the forced ones where they are
        alive already).
    forced : EscapeLIF
        The network to predict with, fitted on recorded history.
    uncoupled : EscapeLIF
        The same units with their own history only: the baseline.
    scores : Series
        heldout_bits_per_spike, heldout_bits_per_spike_uncoupled, n_units, n_spikes, seconds, ...
    free_run : dict
        Free-run scores: medians and ranges over seeded runs; None where undefined.
    edges : DataFrame
        pre, post, weight, se, z, q, sign.
    per_unit : DataFrame
        name, rate_hz, bits_per_spike, bits_per_spike_uncoupled, coupled, follows ("coupled", "fields only", "own
        history" or "constant rate"), capacity, and the rest of `organoid.fitting.goodness.Goodness.per_unit`.
    units, electrodes : DataFrame
        Of the recording, for geometry.
    bin_width : float, s
    notes : tuple of str
        What a user must know about this fit.
    settings : dict
        What was fitted, with what, and where the training part ends.
    goodness : DataFrame
        Curves of calibration and rescaled intervals on the test part: curve, x, y, n (see
        `organoid.fitting.goodness.Goodness`); empty for fits of older versions.
    """

    network: EscapeLIF
    forced: EscapeLIF
    uncoupled: EscapeLIF
    scores: "pd.Series[Any]"
    free_run: dict[str, Any]
    edges: pd.DataFrame
    per_unit: pd.DataFrame
    units: pd.DataFrame
    electrodes: pd.DataFrame
    bin_width: float
    notes: tuple[str, ...]
    settings: dict[str, Any]

    goodness: pd.DataFrame = field(default_factory=pd.DataFrame)

    HOW: ClassVar[str] = "likelihood"

    @property
    def responses(self) -> pd.DataFrame:
        """Responses to pulses: electrode, n_pulses, unit, time_s, logit (`StimulusKernels.table`); empty for none."""
        kernels = self.forced.stimulus
        columns = ("electrode", "n_pulses", "unit", "time_s", "logit")
        return pd.DataFrame(columns=list(columns)) if kernels is None else kernels.table()

    def predict(
        self, rec: SpikeRecording, t_start: float | None = None, t_stop: float | None = None
    ) -> NDArray[np.float64]:
        """Return expected spike counts, each bin from earlier spikes, and from stimuli up to it where they were fitted.

        Parameters
        ----------
        rec : SpikeRecording
            Of the same units.
        t_start, t_stop : float, optional, s
            Bins are those of ``rec.counts(result.bin_width, t_start, t_stop)``; spikes before `t_start`
            are used as history.

        Returns
        -------
        ndarray, shape (n_bins, n_units)

        Raises
        ------
        FitError
            If the recording has another number of units.
        """
        if rec.n_units != self.network.n_units:
            raise FitError(
                f"the recording has {rec.n_units} units, the fit {self.network.n_units}; they must be the same"
            )
        history = bin_history(rec, self.bin_width, t_start, t_stop)
        parts = expected_counts(
            history, self.forced.parameters, history.first_bin, history.n_bins, self.forced.stimulus
        )
        chunks = [expected for _, expected in parts]
        return np.concatenate(chunks) if chunks else np.empty((0, rec.n_units))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fit to an HDF5 file, which appears under its name only when complete."""
        save_fit(self, path)

    def write_to(self, group: h5py.Group) -> None:
        """Write the fit into an empty group."""
        for name in _NETWORKS:
            put_network(group.create_group(name), getattr(self, name))
        group.attrs["bin_width"] = self.bin_width
        for name in (*_TABLES, _GOODNESS):
            layout.put_table(group, name, getattr(self, name))
        for name in _JSON:
            group.create_dataset(name, data=to_json(getattr(self, name)))

    @classmethod
    def read_from(cls, group: h5py.Group) -> "FitResult":
        """Read a fit that `write_to` wrote."""
        absent = [name for name in (*_NETWORKS, *_TABLES, *_JSON) if name not in group]
        if absent:
            raise FitError(f"{group.file.filename}: {absent[0]!r} is missing; the file is not a complete fit")
        values = {name: take_json(group, name, kind) for name, kind in _JSON.items()}
        tables: dict[str, Any] = {name: layout.take_table(group, name) for name in _TABLES}
        for name in ("edges", "per_unit"):
            tables[name] = whole_numbers(tables[name])
        if _GOODNESS in group:
            tables[_GOODNESS] = layout.take_table(group, _GOODNESS)
        networks: dict[str, Any] = {name: take_network(group[name]) for name in _NETWORKS}
        return cls(
            **networks,
            scores=pd.Series(values["scores"], dtype=object),
            free_run=values["free_run"],
            bin_width=float(group.attrs["bin_width"]),
            notes=tuple(values["notes"]),
            settings=values["settings"],
            **tables,
        )

    def __repr__(self) -> str:
        bits, alone = (self.scores[f"heldout_bits_per_spike{suffix}"] for suffix in ("", "_uncoupled"))
        return f"FitResult({self.network.n_units} units, held out {bits:.3f} bits/spike, uncoupled {alone:.3f})"


class Fit(Protocol):
    """What can be saved as a fit."""

    HOW: ClassVar[str]

    def write_to(self, group: h5py.Group) -> None:
        """Write the fit into an empty group."""


def save_fit(fit: Fit, path: str | PathLike[str]) -> None:
    """Write a fit to an HDF5 file, which appears under its name only when complete."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with h5py.File(temporary, "w") as h5:
            layout.mark(h5, KIND, organoid.__version__)
            h5.attrs[HOW] = fit.HOW
            fit.write_to(h5)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


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
    from organoid.fitting.gradient_result import GradientFit

    kinds: dict[str, type[FitResult] | type[GradientFit]] = {kind.HOW: kind for kind in (FitResult, GradientFit)}
    how = h5.attrs.get(HOW, FitResult.HOW)
    if how not in kinds:
        raise FitError(f"{h5.filename} holds a fit by {how!r}; expected one of {', '.join(kinds)}")
    return kinds[how].read_from(h5)


def to_json(value: Any) -> str:
    """Return JSON text of plain values, numpy values or a Series."""
    return json.dumps(value.to_dict() if isinstance(value, pd.Series) else value, default=_plain)


def take_json(group: h5py.Group, name: str, kind: type) -> Any:
    """Read what `to_json` made, and refuse anything but the kind (dict or list) that was written."""
    value = layout.take_json(group, name, None)
    if not isinstance(value, kind):
        raise FitError(f"{group.file.filename}: {name!r} holds a {type(value).__name__}; expected a {kind.__name__}")
    return value


def whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose whole numbers, which come back from a file as nullable ones, are plain."""
    return table.astype({c: "int64" for c in table if table[c].dtype == "Int64"})


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON-able")
