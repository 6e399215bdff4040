"""The guard: every pulse passes it before it may reach a culture, simulated or living."""

from bisect import bisect_left, insort
from dataclasses import dataclass

from organoid.errors import StimulationError
from organoid.stimulation.charge import shannon_warning
from organoid.stimulation.electrode_doses import ElectrodeDoses
from organoid.stimulation.profiles import DeviceProfile, device_profile
from organoid.stimulation.pulse_rules import RULES, SLACK
from organoid.stimulation.pulses import Pulse

_DOSE_QUANTUM = 1e-18
_KNOWN = 256  # pulses whose shape is remembered as allowed; a protocol gives few different ones


@dataclass(frozen=True)
class Verdict:
    """Whether a pulse may be given; true where it may.

    Parameters
    ----------
    accepted : bool
    reason : str
        One sentence with numbers where it is refused, else empty.
    limit : str
        The violated field of `DeviceProfile` where it is refused, else empty.
    warning : str
        One sentence where it may be given and yet deserves a thought, else empty.
    """

    accepted: bool
    reason: str = ""
    limit: str = ""
    warning: str = ""

    def __bool__(self) -> bool:
        return self.accepted


_ACCEPTED = Verdict(True)


@dataclass(frozen=True)
class GuardHistory:
    """What a guard remembers: a value that can be stored and put back.

    Parameters
    ----------
    pulses : tuple of (start_frame, stop_frame, electrodes)
        In order of starts; those that can no longer matter are forgotten.
    dose_quanta : int
        Dose given so far in whole 1e-18 C (or V s), so that taking a pulse back is exact.
    net_quanta : tuple of (electrode, quanta)
        Signed sum of the pulses' net areas, electrodes in order; those at 0 are left out.
    electrode_quanta : tuple of (electrode, second, quanta)
        What each electrode was given in each second of the last hour.
    """

    pulses: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    dose_quanta: int = 0
    net_quanta: tuple[tuple[int, int], ...] = ()
    electrode_quanta: tuple[tuple[int, int, int], ...] = ()

    @property
    def dose(self) -> float:
        """Dose given so far, C or V s."""
        return self.dose_quanta * _DOSE_QUANTUM


