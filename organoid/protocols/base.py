"""What the protocols of this package share: parameters that are checked, sites that are bound, a description."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from organoid.closed_loop import DeviceInfo, SessionError
from organoid.protocols.binding import Binding, BindingError
from organoid.stimulation import Pulse

PLAN_COLUMNS = ("site", "pulse", "n_pulses", "upper_bound")


class Parameters(BaseModel):
    """Parameters of a protocol: unknown names are rejected, values are checked, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tick_rate: float = 100.0


class ConfiguredProtocol:
    """A protocol with checked parameters and a binding; sub-classes add `start`, `decide`, `finish`.

    Parameters
    ----------
    sites : mapping, optional
        Logical site to electrode indices.
    stimuli : mapping, optional
        Logical stimulus to its parameters (see `binding.Stimulus`).
    **parameters
        See the sub-class's `Parameters`.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Parameters]] = Parameters
    site_names: ClassVar[tuple[str, ...]] = ("stimulation",)
    stimulus_names: ClassVar[tuple[str, ...]] = ("pulse",)

    def __init__(
        self, *, sites: Mapping[str, Any] | None = None, stimuli: Mapping[str, Any] | None = None, **parameters: Any
    ) -> None:
        try:
            self.parameters = self.Parameters(**parameters)
            self.binding = Binding.of(sites, stimuli)
        except ValidationError as error:
            raise SessionError(f"protocol {self.name!r}: {_first(error)}") from None
        self.binding.check_names(self.site_names, self.stimulus_names, self.name)

    @property
    def tick_rate(self) -> float:
        """Decisions per second, Hz."""
        return self.parameters.tick_rate

    def describe(self) -> dict[str, Any]:
        """Return what is needed to build the protocol again, as plain JSON values."""
        return {"name": self.name, "parameters": self.parameters.model_dump(), **self.binding.to_dict()}

    def pulses(self, info: DeviceInfo, default_count: int, rate: float, together: bool = False) -> tuple[Pulse, ...]:
        """Return the pulses of site "stimulation": one for each electrode, or one on all of them.

        Parameters
        ----------
        info : DeviceInfo
        default_count : int
            How many electrodes to choose where the binding names none.
        rate : float, Hz
            The highest rate at which the pulses are given in turn.
        together : bool

        Raises
        ------
        BindingError
            If electrodes, pulse or rate do not fit the device.
        """
        electrodes = self.binding.electrodes("stimulation", info, default_count)
        groups = [electrodes] if together else [(electrode,) for electrode in electrodes]
        if rate > info.profile.max_rate * len(groups) * (1 + 1e-9):
            raise BindingError(
                f"{rate:g} pulses/s on {len(groups)} electrodes in turn are {rate / len(groups):g} Hz each; "
                f"{info.name} allows {info.profile.max_rate:g} Hz per electrode: lower the rate or name more electrodes"
            )
        return tuple(self.binding.pulse("pulse", group, info) for group in groups)


def plan_table(rows: Sequence[tuple[str, Pulse, int, bool]]) -> pd.DataFrame:
    """Return a plan from (site, pulse, number of pulses, whether that is an upper bound)."""
    return pd.DataFrame(list(rows), columns=list(PLAN_COLUMNS))


def _first(error: ValidationError) -> str:
    """Return the first complaint as one sentence."""
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"]) or "parameters"
    given = f" (given: {found['input']!r})" if not isinstance(found.get("input"), dict) else ""
    return f"{where}: {found['msg']}{given}"
