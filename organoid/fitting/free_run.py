"""How a fitted network lives when left alone, compared with its recording.

All measures are taken the same way on both; the thresholds of the network-burst detector come from
the recording and are used unchanged on the simulation, so that a dead network has no bursts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from organoid.clock import DEFAULT_TICK_RATE
from organoid.models.counter_rng import stream_key, uniform
from organoid.models.free_running import FreeRunningNetwork
from organoid.recording import SpikeRecording
from organoid.statistics import cv, firing_rates, network_bursts, sttc

Array = NDArray[np.float64]

Summary = dict[str, float | bool | list[float] | None]

N_RUNS = 5
RUN_DURATION = 600.0  # s
STTC_DT = 0.05  # s
MIN_SPIKES_FOR_CV = 50
RUNAWAY_WINDOW = 2.0  # s
RUNAWAY_FACTOR = 5.0
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
)


@dataclass(frozen=True)
class Portrait:
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
    thresholds : dict
        Of the burst detector.
    """

    rates: Array
    isi_cv: Array
    sttc: Array
    burst_rate: float
    burst_duration: float
    ibi_cv: float
    fraction_in_bursts: float
    highest_rate: float
    thresholds: dict[str, float]


def portray(rec: SpikeRecording, thresholds: dict[str, float] | None = None) -> Portrait:
    """Measure a recording; `thresholds` are those of the recording it is to be compared with."""
    bursts = network_bursts(rec, thresholds)
    used: dict[str, float] = dict(bursts.attrs["thresholds"])
    onsets = bursts["start_s"].to_numpy()
    gaps = np.diff(onsets)
    counts = np.bincount(rec.spike_units, minlength=rec.n_units)
    isi_cv = np.where(counts >= MIN_SPIKES_FOR_CV, cv(rec), np.nan)
    time = rec.observed_duration
    return Portrait(
        rates=firing_rates(rec),
        isi_cv=isi_cv,
        sttc=sttc(rec, STTC_DT),
        burst_rate=len(bursts) / time if time else np.nan,
        burst_duration=float((bursts["stop_s"] - bursts["start_s"]).mean()) if len(bursts) else np.nan,
        ibi_cv=float(gaps.std() / gaps.mean()) if gaps.size > 1 else np.nan,
        fraction_in_bursts=float(bursts["n_spikes"].sum() / rec.n_spikes) if rec.n_spikes else np.nan,
        highest_rate=highest_rate(rec),
        thresholds=used,
    )


def highest_rate(rec: SpikeRecording) -> float:
    """Return the highest population rate in 2 s bins, spikes/s."""
    counts = rec.counts(RUNAWAY_WINDOW).sum(1)
    return float(counts.max() / RUNAWAY_WINDOW) if counts.size else np.nan


def compare(recorded: Portrait, simulated: Portrait) -> dict[str, float]:
    """Return the free-run scores of one simulation; NaN where undefined."""
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
        }


def free_run(network: FreeRunningNetwork, duration: float, seed: int) -> tuple[SpikeRecording, bool]:
    """Leave a network alone; return its spikes, and whether it ran away (then they end early)."""
    n_steps = round(duration / network.dt)
    done = network.advance(network.initial_state(seed), n_steps)
    key = stream_key(seed, "place in step")
    offset = uniform(key, np.arange(done.steps.size))
    times = np.floor((done.steps + offset) * network.dt * DEFAULT_TICK_RATE) / DEFAULT_TICK_RATE
    t_stop = max(done.n_steps, 1) * network.dt
    return SpikeRecording(times, done.units, n_units=network.n_units, t_start=0.0, t_stop=t_stop), done.runaway


def is_runaway(recorded: Portrait, simulated: Portrait, stopped: bool) -> bool:
    """Tell whether a run was stopped, or had any 2 s above 5 times the recording's highest rate."""
    return bool(stopped or simulated.highest_rate > RUNAWAY_FACTOR * recorded.highest_rate)


def free_run_scores(
    network: FreeRunningNetwork, rec: SpikeRecording, *, seed: int = 0, n_runs: int = N_RUNS, progress: bool = False
) -> pd.DataFrame:
    """Compare seeded free runs of a network with the recording it was fitted to.

    Parameters
    ----------
    network : FreeRunningNetwork
    rec : SpikeRecording
        One culture.
    seed : int
    n_runs : int
        Runs of 10 minutes.
    progress : bool

    Returns
    -------
    DataFrame
        One row a run: the scores of `compare`, ``runaway`` (any 2 s above 5 times the recording's
        highest, or stopped), ``rate_hz``.
    """
    recorded = portray(rec)
    rows = []
    for run in tqdm(range(n_runs), desc="free runs", disable=not progress, leave=False):
        simulated, stopped = free_run(network, RUN_DURATION, seed + run)
        portrait = portray(simulated, recorded.thresholds)
        runaway = is_runaway(recorded, portrait, stopped)
        rows.append({**compare(recorded, portrait), "runaway": runaway, "rate_hz": float(np.mean(portrait.rates))})
    return pd.DataFrame(rows)


def summarise(runs: pd.DataFrame) -> Summary:
    """Return medians with ranges; undefined is None."""
    summary: dict[str, float | bool | list[float] | None] = {}
    for name in SCORE_NAMES:
        values = runs[name].dropna().to_numpy(dtype=float)
        summary[name] = float(np.median(values)) if values.size else None
        summary[f"{name}_range"] = [float(values.min()), float(values.max())] if values.size else None
    summary["runaway"] = bool(runs["runaway"].any())
    return summary


def complaints(summary: Summary) -> Iterator[str]:
    """Yield what is wrong with a free-running network, in words."""
    if not summary:
        return
    if summary["runaway"]:
        yield "in free run the network runs away (more than 5 times the recording's highest rate)"
    rate, bursts = summary["rate_ratio"], summary["burst_rate_ratio"]
    if isinstance(rate, float) and not 0.85 <= rate <= 1.15:
        yield f"in free run the mean rate is {rate:.2f} times the recorded one"
    if isinstance(bursts, float) and not 0.75 <= bursts <= 1.3:
        yield f"in free run there are {bursts:.2f} times as many network bursts as recorded"


def _ratio(a: float, b: float) -> float:
    return float(a / b) if np.isfinite(b) and b > 0 else np.nan


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
