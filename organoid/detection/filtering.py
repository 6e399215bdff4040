"""Zero-phase band pass of a block with margins, and the noise of each channel."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from organoid.detection.settings import DetectionSettings
from organoid.detection.voltage import Run, Voltage

MAD_TO_SD = 0.6745  # median absolute deviation of a normal distribution with standard deviation 1
NYQUIST_SHARE = 0.45  # the pass band ends below this part of the sampling rate
_CYCLES = 6  # of the lowest frequency: after this the filter has settled
_NOISE_BLOCKS = 20
_NOISE_S = 0.5
_QUIET = 0.25  # quantile over the blocks: bursts raise the noise of some


@cache
def _sections(low: float, high: float, order: int, rate: float) -> NDArray[np.float64]:
    top = min(high, NYQUIST_SHARE * rate)
    return np.asarray(butter(order, [low, top], btype="bandpass", fs=rate, output="sos"))


def margin(settings: DetectionSettings, rate: float) -> int:
    """Return how many samples beside a block are needed for those inside it to be right."""
    settle = 0.0 if settings.band is None else _CYCLES / settings.band[0]
    return int(np.ceil((settle + settings.dead_time) * rate)) + 1


def filtered(
    voltage: Voltage, run: Run, begin: int, end: int, settings: DetectionSettings
) -> tuple[NDArray[np.float64], int]:
    """Return the filtered rows ``[begin, end)`` with margins, shape (rows, channels), and where `begin` is in them."""
    beside = margin(settings, voltage.sampling_rate)
    first, last = max(run.begin, begin - beside), min(run.end, end + beside)
    block = np.asarray(voltage.read(first, last), dtype=np.float64)
    if settings.band is not None and len(block) > 1:
        low, high = settings.band
        sections = _sections(low, high, settings.order, voltage.sampling_rate)
        block = sosfiltfilt(sections, block, axis=0, padlen=min(beside, len(block) - 1))
    return block, begin - first


def noise_levels(voltage: Voltage, settings: DetectionSettings) -> NDArray[np.float64]:
    r"""Return the standard deviation of the noise of each channel, V.

    :math:`\sigma = \operatorname{median}(|x|) / 0.6745` of the filtered voltage (Quiroga et al. 2004) in blocks spread
    over the recording; of these the lower quartile, since bursts raise the median of some.
    """
    blocks = _blocks_over(voltage.runs, int(_NOISE_S * voltage.sampling_rate))
    levels: list[Any] = []
    for run, begin, end in blocks:
        block, at = filtered(voltage, run, begin, end, settings)
        levels.append(np.median(np.abs(block[at : at + end - begin]), axis=0) / MAD_TO_SD)
    return np.asarray(np.quantile(np.array(levels), _QUIET, axis=0))


def _blocks_over(runs: Any, length: int) -> list[tuple[Run, int, int]]:
    """Return about `_NOISE_BLOCKS` blocks spread evenly over all runs."""
    total = sum(run.end - run.begin for run in runs)
    step = max(length, total // _NOISE_BLOCKS)
    found = [
        (run, begin, min(begin + length, run.end))
        for run in runs
        for begin in range(run.begin, run.end, step)
        if run.end - begin >= min(length, 100)
    ]
    return found or [(run, run.begin, run.end) for run in runs if run.end > run.begin]
