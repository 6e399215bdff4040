"""From logical sites and stimuli of a protocol to electrodes and pulses of a device."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from organoid.closed_loop import DeviceInfo, SessionError
from organoid.closed_loop.probe import DEFAULT_WIDTH, default_pulse, stimulable
from organoid.stimulation import DeviceProfile, Pulse, StimulationGuard


class BindingError(SessionError):
    """A protocol's sites or stimuli do not fit the device; nothing has been started."""


class Stimulus(BaseModel):
    """A balanced pulse of two phases, not yet on any electrode.

    Parameters
    ----------
    amplitude : float, A or V
        Size of each phase.
    width : float, s
        Of each phase.
    unit : {"A", "V"}, optional
        Must be the device's; default: the device's.
    cathodic_first : bool
    gap : float, s
        Between the phases.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    amplitude: float = Field(gt=0, allow_inf_nan=False)
    width: float = Field(default=DEFAULT_WIDTH, gt=0, allow_inf_nan=False)
    unit: Literal["A", "V"] | None = None
    cathodic_first: bool = True
    gap: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def pulse(self, electrodes: Sequence[int], profile: DeviceProfile) -> Pulse:
        """Return the pulse on some electrodes."""
        unit = self.unit or profile.unit
        return Pulse.biphasic(
            electrodes, self.amplitude, self.width, unit=unit, cathodic_first=self.cathodic_first, gap=self.gap
        )


class Binding(BaseModel):
    """What a protocol's names mean on one device; what is left out is chosen by rule.

    Parameters
    ----------
    sites : dict of str to list of int
        Logical site to electrode indices (rows of the device's table of electrodes).
    stimuli : dict of str to Stimulus
        Logical stimulus to waveform.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sites: dict[str, tuple[int, ...]] = {}
    stimuli: dict[str, Stimulus] = {}

    def check_names(self, sites: Sequence[str], stimuli: Sequence[str], protocol: str) -> None:
        """Reject names the protocol does not know."""
        for given, known, what in ((self.sites, sites, "site"), (self.stimuli, stimuli, "stimulus")):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise BindingError(f"protocol {protocol!r} has no {what} {unknown[0]!r}; it has: {', '.join(known)}")

    def electrodes(self, site: str, info: DeviceInfo, default_count: int) -> tuple[int, ...]:
        """Return the electrodes of a site, checked; without an entry those of `default_electrodes`."""
        chosen = self.sites[site] if site in self.sites else default_electrodes(info, default_count)
        if not chosen:
            raise BindingError(f"site {site!r} has no electrode; {info.name} has {len(info.electrodes)}")
        allowed = stimulable(info)
        for index in chosen:
            if not 0 <= index < len(info.electrodes):
                raise BindingError(
                    f"site {site!r} names electrode {index}; {info.name} has electrodes 0 to {len(info.electrodes) - 1}"
                )
            if not allowed[index]:
                raise BindingError(f"site {site!r} names electrode {index}, which {info.name} cannot stimulate")
        return tuple(int(index) for index in chosen)

    def pulse(self, stimulus: str, electrodes: Sequence[int], info: DeviceInfo) -> Pulse:
        """Return a stimulus on some electrodes, on the device's grid and within its limits."""
        if stimulus in self.stimuli:
            pulse = self.stimuli[stimulus].pulse(electrodes, info.profile)
        else:
            pulse = default_pulse(info.profile, tuple(electrodes))
        return self.checked(stimulus, pulse, info)

    def checked(self, stimulus: str, pulse: Pulse, info: DeviceInfo) -> Pulse:
        """Return a pulse made for a stimulus; one outside the device's limits is an error."""
        verdict = StimulationGuard(info.profile).check(pulse)
        if not verdict:
            raise BindingError(f"stimulus {stimulus!r} does not fit {info.name}: {verdict.reason}")
        return pulse

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "sites": {name: list(chosen) for name, chosen in self.sites.items()},
            "stimuli": {name: stimulus.model_dump() for name, stimulus in self.stimuli.items()},
        }

    @classmethod
    def of(cls, sites: Mapping[str, Any] | None, stimuli: Mapping[str, Any] | None) -> "Binding":
        """Build from plain values; one electrode may stand for a list of one."""
        listed = {name: [x] if isinstance(x, int) else x for name, x in (sites or {}).items()}
        return cls.model_validate({"sites": listed, "stimuli": dict(stimuli or {})})


def default_electrodes(info: DeviceInfo, count: int) -> tuple[int, ...]:
    """Choose electrodes by rule: those that are the nearest stimulable one of the most units.

    Ties go to the lower index. Where positions are unknown, a unit counts for the electrode it was
    seen on; where that is unknown too, for none.

    Parameters
    ----------
    info : DeviceInfo
    count : int
        How many, at most.
    """
    candidates = np.flatnonzero(stimulable(info))
    votes = np.zeros(candidates.size)
    if candidates.size == 0:
        return ()
    own, theirs = _places(info.units), _places(info.electrodes)[candidates]
    labels = info.electrodes["electrode"].to_numpy(dtype=float, na_value=np.nan)[candidates]
    for place, label in zip(own, info.units["electrode"].to_numpy(dtype=float, na_value=np.nan), strict=True):
        distance = np.hypot(*(theirs - place).T)
        if np.isfinite(distance).any():
            votes[np.nanargmin(distance)] += 1
        elif (labels == label).any():
            votes[np.argmax(labels == label)] += 1
    order = np.lexsort((candidates, -votes))
    return tuple(int(index) for index in candidates[order[:count]])


def _places(table: Any) -> NDArray[np.float64]:
    columns = [table[name].to_numpy(dtype=float, na_value=np.nan) for name in ("x_um", "y_um")]
    return np.stack(columns, axis=1)
