"""What devices and protocols agree on: frames, blocks, commands, receipts, ticks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, runtime_checkable
from typing import Protocol as TypingProtocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.closed_loop.random_streams import tick_stream
from organoid.errors import StimulationError
from organoid.recording.validation import electrode_table, unit_table
from organoid.stimulation import DeviceProfile, Pulse

_LARGEST_FRAME = 1 << 62


@dataclass(frozen=True)
class DeviceInfo:
    """What a device is, known before a session starts.

    Parameters
    ----------
    name : str
    frame_rate : Fraction
        Frames per second, exact.
    units : DataFrame
        One row per unit, as `SpikeRecording.units`; columns left out are filled in.
    electrodes : DataFrame
        One row an electrode, as `SpikeRecording.electrodes`; row number = electrode index in pulses.
    profile : DeviceProfile
        Limits and grids of stimulation.
    description : dict
        Plain values naming what runs behind it (network hash, calibration status, serial number ...).
    warnings : tuple of str
        What a user must know, e.g. that pulse responses are not calibrated.
    real_time : bool
        Whether time passes by itself (a rig), so that a slow decision is late by the wall clock.
    """

    name: str
    frame_rate: Fraction
    units: pd.DataFrame
    electrodes: pd.DataFrame
    profile: DeviceProfile
    description: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    real_time: bool = False

    def __post_init__(self) -> None:
        units = unit_table(self.units, len(self.units))
        object.__setattr__(self, "units", units)
        object.__setattr__(self, "electrodes", electrode_table(self.electrodes, units))

    @cached_property
    def _ratio(self) -> tuple[int, int]:
        return self.frame_rate.as_integer_ratio()

    @cached_property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    def to_seconds(self, frames: Any) -> Any:
        """Convert a frame number (or array of them) to seconds."""
        return frames * self._ratio[1] / self._ratio[0]


@dataclass(frozen=True)
class Command:
    """One pulse to be delivered.

    Parameters
    ----------
    pulse : Pulse
        Phases and electrode indices.
    at_frame : int, optional
        Earliest frame; default: as soon as the device can.
    label : str
        Free text kept in the journal ("probe", "reward", ...).
    """

    pulse: Pulse
    at_frame: int | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.pulse, Pulse):
            raise StimulationError(f"a command of {self.pulse!r}; expected a Pulse")
        if self.at_frame is not None and not _is_integer(self.at_frame):
            raise StimulationError(
                f"a command for frame {self.at_frame!r}; expected a whole number, seconds times info.frame_rate"
            )
        if not isinstance(self.label, str):
            raise StimulationError(f"a command with label {self.label!r}; expected text")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and abs(int(value)) < _LARGEST_FRAME


@dataclass(frozen=True)
class Receipt:
    """What a device says to a command: the frame the pulse is planned for, or why it is rejected."""

    accepted: bool
    frame: int | None
    reason: str = ""


@dataclass(frozen=True)
class Delivered:
    """A pulse that was given, starting at `frame`."""

    frame: int
    command: Command


@dataclass(frozen=True)
class Block:
    """What happened in the frames ``[start_frame, stop_frame)``.

    Parameters
    ----------
    spike_frames, spike_units : ndarray of int64, shape (n_spikes,)
        In order of frames.
    delivered : sequence of Delivered
    samples : ndarray or None
        Raw voltage, shape (n_frames, n_channels), V, where the device has it.
    unobserved : sequence of (int, int)
        Frames ``[start, stop)`` of this block in which no spike could be seen (blanking, lost frames).
    """

    start_frame: int
    stop_frame: int
    spike_frames: NDArray[np.int64]
    spike_units: NDArray[np.int64]
    delivered: Sequence[Delivered] = ()
    samples: NDArray[np.float32] | None = None
    unobserved: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Tick:
    """What a protocol sees when it decides: everything from the last tick up to now.

    Parameters
    ----------
    index : int
        0, 1, 2, ...
    block : Block
        What happened since the previous tick.
    info : DeviceInfo
    seed : int
        Of the session, from which `rng` follows.
    """

    index: int
    block: Block
    info: DeviceInfo
    seed: int = 0

    @cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers of this tick alone: they depend on the session's seed and the tick's index, nothing else."""
        return tick_stream(self.seed, self.index)

    @property
    def time(self) -> float:
        """Now, s: the end of the block."""
        rate = self.info._ratio
        return float(self.block.stop_frame * rate[1] / rate[0])

    @property
    def duration(self) -> float:
        """Length of the block, s."""
        rate, block = self.info._ratio, self.block
        return float((block.stop_frame - block.start_frame) * rate[1] / rate[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Spikes of each unit in the block, shape (n_units,)."""
        return np.bincount(self.block.spike_units, minlength=self.info.n_units).astype(np.int64)


class Protocol(TypingProtocol):
    """What an experimenter writes. State goes in and comes out; nothing is hidden on the object.

    `tick_rate` (Hz) is read once before the start. State must be made of plain values and arrays, and
    `decide` must not change the state it is given. `start` binds sites to electrodes: it is called before
    the device is started, and what it raises stops the session before it begins. Further methods are
    optional: see `Reporting`, `Described` and `Planned`.
    """

    @property
    def tick_rate(self) -> float:
        """Decisions per second, Hz."""

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> Any:
        """Return the first state."""

    def decide(self, tick: Tick, state: Any) -> tuple[Sequence[Command], Any]:
        """Return the commands to give now, and the next state."""

    def finish(self, state: Any) -> dict[str, Any]:
        """Return the outcome: plain values."""


class Device(TypingProtocol):
    """A rig, a simulated culture or a replayed recording. Time is counted in frames from `start`."""

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""

    def start(self, seed: int) -> None:
        """Begin at frame 0; on a simulated device the seed fixes everything that follows."""

    def advance(self, until_frame: int) -> Block:
        """Let time pass up to, not including, `until_frame`.

        A block that ends earlier says that the device has stopped; the next `advance` then raises the reason.
        """

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Take commands for delivery at or after the current frame; one receipt each."""

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Drop queued pulses (of these electrodes, or all); a pulse under way is completed."""

    def close(self) -> None:
        """Stop stimulation and let go of the device; a later `start` begins again at frame 0."""


@runtime_checkable
class Reporting(TypingProtocol):
    """A protocol that puts numbers of its state beside every tick in the journal."""

    def report(self, state: Any) -> Mapping[str, float]:
        """Return named numbers; the names are those of the first state and never change."""


@runtime_checkable
class Described(TypingProtocol):
    """A protocol that can be rebuilt from plain values."""

    def describe(self) -> dict[str, Any]:
        """Return ``{"name": registered name, "parameters": {...}, "sites": {...}}``, JSON-able."""


@runtime_checkable
class Planned(TypingProtocol):
    """A protocol that knows before the start what it will give, or at most give."""

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return one row per pulse kind and site: site, electrodes, pulse, n_pulses, upper_bound."""


@runtime_checkable
class Journalled(TypingProtocol):
    """A device that can be built again from a journal (a simulated culture: its network, its calibration).

    ``info.name`` is the name it is registered under, so that its class is found again.
    """

    def write_to(self, group: h5py.Group) -> None:
        """Write into an empty group whatever is needed (nothing: cannot be built again); called before the start."""

    @classmethod
    def read_from(cls, group: h5py.Group) -> "Device":
        """Build the device again from what `write_to` left."""


@runtime_checkable
class Metered(TypingProtocol):
    """A device that counts the work of what it simulates."""

    def work(self) -> Mapping[str, float]:
        """Return counts since the start, such as ``synaptic_operations``; empty where they are not known."""


class Observer(TypingProtocol):
    """Somebody who watches a session: a live page, an online fit, a test. It cannot change anything.

    What an observer raises ends the session like any other error.
    """

    def on_tick(self, tick: Tick, commands: Sequence[Command]) -> None:
        """See one tick and what was decided."""


@runtime_checkable
class RowObserver(TypingProtocol):
    """An observer that also sees what the journal says of every tick, before `on_tick`."""

    def on_row(self, numbers: Mapping[str, float], n_late: int, missed: bool, wall_decide: float) -> None:
        """See what the protocol reported, late commands, a missed deadline, and the wall time of the decision, s."""
