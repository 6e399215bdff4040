"""Network steps in frames: how many, and distinct frames for the spikes of one step."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError

Index = NDArray[np.int64]


def frames_per_step(dt: float, frame_rate: Fraction) -> int:
    """Return the frames of a step; reject a step that is not a whole number of them."""
    frames = dt * float(frame_rate)
    whole = round(frames)
    if whole < 1 or abs(frames - whole) > 1e-6 * frames:
        raise ModelError(
            f"a network step of {dt:g} s is {frames:g} frames at {float(frame_rate):g} Hz; expected a whole number, "
            f"such as {max(whole, 1) / float(frame_rate):g} s"
        )
    return whole


def coprime_stride(n: int) -> int:
    """Return a stride near 0.618 n that visits every residue of n."""
    stride = max(1, round(0.618 * n))
    while np.gcd(stride, n) != 1:
        stride += 1
    return stride


def rank_among_equals(values: Index) -> Index:
    """Return for each value how many equal ones come before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    if not np.any(ordered[1:] == ordered[:-1]):
        return np.zeros(values.size, dtype=np.int64)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    lengths = np.diff(np.append(starts, values.size))
    rank = np.empty(values.size, dtype=np.int64)
    rank[order] = np.arange(values.size) - np.repeat(starts, lengths)
    return rank
