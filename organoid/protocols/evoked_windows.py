"""Spikes after and before probe pulses, gathered tick by tick: what mapping, dose-response and tetanus share.

A probe is a command for a frame some time ahead, so that the loop's latency does not move it. It is counted around the
frame at which it was delivered. One that was not delivered (an open circuit) is counted around the frame it was meant
for: a sham probe, so that a control goes through the same evaluation.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop import Command, DeviceInfo, Tick
from organoid.stimulation import Pulse

Index = NDArray[np.int64]
_LABEL = "probe "


def _none() -> Index:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class EvokedWindows:
    """Probes under way, and counts of those that are over. A value: every method returns a new one.

    Parameters
    ----------
    start, stop : int, frames
        Spikes from `start` up to `stop` after a pulse count; the baseline is as long, and ends at the pulse.
    n_units : int
    waiting : tuple of (frame, number, kind)
        Probes whose window is not over; `kind` is the caller's.
    frames, units : ndarray of int64
        Recent spikes.
    found : tuple of (number, kind, delivered, after, before)
        Finished probes, with the counts of each unit, shape (n_units,).
    n_probes : int
        Probes so far.
    """

    start: int
    stop: int
    n_units: int
    waiting: tuple[tuple[int, int, int, bool], ...] = ()
    frames: Index = field(default_factory=_none)
    units: Index = field(default_factory=_none)
    found: tuple[tuple[int, int, bool, Index, Index], ...] = ()
    n_probes: int = 0

    @classmethod
    def of(cls, info: DeviceInfo, start: float, stop: float) -> "EvokedWindows":
        """Return windows from `start` to `stop` seconds after a pulse on a device."""
        rate = float(info.frame_rate)
        return cls(round(start * rate), max(round(stop * rate), round(start * rate) + 1), info.n_units)

    def probe(self, pulse: Pulse, frame: int, kind: int) -> tuple[Command, "EvokedWindows"]:
        """Return the command of a probe at a frame, and the windows that wait for it."""
        command = Command(pulse, frame, f"{_LABEL}{self.n_probes}")
        waiting = (*self.waiting, (frame, self.n_probes, kind, False))
        return command, replace(self, waiting=waiting, n_probes=self.n_probes + 1)

    def after(self, tick: Tick) -> "EvokedWindows":
        """Return the windows after a tick: spikes kept, deliveries noted, finished probes counted."""
        block = tick.block
        if not self.waiting:
            horizon = block.stop_frame - (self.stop - self.start)
            return self._with(block.spike_frames, block.spike_units, horizon)
        moved = {item.command.label: item.frame for item in block.delivered if item.command.label.startswith(_LABEL)}
        waiting = tuple(
            (moved.get(label := f"{_LABEL}{number}", frame), number, kind, given or label in moved)
            for frame, number, kind, given in self.waiting
        )
        over = [probe for probe in waiting if probe[0] + self.stop <= block.stop_frame]
        rest = tuple(probe for probe in waiting if probe[0] + self.stop > block.stop_frame)
        earliest = min([block.stop_frame, *(probe[0] for probe in rest)]) - (self.stop - self.start)
        kept = self._with(block.spike_frames, block.spike_units, None)
        counted = tuple((number, kind, given, *kept._counts(frame)) for frame, number, kind, given in over)
        return replace(kept._with(self.frames[:0], self.units[:0], earliest), waiting=rest, found=self.found + counted)

    def _with(self, frames: Index, units: Index, since: int | None) -> "EvokedWindows":
        """Return the windows with more spikes, those before `since` forgotten."""
        every = np.concatenate([self.frames, frames]) if frames.size else self.frames
        who = np.concatenate([self.units, units]) if frames.size else self.units
        first = 0 if since is None else int(np.searchsorted(every, since))
        return replace(self, frames=every[first:], units=who[first:])

    def _counts(self, frame: int) -> tuple[Index, Index]:
        """Return each unit's spikes in the window after a frame and in the one before it."""
        length = self.stop - self.start
        edges = [frame + self.start, frame + self.stop, frame - length, frame]
        a, b, c, d = np.searchsorted(self.frames, edges)
        return tuple(  # type: ignore[return-value]
            np.bincount(self.units[i:j], minlength=self.n_units).astype(np.int64) for i, j in ((a, b), (c, d))
        )

    def table(self) -> dict[str, Any]:
        """Return finished probes as arrays: kind, delivered, and counts after and before, shape (n_probes, n_units)."""
        empty = np.empty((0, self.n_units), dtype=np.int64)
        return {
            "kind": np.array([kind for _, kind, *_ in self.found], dtype=np.int64),
            "delivered": np.array([given for _, _, given, *_ in self.found], dtype=bool),
            "after": np.array([after for *_, after, _ in self.found], dtype=np.int64).reshape(-1, self.n_units),
            "before": np.array([before for *_, before in self.found], dtype=np.int64).reshape(-1, self.n_units),
        } | ({} if self.found else {"after": empty, "before": empty})


def paired_p(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return the one-sided p of a mean difference above 0 in each column: Student's paired test.

    A column's variance is taken as :math:`1/n` at least, so that a few equal counts are no proof.

    Parameters
    ----------
    differences : ndarray, shape (n, ...)

    Returns
    -------
    ndarray, shape (...)
        NaN for fewer than two rows.
    """
    from scipy.stats import t

    n = len(differences)
    if n < 2:
        return np.full(differences.shape[1:], np.nan)
    variance = np.maximum(differences.var(axis=0, ddof=1), 1.0 / n)
    return np.asarray(t.sf(differences.mean(axis=0) / np.sqrt(variance / n), n - 1))


def false_discovery_q(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the q of each p after Benjamini & Hochberg (1995); NaN stays NaN."""
    known = np.flatnonzero(np.isfinite(p.ravel()))
    q = np.full(p.size, np.nan)
    if known.size:
        values = p.ravel()[known]
        order = np.argsort(values)
        scaled = values[order] * known.size / np.arange(1, known.size + 1)
        q[known[order]] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q.reshape(p.shape)
