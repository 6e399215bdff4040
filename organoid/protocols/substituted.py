"""Control protocols made of other sessions: the same decisions, other stimuli; one protocol, then another.

They are made by `organoid.yoke`, `organoid.fork` and experiments, are written into the journal whole, and replay like
any other protocol.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from organoid.closed_loop import Command, DeviceInfo, Protocol, Reporting, Session, SessionError, Tick
from organoid.closed_loop.journal.provenance import describe
from organoid.closed_loop.replay.recorded_device import delivered_pulses
from organoid.stimulation import Pulse


class Scheduled(NamedTuple):
    """A pulse, the frame it is due, and its label."""

    frame: int
    pulse: Pulse
    label: str = ""


Schedule = tuple[Scheduled, ...]


def delivered_in(session: Session) -> Schedule:
    """Return the pulses that a session delivered, in order of frames."""
    found = delivered_pulses(session)
    return tuple(Scheduled(item.frame, item.command.pulse, item.command.label) for item in found)


def to_values(schedule: Sequence[Scheduled]) -> dict[str, Any]:
    """Return a schedule as plain JSON values; every waveform is written once."""
    pulses = list(dict.fromkeys(item.pulse for item in schedule))
    numbers = {pulse: number for number, pulse in enumerate(pulses)}
    return {
        "pulses": [pulse.to_dict() for pulse in pulses],
        "given": [[int(item.frame), numbers[item.pulse], item.label] for item in schedule],
    }


def from_values(values: Mapping[str, Any]) -> Schedule:
    """Return the schedule `to_values` wrote."""
    try:
        pulses = [Pulse.from_dict(pulse) for pulse in values["pulses"]]
        return tuple(Scheduled(int(frame), pulses[number], str(label)) for frame, number, label in values["given"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SessionError(f"no schedule of pulses: {error}; expected what substituted.to_values writes") from None


class SubstitutedStimuli:
    """A protocol that decides as ever, and whose commands are replaced by a schedule.

    Whatever it measures (a game's score, a map) is measured on a culture whose stimuli do not depend on it.

    Parameters
    ----------
    inner : Protocol
    schedule : sequence of Scheduled
        In order of frames; those before the first decision cannot be given any more.
    """

    def __init__(self, inner: Protocol, schedule: Sequence[Scheduled]) -> None:
        self.inner, self.schedule = inner, tuple(schedule)
        self.tick_rate = inner.tick_rate
        self.name = "substituted"

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Start the inner protocol."""
        return {"inner": self.inner.start(info, rng), "next": 0}

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Let the inner protocol decide, and command what is due before the next decision but one."""
        _, inner = self.inner.decide(tick, state["inner"])
        horizon = 2 * tick.block.stop_frame - tick.block.start_frame + 1
        k, commands = state["next"], []
        while k < len(self.schedule) and self.schedule[k].frame < horizon:
            frame, pulse, label = self.schedule[k]
            commands.append(Command(pulse, frame, label))
            k += 1
        return commands, {"inner": inner, "next": k}

    def report(self, state: dict[str, Any]) -> Mapping[str, float]:
        """Return what the inner protocol reports."""
        return self.inner.report(state["inner"]) if isinstance(self.inner, Reporting) else {}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the inner protocol's outcome."""
        return self.inner.finish(state["inner"])

    def describe(self) -> dict[str, Any]:
        """Return the inner protocol's description and the schedule."""
        return {
            "name": self.name,
            "parameters": {"inner": describe(self.inner)[0], "schedule": to_values(self.schedule)},
        }


class ForkedProtocol:
    """One protocol up to a tick, another from there on.

    Parameters
    ----------
    first : Protocol
    then : Protocol or None
        Starts at tick `at`; None: the first goes on.
    at : int
        First tick of the other protocol.
    """

    def __init__(self, first: Protocol, then: Protocol | None, at: int) -> None:
        if then is not None and float(then.tick_rate) != float(first.tick_rate):
            raise SessionError(
                f"a fork from {first.tick_rate:g} to {then.tick_rate:g} ticks/s; both protocols must have the same rate"
            )
        self.first, self.then, self.at = first, then, at
        self.tick_rate = first.tick_rate
        self.name = "forked"

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Start the first protocol; the other draws from a generator that is put aside here."""
        state = self.first.start(info, rng)
        other = None if self.then is None else self.then.start(info, rng)
        return {"state": state, "other": other, "forked": False}

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Let the protocol decide whose turn it is."""
        if self.then is None or tick.index < self.at:
            commands, following = self.first.decide(tick, state["state"])
            return commands, {**state, "state": following}
        commands, following = self.then.decide(tick, state["other"])
        return commands, {**state, "other": following, "forked": True}

    def report(self, state: dict[str, Any]) -> Mapping[str, float]:
        """Return what both report; of the one whose turn it is not, NaN."""
        first = self._reported(self.first, state["state"])
        if self.then is None:
            return first
        then = self._reported(self.then, state["other"])
        heard = then if state["forked"] else first
        return {name: heard.get(name, float("nan")) for name in {**first, **then}}

    @staticmethod
    def _reported(protocol: Protocol, state: Any) -> dict[str, float]:
        return dict(protocol.report(state)) if isinstance(protocol, Reporting) else {}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the outcome of the protocol whose turn it was last."""
        if self.then is not None and state["forked"]:
            return self.then.finish(state["other"])
        return self.first.finish(state["state"])

    def describe(self) -> dict[str, Any]:
        """Return both descriptions and the tick."""
        then = None if self.then is None else describe(self.then)[0]
        return {"name": self.name, "parameters": {"first": describe(self.first)[0], "then": then, "at": self.at}}
