"""Pulses that wait for their frame, each checked by the device's own guard."""

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

from organoid.closed_loop.contracts import Command, Receipt
from organoid.stimulation import DeviceProfile, GuardHistory, Pulse, StimulationGuard


class Planned(NamedTuple):
    """A pulse waiting for its frame; `number` keeps the order of commands."""

    frame: int
    number: int
    command: Command


class PulseQueue:
    """Plan pulses at free frames, and hand them out when they fall due.

    Parameters
    ----------
    profile : DeviceProfile
        Limits of the guard.
    """

    def __init__(self, profile: DeviceProfile) -> None:
        self._guard = StimulationGuard(profile)
        self._waiting: list[Planned] = []
        self.n_commands = 0

    @property
    def waiting(self) -> tuple[Planned, ...]:
        """Pulses that wait, in order."""
        return tuple(self._waiting)

    @property
    def history(self) -> GuardHistory:
        """What the guard remembers."""
        return self._guard.history

    def restore(self, waiting: Sequence[Planned], history: GuardHistory, n_commands: int) -> None:
        """Put back what was there."""
        self._waiting, self.n_commands = list(waiting), n_commands
        self._guard.restore(history)

    def plan(self, command: Command, now: int) -> Receipt:
        """Plan a pulse for the frame it names, `now` at the earliest, or the first one when its electrodes are free."""
        wanted = now if command.at_frame is None else max(now, int(command.at_frame))
        frame = self._guard.earliest_free(command.pulse, wanted)
        verdict = self._guard.admit(command.pulse, frame)
        if not verdict:
            return Receipt(False, None, verdict.reason)
        insort(self._waiting, Planned(frame, self.n_commands, command), key=_order)
        self.n_commands += 1
        return Receipt(True, frame)

    def due(self, until_frame: int) -> list[Planned]:
        """Take out the pulses before a frame."""
        if not self._waiting or self._waiting[0].frame >= until_frame:
            return []
        n_due = sum(planned.frame < until_frame for planned in self._waiting)
        due, self._waiting = self._waiting[:n_due], self._waiting[n_due:]
        return due

    def drop(self, electrodes: Sequence[int] | None = None) -> None:
        """Take out all pulses, or those that use any of these electrodes."""
        chosen = None if electrodes is None else set(electrodes)
        kept: list[Planned] = []
        for planned in self._waiting:
            pulse: Pulse = planned.command.pulse
            if chosen is None or not chosen.isdisjoint(pulse.electrodes):
                self._guard.release(pulse, planned.frame)
            else:
                kept.append(planned)
        self._waiting = kept

    def forget(self, before_frame: int) -> None:
        """Forget pulses too old to matter."""
        self._guard.forget(before_frame)


def _order(planned: Planned) -> tuple[int, int]:
    return planned[:2]
