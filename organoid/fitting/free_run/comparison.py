"""How a fitted network runs freely, compared with its recording.

All measures are taken the same way on both; the thresholds of the network-burst detector come from
the recording and are used unchanged on the simulation, so that a dead network has no bursts.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from organoid.fitting.free_run.criteria import bursting, drift, reasons
from organoid.fitting.free_run.settings import DEFAULT, FreeRunSettings
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.rng import stream_key, uniform
from organoid.recording import SpikeRecording
from organoid.recording.ticks import DEFAULT_TICK_RATE
from organoid.statistics import cv, firing_rates, population_rate_bursts, sttc
from organoid.statistics.runaway import RUNAWAY_FACTOR, RUNAWAY_WINDOW

Array = NDArray[np.float64]

Summary = dict[str, Any]

STTC_DT = 0.05  # s
MIN_SPIKES_FOR_CV = 50
RARE = 1e-3  # Hz
LEVEL_BIN, N_LEVELS = 0.05, 200  # s; of the distribution of the population count
SCORE_NAMES = (
    "rate_ratio",
    "rate_correlation",
    "burst_rate_ratio",
    "burst_duration_ratio",
    "ibi_cv_ratio",
    "fraction_in_bursts",
    "fraction_in_bursts_recorded",
    "isi_cv_ratio",
    "sttc_correlation",
    "extra_bursts_per_minute",
    "magnitude_error",
    "spatial_error",
    "temporal_error",
)


@dataclass(frozen=True)
class ActivitySummary:
    """What a recording or a simulation is like; the measures free runs are compared by.

    Parameters
    ----------
    rates : ndarray, shape (n_units,), Hz
    isi_cv : ndarray, shape (n_units,)
        NaN for units with fewer than 50 spikes.
    sttc : ndarray, shape (n_units, n_units)
    burst_rate : float
        Network bursts per s.
    burst_duration, ibi_cv, fraction_in_bursts : float
        Mean duration (s), coefficient of variation of onset-to-onset intervals, share of spikes.
    highest_rate : float
        Highest population rate over 2 s, spikes/s.
    n_bursts : int
    thresholds : dict
        Of the burst detector.
    levels : ndarray, shape (n_levels,)
        Evenly spaced quantiles of the population count in 50 ms bins, in units of its mean.
    """

    rates: Array
    isi_cv: Array
    sttc: Array
    burst_rate: float
    burst_duration: float
    ibi_cv: float
    fraction_in_bursts: float
    highest_rate: float
    n_bursts: int
    thresholds: dict[str, float]
    levels: Array

    @property
    def bursts_count(self) -> bool:
        """Whether there are enough bursts to say what they are like."""
        return bursting(self.n_bursts)


def summarize_activity(rec: SpikeRecording, thresholds: dict[str, float] | None = None) -> ActivitySummary:
    """Measure a recording; `thresholds` are those of the recording it is to be compared with."""
    bursts = population_rate_bursts(rec, thresholds)
    used: dict[str, float] = dict(bursts.attrs["thresholds"])
    onsets = bursts["start_s"].to_numpy()
    gaps = np.diff(onsets)
    counts = np.bincount(rec.spike_units, minlength=rec.n_units)
    isi_cv = np.where(counts >= MIN_SPIKES_FOR_CV, cv(rec), np.nan)
    time = rec.observed_duration
    return ActivitySummary(
        rates=firing_rates(rec),
        isi_cv=isi_cv,
        sttc=sttc(rec, STTC_DT),
        burst_rate=len(bursts) / time if time else np.nan,
        burst_duration=float((bursts["stop_s"] - bursts["start_s"]).mean()) if len(bursts) else np.nan,
        ibi_cv=float(gaps.std() / gaps.mean()) if gaps.size > 1 else np.nan,
        fraction_in_bursts=float(bursts["n_spikes"].sum() / rec.n_spikes) if rec.n_spikes else np.nan,
        highest_rate=highest_rate(rec),
        n_bursts=len(bursts),
        thresholds=used,
        levels=_levels(rec),
    )


def _levels(rec: SpikeRecording) -> Array:
    counts = rec.counts(LEVEL_BIN).sum(1)[rec.observed_bins(LEVEL_BIN)]
    if not counts.any():
        return np.full(N_LEVELS, np.nan)
    return np.asarray(np.quantile(counts / counts.mean(), (np.arange(N_LEVELS) + 0.5) / N_LEVELS))


def highest_rate(rec: SpikeRecording) -> float:
    """Return the highest population rate in 2 s bins, spikes/s: the same bins for recordings and simulations."""
    counts = rec.counts(RUNAWAY_WINDOW).sum(1)
    return float(counts.max() / RUNAWAY_WINDOW) if counts.size else np.nan


def compare(recorded: ActivitySummary, simulated: ActivitySummary) -> dict[str, float]:
    r"""Return the free-run scores of one simulation; NaN where undefined.

    Three of them say where activity is off, whatever the cause. With rates :math:`r_i` of the units, their shares
    :math:`p_i = r_i / \sum_j r_j`, and quantiles :math:`q_k` of the population count in 50 ms bins over its mean:
    how much (``magnitude_error``, :math:`|\log(\bar r^{sim} / \bar r^{rec})|`), which units (``spatial_error``,
    :math:`\tfrac12 \sum_i |p_i^{sim} - p_i^{rec}|`, the share of spikes that fall on the wrong unit), and when
    (``temporal_error``, :math:`\tfrac12 \langle |q_k^{sim} - q_k^{rec}| \rangle_k`, the share of activity that falls
    into moments of the wrong intensity). Each ignores what the other two measure.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "rate_ratio": _ratio(float(np.mean(simulated.rates)), float(np.mean(recorded.rates))),
            "rate_correlation": _correlation(simulated.rates, recorded.rates),
            "burst_rate_ratio": _ratio(simulated.burst_rate, recorded.burst_rate),
            "burst_duration_ratio": _ratio(simulated.burst_duration, recorded.burst_duration),
            "ibi_cv_ratio": _ratio(simulated.ibi_cv, recorded.ibi_cv),
            "fraction_in_bursts": simulated.fraction_in_bursts,
            "fraction_in_bursts_recorded": recorded.fraction_in_bursts,
            "isi_cv_ratio": _median_ratio(simulated.isi_cv, recorded.isi_cv),
            "sttc_correlation": _correlation(_off_diagonal(simulated.sttc), _off_diagonal(recorded.sttc)),
            "extra_bursts_per_minute": 60.0 * (simulated.burst_rate - recorded.burst_rate),
            "magnitude_error": _log_distance(float(np.mean(simulated.rates)), float(np.mean(recorded.rates))),
            "spatial_error": float(np.abs(_shares(simulated.rates) - _shares(recorded.rates)).sum() / 2),
            "temporal_error": float(np.abs(simulated.levels - recorded.levels).mean() / 2),
        }


