"""What partners cannot hold of a recording, as one JSON value: tables, window, holes, metadata; exact both ways."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.recording.tables import kind_of

VERSION = 1
KEY = "organoid"
_TABLES = ("units", "electrodes", "stimuli", "events")


def context_of(rec: SpikeRecording) -> dict[str, Any]:
    """Return everything of a recording but its spikes, as JSON-able values."""
    return {
        "version": VERSION,
        "t_start": rec.t_start,
        "t_stop": rec.t_stop,
        "sampling_rate": rec.sampling_rate,
        "observed": rec.observed.tolist(),
        **{name: table_to_json(getattr(rec, name)) for name in _TABLES},
        "metadata": rec.metadata,
        "notes": list(rec.notes),
    }


def as_text(rec: SpikeRecording) -> str:
    """Return `context_of` as JSON text."""
    return json.dumps(context_of(rec))


def from_context(spike_times: Any, spike_units: Any, context: Mapping[str, Any] | str) -> SpikeRecording:
    """Return the recording of some spikes and the context that travelled with them.

    Raises
    ------
    RecordingError
        If the context is damaged, or of another number of units.
    """
    try:
        held = json.loads(context) if isinstance(context, str) else dict(context)
        known: dict[str, Any] = {name: table_from_json(held[name]) for name in _TABLES}
        known |= {key: float(held[key]) for key in ("t_start", "t_stop")}
        known["observed"] = np.array(held["observed"], dtype=np.float64).reshape(-1, 2)
        known["sampling_rate"] = None if held["sampling_rate"] is None else float(held["sampling_rate"])
        known["metadata"], known["notes"] = dict(held["metadata"]), [str(note) for note in held["notes"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"the context of the recording is damaged: {type(error).__name__}: {error}") from None
    return SpikeRecording(spike_times, spike_units, n_units=len(known["units"]), **known)


def table_to_json(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as its columns: kind and values, missing ones null."""
    return {str(name): {"kind": kind_of(table[name]), "values": _values(table[name])} for name in table.columns}


def _values(column: "pd.Series[Any]") -> list[Any]:
    return [None if value is pd.NA or value != value else value for value in column.astype(object).tolist()]


def table_from_json(held: Mapping[str, Any]) -> pd.DataFrame:
    """Return what `table_to_json` was made of."""
    kinds = {"text": "str", "integer": "Int64", "number": "float64", "flag": "bool"}
    columns = {name: pd.array(column["values"], dtype=kinds[column["kind"]]) for name, column in held.items()}
    return pd.DataFrame(columns)


def trains(rec: SpikeRecording) -> list[NDArray[np.float64]]:
    """Return the times of each unit, s, in the order of the units."""
    order = np.argsort(rec.spike_units, kind="stable")
    cuts = np.searchsorted(rec.spike_units[order], np.arange(1, rec.n_units))
    return list(np.split(rec.spike_times[order], cuts)) if rec.n_units else []
