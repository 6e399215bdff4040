"""What an electrode still evokes while another one is pulsed."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid import SpikeRecording
from organoid.culture import simulate
from organoid.devices import SimulatedCulture
from organoid.stimulation import Pulse

Array = NDArray[np.float64]
RATES = (1.0, 5.0, 20.0)  # Hz, of the first electrode
N_SITES = 4  # electrodes, each the second one once
WINDOWS = {"0-20 ms": (0.0, 0.020), "20-100 ms": (0.020, 0.100)}  # s after a pulse of the second electrode
START = 5.0  # s


def second_electrode(source: Any, duration: float) -> list[dict[str, Any]]:
    """Return how much of its response a second electrode keeps at each rate of the first.

    Spikes of all units after its pulses, less those after times without such a pulse in the same run, over the same
    with the first electrode left alone.

    Parameters
    ----------
    source : network or FitResult
    duration : float, s
        Of each run.

    Returns
    -------
    list of dict, one per rate and window
        Means over electrodes, and one standard error of what is kept; None where alone there is no response of three
        standard errors to keep.
    """
    sites = _sites(source)
    tests, shams = _schedule(duration)
    found: dict[float, list[list[tuple[float, float]]]] = {}
    for rate, (k, second) in product((0.0, *RATES), enumerate(sites)):
        train = _train(rate, duration)
        stimuli = [(float(t), _pulse(source, sites[(k + 1) % len(sites)])) for t in train]
        stimuli += [(float(t), _pulse(source, second)) for t in tests]
        stimuli.sort(key=lambda each: each[0])
        rec = simulate(source, START + duration + 5.0, stimuli=stimuli, seed=10 + k)
        found.setdefault(rate, []).append([_response(rec, tests, shams, window) for window in WINDOWS.values()])
    runs = {rate: np.array(each) for rate, each in found.items()}  # (site, window, mean and standard error)
    return [
        {"first_electrode_hz": rate, "window": name, "electrodes": len(sites), "pulses_per_electrode": tests.size}
        | _kept(runs[rate][:, k], runs[0.0][:, k])
        for rate, (k, name) in product(RATES, enumerate(WINDOWS))
    ]


def _kept(during: Array, alone: Array) -> dict[str, Any]:
    """Return responses with and without the train, and their ratio, from (site, mean and standard error)."""
    (now, error), (before, error_before) = (
        (each[:, 0].mean(), np.hypot.reduce(each[:, 1]) / len(each)) for each in (during, alone)
    )
    some = before > 3.0 * error_before
    return {
        "spikes_per_pulse_alone": _rounded(before),
        "spikes_per_pulse": _rounded(now),
        "kept": _rounded(now / before) if some else None,
        "kept_se": _rounded(np.hypot(error, now / before * error_before) / before) if some else None,
    }


def _train(rate: float, duration: float) -> Array:
    return START + np.arange(int(duration * rate)) / rate if rate else np.empty(0)


def _sites(source: Any) -> list[int]:
    """Return electrodes far apart in the order of the array that may be stimulated."""
    info = SimulatedCulture(source).info
    able = np.setdiff1d(np.arange(len(info.electrodes)), list(info.profile.forbidden_electrodes))
    return [int(e) for e in able[np.linspace(0, able.size - 1, min(N_SITES, able.size)).astype(int)]]


def _pulse(source: Any, electrode: int) -> Pulse:
    unit = "V" if getattr(getattr(source.network, "stimulus", None), "amplitude_unit", "A") == "V" else "A"
    return Pulse.biphasic(electrode, 0.5 if unit == "V" else 2e-6, 200e-6, unit=unit)


def _schedule(duration: float) -> tuple[Array, Array]:
    """Return times of pulses, 3 to 5 s apart, and times without one between them."""
    rng = np.random.default_rng(3)
    times = START + np.cumsum(rng.uniform(3.0, 5.0, int(duration / 3.0)))
    times = times[times < START + duration - 3.0]
    return times, times + rng.uniform(1.5, 2.5, times.size)


def _response(rec: SpikeRecording, tests: Array, shams: Array, window: tuple[float, float]) -> tuple[float, float]:
    """Return spikes per pulse beyond those at sham times, and their standard error; NaN where the run stopped early."""
    if shams[-1] + window[1] > rec.t_stop:
        return float("nan"), float("nan")
    after, sham = (
        np.searchsorted(rec.spike_times, times + window[1]) - np.searchsorted(rec.spike_times, times + window[0])
        for times in (tests, shams)
    )
    more = after - sham
    return float(more.mean()), float(more.std(ddof=1) / np.sqrt(more.size))


def _rounded(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
