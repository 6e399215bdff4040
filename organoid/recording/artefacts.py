"""Stimulation pulses a recording does not list, found by the artefacts they leave on many channels at once."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording

WINDOW_S = 0.5e-3  # an artefact reaches all channels within this
LEAST_FRACTION = 0.3  # of the units or channels
FEWEST_PULSES = 5
JITTER_S = 1e-3  # pulses lie this close to the teeth of their comb
ALPHA = 1e-6  # of a comb arising by chance, all periods tried
_MAX_RATE_HZ = 50.0
_MAX_CANDIDATES = 2000
_PER_CYCLE = 8  # frequencies tried in one over the length of the recording
_BLOCK = 1 << 20
_LARGE = 8.0  # times the noise: larger than most spikes


def find_pulses(
    source: SpikeRecording | ArrayLike,
    *,
    sampling_rate: float | None = None,
    least_fraction: float = LEAST_FRACTION,
) -> pd.DataFrame:
    r"""Find pulses by what no culture does: large events on many channels within 0.5 ms, on a comb of times.

    Candidates are moments at which at least `least_fraction` of the channels have an event at once. Pulses repeat:
    of the candidates at times :math:`t_k`, those are taken that lie within 1 ms of the teeth of one comb, whose
    rate :math:`f` has the largest vector strength :math:`R(f) = |\sum_k e^{2 \pi i f t_k}| / n`. That so many lie so
    near by chance must be less likely than 1e-6 for all rates tried together. Network bursts are neither
    simultaneous to 0.5 ms nor on a comb.

    Parameters
    ----------
    source : SpikeRecording, or array_like of shape (n_channels, n_samples)
        Spikes, or voltage in any unit.
    sampling_rate : float, optional, Hz
        Of voltage.
    least_fraction : float
        Of all units (that fire) or channels.

    Returns
    -------
    DataFrame
        One row per pulse: time_s, n_channels (with an event then), fraction. Empty where there is no evidence.
        ``.attrs["evidence"]``: period_s, n_candidates, n_pulses, expected_by_chance (candidates on the comb),
        log10_p, jitter_s (median distance from the comb).

    Raises
    ------
    RecordingError
        If voltage comes without a sampling rate, or is not two axes.

    Examples
    --------
    >>> times = np.repeat(np.arange(1.0, 11.0), 8)  # 8 units at once, every second
    >>> rec = SpikeRecording(times, np.tile(np.arange(8), 10), t_stop=12.0)
    >>> find_pulses(rec)["time_s"].tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    """
    if isinstance(source, SpikeRecording):
        times, counts, n = _of_spikes(source, least_fraction)
        begin, end = source.t_start, source.t_stop
    else:
        times, counts, n, end = _of_voltage(np.asarray(source), sampling_rate, least_fraction)
        begin = 0.0
    kept, evidence = _on_a_comb(times, end - begin)
    table = pd.DataFrame({"time_s": times[kept], "n_channels": counts[kept], "fraction": counts[kept] / max(n, 1)})
    table.attrs["evidence"] = evidence
    return table


def _of_spikes(rec: SpikeRecording, least: float) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return moments when many units fire at once, and how many do."""
    times, units = rec.spike_times, rec.spike_units
    n_active = int(np.unique(units).size)
    if n_active < 2:
        return np.empty(0), np.empty(0, np.int64), n_active
    stop = np.searchsorted(times, times + WINDOW_S, side="right")
    many = np.flatnonzero(stop - np.arange(times.size) >= max(3, least * n_active))
    counts = np.array([np.unique(units[k : stop[k]]).size for k in many], dtype=np.int64)
    enough = counts >= max(3, least * n_active)
    return (*_onsets(times[many[enough]], counts[enough]), n_active)


