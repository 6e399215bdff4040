"""`CorticalLabs`: a protocol on the vendor's ``neurons.loop``, on a CL1 or in the vendor's simulator.

The vendor's package ``cl`` is not part of this project and is imported when the device is made. On a computer it is
cl-sdk 1.0.0 or newer (Python 3.12 or newer); on a CL1 the rig's own package takes its place.
"""

import math
import os
from bisect import insort
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organoid.closed_loop.contracts import Block, Command, Delivered, DeviceInfo, Receipt
from organoid.errors import DeviceError, MissingPackageError
from organoid.stimulation import Pulse, StimulationGuard, device_profile

N_CHANNELS = 64
GRID = 8  # channel = column * 8 + row
GROUND = (0, 7, 56, 63)
SILENT = (0, 4, 7, 56, 63)  # grounded or reference: no spikes
LEAD_FRAMES = 2  # 80 us, the least lead time of a pulse
_FRAME_US = 40


class _Planned(NamedTuple):
    """A pulse that waits for the loop body before it; `number` keeps the order of commands."""

    frame: int
    number: int
    command: Command


class CorticalLabs:
    """A culture behind the vendor's interface: 64 channels, each a unit and an electrode.

    One tick of the vendor's loop is ``floor(25,000 / tick_rate)`` frames; give the protocol's own rate. Where the
    session's ticks are not whole ticks of the loop, spikes are seen up to one of them later. A pulse comes 80 us
    after the decision at the earliest. Pulses in volts, and whatever else the guard of profile "cl1" rejects
    (unbalanced charge, too), never reach the vendor's queue. `close`, and so every end of a session, interrupts all
    channels first.

    Parameters
    ----------
    tick_rate : float, Hz
        Of the vendor's loop.
    jitter_tolerance : float, s
        How late a tick may be before the rig ends the loop; the vendor's simulator does not check.
    record : bool
        Also write the vendor's own recording; it is stopped at the end. Its stimuli have no amplitudes: the journal
        of the session does.

    Raises
    ------
    MissingPackageError
        If the vendor's package is not installed.
    """

    def __init__(self, *, tick_rate: float = 100.0, jitter_tolerance: float = 0.0, record: bool = False) -> None:
        self._cl = _vendor_package()
        self._tick_rate, self._record = float(tick_rate), record
        self._tolerance = round(jitter_tolerance * 1e6 / _FRAME_US)
        self._info = _describe(self._cl, self._tick_rate)
        if not 1 <= self._info.frame_rate / Fraction(self._tick_rate) <= self._info.frame_rate:
            raise DeviceError(f"a loop of {tick_rate:g} ticks/s; expected 1 to 25,000")
        self._period = math.floor(self._info.frame_rate / Fraction(self._tick_rate))
        self._stack: ExitStack | None = None

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""
        return self._info

    def start(self, seed: int) -> None:
        """Open the device and its loop; the seed changes nothing: what is behind the interface has its own."""
        self.close()
        self._guard = StimulationGuard(self._info.profile)
        self._queue: list[_Planned] = []
        self._sent: list[tuple[int, Command, set[int]]] = []  # at the vendor's, with the channels still to be seen
        self._frame, self._body, self._count = 0, 0, 0
        self._origin: int | None = None
        self._spikes: list[tuple[int, int]] = []
        self._delivered: list[Delivered] = []
        self._holes: list[tuple[int, int]] = []
        stack = ExitStack()
        try:
            self._neurons = stack.enter_context(self._cl.open())
            stack.callback(self._interrupt_all)
            if self._record:
                stack.callback(self._neurons.record().stop)
            loop = self._neurons.loop(self._tick_rate, jitter_tolerance_frames=self._tolerance)
            self._loop = iter(loop)
            stack.callback(self._loop.close)
        except BaseException as error:
            stack.close()
            if isinstance(error, Exception):
                raise DeviceError(f"the vendor's device cannot be opened: {_words(error)}") from error
            raise
        self._stack = stack

    def advance(self, until_frame: int) -> Block:
        """Run the vendor's loop until it has seen everything before `until_frame`.

        Raises
        ------
        DeviceError
            If the loop stopped; the vendor's reason is named.
        """
        self._running()
        if until_frame < self._frame:
            raise DeviceError(f"cannot advance to frame {until_frame}; the device is at frame {self._frame}")
        while self._body < until_frame:
            self._next_tick()
        start, self._frame = self._frame, until_frame
        spikes = [item for item in self._spikes if item[0] < until_frame]
        delivered = [item for item in self._delivered if item.frame < until_frame]
        self._spikes, self._delivered = self._spikes[len(spikes) :], self._delivered[len(delivered) :]
        holes = [(max(a, start), min(b, until_frame)) for a, b in self._holes if a < until_frame and b > start]
        self._holes = [(a, b) for a, b in self._holes if b > until_frame]
        table = np.array(spikes, dtype=np.int64).reshape(-1, 2)
        return Block(start, until_frame, table[:, 0].copy(), table[:, 1].copy(), tuple(delivered), unobserved=holes)

    def _next_tick(self) -> None:
        """Go on to the next body of the vendor's loop and take what it has seen."""
        try:
            tick = next(self._loop)
        except StopIteration:
            raise DeviceError("the vendor's loop ended") from None
        except Exception as error:
            raise DeviceError(
                f"the vendor's loop stopped after {self._info.to_seconds(self._body):g} s: {_words(error)}"
            ) from error
        seen = tick.analysis
        if self._origin is None:
            self._origin = int(seen.start_timestamp)
        origin = self._origin
        begin = int(seen.start_timestamp) - origin
        if begin > self._body:
            self._holes.append((self._body, begin))
        self._body = int(seen.stop_timestamp) - origin
        self._spikes += sorted((int(s.timestamp) - origin, int(s.channel)) for s in seen.spikes)
        self._take_pulses(sorted((int(s.timestamp) - origin, int(s.channel)) for s in seen.stims))
        self._guard.forget(self._body)
        self._send_due()

    def _take_pulses(self, seen: list[tuple[int, int]]) -> None:
        """Find the command of every pulse the vendor reports; one on several channels begins with its first."""
        for frame, channel in seen:
            for k, (_, command, waiting) in enumerate(self._sent):
                if channel in waiting:
                    if len(waiting) == len(command.pulse.electrodes):
                        insort(self._delivered, Delivered(frame, command), key=lambda item: item.frame)
                    waiting.discard(channel)
                    if not waiting:
                        del self._sent[k]
                    break
            else:
                raise DeviceError(f"channel {channel} was stimulated at frame {frame}, by no command of this session")

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Plan pulses, 80 us from now or later; each is checked by the guard first."""
        self._running()
        receipts = [self._plan(command) for command in commands]
        self._send_due()
        return receipts

    def _plan(self, command: Command) -> Receipt:
        earliest = max(self._frame, self._body, self._period if self._origin is None else 0) + LEAD_FRAMES
        wanted = earliest if command.at_frame is None else max(earliest, int(command.at_frame))
        frame = self._guard.earliest_free(command.pulse, wanted)
        verdict = self._guard.admit(command.pulse, frame)
        if not verdict:
            return Receipt(False, None, verdict.reason)
        try:
            self._design(command.pulse)
        except (ValueError, TypeError) as error:
            self._guard.release(command.pulse, frame)
            return Receipt(False, None, f"the vendor's package rejects the pulse: {error}")
        insort(self._queue, _Planned(frame, self._count, command), key=lambda planned: planned[:2])
        self._count += 1
        return Receipt(True, frame)

    def _send_due(self) -> None:
        """Hand over the pulses that begin before the next body could still do so."""
        if self._origin is None:
            return
        reach = self._body + self._period + LEAD_FRAMES
        while self._queue and self._queue[0].frame < reach:
            frame, _, command = self._queue.pop(0)
            lead = max(frame - self._body, LEAD_FRAMES)
            channels = self._cl.ChannelSet(*command.pulse.electrodes)
            self._neurons.stim(channels, self._design(command.pulse), lead_time_us=lead * _FRAME_US)
            self._sent.append((frame, command, set(command.pulse.electrodes)))

    def _design(self, pulse: Pulse) -> Any:
        """Return the vendor's form of a pulse: whole microseconds and microamperes."""
        numbers = [x for p in pulse.phases for x in (round(p.width_s * 1e6), round(p.amplitude * 1e6, 9))]
        return self._cl.StimDesign(*numbers)

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Drop waiting pulses, ours and the vendor's: all, or those that use any of these electrodes."""
        self._running()
        chosen = set(range(N_CHANNELS)) if electrodes is None else set(electrodes)
        for planned in [item for item in self._queue if not chosen.isdisjoint(item.command.pulse.electrodes)]:
            self._queue.remove(planned)
            self._guard.release(planned.command.pulse, planned.frame)
        dropped = [item for item in self._sent if not chosen.isdisjoint(item[1].pulse.electrodes)]
        if electrodes is None or dropped:
            channels = chosen.union(*(item[1].pulse.electrodes for item in dropped))
            self._neurons.interrupt(self._cl.ChannelSet(*channels))
        for frame, command, waiting in dropped:
            if frame >= self._body and len(waiting) == len(command.pulse.electrodes):
                self._sent.remove((frame, command, waiting))
                self._guard.release(command.pulse, frame)

    def close(self) -> None:
        """Interrupt all channels, stop the vendor's recording and loop, and let go of the device."""
        stack, self._stack = getattr(self, "_stack", None), None
        if stack is not None:
            stack.close()

    def _interrupt_all(self) -> None:
        with suppress(Exception):  # the rest of the way out must be taken, whatever state the vendor's object is in
            self._neurons.interrupt(self._cl.ChannelSet(*range(N_CHANNELS)))

    def _running(self) -> None:
        if self._stack is None:
            raise DeviceError("the device is not open; call start(seed) first")


