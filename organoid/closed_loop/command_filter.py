"""The filter every command passes between protocol and device: latency, end of session, guard, switch, device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from organoid.closed_loop.contracts import Command, Device, Receipt
from organoid.closed_loop.journal import schema
from organoid.errors import DeviceError
from organoid.stimulation import StimulationGuard


@dataclass(frozen=True)
class CommandOutcome:
    """What became of one command.

    Parameters
    ----------
    command : Command
        With `at_frame` set to the frame it is due.
    asked_frame : int or None
        What the protocol requested.
    late : bool
        Whether the latency moved it.
    accepted : bool
    stage : str
        Where it was settled: "session", "guard", "open circuit" or "device".
    planned_frame : int or None
        The frame the device plans it for.
    reason : str
        Why it was rejected.
    """

    command: Command
    asked_frame: int | None
    late: bool
    accepted: bool
    stage: str
    planned_frame: int | None = None
    reason: str = ""


class CommandFilter:
    """Let commands through to a device, or say why not.

    Parameters
    ----------
    device : Device
    end_frame : int
        First frame after the session: what is due then or later is rejected.
    deliver : bool
        False cuts the stimulus path: everything is judged as ever, nothing reaches the device.
    """

    def __init__(self, device: Device, end_frame: int, deliver: bool) -> None:
        self._device, self._end, self._deliver = device, end_frame, deliver
        info = device.info
        self._frame_rate = info.frame_rate
        self._guard = StimulationGuard(info.profile)
        self.warnings: dict[str, None] = {}  # of pulses the guard let through, each once, in order
        self._guard_frames = info.profile.frame_rate / info.frame_rate

    def pass_on(self, commands: Sequence[Command], now: int, latency: float) -> list[CommandOutcome]:
        """Settle the commands of one tick.

        Parameters
        ----------
        commands : sequence of Command
        now : int
            Frame of the decision.
        latency : float, s
            From decision to electrode.

        Returns
        -------
        list of CommandOutcome, one for each command, in their order
        """
        if not commands:
            return []
        earliest = now + math.ceil(round(latency * float(self._frame_rate), 6))
        fates = [self._judge(command, now, earliest) for command in commands]
        passed = [k for k, fate in enumerate(fates) if fate.accepted]
        if passed and not self._deliver:
            for k in passed:
                fates[k] = replace(fates[k], accepted=False, stage=schema.AT_SWITCH, reason="the stimulus path is cut")
        elif passed:
            receipts = self._device.stimulate([fates[k].command for k in passed])
            if len(receipts) != len(passed):
                raise DeviceError(f"{len(receipts)} receipts came for {len(passed)} commands; expected one for each")
            for k, receipt in zip(passed, receipts, strict=True):
                fates[k] = self._settle(fates[k], receipt, now)
        self._guard.forget(self._on_guard_clock(now))
        return fates

    def _judge(self, command: Command, now: int, earliest: int) -> CommandOutcome:
        asked = now if command.at_frame is None else max(int(command.at_frame), now)
        due = max(asked, earliest)
        fate = CommandOutcome(replace(command, at_frame=due), command.at_frame, due > asked, False, schema.AT_SESSION)
        if due >= self._end and self._guard.check(command.pulse):
            return replace(fate, reason=f"due at frame {due}, but the session ends at frame {self._end}")
        verdict = self._guard.admit(command.pulse, self._on_guard_clock(due))
        if verdict.warning:
            self.warnings[verdict.warning] = None
        return replace(fate, accepted=verdict.accepted, stage=schema.AT_GUARD, reason=verdict.reason)

    def _settle(self, fate: CommandOutcome, receipt: Receipt, now: int) -> CommandOutcome:
        """Take the device's word, and correct what the guard remembers by it."""
        pulse, due = fate.command.pulse, fate.command.at_frame or 0
        if not receipt.accepted:
            self._guard.release(pulse, self._on_guard_clock(due))
            return replace(fate, accepted=False, stage=schema.AT_DEVICE, reason=receipt.reason or "no reason given")
        planned = due if receipt.frame is None else int(receipt.frame)
        if planned < now:
            raise DeviceError(f"the device plans a pulse for frame {planned}, before the decision at frame {now}")
        if planned != due:
            self._guard.release(pulse, self._on_guard_clock(due))
            if not self._guard.admit(pulse, self._on_guard_clock(planned)):
                self._guard.admit(pulse, self._on_guard_clock(due))
        return replace(fate, stage=schema.AT_DEVICE, planned_frame=planned, reason=receipt.reason)

    def _on_guard_clock(self, frame: int) -> int:
        return math.floor(frame * self._guard_frames)
