"""Open loop: pulses at a steady rate, whatever the culture does."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from organoid.closed_loop import Block, Command, DeviceInfo, Tick, TickBatch, TickClock
from organoid.closed_loop.ticks import as_fraction
from organoid.protocols import base
from organoid.stimulation import Pulse


class PeriodicPulsesParameters(base.Parameters):
    """Parameters of `PeriodicPulses`.

    Parameters
    ----------
    rate : float, Hz
        Pulses per second.
    start, stop : float, s
        Pulse ``k`` is due at ``start + k / rate``, before `stop` (default: the end of the session). What
        would be due before the first decision is left out.
    order : {"round_robin", "together"}
        Electrodes of the site in turn, or all in one pulse.
    n_electrodes : int
        How many electrodes to choose where the binding names none.
    lookahead : float, s
        Pulses are commanded so much ahead, so that delays up to that do not move them.
    """

    rate: float = Field(default=1.0, gt=0)
    start: float = Field(default=1.0, ge=0)
    stop: float | None = Field(default=None, gt=0)
    order: Literal["round_robin", "together"] = "round_robin"
    n_electrodes: int = Field(default=1, ge=1)
    lookahead: float = Field(default=0.5, ge=0)


class PeriodicPulses(base.ConfiguredProtocol):
    """Pulses at a steady rate on site "stimulation"; the times are exact on the frame clock.

    Examples
    --------
    >>> PeriodicPulses(rate=2.0, sites={"stimulation": [3]}).describe()["sites"]
    {'stimulation': [3]}
    """

    name = "periodic_pulses"
    Parameters = PeriodicPulsesParameters
    parameters: PeriodicPulsesParameters

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the site; no pulse has been commanded yet."""
        pulses = self._bound(info)
        return {"pulses": pulses, "next": self._first_number(info), "commanded": 0}

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Command what falls due until shortly after the next decision."""
        info, now = tick.info, tick.block.stop_frame
        ahead = 2 / as_fraction(self.tick_rate, "tick_rate") + Fraction(str(self.parameters.lookahead))
        horizon = now + int(ahead * info.frame_rate)
        k, commands = state["next"], []
        pulses: tuple[Pulse, ...] = state["pulses"]
        while self._frame(k, info) < now:  # begun late, in a fork: what is over is left out
            k += 1
        while (frame := self._frame(k, info)) < horizon and not self._over(k):
            commands.append(Command(pulses[state["commanded"] % len(pulses)], frame, "periodic"))
            state = {**state, "commanded": state["commanded"] + 1}
            k += 1
        return commands, {**state, "next": k}

    def start_batch(self, info: DeviceInfo, rngs: Sequence[np.random.Generator]) -> dict[str, Any]:
        """Bind the site: all cultures get the same pulses."""
        return {"one": self.start(info, rngs[0]), "n": len(rngs)}

    def decide_batch(
        self, tick: TickBatch, state: dict[str, Any]
    ) -> tuple[Sequence[tuple[int, Command]], dict[str, Any]]:
        """Command for all cultures what falls due."""
        nothing = np.empty(0, dtype=np.int64)
        block = Block(tick.start_frame, tick.stop_frame, nothing, nothing)
        commands, one = self.decide(Tick(tick.index, block, tick.info), state["one"])
        return [(c, replace(command)) for c in range(state["n"]) for command in commands], {**state, "one": one}

    def report_batch(self, state: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
        """Return the number of pulses commanded so far."""
        return {name: np.full(state["n"], value, dtype=np.float64) for name, value in self.report(state["one"]).items()}

    def finish_batch(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the outcome, the same for all."""
        return [self.finish(state["one"]) for _ in range(state["n"])]

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return the number of pulses commanded so far."""
        return {"pulses": state["commanded"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the number of pulses commanded (the last may be due after the end)."""
        return {"pulses": state["commanded"]}

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the pulses of a session of `duration` s, exactly."""
        clock = TickClock.of(info.frame_rate, self.tick_rate, duration)
        pulses = self._bound(info)
        first = k = self._first_number(info)
        while self._frame(k, info) < clock.end_frame and not self._over(k):
            k += 1
        counts = [len(range(i, k - first, len(pulses))) for i in range(len(pulses))]
        return base.plan_table([("stimulation", pulse, n, False) for pulse, n in zip(pulses, counts, strict=True)])

    def _bound(self, info: DeviceInfo) -> tuple[Pulse, ...]:
        p = self.parameters
        return self.pulses(info, p.n_electrodes, p.rate, together=p.order == "together")

    def _time(self, k: int) -> Fraction:
        start = Fraction(str(self.parameters.start))
        return start + k / as_fraction(self.parameters.rate, "rate")

    def _frame(self, k: int, info: DeviceInfo) -> int:
        return int(self._time(k) * info.frame_rate)

    def _over(self, k: int) -> bool:
        return self.parameters.stop is not None and self._time(k) >= Fraction(str(self.parameters.stop))

    def _first_number(self, info: DeviceInfo) -> int:
        """Return the number of the first pulse that is not due before the first decision."""
        first_decision = int(info.frame_rate / as_fraction(self.tick_rate, "tick_rate"))
        k = 0
        while self._frame(k, info) < first_decision:
            k += 1
        return k


PROTOCOL = PeriodicPulses
