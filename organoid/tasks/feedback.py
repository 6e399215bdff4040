"""What a culture is told about its success: predictable pulses, unpredictable ones, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal
from typing import Protocol as TypingProtocol

import numpy as np

from organoid.errors import SessionError
from organoid.protocols.coding import Event

_JITTER = 0.8  # of a slot: pulses of neighbouring slots stay apart by the rest
_GAP_S = 0.02  # between the last pulse of the task and the first of the feedback


class Feedback(TypingProtocol):
    """Pulses that follow a step of a task."""

    kind: ClassVar[str]

    def respond(
        self, reward: float, terminated: bool, truncated: bool, n_sites: int, frame_rate: Fraction, rng: Any
    ) -> tuple[list[Event], int]:
        """Return events, in frames from now on, and the frames the task rests for them."""

    def highest_rate(self) -> float:
        """Return the most pulses per s and site."""


@dataclass(frozen=True)
class NoFeedback:
    """The control "silent": nothing follows, whatever the culture does; after an episode the task rests.

    Parameters
    ----------
    rest : float, s
        Rest after the end of an episode.
    """

    rest: float = 0.0
    kind: ClassVar[str] = "none"

    def respond(
        self, reward: float, terminated: bool, truncated: bool, n_sites: int, frame_rate: Fraction, rng: Any
    ) -> tuple[list[Event], int]:
        """Return no event."""
        return [], round(self.rest * float(frame_rate)) if terminated or truncated else 0

    def highest_rate(self) -> float:
        """Return 0."""
        return 0.0


@dataclass(frozen=True)
class EventFeedback:
    """Predictable pulses on all sites after success, unpredictable ones on random sites after failure.

    The defaults follow a published culture playing Pong (Kagan et al. 2022). The task rests while feedback lasts.

    Parameters
    ----------
    reward_above : float, optional
        A step with a larger reward is a success, too. Default: only the end of an episode is success or failure.
    success_rate, success_duration : float, Hz and s
        Regular pulses on all sites at once.
    failure_rate, failure_duration : float, Hz and s
        Pulses at random times, each on one random site.
    termination : {"failure", "success"}
        What it means that an episode terminates (a fallen pole, a goal reached); its time limit means the other.
    """

    reward_above: float | None = None
    success_rate: float = 100.0
    success_duration: float = 0.1
    failure_rate: float = 5.0
    failure_duration: float = 4.0
    termination: Literal["failure", "success"] = "failure"
    kind: ClassVar[str] = "events"

    def __post_init__(self) -> None:
        for name in ("success_rate", "success_duration", "failure_rate", "failure_duration"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SessionError(f"feedback with {name} {getattr(self, name)!r}; expected a positive number")
        if self.termination not in ("failure", "success"):
            raise SessionError(f"feedback with termination {self.termination!r}; expected 'failure' or 'success'")

    def respond(
        self, reward: float, terminated: bool, truncated: bool, n_sites: int, frame_rate: Fraction, rng: Any
    ) -> tuple[list[Event], int]:
        """Return the pulses of a success, a failure, or none."""
        failed, reached = (terminated, truncated) if self.termination == "failure" else (truncated, terminated)
        if failed:
            return self._failure(n_sites, float(frame_rate), rng)
        if reached or (self.reward_above is not None and reward > self.reward_above):
            return self._success(n_sites, float(frame_rate))
        return [], 0

    def _success(self, n_sites: int, frame_rate: float) -> tuple[list[Event], int]:
        n = max(1, int(self.success_duration * self.success_rate + 1e-9))
        frames = [round((_GAP_S + k / self.success_rate) * frame_rate) for k in range(n)]
        events = [(frame, site) for frame in frames for site in range(n_sites)]
        return events, round((_GAP_S + max(self.success_duration, n / self.success_rate)) * frame_rate)

    def _failure(self, n_sites: int, frame_rate: float, rng: Any) -> tuple[list[Event], int]:
        n = max(1, int(self.failure_duration * self.failure_rate + 1e-9))
        times = _GAP_S + (np.arange(n) + _JITTER * rng.random(n)) / self.failure_rate
        sites = rng.integers(n_sites, size=n)
        events = [(round(time * frame_rate), int(site)) for time, site in zip(times, sites, strict=True)]
        return events, round((_GAP_S + max(self.failure_duration, n / self.failure_rate)) * frame_rate)

    def highest_rate(self) -> float:
        """Return the faster of the two rates."""
        return max(self.success_rate, self.failure_rate)


FEEDBACKS: dict[str, type[Any]] = {part.kind: part for part in (NoFeedback, EventFeedback)}


def feedback(part: "Feedback | str | Mapping[str, Any]") -> Feedback:
    """Return feedback from itself, its kind, or plain values."""
    if not isinstance(part, str | Mapping):
        return part
    values = {"kind": part} if isinstance(part, str) else dict(part)
    kind = values.pop("kind", None)
    if kind not in FEEDBACKS:
        raise SessionError(f"no feedback {kind!r}; choices: {', '.join(FEEDBACKS)}")
    try:
        found: Feedback = FEEDBACKS[kind](**values)
    except TypeError as error:
        raise SessionError(f"feedback {kind!r} does not take these parameters: {error}") from None
    return found
