"""Windows of a recording for training by gradient: which bins may be used, and how they are cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from organoid.errors import FitError
from organoid.recording import SpikeRecording


@dataclass(frozen=True)
class WindowedCounts:
    """Spike counts split in time, and the windows that fit into each part.

    Parameters
    ----------
    counts : Tensor of uint8, shape (bin, unit)
        Spikes per bin.
    observed : ndarray of bool, shape (bin,)
        Bins in which every spike could be seen; only windows made of such bins are used.
    n_train : int
        Bins before this one are for training, the others are held out.
    warmup, length : int
        Bins of history before each window, and bins of the window itself.
    """

    counts: Tensor
    observed: NDArray[np.bool_]
    n_train: int
    warmup: int
    length: int

    @property
    def training_starts(self) -> Tensor:
        """Every window start whose history and window lie in the training part."""
        return self._usable(np.arange(self.warmup, self.n_train - self.length + 1))

    @property
    def held_out_starts(self) -> Tensor:
        """Starts of back-to-back windows in the held-out part; the first history reaches into training."""
        first = max(self.n_train, self.warmup)
        return self._usable(np.arange(first, len(self.counts) - self.length + 1, self.length))

    def cut(self, starts: Tensor) -> Tensor:
        """Return history and window at ``starts``, shape (window, warmup + length, unit), float32."""
        offsets = torch.arange(-self.warmup, self.length)
        return self.counts[starts[:, None] + offsets].to(torch.float32)

    def training_probability(self) -> Tensor:
        """Return each unit's spikes per bin in the training part, at least half a spike in all; (unit,)."""
        seen = torch.from_numpy(np.flatnonzero(self.observed[: self.n_train]))
        spikes = self.counts[seen].sum(0, dtype=torch.float64)
        return (spikes.clamp(min=0.5) / len(seen)).to(torch.float32)

    def _usable(self, starts: NDArray[np.int64]) -> Tensor:
        # A window is usable when no bin of its span is unobserved: a difference of cumulated holes.
        holes = np.concatenate([[0], np.cumsum(~self.observed)])
        clean = holes[starts + self.length] == holes[starts - self.warmup] if len(starts) else []
        return torch.from_numpy(starts[np.asarray(clean, dtype=bool)])


def observed_counts(data: SpikeRecording | NDArray[np.integer], bin_width: float) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return counts, shape (bin, unit), and which bins were observed, from a recording or from counts.

    Raises
    ------
    FitError
        When a recording holds several wells, or counts are not a table of integers from 0 to 255.
    """
    if isinstance(data, SpikeRecording):
        if len(data.wells) > 1:
            raise FitError(
                f"the recording holds several cultures, wells {data.wells}; pick one with rec.select(well=...)"
            )
        table, observed = data.counts(bin_width), data.observed_bins(bin_width)
    else:
        table = np.asarray(data)
        observed = np.ones(len(table), dtype=bool)
    if table.ndim != 2 or table.shape[1] == 0 or table.dtype.kind not in "iub":
        raise FitError(f"counts must be whole numbers of shape (bin, unit), got {table.dtype} {table.shape}")
    if table.size and not 0 <= table.min() <= table.max() <= 255:
        raise FitError(f"counts must lie between 0 and 255 per bin, got {table.min()} to {table.max()}")
    return torch.from_numpy(table.astype(np.uint8)), observed


def split_windows(
    counts: Tensor, observed: NDArray[np.bool_], *, held_out: float, warmup: int, length: int
) -> WindowedCounts:
    """Split counts in time and check that both parts hold a window and training holds a spike.

    Parameters
    ----------
    counts : Tensor of uint8, shape (bin, unit)
        Spikes per bin.
    observed : ndarray of bool, shape (bin,)
        Fully observed bins.
    held_out : float
        Fraction at the end that is held out.
    warmup, length : int
        Bins of history and of the window.

    Returns
    -------
    WindowedCounts

    Raises
    ------
    FitError
        When the recording is too short or silent.
    """
    if not 0 < held_out < 1:
        raise FitError(f"held_out must lie between 0 and 1, got {held_out!r}")
    out = WindowedCounts(counts, observed, int(len(counts) * (1 - held_out)), warmup, length)
    for part, starts in (("training", out.training_starts), ("held-out", out.held_out_starts)):
        if not len(starts):
            raise FitError(
                f"the {part} part holds no observed window of {warmup} + {length} bins "
                f"({len(counts)} bins in all); record longer or shorten the window"
            )
    if not counts[: out.n_train].any():
        raise FitError("the training part holds no spike; nothing can be learned from it")
    return out
