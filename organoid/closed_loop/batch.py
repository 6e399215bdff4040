"""Sessions of many cultures side by side: one protocol decides for all of them at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload, runtime_checkable
from typing import Protocol as TypingProtocol

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.command_filter import CommandFilter, CommandOutcome
from organoid.closed_loop.contracts import Block, Command, Delivered, DeviceInfo
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.reader import Session, session_from
from organoid.closed_loop.journal.writer import Journal
from organoid.closed_loop.random_streams import stream, tick_stream
from organoid.closed_loop.session import Plan, command_row, counted, header_of, plain
from organoid.errors import ProtocolError

Index = NDArray[np.int64]


@dataclass(frozen=True)
class TickBatch:
    """What a protocol sees of all cultures when it decides.

    Parameters
    ----------
    index : int
    start_frame, stop_frame : int
        Frames since the last tick; now is `stop_frame`.
    counts : ndarray of int64, shape (n_cultures, n_units)
        Spikes since the last tick; the array is used again for the next tick.
    info : DeviceInfo
        The same for all cultures.
    seeds : tuple of int
    """

    index: int
    start_frame: int
    stop_frame: int
    counts: Index
    info: DeviceInfo
    seeds: tuple[int, ...]

    @property
    def time(self) -> float:
        """Now, s."""
        return float(self.info.to_seconds(self.stop_frame))

    @property
    def duration(self) -> float:
        """Since the last tick, s."""
        return float(self.info.to_seconds(self.stop_frame - self.start_frame))

    def rng(self, culture: int) -> np.random.Generator:
        """Return the random numbers of this tick for one culture: those of ``Tick.rng`` in a session of its own."""
        return tick_stream(self.seeds[culture], self.index)


@runtime_checkable
class BatchProtocol(TypingProtocol):
    """A protocol that decides for many cultures at once; for each the same as `decide` does for one."""

    def start_batch(self, info: DeviceInfo, rngs: Sequence[np.random.Generator]) -> Any:
        """Return the first state of all cultures, one generator for each."""

    def decide_batch(self, tick: TickBatch, state: Any) -> tuple[Sequence[tuple[int, Command]], Any]:
        """Return pairs of culture and command, and the next state."""

    def report_batch(self, state: Any) -> Mapping[str, NDArray[np.float64]]:
        """Return named numbers, one for each culture."""

    def finish_batch(self, state: Any) -> Sequence[dict[str, Any]]:
        """Return the outcome of each culture."""


class BatchDevice(TypingProtocol):
    """Cultures that advance together."""

    info: DeviceInfo
    members: Sequence[Any]
    delivered: Sequence[Sequence[Delivered]]

    @property
    def ran_away(self) -> Index:
        """Frame at which each culture ran away; -1: it has not."""

    def advance(self, until_frame: int) -> Index:
        """Let time pass; returns the spikes of each unit, shape (n_cultures, n_units)."""

    def spikes(self, c: int) -> tuple[Index, Index]:
        """Return frames and units of all spikes of a culture."""

    def work(self, c: int) -> dict[str, Any]:
        """Return the work of a culture."""


class Sessions(Sequence[Session]):
    """The sessions of a batch; one is put together when it is requested, its tables those of `run_session`.

    Attributes
    ----------
    outcomes : list of dict
        What the protocol returned for each culture.
    """

    def __init__(self, made: "_Batch") -> None:
        self._made = made
        self.outcomes = [plain(values) for values in made.values]

    def __len__(self) -> int:
        return len(self.outcomes)

    @overload
    def __getitem__(self, k: int) -> Session: ...
    @overload
    def __getitem__(self, k: slice) -> list[Session]: ...
    def __getitem__(self, k: int | slice) -> Session | list[Session]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        return self.write(range(len(self))[k], None)

    def __iter__(self) -> Iterator[Session]:
        return (self[k] for k in range(len(self)))

    def write(self, k: int, path: Path | None) -> Session:
        """Put a session together, in a journal or in memory."""
        return self._made.session(k, path)


def run_batch(protocol: Any, device: Any, batch: BatchDevice, plan: Plan, seeds: Sequence[int]) -> Sessions:
    """Run a protocol on cultures side by side; see `organoid.run_sessions`."""
    made = _Batch(protocol, device, batch, plan, tuple(seeds))
    made.run()
    return Sessions(made)


class _Batch:
    def __init__(self, protocol: Any, device: Any, batch: BatchDevice, plan: Plan, seeds: tuple[int, ...]) -> None:
        self.protocol, self.device, self.batch, self.plan, self.seeds = protocol, device, batch, plan, seeds
        self.state = protocol.start_batch(batch.info, [stream(seed, "protocol") for seed in seeds])
        self.names = tuple(protocol.report_batch(self.state))
        n, c = plan.clock.n_ticks, len(seeds)
        self.filters = [CommandFilter(member, plan.clock.end_frame, plan.deliver) for member in batch.members]
        self.fates: list[list[tuple[int, int, CommandOutcome]]] = [[] for _ in seeds]
        self.n_spikes, self.n_commands, self.n_accepted = (np.zeros((n, c), dtype=np.int64) for _ in range(3))
        self.reported = np.empty((n, len(self.names), c))
        self.values: Sequence[dict[str, Any]] = ()

    def run(self) -> None:
        clock, start = self.plan.clock, 0
        for k in range(clock.n_ticks):
            now = clock.boundary(k + 1)
            counts = self.batch.advance(now)
            self.n_spikes[k] = counts.sum(axis=1)
            tick = TickBatch(k, start, now, counts, self.batch.info, self.seeds)
            commands, self.state = self.protocol.decide_batch(tick, self.state)
            if commands:
                self._pass_on(k, now, commands)
            for row, values in zip(self.reported[k], self.protocol.report_batch(self.state).values(), strict=True):
                row[:] = values
            start = now
            if (self.batch.ran_away >= 0).all():
                break
        self.batch.advance(clock.end_frame)
        self.values = self.protocol.finish_batch(self.state)
        if len(self.values) != len(self.seeds):
            raise ProtocolError(f"finish_batch returned {len(self.values)} outcomes for {len(self.seeds)} cultures")

    def _pass_on(self, k: int, now: int, commands: Sequence[tuple[int, Command]]) -> None:
        mine: dict[int, list[Command]] = {}
        for c, command in commands:
            mine.setdefault(c, []).append(command)
        for c, given in mine.items():
            if self.batch.ran_away[c] >= 0:
                continue
            fates = self.filters[c].pass_on(given, now, 0.0)
            self.fates[c] += [(k, now, fate) for fate in fates]
            self.n_commands[k, c] = len(fates)
            self.n_accepted[k, c] = sum(fate.accepted for fate in fates)

    def session(self, c: int, path: Path | None) -> Session:
        """Put the session of a culture together."""
        header = header_of(self.protocol, self.device, self.plan.with_seed(self.seeds[c]), self.names)
        journal = Journal(path, header)
        ran_away = int(self.batch.ran_away[c])
        end = self.plan.clock.end_frame if ran_away < 0 else ran_away
        frames, units = self.batch.spikes(c)
        inside = frames < end
        journal.block(Block(0, end, frames[inside], units[inside]))
        pending: list[tuple[int, Command]] = []
        for k, now, fate in self.fates[c]:
            number = journal.command(command_row(k, now, fate), fate.command.pulse)
            pending += [(number, fate.command)] if fate.accepted else []
        for delivered in self.batch.delivered[c]:
            at = next(i for i, (_, command) in enumerate(pending) if command is delivered.command)
            journal.delivered(delivered, pending.pop(at)[0])
        n_ticks = self._write_ticks(journal, c, end)
        outcome: dict[str, Any] = {"n_ticks": n_ticks, "stop_s": float(self.batch.info.to_seconds(end))}
        if work := self.batch.work(c):
            outcome["work"] = {**work, **{f"{name}_per_s": value / outcome["stop_s"] for name, value in work.items()}}
        outcome |= {"status": schema.COMPLETED, "values": plain(self.values[c])}
        if self.filters[c].warnings:
            outcome["warnings"] = list(self.filters[c].warnings)
        if ran_away >= 0:
            error = "DeviceError: the network ran away: it fired beyond its limit and was stopped"
            outcome |= {"status": schema.FAILED, "error": error}
        journal.finish({**outcome, "commands": counted([fate for *_, fate in self.fates[c]], self.batch.delivered[c])})
        return session_from(journal)

    def _write_ticks(self, journal: Journal, c: int, end: int) -> int:
        clock, k = self.plan.clock, 0
        while k < clock.n_ticks and clock.boundary(k + 1) <= end:
            counts = (int(values[k, c]) for values in (self.n_spikes, self.n_commands, self.n_accepted))
            row = (clock.boundary(k + 1), clock.boundary(k + 2), *counts, 0.0, 0, False, 0.0, 0.0)
            journal.tick((*row, *self.reported[k, :, c].tolist()))
            k += 1
        return k
