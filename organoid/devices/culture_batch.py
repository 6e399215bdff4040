"""`CultureBatch`: many cultures of one network that advance together, each with its own seed, pulses and guard."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Command, Delivered, DeviceInfo, Receipt
from organoid.culture.running import RunningCultures
from organoid.culture.ticks import gather
from organoid.culture.tissue import Tissue
from organoid.devices.pulse_queue import PulseQueue

Index = NDArray[np.int64]
_ROOM = 1 << 16


class Member:
    """One culture of a batch, as far as commands go: what a session's command filter needs of a device."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self.queue = PulseQueue(info.profile)
        self.frame = 0

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Plan pulses for the current frame or later."""
        self.queue.forget(self.frame)
        return [self.queue.plan(command, self.frame) for command in commands]


class CultureBatch:
    """Cultures side by side.

    Parameters
    ----------
    tissue : Tissue
    info : DeviceInfo
        Of each of them.
    seeds : sequence of int
        One for each culture.
    fan_out : ndarray or None
        Connections of each unit, to count synaptic operations.
    """

    def __init__(self, tissue: Tissue, info: DeviceInfo, seeds: Sequence[int], fan_out: Index | None) -> None:
        self.info, self._tissue, self._fan_out = info, tissue, fan_out
        self._running = RunningCultures(tissue, [tissue.initial_state(int(seed)) for seed in seeds])
        self.members = [Member(info) for _ in seeds]
        self.delivered: list[list[Delivered]] = [[] for _ in seeds]
        self._counts = np.zeros((len(seeds), info.n_units), dtype=np.int64)
        self._frames, self._units, self._copies = (np.empty(_ROOM, dtype=np.int64) for _ in range(3))
        self._n_spikes = 0

    @property
    def ran_away(self) -> Index:
        """Frame at which each culture ran away; -1: it has not."""
        return self._running.ran_away

    def advance(self, until_frame: int) -> Index:
        """Let time pass, giving due pulses; returns the spikes of each unit (an array that is used again)."""
        self._counts[:] = 0
        due = [
            (planned.frame, c, planned.command)
            for c, member in enumerate(self.members)
            for planned in member.queue.due(until_frame)
        ]
        for frame, c, command in sorted(due, key=lambda entry: entry[:2]):
            self._to(frame)
            if self.ran_away[c] < 0:
                self._running.give(c, command.pulse)
                self.delivered[c].append(Delivered(frame, command))
        self._to(until_frame)
        for member in self.members:
            member.frame = until_frame
        return self._counts

    def _to(self, frame: int) -> None:
        done = frame <= self._running.frame
        while not done:
            done = self._running.call(frame)
            t = self._running.ticks
            n = int(t.n_out.sum())
            while self._n_spikes + n > self._frames.size:
                for name in ("_frames", "_units", "_copies"):
                    setattr(self, name, np.concatenate([getattr(self, name), np.empty_like(getattr(self, name))]))
            gather(
                t.n_out, t.out_frame, t.out_unit, self._counts, self._frames, self._units, self._copies, self._n_spikes
            )
            self._n_spikes += n

    def spikes(self, c: int) -> tuple[Index, Index]:
        """Return frames and units of all spikes of a culture so far."""
        mine = np.flatnonzero(self._copies[: self._n_spikes] == c)
        return self._frames[mine], self._units[mine]

    def work(self, c: int) -> dict[str, Any]:
        """Return the synaptic operations of a culture, where they are known."""
        return {} if self._fan_out is None else {"synaptic_operations": int(self._fan_out[self.spikes(c)[1]].sum())}