class StimulationGuard:
    """Check pulses against a device's limits.

    `check` only looks; `admit` checks and remembers, so that rates, overlaps, the session's
    dose and each electrode's dose and net charge are counted over the pulses that were admitted.

    Parameters
    ----------
    profile : DeviceProfile or str
        Limits, or the name of a registered profile.

    Examples
    --------
    >>> guard = StimulationGuard("cl1")
    >>> guard.check(Pulse.biphasic(12, 2e-6, 200e-6)).accepted
    True
    >>> guard.check(Pulse.biphasic(12, 4e-6, 200e-6)).limit
    'max_amplitude'
    """

    def __init__(self, profile: DeviceProfile | str) -> None:
        self.profile = device_profile(profile)
        self._pulses: list[tuple[int, int, tuple[int, ...]]] = []
        self._dose_quanta = 0
        self._net_quanta: dict[int, int] = {}
        self._doses = ElectrodeDoses(self.profile, _DOSE_QUANTUM)
        self._longest = 0
        self._allowed: dict[Pulse, Verdict] = {}

    @property
    def history(self) -> GuardHistory:
        """What was admitted so far."""
        net = tuple(sorted((electrode, quanta) for electrode, quanta in self._net_quanta.items() if quanta))
        return GuardHistory(tuple(self._pulses), self._dose_quanta, net, self._doses.entries())

    def restore(self, history: GuardHistory) -> None:
        """Put a `history` back."""
        self._pulses = list(history.pulses)
        self._dose_quanta = history.dose_quanta
        self._net_quanta = dict(history.net_quanta)
        self._doses.restore(history.electrode_quanta)
        self._longest = max((stop - start for start, stop, _ in self._pulses), default=0)

    def check(self, pulse: Pulse, at_frame: int | None = None) -> Verdict:
        """Say whether a pulse may be given; nothing is remembered.

        Parameters
        ----------
        pulse : Pulse
        at_frame : int, optional
            Start; without it, rates, overlaps with other pulses, and doses of a minute and an hour are not looked at.

        Returns
        -------
        Verdict
        """
        shape = self._check_shape(pulse)
        verdict = shape and self._check_dose(pulse) and self._check_net(pulse)
        if verdict and at_frame is not None:
            verdict = self._check_electrode_doses(pulse, at_frame) and self._check_neighbours(pulse, at_frame)
        return shape if verdict else verdict

    def _check_shape(self, pulse: Pulse) -> Verdict:
        """Apply the rules that look at nothing but the pulse, to each pulse once."""
        known = self._allowed.get(pulse)
        if known is not None:
            return known
        for limit, rule in RULES:
            reason = rule(pulse, self.profile)
            if reason:
                return Verdict(False, reason, limit)
        if len(self._allowed) == _KNOWN:
            self._allowed.clear()
        warning = shannon_warning(pulse, self.profile.electrode_area_um2)
        self._allowed[pulse] = Verdict(True, warning=warning) if warning else _ACCEPTED
        return self._allowed[pulse]

    def admit(self, pulse: Pulse, at_frame: int) -> Verdict:
        """Check a pulse that starts at `at_frame` and, where it may be given, remember it."""
        verdict = self.check(pulse, at_frame)
        if verdict:
            entry = self._entry(pulse, at_frame)
            insort(self._pulses, entry)
            self._longest = max(self._longest, entry[1] - entry[0])
            self._count(pulse, at_frame, 1)
        return verdict

    def release(self, pulse: Pulse, at_frame: int) -> None:
        """Take back an admitted pulse that was not given after all."""
        entry = self._entry(pulse, at_frame)
        index = bisect_left(self._pulses, entry)
        if index == len(self._pulses) or self._pulses[index] != entry:
            raise StimulationError(f"no pulse on electrodes {pulse.electrodes} was admitted for frame {at_frame}")
        del self._pulses[index]
        self._count(pulse, at_frame, -1)

    def _count(self, pulse: Pulse, at_frame: int, sign: int) -> None:
        self._dose_quanta += sign * _quanta(pulse.dose)
        self._doses.add(pulse.electrodes, at_frame, sign * _electrode_quanta(pulse))
        net = sign * _quanta(pulse.net_area)
        if net:
            for electrode in pulse.electrodes:
                self._net_quanta[electrode] = self._net_quanta.get(electrode, 0) + net

    def forget(self, before_frame: int) -> None:
        """Forget pulses too old to matter for any pulse at or after `before_frame`; sums over a session stay."""
        horizon = before_frame - max(self.profile.min_interval_frames, self._longest)
        del self._pulses[: bisect_left(self._pulses, (horizon,))]
        self._doses.forget(before_frame)

    def earliest_free(self, pulse: Pulse, at_frame: int) -> int:
        """Return the first frame, `at_frame` or later, when none of the pulse's electrodes is busy."""
        length = pulse.n_frames(self.profile.frame_rate)
        mine = set(pulse.electrodes)
        frame = at_frame
        for start, stop, electrodes in self._pulses:
            if start >= frame + length:
                break
            if stop > frame and not mine.isdisjoint(electrodes):
                frame = stop
        return frame

    def _entry(self, pulse: Pulse, at_frame: int) -> tuple[int, int, tuple[int, ...]]:
        return at_frame, at_frame + pulse.n_frames(self.profile.frame_rate), pulse.electrodes

    def _check_dose(self, pulse: Pulse) -> Verdict:
        limit = self.profile.max_session_dose
        after = (self._dose_quanta + _quanta(pulse.dose)) * _DOSE_QUANTUM
        if limit is None or after <= limit * (1 + SLACK):
            return _ACCEPTED
        return Verdict(
            False,
            f"with this pulse the session's dose would be {after:g} {self.profile.area_unit}; "
            f"{self.profile.name} allows {limit:g} {self.profile.area_unit}",
            "max_session_dose",
        )

    def _check_electrode_doses(self, pulse: Pulse, at_frame: int) -> Verdict:
        found = self._doses.beyond(pulse.electrodes, at_frame, _electrode_quanta(pulse))
        if found is None:
            return _ACCEPTED
        electrode, quanta, rule = found
        unit = self.profile.area_unit
        return Verdict(
            False,
            f"with this pulse electrode {electrode} would have been given {quanta * _DOSE_QUANTUM:g} {unit} in one "
            f"{rule.span}; {self.profile.name} allows {rule.limit:g} {unit}",
            rule.name,
        )

    def _check_net(self, pulse: Pulse) -> Verdict:
        """Refuse a pulse that takes an electrode beyond the limit, or further beyond it."""
        limit = self.profile.max_net_charge
        net = _quanta(pulse.net_area)
        if limit is None or not net:
            return _ACCEPTED
        for electrode in pulse.electrodes:
            before = self._net_quanta.get(electrode, 0)
            if abs(before + net) > max(_quanta(limit), abs(before)):
                unit = self.profile.area_unit
                return Verdict(
                    False,
                    f"with this pulse a net {(before + net) * _DOSE_QUANTUM:g} {unit} would have passed electrode "
                    f"{electrode}; {self.profile.name} allows {limit:g} {unit}, balance the phases",
                    "max_net_charge",
                )
        return _ACCEPTED

    def _check_neighbours(self, pulse: Pulse, at_frame: int) -> Verdict:
        start, stop, electrodes = self._entry(pulse, at_frame)
        reach = max(self.profile.min_interval_frames, self._longest)
        active = set(electrodes)
        for other in self._pulses[bisect_left(self._pulses, (start - reach,)) :]:
            if other[0] >= max(stop, start + self.profile.min_interval_frames):
                break
            verdict = self._check_pair((start, stop, electrodes), other)
            if not verdict:
                return verdict
            if other[0] < stop and start < other[1]:
                active.update(other[2])
        return self._check_simultaneous(active)

    def _check_pair(self, mine: tuple[int, int, tuple[int, ...]], other: tuple[int, int, tuple[int, ...]]) -> Verdict:
        shared = sorted(set(mine[2]) & set(other[2]))
        gap = abs(mine[0] - other[0])
        overlap = mine[0] < other[1] and other[0] < mine[1]
        if not shared or (gap >= self.profile.min_interval_frames and not overlap):
            return _ACCEPTED
        milliseconds = 1e3 * gap / float(self.profile.frame_rate)
        if overlap:
            reason = f"electrode {shared[0]} would be busy: another pulse on it starts {milliseconds:g} ms away"
            return Verdict(False, reason + " and overlaps", "max_rate")
        return Verdict(
            False,
            f"electrode {shared[0]} has another pulse {milliseconds:g} ms away; {self.profile.name} allows "
            f"{self.profile.max_rate:g} Hz per electrode, {1e3 / self.profile.max_rate:g} ms apart",
            "max_rate",
        )

    def _check_simultaneous(self, active: set[int]) -> Verdict:
        limit = self.profile.max_simultaneous
        if limit is None or len(active) <= limit:
            return _ACCEPTED
        return Verdict(
            False,
            f"{len(active)} electrodes would be stimulated at once, other pulses included; "
            f"{self.profile.name} allows {limit}",
            "max_simultaneous",
        )


def _quanta(area: float) -> int:
    return round(area / _DOSE_QUANTUM)


def _electrode_quanta(pulse: Pulse) -> int:
    """Return what a pulse gives to each of its electrodes."""
    return _quanta(sum(abs(area) for area in pulse.areas))
