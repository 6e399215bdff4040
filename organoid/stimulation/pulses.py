"""Pulses and trains of pulses: what is asked of a device, with units and shape."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from organoid.errors import StimulationError

Unit = Literal["A", "V"]
UNITS: tuple[Unit, ...] = ("A", "V")


@dataclass(frozen=True)
class Phase:
    """A segment of constant current or voltage.

    Parameters
    ----------
    amplitude : float, A or V
        Signed; negative is cathodic. Zero is a gap between phases.
    width_s : float, s
    """

    amplitude: float
    width_s: float

    def __post_init__(self) -> None:
        amplitude, width = _number(self.amplitude, "amplitude"), _number(self.width_s, "width")
        if width <= 0:
            raise StimulationError(f"a phase of width {width:g} s; expected a positive width in seconds")
        object.__setattr__(self, "amplitude", amplitude)
        object.__setattr__(self, "width_s", width)

    @property
    def area(self) -> float:
        """Amplitude times width: charge (C) of a current phase, volt-seconds (V s) of a voltage phase."""
        return self.amplitude * self.width_s


@dataclass(frozen=True)
class Pulse:
    """One stimulus: phases that follow each other, the same on every electrode.

    Parameters
    ----------
    phases : sequence of Phase or (amplitude, width) pairs
        In A (or V) and s, in order of time.
    electrodes : sequence of int
        Electrode indices: rows of the device's table of electrodes.
    unit : {"A", "V"}
        What the amplitudes are.

    Raises
    ------
    StimulationError
        If the pulse is malformed. Whether a device may give it is for `StimulationGuard` to say.

    Examples
    --------
    >>> pulse = Pulse([(-1e-6, 200e-6), (1e-6, 200e-6)], [12])
    >>> pulse.duration, pulse.net_charge
    (0.0004, 0.0)
    """

    phases: tuple[Phase, ...]
    electrodes: tuple[int, ...]
    unit: Unit = "A"

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", _phases(self.phases))
        object.__setattr__(self, "electrodes", _electrodes(self.electrodes))
        if self.unit not in UNITS:
            raise StimulationError(f"unit {self.unit!r} of a pulse; expected 'A' (current) or 'V' (voltage)")

    @classmethod
    def biphasic(
        cls,
        electrodes: int | Sequence[int],
        amplitude: float,
        width: float,
        *,
        unit: Unit = "A",
        cathodic_first: bool = True,
        gap: float = 0.0,
    ) -> "Pulse":
        """Return a balanced pulse of two equal and opposite phases.

        Parameters
        ----------
        electrodes : int or sequence of int
        amplitude : float, A or V
            Size of each phase, without sign.
        width : float, s
            Width of each phase.
        unit : {"A", "V"}
        cathodic_first : bool
        gap : float, s
            Pause between the phases.
        """
        size = _size(amplitude)
        first = -size if cathodic_first else size
        middle = [Phase(0.0, gap)] if gap else []
        return cls((Phase(first, width), *middle, Phase(-first, width)), _some(electrodes), unit)

    @classmethod
    def monophasic(
        cls, electrodes: int | Sequence[int], amplitude: float, width: float, *, unit: Unit = "A"
    ) -> "Pulse":
        """Return a single phase of signed `amplitude`: unbalanced, so most devices reject it."""
        return cls((Phase(amplitude, width),), _some(electrodes), unit)

    @cached_property
    def duration(self) -> float:
        """Length of the whole pulse, s."""
        return math.fsum(phase.width_s for phase in self.phases)

    @cached_property
    def peak(self) -> float:
        """Largest size of any phase, A or V."""
        return max(abs(phase.amplitude) for phase in self.phases)

    @cached_property
    def areas(self) -> tuple[float, ...]:
        """Signed amplitude times width of each phase, C or V s."""
        return tuple(phase.area for phase in self.phases)

    @cached_property
    def net_area(self) -> float:
        """Sum of `areas`, C or V s: what is left over on each electrode."""
        return math.fsum(self.areas)

    @cached_property
    def dose(self) -> float:
        """Sum of the sizes of `areas` over phases and electrodes, C or V s."""
        return math.fsum(abs(area) for area in self.areas) * len(self.electrodes)

    @property
    def phase_charges(self) -> tuple[float, ...]:
        """Signed charge of each phase through each electrode, C; current pulses only."""
        self._need_current()
        return self.areas

    @property
    def net_charge(self) -> float:
        """Charge left on each electrode, C; current pulses only."""
        self._need_current()
        return self.net_area

    def _need_current(self) -> None:
        if self.unit != "A":
            raise StimulationError(
                "the charge of a voltage pulse depends on the electrode's impedance; use areas (V s) instead"
            )

    def scaled(self, factor: float) -> "Pulse":
        """Return the pulse with all amplitudes multiplied by `factor`."""
        return replace(self, phases=tuple(Phase(p.amplitude * factor, p.width_s) for p in self.phases))

    def on(self, electrodes: int | Sequence[int]) -> "Pulse":
        """Return the same pulse on other electrodes."""
        return replace(self, electrodes=_some(electrodes))

    def n_frames(self, frame_rate: Fraction) -> int:
        """Return the number of frames the pulse touches when it starts on a frame."""
        return max(1, math.ceil(round(self.duration * float(frame_rate), 6)))

    def to_dict(self) -> dict[str, Any]:
        """Return the whole waveform as plain JSON values."""
        return {
            "unit": self.unit,
            "phases": [[phase.amplitude, phase.width_s] for phase in self.phases],
            "electrodes": list(self.electrodes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Pulse":
        """Return the pulse `to_dict` wrote."""
        try:
            return cls(values["phases"], values["electrodes"], values["unit"])
        except (KeyError, TypeError) as error:
            raise StimulationError(
                f"cannot read a pulse from {values!r}; expected unit, phases and electrodes ({error})"
            ) from None


@dataclass(frozen=True)
class RecordedPulse:
    """A pulse as far as a recording describes it: it can be played to a response that was fitted to pulses.

    Parameters
    ----------
    electrodes : tuple of int
        Electrode indices: rows of the table of electrodes.
    amplitude : float, A or V
        Size of its largest phase; NaN where unknown.
    width_s : float, s
        Of that phase; NaN where unknown.
    unit : str
        "A", "V", or "" where unknown.
    duration : float, s
        Of the whole pulse; NaN where unknown.
    """

    electrodes: tuple[int, ...]
    amplitude: float = math.nan
    width_s: float = math.nan
    unit: str = ""
    duration: float = math.nan

    @classmethod
    def of(cls, pulse: "Pulse | RecordedPulse") -> "RecordedPulse":
        """Return what a response to pulses depends on: the largest phase, the first of equal ones."""
        if isinstance(pulse, RecordedPulse):
            return pulse
        largest = max(pulse.phases, key=lambda phase: abs(phase.amplitude))
        return cls(pulse.electrodes, abs(largest.amplitude), largest.width_s, pulse.unit, pulse.duration)


@dataclass(frozen=True)
class PulseTrain:
    """The same pulse several times at a steady rate.

    Parameters
    ----------
    pulse : Pulse
    count : int
        Number of pulses, 1 or more.
    rate : float, Hz
        Starts of pulses per second.

    Examples
    --------
    >>> train = PulseTrain(Pulse.biphasic([12], 2e-6, 200e-6), count=5, rate=20.0)
    >>> round(train.duration, 4)
    0.2004
    """

    pulse: Pulse
    count: int
    rate: float

    def __post_init__(self) -> None:
        count, rate = _index(self.count, "count of a train"), _number(self.rate, "rate")
        if count < 1:
            raise StimulationError(f"a train of {count} pulses; expected 1 or more")
        if rate <= 0 or (count > 1 and self.pulse.duration * rate > 1 + 1e-9):
            raise StimulationError(
                f"a train at {rate:g} Hz of pulses lasting {self.pulse.duration:g} s; expected a positive rate "
                f"of at most {1 / self.pulse.duration:g} Hz, so that pulses do not overlap"
            )
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "rate", rate)

    @property
    def duration(self) -> float:
        """From the start of the first pulse to the end of the last, s."""
        return (self.count - 1) / self.rate + self.pulse.duration

    def times(self, start: float = 0.0) -> NDArray[np.float64]:
        """Return the start of each pulse, s, shape (count,)."""
        return start + np.arange(self.count) / self.rate

    def frames(self, start_frame: int, frame_rate: Fraction) -> NDArray[np.int64]:
        """Return the start frame of each pulse, shape (count,); rounding never accumulates."""
        step = Fraction(frame_rate) / Fraction(self.rate).limit_denominator(1_000_000)
        return np.array([start_frame + round(k * step) for k in range(self.count)], dtype=np.int64)

    def expand(self, start: float = 0.0) -> list[tuple[float, Pulse]]:
        """Return (time in s, pulse) for each pulse."""
        return [(float(time), self.pulse) for time in self.times(start)]

    def to_dict(self) -> dict[str, Any]:
        """Return the train as plain JSON values."""
        return {"pulse": self.pulse.to_dict(), "count": self.count, "rate": self.rate}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PulseTrain":
        """Return the train `to_dict` wrote."""
        try:
            return cls(Pulse.from_dict(values["pulse"]), values["count"], values["rate"])
        except (KeyError, TypeError) as error:
            raise StimulationError(
                f"cannot read a train from {values!r}; expected pulse, count and rate ({error})"
            ) from None


def _number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise StimulationError(f"{what} {value!r} of a stimulus; expected a number in SI units") from None
    if not math.isfinite(number):
        raise StimulationError(f"{what} {value!r} of a stimulus; expected a finite number")
    return number


def _size(amplitude: Any) -> float:
    size = _number(amplitude, "amplitude")
    if size <= 0:
        raise StimulationError(
            f"amplitude {size:g} of a biphasic pulse; expected its positive size (polarity is set by cathodic_first)"
        )
    return size


def _index(value: Any, what: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return int(operator.index(value))
    except TypeError:
        raise StimulationError(f"{what} {value!r}; expected a whole number") from None


def _some(electrodes: Any) -> tuple[int, ...]:
    return _electrodes(electrodes if isinstance(electrodes, Iterable) else (electrodes,))


def _electrodes(electrodes: Any) -> tuple[int, ...]:
    if isinstance(electrodes, str) or not isinstance(electrodes, Iterable):
        raise StimulationError(f"electrodes {electrodes!r} of a pulse; expected a sequence of electrode indices")
    indices = tuple(_index(electrode, "electrode") for electrode in electrodes)
    if not indices or min(indices) < 0:
        raise StimulationError(f"electrodes {indices} of a pulse; expected at least one index, all 0 or more")
    if len(set(indices)) != len(indices):
        raise StimulationError(f"electrodes {indices} of a pulse; expected each electrode once")
    return indices


def _phases(phases: Any) -> tuple[Phase, ...]:
    if isinstance(phases, Phase) or not isinstance(phases, Iterable):
        raise StimulationError(f"phases {phases!r} of a pulse; expected a sequence of (amplitude, width in s) pairs")
    made = tuple(phase if isinstance(phase, Phase) else _phase(phase) for phase in phases)
    if not any(phase.amplitude for phase in made):
        raise StimulationError(f"phases {made} of a pulse; expected at least one phase that is not zero")
    return made


def _phase(pair: Any) -> Phase:
    try:
        amplitude, width = pair
    except (TypeError, ValueError):
        raise StimulationError(f"phase {pair!r} of a pulse; expected (amplitude in A or V, width in s)") from None
    return Phase(amplitude, width)
