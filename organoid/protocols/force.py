r"""FORCE learning with living tissue as the reservoir: a linear readout learns a signal that it feeds back as stimuli.

After Sussillo & Abbott (2009), with a culture in place of the network as in Sono et al. (2026), from whom the period of
the loop (332.5 ms), the targets (sine, triangle, square, Lorenz) and their periods (4 to 30 s) come. With :math:`r` the
rates of the units and a constant, the output is :math:`z = w \cdot r`. In training, recursive least squares

.. math::

    P &\leftarrow P - \frac{P r r^\top P}{1 + r^\top P r}, \qquad w \leftarrow w - (z - f)\, P r,
    \qquad P(0) = I / \alpha

moves the output to the target :math:`f` at every tick. Afterwards `w` stays, and the loop is to go on without a target.
The output is fed back through an encoder. How that paper coded its feedback is not repeated here: rates on two sites,
of z and of -z, and square roots of rates in place of :math:`r`, are choices.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from organoid.closed_loop import Command, DeviceInfo, SessionError, Tick
from organoid.protocols import base, coding

Array = NDArray[np.float64]
LOOP_PERIOD = 0.3325  # s


class ForceParameters(base.Parameters):
    """Parameters of `Force`.

    Parameters
    ----------
    target : {"sine", "triangle", "square", "lorenz"}
        All between -1 and 1.
    period : float, s
        Of the target; of "lorenz", the time of one unit of its own time.
    settle : float, s
        Before the training.
    training : float, s
        How long the readout learns; the rest of the session is the test.
    feedback : {"output", "target", "none"}
        What is fed back: the output (during training and test), the target as long as the training lasts, nothing.
    alpha : float
        Regularisation of the readout.
    window : float, s
        Time constant of the rates.
    encoder : str or dict
        How the two values (1 + z)/2 and (1 - z)/2 become pulses.
    n_electrodes : int
        How many electrodes to stimulate, shared by the two values, where the binding names none.
    """

    tick_rate: float = Field(default=1.0 / LOOP_PERIOD, gt=0)
    target: Literal["sine", "triangle", "square", "lorenz"] = "sine"
    period: float = Field(default=10.0, gt=0)
    settle: float = Field(default=5.0, ge=0)
    training: float = Field(default=120.0, gt=0)
    feedback: Literal["output", "target", "none"] = "output"
    alpha: float = Field(default=1.0, gt=0)
    window: float = Field(default=LOOP_PERIOD, gt=0)
    encoder: str | dict[str, Any] = Field(default_factory=lambda: {"kind": "rate", "lowest": 0.0, "highest": 20.0})
    n_electrodes: int = Field(default=8, ge=2)


class Force(base.ConfiguredProtocol):
    """Train a readout of the culture to a periodic signal, with its output fed back as stimuli.

    The outcome has the normalised mean square error (error over variance of the target) in the second half of the
    training and in the test, and the correlation of output and target in the test.

    Examples
    --------
    >>> Force(target="triangle").parameters.period
    10.0
    """

    name = "force"
    Parameters = ForceParameters
    parameters: ForceParameters

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the sites; the readout is zero."""
        if info.n_units == 0:
            raise SessionError(f"{info.name} has no units to read out")
        n = info.n_units + 1
        return {
            "pulses": self._bound(info),
            "encoder": None,
            "rates": np.zeros(info.n_units),
            "readout": np.zeros(n),
            "inverse": np.eye(n) / self.parameters.alpha,
            "output": 0.0,
            "target": 0.0,
            "trace": (),
        }

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Read out, learn, and feed back until the next decision."""
        p, dt = self.parameters, tick.duration
        decay = math.exp(-dt / p.window)
        rates = decay * state["rates"] + (1 - decay) * tick.counts / dt
        r = np.append(np.sqrt(rates), 1.0)
        target = target_value(p.target, tick.time / p.period)
        output = float(state["readout"] @ r)
        state = {**state, "rates": rates, "output": output, "target": target}
        state["trace"] = (*state["trace"], (tick.time, output, target))
        if p.settle < tick.time <= p.settle + p.training:
            state = self._learn(state, r, output - target)
        return self._feed_back(tick, state)

    def _learn(self, state: dict[str, Any], r: Array, error: float) -> dict[str, Any]:
        """Return the state after one step of recursive least squares."""
        inverse = state["inverse"]
        along = inverse @ r
        inverse = inverse - np.outer(along, along) / (1.0 + r @ along)
        return {**state, "inverse": inverse, "readout": state["readout"] - error * (inverse @ r)}

    def _feed_back(self, tick: Tick, state: dict[str, Any]) -> tuple[list[Command], dict[str, Any]]:
        p, block = self.parameters, tick.block
        training = tick.time <= p.settle + p.training
        if p.feedback == "none":
            return [], state
        fed = state["target"] if p.feedback == "target" and training else float(np.clip(state["output"], -1.0, 1.0))
        stop = block.stop_frame + (block.stop_frame - block.start_frame)
        values = np.array([(1 + fed) / 2, (1 - fed) / 2])
        encoder = coding.encoder(p.encoder)
        events, after = encoder.encode(values, block.stop_frame, stop, tick.info.frame_rate, state["encoder"])
        commands = [Command(state["pulses"][site], frame, "feedback") for frame, site in events]
        return commands, {**state, "encoder": after}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return output, target and their difference."""
        return {"output": state["output"], "target": state["target"], "error": state["output"] - state["target"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the errors of training and test."""
        p, trace = self.parameters, np.array(state["trace"], dtype=np.float64).reshape(-1, 3)
        time = trace[:, 0]
        end = p.settle + p.training
        late, test = (time > end - p.training / 2) & (time <= end), time > end
        return {
            "nmse_training": _nmse(trace[late]),
            "nmse_test": _nmse(trace[test]),
            "correlation_test": _correlation(trace[test]),
            "readout_norm": float(np.linalg.norm(state["readout"])),
            "test_seconds": float(np.sum(test) / self.tick_rate),
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the most pulses that the feedback can take."""
        highest = float(getattr(coding.encoder(self.parameters.encoder), "highest", self.tick_rate))
        most = 0 if self.parameters.feedback == "none" else int(duration * highest) + 1
        return base.plan_table([("stimulation", pulse, most, True) for pulse in self._bound(info)])

    def _bound(self, info: DeviceInfo) -> tuple[Any, ...]:
        """Return a pulse for each value: the electrodes of the site, shared between them."""
        p = self.parameters
        highest = float(getattr(coding.encoder(p.encoder), "highest", self.tick_rate))
        singles = self.pulses(info, p.n_electrodes, highest)
        sites = coding.encoder(p.encoder).n_sites(2)
        if len(singles) < sites:
            raise SessionError(f"the encoder needs {sites} sites; site 'stimulation' has {len(singles)} electrodes")
        shares = [[pulse.electrodes[0] for pulse in singles[k::sites]] for k in range(sites)]
        return tuple(singles[0].on(share) for share in shares)


def target_value(name: str, t: float) -> float:
    """Return a target, between -1 and 1, at a time in periods."""
    turn = t % 1.0
    if name == "sine":
        return math.sin(2 * math.pi * t)
    if name == "triangle":
        return 4 * abs(((turn + 0.75) % 1.0) - 0.5) - 1
    if name == "square":
        return 1.0 if turn < 0.5 else -1.0
    return _lorenz(t)


_LORENZ: list[tuple[float, float, float]] = [(1.0, 1.0, 20.0)]
_LORENZ_DT, _LORENZ_SIZE = 0.01, 20.0


def _lorenz(t: float) -> float:
    """Return the first coordinate of the Lorenz system (10, 28, 8/3) at time `t` from a fixed start, over 20."""
    steps = int(t / _LORENZ_DT)
    while len(_LORENZ) <= steps:
        x, y, z = _LORENZ[-1]
        for _ in range(5):  # Euler, at a fifth of the spacing
            h = _LORENZ_DT / 5
            x, y, z = x + h * 10 * (y - x), y + h * (x * (28 - z) - y), z + h * (x * y - 8 / 3 * z)
        _LORENZ.append((x, y, z))
    return _LORENZ[steps][0] / _LORENZ_SIZE


def _nmse(trace: Array) -> float:
    if len(trace) < 2 or np.ptp(trace[:, 2]) == 0:
        return float("nan")
    return float(np.mean((trace[:, 1] - trace[:, 2]) ** 2) / np.var(trace[:, 2]))


def _correlation(trace: Array) -> float:
    if len(trace) < 3 or np.ptp(trace[:, 1]) == 0 or np.ptp(trace[:, 2]) == 0:
        return float("nan")
    return float(np.corrcoef(trace[:, 1], trace[:, 2])[0, 1])


PROTOCOL = Force
