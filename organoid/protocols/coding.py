"""Encoders and decoders, parts to swap: from numbers of a task to pulses on sites, from spikes back to numbers.

An encoder turns values between 0 and 1 into (frame, site) events of one decision interval; which electrodes a site is
and what waveform it gets is for the protocol to say. A decoder turns the spike counts of one tick into output values.
Both are values without state of their own: state is passed in and out, as in protocols.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, ClassVar
from typing import Protocol as TypingProtocol

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop import DeviceInfo, SessionError

Array = NDArray[np.float64]
Event = tuple[int, int]  # frame, site


class Encoder(TypingProtocol):
    """Values in, pulses out."""

    kind: ClassVar[str]

    def n_sites(self, n_values: int) -> int:
        """Return how many sites `n_values` values need."""

    def encode(
        self, values: Array, start: int, stop: int, frame_rate: Fraction, state: Array | None
    ) -> tuple[list[Event], Array]:
        """Return events of the frames ``[start, stop)`` in order, and the next state (None: the first)."""


class Decoder(TypingProtocol):
    """Spike counts in, values out."""

    kind: ClassVar[str]

    @property
    def n_outputs(self) -> int:
        """Number of values."""

    def start(self, info: DeviceInfo) -> dict[str, Any]:
        """Return the first state for a device: readout and spike rates, arrays only."""

    def decode(self, counts: NDArray[np.int64], duration: float, state: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Return the values after a tick of `duration` s, and the next state."""


@dataclass(frozen=True)
class RateEncoder:
    """One site per value; the value sets its pulse rate, ``lowest + value * (highest - lowest)``.

    Parameters
    ----------
    lowest, highest : float, Hz
        Pulse rates of the values 0 and 1; the defaults are those of a culture playing Pong (Kagan et al. 2022).

    Examples
    --------
    >>> events, _ = RateEncoder(10.0, 10.0).encode(np.array([0.5]), 0, 5000, Fraction(20_000), None)
    >>> events
    [(2000, 0), (4000, 0)]
    """

    lowest: float = 4.0
    highest: float = 40.0
    kind: ClassVar[str] = "rate"

    def __post_init__(self) -> None:
        _check_rates(self.lowest, self.highest)

    def n_sites(self, n_values: int) -> int:
        """Return `n_values`."""
        return n_values

    def encode(
        self, values: Array, start: int, stop: int, frame_rate: Fraction, state: Array | None
    ) -> tuple[list[Event], Array]:
        """Return the pulses of each value's site; the phase of its rhythm is the state."""
        phase = np.zeros(len(values)) if state is None else state
        rates = self.lowest + np.clip(values, 0.0, 1.0) * (self.highest - self.lowest)
        events: list[Event] = []
        following = phase.copy()
        for site, rate in enumerate(rates):
            frames, following[site] = _rhythm(phase[site], float(rate), start, stop, frame_rate)
            events += [(frame, site) for frame in frames]
        return sorted(events), following


@dataclass(frozen=True)
class PlaceEncoder:
    """The first value chooses one of `n_places` sites, the second (if there is one) its pulse rate.

    Parameters
    ----------
    n_places : int
        Sites, in the order of the value.
    lowest, highest : float, Hz
        Pulse rates of the second value's 0 and 1; without a second value the rate is `highest`.
    """

    n_places: int = 8
    lowest: float = 4.0
    highest: float = 40.0
    kind: ClassVar[str] = "place"

    def __post_init__(self) -> None:
        _check_rates(self.lowest, self.highest)
        if self.n_places < 1:
            raise SessionError(f"a place code of {self.n_places} places; expected 1 or more")

    def n_sites(self, n_values: int) -> int:
        """Return the number of places."""
        if not 1 <= n_values <= 2:
            raise SessionError(f"a place code takes 1 or 2 values (place, rate), not {n_values}; use another encoder")
        return self.n_places

    def encode(
        self, values: Array, start: int, stop: int, frame_rate: Fraction, state: Array | None
    ) -> tuple[list[Event], Array]:
        """Return the pulses of the chosen site; the phase of the rhythm is the state."""
        phase = np.zeros(1) if state is None else state
        clipped = np.clip(values, 0.0, 1.0)
        site = min(int(clipped[0] * self.n_places), self.n_places - 1)
        level = float(clipped[1]) if len(values) > 1 else 1.0
        rate = self.lowest + level * (self.highest - self.lowest)
        frames, following = _rhythm(phase[0], rate, start, stop, frame_rate)
        return [(frame, site) for frame in frames], np.array([following])


