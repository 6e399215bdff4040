"""Causal map: which units answer a pulse on which electrode, judged against the time just before each pulse.

Every electrode is stimulated `repeats` times at `rate`, as in the causal-connectivity stage of adaptive training of
organoids (Robbins et al. 2026; public code of BrainDance: 30 repeats at 1 Hz per electrode, 400 mV, 100 us a phase).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from organoid.closed_loop import Command, DeviceInfo, Tick
from organoid.protocols import base
from organoid.protocols.evoked_windows import EvokedWindows, false_discovery_q, paired_p


class CausalMapParameters(base.Parameters):
    """Parameters of `CausalMap`.

    Parameters
    ----------
    repeats : int
        Pulses per electrode.
    rate : float, Hz
        Pulses per second; electrodes take turns.
    start : float, s
        Of the first pulse; time before it lets the culture settle.
    window_start, window_stop : float, s
        Spikes so long after a pulse count as its answer; what comes earlier is direct or artefact.
    level : float
        False discovery rate of the map.
    n_electrodes : int
        How many electrodes to choose where the binding names none.
    """

    tick_rate: float = Field(default=100.0, gt=0)
    repeats: int = Field(default=30, ge=2)
    rate: float = Field(default=1.0, gt=0)
    start: float = Field(default=1.0, gt=0)
    window_start: float = Field(default=0.0, ge=0)
    window_stop: float = Field(default=0.1, gt=0)
    level: float = Field(default=0.05, gt=0, lt=1)
    n_electrodes: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _windows_apart(self) -> "CausalMapParameters":
        if not self.window_start < self.window_stop <= 0.5 / self.rate:
            raise ValueError(
                f"window {self.window_start:g} to {self.window_stop:g} s; it must be positive and, with a baseline as "
                f"long, fit between pulses {1 / self.rate:g} s apart"
            )
        return self


class CausalMap(base.ConfiguredProtocol):
    """Probe electrodes of site "stimulation" in turn, and return who answers.

    The outcome has, for each electrode and unit, ``response`` (spikes per pulse above baseline), ``p`` (paired,
    one-sided) and ``connected`` (at the false discovery rate `level`).

    Examples
    --------
    >>> CausalMap(repeats=10).parameters.rate
    1.0
    """

    name = "causal_map"
    Parameters = CausalMapParameters
    parameters: CausalMapParameters

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the site; nothing has been probed."""
        p = self.parameters
        windows = EvokedWindows.of(info, p.window_start, p.window_stop)
        return {"pulses": self._bound(info), "windows": windows, "next": 0, "origin": None}

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Count what has been evoked, and command the probes that fall due before the next decision but one."""
        windows, k, commands = state["windows"].after(tick), state["next"], []
        origin = tick.block.start_frame if state["origin"] is None else state["origin"]
        horizon = tick.block.stop_frame + 2 * (tick.block.stop_frame - tick.block.start_frame)
        while (
            k < len(state["pulses"]) * self.parameters.repeats
            and (frame := origin + self._frame(k, tick.info)) < horizon
        ):
            site = k % len(state["pulses"])
            command, windows = windows.probe(state["pulses"][site], max(frame, tick.block.stop_frame), site)
            commands.append(command)
            k += 1
        return commands, {**state, "windows": windows, "next": k, "origin": origin}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return the number of probes so far."""
        return {"probes": state["next"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the map."""
        found, pulses = state["windows"].table(), state["pulses"]
        extra = (found["after"] - found["before"]).astype(np.float64)
        rows = [extra[found["kind"] == site] for site in range(len(pulses))]
        p = np.array([paired_p(row) for row in rows]).reshape(len(pulses), -1)
        with np.errstate(invalid="ignore"):
            connected = false_discovery_q(p) <= self.parameters.level
        return {
            "electrodes": [list(pulse.electrodes) for pulse in pulses],
            "probes": len(extra),
            "sham": int(np.sum(~found["delivered"])),
            "response": [row.mean(axis=0) if len(row) else np.full(extra.shape[1], np.nan) for row in rows],
            "p": p,
            "connected": connected,
            "n_connected": int(connected.sum()),
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the probes of a session of `duration` s."""
        pulses, end = self._bound(info), duration * float(info.frame_rate)
        due = [k for k in range(len(pulses) * self.parameters.repeats) if self._frame(k, info) < end]
        counts = [sum(k % len(pulses) == site for k in due) for site in range(len(pulses))]
        return base.plan_table([("stimulation", pulse, n, False) for pulse, n in zip(pulses, counts, strict=True)])

    def _bound(self, info: DeviceInfo) -> tuple[Any, ...]:
        return self.pulses(info, self.parameters.n_electrodes, self.parameters.rate)

    def _frame(self, k: int, info: DeviceInfo) -> int:
        return round((self.parameters.start + k / self.parameters.rate) * float(info.frame_rate))


PROTOCOL = CausalMap
