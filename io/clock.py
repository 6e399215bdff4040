"""Whether the times of a file can be right: counters that ran over, pauses in time stamps, precision, unit of time.

Every recording that `read_recording` returns has passed `check_clock`; what frames and time stamps themselves show
is looked at where they are read (`continued`, `spans_of_stamps`).
"""

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.hdf5.safe_read import DAMAGE, reason
from organoid.recording import SpikeRecording

_COUNTER = 1 << 32  # counters that run over have 32 bits
_SAMPLED = 4096  # spikes looked at for the precision of all
_HOUR = 3600.0
_SPARSE_HZ = 0.05  # units of a culture below this are worth a second look at the unit of time
_CLOSE_S = 0.5  # two spikes of a unit never closer than this, in hundreds of spikes: not seconds
_DAY = 86400.0
_CLUSTERED = 0.15  # of the intervals below a tenth of their mean; 0.095 where spikes are independent
_FEWEST = 200
_FASTEST_HZ = 500.0
_BEFORE_S = -1000.0
_ROWS = 1 << 16
_IRREGULAR = 0.01  # part of the steps between time stamps


def continued(frames: NDArray[np.int64], name: str, notes: list[str] | None) -> NDArray[np.int64]:
    """Return frame numbers with a 32-bit counter that ran over carried on, in the order of the file.

    Raises
    ------
    RecordingError
        If frames are so far apart that a counter ran over, but their order does not show where.
    """
    steps = np.diff(frames)
    over = steps < -3 * (_COUNTER >> 2)
    whole = frames + np.concatenate([[0], np.cumsum(over)]) * _COUNTER
    if over.any() and np.all(np.diff(whole) > -(_COUNTER >> 2)):
        if notes is not None:
            notes.append(
                f"{name}: the sample counter of 32 bits ran over {int(over.sum())} times, first after spike "
                f"{int(np.argmax(over))}; it is carried on"
            )
        return np.asarray(whole, dtype=np.int64)
    low, high = int(frames.min()), int(frames.max())
    if low < -(_COUNTER >> 2) and (high > 0 or low < -(_COUNTER >> 1) + (_COUNTER >> 8)):
        raise RecordingError(
            f"dataset {name!r} runs from sample {low} to {high}: a counter of 32 bits ran "
            "over, and the order of the spikes does not show when; export the samples as 64-bit numbers"
        )
    return frames


def spans_of_stamps(stamps: h5py.Dataset, name: str, notes: list[str]) -> NDArray[np.float64] | None:
    """Return the spans a series of time stamps covers, s; steps longer than one and a half usual ones are pauses.

    Only the parts that hold a pause are read. Returns None, with a note, for stamps that do not rise or are irregular.
    """
    n = int(stamps.shape[0])
    try:
        start = np.asarray(stamps[: min(n, _ROWS)], dtype=np.float64)
        step = float(np.median(np.diff(start))) if start.size > 1 else 0.0
        if not step > 0:
            return None
        pauses = list(_pauses(stamps, 0, n - 1, float(start[0]), float(stamps[n - 1]), step))
    except RecordingError as error:
        notes.append(f"{name}: {error}")
        return None
    except DAMAGE as error:
        notes.append(f"{name} cannot be read: {reason(error)}")
        return None
    if len(pauses) > _IRREGULAR * n:
        notes.append(f"{name}: {len(pauses)} of {n} steps are irregular, so pauses cannot be told; none is assumed")
        pauses = []
    starts = [float(start[0]), *(after for _, after in pauses)]
    stops = [*(before + step for before, _ in pauses), float(stamps[n - 1]) + step]
    if pauses:
        lost = sum(after - before - step for before, after in pauses)
        notes.append(
            f"{name} has {len(pauses)} gaps of {lost:g} s in all, during which nothing was recorded; they are holes "
            "in `observed`"
        )
    return np.stack([starts, stops], axis=1)


def _pauses(
    stamps: h5py.Dataset, begin: int, end: int, low: float, high: float, step: float
) -> Iterator[tuple[float, float]]:
    """Yield the stamps before and after each pause between two rows."""
    if abs(high - low - (end - begin) * step) < 0.5 * step or end <= begin:
        return
    if end - begin > _ROWS:
        middle = (begin + end) // 2
        value = float(stamps[middle])
        yield from _pauses(stamps, begin, middle, low, value, step)
        yield from _pauses(stamps, middle, end, value, high, step)
        return
    block = np.asarray(stamps[begin : end + 1], dtype=np.float64)
    steps = np.diff(block)
    if not np.all(steps > 0):
        raise RecordingError(f"time stamps step back at row {begin + int(np.argmin(steps > 0)) + 1}")
    for k in np.flatnonzero(steps > 1.5 * step):
        yield float(block[k]), float(block[k + 1])


