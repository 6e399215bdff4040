"""The simulated tissue: a network on a frame clock that pulses can reach.

A network step covers a whole number of frames. A spike of the network's own gets a seeded frame
inside its step. A pulse acts at its exact frame: the units it recruits spike after a short seeded
delay, and the network feels those spikes, and the volley, from the next step on. On an electrode whose
response was fitted (`organoid.models.spike_response.terms.stimulus`) a pulse acts through its kernels alone, from the
first step that begins with it or after it: they hold the direct spikes and what these set off, which must not come
twice. Every electrode has a resource that its pulses use up and that recovers in seconds
(`organoid.models.spike_response.fatigue`): it scales the kernels, or the volley and what direct spikes add to the
population. In a network with a brake, whose recorded range is known, it scales the probability of direct spikes, and
units that are braked are recruited less.
Every random
number comes from a counter (step, pulse, unit), so nothing depends on how a run is cut into calls,
and spikes before the first pulse are the same as without it.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.culture.calibration import StimulationCalibration, response_warnings
from organoid.culture.frames import coprime_stride, frames_per_step, rank_among_equals
from organoid.culture.geometry import Geometry
from organoid.culture.pulse_checks import check_electrodes, check_frames
from organoid.culture.recruitment import Recruitment
from organoid.culture.tissue_state import _NEVER, Index, TissueBlock, TissueState, _no_index
from organoid.errors import ModelError, StimulationError
from organoid.models.free_running import FreeRunningNetwork, Injection
from organoid.models.rng import stream_key, uniform
from organoid.models.spike_response.terms.pulse_track import PulseTrack
from organoid.models.spike_response.terms.stimulus import NO_FATIGUE, StimulusKernels
from organoid.stimulation import Pulse, RecordedPulse

AnyPulse = Pulse | RecordedPulse
FRAME_RATE = Fraction(20_000)
_CACHED_PULSES = 4096


class Tissue:
    """A network, where its units are, and how pulses reach it.

    Parameters
    ----------
    network : FreeRunningNetwork
    geometry : Geometry
    recruitment : Recruitment, optional
    calibration : StimulationCalibration, optional
    frame_rate : Fraction, Hz

    Raises
    ------
    ModelError
        If a step of the network is not a whole number of frames.
    """

    def __init__(
        self,
        network: FreeRunningNetwork,
        geometry: Geometry,
        recruitment: Recruitment | None = None,
        calibration: StimulationCalibration | None = None,
        frame_rate: Fraction = FRAME_RATE,
    ) -> None:
        self.network = network
        self.geometry = geometry
        self.recruitment = recruitment or Recruitment()
        self.calibration = calibration or StimulationCalibration()
        self.frame_rate = Fraction(frame_rate)
        self.frames_per_step = frames_per_step(network.dt, self.frame_rate)
        self._rate, self._unit_numbers = float(self.frame_rate), np.arange(network.n_units)
        self.stride = coprime_stride(self.frames_per_step)
        self.kernels: StimulusKernels | None = getattr(network, "stimulus", None)
        self._numbers = geometry.electrode_numbers
        fitted = np.zeros(geometry.n_electrodes, dtype=bool)
        if self.kernels is not None:
            fitted = self.kernels.curves_of(self._numbers) >= 0
        own = NO_FATIGUE if self.kernels is None else self.kernels.resource
        self._utilisation = np.where(fitted, own.utilisation, self.recruitment.resource.utilisation)
        self._recovery = np.where(fitted, own.recovery, self.recruitment.resource.recovery)
        self._effects: dict[AnyPulse, tuple[NDArray[np.float64], float]] = {}

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.network.n_units

    @property
    def rate(self) -> float:
        """Frames per second, Hz, as a float."""
        return self._rate

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know: assumptions about positions, missing calibration."""
        return self.geometry.warnings + response_warnings(self.kernels, self._numbers, self.calibration)

    @property
    def status(self) -> str:
        """Whether the response to pulses is calibrated, and on what."""
        return self.calibration.status if self.kernels is None else self.kernels.status

    def describe(self) -> dict[str, Any]:
        """Return network, calibration and recruitment as plain values."""
        return {
            "network": self.network.describe(),
            "calibration": {**self.calibration.describe(), "status": self.status},
            "recruitment": self.recruitment.describe(),
        }

    def initial_state(self, seed: int) -> TissueState:
        """Return the state at frame 0; the seed fixes everything that follows."""
        names = ("frame in step", "recruitment", "latency", "answer")
        keys = [int(stream_key(seed, name)) for name in names]
        return TissueState(
            network=self.network.initial_state(seed),
            step=0,
            frame=0,
            keys=(keys[0], keys[1], keys[2], keys[3]),
            forced_steps=_no_index(),
            forced_units=_no_index(),
            volley_steps=_no_index(),
            volleys=np.empty(0),
            direct_frames=_no_index(),
            direct_units=_no_index(),
            last_spike=np.full(self.n_units, _NEVER, dtype=np.int64),
        )

    def advance(self, state: TissueState, until_frame: int, pulses: Sequence[tuple[int, AnyPulse]] = ()) -> TissueBlock:
        """Let time pass up to, not including, `until_frame`.

        Parameters
        ----------
        state : TissueState
        until_frame : int
        pulses : sequence of (frame, Pulse)
            Pulses that start in ``[state.frame, until_frame)``, in order of frames; the order of
            pulses in one frame is theirs.

        Returns
        -------
        TissueBlock

        Raises
        ------
        StimulationError
            If a pulse lies outside, is out of order, or names an electrode that does not exist.
        """
        self._check_call(state, until_frame, pulses)
        run = _Run(self, state)
        for frame, pulse in pulses:
            run.to(frame)
            if not run.state.runaway:
                run.give(pulse)
        run.to(until_frame)
        return run.block(state.frame)

    def effect(self, pulse: AnyPulse) -> tuple[NDArray[np.float64], float]:
        """Return the recruitment probability of each rested unit and the volley of a pulse.

        Electrodes whose response was fitted recruit no unit.
        """
        found = self._effects.get(pulse)
        if found is None:
            if len(self._effects) >= _CACHED_PULSES:
                self._effects.clear()
            found = self._effects[pulse] = self._direct(pulse)
        return found

    def _direct(self, pulse: AnyPulse) -> tuple[NDArray[np.float64], float]:
        rest = tuple(electrode for electrode in pulse.electrodes if not self.has_kernel(electrode))
        if not rest or isinstance(pulse, RecordedPulse):
            return np.zeros(self.n_units), 0.0
        direct = pulse if len(rest) == len(pulse.electrodes) else replace(pulse, electrodes=rest)
        volley = self.calibration.beta * self.recruitment.neurons_hit(direct) if self.calibration.beta else 0.0
        return self.recruitment.probability(direct, self.geometry.distances), volley

    @property
    def brakes(self) -> bool:
        """Whether the network has a brake."""
        return bool(getattr(self.network, "brakes", False))

    def excitability(self, state: TissueState) -> float:
        """Return the factor a braked network leaves of direct recruitment; 1 inside the recorded range."""
        network: Any = self.network
        return float(np.exp(-network.braked(state.network))) if self.brakes else 1.0

    def has_kernel(self, electrode: int) -> bool:
        """Return whether the response to pulses on an electrode (a row of the table) was fitted."""
        return self.kernels is not None and self.kernels.has(self._numbers[electrode])

    def with_pulse(
        self, pulses: PulseTrack, pulse: AnyPulse, step: int, strengths: NDArray[np.float64], drawn: float
    ) -> PulseTrack:
        """Return the pulses that act through kernels with one more, from `step` on; those long past are left out.

        `strengths` are what fatigue leaves of it on each of its electrodes, `drawn` decides whether it is answered.
        """
        if self.kernels is None:
            return pulses
        kernels, shape = self.kernels, RecordedPulse.of(pulse)
        mine = np.array([self.has_kernel(electrode) for electrode in pulse.electrodes])
        where = self._numbers[list(pulse.electrodes)][mine]
        scaled = not np.isnan(kernels.reference) or kernels.dose is not None
        if where.size and scaled and np.isfinite(shape.amplitude) and shape.unit != kernels.amplitude_unit:
            raise StimulationError(
                f"a pulse in {shape.unit}; the response was fitted to pulses in {kernels.amplitude_unit}: give "
                "pulses, or a device profile, of that unit"
            )
        new = kernels.track(
            np.full(where.size, step), where, np.full(where.size, shape.amplitude), np.full(where.size, shape.unit)
        )
        answer = kernels.dose is None or drawn < kernels.dose.probability(
            np.array(shape.amplitude), np.array(shape.width_s)
        )
        sizes = new.sizes * strengths[mine] * float(answer) * min(1.0, kernels.together / max(where.size, 1))
        return pulses.since(step - kernels.memory).joined(PulseTrack(new.steps, new.curves, sizes))

    def resources(self, state: TissueState, electrodes: Index) -> NDArray[np.float64]:
        """Return what each electrode has recovered of its resource by now."""
        if not state.resource.size:
            return np.ones(electrodes.size)
        elapsed = (state.frame - state.last_pulse[electrodes]) / self.rate
        return np.asarray(1.0 - (1.0 - state.resource[electrodes]) * np.exp(-elapsed / self._recovery[electrodes]))

    def tired(self, state: TissueState, electrodes: Index, found: NDArray[np.float64]) -> TissueState:
        """Return the state after a pulse that used the resource of some electrodes."""
        n = self.geometry.n_electrodes
        left = state.resource.copy() if state.resource.size else np.ones(n)
        last = state.last_pulse.copy() if state.resource.size else np.full(n, _NEVER, dtype=np.int64)
        left[electrodes], last[electrodes] = (1.0 - self._utilisation[electrodes]) * found, state.frame
        return state._replace(resource=left, last_pulse=last)

    def given(self, state: TissueState, pulse: AnyPulse) -> TissueState:
        """Return the state after a pulse, given now: units recruited, their spikes forced, the volley sent."""
        electrodes = np.array(pulse.electrodes, dtype=np.int64)
        found = self.resources(state, electrodes)
        strength = self._direct_strength(pulse, found)
        rested, volley = self.effect(pulse)
        last = state.last_spike.copy()
        last[state.direct_units] = state.direct_frames
        since = (state.frame - last) / self.rate
        counters = state.n_pulses * self.n_units + self._unit_numbers
        drawn = uniform(np.uint64(state.keys[1]), counters)
        excitable = self.excitability(state) * (strength if self.brakes else 1.0)
        hit = np.flatnonzero(drawn < rested * excitable * self.recruitment.availability(since))
        delay = self.recruitment.latency(uniform(np.uint64(state.keys[2]), counters[hit]))
        frames = state.frame + np.maximum(1, np.rint(delay * self.rate)).astype(np.int64)
        step = state.step + int(state.frame > state.step * self.frames_per_step)
        forced = frames // self.frames_per_step
        sent = [(state.step, strength * volley)] if volley else []
        if not self.brakes and strength != 1.0:
            sent += [(when, (strength - 1.0) * self.calibration.gamma) for when in forced.tolist()]
        after = self.tired(state, electrodes, found)._replace(
            n_pulses=state.n_pulses + 1,
            forced_steps=np.concatenate((state.forced_steps, forced)),
            forced_units=np.concatenate((state.forced_units, hit)),
            volley_steps=np.concatenate((state.volley_steps, np.array([when for when, _ in sent], dtype=np.int64))),
            volleys=np.concatenate((state.volleys, np.array([size for _, size in sent], dtype=np.float64))),
            direct_frames=np.concatenate((state.direct_frames, frames)),
            direct_units=np.concatenate((state.direct_units, hit)),
        )
        return after if self.kernels is None else after._replace(pulses=self._acting(state, pulse, step, found))

    def _direct_strength(self, pulse: AnyPulse, found: NDArray[np.float64]) -> float:
        """Return the mean of what is left on the electrodes that act without a kernel; 1 where there is none."""
        if self.kernels is None:
            return float(found.mean())
        direct = np.array([not self.has_kernel(electrode) for electrode in pulse.electrodes])
        return float(found[direct].mean()) if direct.any() else 1.0

    def _acting(self, state: TissueState, pulse: AnyPulse, step: int, found: NDArray[np.float64]) -> PulseTrack:
        """Return the pulses that act through kernels, this one included."""
        assert self.kernels is not None
        answer = float(uniform(np.uint64(state.keys[3]), np.array([state.n_pulses]))[0])
        return self.with_pulse(state.pulses, pulse, step, self.kernels.resource.relative(found), answer)

    def frames_in_step(self, key: int, steps: Index, units: Index) -> Index:
        """Return a frame for each spike: seeded, distinct for spikes of one unit in one step."""
        first = steps * self.n_units + units
        offset = (uniform(np.uint64(key), first) * self.frames_per_step).astype(np.int64)
        if not np.all(first[1:] > first[:-1]):  # in order and each once, as large networks hand them out
            offset = (offset + rank_among_equals(first) * self.stride) % self.frames_per_step
        return steps * self.frames_per_step + offset

    def _check_call(self, state: TissueState, until_frame: int, pulses: Sequence[tuple[int, AnyPulse]]) -> None:
        if state.runaway:
            raise ModelError(f"the network ran away at frame {state.frame}; nothing can follow")
        if until_frame < state.frame:
            raise ModelError(f"cannot advance to frame {until_frame}: the tissue is at frame {state.frame}")
        self.check_pulses(pulses, until_frame, state.frame)

    def check_pulses(self, pulses: Sequence[tuple[int, AnyPulse]], until_frame: int, since: int = 0) -> None:
        """Raise StimulationError where pulses are out of order, outside some frames, or on electrodes there are not."""
        check_frames([frame for frame, _ in pulses], since, until_frame)
        for _, pulse in pulses:
            check_electrodes(pulse, self.geometry.n_electrodes, self.has_kernel)


