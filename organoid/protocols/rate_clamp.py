"""Closed loop: hold the population's firing rate by stimulating as much as it takes.

A proportional-integral controller on the rate of stimulation, after the rate clamp of Wagenaar, Madhavan,
Pine & Potter (2005), who set the stimulus voltage. Stimulation excites, so that rates from the
spontaneous one upwards can be held, up to what pulses can evoke, and only where a culture follows them: in one that
bursts by itself pulses may use up what the next burst is made of. Where the clamp comes to the end of what pulses can
do, it says so and stops.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from organoid.closed_loop import Command, DeviceInfo, SessionError, Tick
from organoid.protocols import base
from organoid.stimulation import Pulse

NEW_TRIAL: dict[str, Any] = {
    "spikes": 0.0,
    "span": 0.0,
    "given_before": 0,
    "held": False,
    "reason": "",
    "trials": 0,
    "far": (),
}
MUCH = 0.8  # of the highest pulse rate, over a trial


class RateClampParameters(base.Parameters):
    """Parameters of `RateClamp`.

    Parameters
    ----------
    target_rate : float, Hz
        Spikes per second and unit to hold.
    window : float, s
        Time constant of the exponential window the rate is measured with.
    baseline : float, s
        No stimulation so long, from the start.
    gain : float, pulses per spike and unit
        Proportional: pulses per second for each Hz of error.
    integral_gain : float, pulses per s, spike and unit
        Integral: pulses per second for each Hz of error that lasts one second.
    max_pulse_rate : float, Hz
        Upper limit of the pulse rate; at most one pulse a tick.
    n_electrodes : int
        How many electrodes to stimulate in turn where the binding names none.
    trial : float, s
        From the second such time of control on, the clamp decides after each whether it can hold the target.
    tolerance : float
        Relative error of the mean rate over a trial at which the target counts as held; twice as much above it is far.
    """

    tick_rate: float = Field(default=50.0, gt=0)
    target_rate: float = Field(default=5.0, gt=0)
    window: float = Field(default=2.0, gt=0)
    baseline: float = Field(default=5.0, ge=0)
    gain: float = Field(default=1.0, ge=0)
    integral_gain: float = Field(default=0.5, ge=0)
    max_pulse_rate: float = Field(default=20.0, gt=0)
    n_electrodes: int = Field(default=4, ge=1)
    trial: float = Field(default=10.0, gt=0)
    tolerance: float = Field(default=0.15, gt=0)

    @model_validator(mode="after")
    def _one_pulse_a_tick(self) -> "RateClampParameters":
        if self.max_pulse_rate > self.tick_rate:
            raise ValueError(
                f"max_pulse_rate {self.max_pulse_rate:g} Hz is above tick_rate {self.tick_rate:g} Hz; at most one "
                "pulse is given a tick"
            )
        return self


class RateClamp(base.ConfiguredProtocol):
    """Hold the population rate; pulses go to the electrodes of site "stimulation" in turn.

    With error ``e = target - rate`` the pulse rate is ``gain e + integral_gain * sum(e dt)``, cut to
    ``[0, max_pulse_rate]``; while it is cut, the integral does not grow further that way.

    After every ``trial`` seconds of control, the first ones left out, the mean rate is compared with the target. Where
    it lies far above, below at nearly the highest pulse rate, or far off twice in a row, the outcome says "cannot hold
    at this target", with the reason, and no further pulses are given: stimulation only excites, and in a culture whose
    bursts answer all or none it may evoke too much.

    Examples
    --------
    >>> RateClamp(target_rate=3.0, max_pulse_rate=10.0).tick_rate
    50.0
    """

    name = "rate_clamp"
    Parameters = RateClampParameters
    parameters: RateClampParameters

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the site; nothing has been measured."""
        if info.n_units == 0:
            raise SessionError(f"{info.name} has no units, so there is no rate to clamp")
        zeros = dict.fromkeys(("weighted", "weight", "rate", "error", "integral", "pulse_rate", "phase"), 0.0)
        pulses = self._bound(info)
        return {
            **zeros,
            "pulses": pulses,
            "given": 0,
            "time": 0.0,
            "second": (0.0, 0.0, 0.0),
            "seconds": (),
            **NEW_TRIAL,
        }

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Measure, control, and give a pulse whenever the pulse rate has summed up to one."""
        dt = tick.duration
        state = self._measure(state, tick.block.spike_units.size / tick.info.n_units, dt)
        state = self._account({**state, "time": tick.time}, dt)
        spikes = tick.block.spike_units.size / tick.info.n_units
        if tick.time <= self.parameters.baseline:
            return [], state
        state = self._judge({**state, "spikes": state["spikes"] + spikes, "span": state["span"] + dt})
        if state["reason"]:
            return [], {**state, "pulse_rate": 0.0}
        state = self._control(state, dt)
        if state["phase"] < 1.0:
            return [], state
        pulse = state["pulses"][state["given"] % len(state["pulses"])]
        return [Command(pulse, label="clamp")], {**state, "phase": state["phase"] - 1.0, "given": state["given"] + 1}

    def _measure(self, state: dict[str, Any], spikes_per_unit: float, dt: float) -> dict[str, Any]:
        """Update the exponential window; it is normalised, so that its start is not taken for silence."""
        keep = math.exp(-dt / self.parameters.window)
        weighted = keep * state["weighted"] + spikes_per_unit
        weight = keep * state["weight"] + dt
        rate = weighted / weight
        error = self.parameters.target_rate - rate
        return {**state, "weighted": weighted, "weight": weight, "rate": rate, "error": error}

    def _control(self, state: dict[str, Any], dt: float) -> dict[str, Any]:
        p, error = self.parameters, state["error"]
        integral = state["integral"] + error * dt
        wanted = p.gain * error + p.integral_gain * integral
        if (wanted > p.max_pulse_rate and error > 0) or (wanted < 0 and error < 0):
            integral = state["integral"]  # cut: do not wind up
        pulse_rate = min(max(p.gain * error + p.integral_gain * integral, 0.0), p.max_pulse_rate)
        return {**state, "integral": integral, "pulse_rate": pulse_rate, "phase": state["phase"] + pulse_rate * dt}

    def _judge(self, state: dict[str, Any]) -> dict[str, Any]:
        """At the end of a trial, say whether the target is held; nothing before."""
        p = self.parameters
        if state["span"] < p.trial:
            return state
        rate, used = state["spikes"] / state["span"], (state["given"] - state["given_before"]) / state["span"]
        off = abs(rate - p.target_rate) / p.target_rate
        held, reason = off <= p.tolerance, ""
        far = (*state["far"], rate) if state["trials"] and off > 2.0 * p.tolerance else ()
        if state["trials"] == 0:  # the controller is still finding its way
            reason = ""
        elif rate > (1.0 + 2.0 * p.tolerance) * p.target_rate:
            reason = (
                f"the rate was {rate:.2f} Hz over {p.trial:g} s at {used:.1f} pulses per second, far above the target"
            )
        elif not held and rate < p.target_rate and used > MUCH * p.max_pulse_rate:
            reason = f"the rate was {rate:.2f} Hz over {p.trial:g} s, below the target, at {used:.1f} pulses per second"
        elif len(far) > 1:
            reason = f"the rate was {far[-2]:.2f} and {far[-1]:.2f} Hz over {p.trial:g} s each, and does not settle"
        return {
            **state,
            "spikes": 0.0,
            "span": 0.0,
            "given_before": state["given"],
            "held": held,
            "reason": reason,
            "trials": state["trials"] + 1,
            "far": far,
        }

    def _account(self, state: dict[str, Any], dt: float) -> dict[str, Any]:
        """Sum up rate and error, second by second."""
        span, rate, error = state["second"]
        span, rate, error = span + dt, rate + state["rate"] * dt, error + abs(state["error"]) * dt
        if span < 1.0:
            return {**state, "second": (span, rate, error)}
        return {**state, "second": (0.0, 0.0, 0.0), "seconds": (*state["seconds"], (span, rate, error))}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return measured rate (Hz per unit), error (Hz), pulse rate (Hz) and integral."""
        return {name: state[name] for name in ("rate", "error", "pulse_rate", "integral")}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return mean absolute error and mean rate in the last half, the number of pulses, and whether it holds."""
        seconds = np.array([*state["seconds"], state["second"]]).reshape(-1, 3)
        last = seconds[len(seconds) // 2 :].sum(axis=0)
        span = float(last[0]) or math.nan
        return {
            "target_rate_hz": self.parameters.target_rate,
            "mean_absolute_error_hz": float(last[2]) / span,
            "mean_rate_hz": float(last[1]) / span,
            "pulses": state["given"],
            "held": state["held"] and not state["reason"],
            "verdict": f"cannot hold at this target: {state['reason']}" if state["reason"] else "",
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the most pulses that can be given in a session of `duration` s."""
        pulses = self._bound(info)
        most = math.floor(self.parameters.max_pulse_rate * max(duration - self.parameters.baseline, 0.0)) + 1
        share = [len(range(k, most, len(pulses))) for k in range(len(pulses))]
        return base.plan_table([("stimulation", pulse, n, True) for pulse, n in zip(pulses, share, strict=True)])

    def _bound(self, info: DeviceInfo) -> tuple[Pulse, ...]:
        return self.pulses(info, self.parameters.n_electrodes, self.parameters.max_pulse_rate)


PROTOCOL = RateClamp