def _vendor_package() -> Any:
    try:
        cl = import_module("cl")
    except ImportError as error:
        raise MissingPackageError(
            f"this device needs the vendor's package cl ({error}): cl-sdk 1.0.0 or newer on Python 3.12 or newer, or "
            "the rig's own"
        ) from None
    lacking = [name for name in ("open", "ChannelSet", "StimDesign", "get_system_attributes") if not hasattr(cl, name)]
    if lacking:
        raise MissingPackageError(f"the installed package cl has no {lacking[0]}; expected cl-sdk 1.0.0 or newer")
    return cl


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def channel_table() -> pd.DataFrame:
    """Return the 64 channels as a table of electrodes: channel = column * 8 + row of the grid."""
    channels = np.arange(N_CHANNELS)
    return pd.DataFrame(
        {
            "channel": channels,
            "electrode": channels,
            "grid_column": channels // GRID,
            "grid_row": channels % GRID,
            "can_stimulate": ~np.isin(channels, GROUND),
        }
    )


def _describe(cl: Any, tick_rate: float) -> DeviceInfo:
    simulator = bool(cl.is_simulator()) if hasattr(cl, "is_simulator") else False
    accelerated = simulator and os.environ.get("CL_SDK_ACCELERATED_TIME", "0") not in ("", "0", "false", "False")
    attributes = {str(key): str(value) for key, value in dict(cl.get_system_attributes()).items()}
    electrodes = channel_table()
    source = os.environ.get("CL_SDK_DATA_SOURCE", "")
    warnings = ["a pulse comes 80 us after the decision at the earliest"]
    if simulator and not source:
        warnings.append("the vendor's simulator does not answer stimulation unless a culture is put behind it")
    return DeviceInfo(
        name="cortical_labs",
        frame_rate=Fraction(25_000),
        units=electrodes.drop(columns="can_stimulate").assign(name=[f"channel {k}" for k in range(N_CHANNELS)]),
        electrodes=electrodes,
        profile=device_profile("cl1"),
        description={
            "simulator": simulator,
            "accelerated": accelerated,
            "loop_ticks_per_second": tick_rate,
            "data_source": source,
            "system": attributes,
        },
        warnings=tuple(warnings),
        real_time=True,
    )
