"""What each electrode was given in a minute and in an hour, counted in seconds.

Sums run over whole seconds and one more than the window has, so that no window of a minute or an hour that holds a
pulse can have been given more than was counted: by up to a second in a minute the count is on the careful side. What is
older than an hour is forgotten, so that memory and time do not grow with a session.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from organoid.stimulation.profiles import DeviceProfile


@dataclass(frozen=True)
class DoseRule:
    """A limit of the dose of one electrode in a sliding window.

    Parameters
    ----------
    name : str
        Field of `DeviceProfile`.
    span : str
        The window, in words.
    bins : int
        Bins a window touches at most.
    limit : float, C or V s
    quanta : int
        The limit in whole quanta.
    """

    name: str
    span: str
    bins: int
    limit: float
    quanta: int


class ElectrodeDoses:
    """Doses of every electrode, second by second.

    Parameters
    ----------
    profile : DeviceProfile
        With the limits; without any nothing is counted.
    quantum : float, C or V s
        What doses are counted in.
    """

    def __init__(self, profile: DeviceProfile, quantum: float) -> None:
        self._bin = max(
            1, int(profile.frame_rate)
        )  # frames; a rate that is no whole number makes bins a little shorter
        spans = (("max_minute_dose", "minute", 60), ("max_hour_dose", "hour", 3600))
        self._rules = []
        for name, span, seconds in spans:
            limit = getattr(profile, name)
            if limit is not None:
                bins = math.ceil(seconds * profile.frame_rate / self._bin) + 1
                self._rules.append(DoseRule(name, span, bins, limit, math.floor(limit / quantum * (1 + 1e-9))))
        self._kept: dict[int, dict[int, int]] = {}  # electrode: second: quanta
        self._sums: dict[int, int] = {}
        self._forgotten = -1

    def add(self, electrodes: Sequence[int], at_frame: int, quanta: int) -> None:
        """Count a pulse that gives `quanta` to each electrode; fewer than 0 take one back."""
        if not self._rules:
            return
        second = at_frame // self._bin
        for electrode in electrodes:
            bins = self._kept.setdefault(electrode, {})
            bins[second] = bins.get(second, 0) + quanta
            self._sums[electrode] = self._sums.get(electrode, 0) + quanta

    def beyond(self, electrodes: Sequence[int], at_frame: int, quanta: int) -> tuple[int, int, DoseRule] | None:
        """Return an electrode that a pulse would take beyond a limit, its dose then, and the limit; else None."""
        second = at_frame // self._bin
        for electrode in electrodes:
            whole = self._sums.get(electrode, 0) + quanta  # of an hour and more: most pulses need no other look
            for rule in self._rules:
                if whole <= rule.quanta:
                    continue
                most = quanta + _most(self._kept.get(electrode, {}), second, rule.bins)
                if most > rule.quanta:
                    return electrode, most, rule
        return None

    def forget(self, before_frame: int) -> None:
        """Drop what no window that ends at `before_frame` or later can hold."""
        if not self._rules:
            return
        second = before_frame // self._bin
        if second <= self._forgotten:
            return
        self._forgotten = second
        oldest = second - max(rule.bins for rule in self._rules) + 1
        for electrode, bins in self._kept.items():
            while bins and (first := next(iter(bins))) < oldest:  # added in time but for pulses planned ahead
                self._sums[electrode] -= bins.pop(first)

    def entries(self) -> tuple[tuple[int, int, int], ...]:
        """Return (electrode, second, quanta) of all that is kept, in order."""
        return tuple(
            (electrode, second, quanta)
            for electrode, bins in sorted(self._kept.items())
            for second, quanta in sorted(bins.items())
            if quanta
        )

    def restore(self, entries: Iterable[tuple[int, int, int]]) -> None:
        """Put back what `entries` gave."""
        self._kept, self._sums, self._forgotten = {}, {}, -1
        for electrode, second, quanta in entries:
            self._kept.setdefault(electrode, {})[second] = quanta
            self._sums[electrode] = self._sums.get(electrode, 0) + quanta


def _most(bins: dict[int, int], second: int, width: int) -> int:
    """Return the largest sum of `width` seconds in a row that hold a given one."""
    sums = most = sum(bins.get(at, 0) for at in range(second - width + 1, second + 1))
    for end in range(second + 1, min(max(bins, default=second), second + width - 1) + 1):
        sums += bins.get(end, 0) - bins.get(end - width, 0)
        most = max(most, sums)
    return most
