"""`check_reader`: does a format keep the promises every reader makes? For people who add one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from organoid.errors import OrganoidError, RecordingError
from organoid.io.packed import unpacked
from organoid.io.registry import Entry, Format, NoSpikesError, formats
from organoid.io.source import open_source
from organoid.recording import SpikeRecording


@dataclass(frozen=True)
class Check:
    """Outcome of one promise: its name, and what is wrong, or ""."""

    name: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether the promise is kept."""
        return not self.problem


def check_reader(fmt: Format, paths: Iterable[str | PathLike[str]]) -> list[Check]:
    """Check a format against the promises of a reader, on valid files of it.

    Parameters
    ----------
    fmt : Format
    paths : iterable of path
        Files of this format, at least one.

    Returns
    -------
    list of Check
        One a promise and file.

    Raises
    ------
    RecordingError
        If a promise is broken; lists all that are.

    Examples
    --------
    >>> from organoid.io.carmen import FORMAT
    >>> organoid.check_reader(FORMAT, ["culture.h5"])  # doctest: +SKIP
    """
    files = [Path(path) for path in paths]
    if not files:
        raise RecordingError("check_reader needs at least one valid file of the format")
    checks = [check for file in files for check in _check_file(fmt, file)]
    broken = [f"{check.name}: {check.problem}" for check in checks if not check.passed]
    if broken:
        raise RecordingError(f"format {fmt.name!r} breaks {len(broken)} promises:\n  " + "\n  ".join(broken))
    return checks


def _check_file(fmt: Format, packed: Path) -> list[Check]:
    path = unpacked(packed)
    checks = [
        _run(f"{path.name}: is recognised, and by this format only", lambda: _recognised(fmt, path)),
        _run(f"{path.name}: other content is not recognised", lambda: _not_anything(fmt)),
        _run(f"{path.name}: a well that does not exist is rejected", lambda: _refuses_well(fmt, path)),
    ]
    for entry in list(fmt.entries(path)):
        label = f"{path.name} {entry}"
        checks.append(_run(f"{label}: reads, the same twice", lambda entry=entry: _reads(fmt, path, entry)))  # type: ignore[misc]
    return checks


def _run(name: str, promise: Callable[[], str]) -> Check:
    try:
        return Check(name, promise())
    except OrganoidError as error:
        return Check(name, str(error))
    except Exception as error:
        return Check(name, f"raised {type(error).__name__}: {error}")


def _recognised(fmt: Format, path: Path) -> str:
    with open_source(path) as source:
        if not fmt.recognises(source):
            return "not recognised"
        others = [other.name for other in formats() if other.name != fmt.name and other.recognises(source)]
    return f"also recognised by {', '.join(others)}" if others else ""


def _not_anything(fmt: Format) -> str:
    with open_source(Path(__file__)) as source:
        return "a Python file is recognised" if fmt.recognises(source) else ""


def _refuses_well(fmt: Format, path: Path) -> str:
    try:
        fmt.read(path, "no such well", None)
    except RecordingError as error:
        return "" if str(error) else "the error says nothing"
    return "read without an error"


def _reads(fmt: Format, path: Path, entry: Entry) -> str:
    try:
        rec = fmt.read(path, *entry)
    except NoSpikesError:
        return ""
    if not isinstance(rec, SpikeRecording):
        return f"read gave {type(rec).__name__}, not a SpikeRecording"
    if not rec.equals(fmt.read(path, *entry)):
        return "reading twice gives different recordings"
    seen = rec.observed
    if seen.size and (seen[0, 0] < rec.t_start or seen[-1, 1] > rec.t_stop):
        return f"observed {seen[[0, -1]].tolist()} reaches outside the window"
    if rec.n_spikes and np.any(rec.spike_units >= rec.n_units):
        return "a spike belongs to no unit"
    return "" if rec.metadata.get("format") else "metadata has no 'format'"
