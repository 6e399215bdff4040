"""Every culture of a file: each well of each recording that holds spikes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from organoid.io.registry import NoSpikesError, detect_format, entries_of, read_as
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.recording import SpikeRecording


@dataclass(frozen=True)
class Culture:
    """One culture of one file.

    Parameters
    ----------
    file : Path
    well, recording : str or None
        Its place in the file, where the file holds several.
    rec : SpikeRecording
    """

    file: Path
    well: str | None
    recording: str | None
    rec: SpikeRecording


def cultures(file: Path, options: ReadOptions = DEFAULT) -> Iterator[Culture]:
    """Yield every culture of a file: each well of each recording that holds spikes.

    Parameters
    ----------
    file : Path
    options : ReadOptions
        What is supplied beside the file.

    Raises
    ------
    RecordingError
        If none holds any.
    """
    fmt = detect_format(file, options)
    found, failure = 0, None
    for well, name in entries_of(fmt, file):
        try:
            rec = read_as(fmt, file, well, name, options)
        except NoSpikesError as error:
            failure = error
            continue
        for each in rec.wells if len(rec.wells) > 1 else (None,):
            found += 1
            yield Culture(file, each or well, name, rec.culture(each))
    if not found and failure is not None:
        raise failure
