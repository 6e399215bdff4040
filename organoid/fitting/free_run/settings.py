"""Options of free runs: how many, how long, what counts as near enough, and how a network may be corrected."""

from dataclasses import dataclass

from organoid.errors import FitError


@dataclass(frozen=True)
class Limits:
    """Largest factors, either way, by which a simulation may be off.

    Parameters
    ----------
    rate, burst_rate, burst_duration : tuple of float
        Lowest and highest ratio simulated / recorded.
    rate_correlation : float
        Lowest correlation of unit rates.
    """

    rate: tuple[float, float]
    burst_rate: tuple[float, float]
    burst_duration: tuple[float, float]
    rate_correlation: float


LIMITS = Limits((0.85, 1.15), (0.75, 1.3), (0.75, 1.3), -1.0)  # to pass
GOOD = Limits((1 / 1.1, 1.1), (1 / 1.2, 1.2), (1 / 1.2, 1.2), 0.99)  # not to be corrected any further


@dataclass(frozen=True)
class Plan:
    """What a correction does.

    Parameters
    ----------
    windows : tuple of (float, int)
        Length of the windows (s), and steps with windows of this length.
    bins_per_step : int
        Bins simulated in every step.
    everything : bool
        Whether all weights are corrected, or biases alone.
    """

    windows: tuple[tuple[float, int], ...]
    bins_per_step: int
    everything: bool


RATES = Plan(((1.0, 5), (4.0, 10), (16.0, 15)), 100_000, False)
ALL = Plan(((0.3, 20), (1.0, 20), (4.0, 20), (16.0, 15), (64.0, 10)), 300_000, True)


@dataclass(frozen=True)
class FreeRunSettings:
    """How a network is run freely, compared with its recording, and corrected.

    Parameters
    ----------
    n_runs : int
        Free runs that are scored.
    duration : float
        Of each, s.
    criteria : Limits
        What a network must meet to pass.
    target : Limits
        What ends the search for better weights.
    check_runs : int
        Free runs by which weights are chosen.
    check_duration : float
        Of each, s.
    plans : tuple of Plan
        Corrections that are tried, from gentle to thorough.
    max_loss : tuple of float
        Largest fraction of the likelihood gain over constant rates that a correction may give up: where the culture
        bursts, and where it does not.
    min_segment : float
        Longest interval observed without a break that windows of corrections need, s.
    culture_lif : bool
        Whether a culture LIF network is tried for simulation where the default's weights do not meet `target`.
    drive_duration : float
        Of each free run by which a shared latent drive is fitted, s.

    Raises
    ------
    FitError
        If a number of runs or a duration is not positive.

    Examples
    --------
    >>> FreeRunSettings(n_runs=2, duration=60.0).n_runs
    2
    """

    n_runs: int = 5
    duration: float = 600.0
    criteria: Limits = LIMITS
    target: Limits = GOOD
    check_runs: int = 4
    check_duration: float = 300.0
    plans: tuple[Plan, ...] = (RATES, ALL)
    max_loss: tuple[float, float] = (0.036, 0.015)
    min_segment: float = 1.0
    culture_lif: bool = True
    drive_duration: float = 1200.0

    def __post_init__(self) -> None:
        names = ("n_runs", "duration", "check_runs", "check_duration", "drive_duration")
        wrong = [f"{name}={getattr(self, name)!r}" for name in names if not getattr(self, name) > 0]
        if wrong:
            raise FitError(f"free runs need positive numbers and durations, got {', '.join(wrong)}")


DEFAULT = FreeRunSettings()
