"""Names and columns of the `session` group of a journal; the one place that knows them.

A journal is a recording in the project's own layout (`organoid.hdf5.layout`) plus this group. Tables here
are single datasets of fixed-width rows, so that a row is there as a whole or not at all. Whatever
depends on the wall clock has a name that begins with ``wall_``; everything else is the same whenever
the same session is run again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

GROUP = "session"
HEADER = f"{GROUP}/header"  # JSON: seed, duration, tick rate, latency, protocol, device
VERSIONS = f"{GROUP}/versions"  # JSON: what it ran with
SOURCE = f"{GROUP}/protocol_source"  # text of the protocol's source file, where it is not built in
DEVICE_STATE = f"{GROUP}/device_state"  # group: what the device needs to be built again
TICKS = f"{GROUP}/ticks"
COMMANDS = f"{GROUP}/commands"
COMMAND_ELECTRODES = f"{GROUP}/command_electrodes"
WAVEFORMS = f"{GROUP}/waveforms"
DEADLINES = f"{GROUP}/deadlines"
OUTCOME = f"{GROUP}/outcome"  # JSON, padded with zero bytes
WALL_STARTED = f"{GROUP}/wall_started_utc"
WALL = "wall_"

OUTCOME_BYTES = 1 << 16
WAVEFORM_BYTES = 512
LABEL_BYTES, REASON_BYTES, STAGE_BYTES = 32, 240, 12

RUNNING, COMPLETED, INTERRUPTED, FAILED = "running", "completed", "interrupted", "failed"

# The stages at which the fate of a command is settled.
AT_SESSION = "session"  # due after the end
AT_GUARD = "guard"  # against the profile's limits
AT_SWITCH = "open circuit"  # the stimulus path is cut on purpose
AT_DEVICE = "device"  # what the device says

COMMAND_FIELDS = np.dtype(
    [
        ("tick", "i8"),
        ("waveform_id", "i8"),
        ("first_electrode", "i8"),  # row in command_electrodes
        ("n_electrodes", "i8"),
        ("decided_frame", "i8"),
        ("asked_frame", "i8"),  # -1: as soon as possible
        ("due_frame", "i8"),  # asked frame, shifted by the latency
        ("late", "?"),
        ("accepted", "?"),
        ("stage", f"S{STAGE_BYTES}"),
        ("planned_frame", "i8"),  # by the device; -1: not at all
        ("label", f"S{LABEL_BYTES}"),
        ("reason", f"S{REASON_BYTES}"),
    ]
)
COMMAND_COLUMNS: tuple[str, ...] = COMMAND_FIELDS.names or ()
WAVEFORM_FIELDS = np.dtype(
    [("waveform_id", "i8"), ("phase", "i8"), ("amplitude", "f8"), ("width_s", "f8"), ("unit", "S1")]
)
DEADLINE_FIELDS = np.dtype(
    [
        ("tick", "i8"),
        ("planned_frame", "i8"),
        ("planned_s", "f8"),
        ("deadline_s", "f8"),  # the next tick
        ("latency_s", "f8"),
        ("n_late", "i8"),
        ("missed", "?"),
        (f"{WALL}start_s", "f8"),
        (f"{WALL}decide_s", "f8"),
    ]
)
_TICK_FIELDS: list[Any] = [
    ("index", "i8"),
    ("frame", "i8"),
    ("time_s", "f8"),
    ("n_spikes", "i8"),
    ("n_commands", "i8"),
    ("n_accepted", "i8"),
]
STIMULUS_EXTRA = {"waveform": "text", "frame": "integer", "command": "integer"}  # beside the promised columns


def tick_fields(reported: Sequence[str]) -> np.dtype[Any]:
    """Return the row of the ticks table: the fixed columns, then what the protocol reports."""
    return np.dtype(_TICK_FIELDS + [(name, "f8") for name in reported])


def tick_table(rows: list[Any], first: int, fields: "np.dtype[Any]", info: Any) -> Any:
    """Return rows of the table of ticks, from what `Journal.tick` took; `first` numbers the first."""
    columns = np.array(rows, dtype=np.float64).T
    frame = columns[0].astype(np.int64)
    values = (first + np.arange(len(rows)), frame, info.to_seconds(frame), *columns[2:5], *columns[10:])
    return _filled(fields, values)


def deadline_table(rows: list[Any], first: int, info: Any) -> Any:
    """Return rows of the table of deadlines, from what `Journal.tick` took; `first` numbers the first."""
    columns = np.array([row[:10] for row in rows], dtype=np.float64).T
    frame, following = columns[:2].astype(np.int64)
    times = info.to_seconds(frame), info.to_seconds(following)
    return _filled(DEADLINE_FIELDS, (first + np.arange(len(rows)), frame, *times, *columns[5:10]))


def _filled(fields: "np.dtype[Any]", columns: Sequence[Any]) -> Any:
    found = np.empty(len(columns[0]), dtype=fields)
    for name, column in zip(fields.names or (), columns, strict=True):
        found[name] = column
    return found


FIXED_TICK_COLUMNS = tuple(name for name, _ in _TICK_FIELDS)


def to_bytes(text: str, size: int) -> bytes:
    """Encode text for a fixed-length field; what does not fit is cut at a whole character."""
    data = text.encode()
    return data if len(data) <= size else data[: size - 3].decode(errors="ignore").encode() + b"..."
