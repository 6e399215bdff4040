r"""Dose-response: how many spikes pulses of growing amplitude and width evoke, with a sigmoid fitted to each width.

The doses follow a published input-output protocol on organoids (Cai et al. 2023, "Brainoware"; public code: 100 to
700 mV in steps of 100, at 100 to 500 us, five or ten repeats one second apart, spikes 2 to 500 ms later). Amplitudes
are multiples of the stimulus "pulse", whose default is 400 mV or 2 uA. With dose :math:`a`

.. math:: n(a) = n_{max} / (1 + e^{-(a - a_{1/2})/s}).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from organoid.closed_loop import Command, DeviceInfo, Tick
from organoid.protocols import base
from organoid.protocols.evoked_windows import EvokedWindows
from organoid.stimulation import Phase, Pulse

_SHUFFLES = 1000


class DoseResponseParameters(base.Parameters):
    """Parameters of `DoseResponse`.

    Parameters
    ----------
    amplitudes : tuple of float
        Multiples of the amplitude of the stimulus "pulse".
    widths : tuple of float
        Multiples of its width.
    repeats : int
        Pulses of each amplitude and width.
    interval : float, s
        Between pulses.
    start : float, s
        Of the first pulse.
    window_start, window_stop : float, s
        Spikes so long after a pulse are counted; spikes of as long a time before it are taken off.
    n_electrodes : int
        How many electrodes to stimulate together where the binding names none.
    """

    tick_rate: float = Field(default=100.0, gt=0)
    amplitudes: tuple[float, ...] = Field(default=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75), min_length=2)
    widths: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    repeats: int = Field(default=10, ge=1)
    interval: float = Field(default=1.0, gt=0)
    start: float = Field(default=1.0, gt=0)
    window_start: float = Field(default=0.002, ge=0)
    window_stop: float = Field(default=0.4, gt=0)
    n_electrodes: int = Field(default=4, ge=1)


class DoseResponse(base.ConfiguredProtocol):
    """Pulses of all doses in random order on the electrodes of site "stimulation", together.

    The outcome holds a row per dose (``amplitude``, ``width_s``, ``n``, ``mean``, ``sem`` of the evoked spikes), the
    rank correlation of dose and response with its permutation p, and the sigmoid of each width.

    Examples
    --------
    >>> DoseResponse(amplitudes=[0.5, 1.0, 2.0], repeats=5).parameters.widths
    (1.0,)
    """

    name = "dose_response"
    Parameters = DoseResponseParameters
    parameters: DoseResponseParameters

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> dict[str, Any]:
        """Bind the site and draw the order of the doses."""
        p, pulses = self.parameters, self._bound(info)
        order = rng.permutation(np.repeat(np.arange(len(pulses)), p.repeats))
        windows = EvokedWindows.of(info, p.window_start, min(p.window_stop, p.window_start + p.interval / 2))
        return {
            "pulses": pulses,
            "order": order,
            "windows": windows,
            "next": 0,
            "origin": None,
            "shuffle": int(rng.integers(2**31)),
        }

    def decide(self, tick: Tick, state: dict[str, Any]) -> tuple[Sequence[Command], dict[str, Any]]:
        """Count what has been evoked, and command the pulses that fall due before the next decision but one."""
        windows, k, commands = state["windows"].after(tick), state["next"], []
        origin = tick.block.start_frame if state["origin"] is None else state["origin"]
        horizon = tick.block.stop_frame + 2 * (tick.block.stop_frame - tick.block.start_frame)
        while k < state["order"].size and (frame := origin + self._frame(k, tick.info)) < horizon:
            dose = int(state["order"][k])
            command, windows = windows.probe(state["pulses"][dose], max(frame, tick.block.stop_frame), dose)
            commands.append(command)
            k += 1
        return commands, {**state, "windows": windows, "next": k, "origin": origin}

    def report(self, state: dict[str, Any]) -> dict[str, float]:
        """Return the number of pulses so far."""
        return {"pulses": state["next"]}

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the curve."""
        found, pulses = state["windows"].table(), state["pulses"]
        evoked = (found["after"] - found["before"]).sum(axis=1).astype(np.float64)
        rows = [_row(pulse, evoked[found["kind"] == k]) for k, pulse in enumerate(pulses)]
        dose = np.array([pulses[k].peak for k in found["kind"]])
        rho, p = rank_correlation(dose, evoked, np.random.default_rng(state["shuffle"]))
        widths = sorted({row["width_s"] for row in rows})
        fits = [_sigmoid([row for row in rows if row["width_s"] == width], width) for width in widths]
        return {
            "doses": rows,
            "sham": int(np.sum(~found["delivered"])),
            "rank_correlation": rho,
            "p": p,
            "sigmoids": [fit for fit in fits if fit is not None],
        }

    def plan(self, info: DeviceInfo, duration: float) -> pd.DataFrame:
        """Return the most pulses of each dose: their order is drawn at the start."""
        return base.plan_table([("stimulation", pulse, self.parameters.repeats, True) for pulse in self._bound(info)])

    def _bound(self, info: DeviceInfo) -> tuple[Pulse, ...]:
        """Return the pulses of all doses, width by width, each within the device's limits."""
        p = self.parameters
        (unit,) = self.pulses(info, p.n_electrodes, 1 / p.interval, together=True)
        doses = [_scaled(unit, amplitude, width) for width in p.widths for amplitude in p.amplitudes]
        return tuple(self.binding.checked("pulse", info.profile.snapped(dose), info) for dose in doses)

    def _frame(self, k: int, info: DeviceInfo) -> int:
        return round((self.parameters.start + k * self.parameters.interval) * float(info.frame_rate))


