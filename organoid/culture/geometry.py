"""Where units and electrodes are, and how far from each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import StimulationError

_POSITION = ["x_um", "y_um"]


@dataclass(frozen=True)
class OwnElectrodes:
    """Distances where electrode `k` reaches unit `k` and no other; a row is made when it is requested.

    Parameters
    ----------
    n_units : int
        Units, and electrodes. A matrix would not fit into memory for 100,000 of them.
    """

    n_units: int

    @property
    def shape(self) -> tuple[int, int]:
        """Electrodes and units."""
        return self.n_units, self.n_units

    def __getitem__(self, electrode: int) -> NDArray[np.float64]:
        row = np.full(self.n_units, np.inf)
        row[electrode] = 0.0
        return row


Distances = NDArray[np.float64] | OwnElectrodes


@dataclass(frozen=True)
class Geometry:
    """Units and electrodes in the plane of the array.

    Parameters
    ----------
    units : DataFrame
        One row per unit; see `SpikeRecording.units`.
    electrodes : DataFrame
        One row an electrode; row number = electrode index in pulses.
    distances : ndarray of float64, shape (n_electrodes, n_units), um, or OwnElectrodes
        Infinite where a position is unknown.
    warnings : tuple of str
        What had to be assumed.
    responding : ndarray of int64
        Numbers of electrodes whose pulses act through a fitted response, wherever they lie.
    all_respond : bool
        Whether the others act through one, too: the mean response.
    """

    units: pd.DataFrame
    electrodes: pd.DataFrame
    distances: Distances
    warnings: tuple[str, ...] = ()
    responding: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    all_respond: bool = False

    @property
    def electrode_numbers(self) -> NDArray[np.int64]:
        """The number of each electrode: as the table says, else its channel, else its row."""
        numbers = pd.Series(np.arange(self.n_electrodes), dtype="Int64")
        for name in ("channel", "electrode"):
            if name in self.electrodes:
                numbers = self.electrodes[name].astype("Int64").reset_index(drop=True).fillna(numbers)
        return np.asarray(numbers.to_numpy(dtype=np.int64))

    @property
    def n_electrodes(self) -> int:
        """Number of electrodes."""
        return len(self.electrodes)

    @property
    def unreachable(self) -> NDArray[np.int64]:
        """Indices of electrodes that cannot be stimulated: no position, or the table says so."""
        if isinstance(self.distances, OwnElectrodes):
            blocked: NDArray[np.bool_] = np.zeros(self.n_electrodes, dtype=bool)
        else:
            blocked = np.asarray(~np.isfinite(self.distances).any(axis=1) | (self.distances.size == 0))
        blocked &= ~(np.isin(self.electrode_numbers, self.responding) | self.all_respond)
        if "can_stimulate" in self.electrodes:
            blocked |= ~self.electrodes["can_stimulate"].to_numpy(dtype=bool)
        return np.flatnonzero(blocked)

    @property
    def nearest_electrode(self) -> NDArray[np.int64]:
        """Electrode nearest to each unit, -1 where unknown, shape (n_units,)."""
        if isinstance(self.distances, OwnElectrodes):
            return np.arange(self.distances.n_units)
        if not self.distances.size:
            return np.full(len(self.units), -1, dtype=np.int64)
        known = np.isfinite(self.distances).any(axis=0)
        return np.where(known, self.distances.argmin(axis=0), -1).astype(np.int64)


def place(
    n_units: int,
    units: pd.DataFrame | None = None,
    electrodes: pd.DataFrame | None = None,
    responding: NDArray[np.int64] | None = None,
    all_respond: bool = False,
) -> Geometry:
    """Return the geometry of a culture.

    Electrodes with positions are taken as they are. Without any, one electrode is put at each
    position a unit has. Without positions of units either, each unit gets an electrode of its own
    that reaches no other unit. Where electrodes have a fitted response, the table is taken as it is in any case; if it
    is empty, they are the electrodes, as far as their numbers are known, and, where all respond, one for each unit.

    Parameters
    ----------
    n_units : int
    units, electrodes : DataFrame, optional
        As `SpikeRecording.units` and `.electrodes`; positions in ``x_um`` and ``y_um``.
    responding : ndarray of int64, optional
        Numbers of electrodes with a fitted response to pulses.
    all_respond : bool
        Whether all others have one, too.

    Returns
    -------
    Geometry

    Raises
    ------
    StimulationError
        If the table of units has another length.
    """
    table = pd.DataFrame(index=range(n_units)) if units is None else units.reset_index(drop=True)
    if len(table) != n_units:
        raise StimulationError(f"the table of units has {len(table)} rows; expected {n_units}, one a unit")
    if responding is None or electrodes is None:
        return _place(table, electrodes)
    if electrodes.empty:
        named = np.unique(np.append(responding[responding >= 0], np.arange(n_units if all_respond else 0)))
        electrodes = pd.DataFrame({"channel": named, "electrode": named})
    if electrodes.empty or np.isfinite(_positions(electrodes)).all(axis=1).any():
        return replace(_place(table, electrodes), responding=responding, all_respond=all_respond)
    electrodes = electrodes.reset_index(drop=True)
    missing = "no positions of electrodes known: those without a fitted response cannot be stimulated"
    warnings = () if all_respond else (missing,)
    nowhere = np.full((len(electrodes), n_units), np.inf)
    return Geometry(table, electrodes, nowhere, warnings, responding, all_respond)


def with_stimulated(
    electrodes: pd.DataFrame | None, stimuli: pd.DataFrame, n_units: int, responding: NDArray[np.int64]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table of electrodes that holds those of some stimuli, and the stimuli naming each by its number.

    Stimuli that name no electrode are on electrode -1.
    """
    table = pd.DataFrame({"channel": [], "electrode": []}) if electrodes is None else electrodes
    if table.empty:
        table = place(n_units, None, table, responding, all_respond=True).electrodes
    here = table["electrode"].astype("Int64") if "electrode" in table else pd.Series(pd.NA, table.index, "Int64")
    rows = here.fillna(table["channel"].astype("Int64")) if "channel" in table else here
    of_channel = dict(zip(table["channel"].astype("Int64"), rows)) if "channel" in table else {}
    channels = stimuli["channel"].astype("Int64") if "channel" in stimuli else pd.Series(pd.NA, stimuli.index, "Int64")
    by_channel = channels.map(of_channel).astype("Int64").fillna(channels)
    numbers = stimuli["electrode"].astype("Int64").fillna(by_channel).fillna(-1)
    new = sorted(set(numbers.tolist()) - set(rows.dropna().tolist()))
    further = pd.DataFrame({"channel": pd.array([pd.NA] * len(new), dtype="Int64"), "electrode": new}).astype("Int64")
    if "can_stimulate" in table:
        further["can_stimulate"] = True  # they were stimulated
    whole = pd.concat([table.assign(electrode=rows), further], ignore_index=True)
    return whole, stimuli.assign(electrode=numbers, channel=np.full(len(stimuli), pd.NA, dtype=object))


