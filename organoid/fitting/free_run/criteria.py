"""When a free-running network matches its culture, when it is silent, when it runs away.

**Runaway**: any 2 s above 5 times the recording's highest 2 s rate (`organoid.statistics.runaway`), or stopped by the
network itself at that rate. **Passed**: no runaway, and the mean rate, the rate of network bursts and their duration
lie within `LIMITS` of the recorded ones. A recording with fewer than 10 bursts does not show what its bursts are like;
of its simulation only extra bursts are counted. A fit that does not pass says why (``reasons``).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from organoid.fitting.free_run.settings import LIMITS, Limits
from organoid.statistics.runaway import RUNAWAY_FACTOR

MIN_BURSTS = 10
MAX_EXTRA_BURSTS = 0.5  # a minute
MAX_RATE_OF_A_RUN = 2.0  # times the recorded one, of any single run
FAR = 10.0


def bursting(n_bursts: float) -> bool:
    """Return whether a recording has enough network bursts to say what they are like."""
    return bool(n_bursts >= MIN_BURSTS)


def reasons(scores: Mapping[str, Any], bursts_count: bool, limits: Limits = LIMITS) -> Iterator[str]:
    """Yield in words what keeps a network from passing; nothing where it passes.

    Parameters
    ----------
    scores : mapping
        Names of `organoid.fitting.free_run.comparison.compare`, undefined ones None or NaN, and ``runaway``.
    bursts_count : bool
        Of the recording; see `bursting`.
    limits : Limits
    """
    if scores["runaway"]:
        yield f"the network runs away (more than {RUNAWAY_FACTOR:g} times the recording's highest rate)"
        return
    if unsteady(scores):
        yield f"one of the runs has {_said(scores['rate_ratio_range'][1])} times the recorded rate"
    if _outside(scores["rate_ratio"], limits.rate):
        yield f"the mean rate is {_said(scores['rate_ratio'])} times the recorded one"
    correlation = _number(scores["rate_correlation"])
    if correlation < limits.rate_correlation:
        yield f"the rates of units correlate with the recorded ones by {correlation:.3f} only"
    if not bursts_count:
        extra = _number(scores["extra_bursts_per_minute"])
        if extra > MAX_EXTRA_BURSTS:
            yield f"there are {extra:.2f} network bursts per minute more than recorded"
        return
    if _outside(scores["burst_rate_ratio"], limits.burst_rate):
        yield f"there are {_said(scores['burst_rate_ratio'])} times as many network bursts as recorded"
    elif _outside(scores["burst_duration_ratio"], limits.burst_duration):
        yield f"network bursts last {_said(scores['burst_duration_ratio'])} times as long as recorded"


def drift(scores: Mapping[str, Any], bursts_count: bool) -> Iterator[str]:
    """Yield in words how a recording's second half differs from its first; nothing where both lie within `LIMITS`.

    Parameters
    ----------
    scores : mapping
        Names of `organoid.fitting.free_run.comparison.split_half`, each with ``_split_half`` behind it.
    bursts_count : bool
        Of the recording; see `bursting`.
    """
    checked = [("rate_ratio", LIMITS.rate, "mean rate")]
    if bursts_count:
        checked.append(("burst_rate_ratio", LIMITS.burst_rate, "rate of network bursts"))
        checked.append(("burst_duration_ratio", LIMITS.burst_duration, "duration of network bursts"))
    ratios = [(what, _number(scores[f"{name}_split_half"]), limits) for name, limits, what in checked]
    changes = [
        f"{what} undefined" if np.isnan(ratio) else f"{what} {ratio:.2f} times"
        for what, ratio, limits in ratios
        if _outside(ratio, limits)
    ]
    if changes:
        yield (
            f"the recording is not steady (second half against first: {', '.join(changes)}); the network is, and lives "
            "like neither half"
        )


def unsteady(scores: Mapping[str, Any]) -> bool:
    """Return whether any single run has more than twice the recorded rate, as a network of two states may."""
    lowest_and_highest = scores.get("rate_ratio_range")
    return lowest_and_highest is not None and lowest_and_highest[1] > MAX_RATE_OF_A_RUN


def discrepancy(scores: Mapping[str, Any], bursts_count: bool) -> float:
    """Return how far off a network is: log ratios of rate and bursts, and one minus the correlation of rates.

    Infinite for a runaway, 10 more for one with a single run far above the recorded rate; extra bursts of a
    recording that does not burst count by the minute.
    """
    if scores["runaway"]:
        return float("inf")
    correlation = _number(scores["rate_correlation"])
    total = _log_off(scores["rate_ratio"]) + (0.0 if np.isnan(correlation) else 1.0 - correlation)
    total += FAR if unsteady(scores) else 0.0
    if bursts_count:
        return total + sum(_log_off(scores[name]) for name in ("burst_rate_ratio", "burst_duration_ratio"))
    return total + max(float(np.nan_to_num(_number(scores["extra_bursts_per_minute"]))), 0.0)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _outside(ratio: Any, limits: tuple[float, float]) -> bool:
    return not limits[0] <= _number(ratio) <= limits[1]


def _said(ratio: Any) -> str:
    return "an undefined number of" if np.isnan(_number(ratio)) else f"{_number(ratio):.2f}"


def _log_off(ratio: Any) -> float:
    value = _number(ratio)
    return float(min(abs(np.log(value)), FAR)) if np.isfinite(value) and value > 0 else FAR
