"""What a block must be like; checked at every tick, because everything else rests on it."""

from organoid.closed_loop.contracts import Block
from organoid.errors import DeviceError


def check_block(block: Block, start: int, until: int, n_units: int) -> None:
    """Raise DeviceError where a block breaks the contract.

    Parameters
    ----------
    block : Block
    start, until : int
        The frames ``[start, until)`` that were asked for.
    n_units : int
    """
    if block.start_frame != start or not start <= block.stop_frame <= until:
        seen = f"[{block.start_frame}, {block.stop_frame})"
        raise DeviceError(f"the device was asked for frames [{start}, {until}) and gave {seen}")
    _check_spikes(block, n_units)
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
    if not (frames[0] >= block.start_frame and frames[-1] < block.stop_frame and (frames[1:] >= frames[:-1]).all()):
        window = f"[{block.start_frame}, {block.stop_frame})"
        raise DeviceError(f"spikes of a block must lie in {window} in order; they run {frames.min()}..{frames.max()}")
    if units.min() < 0 or units.max() >= n_units:
        raise DeviceError(f"spike units run from {units.min()} to {units.max()}; the device has {n_units} units")