def _log_distance(one: float, other: float) -> float:
    """Return how far two rates lie apart, in logarithms; NaN where one is zero."""
    return abs(float(np.log(one / other))) if one > 0 and other > 0 else float("nan")


def split_half(rec: SpikeRecording, whole: ActivitySummary) -> dict[str, float]:
    """Return the scores of the second half of a recording against its first: what no model can be asked to beat.

    Bursts of both halves are found with the thresholds of the whole.
    """
    middle = (rec.t_start + rec.t_stop) / 2
    first, second = rec.select(t_stop=middle), rec.select(t_start=middle)
    return compare(summarize_activity(first, whole.thresholds), summarize_activity(second, whole.thresholds))


def rates_off(wanted: Array, found: Array) -> Array:
    """Return how far rates (Hz) lie below those wanted, in logarithms; rates below `RARE` count as that."""
    return np.asarray(np.log(np.maximum(wanted, RARE) / np.maximum(found, RARE)))


def free_run(network: FreeRunningNetwork, duration: float, seed: int) -> tuple[SpikeRecording, bool]:
    """Leave a network alone; return its spikes, and whether it ran away (then they end early)."""
    n_steps = round(duration / network.dt)
    done = network.advance(network.initial_state(seed), n_steps)
    key = stream_key(seed, "place in step")
    offset = uniform(key, np.arange(done.steps.size))
    times = np.floor((done.steps + offset) * network.dt * DEFAULT_TICK_RATE) / DEFAULT_TICK_RATE
    t_stop = max(done.n_steps, 1) * network.dt
    return SpikeRecording(times, done.units, n_units=network.n_units, t_start=0.0, t_stop=t_stop), done.runaway


