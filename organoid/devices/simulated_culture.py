"""`SimulatedCulture`: a fitted network behind virtual electrodes, as a device."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Block, Command, Delivered, DeviceInfo, Receipt
from organoid.culture.calibration import GAINS, StimulationCalibration, drawn_calibration
from organoid.culture.energy import fan_out
from organoid.culture.geometry import place
from organoid.culture.readout import Detector, Readout, ReadoutState
from organoid.culture.recruitment import TIRING, Recruitment
from organoid.culture.running import RunningCultures, network_of
from organoid.culture.serialization import can_store, read_network, read_settings, write_network, write_settings
from organoid.culture.source import Source, find_source
from organoid.culture.tissue import Tissue
from organoid.culture.tissue_state import TissueState
from organoid.devices.culture_batch import CultureBatch
from organoid.devices.pulse_queue import Planned, PulseQueue
from organoid.errors import DeviceError
from organoid.hdf5.layout import read_table, write_table
from organoid.recording.validation import electrode_table, unit_table
from organoid.stimulation import DeviceProfile, GuardHistory, Pulse, device_profile

_NETWORK, _UNITS, _ELECTRODES, _PROFILE, _BLANKING = "network", "units", "electrodes", "profile", "blanking_s"
_RESPONSE, _READOUT = "response", "readout"
AS_GIVEN, ENSEMBLE = "as given", "ensemble"


@dataclass(frozen=True)
class CultureSnapshot:
    """Everything that decides the future of a `SimulatedCulture`.

    Parameters
    ----------
    tissue : TissueState
    queue : tuple of Planned
    recent : tuple of (frame, Pulse)
        Pulses whose blanking may still last.
    guard : GuardHistory
    n_commands, n_blanked, n_operations : int
    readout : ReadoutState, optional
    """

    tissue: TissueState
    queue: tuple[Planned, ...]
    recent: tuple[tuple[int, Pulse], ...]
    guard: GuardHistory
    n_commands: int
    n_blanked: int
    n_operations: int = 0
    readout: ReadoutState | None = None


class SimulatedCulture:
    """A culture made of a network: it runs freely and responds to pulses.

    Pulses are given at their exact frame; the network feels them from its next step on. A pulse
    for an electrode that is busy waits until it is free; everything else the guard rejects, pulses
    that follow each other too fast included. If the network runs away, the block ends early and
    the next `advance` raises.

    Parameters
    ----------
    network_or_result : FreeRunningNetwork, FitResult or preset
    recruitment : Recruitment, optional
        How pulses recruit units directly; free parameters. Default: `organoid.culture.recruitment.TIRING`.
    calibration : StimulationCalibration, optional
        Default: the result's own, else uncalibrated (with a warning).
    electrodes, units : DataFrame, optional
        As in `SpikeRecording`; default: the result's own, else electrodes at the units' positions.
    profile : DeviceProfile or str
        Limits of stimulation and the frame rate. Electrodes of this culture that cannot be
        stimulated are forbidden on top.
    response : str
        "as given", or "ensemble": how strongly direct spikes enter the population, which spontaneous spikes do not
        determine, is drawn for every start from `organoid.culture.calibration.GAINS`, so that sessions with several
        seeds show what depends on it. For responses that are not calibrated.
    blanking : float, s
        After each pulse, spikes of the units nearest to a stimulated electrode go undetected for so
        long, as behind a stimulus artefact. They happen all the same, and `n_blanked` counts them.
    readout : Readout, optional
        What detection makes of the spikes: misses, dead time, false positives, artefacts. Default: all that happened.

    Examples
    --------
    >>> culture = SimulatedCulture(organoid.preset("bursting_culture"))  # doctest: +SKIP
    >>> culture.start(seed=1)  # doctest: +SKIP
    >>> culture.stimulate([Command(Pulse.biphasic(12, 2e-6, 200e-6))])  # doctest: +SKIP
    >>> block = culture.advance(2_000)  # doctest: +SKIP
    """

    def __init__(
        self,
        network_or_result: Any,
        *,
        recruitment: Recruitment | None = None,
        calibration: StimulationCalibration | None = None,
        electrodes: pd.DataFrame | None = None,
        profile: DeviceProfile | str = "simulated",
        units: pd.DataFrame | None = None,
        blanking: float = 0.0,
        response: str = "as given",
        readout: Readout | None = None,
    ) -> None:
        source = find_source(network_or_result)
        self._response = _checked_response(response, source)
        self._units = source.units if units is None else units
        self._electrodes = source.electrodes if electrodes is None else electrodes
        geometry = place(source.network.n_units, self._units, self._electrodes, source.responding, source.all_respond)
        self._profile, self._blanking = device_profile(profile), float(blanking)
        limits = self._profile.for_electrodes(geometry.n_electrodes, geometry.unreachable.tolist())
        calibration = calibration or source.calibration
        self._tissue = Tissue(source.network, geometry, recruitment or TIRING, calibration, limits.frame_rate)
        self._blanking_frames = _frames(blanking, limits.frame_rate)
        self._nearest, self._readout = geometry.nearest_electrode, readout
        self._detector: Detector | None = None
        if readout is not None:
            self._detector = Detector(readout, self._nearest, geometry.n_electrodes, float(limits.frame_rate))
        self._info = _describe(self._tissue, limits, blanking, response, readout)
        self._given = self._tissue.calibration
        self._network = network_of(self._tissue)
        self._fan_out = fan_out(source.network)
        self._state: TissueState | None = None
        self._running: RunningCultures | None = None
        self._operations = 0
        self._queue = PulseQueue(limits)
        self._recent: list[tuple[int, Pulse]] = []
        self._n_blanked = 0

    @property
    def info(self) -> DeviceInfo:
        """What the device is, its network, calibration and recruitment included."""
        return self._info

    @property
    def frame(self) -> int:
        """The current frame."""
        return self._living()

    @property
    def calibration(self) -> StimulationCalibration:
        """How pulses enter the population in this run: drawn at `start` where the response is an ensemble."""
        return self._tissue.calibration

    @property
    def n_blanked(self) -> int:
        """Spikes that went undetected behind stimuli since the start."""
        return self._n_blanked

    def start(self, seed: int) -> None:
        """Begin at frame 0 with a resting network; the seed fixes everything that follows."""
        if self._response == ENSEMBLE:
            self._tissue.calibration = drawn_calibration(self._given, seed)
        self._begin(self._tissue.initial_state(seed))
        self._operations = 0
        self._queue, self._recent = PulseQueue(self._info.profile), []
        self._n_blanked = 0
        if self._detector is not None:
            self._detector.start(seed)

    def advance(self, until_frame: int) -> Block:
        """Let time pass up to, not including, `until_frame`.

        Returns
        -------
        Block
            Shorter than asked where the network ran away.

        Raises
        ------
        DeviceError
            If the device was not started, has run away, or `until_frame` has passed.
        """
        start = self._living()
        if self._ran_away():
            raise DeviceError(
                f"the network ran away at {self._info.to_seconds(start):g} s: it fired beyond its limit "
                "and was stopped; start again, with another fit or weaker stimulation"
            )
        if until_frame < start:
            raise DeviceError(f"cannot advance to frame {until_frame}; the culture is at frame {start}")
        due = self._queue.due(until_frame)
        frames, units = self._advance(until_frame, due)
        stop = self._living()
        given = tuple(Delivered(planned.frame, planned.command) for planned in due if planned.frame < stop)
        if units.size and self._fan_out is not None:
            self._operations += int(self._fan_out[units].sum())
        if self._blanking_frames:
            seen = self._seen(start, frames, units, given)
            frames, units = frames[seen], units[seen]
        self._queue.forget(stop)
        if self._detector is None:
            return Block(start, stop, frames, units, given)
        begins = [delivered.frame for delivered in given]
        frames, units, blind = self._detector.detect(start, stop, frames, units, begins)
        return Block(start, stop, frames, units, given, unobserved=blind)

    def _advance(self, until_frame: int, due: Sequence[Planned]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Let time pass, giving pulses on the way; returns frames and units of all spikes."""
        if self._running is None:
            assert self._state is not None
            pulses = [(planned.frame, planned.command.pulse) for planned in due]
            block = self._tissue.advance(self._state, until_frame, pulses)
            self._state = block.state
            return block.spike_frames, block.spike_units
        if not due:
            return self._running.advance(until_frame)[0]
        self._tissue.check_pulses([(planned.frame, planned.command.pulse) for planned in due], until_frame)
        parts = []
        for planned in due:
            parts += self._running.advance(planned.frame)
            if self._ran_away():
                break
            self._running.give(0, planned.command.pulse)
        parts += self._running.advance(until_frame)
        frames, units = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return frames, units

    def work(self) -> dict[str, float]:
        """Return the synaptic operations since the start (connections that spikes crossed), where they are known."""
        return {} if self._fan_out is None else {"synaptic_operations": self._operations}

    def stimulate(self, commands: Sequence[Command]) -> Sequence[Receipt]:
        """Plan pulses for the current frame or later; each is checked by the guard."""
        now = self._living()
        return [self._queue.plan(command, now) for command in commands]

    def interrupt(self, electrodes: Sequence[int] | None = None) -> None:
        """Drop waiting pulses: all, or those that use any of these electrodes (on all of theirs)."""
        self._living()
        self._queue.drop(electrodes)

    def snapshot(self) -> CultureSnapshot:
        """Return everything that decides the future; it can be restored any number of times."""
        return CultureSnapshot(
            self._tissue_state(),
            self._queue.waiting,
            tuple(self._recent),
            self._queue.history,
            self._queue.n_commands,
            self._n_blanked,
            self._operations,
            None if self._detector is None else self._detector.state,
        )

    def restore(self, snapshot: CultureSnapshot) -> None:
        """Go back to a snapshot of this culture, or of one made in the same way."""
        self._begin(snapshot.tissue)
        self._operations = snapshot.n_operations
        self._queue.restore(snapshot.queue, snapshot.guard, snapshot.n_commands)
        self._recent, self._n_blanked = list(snapshot.recent), snapshot.n_blanked
        if self._detector is not None and snapshot.readout is not None:
            self._detector.state = snapshot.readout

    def side_by_side(self, seeds: Sequence[int]) -> CultureBatch | None:
        """Return cultures like this one, one for each seed, that advance together; None where they cannot.

        They can where the network is a spike-response network whose response to pulses was not fitted, nothing is
        blanked, every spike is detected, and the response is not drawn again for every seed.
        """
        if self._network is None or self._blanking_frames or self._detector or self._response == ENSEMBLE:
            return None
        return CultureBatch(self._tissue, self._info, seeds, self._fan_out)

    def close(self) -> None:
        """Drop waiting pulses and stop."""
        self._state = self._running = None
        self._queue, self._recent = PulseQueue(self._info.profile), []

    def write_to(self, group: h5py.Group) -> None:
        """Write into an empty group all that `read_from` needs; nothing where the network cannot be stored."""
        if not can_store(self._tissue.network):
            return
        write_network(group.create_group(_NETWORK), self._tissue.network)
        write_settings(group, self._tissue.recruitment, self._given)
        group.attrs[_RESPONSE] = self._response
        group.attrs[_PROFILE] = json.dumps(self._profile.to_dict())
        group.attrs[_BLANKING] = self._blanking
        if self._readout is not None:
            group.attrs[_READOUT] = json.dumps(self._readout.describe())
        for name, table in ((_UNITS, self._units), (_ELECTRODES, self._electrodes)):
            if table is not None:
                write_table(group, name, table)

    @classmethod
    def read_from(cls, group: h5py.Group) -> "SimulatedCulture":
        """Build the culture again from what `write_to` left."""
        if _NETWORK not in group:
            raise DeviceError("this session holds no network to build the culture from: its kind cannot be stored")
        recruitment, calibration = read_settings(group)
        return cls(
            read_network(group[_NETWORK]),
            recruitment=recruitment,
            calibration=calibration,
            electrodes=read_table(group, _ELECTRODES) if _ELECTRODES in group else None,
            profile=DeviceProfile.from_dict(json.loads(group.attrs[_PROFILE])),
            units=read_table(group, _UNITS) if _UNITS in group else None,
            blanking=float(group.attrs[_BLANKING]),
            response=str(group.attrs.get(_RESPONSE, AS_GIVEN)),  # absent in sessions of earlier versions
            readout=Readout(**json.loads(group.attrs[_READOUT])) if _READOUT in group.attrs else None,
        )

    def _begin(self, state: TissueState) -> None:
        """Go on from a state: compiled ticks where the network allows it, else step by step."""
        self._state, self._running = state, None
        if self._network is not None:
            self._state, self._running = None, RunningCultures(self._tissue, [state])

    def _living(self) -> int:
        """Return the current frame."""
        if self._running is not None:
            return self._running.frame
        if self._state is None:
            raise DeviceError("the culture is not running; call start(seed) first")
        return self._state.frame

    def _ran_away(self) -> bool:
        if self._running is not None:
            return bool(self._running.ran_away[0] >= 0)
        return self._state is not None and self._state.runaway

    def _tissue_state(self) -> TissueState:
        self._living()
        if self._running is not None:
            return self._running.snapshot()
        assert self._state is not None
        return self._state

    def _seen(
        self, start: int, frames: NDArray[np.int64], units: NDArray[np.int64], given: Sequence[Delivered]
    ) -> NDArray[np.bool_]:
        """Return which spikes are detected, and remember pulses whose blanking goes on."""
        seen = np.ones(frames.size, dtype=bool)
        self._recent += [(delivered.frame, delivered.command.pulse) for delivered in given]
        self._recent = [(frame, pulse) for frame, pulse in self._recent if frame + self._blanking_frames > start]
        for frame, pulse in self._recent:
            blind = np.isin(self._nearest[units], pulse.electrodes)
            seen &= ~(blind & (frames >= frame) & (frames < frame + self._blanking_frames))
        self._n_blanked += int(np.sum(~seen))
        return seen


