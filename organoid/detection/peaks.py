"""Threshold crossings and artefacts in one block of filtered voltage."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.detection.settings import DetectionSettings


class Peaks(NamedTuple):
    """Rows and channels of the peaks of a block, their voltages (V), and which rows are in artefacts."""

    rows: NDArray[np.int64]
    channels: NDArray[np.int64]
    amplitudes: NDArray[np.float32]


def find_peaks(
    block: NDArray[np.float64], noise: NDArray[np.float64], settings: DetectionSettings, rate: float
) -> Peaks:
    """Return the peaks beyond the threshold that are the largest within the dead time on both sides.

    The rule is that of SpikeInterface's ``by_channel`` detector: a peak is larger than all samples before it in the
    dead time, and no smaller than those after it.

    Parameters
    ----------
    block : ndarray, shape (rows, channels), V
    noise : ndarray, shape (channels,), V
        0 or not finite: a dead channel, without spikes.
    settings : DetectionSettings
    rate : float, Hz
    """
    sweep = int(settings.dead_time * rate)
    limit = np.where(np.isfinite(noise) & (noise > 0), settings.threshold * noise, np.inf)
    signs = {"negative": (-1.0,), "positive": (1.0,), "both": (-1.0, 1.0)}[settings.sign]
    parts = [_of_one_sign(sign * block, limit, sweep, sign) for sign in signs]
    rows, channels, amplitudes = (np.concatenate(column) for column in zip(*parts))
    order = np.lexsort((channels, rows))
    return Peaks(rows[order], channels[order], amplitudes[order].astype(np.float32))


def _of_one_sign(
    block: NDArray[np.float64], limit: NDArray[np.float64], sweep: int, sign: float
) -> tuple[Any, Any, Any]:
    beyond = block > limit
    beyond[1:] &= block[1:] > block[:-1]
    beyond[:-1] &= block[:-1] >= block[1:]
    rows, channels = np.nonzero(beyond)
    inside = (rows >= sweep) & (rows < len(block) - sweep)
    rows, channels = rows[inside], channels[inside]
    keep = np.ones(rows.size, dtype=bool)
    heights = block[rows, channels]
    for step in range(2, sweep + 1):
        keep &= heights > block[rows - step, channels]
        keep &= heights >= block[rows + step, channels]
    return rows[keep], channels[keep], sign * heights[keep]


def artefact_rows(
    block: NDArray[np.float64], noise: NDArray[np.float64], settings: DetectionSettings
) -> NDArray[np.int64]:
    """Return the rows in which many channels are far outside their noise; none of a recording of few channels."""
    alive = np.isfinite(noise) & (noise > 0)
    n = int(alive.sum())
    if not settings.blank_artefacts or n < 4:
        return np.empty(0, dtype=np.int64)
    far = np.abs(block[:, alive]) > settings.artefact_threshold * noise[alive]
    return np.flatnonzero(far.sum(axis=1) >= max(3.0, settings.artefact_fraction * n))
