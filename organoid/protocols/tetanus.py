"""Tetanus: probe, stimulate at high frequency, rest, probe again, and compare the answers.

Bursts at 10 Hz for 60 s, pulses of a burst 5 ms apart, as in public code for adaptive training of organoids
(BrainDance; tetanus between causal maps); a culture that learns changes its answer, one without plasticity must not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from organoid.closed_loop import Command, DeviceInfo, Tick
from organoid.protocols import base
from organoid.protocols.evoked_windows import EvokedWindows
from organoid.stimulation import Pulse

_SHUFFLES = 2000
_BEFORE, _AFTER = 0, 1


class TetanusParameters(base.Parameters):
    """Parameters of `Tetanus`.

    Parameters
    ----------
    probes : int
        Pulses before, and as many after.
    probe_interval : float, s
        Between probes.
    start : float, s
        Of the first probe.
    burst_rate : float, Hz
        Bursts per second of the tetanus.
    burst_pulses : int
        Pulses of a burst; electrodes of the site take turns.
    pulse_interval : float, s
        Between the pulses of a burst.
    duration : float, s
        Of the tetanus; 0 is the control without one.
    rest : float, s
        Between tetanus and probes.
    window_start, window_stop : float, s
        Spikes so long after a probe count as its answer.
    n_electrodes : int
        How many electrodes to choose where the binding names none.
    """

    tick_rate: float = Field(default=50.0, gt=0)
    probes: int = Field(default=30, ge=2)
    probe_interval: float = Field(default=1.0, gt=0)
    start: float = Field(default=1.0, gt=0)
    burst_rate: float = Field(default=10.0, gt=0)
    burst_pulses: int = Field(default=4, ge=1)
    pulse_interval: float = Field(default=5e-3, gt=0)
    duration: float = Field(default=60.0, ge=0)
    rest: float = Field(default=5.0, ge=0)
    window_start: float = Field(default=0.0, ge=0)
    window_stop: float = Field(default=0.1, gt=0)
    n_electrodes: int = Field(default=1, ge=1)


class Tetanus(base.ConfiguredProtocol):
    """Probes, tetanus and probes on site "stimulation".

    The outcome has the mean answer before and after (spikes per probe above baseline), their difference in units of the
    pooled standard deviation (Cohen's d) and its two-sided permutation p.

    Examples
    --------
    >>> Tetanus(duration=10.0).session_seconds
    76.0
    """

    name = "tetanus"
    Parameters = TetanusParameters
    parameters: TetanusParameters

    @property
    def session_seconds(self) -> float:
        """How long a session must be to hold everything, s."""
        p = self.parameters
        return p.start + 2 * p.probes * p.probe_interval + p.duration + p.rest

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the site and lay out the whole schedule."""
        p, pulses = self.parameters, self._bound(info)
        windows = EvokedWindows.of(info, p.window_start, p.window_stop)
        return {"pulses": pulses, "windows": windows, "next": 0, "origin": None, "shuffle": int(rng.integers(2**31))}

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Count what has been evoked, and command what falls due before the next decision but one."""
        windows, k, commands = state["windows"].after(tick), state["next"], []
        origin = tick.block.start_frame if state["origin"] is None else state["origin"]
        horizon = tick.block.stop_frame + 2 * (tick.block.stop_frame - tick.block.start_frame)
        while (event := self._event(k, tick.info)) is not None and origin + event[0] < horizon:
            frame, kind, pulse = max(origin + event[0], tick.block.stop_frame), event[1], state["pulses"][event[2]]
            if kind is None:
                commands.append(Command(pulse, frame, "tetanus"))
            else:
                command, windows = windows.probe(pulse, frame, kind)
                commands.append(command)
            k += 1
        return commands, {**state, "windows": windows, "next": k, "origin": origin}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return the number of pulses commanded so far."""
        return {"pulses": state["next"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the answers before and after."""
        found = state["windows"].table()
        evoked = (found["after"] - found["before"]).sum(axis=1).astype(np.float64)
        before, after = (evoked[found["kind"] == kind] for kind in (_BEFORE, _AFTER))
        rng = np.random.default_rng(state["shuffle"])
        return {
            "before": float(before.mean()) if before.size else float("nan"),
            "after": float(after.mean()) if after.size else float("nan"),
            "n_before": int(before.size),
            "n_after": int(after.size),
            "sham": int(np.sum(~found["delivered"])),
            **change(before, after, rng),
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the pulses of a session of `duration` s."""
        pulses, end = self._bound(info), duration * float(info.frame_rate)
        counts, k = [0] * len(pulses), 0
        while (event := self._event(k, info)) is not None and event[0] < end:
            counts[event[2]] += 1
            k += 1
        return base.plan_table([("stimulation", pulse, n, False) for pulse, n in zip(pulses, counts, strict=True)])

    def _bound(self, info: DeviceInfo) -> tuple[Pulse, ...]:
        p = self.parameters
        highest = 1 / p.pulse_interval if p.burst_pulses > 1 else p.burst_rate
        return self.pulses(info, p.n_electrodes, highest)

    def _event(self, k: int, info: DeviceInfo) -> tuple[int, int | None, int] | None:
        """Return frame, kind (None: of the tetanus) and electrode of pulse number `k`; None after the last."""
        p = self.parameters
        n_tetanus = round(p.duration * p.burst_rate) * p.burst_pulses
        began = p.start + p.probes * p.probe_interval
        if k < p.probes:
            time, kind, place = p.start + k * p.probe_interval, _BEFORE, k
        elif k < p.probes + n_tetanus:
            burst, place = divmod(k - p.probes, p.burst_pulses)
            time, kind = began + burst / p.burst_rate + place * p.pulse_interval, None
        elif k < 2 * p.probes + n_tetanus:
            place = k - p.probes - n_tetanus
            time, kind = began + p.duration + p.rest + place * p.probe_interval, _AFTER
        else:
            return None
        n_sites = len(self.binding.sites.get("stimulation", ())) or p.n_electrodes
        return round(time * float(info.frame_rate)), kind, place % n_sites


def change(before: Any, after: Any, rng: np.random.Generator) -> dict[str, float]:
    """Return Cohen's d from `before` to `after` and its two-sided permutation p; NaN for fewer than two of either."""
    if min(len(before), len(after)) < 2:
        return {"d": float("nan"), "p": float("nan")}
    every, n = np.concatenate([before, after]), len(after)
    seen = float(after.mean() - before.mean())
    pooled = ((before.var(ddof=1) * (len(before) - 1)) + after.var(ddof=1) * (n - 1)) / (every.size - 2)
    shuffled = np.array([rng.permutation(every) for _ in range(_SHUFFLES)])
    drawn = shuffled[:, :n].mean(axis=1) - shuffled[:, n:].mean(axis=1)
    p = (1 + np.sum(np.abs(drawn) >= abs(seen) - 1e-12)) / (1 + _SHUFFLES)
    return {"d": seen / float(np.sqrt(pooled)) if pooled > 0 else float("nan"), "p": float(p)}


PROTOCOL = Tetanus
