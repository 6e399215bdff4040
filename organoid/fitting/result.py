"""`Fit`, what every fit has, and `FitResult`, the fit by teacher-forced likelihood; how they are saved."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import FitError
from organoid.fitting.data.history import bin_history
from organoid.fitting.evoked.calibrate import calibrate
from organoid.fitting.evoked.settings import EvokedSettings
from organoid.fitting.fitted_networks import FittedNetwork, expected_on_record
from organoid.fitting.serialization import FITS, as_integers, read_json, save_fit, to_json
from organoid.hdf5 import layout
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.serialization import read_network, write_network
from organoid.recording import SpikeRecording

Array = NDArray[np.float64]

_JSON = {"scores": dict, "free_run": dict, "notes": list, "settings": dict}


@dataclass(frozen=True, eq=False)
class Fit(ABC):
    """A network fitted to a recording, with its scores. Every kind of fit is a subclass with a name, ``HOW``.

    A kind is saved through `write_to` and brought back by `read_from`; both take care of what is declared here and of
    the tables named in ``TABLES``. A subclass adds its own parts in ``_write_own`` and ``_read_own``.

    Parameters
    ----------
    network : FreeRunningNetwork or None
        The network to simulate and stimulate with: what `organoid.simulate` and `organoid.SimulatedCulture` run.
        None where a model has no free-running form.
    scores : Series
        heldout_bits_per_spike, heldout_bits_per_spike_uncoupled, n_units, n_spikes, seconds, peak_rss_mb, and more of
        each kind.
    free_run : dict
        Free-run scores: medians and ranges over seeded runs, ``passed`` and ``reasons``; None where undefined; empty
        where no free runs were made.
    edges : DataFrame
        pre, post, weight, se, z, q, sign; empty where weights are no estimates of connections.
    per_unit : DataFrame
        name, rate_hz, bits_per_spike, bits_per_spike_uncoupled, coupled, capacity, and more of each kind.
    units, electrodes : DataFrame
        Of the recording, for geometry.
    bin_width : float, s
    notes : tuple of str
        What a user must know about this fit.
    settings : dict
        What was fitted, with what, and where the training part ends.
    """

    network: FreeRunningNetwork | None
    scores: "pd.Series[Any]"
    free_run: dict[str, Any]
    edges: pd.DataFrame
    per_unit: pd.DataFrame
    units: pd.DataFrame
    electrodes: pd.DataFrame
    bin_width: float
    notes: tuple[str, ...]
    settings: dict[str, Any]

    HOW: ClassVar[str]
    TABLES: ClassVar[tuple[str, ...]] = ("edges", "per_unit", "units", "electrodes")
    PARTS: ClassVar[tuple[str, ...]] = ()  # further groups that a file must hold
    LATER: ClassVar[tuple[str, ...]] = ()  # tables that files of older versions lack

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        FITS[cls.HOW] = cls

    @abstractmethod
    def predict(self, rec: SpikeRecording, t_start: float | None = None, t_stop: float | None = None) -> Array:
        """Return expected spike counts, each bin from earlier spikes only.

        Parameters
        ----------
        rec : SpikeRecording
            Of the same units.
        t_start, t_stop : float, optional, s
            Bins are those of ``rec.counts(result.bin_width, t_start, t_stop)``; spikes before `t_start` are used as
            history.

        Returns
        -------
        ndarray, shape (n_bins, n_units)

        Raises
        ------
        FitError
            If the recording has another number of units.
        """

    @property
    @abstractmethod
    def held_out(self) -> "pd.Series[float]":
        """Loss on the held-out part, smaller is better: ``fitted``, and controls by the same function.

        Controls are ``silent``, no spike at all; ``constant_rate``, the units' training rates; ``own_history``, each
        unit's own history; and ``shuffled``, the same model trained on the spikes of wrong units. NaN: not computed.
        """

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fit to an HDF5 file, which appears under its name only when complete.

        Raises
        ------
        FitError
            If a part of it could not be brought back from a file.
        """
        save_fit(self, path)

    def write_to(self, group: h5py.Group) -> None:
        """Write the fit into an empty group."""
        self._write_own(group)
        group.attrs["bin_width"] = self.bin_width
        for name in self.TABLES:
            layout.write_table(group, name, getattr(self, name))
        for name in _JSON:
            group.create_dataset(name, data=to_json(getattr(self, name)))

    @classmethod
    def read_from(cls, group: h5py.Group) -> "Fit":
        """Read a fit that `write_to` wrote."""
        absent = [name for name in (*cls.PARTS, *cls.TABLES, *_JSON) if name not in group and name not in cls.LATER]
        if absent:
            raise FitError(f"{group.file.filename}: {absent[0]!r} is missing; the file is not a complete fit")
        values = {name: read_json(group, name, kind) for name, kind in _JSON.items()}
        tables = {name: layout.read_table(group, name) for name in cls.TABLES if name in group}
        own = {name: as_integers(table) for name, table in tables.items() if name not in ("units", "electrodes")}
        return cls(
            scores=pd.Series(values["scores"], dtype=object),
            free_run=_with_passed(values["free_run"]),
            bin_width=float(group.attrs["bin_width"]),
            notes=tuple(values["notes"]),
            settings=values["settings"],
            **tables | own,  # type: ignore[arg-type]
            **cls._read_own(group),
        )

    @abstractmethod
    def _write_own(self, group: h5py.Group) -> None:
        """Write what only this kind of fit has."""

    @classmethod
    @abstractmethod
    def _read_own(cls, group: h5py.Group) -> dict[str, Any]:
        """Read what `_write_own` wrote, by the names of the fields."""


