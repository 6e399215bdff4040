"""Tick boundaries: exact rationals on the frame clock, so that 30 Hz stays 30 Hz."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from organoid.errors import DeviceError, SessionError

Rate = float | str | Fraction
LARGEST_DENOMINATOR = 1_000_000


def as_fraction(value: float | str | Fraction, what: str) -> Fraction:
    """Return a positive number as the fraction a person means by it: 0.1 is 1/10, 3333.3 is 33333/10.

    Parameters
    ----------
    value : float, str or Fraction
        Its shortest decimal form is taken at its word; one with a denominator above a million (a third,
        say) is replaced by the nearest fraction below.
    what : str
        Name of the quantity, for errors.

    Raises
    ------
    SessionError
        If it is not a positive finite number.

    Examples
    --------
    >>> as_fraction(3333.3, "tick_rate"), as_fraction(100 / 3, "tick_rate")
    (Fraction(33333, 10), Fraction(100, 3))
    """
    try:
        fraction = Fraction(value) if isinstance(value, Fraction) else Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise SessionError(f"{what} is {value!r}; expected a positive finite number") from None
    if not isinstance(value, Fraction) and fraction.denominator > LARGEST_DENOMINATOR:
        fraction = fraction.limit_denominator(LARGEST_DENOMINATOR)
    if fraction <= 0:
        raise SessionError(f"{what} is {value!r}; expected a positive finite number")
    return fraction


@dataclass(frozen=True)
class TickClock:
    """Frames at which ticks fall: boundary ``k`` is frame ``floor(k * frame_rate / tick_rate)``.

    Tick ``k`` (0, 1, 2, ...) sees the frames from boundary ``k`` up to, not including, boundary ``k + 1``
    and decides at the latter. Rounding never accumulates.

    Parameters
    ----------
    frame_rate : Fraction
        Frames per second, Hz.
    tick_rate : Fraction
        Ticks per second, Hz; at most one a frame.
    duration : Fraction
        Length of the session, s.
    """

    frame_rate: Fraction
    tick_rate: Fraction
    duration: Fraction

    def __post_init__(self) -> None:
        if self.frame_rate <= 0:
            raise DeviceError(f"the device has a frame rate of {self.frame_rate} Hz; expected a positive one")
        if self.tick_rate > self.frame_rate:
            raise SessionError(
                f"{float(self.tick_rate):g} ticks/s asked for, but the device has {float(self.frame_rate):g} "
                "frames/s; ask for at most one tick a frame"
            )
        if self.n_ticks < 1:
            raise SessionError(
                f"a session of {float(self.duration):g} s holds no tick at {float(self.tick_rate):g} ticks/s; "
                "make it longer"
            )

    @classmethod
    def of(cls, frame_rate: Fraction, tick_rate: Rate, duration: Rate) -> "TickClock":
        """Build a clock from numbers as people write them."""
        return cls(Fraction(frame_rate), as_fraction(tick_rate, "tick_rate"), as_fraction(duration, "duration"))

    @property
    def n_ticks(self) -> int:
        """Whole ticks in the session."""
        return int(self.duration * self.tick_rate)

    @property
    def end_frame(self) -> int:
        """First frame after the session; a remainder shorter than a tick lies between it and the last tick."""
        return int(self.duration * self.frame_rate)

    @cached_property
    def _step(self) -> tuple[int, int]:
        return (self.frame_rate / self.tick_rate).as_integer_ratio()

    def boundary(self, k: int) -> int:
        """Return the frame of boundary `k`, exact."""
        return k * self._step[0] // self._step[1]

    def ticks_before(self, frame: int) -> int:
        """Return how many ticks have been decided when time has come to `frame`."""
        k = frame * self._step[1] // self._step[0]
        while self.boundary(k + 1) <= frame:
            k += 1
        return min(k, self.n_ticks)