def _onsets(times: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the first moment, and the largest count, of each run of moments that follow each other closely."""
    if not times.size:
        return times, counts
    first = np.concatenate([[0], np.flatnonzero(np.diff(times) > 4 * WINDOW_S) + 1])
    return times[first], np.maximum.reduceat(counts, first)


def _of_voltage(
    voltage: NDArray[Any], rate: float | None, least: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], int, float]:
    """Return moments when the voltage of many channels is far outside its noise, and how many are."""
    if rate is None or not rate > 0:
        raise RecordingError("pulses in voltage need its sampling rate: find_pulses(voltage, sampling_rate=20000)")
    if voltage.ndim != 2 or not voltage.size:
        raise RecordingError(f"voltage has shape {voltage.shape}; expected (n_channels, n_samples)")
    n, n_samples = voltage.shape
    part = voltage[:, : min(n_samples, _BLOCK // max(n, 1) + 1)].astype(np.float64)
    middle = np.median(part, axis=1, keepdims=True)
    limit = _LARGE * np.maximum(np.median(np.abs(part - middle), axis=1, keepdims=True) / 0.6745, 1e-12)
    step = max(1, _BLOCK // n)
    large = np.concatenate(
        [np.sum(np.abs(voltage[:, k : k + step] - middle) > limit, axis=0) for k in range(0, n_samples, step)]
    )
    hits = np.flatnonzero(large >= max(2, least * n))
    return (*_onsets(hits / rate, large[hits].astype(np.int64)), n, n_samples / rate)


def _on_a_comb(times: NDArray[np.float64], length: float) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Return which candidates lie on the most evident comb, and the evidence for it."""
    none = np.empty(0, dtype=np.int64)
    evidence: dict[str, float] = {"n_candidates": int(times.size), "n_pulses": 0}
    if times.size < FEWEST_PULSES or length <= 0:
        return none, evidence
    sample = times[:: max(1, times.size // _MAX_CANDIDATES)]
    rates = np.arange(1, int(_PER_CYCLE * length * _MAX_RATE_HZ) + 1) / (_PER_CYCLE * length)
    rates = rates[rates * (times[-1] - times[0]) >= 2]
    strength = np.concatenate(
        [
            np.abs(np.exp(2j * np.pi * np.outer(part, sample)).mean(axis=1))
            for part in np.array_split(rates, max(1, rates.size * sample.size // _BLOCK))
        ]
    )
    best = _fundamental(rates, strength)
    period, phase = _refined(sample, 1 / best)
    distance = np.abs((times - phase + period / 2) % period - period / 2)
    kept = np.flatnonzero(distance <= JITTER_S)
    return _judged(times, kept, distance, period, rates.size, evidence)


def _fundamental(rates: NDArray[np.float64], strength: NDArray[np.float64]) -> float:
    """Return the lowest rate that is nearly as strong as the strongest: its multiples are as strong."""
    near = np.flatnonzero(strength >= 0.8 * strength.max())
    first = int(near[0])
    while first + 1 < rates.size and strength[first + 1] > strength[first]:  # up to the top of this peak
        first += 1
    return float(rates[first])


def _refined(times: NDArray[np.float64], period: float) -> tuple[float, float]:
    """Return period and phase of the comb near `period`, by least squares on the candidates that lie on it."""
    angle = np.angle(np.exp(2j * np.pi * times / period).mean())
    phase = period * angle / (2 * np.pi)
    for width in (0.25 * period, 0.1 * period, 4 * JITTER_S, 2 * JITTER_S):
        tooth = np.rint((times - phase) / period)
        near = np.abs(times - phase - tooth * period) <= max(width, JITTER_S)
        if np.unique(tooth[near]).size < 3:
            break
        period, phase = np.polyfit(tooth[near], times[near], 1)
    return float(period), float(phase)


def _judged(
    times: NDArray[np.float64],
    kept: NDArray[np.int64],
    distance: NDArray[np.float64],
    period: float,
    n_tried: int,
    evidence: dict[str, float],
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Return the candidates on the comb if chance does not explain them."""
    from scipy.stats import binom

    n, chance = times.size, min(1.0, 2 * JITTER_S / period)
    log_p = float(binom.logsf(kept.size - 1, n, chance) + np.log(n_tried)) / np.log(10)
    evidence |= {
        "period_s": period,
        "expected_by_chance": n * chance,
        "log10_p": min(log_p, 0.0),
        "jitter_s": float(np.median(distance[kept])) if kept.size else float("nan"),
    }
    if kept.size < FEWEST_PULSES or log_p > np.log10(ALPHA):
        return np.empty(0, dtype=np.int64), evidence
    return kept, evidence | {"n_pulses": int(kept.size)}
