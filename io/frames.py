"""Spike frames to seconds, and lost frames to holes in what was observed."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from organoid.io.hdf5_source import array, member, scalar

from organoid.clock import LARGEST_EXACT_TICK
from organoid.errors import RecordingError

_BLOCK = 1 << 20


def frame_times(frames: NDArray[Any], origin: int, rate: float, name: str) -> NDArray[np.float64]:
    """Return the seconds of frame numbers counted from `origin`.

    Raises
    ------
    RecordingError
        If a frame number is so far from the origin that it cannot be one.
    """
    if frames.dtype.kind == "f" and not np.all(frames == np.rint(frames)):
        raise RecordingError(f"dataset {name!r} holds frame numbers that are not whole")
    ends = [float(frames.min()) - origin, float(frames.max()) - origin] if frames.size else [0.0]
    if not np.abs(ends).max() < LARGEST_EXACT_TICK:
        raise RecordingError(
            f"dataset {name!r} holds frame numbers from {frames.min()} to {frames.max()}, which cannot lie in a "
            f"recording that starts at frame {origin}"
        )
    times = frames.astype(np.int64)
    times -= origin
    seconds = times / rate
    seconds.flags.writeable = False  # ours alone: need not be copied
    return seconds


def rate_of(h5: h5py.Group, name: str) -> float | None:
    """Return a sampling rate stored as a dataset, or None where there is none.

    Raises
    ------
    RecordingError
        If it is there but not a positive number.
    """
    found = member(h5, name)
    if found is None:
        return None
    rate = scalar(array(h5, name, ndim=found.ndim)) if isinstance(found, h5py.Dataset) else None
    return checked_rate(rate, f"dataset {name!r}", found)


def checked_rate(rate: float | None, source: str, shown: Any) -> float:
    """Return a sampling rate, or raise naming where it came from."""
    if rate is None or not 1.0 <= rate <= 1e9:
        raise RecordingError(f"{source} gives the sampling rate {shown!r}; expected one number of Hz, 1 or more")
    return rate


def runs_of_frames(frame_numbers: h5py.Dataset, name: str, notes: list[str]) -> list[tuple[int, int]]:
    """Return the runs ``(first frame, frame after the last)`` without lost frames.

    Only the two ends are read where nothing was lost.

    Parameters
    ----------
    frame_numbers : h5py.Dataset of whole numbers, one axis
    name : str
        For errors.
    notes : list of str
        Appended to.
    """
    n = frame_numbers.shape[0]
    if n == 0:
        return []
    first, last = int(frame_numbers[0]), int(frame_numbers[n - 1])
    if last - first == n - 1:
        return [(first, last + 1)]
    runs, start, previous = [], first, first - 1
    for begin in range(0, n, _BLOCK):
        block = frame_numbers[begin : begin + _BLOCK].astype(np.int64)
        steps = np.diff(block, prepend=previous)
        if np.any(steps < 1):
            raise RecordingError(f"dataset {name!r}: frame numbers step back at row {begin + int(np.argmin(steps))}")
        for k in np.flatnonzero(steps > 1):
            runs.append((start, int(block[k] - steps[k]) + 1))
            start = int(block[k])
        previous = int(block[-1])
    runs.append((start, previous + 1))
    lost = runs[-1][1] - runs[0][0] - n
    notes.append(f"{lost} of {lost + n} frames were lost in {len(runs) - 1} gaps; they are holes in `observed`")
    return runs


def note_unobserved(frames: NDArray[Any], runs: list[tuple[int, int]], notes: list[str]) -> None:
    """Note how many spikes lie before, after and between the runs of frames; all are kept."""
    if not runs:
        return
    n, first, stop = frames.size, runs[0][0], runs[-1][1]
    before, after = int(np.sum(frames < first)), int(np.sum(frames >= stop))
    if before:
        notes.append(
            f"{before} of {n} spikes lie before the first recorded frame, up to {first - int(frames.min())} frames; "
            "kept at negative times, unobserved"
        )
    if after:
        notes.append(
            f"{after} of {n} spikes lie after the last recorded frame, up to {int(frames.max()) - stop + 1} frames; "
            "kept, unobserved"
        )
    if len(runs) == 1:
        return
    inside = np.searchsorted([start for start, _ in runs], frames, side="right") - 1
    stops = np.array([end for _, end in runs])
    in_gaps = int(np.sum((inside >= 0) & (frames >= stops[np.maximum(inside, 0)]))) - after
    if in_gaps:
        notes.append(f"{in_gaps} of {n} spikes lie in gaps of lost frames; kept, unobserved")
