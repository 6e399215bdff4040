"""`FitResult`: a fitted network with its scores, and how it is saved."""

from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.history import bin_history
from organoid.fitting.serialization import as_integers, read_json, save_fit, to_json
from organoid.fitting.teacher_forced.prediction import expected_counts
from organoid.hdf5 import layout
from organoid.models.serialization import read_network, write_network
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.recording import SpikeRecording

_JSON = {"scores": dict, "free_run": dict, "notes": list, "settings": dict}
_NETWORKS = ("network", "forced", "uncoupled")
_TABLES = ("edges", "per_unit", "units", "electrodes")
_GOODNESS = "goodness"  # absent in files of older versions


@dataclass(frozen=True)
class FitResult:
    """A network fitted to a recording by forced likelihood.

    Parameters
    ----------
    network : SpikeResponseNetwork
        The network to simulate and stimulate with (weights ``free``, or the forced ones where they are
        alive already).
    forced : SpikeResponseNetwork
        The network to predict with, fitted on recorded history.
    uncoupled : SpikeResponseNetwork
        The same units with their own history only: the baseline.
    scores : Series
        heldout_bits_per_spike, heldout_bits_per_spike_uncoupled, n_units, n_spikes, seconds, ...
    free_run : dict
        Free-run scores: medians and ranges over seeded runs; None where undefined.
    edges : DataFrame
        pre, post, weight, se, z, q, sign.
    per_unit : DataFrame
        name, rate_hz, bits_per_spike, bits_per_spike_uncoupled, coupled, follows ("coupled", "fields only", "own
        history" or "constant rate"), capacity, and the rest of
        `organoid.fitting.evaluation.goodness_of_fit.Goodness.per_unit`.
    units, electrodes : DataFrame
        Of the recording, for geometry.
    bin_width : float, s
    notes : tuple of str
        What a user must know about this fit.
    settings : dict
        What was fitted, with what, and where the training part ends.
    goodness : DataFrame
        Curves of calibration and rescaled intervals on the test part: curve, x, y, n (see
        `organoid.fitting.evaluation.goodness_of_fit.Goodness`); empty for fits of older versions.
    """

    network: SpikeResponseNetwork
    forced: SpikeResponseNetwork
    uncoupled: SpikeResponseNetwork
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
            write_network(group.create_group(name), getattr(self, name))
        group.attrs["bin_width"] = self.bin_width
        for name in (*_TABLES, _GOODNESS):
            layout.write_table(group, name, getattr(self, name))
        for name in _JSON:
            group.create_dataset(name, data=to_json(getattr(self, name)))

    @classmethod
    def read_from(cls, group: h5py.Group) -> "FitResult":
        """Read a fit that `write_to` wrote."""
        absent = [name for name in (*_NETWORKS, *_TABLES, *_JSON) if name not in group]
        if absent:
            raise FitError(f"{group.file.filename}: {absent[0]!r} is missing; the file is not a complete fit")
        values = {name: read_json(group, name, kind) for name, kind in _JSON.items()}
        tables: dict[str, Any] = {name: layout.read_table(group, name) for name in _TABLES}
        for name in ("edges", "per_unit"):
            tables[name] = as_integers(tables[name])
        if _GOODNESS in group:
            tables[_GOODNESS] = layout.read_table(group, _GOODNESS)
        networks: dict[str, Any] = {name: read_network(group[name]) for name in _NETWORKS}
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