class _Run:
    """One call of `Tissue.advance` in progress."""

    def __init__(self, tissue: Tissue, state: TissueState) -> None:
        self.tissue = tissue
        self.state = state
        self.parts: list[tuple[Index, Index, NDArray[np.bool_]]] = []

    def to(self, frame: int) -> None:
        """Bring everything up to `frame`: whole steps for good, the rest of a step only looked at."""
        if self.state.runaway:
            return
        per_step = self.tissue.frames_per_step
        begin = self.state.frame
        whole = frame // per_step - self.state.step
        own = self._run_steps(whole) if whole > 0 else (_no_index(), _no_index())
        if self.state.runaway:
            frame = max(begin, self.state.step * per_step)
        if frame > max(self.state.step * per_step, begin) and not self.state.runaway:
            peeked = self._peek()
            own = np.concatenate([own[0], peeked[0]]), np.concatenate([own[1], peeked[1]])
        keep = (own[0] >= begin) & (own[0] < frame)
        own = own if keep.all() else (own[0][keep], own[1][keep])
        self._emit(*own, frame)

    def give(self, pulse: AnyPulse) -> None:
        """Give a pulse now."""
        self.state = self.tissue.given(self.state, pulse)

    def block(self, start_frame: int) -> TissueBlock:
        """Return what happened since `start_frame`."""
        if len(self.parts) == 1:
            frames, units, direct = self.parts[0]
        else:
            frames, units, direct = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        return TissueBlock(start_frame, self.state.frame, frames, units, direct, self.state)

    def _run_steps(self, n_steps: int) -> tuple[Index, Index]:
        state = self.state
        advance = self.tissue.network.advance(state.network, n_steps, self._injection(n_steps))
        step = state.step + advance.n_steps
        forced, volley = state.forced_steps >= step, state.volley_steps >= step
        self.state = state._replace(
            network=advance.state,
            step=step,
            runaway=advance.runaway,
            forced_steps=state.forced_steps[forced],
            forced_units=state.forced_units[forced],
            volley_steps=state.volley_steps[volley],
            volleys=state.volleys[volley],
        )
        return self._own(state, advance.steps, advance.units)

    def _peek(self) -> tuple[Index, Index]:
        """Return the spikes of the step under way as it would go on; the step itself is run later."""
        advance = self.tissue.network.advance(self.state.network, 1, self._injection(1))
        return self._own(self.state, advance.steps, advance.units)

    def _own(self, state: TissueState, steps: Index, units: Index) -> tuple[Index, Index]:
        return self.tissue.frames_in_step(state.keys[0], state.step + steps, units), units

    def _injection(self, n_steps: int) -> Injection | None:
        state, kernels = self.state, self.tissue.kernels
        if not (state.forced_steps.size or state.volleys.size or state.pulses.steps.size):
            return None
        steps = state.forced_steps - state.step
        now = np.flatnonzero(steps < n_steps)
        order = now[np.argsort(steps[now], kind="stable")]
        volley = np.zeros(n_steps)
        soon = state.volley_steps - state.step < n_steps
        np.add.at(volley, state.volley_steps[soon] - state.step, state.volleys[soon])
        drive = () if kernels is None else kernels.drive(state.pulses, state.step, state.step + n_steps)
        return Injection(steps[order], state.forced_units[order], self.tissue.calibration.gamma, volley, *drive)

    def _emit(self, frames: Index, units: Index, until: int) -> None:
        """Hand out the network's own spikes and the direct ones before `until`, in order of frames."""
        state = self.state
        n_own, due = frames.size, state.direct_frames < until
        frames = np.concatenate([frames, state.direct_frames[due]])
        units = np.concatenate([units, state.direct_units[due]])
        order = np.argsort(frames * self.tissue.n_units + units, kind="stable")
        frames, units = frames[order], units[order]
        last = state.last_spike
        if frames.size:
            last = last.copy()
            last[units] = frames
        self.parts.append((frames, units, order >= n_own))
        self.state = state._replace(
            frame=until,
            last_spike=last,
            direct_frames=state.direct_frames[~due],
            direct_units=state.direct_units[~due],
        )
