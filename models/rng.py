"""Random numbers from counters: the value depends on key and counters alone, never on call order.

A stream is SplitMix64 (Steele, Lea & Flood 2014) evaluated at an arbitrary position, so that spikes
do not depend on the number of threads, on how a run is cut into pieces, or on whether a stimulus was
given in between.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoid.jit import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@kernel(inline="always")
def mix(z: np.uint64) -> np.uint64:
    """Scramble 64 bits (for use inside numba code)."""
    z = (z ^ (z >> _S30)) * _MIX_A
    z = (z ^ (z >> _S27)) * _MIX_B
    return z ^ (z >> _S31)


@kernel(inline="always")
def uniform_at(key: np.uint64, counter: np.uint64) -> float:
    """Return the number in [0, 1) at one position of one stream (for use inside numba code)."""
    return np.float64(mix(key + (counter + np.uint64(1)) * GOLDEN) >> _S11) * TO_UNIT


@kernel()
def _uniform(key: np.uint64, counters: NDArray[np.uint64]) -> NDArray[np.float64]:
    out = np.empty(counters.size)
    for k in range(counters.size):
        out[k] = uniform_at(key, counters[k])
    return out


@kernel()
def _fold(words: NDArray[np.uint64]) -> np.uint64:
    key = np.uint64(0)
    for word in words:
        key = mix(key + word + GOLDEN)
    return key


def stream_key(*words: int | str) -> np.uint64:
    """Return the key of a stream from a seed and names or numbers, e.g. ``stream_key(seed, "spikes")``."""
    numbers: list[int] = []
    for word in words:
        if isinstance(word, str):
            data = word.encode()
            numbers += [len(data)] + [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        else:
            numbers.append(int(word) & 0xFFFFFFFFFFFFFFFF)
    return np.uint64(_fold(np.array(numbers, dtype=np.uint64)))


def uniform(key: np.uint64, counters: ArrayLike) -> NDArray[np.float64]:
    """Return the numbers in [0, 1) at the given positions of a stream.

    Parameters
    ----------
    key : uint64
        From `stream_key`.
    counters : array_like of int
        Positions, 0 or more.

    Returns
    -------
    ndarray of float64, same shape
    """
    positions = np.asarray(counters)
    return np.asarray(_uniform(key, positions.astype(np.uint64).ravel())).reshape(positions.shape)
