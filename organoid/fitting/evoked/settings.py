"""Constants of the evoked stage."""

from dataclasses import dataclass

from organoid.errors import FitError


@dataclass(frozen=True)
class EvokedSettings:
    """How responses to pulses are calibrated.

    Parameters
    ----------
    reach : float, s
        How long a pulse acts.
    first, offset : float, s
        Peak of the first raised cosine of a filter, and what is added to time before its logarithm is taken.
    n_cosines : int
    ridge, sparse_ridge : float
        Pull of the weights back to where they started, for units with `sparse_spikes` evoked and other spikes in the
        training pulses' reach, or more, and for those with fewer.
    sparse_spikes : float
    rounds, polish_rounds : int
        Free runs of every session: rough rounds with one copy of it, then rounds with `polish_copies`.
    polish_copies : int
    step, step_decay, polish_step : float
        Part of a Newton step taken in rough round ``k``: ``step / (1 + step_decay k)``, and in polish rounds.
    max_weight : float, logit
        Largest change of a weight in one round.
    background : (float, float), s
        After a pulse: when its response is over and the baseline of the session is measured.
    baseline_step : float
        Part of the log ratio of recorded and simulated background taken in a rough round.
    max_baseline : float, logit
    min_pulses : int
        Training pulses of an electrode for a filter of its own.
    lowest_rate, highest_rate : float
        Mean rate in free run without pulses, relative to the recorded one, outside which a network is rejected.
    """

    reach: float = 0.8
    first: float = 0.006
    offset: float = 0.0005
    n_cosines: int = 12
    ridge: float = 3.0
    sparse_ridge: float = 0.3
    sparse_spikes: float = 30.0
    rounds: int = 14
    polish_rounds: int = 6
    polish_copies: int = 2
    step: float = 0.4
    step_decay: float = 0.1
    polish_step: float = 0.2
    max_weight: float = 2.0
    background: tuple[float, float] = (1.0, 4.9)
    baseline_step: float = 0.4
    max_baseline: float = 3.0
    min_pulses: int = 5
    lowest_rate: float = 0.25
    highest_rate: float = 4.0

    def __post_init__(self) -> None:
        positive = ("reach", "first", "offset", "n_cosines", "rounds", "polish_rounds", "polish_copies", "min_pulses")
        for name in positive:
            if not getattr(self, name) > 0:
                raise FitError(f"{name} = {getattr(self, name)!r}; expected a positive number")
        if not 0 < self.background[0] < self.background[1]:
            raise FitError(f"background = {self.background!r} s; expected (start, stop) after a pulse, start < stop")
