"""Network bursts: times at which more units burst at once than independent units would."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from organoid.errors import RecordingError
from organoid.recording import SpikeRecording
from organoid.statistics.bursts import bursts_max_interval
from organoid.statistics.trains import observed_before, observed_spans, snapped, trains

Ticks = NDArray[np.int64]

THRESHOLDS = ("min_units", "edge_units", "max_interval_s", "min_spikes", "max_gap_s")
_BACKGROUND = 0.25  # quantile over time of the number of bursting units
_PEAK_HALF_WIDTH = 0.025  # s
_LEAST_UNITS = 3
_SMALL = 0.1  # of the bursts found: more by chance than this is said


def network_bursts(
    rec: SpikeRecording,
    thresholds: Mapping[str, float] | None = None,
    *,
    well: str | None = None,
    min_units: int = _LEAST_UNITS,
    min_fraction: float = 0.25,
    max_interval: float = 0.1,
    min_spikes: int = 3,
    max_gap: float = 0.3,
    max_chance: float = 0.05,
    n_shifts: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Find bursts in which a good part of the units takes part, and more than chance explains.

    A unit's bursts are those of `bursts_max_interval`: spikes that follow each other by less than `max_interval`,
    segments less than `max_gap` apart merged (a long burst is one, though single intervals in it are longer), and
    `min_spikes` spikes or more in all. ``n(t)`` is the number of units that burst at ``t``, ``b`` its lower quartile
    over time and ``k = max(min_units, min_fraction * units that could burst)``. A network burst is an interval of
    ``n >= b + k / 2`` (intervals closer than `max_gap` joined) that reaches ``n >= b + k`` somewhere. Neither the mean
    rate nor how often bursts come has a part in this.

    Where units burst much of the time they do so together by chance. So all units are shifted circularly, each by
    its own random time, `n_shifts` times, and the number of units requested is raised from ``b + k`` until shifted
    units reach it at most `max_chance` times as often as the recorded ones.

    Parameters
    ----------
    rec : SpikeRecording
    thresholds : mapping, optional
        ``.attrs["thresholds"]`` of an earlier result, to be used unchanged on another recording of the same units:
        min_units and edge_units (units at once, at the peak and at the edges), max_interval_s, min_spikes,
        max_gap_s. The parameters below are then not looked at, but for `n_shifts` and `seed`.
    well : str, optional
        Which culture, in a recording of several.
    min_units : int
    min_fraction : float
        Of the units that fire `min_spikes` times or more.
    max_interval : float, s
    min_spikes : int
    max_gap : float, s
    max_chance : float
    n_shifts : int
        0 leaves chance out.
    seed : int

    Returns
    -------
    DataFrame
        One row per burst: start_s and stop_s (first and last spike of the bursting units), peak_s (the spike with
        most others within 25 ms), n_spikes (of all units), n_units (distinct units that fire in it).
        ``.attrs["thresholds"]`` holds what was used, ``.attrs["chance"]`` ``expected`` (how often, on average, shifted
        units meet ``min_units``; NaN without shifts), ``n_shifts`` and ``remark`` (words, empty where all is well).

    Raises
    ------
    RecordingError
        If the recording holds several wells and none is named, or a parameter makes no sense.

    References
    ----------
    D. A. Wagenaar, J. Pine, S. M. Potter, "An extremely rich repertoire of bursting patterns during the development
    of cortical cultures", 2006 (bursts of units that overlap in time).

    Examples
    --------
    >>> times = [10.0 + 0.01 * k for k in range(20)]
    >>> rec = SpikeRecording(times, [k % 4 for k in range(20)], t_stop=60.0)
    >>> network_bursts(rec)["n_units"].tolist()
    [4]
    """
    culture = rec.culture(well)
    rule = _Rule.of(thresholds) if thresholds is not None else None
    if rule is None:
        _check(min_units, min_fraction, max_chance)
        rule = _Rule(0, 0, float(max_interval), int(min_spikes), float(max_gap))
    if n_shifts < 0:
        raise RecordingError(f"n_shifts is {n_shifts}; expected 0 or more")
    unit_bursts = _unit_bursts(culture, rule)
    chance = _crossings_by_chance(unit_bursts, n_shifts, seed)
    if thresholds is None:
        able = int(np.sum(trains(culture).n_spikes >= rule.min_spikes))
        base = max(int(min_units), int(np.ceil(min_fraction * able)))
        rule = _chosen(unit_bursts, rule, base, chance, max_chance)
    start, stop, peak = _candidates(unit_bursts, rule)
    found = peak >= rule.min_units
    table = _described(culture, start[found], stop[found])
    expected = float(chance[min(rule.min_units, chance.size - 1)]) if n_shifts else float("nan")
    table.attrs["thresholds"] = rule.as_mapping()
    table.attrs["chance"] = {
        "expected": expected,
        "n_shifts": int(n_shifts),
        "remark": _remark(int(found.sum()), expected, unit_bursts, rule, chance) if n_shifts else "",
    }
    return table


