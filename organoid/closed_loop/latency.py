"""How long a command takes from the decision to the electrode, on the machine a protocol will run on.

In simulated time nothing is late by itself. A latency profile makes it so, from its own random
stream, so that a protocol meets the delays of a rig before it meets the rig.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from organoid.errors import SessionError

_BLOCK = 1024


@dataclass(frozen=True)
class LatencyProfile:
    """Delays drawn from a piecewise-linear quantile function.

    Parameters
    ----------
    name : str
    probabilities : tuple of float
        Increasing, from 0 to 1.
    delays : tuple of float, s
        The quantile at each probability.
    source : str
        Where the numbers come from.
    """

    name: str
    probabilities: tuple[float, ...]
    delays: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        p, d = np.asarray(self.probabilities), np.asarray(self.delays)
        shapes = p.ndim == d.ndim == 1 and p.size == d.size >= 2
        if not (shapes and p[0] == 0 and p[-1] == 1 and np.all(np.diff(p) > 0)):
            raise SessionError(f"latency profile {self.name!r}: probabilities must rise from 0 to 1, one a delay")
        if not (np.all(np.isfinite(d)) and d[0] >= 0 and np.all(np.diff(d) >= 0)):
            raise SessionError(f"latency profile {self.name!r}: delays must be finite, not negative, and not fall")

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one delay, s; always takes one number from `rng`."""
        return float(np.interp(rng.random(), self.probabilities, self.delays))

    def samples(self, rng: np.random.Generator) -> Iterator[float]:
        """Draw delays, s, without end: the numbers that many calls of `sample` give, drawn in blocks."""
        while True:
            yield from np.interp(rng.random(_BLOCK), self.probabilities, self.delays).tolist()


def constant(name: str, delay: float, source: str = "") -> LatencyProfile:
    """Return a profile that always takes `delay` s."""
    return LatencyProfile(name, (0.0, 1.0), (delay, delay), source)


# Adding a profile takes one entry here.
PROFILES = {
    profile.name: profile
    for profile in (
        constant("ideal", 0.0, "no delay"),
        constant("cl1", 40e-6, "vendor's bound on loop jitter at 25 to 12,500 ticks/s"),
        LatencyProfile(
            "maxone",
            (0.0, 0.05, 0.5, 0.95, 0.99, 1.0),
            (2.7e-3, 3.0e-3, 5.85e-3, 8.45e-3, 8.7e-3, 22.6e-3),
            "quantiles of 1,001 published round trips, threshold to pulse (Braingeneers, MaxOne)",
        ),
        constant("finalspark", 0.2, "practical lower bound named by the operator; 35 to 50 ms of it are network"),
    )
}


def latency_profile(profile: str | LatencyProfile) -> LatencyProfile:
    """Return a profile by name, or the profile itself.

    Raises
    ------
    SessionError
        If there is none of that name; the choices are listed.
    """
    if isinstance(profile, LatencyProfile):
        return profile
    if profile not in PROFILES:
        raise SessionError(f"no latency profile {profile!r}; choices: {', '.join(PROFILES)}")
    return PROFILES[profile]
