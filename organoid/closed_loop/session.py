"""`run_session`: one protocol, one device, tick by tick, everything in the journal."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

from tqdm import tqdm

from organoid.closed_loop.blocks import check_block
from organoid.closed_loop.checked_protocol import CheckedProtocol
from organoid.closed_loop.command_filter import CommandFilter, CommandOutcome
from organoid.closed_loop.contracts import (
    Block,
    Command,
    Delivered,
    Device,
    Metered,
    Observer,
    Protocol,
    RowObserver,
    Tick,
)
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.provenance import describe, package_hash, versions
from organoid.closed_loop.journal.reader import Session, session_from
from organoid.closed_loop.journal.writer import Header, Journal
from organoid.closed_loop.latency import LatencyProfile, latency_profile
from organoid.closed_loop.random_streams import check_seed, stream
from organoid.closed_loop.runaway import RunawayWatch, highest_rate
from organoid.closed_loop.termination import termination_as_exit
from organoid.closed_loop.ticks import TickClock
from organoid.errors import DeadlineError, DeviceError, SessionError
from organoid.recording import SpikeRecording
from organoid.statistics.runaway import RUNAWAY_FACTOR


@dataclass(frozen=True)
class Plan:
    """How a session is to be run; see `run_session`."""

    clock: TickClock
    seed: int
    latency: LatencyProfile
    deliver: bool
    raise_when_missed: bool
    highest_rate: float | None = None  # spikes/s of all units, see `RunawayWatch`
    cut: tuple[int, int] | None = None  # (ticks, frame) at which to stop early, in a replay

    def with_seed(self, seed: int) -> "Plan":
        """Return the same plan for another seed."""
        return replace(self, seed=seed)

    @property
    def n_ticks(self) -> int:
        """Ticks to run."""
        return self.clock.n_ticks if self.cut is None else self.cut[0]

    @property
    def stop_frame(self) -> int:
        """First frame that is not run."""
        return self.clock.end_frame if self.cut is None else self.cut[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `cut` is not part of the plan of a session."""
        return {
            "seed": self.seed,
            "duration_s": str(self.clock.duration),
            "tick_rate_hz": str(self.clock.tick_rate),
            "frame_rate_hz": str(self.clock.frame_rate),
            "deliver": self.deliver,
            "on_missed": "raise" if self.raise_when_missed else "record",
            "runaway_limit_hz": None if self.highest_rate is None else RUNAWAY_FACTOR * self.highest_rate,
            "latency": {
                "name": self.latency.name,
                "probabilities": list(self.latency.probabilities),
                "delays_s": list(self.latency.delays),
            },
        }


def run_session(
    protocol: Protocol,
    device: Device,
    duration: float | Fraction,
    *,
    journal: str | PathLike[str] | None = None,
    seed: int = 0,
    observers: Sequence[Observer] = (),
    latency: str | LatencyProfile = "ideal",
    deliver: bool = True,
    on_missed: str = "record",
    reference: SpikeRecording | float | None = None,
    progress: bool | None = None,
) -> Session:
    """Run a protocol on a device.

    Tick ``k`` sees the frames since the last tick, decides, and its commands take effect only later. Every
    command passes the guard of the device's profile before the device sees it. Same seed, same session,
    however fast or loaded the machine: nothing but the columns named ``wall_...`` reads the wall clock.

    Parameters
    ----------
    protocol : Protocol
    device : Device
        Started here; stopped and closed at the end, whatever happens.
    duration : float or Fraction, s
        A remainder shorter than a tick is recorded, without a decision.
    journal : path, optional
        File to write; must not exist. Without it the journal is kept in memory and only its content is returned.
    seed : int
        The device gets it as it is; protocol and latency have streams of their own.
    observers : sequence of Observer
    latency : str or LatencyProfile
        Delay from decision to electrode: "ideal", "cl1", "maxone", "finalspark" or a profile.
    deliver : bool
        False is the control "open circuit": the protocol decides, the guard judges, no pulse is given.
    on_missed : {"record", "raise"}
        What to do when a command comes later than the next tick.
    reference : SpikeRecording or float (spikes/s), optional
        A recording of the culture without pulses, or the highest rate of all its units over 2 s. A session that fires
        above five times that rate for 2 s is stopped. Without it only the device itself watches.
    progress : bool, optional
        Progress bar on stderr; default: where stderr is a terminal.

    Returns
    -------
    Session

    Raises
    ------
    SessionError, JournalError
        If it cannot be run as asked, or the journal exists; nothing has been started.
    ProtocolError
        If the protocol lacks a method, raises an error or returns what it must not: the text names file, line
        and tick.
    DeviceError, DeadlineError
        If the device breaks its contract; if a deadline is missed and ``on_missed="raise"``.
    RunawayError
        If the culture runs away from its `reference`.

    Notes
    -----
    Ctrl-C, a termination signal and any exception empty the device's queue, close journal (outcome
    "interrupted" or "failed") and device, and are raised again. After a hard kill only the device itself
    can stop: pulses it has queued are still given.

    Examples
    --------
    >>> import organoid
    >>> from organoid.protocols.periodic_pulses import PeriodicPulses
    >>> culture = organoid.SimulatedCulture(organoid.preset("bursting_culture"))
    >>> session = organoid.run_session(PeriodicPulses(), culture, 2.0, seed=1)
    >>> session.recording.duration
    2.0
    """
    if on_missed not in ("record", "raise"):
        raise SessionError(f"on_missed is {on_missed!r}; choices: 'record', 'raise'")
    clock = TickClock.of(device.info.frame_rate, CheckedProtocol(protocol).tick_rate, duration)
    highest = None if reference is None else highest_rate(reference)
    plan = Plan(clock, check_seed(seed), latency_profile(latency), bool(deliver), on_missed == "raise", highest)
    return run_plan(protocol, device, plan, None if journal is None else Path(journal), observers, progress)


