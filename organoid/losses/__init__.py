"""Differentiable spike losses: how far simulated spike trains are from recorded ones.

The contract, one line: ``LOSSES[name](bin_width)(simulated, recorded) -> scalar``. Both tensors have the shape
``(batch, time, unit)`` with ``time`` in bins of ``bin_width`` seconds; ``recorded`` holds spike counts;
``simulated`` holds what the loss says it ``reads``: ``"spikes"`` (counts per bin) or ``"logits"`` (log-odds of a
spike per bin). A loss sums over time and averages over trains (one train = one unit in one batch item), so its
value is *per train of that length*. A loss is a frozen dataclass: settings in, no state.

Adding one: its own file and its line in `organoid.losses.registry`.
"""

from organoid.losses.base import SpikeLoss
from organoid.losses.likelihood import Likelihood
from organoid.losses.rate import Rate
from organoid.losses.registry import LOSSES
from organoid.losses.van_rossum import VanRossum

__all__ = ["LOSSES", "Likelihood", "Rate", "SpikeLoss", "VanRossum"]