def _frames(seconds: float, frame_rate: Fraction) -> int:
    if not (np.isfinite(seconds) and seconds >= 0):
        raise DeviceError(f"blanking of {seconds!r} s; expected 0 or more")
    return round(seconds * float(frame_rate))


def _checked_response(response: str, source: Source) -> str:
    if response not in (AS_GIVEN, ENSEMBLE):
        raise DeviceError(f"response={response!r}; expected {AS_GIVEN!r} or {ENSEMBLE!r}")
    if response == ENSEMBLE and source.responding is not None:
        raise DeviceError(
            "response='ensemble' draws how strong responses are; those of this fit were fitted to recorded pulses: "
            "leave it out"
        )
    return response


def _describe(
    tissue: Tissue, profile: DeviceProfile, blanking: float, response: str, readout: Readout | None
) -> DeviceInfo:
    units = tissue.geometry.units
    known = unit_table(units if len(units.columns) else None, tissue.n_units)
    warnings = tissue.warnings
    if response == ENSEMBLE:
        warnings += (f"the gain of responses is drawn at every start: {GAINS.describe()}",)
    if blanking:
        warnings += (f"spikes at stimulated electrodes go undetected for {1e3 * blanking:g} ms after each pulse",)
    description = {**tissue.describe(), "profile": profile.name, "blanking_s": blanking, "response": response}
    if readout is not None:
        description["readout"] = readout.describe()
    return DeviceInfo(
        name="simulated_culture",
        frame_rate=profile.frame_rate,
        units=known,
        electrodes=electrode_table(tissue.geometry.electrodes, known),
        profile=profile,
        description=description,
        warnings=warnings,
    )