def network_burst_evidence(
    rec: SpikeRecording, bursts: pd.DataFrame, *, n_shifts: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Count network bursts, and what chance gives, for every number of units that could be requested.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    bursts : DataFrame
        What `network_bursts` returned for it; its thresholds are used.
    n_shifts, seed : int
        As in `network_bursts`.

    Returns
    -------
    DataFrame
        One row per number of units: min_units, found, expected (after circular shifts).
    """
    rule = _Rule.of(bursts.attrs["thresholds"])
    unit_bursts = _unit_bursts(rec, rule)
    chance = _crossings_by_chance(unit_bursts, n_shifts, seed)
    _, level = unit_bursts.steps()
    units = np.arange(min(2, rule.edge_units), max(int(level.max(initial=0)), rule.min_units) + 2)
    found = [_n_found(unit_bursts, rule, k) for k in units.tolist()]
    expected = [float(chance[min(k, chance.size - 1)]) for k in units.tolist()]
    return pd.DataFrame({"min_units": units, "found": found, "expected": expected})


def _n_found(bursts: "_UnitBursts", rule: "_Rule", min_units: int) -> int:
    """Return how many intervals reach a number of units; with fewer than at the edges, intervals of that many."""
    edge = min(rule.edge_units, min_units)
    _, _, peak = _candidates(bursts, replace(rule, edge_units=edge))
    return int(np.sum(peak >= min_units))


def unit_bursts_of_rule(rec: SpikeRecording, thresholds: Mapping[str, float]) -> pd.DataFrame:
    """Return the bursts of single units that network bursts are made of.

    Parameters
    ----------
    rec : SpikeRecording
        One culture.
    thresholds : mapping
        ``.attrs["thresholds"]`` of network bursts.

    Returns
    -------
    DataFrame
        As `bursts_max_interval`.
    """
    interval = thresholds["max_interval_s"]
    return bursts_max_interval(rec, interval, interval, thresholds["max_gap_s"], 0.0, int(thresholds["min_spikes"]))


@dataclass(frozen=True)
class _Rule:
    min_units: int
    edge_units: int
    max_interval: float
    min_spikes: int
    max_gap: float

    @classmethod
    def of(cls, thresholds: Mapping[str, float]) -> "_Rule":
        missing = [name for name in THRESHOLDS if name not in thresholds]
        if missing:
            raise RecordingError(
                f"thresholds lack {', '.join(missing)}; expected those of an earlier result, "
                f'.attrs["thresholds"]: {", ".join(THRESHOLDS)}'
            )
        values = [float(thresholds[name]) for name in THRESHOLDS]
        high, low, interval, spikes, gap = values
        if not (np.all(np.isfinite(values)) and 1 <= low <= high and interval > 0 and spikes >= 2 and gap >= 0):
            raise RecordingError(
                f"thresholds {dict(thresholds)}; expected 1 <= edge_units <= min_units, max_interval_s above 0, "
                "min_spikes of 2 or more and max_gap_s of 0 or more"
            )
        return cls(int(high), int(low), interval, int(spikes), gap)

    def as_mapping(self) -> dict[str, float]:
        return dict(
            zip(THRESHOLDS, (self.min_units, self.edge_units, self.max_interval, self.min_spikes, self.max_gap))
        )


@dataclass(frozen=True)
class _UnitBursts:
    """Bursts of single units as closed intervals of ticks, in the recording and in its observed time alone."""

    units: Ticks
    start: Ticks
    stop: Ticks
    observed_start: Ticks
    spans: Ticks
    observed: int  # ticks
    gap: float  # ticks

    def steps(self) -> tuple[Ticks, Ticks]:
        return _steps(self.start, self.stop)


def _unit_bursts(rec: SpikeRecording, rule: _Rule) -> _UnitBursts:
    table = unit_bursts_of_rule(rec, rule.as_mapping())
    start = np.rint(table["start_s"].to_numpy() * rec.tick_rate).astype(np.int64)
    stop = np.rint(table["stop_s"].to_numpy() * rec.tick_rate).astype(np.int64)
    spans = observed_spans(rec)
    (gap,) = snapped(np.array([rule.max_gap]), rec.tick_rate)
    return _UnitBursts(
        units=table["unit"].to_numpy(dtype=np.int64),
        start=start,
        stop=stop,
        observed_start=observed_before(start, spans),
        spans=spans,
        observed=int(np.sum(spans[:, 1] - spans[:, 0])),
        gap=float(gap),
    )


def _steps(start: Ticks, stop: Ticks) -> tuple[Ticks, Ticks]:
    """Return when the number of bursting units changes, and what it changes to."""
    ticks = np.concatenate([start, stop + 1])
    change = np.repeat(np.array([1, -1], dtype=np.int64), start.size)
    order = np.argsort(ticks, kind="stable")
    ticks, level = ticks[order], np.cumsum(change[order])
    last = np.append(ticks[1:] != ticks[:-1], True)[: ticks.size]
    return ticks[last], level[last]


def _crossings_by_chance(bursts: _UnitBursts, n_shifts: int, seed: int) -> NDArray[np.float64]:
    """Return how often, on average, 0, 1, 2, ... shifted units come to burst at once; the last entry is 0."""
    n_levels = np.unique(bursts.units).size + 2
    steps = np.zeros(n_levels)
    length = bursts.stop - bursts.start
    for shift in _shifts(bursts, n_shifts, seed):
        moved = (bursts.observed_start + shift) % bursts.observed
        _, level = _steps(moved, moved + length)
        before = np.concatenate([[0], level[:-1]])
        rises = level > before  # from m to n units: past m + 1, ..., n
        steps += np.bincount(before[rises] + 1, minlength=n_levels)
        steps -= np.bincount(level[rises] + 1, minlength=n_levels)
    return np.cumsum(steps) / max(n_shifts, 1)


def _shifts(bursts: _UnitBursts, n_shifts: int, seed: int) -> Ticks:
    """Return a time per shift and burst, the same for all bursts of a unit; shape (n_shifts, n_bursts).

    A unit's times depend on its bursts and not on its place in the table; copies of a unit get different ones.
    """
    first = np.flatnonzero(np.diff(bursts.units, prepend=-1))
    if not n_shifts or not first.size:
        return np.zeros((0, bursts.units.size), dtype=np.int64)
    last = np.append(first[1:], bursts.units.size)
    trains_ = np.column_stack([bursts.observed_start, bursts.stop - bursts.start])
    seen: dict[int, int] = {}
    drawn = []
    for a, b in zip(first, last):
        key = zlib.crc32(trains_[a:b].tobytes())
        seen[key] = seen.get(key, 0) + 1
        drawn.append(np.random.default_rng([seed, key, seen[key]]).integers(bursts.observed, size=n_shifts))
    return np.repeat(np.column_stack(drawn), last - first, axis=1)


def _chosen(bursts: _UnitBursts, rule: _Rule, base: int, chance: NDArray[np.float64], max_chance: float) -> _Rule:
    """Return the rule with the fewest units at once for which chance is small enough."""
    background = _background(bursts)
    low = background + max(1, -(-base // 2))
    rule = _Rule(background + base, low, rule.max_interval, rule.min_spikes, rule.max_gap)
    _, _, peak = _candidates(bursts, rule)
    high = rule.min_units
    while high < chance.size and chance[high] > max_chance * np.sum(peak >= high):
        high += 1
    return _Rule(high, low, rule.max_interval, rule.min_spikes, rule.max_gap)


def _background(bursts: _UnitBursts) -> int:
    """Return the lower quartile over observed time of the number of bursting units."""
    ticks, level = bursts.steps()
    if not ticks.size:
        return 0
    occupied = np.bincount(level[:-1], weights=np.diff(ticks), minlength=1)
    # holes are no observed silence
    occupied[0] = max(float(bursts.observed - np.sum(occupied[1:])), 0.0)
    return int(np.searchsorted(np.cumsum(occupied), _BACKGROUND * bursts.observed))


def _candidates(bursts: _UnitBursts, rule: _Rule) -> tuple[Ticks, Ticks, Ticks]:
    """Return first and last tick, and the most units at once, of each interval of `edge_units` or more."""
    ticks, level = bursts.steps()
    edges = np.diff((level >= rule.edge_units).astype(np.int8), prepend=0)
    first, last = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    start, stop = ticks[first], ticks[last] - 1
    if not start.size:
        return start, stop, start
    k = np.searchsorted(bursts.spans[:, 0], start, side="right")
    apart = (start[1:] - stop[:-1] > bursts.gap) | (np.diff(k) > 0)
    begins = np.concatenate([[True], apart])
    peak = np.maximum.reduceat(level, first[begins])  # what lies between intervals is below the edge
    return start[begins], stop[np.concatenate([apart, [True]])], peak


def _described(rec: SpikeRecording, start: Ticks, stop: Ticks) -> pd.DataFrame:
    ticks, units = rec.spike_ticks, rec.spike_units
    seen = rec.is_observed(ticks)
    ticks, units, times = ticks[seen], units[seen], rec.spike_times[seen]
    begin, end = np.searchsorted(ticks, start), np.searchsorted(ticks, stop, side="right")
    reach = int(_PEAK_HALF_WIDTH * rec.tick_rate)
    peaks, distinct = [], []
    for a, b in zip(begin.tolist(), end.tolist()):
        own = ticks[a:b]
        near = np.searchsorted(own, own + reach, side="right") - np.searchsorted(own, own - reach)
        peaks.append(a + int(np.argmax(near)))
        distinct.append(np.unique(units[a:b]).size)
    return pd.DataFrame(
        {
            "start_s": times[begin],
            "peak_s": times[np.array(peaks, dtype=np.int64)],
            "stop_s": times[end - 1],
            "n_spikes": (end - begin).astype(np.int64),
            "n_units": np.array(distinct, dtype=np.int64),
        }
    )


def _check(min_units: int, min_fraction: float, max_chance: float) -> None:
    if not (min_units >= 2 and 0 <= min_fraction <= 1 and 0 < max_chance <= 1):
        raise RecordingError(
            f"min_units {min_units}, min_fraction {min_fraction}, max_chance {max_chance}; expected 2 or more units, a "
            "fraction of 0 to 1 and a chance above 0 up to 1"
        )


def _remark(found: int, expected: float, bursts: _UnitBursts, rule: _Rule, chance: NDArray[np.float64]) -> str:
    """Return in words what a reader must know about chance; empty where bursts are well beyond it."""
    if found and expected > _SMALL * found:
        return f"{found} found where {expected:.1f} are expected by chance (units shifted circularly)"
    _, level = bursts.steps()
    most = int(level.max(initial=0))
    if found or most < _LEAST_UNITS:
        return ""
    times, by_chance = _n_found(bursts, rule, most), float(chance[min(most, chance.size - 1)])
    return (
        f"none: at most {most} units burst at once ({times} times, {by_chance:.1f} expected by chance), and "
        f"{rule.min_units} are asked for"
    )
