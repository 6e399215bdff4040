"""What devices can give: limits and grids, by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from organoid.errors import StimulationError
from organoid.stimulation.pulses import UNITS, Phase, Pulse, Unit


@dataclass(frozen=True)
class DeviceProfile:
    """Limits of one stimulator. None means: no such limit.

    Parameters
    ----------
    name : str
    unit : {"A", "V"}
        Current- or voltage-controlled.
    frame_rate : Fraction, Hz
        Frames per second of the device's clock, exact.
    max_amplitude : float, A or V
    width_grid : float, s
        Every phase lasts a whole number of these.
    min_width, max_width : float, s
        Of one phase.
    max_phases : int
        Phases of one pulse, gaps included.
    max_phase_charge : float or None, C
        Through one electrode in one phase; current devices only.
    balance_tolerance : float
        Largest size of the net charge (or volt-seconds), as a fraction of the largest phase.
    max_rate : float, Hz
        Starts of pulses per second and electrode: two starts are at least ``1 / max_rate`` apart.
    allowed_electrodes : set of int or None
        Electrodes that exist; None where only the device knows.
    forbidden_electrodes : set of int
        Electrodes that exist but must not be stimulated.
    max_simultaneous : int or None
        Electrodes stimulated at the same time.
    max_session_dose : float or None, C or V s
        Sum of all phases' sizes over all electrodes, from start to end of a session.
    amplitude_step : float or None, A or V
        Every amplitude is a whole number of these.
    max_net_charge : float or None, C or V s
        Largest size of the signed sum of net areas over a session, for each electrode. It does not decay:
        how fast an electrode discharges depends on the chip, and to count none is the careful side.
    max_minute_dose, max_hour_dose : float or None, C or V s
        Sum of all phases' sizes through each electrode in any minute, and in any hour, of a session.
    electrode_area_um2 : float or None, um2
        Geometric area of an electrode; None where it is unknown. Charge density is then not judged.
    max_charge_density_uc_cm2 : float or None, uC/cm2
        Through one electrode in one phase; current devices only.
    """

    name: str
    unit: Unit
    frame_rate: Fraction
    max_amplitude: float
    width_grid: float
    min_width: float
    max_width: float
    max_phases: int
    max_phase_charge: float | None
    balance_tolerance: float
    max_rate: float
    allowed_electrodes: frozenset[int] | None = None
    forbidden_electrodes: frozenset[int] = frozenset()
    max_simultaneous: int | None = None
    max_session_dose: float | None = None
    amplitude_step: float | None = None
    max_net_charge: float | None = None
    max_minute_dose: float | None = None
    max_hour_dose: float | None = None
    electrode_area_um2: float | None = None
    max_charge_density_uc_cm2: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame_rate", Fraction(self.frame_rate))
        object.__setattr__(self, "forbidden_electrodes", frozenset(self.forbidden_electrodes))
        if self.allowed_electrodes is not None:
            object.__setattr__(self, "allowed_electrodes", frozenset(self.allowed_electrodes))
        self._check()

    def _check(self) -> None:
        if self.unit not in UNITS:
            raise StimulationError(f"profile {self.name!r} has unit {self.unit!r}; expected 'A' or 'V'")
        positive = ("frame_rate", "max_amplitude", "width_grid", "min_width", "max_width", "max_phases", "max_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise StimulationError(f"profile {self.name!r} has {name} {getattr(self, name)}; expected more than 0")
        if self.min_width > self.max_width or not self.balance_tolerance >= 0:
            raise StimulationError(
                f"profile {self.name!r} has widths {self.min_width} to {self.max_width} s and balance tolerance "
                f"{self.balance_tolerance}; expected min_width <= max_width and a tolerance of 0 or more"
            )
        for name in ("max_net_charge", "max_minute_dose", "max_hour_dose", "max_charge_density_uc_cm2"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise StimulationError(f"profile {self.name!r} has {name} {value}; expected 0 or more, or None")
        if self.electrode_area_um2 is not None and not self.electrode_area_um2 > 0:
            raise StimulationError(
                f"profile {self.name!r} has electrode_area_um2 {self.electrode_area_um2}; expected more than 0, or None"
            )

    @property
    def area_unit(self) -> str:
        """Unit of amplitude times width: "C" for current, "V s" for voltage."""
        return "C" if self.unit == "A" else "V s"

    @cached_property
    def min_interval_frames(self) -> int:
        """Least number of frames between two starts on one electrode."""
        rate = Fraction(self.max_rate).limit_denominator(1_000_000)
        return -int(-self.frame_rate // rate)

    def for_electrodes(self, n_electrodes: int, forbidden: Iterable[int] = ()) -> "DeviceProfile":
        """Return the profile for a device with electrodes ``0 .. n_electrodes - 1``.

        Parameters
        ----------
        n_electrodes : int
        forbidden : iterable of int
            Further electrodes that must not be stimulated.
        """
        every = frozenset(range(n_electrodes))
        allowed = every if self.allowed_electrodes is None else every & self.allowed_electrodes
        return replace(
            self, allowed_electrodes=allowed, forbidden_electrodes=self.forbidden_electrodes | frozenset(forbidden)
        )

    def snapped(self, pulse: Pulse) -> Pulse:
        """Return the nearest pulse on the device's grids of width and amplitude.

        Equal and opposite phases stay so; a phase never becomes shorter than one grid step.
        """
        return replace(pulse, phases=tuple(self._snapped_phase(phase) for phase in pulse.phases))

    def _snapped_phase(self, phase: Phase) -> Phase:
        width = max(1, round(phase.width_s / self.width_grid)) * self.width_grid
        if self.amplitude_step is None or phase.amplitude == 0:
            return Phase(phase.amplitude, width)
        steps = max(1, round(abs(phase.amplitude) / self.amplitude_step))
        size = steps * self.amplitude_step
        return Phase(size if phase.amplitude > 0 else -size, width)

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["frame_rate"] = str(self.frame_rate)
        values["forbidden_electrodes"] = sorted(self.forbidden_electrodes)
        if self.allowed_electrodes is not None:
            values["allowed_electrodes"] = sorted(self.allowed_electrodes)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DeviceProfile":
        """Return the profile `to_dict` wrote."""
        try:
            return cls(**values)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise StimulationError(f"cannot read a device profile: {error}") from None


PROFILES: dict[str, DeviceProfile] = {}


def register_profile(profile: DeviceProfile) -> DeviceProfile:
    """Make a profile known by its name; a name that is taken by another profile is rejected."""
    if PROFILES.setdefault(profile.name, profile) != profile:
        raise StimulationError(f"another device profile is already called {profile.name!r}; choose another name")
    return profile


def device_profile(name: "str | DeviceProfile") -> DeviceProfile:
    """Return the profile of that name; a profile is returned as it is."""
    if isinstance(name, DeviceProfile):
        return name
    if name not in PROFILES:
        raise StimulationError(f"no device profile {name!r}; choices: {', '.join(PROFILES)}")
    return PROFILES[name]


# Net charge, in every profile: a choice. It is what one largest phase may carry, so that what imbalance
# leaves behind takes no electrode further from rest than a single allowed phase does.
# Doses of a minute and an hour, in every profile: choices. About 40 of the largest biphasic pulses a second for a
# minute, 7 a second for an hour.
# The electrode of the first profile is a disc of 30 um, a common size on arrays of 60; its limit of charge density is a
# choice between those given for platinum (0.4 mC/cm2) and for rough titanium nitride (several mC/cm2).
# All other numbers of this profile are choices: wide enough for the pulses of the other current profiles.
register_profile(
    DeviceProfile(
        name="simulated",
        unit="A",
        frame_rate=Fraction(20_000),
        max_amplitude=10e-6,
        width_grid=10e-6,
        min_width=10e-6,
        max_width=5e-3,
        max_phases=8,
        max_phase_charge=4e-9,
        balance_tolerance=0.01,
        max_rate=500.0,
        max_session_dose=10e-3,
        max_net_charge=4e-9,
        max_minute_dose=20e-6,
        max_hour_dose=200e-6,
        electrode_area_um2=707.0,
        max_charge_density_uc_cm2=1000.0,
    )
)

# Amplitude, phase charge, width grid, number of phases, rate, clock and grounded channels: as the vendor's
# public kit enforces them. Balance tolerance, longest phase and dose are choices.
register_profile(
    DeviceProfile(
        name="cl1",
        unit="A",
        frame_rate=Fraction(25_000),
        max_amplitude=3e-6,
        width_grid=20e-6,
        min_width=20e-6,
        max_width=10e-3,
        max_phases=3,
        max_phase_charge=3e-9,
        balance_tolerance=0.01,
        max_rate=200.0,
        allowed_electrodes=frozenset(range(64)),
        forbidden_electrodes=frozenset({0, 7, 56, 63}),
        max_session_dose=10e-3,
        max_net_charge=3e-9,
        max_minute_dose=15e-6,
        max_hour_dose=150e-6,
    )
)

# Sample clock, width grid and DAC step: as in public code for that array. The amplitude limit (0.9 V),
# widths, rate, number of electrodes at once (its stimulation units), balance tolerance and dose are choices.
register_profile(
    DeviceProfile(
        name="maxone",
        unit="V",
        frame_rate=Fraction(20_000),
        max_amplitude=0.9,
        width_grid=50e-6,
        min_width=50e-6,
        max_width=5e-3,
        max_phases=8,
        max_phase_charge=None,
        balance_tolerance=0.01,
        max_rate=200.0,
        max_simultaneous=32,
        max_session_dose=1_000.0,
        amplitude_step=2.9e-3,
        max_net_charge=4.5e-3,
        max_minute_dose=1.0,
        max_hour_dose=10.0,
    )
)