def _with_passed(free_run: dict[str, Any]) -> dict[str, Any]:
    """Return free-run scores with ``passed``, which older files call ``alive``."""
    return {"passed": free_run["alive"], **free_run} if "alive" in free_run else free_run


_NETWORKS = ("network", "forced", "uncoupled")
_EVOKED = "evoked"  # absent where responses to pulses were not calibrated


@dataclass(frozen=True, eq=False, repr=False)
class FitResult(Fit):
    """A network fitted to a recording by teacher-forced likelihood; `Fit` says what every fit has.

    Parameters
    ----------
    network : SpikeResponseNetwork or CultureLIFNetwork
        The network to simulate and stimulate with: corrected in free run, or the teacher-forced one where that meets
        the free-run criteria already.
    forced : SpikeResponseNetwork or CultureLIFNetwork
        The network to predict with, fitted on recorded history.
    uncoupled : SpikeResponseNetwork or CultureLIFNetwork
        The same units with their own history only: the baseline.
    per_unit : DataFrame
        Beside what every fit has: follows ("coupled", "fields only", "own history" or "constant rate"), and the rest of
        `organoid.fitting.evaluation.goodness_of_fit.Goodness.per_unit`.
    goodness : DataFrame
        Curves of calibration and time-rescaled intervals on the test part: curve, x, y, n (see
        `organoid.fitting.evaluation.goodness_of_fit.Goodness`); empty for fits of older versions.
    evoked : dict
        How responses to pulses were calibrated, and how good they are on pulses that were held out (see
        `organoid.fitting.evoked.scores.score_responses`); empty where they were not.

    Examples
    --------
    >>> import numpy as np, organoid
    >>> rng = np.random.default_rng(0)
    >>> rec = organoid.SpikeRecording(rng.uniform(0, 20, 400), rng.integers(0, 3, 400), t_stop=20.0)
    >>> result = organoid.fit(rec, free_run=False)
    >>> result.predict(rec).shape  # expected counts in bins of 1 ms
    (20000, 3)
    >>> list(result.edges.columns[:4])
    ['pre', 'post', 'weight', 'se']
    """

    network: FittedNetwork
    forced: FittedNetwork
    uncoupled: FittedNetwork
    goodness: pd.DataFrame = field(default_factory=pd.DataFrame)
    evoked: dict[str, Any] = field(default_factory=dict)

    HOW: ClassVar[str] = "likelihood"
    TABLES: ClassVar[tuple[str, ...]] = (*Fit.TABLES, "goodness")
    LATER: ClassVar[tuple[str, ...]] = ("goodness",)
    PARTS: ClassVar[tuple[str, ...]] = _NETWORKS

    @property
    def held_out(self) -> "pd.Series[float]":
        """Negative Poisson log-likelihood of the held-out part, bits/spike: ``fitted``, and controls of `Fit.held_out`.

        From the scores: bits/spike is the difference to constant rates, and the pseudo-R2 the fraction of it.
        """
        bits, fraction, own = (
            float(self.scores.get(f"heldout_{name}", np.nan))
            for name in ("bits_per_spike", "pseudo_r2", "bits_per_spike_uncoupled")
        )
        constant = bits / fraction if fraction else np.nan
        silent = np.nan if np.isnan(constant) else np.inf  # probability 0 of spikes that are there
        losses = {"fitted": constant - bits, "silent": silent, "constant_rate": constant, "own_history": constant - own}
        return pd.Series({**losses, "shuffled": np.nan}, dtype=float)

    @property
    def responses(self) -> pd.DataFrame:
        """Responses to pulses: electrode, n_pulses, unit, time_s, logit (`StimulusKernels.table`); empty for none."""
        kernels = self.forced.stimulus
        columns = ("electrode", "n_pulses", "unit", "time_s", "logit")
        return pd.DataFrame(columns=list(columns)) if kernels is None else kernels.table()

    def predict(self, rec: SpikeRecording, t_start: float | None = None, t_stop: float | None = None) -> Array:
        """Return expected spike counts, each bin from earlier spikes, and from stimuli up to it where they were fitted.

        Parameters, returns and errors are those of `Fit.predict`.
        """
        if rec.n_units != self.network.n_units:
            raise FitError(
                f"the recording has {rec.n_units} units, the fit {self.network.n_units}; they must be the same"
            )
        history = bin_history(rec, self.bin_width, t_start, t_stop)
        chunks = [
            expected for _, expected in expected_on_record(history, self.forced, history.first_bin, history.n_bins)
        ]
        return np.concatenate(chunks) if chunks else np.empty((0, rec.n_units))

    def calibrate(
        self,
        stimulated: SpikeRecording | Sequence[SpikeRecording],
        *,
        n_pulses: int | None = None,
        seed: int = 0,
        settings: EvokedSettings | None = None,
    ) -> "FitResult":
        """Return a copy whose responses to pulses are calibrated on recordings of this culture with test pulses.

        The network's weights stay as they are, and so do its free runs without pulses. Filters of every electrode and
        unit are fitted on recorded history and then moved by free runs until the network answers as recorded (see
        `organoid.fitting.evoked.stage`); 10 to 20 pulses of an electrode are enough.

        Parameters
        ----------
        stimulated : SpikeRecording or sequence of SpikeRecording
            With stimuli; units are matched by name.
        n_pulses : int, optional
            Calibrate on the first so many pulses of each electrode, and judge on those after them. Default: calibrate
            on every other pulse of each electrode, judge on the others.
        seed : int
        settings : EvokedSettings, optional

        Returns
        -------
        FitResult
            Its ``evoked`` holds the held-out scores, ``network.stimulus`` the responses.

        Raises
        ------
        FitError
            If recordings have no stimuli or lack units of this fit, or the network is silent or runs away.
        """
        return calibrate(self, stimulated, n_pulses=n_pulses, seed=seed, settings=settings)

    @property
    def calibration_status(self) -> str:
        """Whether responses to pulses are calibrated: "uncalibrated", or "calibrated (75 pulses, 3 electrodes)"."""
        kernels = self.network.stimulus
        return "uncalibrated" if kernels is None else kernels.status

    def _write_own(self, group: h5py.Group) -> None:
        for name in _NETWORKS:
            write_network(group.create_group(name), getattr(self, name))
        if self.evoked:
            group.create_dataset(_EVOKED, data=to_json(self.evoked))

    @classmethod
    def _read_own(cls, group: h5py.Group) -> dict[str, Any]:
        evoked = read_json(group, _EVOKED, dict) if _EVOKED in group else {}
        return {**{name: read_network(group[name]) for name in _NETWORKS}, _EVOKED: evoked}

    def __repr__(self) -> str:
        bits, alone = (self.scores[f"heldout_bits_per_spike{suffix}"] for suffix in ("", "_uncoupled"))
        return f"FitResult({self.network.n_units} units, held out {bits:.3f} bits/spike, uncoupled {alone:.3f})"
