"""Pulses in the journal: each waveform once, each pulse given with a reference to it."""

import json
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Delivered, DeviceInfo
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.appendable import AppendableDataset
from organoid.hdf5 import layout
from organoid.recording.tables import STIMULUS_COLUMNS
from organoid.stimulation import Phase, Pulse

Phases = tuple[Phase, ...]


class WaveformLog:
    """Waveforms by number, one row a phase; a new one may come at any time.

    Parameters
    ----------
    h5 : h5py.Group
        Root of the journal.
    """

    def __init__(self, h5: h5py.Group) -> None:
        self._rows = AppendableDataset(h5, schema.WAVEFORMS, schema.WAVEFORM_FIELDS)
        self._numbers: dict[tuple[Phases, str], int] = {}

    def number(self, phases: Phases, unit: str) -> int:
        """Return the number of a waveform, giving it one if it is new."""
        key = (phases, unit)
        if key not in self._numbers:
            number = self._numbers[key] = len(self._numbers)
            self._rows.extend([(number, k, p.amplitude, p.width_s, unit.encode()) for k, p in enumerate(phases)])
        return self._numbers[key]

    @property
    def waiting_bytes(self) -> int:
        """Size of the rows that wait."""
        return self._rows.waiting_bytes

    def write(self) -> None:
        """Write waiting rows."""
        self._rows.write()


class StimulusLog:
    """The recording's table of stimuli: one row for each pulse and electrode.

    Parameters
    ----------
    h5 : h5py.Group
        Root of the journal.
    info : DeviceInfo
    waveforms : WaveformLog
    """

    def __init__(self, h5: h5py.Group, info: DeviceInfo, waveforms: WaveformLog) -> None:
        group = h5.create_group(layout.STIMULI)
        kinds = {**STIMULUS_COLUMNS, **schema.STIMULUS_EXTRA}
        group.attrs[layout.COLUMNS] = json.dumps(list(kinds))
        # Which values are missing goes first: a value must never be there before its mark.
        self._labels = {name: _labels(info.electrodes, name) for name in ("electrode", "channel")}
        self._missing = {name: AppendableDataset(group, f"{layout.MISSING}/{name}", "?") for name in self._labels}
        self._columns = {name: AppendableDataset(group, name, _dtype(name, kind)) for name, kind in kinds.items()}
        for name, column in self._columns.items():
            column.dataset.attrs[layout.COLUMN_KIND] = kinds[name]
        self._info, self._waveforms = info, waveforms

    def append(self, delivered: Delivered, command: int) -> None:
        """Add a pulse, one row for each of its electrodes."""
        pulse = delivered.command.pulse
        n = len(pulse.electrodes)
        values: dict[str, Any] = {
            "time_s": float(self._info.to_seconds(delivered.frame)),
            "duration_s": pulse.duration,
            "amplitude": leading_amplitude(pulse),
            "amplitude_unit": pulse.unit.encode(),
            "waveform_id": self._waveforms.number(pulse.phases, pulse.unit),
            "waveform": _waveform_text(pulse),
            "frame": delivered.frame,
            "command": command,
        }
        for name, (labels, missing) in self._labels.items():
            chosen = list(pulse.electrodes)
            self._missing[name].extend(missing[chosen])
            self._columns[name].extend(labels[chosen])
        for name, value in values.items():
            self._columns[name].extend([value] * n)

    @property
    def waiting_bytes(self) -> int:
        """Size of the rows that wait."""
        return sum(column.waiting_bytes for column in (*self._missing.values(), *self._columns.values()))

    def write(self) -> None:
        """Write waiting rows."""
        for column in (*self._missing.values(), *self._columns.values()):
            column.write()


def leading_amplitude(pulse: Pulse) -> float:
    """Return the signed amplitude of the first phase that is not a gap, A or V."""
    return next(phase.amplitude for phase in pulse.phases if phase.amplitude)


def _dtype(name: str, kind: str) -> Any:
    if name == "waveform":
        return h5py.string_dtype("ascii", schema.WAVEFORM_BYTES)
    return {"number": "f8", "integer": "i8", "text": h5py.string_dtype("ascii", 1)}[kind]


def _labels(electrodes: pd.DataFrame, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the label of each electrode index and where it is missing; a row without any name is its own."""
    column = electrodes[name].astype("Int64")
    if name == "electrode" and column.isna().all():
        column = pd.Series(np.arange(len(electrodes)), dtype="Int64")
    missing = np.asarray(column.isna(), dtype=bool)
    return np.asarray(column.fillna(0), dtype=np.int64), missing


def _waveform_text(pulse: Pulse) -> bytes:
    """Return the phases as JSON, or an empty list (which no reader takes for a pulse) where they do not fit."""
    text = json.dumps([[phase.amplitude, phase.width_s] for phase in pulse.phases]).encode()
    return text if len(text) <= schema.WAVEFORM_BYTES else b"[]"