def check_clock(rec: SpikeRecording) -> list[str]:
    """Return notes on what makes the times of a recording doubtful, each saying what to do; usually none."""
    times = rec.spike_times
    if not times.size:
        return []
    checks = (_imprecise, _too_slow, _too_fast, _far_before)
    return [note for check in checks if (note := check(rec, times)) is not None]


def _imprecise(rec: SpikeRecording, times: NDArray[np.float64]) -> str | None:
    """Doubt times that were stored in 32 bits: their steps grow with time."""
    sample = times[:: max(1, times.size // _SAMPLED)]
    last = np.float32(np.abs(times[[0, -1]]).max())
    steps = float(np.spacing(last))
    tick = 1 / rec.sampling_rate if rec.sampling_rate else 1e-4
    if steps <= tick or not np.array_equal(sample, sample.astype(np.float32)):
        return None
    if np.array_equal(np.rint(sample / steps) * steps, sample):  # all on the coarse grid: a slow clock, no loss
        return None
    return (
        f"spike times were stored as 32-bit numbers: near {float(last):g} s they are known to {1000 * steps:.3g} ms "
        "only, so short intervals are wrong; export them as 64-bit numbers or in samples"
    )


def _too_slow(rec: SpikeRecording, times: NDArray[np.float64]) -> str | None:
    """Doubt hours in which no unit ever fires twice within half a second: milliseconds or samples, not seconds."""
    span = float(times[-1] - times[0])
    if span < _HOUR or times.size < _FEWEST or times.size / max(rec.n_units, 1) / span > _SPARSE_HZ:
        return None
    order = np.lexsort((times, rec.spike_units))
    same = np.diff(rec.spike_units[order]) == 0
    intervals = np.diff(times[order])[same]
    if not intervals.size or intervals.min() < _CLOSE_S:
        return None
    clustered = np.mean(intervals < 0.1 * intervals.mean()) > _CLUSTERED
    if not clustered and span < _DAY:
        return None
    whole = "; all are whole numbers" if np.array_equal(times, np.rint(times)) else ""
    return (
        f"spikes run over {span / _HOUR:.3g} h, and no unit fires twice within {_CLOSE_S:g} s (the shortest interval "
        f"is {intervals.min():g} s{whole}): are the times in milliseconds or samples, not seconds? `organoid map` "
        "makes a mapping that says so"
    )


def _too_fast(rec: SpikeRecording, times: NDArray[np.float64]) -> str | None:
    """Doubt mean rates no neuron has: times in a longer unit than seconds."""
    span = float(times[-1] - times[0])
    if times.size < _FEWEST or span <= 0 or times.size / max(rec.n_units, 1) / span < _FASTEST_HZ:
        return None
    return (
        f"units fire at {times.size / rec.n_units / span:.3g} Hz on average, which no neuron does: is the unit of time,"
        f" or the sampling rate ({rec.sampling_rate or 'unknown'} Hz), wrong? sampling_rate= gives another one"
    )


def _far_before(rec: SpikeRecording, times: NDArray[np.float64]) -> str | None:
    """Doubt times long before 0: samples of a counter that ran over."""
    if times[0] > _BEFORE_S:
        return None
    n = int(np.searchsorted(times, 0.0))
    return (
        f"{n} of {times.size} spikes lie before 0, down to {times[0]:g} s: did a sample counter of 32 bits run over "
        "when the file was made? Export the samples as 64-bit numbers"
    )


def same_electrode(rec: SpikeRecording) -> str | None:
    """Return a note where two channels lie on one electrode, and so count its spikes twice; None otherwise."""
    table = rec.units[["well", "electrode", "channel", "name"]]
    known = table[table["electrode"].notna() & table["channel"].notna()]
    pairs = known.drop_duplicates(["well", "electrode", "channel"])
    double = pairs[pairs.duplicated(["well", "electrode"], keep=False)]
    if not len(double):
        return None
    first = double[double["electrode"] == double["electrode"].iloc[0]]["name"]
    return (
        f"{double['electrode'].nunique()} electrodes are recorded by several channels, which are counted as separate "
        f"units ({', '.join(map(str, first[:4]))}, ...): their spikes may be the same; select one of each"
    )


def doubts(rec: SpikeRecording) -> list[Any]:
    """Return all notes on what is implausible in a recording, its clock and its electrodes."""
    double = same_electrode(rec)
    return [*check_clock(rec), *([double] if double else [])]
