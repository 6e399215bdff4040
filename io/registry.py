"""Which formats are read, and which of them a file is: content decides, not the suffix."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, reason
from organoid.io.source import Source, open_source, top_names
from organoid.recording import SpikeRecording

Entry = tuple[str | None, str | None]  # (well, recording), as `read` accepts them


class Evidence(StrEnum):
    """What shows that a reader reads a vendor's files; a file we wrote ourselves shows nothing."""

    REAL_FILES = "real files"
    SIMULATOR = "real file of the vendor's simulator"
    LAYOUT_ONLY = "written by us from the published layout only"
    OWN = "our own format"


class NoSpikesError(RecordingError):
    """A file is recognised, but holds no detected spikes (raw voltage only)."""


def one_entry(path: Path) -> Sequence[Entry]:
    """Return the entries of a file that holds one recording."""
    return [(None, None)]


@dataclass(frozen=True)
class Format:
    """One file format: how to recognise it and how to read it.

    Parameters
    ----------
    name : str
        Short name, as listed by ``organoid formats``.
    title : str
        What people call it.
    evidence : str
        On which files the reader rests: one of `Evidence`, or a text built from them.
    recognises : callable
        ``recognises(source) -> bool``, from content alone; must not raise.
    read : callable
        ``read(path, well, recording) -> SpikeRecording``; `NoSpikesError` for raw-only files.
    entries : callable
        ``entries(path) -> [(well, recording), ...]``: the choices of a file that `read` cannot
        take as a whole.
    """

    name: str
    title: str
    evidence: str
    recognises: Callable[[Source], bool]
    read: Callable[[Path, str | None, str | None], SpikeRecording]
    entries: Callable[[Path], Sequence[Entry]] = one_entry


# Adding a format takes its module and one line here. Each module holds `FORMAT`.
MODULES = {
    "organoid": "organoid.io.organoid_hdf5",
    "carmen": "organoid.io.carmen",
    "maxwell": "organoid.io.maxwell",
    "mcs": "organoid.io.mcs",
    "cl1": "organoid.io.cl1",
    "nwb": "organoid.io.nwb",
    "axion-csv": "organoid.io.axion_csv",
    "phy": "organoid.io.phy",
    "3brain": "organoid.io.threebrain",
    "spikelab": "organoid.io.spikelab",
    "herdingspikes": "organoid.io.herdingspikes",
}
ENTRY_POINT_GROUP = "organoid.formats"


@cache
def _plugins() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def formats() -> Iterator[Format]:
    """Yield every format: the built-in ones, then those of other installed packages."""
    for module in MODULES.values():
        yield import_module(module).FORMAT
    for point in _plugins():
        yield point.load()


def detect_format(path: str | PathLike[str]) -> Format:
    """Return the one format a file is in.

    Raises
    ------
    RecordingError
        If no format, or more than one, recognises it; says what the file holds.
    """
    with open_source(Path(path)) as source:
        return _format_of(source)


def _format_of(source: Source) -> Format:
    matches = [fmt for fmt in formats() if _recognises(fmt, source)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RecordingError(f"{source.path} looks like several formats: {', '.join(fmt.name for fmt in matches)}")
    raise RecordingError(_unknown(source))


def _recognises(fmt: Format, source: Source) -> bool:
    try:
        return bool(fmt.recognises(source))
    except DAMAGE:
        return False


def _unknown(source: Source) -> str:
    known = ", ".join(fmt.name for fmt in formats())
    if source.h5 is not None:
        return f"{source.path}: unknown layout; top-level names are {top_names(source.h5)}. Formats read: {known}"
    if source.path.is_dir():
        held = ", ".join(sorted(p.name for p in source.path.iterdir())[:12]) or "nothing"
        return f"{source.path}: unknown folder, holding {held}. Formats read: {known}"
    start = source.head[:16]
    if b"stim_electrodes" in source.head or b"time (sec)" in source.head:
        return f"{source.path} is a stimulation log; pass it with the recording: read_recording(path, stimuli=log)"
    return (
        f"{source.path} is not an HDF5 file (it {f'begins with {start!r}' if start else 'is empty'}) nor another "
        f"known format. Formats read: {known}"
    )


def read_recording(
    path: str | PathLike[str],
    *,
    well: str | int | None = None,
    recording: str | int | None = None,
    stimuli: str | PathLike[str] | None = None,
) -> SpikeRecording:
    """Read a recording; content decides the format, not the suffix.

    Parameters
    ----------
    path : path
    well, recording : str or int, optional
        Which one, by name or number, where the file holds several; an ambiguous file raises and lists the choices.
    stimuli : path, optional
        Stimulation log kept beside the recording (CSV), attached to `rec.stimuli`.

    Returns
    -------
    SpikeRecording
        Its `notes` say what was inferred.

    Raises
    ------
    FileNotFoundError
    RecordingError
        Saying what the file holds, what was expected and what is available.

    Examples
    --------
    >>> import organoid
    >>> rec = organoid.read_recording("sample_data/bursting_culture.h5")  # doctest: +SKIP
    """
    file = Path(path)
    asked = [None if name is None else str(name) for name in (well, recording)]
    with open_source(file) as source:  # the reader takes it as it is
        rec = read_as(_format_of(source), file, *asked)
    if stimuli is None:
        return rec
    from organoid.io.stimulation_log import attach_log

    return attach_log(rec, Path(stimuli))


def read_as(fmt: Format, path: Path, well: str | None = None, recording: str | None = None) -> SpikeRecording:
    """Read a file in a known format; errors name the file and the format.

    Raises
    ------
    RecordingError
    """
    try:
        return fmt.read(path, well, recording)
    except RecordingError as error:
        raise type(error)(f"{path} ({fmt.title}): {error}") from None
    except (OSError, KeyError, RuntimeError, MemoryError) as error:  # what h5py raises on damage no reader foresaw
        raise RecordingError(f"{path} ({fmt.title}) is damaged: {reason(error)}") from error