def _place(table: pd.DataFrame, electrodes: pd.DataFrame | None) -> Geometry:
    points = _positions(table)
    known = np.isfinite(points).all(axis=1)
    if not known.any():
        return _one_electrode_a_unit(table)
    warnings: tuple[str, ...] = ()
    if not known.all():
        warnings += (f"{int(np.sum(~known))} of {len(table)} units have no position: no pulse recruits them directly",)
    if electrodes is None or not np.isfinite(_positions(electrodes)).all(axis=1).any():
        electrodes = _electrodes_at_units(table.iloc[np.flatnonzero(known)])
        warnings += (f"no electrode positions known: {len(electrodes)} virtual electrodes at the units' positions",)
    electrodes = electrodes.reset_index(drop=True)
    distances = _distances(_positions(electrodes), points)
    n_lost = int(np.sum(~np.isfinite(distances).any(axis=1)))
    if n_lost:
        warnings += (f"{n_lost} of {len(electrodes)} electrodes have no position and cannot be stimulated",)
    return Geometry(table, electrodes, distances, warnings)


def _positions(table: pd.DataFrame) -> NDArray[np.float64]:
    columns: Mapping[Any, Any] = {name: table[name] if name in table else np.nan for name in _POSITION}
    frame = pd.DataFrame(columns, index=table.index)
    return np.asarray(frame.to_numpy(dtype=np.float64))


def _electrodes_at_units(units: pd.DataFrame) -> pd.DataFrame:
    names = [name for name in ("channel", "electrode", *_POSITION, "well") if name in units]
    return units[names].drop_duplicates(subset=_POSITION).reset_index(drop=True)


def _one_electrode_a_unit(units: pd.DataFrame) -> Geometry:
    n_units = len(units)
    electrodes = pd.DataFrame({"channel": np.arange(n_units), "electrode": np.arange(n_units)})
    warning = "no positions known: one virtual electrode for each unit, reaching that unit alone"
    return Geometry(units, electrodes, OwnElectrodes(n_units), (warning,))


def _distances(electrodes: NDArray[np.float64], units: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = np.sum((electrodes[:, None, :] - units[None, :, :]) ** 2, axis=2)
    return np.asarray(np.where(np.isfinite(squared), np.sqrt(squared), np.inf))
