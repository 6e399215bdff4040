"""One seed, several independent random streams: what one part draws never shifts another's numbers."""

import numpy as np

from organoid.errors import SessionError

_STREAMS = {"protocol": 1, "latency": 2, "tick": 3}


def check_seed(seed: int) -> int:
    """Return the seed as int; reject anything that is not a whole number of 0 or more, below 2**63."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= int(seed) < 2**63:
        raise SessionError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")
    return int(seed)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one part of a session.

    The device gets the seed itself and names its own streams from it, so that a session without
    stimuli is the same spontaneous run as a simulation with that seed.

    Parameters
    ----------
    seed : int
    name : str
        "protocol" or "latency".
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_STREAMS[name],))))


def tick_stream(seed: int, tick: int) -> np.random.Generator:
    """Return the generator of one tick: the same whenever, and on whatever, that tick is decided again."""
    words = np.random.SeedSequence(seed, spawn_key=(_STREAMS["tick"], tick))
    return np.random.Generator(np.random.PCG64(words))
