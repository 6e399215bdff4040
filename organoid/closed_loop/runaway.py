"""A watch from outside: a culture that fires far beyond what it ever did by itself gets no more pulses.

The rate of all units over the last 2 s is held against the highest that a recording of the culture held over 2 s. It
counts what a device detects, whatever the cause; a simulated culture has a limit of its own besides.
"""

from collections import deque

import numpy as np

from organoid.errors import RunawayError, SessionError
from organoid.recording import SpikeRecording
from organoid.statistics.runaway import RUNAWAY_FACTOR, RUNAWAY_WINDOW


class RunawayWatch:
    """Stop a session whose culture runs away.

    Parameters
    ----------
    highest_rate : float, spikes/s
        Of all units together, over 2 s, that the culture reached by itself.

    Examples
    --------
    >>> watch = RunawayWatch(highest_rate=100.0)
    >>> watch.add(stop_s=1.0, n_spikes=300)
    >>> watch.add(stop_s=2.0, n_spikes=800)
    Traceback (most recent call last):
    organoid.errors.RunawayError: the culture fired 550 spikes/s over the last 2 s, more than 5 times ...
    """

    def __init__(self, highest_rate: float) -> None:
        self._highest = highest_rate
        self._recent: deque[tuple[float, int]] = deque()  # end (s) and spikes of each part of the last 2 s
        self._n_spikes = 0

    def add(self, stop_s: float, n_spikes: int) -> None:
        """Count the spikes up to a time, which follows the one before.

        Raises
        ------
        RunawayError
            If the last 2 s held too many. Nothing is judged before 2 s have passed.
        """
        self._recent.append((stop_s, n_spikes))
        self._n_spikes += n_spikes
        while self._recent[0][0] <= stop_s - RUNAWAY_WINDOW:
            self._n_spikes -= self._recent.popleft()[1]
        rate = self._n_spikes / RUNAWAY_WINDOW
        if stop_s >= RUNAWAY_WINDOW and rate > RUNAWAY_FACTOR * self._highest:
            raise RunawayError(
                f"the culture fired {rate:g} spikes/s over the last {RUNAWAY_WINDOW:g} s, more than "
                f"{RUNAWAY_FACTOR:g} times the {self._highest:g} spikes/s it reached by itself; stimulation was "
                f"stopped at {stop_s:g} s"
            )


def highest_rate(reference: SpikeRecording | float) -> float:
    """Return the highest rate of all units together over 2 s, spikes/s.

    Parameters
    ----------
    reference : SpikeRecording or float
        A recording of the culture without pulses, or that rate itself.

    Raises
    ------
    SessionError
        If the rate is no positive number, or the recording holds no spikes.

    Examples
    --------
    >>> highest_rate(SpikeRecording([0.1, 0.2, 3.0], [0, 0, 0], n_units=1, t_stop=4.0))
    1.0
    """
    if isinstance(reference, SpikeRecording):
        times = reference.spike_times
        following = np.searchsorted(times, times + RUNAWAY_WINDOW, side="left")
        rate = float((following - np.arange(times.size)).max(initial=0) / RUNAWAY_WINDOW)
        came = "a recording without spikes"
    else:
        rate, came = float(reference), f"{reference!r} spikes/s"
    if not (np.isfinite(rate) and rate > 0):
        raise SessionError(f"reference is {came}; expected a recording of the culture, or its highest rate over 2 s")
    return rate