def run_plan(
    protocol: Protocol,
    device: Device,
    plan: Plan,
    journal: Path | None,
    observers: Sequence[Observer] = (),
    progress: bool | None = False,
) -> Session:
    """Run a checked plan; see `run_session`."""
    run = _Run(protocol, device, plan, journal, observers)
    bar = tqdm(total=plan.n_ticks, unit="tick", disable=not _show(progress), leave=False)
    with bar, termination_as_exit():
        return run.run(bar)


def _show(progress: bool | None) -> bool:
    return sys.stderr.isatty() if progress is None else progress


class _Run:
    """One session under way."""

    def __init__(
        self, protocol: Protocol, device: Device, plan: Plan, path: Path | None, observers: Sequence[Observer]
    ) -> None:
        self._protocol, self._device, self._plan = CheckedProtocol(protocol), device, plan
        self._observers, self._info = tuple(observers), device.info
        self._detailed = tuple(observer for observer in observers if isinstance(observer, RowObserver))
        self._state = self._protocol.start(self._info, stream(plan.seed, "protocol"))
        self._delays = plan.latency.samples(stream(plan.seed, "latency"))
        self._rate = self._info.frame_rate.as_integer_ratio()
        self._next, self._n_ticks = plan.clock.boundary(1), 0
        self._gate = CommandFilter(device, plan.clock.end_frame, plan.deliver)
        self._watch = None if plan.highest_rate is None else RunawayWatch(plan.highest_rate)
        self._pending: list[tuple[int, Command]] = []
        self._counts: Counter[str] = Counter()
        self._frame, self._started = 0, False
        self._journal = Journal(path, header_of(self._protocol, device, plan, self._protocol.report_names))

    def run(self, bar: "tqdm[Any]") -> Session:
        try:
            self._device.start(self._plan.seed)
            self._started = True
            for k in range(self._plan.n_ticks):
                self._tick(k)
                bar.update()
            if self._frame < self._plan.stop_frame:
                self._advance(self._plan.stop_frame)
            values = self._protocol.finish(self._state) if self._plan.cut is None else {}
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
            status = schema.INTERRUPTED if interrupted else schema.FAILED
            self._stop({"status": status, "error": f"{type(error).__name__}: {error}"})
            self._journal.close()
            raise
        self._stop({"status": schema.COMPLETED, "values": plain(values)})
        return session_from(self._journal)

    def _stop(self, outcome: dict[str, Any]) -> None:
        """Stop stimulation first, then save, then let go of the device."""
        outcome |= {"n_ticks": self._n_ticks, "stop_s": self._seconds(self._frame)}
        if self._gate.warnings:
            outcome["warnings"] = list(self._gate.warnings)
        if self._started and isinstance(self._device, Metered) and (work := dict(self._device.work())):
            per_s = {f"{name}_per_s": value / (outcome["stop_s"] or 1.0) for name, value in work.items()}
            outcome["work"] = {**work, **per_s}
        try:
            if self._started:
                self._device.interrupt()
        finally:
            try:
                self._journal.finish({**outcome, "commands": self._command_counts()})
            finally:
                self._device.close()

    def _command_counts(self) -> dict[str, int]:
        return {name: self._counts[name] for name in COUNTED}

    def _tick(self, k: int) -> None:
        now, following = self._next, self._plan.clock.boundary(k + 2)
        self._next = following
        block = self._advance(now)
        tick = Tick(k, block, self._info, self._plan.seed)
        delay = next(self._delays)
        wall_start, began = self._journal.wall_s, time.perf_counter()
        commands, self._state = self._protocol.decide(tick, self._state)
        wall_decide = time.perf_counter() - began
        n_commands = n_accepted = n_late = 0
        missed = False
        if commands:
            fates = self._gate.pass_on(commands, now, delay)
            n_commands, n_accepted, n_late = self._record_all(k, now, fates)
            missed = self._missed(delay, wall_decide, self._seconds(following) - self._seconds(now))
            self._counts["late"] += n_late
            self._counts["missed"] += missed
        self._n_ticks += 1
        row = (now, following, block.spike_units.size, n_commands, n_accepted, delay, n_late, missed)
        reported = self._protocol.report(self._state, k)
        self._journal.tick((*row, wall_start, wall_decide, *reported))
        for detailed in self._detailed:
            detailed.on_row(dict(zip(self._protocol.report_names, reported)), n_late, missed, wall_decide)
        for observer in self._observers:
            observer.on_tick(tick, commands)
        if missed and self._plan.raise_when_missed:
            raise DeadlineError(f"the commands of tick {k} come {delay:g} s after the decision, past the next tick")

    def _record_all(self, k: int, now: int, fates: Sequence[CommandOutcome]) -> tuple[int, int, int]:
        """Take what became of the commands of a tick; returns how many there are, accepted ones and late ones."""
        for fate in fates:
            self._record(k, now, fate)
        return len(fates), sum(fate.accepted for fate in fates), sum(fate.late for fate in fates)

    def _seconds(self, frame: int) -> float:
        return frame * self._rate[1] / self._rate[0]

    def _missed(self, delay: float, wall_decide: float, period: float) -> bool:
        return delay + (wall_decide if self._info.real_time else 0.0) > period

    def _advance(self, until: int) -> Block:
        block = self._device.advance(until)
        check_block(block, self._frame, until, self._info.n_units)
        self._journal.block(block)
        for delivered in block.delivered:
            self._journal.delivered(delivered, self._claim(delivered))
            self._counts["delivered"] += 1
        self._frame = block.stop_frame
        if self._watch is not None:
            self._watch.add(self._seconds(self._frame), block.spike_units.size)
        if block.stop_frame < until:
            self._device.advance(until)
            raise DeviceError(f"the device stopped at frame {block.stop_frame} of {until} without giving a reason")
        return block

    def _claim(self, delivered: Delivered) -> int:
        """Return the row of the command a delivered pulse belongs to, or -1 where no command did."""
        command = delivered.command
        same = [k for k, (_, other) in enumerate(self._pending) if other is command]
        same = same or [k for k, (_, other) in enumerate(self._pending) if other == command]
        return self._pending.pop(same[0])[0] if same else -1

    def _record(self, k: int, now: int, fate: CommandOutcome) -> None:
        command = fate.command
        number = self._journal.command(command_row(k, now, fate), command.pulse)
        self._counts["given"] += 1
        self._counts["accepted" if fate.accepted else f"refused at {fate.stage}"] += 1
        if fate.accepted:
            self._pending.append((number, command))


