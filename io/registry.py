"""Which formats are read, and which of them a file is: content decides, not the suffix."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import ArrayLike

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, reason
from organoid.io.encodings import decoded
from organoid.io.packed import unpacked
from organoid.io.source import Source, open_source, top_names
from organoid.io.supplied import DEFAULT, NOISE, ReadOptions, as_labels, supplying
from organoid.recording import SpikeRecording

TimesOrFile = str | PathLike[str] | pd.DataFrame | ArrayLike
Entry = tuple[str | None, str | None]  # (well, recording), as `read` accepts them


class Evidence(StrEnum):
    """What shows that a reader reads a vendor's files; a file we wrote ourselves shows nothing."""

    REAL_FILES = "real files"
    SIMULATOR = "real file of the vendor's simulator"
    PROGRAM = "files written by the program itself"
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
    "spikeinterface": "organoid.io.spikeinterface_files",
    "ptrain": "organoid.io.peak_trains",
    "matlab": "organoid.io.matlab_spikes",
}
OWN = "organoid"  # what this package wrote was judged when it was first read
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


def detect_format(path: str | PathLike[str], options: ReadOptions = DEFAULT) -> Format:
    """Return the one format a file is in; compressed files are unpacked first.

    Raises
    ------
    FileNotFoundError
    RecordingError
        If no format, or more than one, recognises it; says what the file holds.
    """
    with _opened(Path(path), options) as (_, fmt):
        return fmt


@contextmanager
def _opened(path: Path, options: ReadOptions) -> Iterator[tuple[Path, Format]]:
    """Yield where a file lies unpacked, and its format, while it is open for its reader."""
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    place = unpacked(path)
    with open_source(place) as source, supplying(options):
        if options.mapping is None:
            yield place, _format_of(source, path)
        else:
            yield place, _mapped_format(options.mapping)


def _mapped_format(given: str | PathLike[str] | Mapping[str, Any]) -> Format:
    """Return the format that a mapping makes of the file it is for."""
    from organoid.io import mapped
    from organoid.io.mapping import read_mapping

    mapping = read_mapping(given)
    evidence = "a mapping of the user"
    return Format("mapped", f"through {mapping.source}", evidence, lambda _: True, partial(mapped.read, mapping))


def entries_of(fmt: Format, path: Path) -> Sequence[Entry]:
    """Return the (well, recording) pairs of a file that `read_as` takes."""
    return fmt.entries(unpacked(path))


def _format_of(source: Source, path: Path) -> Format:
    matches = [fmt for fmt in formats() if _recognises(fmt, source)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RecordingError(f"{path} looks like several formats: {', '.join(fmt.name for fmt in matches)}")
    raise RecordingError(_unknown(source, path))


def _recognises(fmt: Format, source: Source) -> bool:
    try:
        return bool(fmt.recognises(source))
    except DAMAGE:
        return False


def _unknown(source: Source, path: Path) -> str:
    known = ", ".join(fmt.name for fmt in formats())
    own = f"If it is a layout of your own, `organoid map {path.name}` proposes how to read it"
    if source.h5 is not None:
        return f"{path}: unknown layout; top-level names are {top_names(source.h5)}. Formats read: {known}. {own}"
    if source.path.is_dir():
        held = ", ".join(sorted(p.name for p in source.path.iterdir())[:12]) or "nothing"
        return f"{path}: unknown folder, holding {held}. Formats read: {known}"
    if b"stim_electrodes" in source.head or b"time (sec)" in source.head:
        return f"{path} is a stimulation log; pass it with the recording: read_recording(path, stimuli=log)"
    if not source.head:
        return f"{path} is empty: its writer was stopped before it had recorded anything, or has not begun"
    begins = f"begins with {source.head[:16]!r}"
    return f"{path} is not an HDF5 file (it {begins}) nor another known format. Formats read: {known}" + (
        f". {own}" if "\x00" not in decoded(source.head) and source.head else ""
    )


def read_recording(
    path: str | PathLike[str],
    *,
    well: str | int | None = None,
    recording: str | int | None = None,
    sampling_rate: float | None = None,
    labels: Sequence[str] | None = None,
    exclude: Sequence[str] = NOISE,
    stimuli: TimesOrFile | None = None,
    events: TimesOrFile | None = None,
    mapping: str | PathLike[str] | Mapping[str, Any] | None = None,
    sorted_units: bool | None = None,
) -> SpikeRecording:
    """Read a recording; content decides the format, not the suffix, and compressed files are unpacked.

    Parameters
    ----------
    path : path
    well, recording : str or int, optional
        Which one, by name or number, where the file holds several; an ambiguous file raises and lists the choices.
    sampling_rate : float, optional, Hz
        Used instead of what the file says, or where it says nothing.
    labels : sequence of str, optional
        Keep only units with one of these labels of a sorter or curator, such as "good".
    exclude : sequence of str
        Leave out units with one of these labels, with a note; ``()`` keeps all.
    stimuli : path, table or times in s, or str, optional
        Added to `rec.stimuli`: a stimulation log or CSV; a table; bare times; ``"events"`` or ``"events:KIND"`` (the
        file's own events of that kind); ``"artefacts"`` (pulses seen in the spikes, see `organoid.find_pulses`).
    events : path, table or times in s, optional
        Added to `rec.events`.
    mapping : path or mapping, optional
        Where a layout of one's own keeps its spikes: a TOML file (``organoid map FILE`` proposes one) or its content.
    sorted_units : bool, optional
        Units of the sorter (True) or channels (False), where a file holds both.

    Returns
    -------
    SpikeRecording
        Its `notes` say what was inferred, left out or doubtful.

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
    options = ReadOptions(
        sampling_rate, as_labels(labels), as_labels(exclude) or (), stimuli, events, mapping, sorted_units
    )
    return read_with(options, Path(path), well, recording)


def read_with(
    options: ReadOptions, path: Path, well: str | int | None = None, recording: str | int | None = None
) -> SpikeRecording:
    """Return what `read_recording` returns, with its options in one value."""
    asked = [None if name is None else str(name) for name in (well, recording)]
    with _opened(path, options) as (place, fmt):  # the reader takes it as it is
        return _read(fmt, path, place, asked[0], asked[1], options)


def read_as(
    fmt: Format,
    path: Path,
    well: str | None = None,
    recording: str | None = None,
    options: ReadOptions = DEFAULT,
) -> SpikeRecording:
    """Read a file in a known format; errors name the file and the format.

    Raises
    ------
    RecordingError
    """
    with supplying(options):
        return _read(fmt, path, unpacked(path), well, recording, options)


def _read(
    fmt: Format, path: Path, place: Path, well: str | None, recording: str | None, options: ReadOptions
) -> SpikeRecording:
    from organoid.io.completion import completed

    try:
        rec = fmt.read(place, well, recording)
        return completed(rec, options, own=fmt.name == OWN)
    except RecordingError as error:
        raise type(error)(f"{path} ({fmt.title}): {error}") from None
    except FileNotFoundError:
        raise
    except (OSError, KeyError, RuntimeError, MemoryError) as error:  # what h5py raises on damage no reader foresaw
        raise RecordingError(f"{path} ({fmt.title}) is damaged: {reason(error)}") from error
