r"""What a rig's spike detection makes of the spikes that happened: misses, dead time, false positives, artefacts.

No voltage is made up. Of the spikes at an electrode each is detected with probability ``p``; false positives come as a
Poisson process of rate ``f``; what comes within the dead time ``d`` after a detected spike of that electrode is missed.
For a unit of rate ``r`` alone on its electrode, firing at random, the detected rate is

.. math:: \frac{p r + f}{1 + (p r + f)\, d}

After each pulse all electrodes are blind for as long as the artefact lasts; those spans are reported as unobserved.

References
----------
Müller (1973), Dead-time problems, Nuclear Instruments and Methods 112 (non-extended dead time).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import DeviceError
from organoid.models.rng import stream_key, uniform

Index = NDArray[np.int64]
PerElectrode = float | Sequence[float]

_BIN = 1e-3  # s: an electrode has at most one false positive in it


@dataclass(frozen=True)
class Readout:
    """How well electrodes detect; numbers for all of them alike, or one for each.

    Parameters
    ----------
    detection : float or sequence of float
        Probability that a spike is detected.
    dead_time : float or sequence of float, s
        After a detected spike of an electrode, in which no other is detected there.
    false_positives : float or sequence of float, Hz
        Detections without a spike, on each electrode that has a unit.
    artefact : float, s
        After the start of a pulse, in which nothing is detected anywhere.

    Raises
    ------
    DeviceError
        If a number is out of range.

    Examples
    --------
    >>> Readout(detection=0.9, dead_time=1e-3, false_positives=0.05, artefact=2e-3).artefact
    0.002
    """

    detection: PerElectrode = 1.0
    dead_time: PerElectrode = 0.0
    false_positives: PerElectrode = 0.0
    artefact: float = 0.0

    def __post_init__(self) -> None:
        for name, highest in (("detection", 1.0), ("dead_time", math.inf), ("false_positives", 0.1 / _BIN)):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim > 1 or not np.all((values >= 0) & (values <= highest) & np.isfinite(values)):
                raise DeviceError(f"{name} = {getattr(self, name)!r}; expected numbers from 0 to {highest:g}")
            object.__setattr__(self, name, values.tolist() if values.ndim == 0 else tuple(values.tolist()))
        if not (np.isfinite(self.artefact) and self.artefact >= 0):
            raise DeviceError(f"artefact = {self.artefact!r} s; expected 0 or more")

    def describe(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class ReadoutState(NamedTuple):
    """What a readout remembers: its stream, the last detection of each electrode, and the end of the artefact."""

    key: int
    last: tuple[int, ...]
    blind_until: int


class Detector:
    """Detects the spikes of a culture, block by block; the result does not depend on where blocks are cut.

    Parameters
    ----------
    readout : Readout
    nearest : ndarray of int64, shape (n_units,)
        Electrode that records each unit.
    n_electrodes : int
    frame_rate : float, Hz
    """

    def __init__(self, readout: Readout, nearest: Index, n_electrodes: int, frame_rate: float) -> None:
        self._n = n_electrodes
        self._nearest = np.where(nearest < 0, n_electrodes, nearest)  # units of unknown place share one of their own
        self._detection = self._each("detection", readout.detection, 1.0)
        self._dead = np.rint(self._each("dead_time", readout.dead_time, 0.0) * frame_rate).astype(np.int64)
        self._false = 1.0 - np.exp(-self._each("false_positives", readout.false_positives, 0.0) * _BIN)
        self._units = [np.flatnonzero(self._nearest == electrode) for electrode in range(n_electrodes + 1)]
        self._artefact = round(readout.artefact * frame_rate)
        self._bin = max(1, round(_BIN * frame_rate))
        self.start(0)

    def _each(self, name: str, values: PerElectrode, unknown: float) -> NDArray[np.float64]:
        """Return a number for each electrode, and one for units of which no electrode is known."""
        given = np.asarray(values, dtype=np.float64)
        if given.ndim and given.size != self._n:
            raise DeviceError(f"{name} has {given.size} values; expected one, or one for each of {self._n} electrodes")
        return np.append(given, unknown) if given.ndim else np.full(self._n + 1, float(given))

    def start(self, seed: int) -> None:
        """Begin at frame 0."""
        self.state = ReadoutState(int(stream_key(seed, "readout")), (-(1 << 62),) * (self._n + 1), 0)

    def detect(
        self, start: int, stop: int, frames: Index, units: Index, pulses: Sequence[int]
    ) -> tuple[Index, Index, tuple[tuple[int, int], ...]]:
        """Return frames and units of what is detected in ``[start, stop)``, and the spans in which nothing can be.

        Parameters
        ----------
        start, stop : int
            Frames of the block; blocks follow each other.
        frames, units : ndarray of int64
            Spikes that happened.
        pulses : sequence of int
            Frames at which pulses began.
        """
        kept = self._thinned(frames, units)
        false_frames, false_units = self._false_positives(start, stop)
        frames, units = np.concatenate([frames[kept], false_frames]), np.concatenate([units[kept], false_units])
        order = np.argsort(frames, kind="stable")
        frames, units = frames[order], units[order]
        blind = self._blind(start, stop, pulses)
        for a, b in blind:
            seen = (frames < a) | (frames >= b)
            frames, units = frames[seen], units[seen]
        alive = self._after_dead_time(frames, units)
        return frames[alive], units[alive], blind

    def _thinned(self, frames: Index, units: Index) -> NDArray[np.bool_]:
        p = self._detection[self._nearest[units]]
        if np.all(p == 1.0):
            return np.ones(frames.size, dtype=bool)
        return uniform(stream_key(self.state.key, "detection"), frames * self._nearest.size + units) < p

    def _false_positives(self, start: int, stop: int) -> tuple[Index, Index]:
        where = np.flatnonzero([p > 0 and units.size > 0 for p, units in zip(self._false, self._units)])
        if not where.size or stop <= start:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        bins = np.arange(start // self._bin, (stop - 1) // self._bin + 1)
        counters = bins[:, None] * (self._n + 1) + where
        drawn = [uniform(stream_key(self.state.key, name), counters.ravel()) for name in ("false", "when", "unit")]
        happens = drawn[0] < np.tile(self._false[where], bins.size)
        at = np.repeat(bins, where.size)[happens]
        frames = at * self._bin + (drawn[1][happens] * self._bin).astype(np.int64)
        electrodes = np.tile(where, bins.size)[happens]
        units = [self._units[e][int(u * self._units[e].size)] for e, u in zip(electrodes, drawn[2][happens])]
        inside = (frames >= start) & (frames < stop)
        return frames[inside], np.array(units, dtype=np.int64)[inside]

    def _blind(self, start: int, stop: int, pulses: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return the spans of the block behind artefacts, in order and apart, and remember how far the last reaches."""
        if not self._artefact:
            return ()
        spans, until = [], self.state.blind_until
        if until > start:
            spans.append((start, until))
        for frame in sorted(pulses):
            if spans and frame <= spans[-1][1]:
                spans[-1] = spans[-1][0], frame + self._artefact
            else:
                spans.append((frame, frame + self._artefact))
        if spans:
            self.state = self.state._replace(blind_until=spans[-1][1])
        return tuple((a, min(b, stop)) for a, b in spans)

    def _after_dead_time(self, frames: Index, units: Index) -> NDArray[np.bool_]:
        alive = np.ones(frames.size, dtype=bool)
        if not self._dead.any():
            return alive
        last, electrodes = list(self.state.last), self._nearest[units].tolist()
        for k, (frame, electrode) in enumerate(zip(frames.tolist(), electrodes)):
            if frame - last[electrode] < self._dead[electrode]:
                alive[k] = False
            else:
                last[electrode] = frame
        self.state = self.state._replace(last=tuple(last))
        return alive
