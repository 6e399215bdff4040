"""What a protocol would give, without giving anything: the dry run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from organoid.closed_loop import Block, Command, Delivered, DeviceInfo, Planned, Protocol, Receipt, run_session
from organoid.protocols.base import plan_table
from organoid.stimulation import Pulse, StimulationGuard


@dataclass(frozen=True, eq=False)
class DryRun:
    """Pulses, charge and duration of a session that was not run.

    Parameters
    ----------
    table : DataFrame
        One row for each site and pulse: site, electrodes, amplitude, amplitude_unit, n_pulses, phase_area
        (largest phase, C or V s), dose (sum over pulses, phases and electrodes, C or V s), upper_bound, refused.
    duration : float, s
    method : str
        "planned", "at most", or "with a silent culture" for protocols that do not plan.
    warnings : tuple of str
        Of the device.
    """

    table: pd.DataFrame
    duration: float
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """Totals, as plain JSON values."""
        units = self.table["amplitude_unit"].unique().tolist()
        return {
            "duration_s": self.duration,
            "method": self.method,
            "pulses": int(self.table["n_pulses"].sum()),
            "dose": float(self.table["dose"].sum()),
            "dose_unit": {"A": "C", "V": "V s"}.get(units[0]) if len(units) == 1 else None,
            "refused": [reason for reason in self.table["refused"] if reason],
            "warnings": list(self.warnings),
        }


def dry_run(protocol: Protocol, info: DeviceInfo, duration: float) -> DryRun:
    """Say what a protocol would give on a device.

    Open-loop protocols say it exactly, closed-loop ones give upper bounds. A protocol that does not plan
    (no method `plan`) is run against a culture that never spikes.

    Parameters
    ----------
    protocol : Protocol
    info : DeviceInfo
    duration : float, s

    Returns
    -------
    DryRun

    Raises
    ------
    SessionError
        If sites or stimuli do not fit the device.
    """
    protocol.start(info, np.random.default_rng(0))
    if isinstance(protocol, Planned):
        plan = protocol.plan(info, duration)
        method = "at most" if plan["upper_bound"].any() else "planned"
    else:
        plan, method = _against_silence(protocol, info, duration), "with a silent culture"
    return DryRun(_table(plan, info), float(duration), method, info.warnings)


def _table(plan: pd.DataFrame, info: DeviceInfo) -> pd.DataFrame:
    guard = StimulationGuard(info.profile)
    rows = [
        {
            "site": site,
            "electrodes": pulse.electrodes,
            "amplitude": pulse.peak,
            "amplitude_unit": pulse.unit,
            "n_pulses": int(n),
            "phase_area": max(abs(area) for area in pulse.areas),
            "dose": pulse.dose * int(n),
            "upper_bound": bool(bound),
            "refused": guard.check(pulse).reason,
        }
        for site, pulse, n, bound in plan.itertuples(index=False)
    ]
    columns = ["site", "electrodes", "amplitude", "amplitude_unit", "n_pulses", "phase_area", "dose"]
    return pd.DataFrame(rows, columns=[*columns, "upper_bound", "refused"])


def _against_silence(protocol: Protocol, info: DeviceInfo, duration: float) -> pd.DataFrame:
    device = _Silence(info)
    run_session(protocol, device, duration, progress=False)
    return plan_table([("", pulse, n, False) for pulse, n in device.given.items()])


class _Silence:
    """A device on which nothing ever happens; it counts the pulses it gets."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self.given: dict[Pulse, int] = {}
        self._frame, self._queue = 0, list[Command]()

    def start(self, seed: int) -> None:
        self._frame, self._queue = 0, []

    def advance(self, until_frame: int) -> Block:
        none = np.empty(0, dtype=np.int64)
        due = [command for command in self._queue if (command.at_frame or 0) < until_frame]
        self._queue = [command for command in self._queue if (command.at_frame or 0) >= until_frame]
        for command in due:
            self.given[command.pulse] = self.given.get(command.pulse, 0) + 1
        start, self._frame = self._frame, until_frame
        given = tuple(Delivered(max(command.at_frame or 0, start), command) for command in due)
        return Block(start, until_frame, none, none, given)

    def stimulate(self, commands: Any) -> list[Receipt]:
        self._queue += commands
        return [Receipt(True, command.at_frame) for command in commands]

    def interrupt(self, electrodes: Any = None) -> None:
        self._queue = []

    def close(self) -> None:
        self._queue = []
