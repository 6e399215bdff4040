"""Pieces that several losses share: spikes as probabilities, population rates, pooled statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from organoid.errors import FitError


def whole_bins(loss: str, name: str, duration: float, bin_width: float) -> int:
    """Return a duration in whole bins, at least one, rounded to the nearest.

    Raises
    ------
    FitError
        When it is shorter than half a bin.
    """
    n = round(duration / bin_width)
    if n < 1:
        raise FitError(f"{loss}: {name} of {duration} s is shorter than half a bin of {bin_width} s; make it longer")
    return n


def binarize(spikes: Tensor) -> Tensor:
    """Return spikes as probabilities of a spike in a bin: counts above one are one."""
    return spikes.clamp(0, 1)


def population_rate(spikes: Tensor, bin_width: float) -> Tensor:
    """Return the rate of an average unit, Hz, shape (batch, time)."""
    return spikes.mean(dim=2) / bin_width


def boxcar(x: Tensor, width: int) -> Tensor:
    """Sum ``x`` along axis 1 over neighbouring windows of ``width`` bins; a last part of a window is left out."""
    width = min(width, x.shape[1])
    n = x.shape[1] // width
    return x[:, : n * width].reshape(x.shape[0], n, width, *x.shape[2:]).sum(dim=2)


def upper_pairs(matrix: Tensor) -> Tensor:
    """Return the entries above the diagonal of the last two axes, flat."""
    i, j = torch.triu_indices(matrix.shape[-1], matrix.shape[-1], 1, device=matrix.device)
    return matrix[..., i, j]
