"""The project's own HDF5 files: recordings and session journals (see docs/reference/file-format.md)."""

from os import PathLike
from pathlib import Path

import h5py

from organoid._version import __version__
from organoid.errors import RecordingError
from organoid.hdf5 import layout
from organoid.hdf5.atomic import new_hdf5
from organoid.hdf5.heap_check import check_heaps
from organoid.hdf5.safe_read import attribute
from organoid.io.registry import Evidence, Format
from organoid.io.source import Source, open_hdf5, scalar, text
from organoid.recording import SpikeRecording


def recognises(source: Source) -> bool:
    """Tell an organoid file by its root attribute."""
    return source.marked(layout.KIND)


def read(path: Path, well: str | None, recording: str | None) -> SpikeRecording:
    """Read a recording or the recording inside a session journal, finished or interrupted."""
    if recording is not None:
        raise RecordingError(f"recording {recording!r} asked for; this file holds one recording without a name")
    with open_hdf5(path) as h5:
        check_heaps(h5.filename)
        kind = _kind(h5)
        rec = layout.read_recording(h5, interrupted=kind == "session")
    return rec if well is None else rec.select(well=well)


def _kind(h5: h5py.File) -> str:
    version, kind = scalar(attribute(h5, layout.VERSION)), text(attribute(h5, layout.KIND))
    if version is None or version < 1:
        raise RecordingError(f"attribute {layout.VERSION!r} is missing or not a version from 1 on")
    if version > layout.LAYOUT_VERSION:
        raise RecordingError(
            f"layout version {version:g} is newer than this program reads ({layout.LAYOUT_VERSION}); update organoid"
        )
    if kind == "fit":
        raise RecordingError("this file holds a fit, not a recording; read it with organoid.load_fit")
    if kind not in ("recording", "session"):
        raise RecordingError(f"attribute {layout.KIND!r} is {kind!r}; expected 'recording', 'session' or 'fit'")
    return kind


def write_recording(rec: SpikeRecording, path: str | PathLike[str]) -> None:
    """Write a recording as an organoid file; `read_recording` gives back exactly the same.

    The file appears under its name only when complete.

    Parameters
    ----------
    rec : SpikeRecording
    path : path
        An existing file is replaced.

    Examples
    --------
    >>> import organoid, tempfile
    >>> rec = SpikeRecording([0.1, 0.5], [0, 1], t_start=0.0, t_stop=1.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_recording(rec, f"{folder}/rec.h5")
    ...     print(organoid.read_recording(f"{folder}/rec.h5").spike_times.tolist())
    [0.1, 0.5]
    """
    with new_hdf5(path) as h5:
        layout.mark(h5, "recording", __version__)
        layout.write_recording(h5, rec)


FORMAT = Format(
    name="organoid",
    title="organoid recording or session",
    evidence=Evidence.OWN,
    recognises=recognises,
    read=read,
)
