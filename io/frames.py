"""Spike frames to seconds, and lost frames to holes in what was observed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, member, reason, whole
from organoid.io.clock import continued
from organoid.io.source import scalar
from organoid.io.supplied import supplied
from organoid.io.window import check_ends
from organoid.recording.ticks import LARGEST_EXACT_TICK
from organoid.recording.validation import Rising, never_fall

_BLOCK = 1 << 15
_ROWS = 1 << 16
_COUNTER_STEP = 2.0**31


class Seconds(NamedTuple):
    """Times, s, the least and the largest of them (NaN if there are none), and the same for a recording."""

    times: NDArray[np.float64]
    first: float
    last: float
    spikes: NDArray[np.float64] | Rising


def frame_times(
    frames: NDArray[Any],
    origin: int,
    rate: float,
    name: str,
    *,
    in_place: bool = False,
    notes: list[str] | None = None,
) -> Seconds:
    """Return the seconds of frame numbers counted from `origin`, read-only.

    Parameters
    ----------
    frames : ndarray of integers, one axis
    origin : int
    rate : float, Hz
    name : str
        For errors.
    in_place : bool
        The frames are not needed any more: put the seconds into their memory where that is possible. New
        memory costs several times what the division does.
    notes : list of str, optional
        Appended to where a counter of 32 bits ran over, or the frames lost precision.

    Raises
    ------
    RecordingError
        If a frame number is not whole, or so far from the origin that it cannot be one.
    """
    if not frames.size:
        return Seconds(none := np.empty(0), np.nan, np.nan, none)
    reused = in_place and frames.itemsize == 8 and frames.flags.c_contiguous and frames.flags.writeable
    seconds = frames.view(np.float64) if reused else np.empty(frames.size)
    rising, low = True, float(frames[0])
    high = low
    room = np.empty(min(frames.size, _BLOCK))
    for k in range(0, frames.size, _BLOCK):  # one pass, in parts that stay in the cache
        block = frames[k : k + _BLOCK]
        if block.dtype.kind == "f" and not np.all(block == np.rint(block)):
            raise RecordingError(f"dataset {name!r} holds frame numbers that are not whole")
        # Integers below 2^53 are exact as floats, and so is their difference: one rounding, in the division.
        since = room[: block.size]
        since[:] = block
        if rising and since[0] >= high and never_fall(since):
            high = float(since[-1])
        else:
            rising, low, high = False, min(low, float(since.min())), max(high, float(since.max()))
        if origin:
            since -= origin
        np.divide(since, rate, out=seconds[k : k + _BLOCK])
    if not max(-low, high, abs(origin)) < LARGEST_EXACT_TICK:
        raise RecordingError(
            f"dataset {name!r} holds frame numbers from {low:.0f} to {high:.0f}, which cannot lie in a "
            f"recording that starts at frame {origin}"
        )
    if high - low > _COUNTER_STEP and (not rising or low < 0):
        whole = np.rint(seconds * rate).astype(np.int64) + origin
        if (carried := continued(whole, name, notes)) is not whole:
            return frame_times(carried, origin, rate, name, notes=notes)
    if frames.dtype == np.float32 and high >= 2**24 and notes is not None:
        notes.append(
            f"{name}: frame numbers up to {high:.0f} were stored as 32-bit floats, which are exact to 2^24 only"
        )
    _freeze(seconds)  # ours alone: need not be copied
    frames.flags.writeable = frames.flags.writeable and not reused
    first, last = check_ends((low - origin) / rate, (high - origin) / rate, name)
    return Seconds(seconds, first, last, Rising(seconds) if rising else seconds)


def _freeze(array: NDArray[Any]) -> None:
    """Make an array read-only, and the memory it looks at."""
    part: Any = array
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base


def rate_of(h5: h5py.Group, name: str) -> float | None:
    """Return a sampling rate stored as a dataset, or None where there is none.

    Raises
    ------
    RecordingError
        If it is there but not a positive number.
    """
    found = member(h5, name)
    if found is None:
        return supplied().sampling_rate
    is_number = isinstance(found, h5py.Dataset) and found.size == 1
    return checked_rate(scalar(whole(found, name)) if is_number else None, f"dataset {name!r}", found)


def checked_rate(rate: float | None, source: str, shown: Any) -> float:
    """Return a sampling rate, that of the user before that of the file, or raise naming where it came from."""
    given = supplied().sampling_rate
    if given is not None:
        return given
    if rate is None or not 1.0 <= rate <= 1e9:
        raise RecordingError(
            f"{source} gives the sampling rate {shown!r}; expected one number of Hz, 1 or more; "
            "sampling_rate= supplies it"
        )
    return rate


def runs_of_frames(frame_numbers: h5py.Dataset, name: str, notes: list[str]) -> list[tuple[int, int]]:
    """Return the runs ``(first frame, frame after the last)`` without lost frames.

    Only the two ends are read where nothing was lost, and little more than the parts with gaps elsewhere.

    Parameters
    ----------
    frame_numbers : h5py.Dataset of integers, one axis
    name : str
        For errors.
    notes : list of str
        Appended to.
    """
    n = frame_numbers.shape[0]
    if n == 0:
        return []
    try:
        first, last = int(frame_numbers[0]), int(frame_numbers[n - 1])
        gaps = list(gaps_between(lambda a, b: frame_numbers[a:b], name, (0, n - 1), (first, last)))
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"dataset {name!r} cannot be read: {reason(error)}") from None
    return runs_between(first, last, gaps, n, notes)


def gaps_between(
    read: Callable[[int, int], NDArray[Any]],
    name: str,
    rows: tuple[int, int],
    held: tuple[int, int],
    block: int = _ROWS,
) -> Iterator[tuple[int, int]]:
    """Yield the frames before and after each gap in a column of rising frame numbers, reading little else.

    Parameters
    ----------
    read : callable
        ``read(begin, end)`` returns the numbers of some rows.
    name : str
        For errors.
    rows : (int, int)
        First and last row of the part that is looked at.
    held : (int, int)
        The numbers in these rows.
    block : int
        Rows that are read at once.
    """
    (begin, end), (low, high) = rows, held
    if high - low == end - begin:
        return
    if high - low < end - begin:
        raise RecordingError(f"dataset {name!r}: frame numbers step back between the rows {begin} and {end}")
    if end - begin > block:
        middle = (begin + end) // 2
        number = int(read(middle, middle + 1)[0])
        yield from gaps_between(read, name, (begin, middle), (low, number), block)
        yield from gaps_between(read, name, (middle, end), (number, high), block)
        return
    numbers = read(begin, end + 1).astype(np.int64)
    steps = np.diff(numbers)
    if np.any(steps < 1):
        raise RecordingError(f"dataset {name!r}: frame numbers step back at row {begin + int(np.argmin(steps)) + 1}")
    for k in np.flatnonzero(steps > 1):
        yield int(numbers[k]), int(numbers[k + 1])


def runs_between(
    first: int, last: int, gaps: Sequence[tuple[int, int]], n: int, notes: list[str]
) -> list[tuple[int, int]]:
    """Return the runs ``(first frame, frame after the last)`` that gaps leave, with a note on what was lost."""
    starts, stops = [first, *(after for _, after in gaps)], [*(before + 1 for before, _ in gaps), last + 1]
    if gaps:
        lost = last + 1 - first - n
        notes.append(f"{lost} of {lost + n} frames were lost in {len(gaps)} gaps; they are holes in `observed`")
    return list(zip(starts, stops))


def note_unobserved(
    frames: NDArray[Any], seconds: Seconds, runs: list[tuple[int, int]], rate: float, notes: list[str]
) -> None:
    """Note how many spikes lie before, after and between the runs of frames; all are kept.

    Parameters
    ----------
    frames : ndarray of integers, one axis
    seconds : Seconds
        Their times, counted from the first run: they say whether the frames need be gone over.
    runs : list of (first frame, frame after the last)
    rate : float, Hz
    notes : list of str
        Appended to.
    """
    if not runs:
        return
    n, first, stop = frames.size, runs[0][0], runs[-1][1]
    low = int(frames.min()) if seconds.first < 0 else first
    high = int(frames.max()) if seconds.last >= (stop - first) / rate else first
    before = int(np.sum(frames < first)) if low < first else 0
    after = int(np.sum(frames >= stop)) if high >= stop else 0
    if before:
        notes.append(
            f"{before} of {n} spikes lie before the first recorded frame, up to {first - low} frames; "
            "kept at negative times, unobserved"
        )
    if after:
        notes.append(
            f"{after} of {n} spikes lie after the last recorded frame, up to {high - stop + 1} frames; kept, unobserved"
        )
    if len(runs) == 1:
        return
    inside = np.searchsorted([start for start, _ in runs], frames, side="right") - 1
    stops = np.array([end for _, end in runs])
    in_gaps = int(np.sum((inside >= 0) & (frames >= stops[np.maximum(inside, 0)]))) - after
    if in_gaps:
        notes.append(f"{in_gaps} of {n} spikes lie in gaps of lost frames; kept, unobserved")
