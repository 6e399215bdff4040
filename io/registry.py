"""Which formats are read, and which of them a file is: content decides, not the suffix."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path

from organoid.io.hdf5_source import Source, open_source, top_names

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording

Entry = tuple[str | None, str | None]  # (well, recording), as `read` accepts them


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
        On which files the reader was tested; files written by this project are no evidence.
    recognises : callable
        ``recognises(source) -> bool``, from content alone; must not raise.
    read : callable
        ``read(path, well, recording) -> SpikeRecording``.
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
}
ENTRY_POINT_GROUP = "organoid.formats"


def formats() -> Iterator[Format]:
    """Yield every format: the built-in ones, then those of other installed packages."""
    for module in MODULES.values():
        yield import_module(module).FORMAT
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield point.load()


def detect_format(path: str | PathLike[str]) -> Format:
    """Return the one format a file is in.

    Raises
    ------
    RecordingError
        If no format, or more than one, recognises it; says what the file holds.
    """
    with open_source(Path(path)) as source:
        matches = [fmt for fmt in formats() if fmt.recognises(source)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise RecordingError(f"{path} looks like several formats: {', '.join(fmt.name for fmt in matches)}")
        raise RecordingError(_unknown(source))


def _unknown(source: Source) -> str:
    known = ", ".join(fmt.name for fmt in formats())
    if source.h5 is not None:
        return f"{source.path}: unknown layout; top-level names are {top_names(source.h5)}. Formats read: {known}"
    if source.path.is_dir():
        held = ", ".join(sorted(p.name for p in source.path.iterdir())[:12]) or "nothing"
        return f"{source.path}: unknown folder, holding {held}. Formats read: {known}"
    with open(source.path, "rb") as file:
        start = file.read(16)
    return (
        f"{source.path} is not an HDF5 file (it begins with {start!r}) nor another known format. Formats read: {known}"
    )


def read_recording(
    path: str | PathLike[str], *, well: str | None = None, recording: str | None = None
) -> SpikeRecording:
    """Read a recording; content decides the format, not the suffix.

    Parameters
    ----------
    path : path
    well, recording : str, optional
        Which one, where the file holds several; an ambiguous file raises and lists the choices.

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
    fmt = detect_format(file)
    try:
        rec = fmt.read(file, well, recording)
    except RecordingError as error:
        raise RecordingError(f"{file} ({fmt.title}): {error}") from None
    return rec
