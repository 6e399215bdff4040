"""`check_device`: run a device against every rule of the device contract."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.blocks import check_block
from organoid.closed_loop.contracts import Block, Command, Delivered, Device, DeviceInfo, Journalled
from organoid.closed_loop.probe import default_pulse, stimulable
from organoid.errors import DeviceError
from organoid.stimulation import StimulationGuard


@dataclass(frozen=True)
class _Trace:
    """What a device did in some frames, however they were cut into blocks."""

    frames: NDArray[np.int64]
    units: NDArray[np.int64]
    delivered: tuple[Delivered, ...]

    def before(self, frame: int) -> tuple[list[int], list[int]]:
        n = int(np.searchsorted(self.frames, frame))
        return self.frames[:n].tolist(), self.units[:n].tolist()


def check_device(device: Device, *, seconds: float = 1.0, seed: int = 0) -> None:
    """Check that a device keeps the contract of `organoid.closed_loop.contracts`.

    The rules, in the order they are checked: `info` makes sense; blocks cover the frames requested, with spikes in
    order, inside, on units there are; the same seed gives the same spikes, however time is cut into blocks, also
    after `close`; every command gets one receipt, planned for no frame before now or before the one requested;
    what is accepted is delivered once, at its frame; a pulse changes nothing before it; `interrupt` empties the
    queue; a device that can be built again from a journal gives the same spikes. For devices on which time
    passes by itself (``info.real_time``), what needs the same spikes twice is left out.

    Pulses are delivered: on a rig, only check without tissue in it.

    Parameters
    ----------
    device : Device
        Not running; closed at the end.
    seconds : float, s
        Length of the test runs.
    seed : int

    Raises
    ------
    DeviceError
        Naming the first rule that is broken and what was seen.

    Examples
    --------
    >>> import organoid
    >>> organoid.check_device(organoid.SimulatedCulture(organoid.preset("bursting_culture")), seconds=0.5)
    """
    _check_info(device.info)
    end = int(Fraction(str(seconds)) * device.info.frame_rate)
    try:
        quiet = _run(device, seed, _cuts(end, 7))
        if not device.info.real_time:
            _check_repeats(device, seed, end, quiet)
        _check_pulses(device, seed, end, quiet)
        _check_interrupt(device, seed, end)
        if isinstance(device, Journalled) and not device.info.real_time:
            _check_rebuilt(device, seed, end, quiet)
    finally:
        device.close()


def _broken(rule: str, seen: str) -> DeviceError:
    return DeviceError(f"device breaks the rule '{rule}': {seen}")


def _check_info(info: DeviceInfo) -> None:
    if not isinstance(info.frame_rate, Fraction) or info.frame_rate <= 0:
        raise _broken("frame_rate is an exact positive Fraction", f"{info.frame_rate!r}")
    if not info.name:
        raise _broken("a device has a name", f"{info.name!r}")
    try:
        json.dumps(info.description)
    except (TypeError, ValueError) as error:
        raise _broken("the description is made of plain JSON values", str(error)) from None
    outside = [e for e in info.profile.allowed_electrodes or () if e >= len(info.electrodes)]
    if outside:
        seen = f"electrode {outside[0]} of {len(info.electrodes)}"
        raise _broken("the profile's electrodes are rows of the table", seen)


def _cuts(end: int, n: int) -> list[int]:
    """Return uneven block ends up to `end`, some only one frame apart."""
    ends = {max(1, end * k * k // (n * n)) for k in range(1, n)}
    return sorted(e for e in ends | {e + 1 for e in ends} | {end} if e <= end)


def _run(device: Device, seed: int, ends: Sequence[int], act: Callable[[Device, int], None] | None = None) -> _Trace:
    """Start the device, run it block by block, and let `act` do something before each block."""
    device.start(seed)
    blocks: list[Block] = []
    frame = 0
    for until in ends:
        if act is not None:
            act(device, frame)
        block = _advance(device, frame, until)
        blocks.append(block)
        frame = until
    device.close()
    none = [np.empty(0, dtype=np.int64)]
    return _Trace(
        np.concatenate(none + [block.spike_frames for block in blocks]),
        np.concatenate(none + [block.spike_units for block in blocks]),
        tuple(item for block in blocks for item in block.delivered),
    )


def _advance(device: Device, frame: int, until: int) -> Block:
    block = device.advance(until)
    try:
        check_block(block, frame, until, device.info.n_units)
    except DeviceError as error:
        raise _broken("blocks are what was asked for", str(error)) from None
    if block.stop_frame < until:
        raise _broken("blocks are what was asked for", f"the device stopped at frame {block.stop_frame} of {until}")
    return block


def _check_repeats(device: Device, seed: int, end: int, quiet: _Trace) -> None:
    again = _run(device, seed, _cuts(end, 7))
    _same("the same seed gives the same spikes, also after close", quiet, again)
    _same("spikes do not depend on how time is cut into blocks", quiet, _run(device, seed, [end]))


def _same(rule: str, one: _Trace, other: _Trace) -> None:
    if np.array_equal(one.frames, other.frames) and np.array_equal(one.units, other.units):
        return
    n = min(one.frames.size, other.frames.size)
    differ = np.flatnonzero((one.frames[:n] != other.frames[:n]) | (one.units[:n] != other.units[:n]))
    k = int(differ[0]) if differ.size else n
    seen = [f"frame {t.frames[k]} unit {t.units[k]}" if k < t.frames.size else "none" for t in (one, other)]
    raise _broken(rule, f"spike {k} is {seen[0]} in one run and {seen[1]} in the other")


class _Pulser:
    """Command pulses before the block that begins at frame `at`: at once, later, and for a frame that has passed."""

    def __init__(self, info: DeviceInfo, at: int, later: int, only_later: bool = False) -> None:
        electrodes = np.flatnonzero(stimulable(info))
        self.pulses = [default_pulse(info.profile, (int(e),)) for e in electrodes[:1]]
        self.at, self.planned = at, list[tuple[int, Command]]()
        self.asked = (at + later,) if only_later else (None, at + later, 0)

    def __call__(self, device: Device, frame: int) -> None:
        if frame != self.at:
            return
        commands = [Command(pulse, at) for pulse in self.pulses for at in self.asked]
        receipts = device.stimulate(commands)
        if len(receipts) != len(commands):
            raise _broken("one receipt for each command", f"{len(receipts)} receipts for {len(commands)} commands")
        for command, receipt in zip(commands, receipts, strict=True):
            self._check(command, receipt, frame)

    def _check(self, command: Command, receipt: Any, now: int) -> None:
        earliest = max(now, command.at_frame or 0)
        if not receipt.accepted:
            if not receipt.reason:
                raise _broken("a rejection has a reason", f"{command} was rejected without one")
            return
        if receipt.frame is None or receipt.frame < earliest:
            raise _broken("pulses come at the frame asked for or later", f"{receipt.frame} for {earliest}")
        self.planned.append((receipt.frame, command))


def _check_pulses(device: Device, seed: int, end: int, quiet: _Trace) -> None:
    at = _cuts(end, 7)[6]
    pulser = _Pulser(device.info, at, max(1, end // 5))
    if any(not StimulationGuard(device.info.profile).check(pulse) for pulse in pulser.pulses):
        return
    trace = _run(device, seed, _cuts(end, 7), pulser)
    due = sorted(frame for frame, _ in pulser.planned if frame < end)
    given = [item.frame for item in trace.delivered]
    if given != due:
        raise _broken("what is accepted is delivered once, at its frame", f"planned for {due}, delivered at {given}")
    unknown = [item for item in trace.delivered if all(item.command != command for _, command in pulser.planned)]
    if unknown:
        raise _broken("a delivered pulse names its command", f"{unknown[0].command} was never given")
    if not device.info.real_time:
        _check_causality(device, seed, end, quiet)


def _check_causality(device: Device, seed: int, end: int, quiet: _Trace) -> None:
    pulser = _Pulser(device.info, _cuts(end, 7)[6], max(1, end // 5), only_later=True)
    trace = _run(device, seed, _cuts(end, 7), pulser)
    due = [frame for frame, _ in pulser.planned]
    if due and trace.before(due[0]) != quiet.before(due[0]):
        raise _broken("a pulse changes nothing before it", f"spikes before frame {due[0]} differ from a quiet run")


def _check_interrupt(device: Device, seed: int, end: int) -> None:
    at = _cuts(end, 7)[6]
    pulser = _Pulser(device.info, at, max(1, end // 5))

    def act(running: Device, frame: int) -> None:
        pulser(running, frame)
        if frame == at:
            running.interrupt()

    trace = _run(device, seed, _cuts(end, 7), act)
    later = [item.frame for item in trace.delivered if item.frame >= at + max(1, end // 5)]
    if later:
        raise _broken("interrupt empties the queue", f"a pulse that was interrupted at frame {at} came at {later[0]}")


def _check_rebuilt(device: Any, seed: int, end: int, quiet: _Trace) -> None:
    with h5py.File("check", "w", driver="core", backing_store=False) as h5:
        device.write_to(h5)
        if not (len(h5) or len(h5.attrs)):
            return  # it says that it cannot
        again = type(device).read_from(h5)
        _same("a device built again from a journal gives the same spikes", quiet, _run(again, seed, [end]))
