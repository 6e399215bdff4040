"""What a protocol would give, without giving anything: the dry run."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from organoid.closed_loop import DeviceInfo, LatencyProfile, Planned, Protocol, run_session
from organoid.closed_loop.checked_protocol import CheckedProtocol
from organoid.closed_loop.rehearsal import RehearsalDevice
from organoid.protocols.base import plan_table
from organoid.stimulation import StimulationGuard

_REHEARSED_TICKS = 30_000


@dataclass(frozen=True, eq=False)
class DryRun:
    """Pulses, charge and duration of a session that was not run.

    Parameters
    ----------
    table : DataFrame
        One row for each site and pulse: site, electrodes, amplitude, amplitude_unit, n_pulses, phase_area
        (largest phase, C or V s), dose (sum over pulses, phases and electrodes, C or V s), upper_bound, rejected.
    duration : float, s
    method : str
        "planned", "at most", or "with a silent culture" for protocols that do not plan.
    rejected : DataFrame
        Commands a rehearsal saw rejected, by stage and reason; see `Session.rejections`.
    rehearsal : dict
        ``duration_s`` of the rehearsal, ``late`` commands and ``missed`` ticks in it.
    warnings : tuple of str
        Of the device.
    """

    table: pd.DataFrame
    duration: float
    method: str
    rejected: pd.DataFrame
    rehearsal: dict[str, Any]
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
            "rejected": self.rejected.to_dict("records"),
            "rehearsal": self.rehearsal,
            "warnings": list(self.warnings),
        }


def dry_run(protocol: Protocol, info: DeviceInfo, duration: float, latency: str | LatencyProfile = "ideal") -> DryRun:
    """Return what a protocol would give on a device.

    Open-loop protocols plan it exactly, closed-loop ones give upper bounds. Every protocol is also rehearsed, for at
    most 30,000 ticks, against a culture that never spikes: that shows which commands would be rejected or late, and
    is the answer for protocols that do not plan (no method `plan`; these are rehearsed to the end).

    Parameters
    ----------
    protocol : Protocol
    info : DeviceInfo
    duration : float, s
    latency : str or LatencyProfile

    Returns
    -------
    DryRun

    Raises
    ------
    SessionError
        If sites or stimuli do not fit the device.
    """
    tick_rate = CheckedProtocol(protocol).tick_rate
    device = RehearsalDevice(info)
    planned = isinstance(protocol, Planned)
    rehearsed = min(duration, _REHEARSED_TICKS / float(tick_rate)) if planned else duration
    session = run_session(protocol, device, rehearsed, latency=latency, progress=False)
    if isinstance(protocol, Planned):
        plan = protocol.plan(info, duration)
        method = "at most" if plan["upper_bound"].any() else "planned"
    else:
        plan = plan_table([("", pulse, n, False) for pulse, n in device.given.items()])
        method = "with a silent culture"
    counts = session.outcome["commands"]
    rehearsal = {"duration_s": float(rehearsed), "late": counts["late"], "missed": counts["missed"]}
    return DryRun(_table(plan, info), float(duration), method, session.rejections, rehearsal, info.warnings)


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