@dataclass(frozen=True)
class LatencyEncoder:
    """One site and one pulse per value and decision; the larger the value, the earlier the pulse.

    Parameters
    ----------
    longest : float, s
        Delay of the value 0; the value 1 has none. Delays beyond the decision interval are cut to its last frame.
    """

    longest: float = 0.01
    kind: ClassVar[str] = "latency"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.longest) and self.longest > 0):
            raise SessionError(f"a longest delay of {self.longest!r} s; expected a positive number")

    def n_sites(self, n_values: int) -> int:
        """Return `n_values`."""
        return n_values

    def encode(
        self, values: Array, start: int, stop: int, frame_rate: Fraction, state: Array | None
    ) -> tuple[list[Event], Array]:
        """Return one pulse per value."""
        delays = (1.0 - np.clip(values, 0.0, 1.0)) * self.longest * float(frame_rate)
        frames = np.minimum(start + np.rint(delays).astype(np.int64), stop - 1)
        return sorted((int(frame), site) for site, frame in enumerate(frames)), np.zeros(0)


@dataclass(frozen=True)
class PopulationVector:
    r"""Groups of units vote for directions: ``y = sum_g r_g d_g / sum_g r_g``, 0 where all are silent.

    ``r_g`` is the mean rate of group g per unit, over an exponential window (Georgopoulos et al. 1986). With a baseline
    it is divided by its mean over a much longer window: a group that always fires more than another has no louder vote.

    Parameters
    ----------
    directions : sequence of sequence of float
        ``d_g``, one row per group. The default is one output: the first group votes -1, the second +1.
    groups : sequence of sequence of int, optional
        Units of each group. Default: all units, divided evenly along x (then y, then number).
    window : float, s
        Time constant of the exponential window.
    baseline : float, s, optional
        Time constant of the baseline, much longer than `window`. Default: none, rates count as they are.
    """

    directions: tuple[tuple[float, ...], ...] = ((-1.0,), (1.0,))
    groups: tuple[tuple[int, ...], ...] | None = None
    window: float = 0.1
    baseline: float | None = None
    kind: ClassVar[str] = "population_vector"

    def __post_init__(self) -> None:
        _check_window(self.window)
        if self.baseline is not None and not (math.isfinite(self.baseline) and self.baseline > self.window):
            raise SessionError(f"a baseline of {self.baseline!r} s; expected more than the window of {self.window} s")
        object.__setattr__(self, "directions", _rows(self.directions, float))
        if self.groups is not None:
            object.__setattr__(self, "groups", _rows(self.groups, int))
            if len(self.groups) != len(self.directions):
                raise SessionError(f"{len(self.groups)} groups of units for {len(self.directions)} directions")
        if not self.directions or len({len(row) for row in self.directions}) != 1:
            raise SessionError("directions of a population vector must be one row of equal length per group")

    @property
    def n_outputs(self) -> int:
        """Dimensions of the directions."""
        return len(self.directions[0])

    def start(self, info: DeviceInfo) -> dict[str, Any]:
        """Return the weight of each unit's rate in each group's mean, and empty windows."""
        groups = unit_groups(info, len(self.directions)) if self.groups is None else self.groups
        mean = np.zeros((len(groups), info.n_units))
        for row, group in zip(mean, groups, strict=True):
            _check_units(group, info)
            row[list(group)] = 1.0 / len(group)
        return {"readout": mean, **empty_window(info.n_units), "baseline": empty_window(info.n_units)}

    def decode(self, counts: NDArray[np.int64], duration: float, state: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Return the vector after a tick."""
        rates, state = windowed(counts, duration, self.window, state)
        votes = state["readout"] @ rates
        if self.baseline is not None:
            usual, slow = windowed(counts, duration, self.baseline, state["baseline"])
            state = {**state, "baseline": slow}
            usual = state["readout"] @ usual
            votes = np.divide(votes, usual, out=np.zeros_like(votes), where=usual > 0)
        total = votes.sum()
        return (votes / total @ np.array(self.directions) if total > 0 else np.zeros(self.n_outputs)), state


@dataclass(frozen=True)
class LinearReadout:
    """A weighted sum of the units' rates: ``y = W r + b``, over an exponential window.

    Parameters
    ----------
    weights : sequence of sequence of float, per Hz
        ``W``, shape (n_outputs, n_units).
    bias : sequence of float, optional
        ``b``; default 0.
    window : float, s
        Time constant of the exponential window.
    """

    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...] = ()
    window: float = 0.1
    kind: ClassVar[str] = "linear_readout"

    def __post_init__(self) -> None:
        _check_window(self.window)
        object.__setattr__(self, "weights", _rows(self.weights, float))
        object.__setattr__(self, "bias", tuple(float(value) for value in self.bias) or (0.0,) * len(self.weights))
        if not self.weights or len(self.bias) != len(self.weights):
            raise SessionError(f"a readout of {len(self.weights)} rows of weights and {len(self.bias)} biases")

    @property
    def n_outputs(self) -> int:
        """Rows of weights."""
        return len(self.weights)

    def start(self, info: DeviceInfo) -> dict[str, Any]:
        """Return the weights and empty windows."""
        if any(len(row) != info.n_units for row in self.weights):
            raise SessionError(f"a readout of {len(self.weights[0])} units; {info.name} has {info.n_units}")
        return {"readout": np.array(self.weights), **empty_window(info.n_units)}

    def decode(self, counts: NDArray[np.int64], duration: float, state: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
        """Return the outputs after a tick."""
        rates, state = windowed(counts, duration, self.window, state)
        return state["readout"] @ rates + np.array(self.bias), state


# Adding a part takes its class and one entry here.
ENCODERS: dict[str, type[Any]] = {part.kind: part for part in (RateEncoder, PlaceEncoder, LatencyEncoder)}
DECODERS: dict[str, type[Any]] = {part.kind: part for part in (PopulationVector, LinearReadout)}


def to_dict(part: Any) -> dict[str, Any]:
    """Return an encoder or decoder as plain JSON values: its kind and its parameters."""
    return {"kind": part.kind, **asdict(part)}


def encoder(part: "Encoder | str | Mapping[str, Any]") -> Encoder:
    """Return an encoder from itself, its kind, or what `to_dict` wrote.

    Examples
    --------
    >>> encoder("rate")
    RateEncoder(lowest=4.0, highest=40.0)
    """
    found: Encoder = _part(part, ENCODERS, "encoder")
    return found


def decoder(part: "Decoder | str | Mapping[str, Any]") -> Decoder:
    """Return a decoder from itself, its kind, or what `to_dict` wrote."""
    found: Decoder = _part(part, DECODERS, "decoder")
    return found


def _part(part: Any, kinds: Mapping[str, type[Any]], what: str) -> Any:
    if not isinstance(part, str | Mapping):
        return part
    values = {"kind": part} if isinstance(part, str) else dict(part)
    kind = values.pop("kind", None)
    if kind not in kinds:
        raise SessionError(f"no {what} {kind!r}; choices: {', '.join(kinds)}")
    try:
        return kinds[kind](**values)
    except TypeError as error:
        raise SessionError(f"{what} {kind!r} does not take these parameters: {error}") from None


def unit_groups(info: DeviceInfo, n_groups: int) -> tuple[tuple[int, ...], ...]:
    """Divide all units evenly into groups, along x, then y, then number; unknown positions come last."""
    if not 1 <= n_groups <= info.n_units:
        raise SessionError(f"{info.name} has {info.n_units} units; they cannot be divided into {n_groups} groups")
    x, y = (info.units[name].to_numpy(dtype=float, na_value=np.nan) for name in ("x_um", "y_um"))
    order = np.lexsort((np.arange(info.n_units), y, x))
    return tuple(tuple(int(unit) for unit in group) for group in np.array_split(order, n_groups))


def _rhythm(phase: float, rate: float, start: int, stop: int, frame_rate: Fraction) -> tuple[list[int], float]:
    """Return the frames in ``[start, stop)`` of a rhythm, and the part of a period since the last of them."""
    per_frame = rate / float(frame_rate)
    if per_frame == 0:
        return [], phase
    frames: list[int] = []
    while (frame := start + max(0, math.ceil((len(frames) + 1 - phase) / per_frame - 1e-6))) < stop:
        frames.append(frame)
    return frames, phase + per_frame * (stop - start) - len(frames)


def empty_window(size: int) -> dict[str, Any]:
    """Return a window in which nothing was counted yet."""
    return {"weighted": np.zeros(size), "weight": 0.0}


def windowed(
    counts: NDArray[Any], duration: float, window: float, state: dict[str, Any]
) -> tuple[Array, dict[str, Any]]:
    """Return counts per s over a normalised exponential window, so that its start is not taken for silence."""
    decay = math.exp(-duration / window)
    weighted, weight = decay * state["weighted"] + counts, decay * state["weight"] + duration
    return weighted / weight, {**state, "weighted": weighted, "weight": weight}


def _check_rates(lowest: float, highest: float) -> None:
    if not (math.isfinite(highest) and 0 <= lowest <= highest and highest > 0):
        raise SessionError(f"pulse rates of {lowest!r} to {highest!r} Hz; expected 0 <= lowest <= highest, highest > 0")


def _check_window(window: float) -> None:
    if not (math.isfinite(window) and window > 0):
        raise SessionError(f"a window of {window!r} s; expected a positive number")


def _check_units(group: Sequence[int], info: DeviceInfo) -> None:
    wrong = [unit for unit in group if not 0 <= unit < info.n_units]
    if wrong or not group:
        seen = f"names unit {wrong[0]}" if wrong else "is empty"
        raise SessionError(f"a group of units {seen}; {info.name} has units 0 to {info.n_units - 1}")


def _rows(rows: Any, kind: type[Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(kind(value) for value in row) for row in rows)
