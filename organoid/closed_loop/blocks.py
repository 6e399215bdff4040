"""What a block must be like; checked at every tick, because everything else rests on it."""

import numpy as np
from numpy.typing import NDArray

from organoid.closed_loop.contracts import Block
from organoid.errors import DeviceError

_FEW = 32


def check_block(block: Block, start: int, until: int, n_units: int) -> None:
    """Raise DeviceError where a block breaks the contract.

    Parameters
    ----------
    block : Block
    start, until : int
        The frames ``[start, until)`` that were requested.
    n_units : int
    """
    if block.start_frame != start or not start <= block.stop_frame <= until:
        seen = f"[{block.start_frame}, {block.stop_frame})"
        raise DeviceError(f"the device was asked for frames [{start}, {until}) and gave {seen}")
    _check_spikes(block, n_units)
    if not (block.delivered or block.unobserved):
        return
    outside = [item.frame for item in block.delivered if not start <= item.frame < block.stop_frame]
    if outside:
        window = f"[{start}, {block.stop_frame})"
        raise DeviceError(f"a pulse was delivered at frame {outside[0]}, outside the block {window}")
    if any(not start <= first < after <= block.stop_frame for first, after in block.unobserved):
        raise DeviceError(f"unobserved frames {list(block.unobserved)[:3]} reach outside the block [{start}, {until})")


def _check_spikes(block: Block, n_units: int) -> None:
    frames, units = block.spike_frames, block.spike_units
    if frames.ndim != 1 or frames.shape != units.shape:
        seen = f"spike_frames of shape {frames.shape}, spike_units {units.shape}"
        raise DeviceError(f"a block has {seen}; expected two equal lengths")
    if not frames.size:
        return
    if frames.dtype.kind not in "iu" or units.dtype.kind not in "iu":
        raise DeviceError(f"spike frames and units are {frames.dtype} and {units.dtype}; expected whole numbers")
    if not _inside(frames, block.start_frame, block.stop_frame):
        window = f"[{block.start_frame}, {block.stop_frame})"
        raise DeviceError(f"spikes of a block must lie in {window} in order; they run {frames.min()}..{frames.max()}")
    if not _between(units, n_units):
        raise DeviceError(f"spike units run from {units.min()} to {units.max()}; the device has {n_units} units")


# For the few spikes of a short tick, lists are several times faster than arrays.
def _inside(frames: NDArray[np.integer], start: int, stop: int) -> bool:
    if frames.size <= _FEW:
        values = frames.tolist()
        return bool(start <= values[0] and values[-1] < stop and values == sorted(values))
    return bool(start <= frames[0] and frames[-1] < stop and (frames[1:] >= frames[:-1]).all())


def _between(units: NDArray[np.integer], n_units: int) -> bool:
    if units.size <= _FEW:
        values = units.tolist()
        return bool(min(values) >= 0 and max(values) < n_units)
    return bool(units.min() >= 0 and units.max() < n_units)
