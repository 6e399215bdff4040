"""The headline numbers of a culture."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from organoid.recording import SpikeRecording
from organoid.statistics.intervals import cv
from organoid.statistics.network import network_bursts
from organoid.statistics.rates import firing_rates
from organoid.statistics.tiling import sttc

_MAX_UNITS_FOR_PAIRS = 2000


def summary(
    rec: SpikeRecording, thresholds: Mapping[str, float] | None = None, *, well: str | None = None
) -> "pd.Series[Any]":
    """Return the headline numbers of one culture.

    Parameters
    ----------
    rec : SpikeRecording
    thresholds : mapping, optional
        For `network_bursts`; give those of the recording when summarising a simulation of it.
    well : str, optional
        Which culture, in a recording of several.

    Returns
    -------
    Series
        n_units, n_active_units (at least one spike seen), n_spikes, duration_s, observed_s, mean_rate_hz and
        median_rate_hz (over all units), median_cv (units of 50 spikes or more), bursts_per_minute,
        burst_duration_s (mean), burst_interval_cv (onset to onset), fraction_in_bursts (of spikes),
        mean_sttc (50 ms, over pairs; not computed above 2000 units). Undefined values are NaN.

    Raises
    ------
    RecordingError
        If the recording holds several wells and none is named.
    """
    culture = rec.culture(well)
    rates = firing_rates(culture)
    spikes = rates * culture.observed_duration
    bursts = network_bursts(culture, thresholds)
    onsets = np.diff(bursts["start_s"].to_numpy())
    seen = float(np.nansum(spikes))
    minutes = culture.observed_duration / 60
    values = {
        "n_units": culture.n_units,
        "n_active_units": int(np.sum(rates > 0)),
        "n_spikes": culture.n_spikes,
        "duration_s": culture.duration,
        "observed_s": culture.observed_duration,
        "mean_rate_hz": _of(np.mean, rates),
        "median_rate_hz": _of(np.median, rates),
        "median_cv": _of(np.median, cv(culture)[spikes >= 49.5]),
        "bursts_per_minute": len(bursts) / minutes if minutes else np.nan,
        "burst_duration_s": _of(np.mean, (bursts["stop_s"] - bursts["start_s"]).to_numpy()),
        "burst_interval_cv": float(np.std(onsets) / np.mean(onsets)) if onsets.size > 1 else np.nan,
        "fraction_in_bursts": float(bursts["n_spikes"].sum() / seen) if seen else np.nan,
        "mean_sttc": _mean_sttc(culture),
    }
    return pd.Series(values, dtype=object)


def _of(function: Any, values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(function(known)) if known.size else float("nan")


def _mean_sttc(rec: SpikeRecording) -> float:
    if not 2 <= rec.n_units <= _MAX_UNITS_FOR_PAIRS:
        return float("nan")
    return _of(np.mean, sttc(rec)[np.triu_indices(rec.n_units, 1)])
