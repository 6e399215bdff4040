"""What a user supplies beside a file: what it lacks, and which of its units to take.

`ReadOptions` is the one list of it. What readers need while they read (the sampling rate, whether sorted units are
wanted) they ask `supplied` for; the rest is applied to what they return.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from organoid.errors import RecordingError

NOISE = ("noise",)


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read, beyond which well and recording of it.

    Parameters
    ----------
    sampling_rate : float, optional, Hz
        Used instead of what the file says, or where it says nothing.
    labels : sequence of str, optional
        Keep only units with one of these labels (those of a sorter or curator, such as "good").
    exclude : sequence of str
        Leave out units with one of these labels; empty keeps all.
    stimuli : path, table, times or str, optional
        Stimulation log or CSV; a table or times in s; ``"events"`` or ``"events:KIND"``: the file's own events of
        that kind; ``"artefacts"``: pulses found in the spikes themselves (`organoid.find_pulses`).
    events : path, table or times, optional
        Marks that are not stimuli, as a CSV, a table or times in s.
    mapping : path or mapping, optional
        Where a layout of one's own keeps things (see docs/how-to/own-layout.md).
    sorted_units : bool, optional
        Units of the sorter (True) or channels (False), where a file holds both. Default: what the format usually means.
    """

    sampling_rate: float | None = None
    labels: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = NOISE
    stimuli: Any = None
    events: Any = None
    mapping: Any = None
    sorted_units: bool | None = None

    def __post_init__(self) -> None:
        rate = self.sampling_rate
        if rate is not None and not 1.0 <= rate <= 1e9:
            raise RecordingError(f"sampling_rate is {rate!r}; expected a number of Hz, 1 or more")
        for name in ("labels", "exclude"):
            held = getattr(self, name)
            if isinstance(held, str):
                object.__setattr__(self, name, (held,))
            elif held is not None:
                object.__setattr__(self, name, tuple(str(label) for label in held))


DEFAULT = ReadOptions()
_NOW: ContextVar[ReadOptions] = ContextVar("what the user supplied", default=DEFAULT)


def supplied() -> ReadOptions:
    """Return what the user supplied for the file that is being read."""
    return _NOW.get()


@contextmanager
def supplying(options: ReadOptions) -> Iterator[None]:
    """Let readers see what the user supplied."""
    token = _NOW.set(options)
    try:
        yield
    finally:
        _NOW.reset(token)


def as_labels(labels: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Return labels as a tuple; one label may be given as a text."""
    return None if labels is None else (labels,) if isinstance(labels, str) else tuple(labels)
