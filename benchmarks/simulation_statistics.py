"""What two simulations of one network must have in common; numpy alone, used on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

WARM_UP_S = 0.2
FEWEST = 10  # intervals of a unit, for its coefficient of variation


def summary(times: Any, units: Any, n_units: int, seconds: float) -> dict[str, float]:
    """Return mean and spread of the units' rates, and the mean, spread and quartiles of their intervals."""
    late = times >= WARM_UP_S
    times, units = np.asarray(times)[late], np.asarray(units)[late]
    rates = np.bincount(units, minlength=n_units) / (seconds - WARM_UP_S)
    order = np.lexsort((times, units))
    intervals, same = np.diff(times[order]), np.diff(units[order]) == 0
    intervals, owner = intervals[same], units[order][1:][same]
    count = np.bincount(owner, minlength=n_units)
    mean = np.bincount(owner, intervals, n_units) / np.maximum(count, 1)
    square = np.bincount(owner, intervals**2, n_units) / np.maximum(count, 1)
    enough = count >= FEWEST
    variation = np.sqrt(np.maximum(square - mean**2, 0))[enough] / mean[enough]
    quartiles = np.quantile(intervals, (0.25, 0.5, 0.75))
    return {
        "mean_rate_hz": float(rates.mean()),
        "sd_of_rates_hz": float(rates.std()),
        "mean_isi_cv": float(variation.mean()),
        **{f"isi_quartile_{k + 1}_s": float(q) for k, q in enumerate(quartiles)},
    }


def welch(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Compare by Welch's t: difference over the standard error of the two means over runs with different seeds."""
    out = {}
    for name in ours[0]:
        a, b = (np.array([run[name] for run in side]) for side in (ours, theirs))
        error = np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
        out[name] = {
            "ours": float(a.mean()),
            "theirs": float(b.mean()),
            "standard_error": float(error),
            "t": float((a.mean() - b.mean()) / error) if error > 0 else float("nan"),
        }
    return out
