"""Checks and defaults `SpikeRecording` applies to what it is given."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.tables import ELECTRODE_COLUMNS, STIMULUS_COLUMNS, UNIT_COLUMNS, conform


def frozen(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return read-only copies."""
    copies = tuple(np.array(array) for array in arrays)
    for array in copies:
        array.flags.writeable = False
    return copies


def check_sampling_rate(rate: float | None) -> float | None:
    """Return the rate as float, or None; refuse anything not positive."""
    if rate is None:
        return None
    if not (np.isfinite(rate) and rate > 0):
        raise RecordingError(f"sampling_rate {rate!r} Hz; expected a positive number, or None if unknown")
    return float(rate)


def check_spikes(times: ArrayLike, units: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return finite float64 times and int64 units of one length."""
    try:
        t = np.asarray(times, dtype=np.float64)
        u = np.asarray(units)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"spike times must be numbers (s) and spike units whole numbers: {error}") from None
    if t.ndim != 1 or u.ndim != 1 or t.shape != u.shape:
        raise RecordingError(f"spike_times has shape {t.shape}, spike_units {u.shape}; expected two equal lengths")
    if u.size and u.dtype.kind not in "iu":
        raise RecordingError(f"spike_units has type {u.dtype}; expected whole numbers (unit indices from 0)")
    if not np.all(np.isfinite(t)):
        raise RecordingError(f"{int(np.sum(~np.isfinite(t)))} of {t.size} spike times are NaN or infinite")
    return t, u.astype(np.int64)


def check_n_units(n_units: int | None, units: pd.DataFrame | None, index: NDArray[np.int64]) -> int:
    """Return the number of units that fits the spikes and the table."""
    needed = int(index.max()) + 1 if index.size else 0
    if n_units is None:
        n_units = len(units) if units is not None else needed
    if n_units < needed or (index.size and index.min() < 0):
        raise RecordingError(f"spike_units run from {index.min()} to {index.max()}, but there are {n_units} units")
    if units is not None and len(units) != n_units:
        raise RecordingError(f"the table of units has {len(units)} rows, but there are {n_units} units")
    return int(n_units)


def check_observed(observed: ArrayLike | None, start: float, stop: float) -> NDArray[np.float64]:
    """Return the observed intervals, ordered, disjoint and inside the window."""
    if observed is None:
        spans = np.array([[start, stop]], dtype=np.float64) if stop > start else np.empty((0, 2))
    else:
        spans = np.asarray(observed, dtype=np.float64).reshape(-1, 2)
    if not np.all(np.isfinite(spans)) or np.any(spans[:, 0] >= spans[:, 1]):
        raise RecordingError("observed must be intervals (start, stop) in s with start < stop, finite")
    if np.any(spans[1:, 0] < spans[:-1, 1]):
        raise RecordingError("observed intervals must be in order of time and must not overlap")
    if spans.size and (spans[0, 0] < start or spans[-1, 1] > stop):
        raise RecordingError(f"observed [{spans[0, 0]}, {spans[-1, 1]}) s reaches outside [{start}, {stop}) s")
    return np.asarray(frozen(spans)[0])


def clip(spans: NDArray[np.float64], start: float, stop: float) -> NDArray[np.float64]:
    """Cut intervals to ``[start, stop)``."""
    clipped = np.clip(spans, start, stop)
    return clipped[clipped[:, 0] < clipped[:, 1]]


def unit_table(units: pd.DataFrame | None, n_units: int) -> pd.DataFrame:
    """Return the table of units with every promised column."""
    table = pd.DataFrame(index=range(n_units)) if units is None else units.reset_index(drop=True)
    if "name" not in table:
        table = table.assign(name=[f"unit_{k}" for k in range(n_units)])
    return conform(table, UNIT_COLUMNS, "units")


def electrode_table(electrodes: pd.DataFrame | None, units: pd.DataFrame) -> pd.DataFrame:
    """Conform the given table; without one, list the electrodes the units were seen on."""
    if electrodes is None:
        columns = ["channel", "electrode", "x_um", "y_um", "well"]
        seen = units[columns].drop_duplicates().dropna(how="all", subset=columns[:4])
        electrodes = seen.reset_index(drop=True)
    return conform(electrodes, ELECTRODE_COLUMNS, "electrodes")


def stimulus_table(stimuli: pd.DataFrame | None) -> pd.DataFrame:
    """Return the table of stimuli with every promised column; their times must be known."""
    table = conform(stimuli, STIMULUS_COLUMNS, "stimuli")
    n_bad = int(np.sum(~np.isfinite(table["time_s"].to_numpy(dtype=float))))
    if n_bad:
        raise RecordingError(f"{n_bad} of {len(table)} stimuli have no finite time_s; leave them out or give a time")
    return table


def rows_of_well(electrodes: pd.DataFrame, well: str) -> pd.DataFrame:
    """Return the electrodes of one well."""
    return electrodes[(electrodes["well"] == well).to_numpy(dtype=bool)].reset_index(drop=True)


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as plain JSON-able values."""
    try:
        return dict(json.loads(json.dumps(dict(metadata or {}), default=_plain)))
    except (TypeError, ValueError) as error:
        raise RecordingError(f"metadata must be a mapping of JSON-able values: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    raise TypeError(f"{type(value).__name__} is not JSON-able")
