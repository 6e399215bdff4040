"""Losses by name; adding one is its own file and its line here. The tests run over this table."""

from __future__ import annotations

from collections.abc import Callable

from organoid.losses.activity import ActivityBounds, SynchronyPenalty
from organoid.losses.autocovariance import PopulationAutocovariance
from organoid.losses.base import SpikeLoss
from organoid.losses.covariance import DelayedCovariance
from organoid.losses.intervals import ISIDistribution
from organoid.losses.latency import FirstSpikeLatency
from organoid.losses.likelihood import Likelihood
from organoid.losses.mmd import KernelMMD
from organoid.losses.rate import Rate
from organoid.losses.rate_distribution import PopulationRateDistribution
from organoid.losses.synchrony import SoftSTTC
from organoid.losses.trial_matching import TrialMatching
from organoid.losses.van_rossum import VanRossum
from organoid.losses.victor_purpura import SoftVictorPurpura

LOSSES: dict[str, Callable[..., SpikeLoss]] = {
    "van_rossum": VanRossum,
    "rate": Rate,
    "likelihood": Likelihood,
    "victor_purpura": SoftVictorPurpura,
    "first_spike_latency": FirstSpikeLatency,
    "sttc": SoftSTTC,
    "delayed_covariance": DelayedCovariance,
    "population_autocovariance": PopulationAutocovariance,
    "population_rate_distribution": PopulationRateDistribution,
    "isi_distribution": ISIDistribution,
    "mmd": KernelMMD,
    "trial_matching": TrialMatching,
    "activity_bounds": ActivityBounds,
    "synchrony_penalty": SynchronyPenalty,
}
