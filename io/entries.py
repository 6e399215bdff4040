"""Choosing one well and one recording of a file that holds several."""

import re
from collections.abc import Mapping
from typing import TypeVar

from organoid.errors import RecordingError
from organoid.io.registry import Entry

Held = TypeVar("Held")
_COUNTED = re.compile(r"[A-Za-z]+_?(\d+)")


def choose(
    held: Mapping[Entry, Held], well: str | None, recording: str | None, titles: Mapping[str, str] | None = None
) -> tuple[Entry, Held]:
    """Return the one entry meant by a well and a recording.

    A name is matched as it is, then a number as the number at the end of a name (``"3"`` is
    ``"well003"``), then the title people gave to a well or recording, if it is not a number.

    Parameters
    ----------
    held : mapping
        (well, recording) to anything.
    well, recording : str or None
        What was requested; None where it does not matter or need not be said.
    titles : mapping, optional
        Titles of wells and recordings, by name.

    Raises
    ------
    RecordingError
        If nothing, or more than one entry, fits; lists the choices.
    """
    fitting = dict(held)
    for place, what, asked in ((0, "well", well), (1, "recording", recording)):
        if asked is None:
            continue
        names = list(dict.fromkeys(entry[place] for entry in fitting if entry[place] is not None))
        name = _name(asked, [name for name in names if name is not None], titles or {})
        if name is None:
            choices = ", ".join(str(name) for name in names) or f"none (this file names no {what}s)"
            raise RecordingError(f"no {what} {asked!r} in this file; choices: {choices}")
        fitting = {entry: value for entry, value in fitting.items() if entry[place] == name}
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    raise RecordingError(_ambiguous(list(fitting)))


def _name(asked: str, names: list[str], titles: Mapping[str, str]) -> str | None:
    if asked in names:
        return asked
    if asked.isdecimal():
        found = [name for name in names if (match := _COUNTED.fullmatch(name)) and int(match[1]) == int(asked)]
    else:
        found = [name for name in names if titles.get(name) == asked]
    return found[0] if len(found) == 1 else None


def _ambiguous(entries: list[Entry]) -> str:
    if not entries:
        return "this file holds no recording"
    parts = []
    for place, what in ((0, "well"), (1, "recording")):
        names = list(dict.fromkeys(str(entry[place]) for entry in entries if entry[place] is not None))
        if len(names) > 1:
            parts.append(f"{what}= one of {', '.join(names)}")
    return f"this file holds {len(entries)} recordings; say which with {' and '.join(parts)}"
