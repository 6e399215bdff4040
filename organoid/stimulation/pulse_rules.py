"""Rules that look at nothing but one pulse: each gives the reason for rejecting it, or an empty text."""

from collections.abc import Callable
from itertools import pairwise

from organoid.stimulation.charge import charge_density
from organoid.stimulation.profiles import DeviceProfile
from organoid.stimulation.pulses import Pulse

SLACK = 1e-9  # relative, for rounding
_ON_GRID = 1e-6


def _unit(pulse: Pulse, profile: DeviceProfile) -> str:
    names = {"A": "current (A)", "V": "voltage (V)"}
    if pulse.unit == profile.unit:
        return ""
    return f"the pulse is a {names[pulse.unit]} pulse; {profile.name} gives {names[profile.unit]}"


def _electrode_exists(pulse: Pulse, profile: DeviceProfile) -> str:
    if profile.allowed_electrodes is None:
        return ""
    missing = sorted(set(pulse.electrodes) - profile.allowed_electrodes)
    if not missing:
        return ""
    return f"electrode {missing[0]} does not exist on {profile.name}, which has {len(profile.allowed_electrodes)}"


def _electrode_forbidden(pulse: Pulse, profile: DeviceProfile) -> str:
    refused = sorted(set(pulse.electrodes) & profile.forbidden_electrodes)
    return f"electrode {refused[0]} of {profile.name} must not be stimulated" if refused else ""


def _simultaneous(pulse: Pulse, profile: DeviceProfile) -> str:
    if profile.max_simultaneous is None or len(pulse.electrodes) <= profile.max_simultaneous:
        return ""
    return f"the pulse uses {len(pulse.electrodes)} electrodes; {profile.name} allows {profile.max_simultaneous}"


def _phase_count(pulse: Pulse, profile: DeviceProfile) -> str:
    if len(pulse.phases) <= profile.max_phases:
        return ""
    return f"the pulse has {len(pulse.phases)} phases; {profile.name} allows {profile.max_phases}"


def _amplitude(pulse: Pulse, profile: DeviceProfile) -> str:
    if pulse.peak <= profile.max_amplitude * (1 + SLACK):
        return ""
    return f"amplitude {pulse.peak:g} {pulse.unit}; {profile.name} allows {profile.max_amplitude:g} {profile.unit}"


def _amplitude_grid(pulse: Pulse, profile: DeviceProfile) -> str:
    step = profile.amplitude_step
    if step is None:
        return ""
    for phase in pulse.phases:
        if not _on_grid(phase.amplitude, step):
            nearest = round(phase.amplitude / step) * step
            return (
                f"amplitude {phase.amplitude:g} {pulse.unit} is not a whole number of {step:g} {pulse.unit} steps "
                f"of {profile.name}; the nearest is {nearest:g} {pulse.unit}"
            )
    return ""


def _width(pulse: Pulse, profile: DeviceProfile, limit: str) -> str:
    for phase in pulse.phases:
        width = phase.width_s
        broken = {
            "width_grid": not _on_grid(width, profile.width_grid),
            "min_width": width < profile.min_width * (1 - SLACK),
            "max_width": width > profile.max_width * (1 + SLACK),
        }[limit]
        if broken:
            return (
                f"a phase lasts {1e6 * width:g} us; {profile.name} allows {1e6 * profile.min_width:g} to "
                f"{1e6 * profile.max_width:g} us in steps of {1e6 * profile.width_grid:g} us"
            )
    return ""


def _phase_charge(pulse: Pulse, profile: DeviceProfile) -> str:
    limit = profile.max_phase_charge
    largest = max(abs(area) for area in pulse.areas)
    if limit is None or pulse.unit != "A" or largest <= limit * (1 + SLACK):
        return ""
    return f"a phase carries {1e9 * largest:g} nC; {profile.name} allows {1e9 * limit:g} nC"


def _charge_density(pulse: Pulse, profile: DeviceProfile) -> str:
    limit, density = profile.max_charge_density_uc_cm2, charge_density(pulse, profile.electrode_area_um2)
    if limit is None or density is None or density <= limit * (1 + SLACK):
        return ""
    return (
        f"a phase carries {density:g} uC/cm2 through electrodes of {profile.electrode_area_um2:g} um2; "
        f"{profile.name} allows {limit:g} uC/cm2"
    )


def _balance(pulse: Pulse, profile: DeviceProfile) -> str:
    largest = max(abs(area) for area in pulse.areas)
    if abs(pulse.net_area) <= (profile.balance_tolerance + SLACK) * largest:
        return ""
    return (
        f"the pulse is not balanced: {pulse.net_area:g} {profile.area_unit} is left of a largest phase of "
        f"{largest:g} {profile.area_unit}; {profile.name} allows {profile.balance_tolerance:g} of it"
    )


def _alternation(pulse: Pulse, profile: DeviceProfile) -> str:
    signs = [phase.amplitude > 0 for phase in pulse.phases if phase.amplitude]
    if all(a != b for a, b in pairwise(signs)):
        return ""
    return f"two phases in a row have the same sign; {profile.name} expects phases of alternating sign"


def _on_grid(value: float, step: float) -> bool:
    steps = value / step
    return abs(steps - round(steps)) <= _ON_GRID


RULES: tuple[tuple[str, Callable[[Pulse, DeviceProfile], str]], ...] = (
    ("unit", _unit),
    ("allowed_electrodes", _electrode_exists),
    ("forbidden_electrodes", _electrode_forbidden),
    ("max_simultaneous", _simultaneous),
    ("max_phases", _phase_count),
    ("min_width", lambda pulse, profile: _width(pulse, profile, "min_width")),
    ("max_width", lambda pulse, profile: _width(pulse, profile, "max_width")),
    ("width_grid", lambda pulse, profile: _width(pulse, profile, "width_grid")),
    ("max_amplitude", _amplitude),
    ("amplitude_step", _amplitude_grid),
    ("max_phase_charge", _phase_charge),
    ("max_charge_density_uc_cm2", _charge_density),
    ("alternation", _alternation),
    ("balance_tolerance", _balance),
)
