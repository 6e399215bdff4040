"""The window of a recording where a file does not say it, or says it wrongly."""

import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording.ticks import DEFAULT_TICK_RATE, LARGEST_EXACT_TICK, to_ticks
from organoid.recording.validation import ends

# A first spike later than this part of the last spike's time means that the clock started earlier.
LATE_START = 0.1
# A stored window with more silence than this part of it before or after all spikes is doubted in a note.
DOUBTFUL_SILENCE = 0.5


def tick_after(time: float, tick_rate: float = DEFAULT_TICK_RATE) -> float:
    """Return the time one tick after `time`, s: the smallest end that keeps a spike at `time` inside."""
    return float(int(to_ticks(time, tick_rate)) + 1) / tick_rate


def first_and_last(times: NDArray[np.float64], name: str) -> tuple[float, float]:
    """Return the first and last of some times, s; NaN if there are none.

    Raises
    ------
    RecordingError
        Naming the dataset, if one is NaN, infinite or too large to be a time in seconds.
    """
    if not times.size:
        return np.nan, np.nan
    first, last = ends(times)
    if not np.isfinite([first, last]).all():
        n_bad = int(np.sum(~np.isfinite(times)))
        raise RecordingError(f"dataset {name!r}: {n_bad} of {times.size} times are NaN or infinite")
    return check_ends(first, last, name)


def check_ends(first: float, last: float, name: str) -> tuple[float, float]:
    """Return the first and last time, s, of a dataset.

    Raises
    ------
    RecordingError
        Naming the dataset, if one is too large to be a time in seconds.
    """
    if max(-first, last) * DEFAULT_TICK_RATE >= LARGEST_EXACT_TICK:
        raise RecordingError(
            f"dataset {name!r} runs from {first:g} to {last:g} s, which cannot be times of a recording "
            "(are they in samples or milliseconds instead of seconds?)"
        )
    return first, last


def covering_window(
    stored: tuple[float, float],
    first: float,
    last: float,
    source: str,
    notes: list[str],
    tick_rate: float = DEFAULT_TICK_RATE,
) -> tuple[float, float]:
    """Return a stored window, widened to hold the first and last spike; a widening is noted.

    Parameters
    ----------
    stored : (float, float), s
    first, last : float, s
        First and last spike; NaN if there are none.
    source : str
        What stored it, for the note.
    notes : list of str
        Appended to.
    tick_rate : float, Hz
    """
    start, stop = stored
    if max(abs(start), abs(stop)) * tick_rate >= LARGEST_EXACT_TICK:
        raise RecordingError(
            f"{source} gives the window [{start:g}, {stop:g}) s, which cannot be a recording in seconds"
        )
    if np.isnan(first):
        return start, stop
    if max(first - start, stop - last) > DOUBTFUL_SILENCE * (stop - start):
        notes.append(
            f"{source} gives the window [{start:g}, {stop:g}) s, but spikes run only from {first:.6f} to {last:.6f} s"
        )
    if to_ticks(first, tick_rate) < to_ticks(start, tick_rate):
        notes.append(f"{source} starts at {start:g} s, after the first spike at {first:.6f} s; t_start moved there")
        start = first
    if to_ticks(last, tick_rate) >= to_ticks(stop, tick_rate):
        notes.append(
            f"{source} ends at {stop:g} s, not after the last spike at {last:.6f} s; t_stop moved one tick after it"
        )
        stop = tick_after(last, tick_rate)
    return start, stop


def inferred_window(
    first: float, last: float, notes: list[str], tick_rate: float = DEFAULT_TICK_RATE
) -> tuple[float, float]:
    """Infer a window from the first and last spike (NaN if there are none), with notes that say so."""
    if not np.isnan(first):
        to_ticks([first, last], tick_rate)  # rejects times that cannot be seconds
    if np.isnan(first):
        notes.append("the file holds no spikes and no recording time: the window is empty")
        return 0.0, 0.0
    start = 0.0
    if first < 0:
        start = first
        notes.append(f"t_start inferred: spikes before 0; it is the first spike at {first:.6f} s")
    elif first > LATE_START * last:
        start = first
        notes.append(
            f"t_start inferred: the first spike comes at {first:.6f} s, so the clock did not start with the "
            "recording; times are kept as stored"
        )
    else:
        notes.append("t_start inferred: 0, where the file's clock starts")
    notes.append("t_stop inferred: one tick after the last spike")
    return start, tick_after(last, tick_rate)