def is_runaway(recorded: ActivitySummary, simulated: ActivitySummary, stopped: bool) -> bool:
    """Return whether a run was stopped, or had any 2 s above 5 times the recording's highest rate."""
    return bool(stopped or simulated.highest_rate > RUNAWAY_FACTOR * recorded.highest_rate)


def free_run_scores(
    network: FreeRunningNetwork,
    recorded: ActivitySummary,
    *,
    seed: int = 0,
    n_runs: int = DEFAULT.n_runs,
    duration: float = DEFAULT.duration,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare seeded free runs of a network with the activity of its recording; runs share the cores.

    Parameters
    ----------
    network : FreeRunningNetwork
    recorded : ActivitySummary
    seed : int
        Of the first run; the others follow.
    n_runs : int
    duration : float, s
        Of each run.
    progress : bool

    Returns
    -------
    DataFrame
        One row a run: the scores of `compare`, ``runaway`` (see `organoid.fitting.free_run.criteria`), ``rate_hz``,
        ``highest_rate_hz`` (population, over 2 s) and ``n_bursts``.
    """

    def one(run: int) -> dict[str, Any]:
        simulated, stopped = free_run(network, duration, seed + run)
        portrait = summarize_activity(simulated, recorded.thresholds)
        return {
            **compare(recorded, portrait),
            "runaway": is_runaway(recorded, portrait, stopped),
            "rate_hz": float(np.mean(portrait.rates)),
            "highest_rate_hz": portrait.highest_rate,
            "n_bursts": portrait.n_bursts,
        }

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        rows = tqdm(pool.map(one, range(n_runs)), "free runs", n_runs, disable=not progress, leave=False)
        return pd.DataFrame(list(rows))


def summarise(runs: pd.DataFrame) -> Summary:
    """Return medians with ranges; undefined is None."""
    summary: Summary = {}
    for name in SCORE_NAMES:
        values = runs[name].dropna().to_numpy(dtype=float)
        summary[name] = float(np.median(values)) if values.size else None
        summary[f"{name}_range"] = [float(values.min()), float(values.max())] if values.size else None
    summary["runaway"] = bool(runs["runaway"].any())
    return summary


def evaluate_free_runs(
    network: FreeRunningNetwork,
    rec: SpikeRecording,
    *,
    seed: int = 0,
    settings: FreeRunSettings = DEFAULT,
    progress: bool = False,
) -> Summary:
    """Leave a network alone and say how it compares with its recording.

    Parameters
    ----------
    network : FreeRunningNetwork
    rec : SpikeRecording
        One culture.
    seed : int
    settings : FreeRunSettings
    progress : bool

    Returns
    -------
    dict
        Of every score its median over runs, ``..._range`` and ``..._split_half`` (see `split_half`); ``runaway``,
        ``passed``, ``reasons`` in words for not passing, and in words the ``drift`` of the recording itself (see
        `organoid.fitting.free_run.criteria`). None where undefined. ``alive``, the former name of ``passed``, is still
        there in this version.
    """
    recorded = summarize_activity(rec)
    runs = free_run_scores(
        network, recorded, seed=seed, n_runs=settings.n_runs, duration=settings.duration, progress=progress
    )
    summary = summarise(runs)
    for name, value in split_half(rec, recorded).items():
        summary[f"{name}_split_half"] = float(value) if np.isfinite(value) else None
    found = [f"in free run {reason}" for reason in reasons(summary, recorded.bursts_count, settings.criteria)]
    passed = {"passed": not found, "alive": not found}
    return {**summary, **passed, "reasons": found, "drift": list(drift(summary, recorded.bursts_count))}


def _ratio(a: float, b: float) -> float:
    return float(a / b) if np.isfinite(b) and b > 0 else np.nan


def _shares(rates: Array) -> Array:
    return rates / rates.sum() if rates.sum() > 0 else np.full_like(rates, np.nan)


def _median_ratio(a: Array, b: Array) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    return _ratio(float(np.median(a[both])), float(np.median(b[both]))) if both.any() else np.nan


def _correlation(a: Array, b: Array) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.std(a[both]) == 0 or np.std(b[both]) == 0:
        return np.nan
    return float(np.corrcoef(a[both], b[both])[0, 1])


def _off_diagonal(matrix: Array) -> Array:
    return matrix[~np.eye(matrix.shape[0], dtype=bool)]
