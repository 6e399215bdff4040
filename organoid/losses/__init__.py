"""Differentiable spike losses: how far simulated spike trains are from recorded ones.

The contract, one line: ``LOSSES[name](bin_width)(simulated, recorded) -> scalar``. Both tensors have the shape
``(batch, time, unit)`` with ``time`` in bins of ``bin_width`` seconds; ``recorded`` holds spike counts;
``simulated`` holds what the loss says it ``reads``: ``"spikes"`` (counts per bin) or ``"logits"`` (log-odds of a
spike per bin). A loss is a frozen dataclass: settings in, no state; its gradient is exact for the value it returns.

What a loss ``compares`` is one of three:

- ``"trains"``: each simulated train (one unit in one batch item) with the recorded one beside it. The value is a sum
  over time and a mean over trains, so it is *per train of that length*.
- ``"batches"``: statistics of all simulated trains with those of all recorded ones; the items of a batch count as
  segments of one recording, or as trials. Which stands beside which, or when things happen, may not matter.
- ``"nothing"``: a regulariser; it looks at the simulated spikes only. `WeightedSum` adds it to another loss.

A loss that reads spikes and compares something is 0 where both agree, never negative and symmetric. Losses of
covariances and intervals have no gradient where the simulated trains are silent: add one of the rate, or
`ActivityBounds`.

Adding one: its own file and its line in `organoid.losses.registry`.
"""

from organoid.losses.activity import ActivityBounds, SynchronyPenalty, WeightedSum
from organoid.losses.autocovariance import PopulationAutocovariance
from organoid.losses.base import SpikeLoss
from organoid.losses.covariance import DelayedCovariance
from organoid.losses.intervals import ISIDistribution
from organoid.losses.latency import FirstSpikeLatency
from organoid.losses.likelihood import Likelihood
from organoid.losses.mmd import KernelMMD
from organoid.losses.rate import Rate
from organoid.losses.rate_distribution import PopulationRateDistribution
from organoid.losses.registry import LOSSES
from organoid.losses.synchrony import SoftSTTC
from organoid.losses.trial_matching import TrialMatching
from organoid.losses.van_rossum import VanRossum
from organoid.losses.victor_purpura import SoftVictorPurpura

__all__ = [
    "LOSSES",
    "ActivityBounds",
    "DelayedCovariance",
    "FirstSpikeLatency",
    "ISIDistribution",
    "KernelMMD",
    "Likelihood",
    "PopulationAutocovariance",
    "PopulationRateDistribution",
    "Rate",
    "SoftSTTC",
    "SoftVictorPurpura",
    "SpikeLoss",
    "SynchronyPenalty",
    "TrialMatching",
    "VanRossum",
    "WeightedSum",
]
