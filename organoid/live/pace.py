"""`Pace`: hold a simulated session to the speed of the clock on the wall, for watching."""

import time
from collections.abc import Sequence

from organoid.closed_loop import Command, SessionError, Tick


class Pace:
    """An observer that waits after every tick until its time has come; nothing in the journal but wall times changes.

    Parameters
    ----------
    speed : float
        Simulated seconds per second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not 0 < speed < float("inf"):
            raise SessionError(f"a speed of {speed!r} times real time; expected a positive number")
        self._speed, self._began = speed, 0.0

    def on_tick(self, tick: Tick, commands: Sequence[Command]) -> None:
        """Wait until the tick's time."""
        now = time.perf_counter()
        if tick.index == 0:
            self._began = now - tick.time / self._speed
        time.sleep(max(0.0, self._began + tick.time / self._speed - now))