COUNTED = (
    *("given", "accepted", "late", "missed", "delivered"),
    *(f"refused at {stage}" for stage in (schema.AT_SESSION, schema.AT_GUARD, schema.AT_SWITCH, schema.AT_DEVICE)),
)


def counted(fates: Sequence[CommandOutcome], delivered: Sequence[Delivered]) -> dict[str, int]:
    """Return the counts of commands that an outcome holds, of a session without latency."""
    found = Counter({"given": len(fates), "delivered": len(delivered)})
    for fate in fates:
        found["accepted" if fate.accepted else f"refused at {fate.stage}"] += 1
        found["late"] += fate.late
    return {name: found[name] for name in COUNTED}


def header_of(protocol: Any, device: Any, plan: Plan, reported: Sequence[str]) -> Header:
    """Return what a journal says of a session before its start; `protocol` may be a `CheckedProtocol`."""
    description, source = protocol.describe() if isinstance(protocol, CheckedProtocol) else describe(protocol)
    info = device.info
    about = {
        "name": info.name,
        "frame_rate_hz": str(info.frame_rate),
        "profile": info.profile.to_dict(),
        "description": info.description,
        "warnings": list(info.warnings),
        "real_time": info.real_time,
    }
    values = {**plan.to_dict(), "protocol": description, "device": about}
    metadata = {"protocol": description["name"], "device": info.name, "seed": plan.seed}
    found = {**versions(), "source": package_hash()}
    return Header(info, device, values, found, reported, source, metadata)


def command_row(k: int, now: int, fate: CommandOutcome) -> dict[str, Any]:
    """Return what the journal keeps of a command, of tick `k` at frame `now`, and of what became of it."""
    command = fate.command
    return {
        "tick": k,
        "decided_frame": now,
        "asked_frame": -1 if fate.asked_frame is None else fate.asked_frame,
        "due_frame": command.at_frame,
        "late": fate.late,
        "accepted": fate.accepted,
        "stage": fate.stage.encode(),
        "planned_frame": -1 if fate.planned_frame is None else fate.planned_frame,
        "label": schema.to_bytes(command.label, schema.LABEL_BYTES),
        "reason": schema.to_bytes(fate.reason, schema.REASON_BYTES),
    }


def plain(values: Any) -> Any:
    """Return protocol outcomes as plain JSON values; NaN and infinities become null."""
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    if hasattr(values, "tolist"):
        return plain(values.tolist())
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if isinstance(values, float) and not (values - values == 0):
        return None
    return values if isinstance(values, str | int | float | bool | None) else str(values)