def _scaled(pulse: Pulse, amplitude: float, width: float) -> Pulse:
    phases = tuple(Phase(phase.amplitude * amplitude, phase.width_s * width) for phase in pulse.phases)
    return Pulse(phases, pulse.electrodes, pulse.unit)


def _row(pulse: Pulse, evoked: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, Any]:
    n = evoked.size
    return {
        "amplitude": pulse.peak,
        "unit": pulse.unit,
        "width_s": pulse.phases[0].width_s,
        "n": n,
        "mean": float(evoked.mean()) if n else float("nan"),
        "sem": float(evoked.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
    }


def rank_correlation(
    x: "np.ndarray[Any, np.dtype[np.float64]]", y: "np.ndarray[Any, np.dtype[np.float64]]", rng: np.random.Generator
) -> tuple[float, float]:
    """Return Spearman's rank correlation and its one-sided permutation p; NaN where either is constant."""
    from scipy.stats import rankdata

    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    a, b = (rankdata(values) - (x.size + 1) / 2 for values in (x, y))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    rho = float(a @ b) / scale
    shuffled = np.array([a @ rng.permutation(b) for _ in range(_SHUFFLES)]) / scale
    return rho, float((1 + np.sum(shuffled >= rho - 1e-12)) / (1 + _SHUFFLES))


def _sigmoid(rows: Sequence[dict[str, Any]], width: float) -> dict[str, float] | None:
    """Return the sigmoid through the means of one width, or None where it does not settle."""
    from scipy.optimize import curve_fit

    known = [row for row in rows if row["n"]]
    if len(known) < 4:
        return None
    a, n = (np.array([row[name] for row in known]) for name in ("amplitude", "mean"))
    if n.max() <= 0:
        return None

    def curve(x: Any, top: float, half: float, slope: float) -> Any:
        return top / (1.0 + np.exp(-np.clip((x - half) / slope, -50, 50)))

    bounds = ([0.0, 0.0, a.max() * 1e-3], [10 * n.max(), 2 * a.max(), 2 * a.max()])
    try:
        (top, half, slope), _ = curve_fit(curve, a, n, (n.max(), float(np.median(a)), a.max() / 8), bounds=bounds)
    except RuntimeError:
        return None
    left = n - curve(a, top, half, slope)
    explained = 1 - float(left @ left) / max(float(((n - n.mean()) ** 2).sum()), 1e-300)
    return {"width_s": width, "maximum": top, "half_amplitude": half, "slope": slope, "r_squared": explained}


PROTOCOL = DoseResponse
