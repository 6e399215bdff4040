"""``organoid convert``: what is written is what the suffix says."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from organoid.cli.support import UsageError
from organoid.hdf5.atomic import replace_file
from organoid.recording import SpikeRecording


def check_suffix(out: Path) -> None:
    """Reject a suffix that names no format that can be written.

    Raises
    ------
    UsageError
    """
    if out.suffix.lower() not in _WRITERS:
        raise UsageError(f"cannot write {out}: its suffix is {out.suffix or 'missing'}; expected {', '.join(_WRITERS)}")


def write_as(rec: SpikeRecording, out: Path) -> None:
    """Write a recording in the format of the suffix."""
    _WRITERS[out.suffix.lower()](rec, out)


def _own(rec: SpikeRecording, out: Path) -> None:
    from organoid.io.organoid_hdf5 import write_recording

    write_recording(rec, out)


def _nwb(rec: SpikeRecording, out: Path) -> None:
    from organoid.interop.nwb import write_nwb

    write_nwb(rec, out)


def _csv(rec: SpikeRecording, out: Path) -> None:
    """Write one row per spike: time_s, unit, name (and well, where units lie in wells)."""
    units = rec.units
    table = pd.DataFrame({"time_s": rec.spike_times, "unit": rec.spike_units})
    table["name"] = units["name"].to_numpy()[rec.spike_units]
    if rec.wells:
        table["well"] = units["well"].to_numpy()[rec.spike_units]
    replace_file(out, table.to_csv(index=False).encode())


_WRITERS: dict[str, Callable[[SpikeRecording, Path], None]] = {
    ".h5": _own,
    ".hdf5": _own,
    ".nwb": _nwb,
    ".csv": _csv,
}
