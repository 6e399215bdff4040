"""The headline numbers of a culture."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.recording import SpikeRecording
from organoid.statistics.bursts import bursts_max_interval
from organoid.statistics.intervals import cv
from organoid.statistics.network import network_bursts
from organoid.statistics.rates import firing_rates, observed_ticks, too_short
from organoid.statistics.tiling import sttc
from organoid.statistics.trains import intervals, trains

MAX_UNITS_FOR_PAIRS = 2000  # a table of pairs grows with the square of the units
ACTIVE_RATE = 1 / 60  # Hz; one spike per minute
_SPIKES_FOR_CV = 50
_SHORT_ISI = 1e-3  # s
_MANY_SHORT = 0.01


def summary(
    rec: SpikeRecording,
    thresholds: Mapping[str, float] | None = None,
    *,
    well: str | None = None,
    active_rate: float = ACTIVE_RATE,
    bursts: pd.DataFrame | None = None,
    unit_bursts: pd.DataFrame | None = None,
    tiling: NDArray[np.float64] | None = None,
) -> "pd.Series[Any]":
    """Return the headline numbers of one culture.

    Parameters
    ----------
    rec : SpikeRecording
    thresholds : mapping, optional
        For `network_bursts`; give those of the recording when summarising a simulation of it.
    well : str, optional
        Which culture, in a recording of several.
    active_rate : float, Hz
        Units that fire at least this often count as active.
    bursts : DataFrame, optional
        What `network_bursts` returned for this culture, where that is known already.
    unit_bursts : DataFrame, optional
        What `bursts_max_interval` returned for it.
    tiling : ndarray, optional
        What `sttc` returned for it.

    Returns
    -------
    Series
        n_units, n_active_units, n_spikes, duration_s, observed_s, mean_rate_hz and median_rate_hz (over all units),
        active_rate_hz (mean over active units), median_cv (units of 50 spikes or more), n_bursts,
        bursts_by_chance (expected after circular shifts, see `network_bursts`), bursts_per_minute, burst_duration_s
        (mean), burst_interval_cv (onset to onset), burst_units (mean fraction of units that fire in a burst),
        fraction_in_bursts (of spikes), unit_bursts_per_minute (mean over active units, maximum-interval method),
        fraction_in_unit_bursts (of spikes), mean_sttc (50 ms, over pairs; not computed above 2000 units).
        Undefined values are NaN.

    Raises
    ------
    RecordingError
        If the recording holds several wells and none is named.
    """
    culture = rec.culture(well)
    rates = firing_rates(culture)
    spikes = trains(culture).n_spikes
    active = rates >= active_rate
    found = network_bursts(culture, thresholds) if bursts is None else bursts
    values = {
        "n_units": culture.n_units,
        "n_active_units": int(np.sum(active)),
        "n_spikes": culture.n_spikes,
        "duration_s": culture.duration,
        "observed_s": culture.observed_duration,
        "mean_rate_hz": _of(np.mean, rates),
        "median_rate_hz": _of(np.median, rates),
        "active_rate_hz": _of(np.mean, rates[active]),
        "median_cv": _of(np.median, cv(culture)[spikes >= _SPIKES_FOR_CV]),
        **_of_network_bursts(culture, found, int(spikes.sum())),
        **_of_unit_bursts(culture, unit_bursts, active, int(spikes.sum())),
        "mean_sttc": _mean_sttc(culture, tiling),
    }
    return pd.Series(values, dtype=object)


def _of_network_bursts(rec: SpikeRecording, bursts: pd.DataFrame, n_spikes: int) -> dict[str, Any]:
    onsets = np.diff(bursts["start_s"].to_numpy())
    minutes = rec.observed_duration / 60
    return {
        "n_bursts": len(bursts) if minutes else float("nan"),
        "bursts_by_chance": bursts.attrs.get("chance", {}).get("expected", float("nan")) if minutes else float("nan"),
        "bursts_per_minute": len(bursts) / minutes if minutes else float("nan"),
        "burst_duration_s": _of(np.mean, (bursts["stop_s"] - bursts["start_s"]).to_numpy()),
        "burst_interval_cv": float(np.std(onsets) / np.mean(onsets)) if onsets.size > 1 else float("nan"),
        "burst_units": _of(np.mean, bursts["n_units"].to_numpy() / max(rec.n_units, 1)),
        "fraction_in_bursts": float(bursts["n_spikes"].sum() / n_spikes) if n_spikes else float("nan"),
    }


def _of_unit_bursts(
    rec: SpikeRecording, known: pd.DataFrame | None, active: NDArray[np.bool_], n_spikes: int
) -> dict[str, float]:
    bursts = bursts_max_interval(rec) if known is None else known
    minutes = rec.observed_duration / 60
    per_unit = np.bincount(bursts["unit"].to_numpy(dtype=np.int64), minlength=rec.n_units)
    return {
        "unit_bursts_per_minute": _of(np.mean, per_unit[active] / minutes) if minutes else float("nan"),
        "fraction_in_unit_bursts": float(bursts["n_spikes"].sum() / n_spikes) if n_spikes else float("nan"),
    }


def remarks(rec: SpikeRecording, bursts: pd.DataFrame) -> list[str]:
    """Return in words what a reader must know before using the headline numbers of a culture.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bursts : DataFrame
        What `network_bursts` returned for it.

    Returns
    -------
    list of str
        Why rates are undefined; whether many intervals are shorter than 1 ms; what chance does to network bursts.
    """
    found = []
    if not observed_ticks(rec):
        found.append("nothing was observed, so rates, bursts and synchrony are undefined")
    elif too_short(rec):
        found.append(
            f"rates are undefined: the window's end is inferred from the last spike, "
            f"{observed_ticks(rec) / rec.tick_rate:g} s after its start"
        )
    isi = intervals(rec).durations
    short = float(np.mean(isi < _SHORT_ISI)) if isi.size else 0.0
    if short > _MANY_SHORT:
        found.append(
            f"{short:.1%} of inter-spike intervals are shorter than 1 ms: spikes detected twice, or several neurons "
            "on an electrode"
        )
    chance = bursts.attrs.get("chance", {}).get("remark", "")
    return [*found, *([f"network bursts: {chance}"] if chance else [])]


def _of(function: Any, values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(function(known)) if known.size else float("nan")


def _mean_sttc(rec: SpikeRecording, tiling: NDArray[np.float64] | None) -> float:
    if not 2 <= rec.n_units <= MAX_UNITS_FOR_PAIRS:
        return float("nan")
    matrix = sttc(rec) if tiling is None else tiling
    return _of(np.mean, matrix[np.triu_indices(rec.n_units, 1)])
