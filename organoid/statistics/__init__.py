"""Statistics of recordings and simulations alike.

Every function takes a `SpikeRecording`, works in SI units, keeps the recording's unit order, looks only
at the observed time and returns NaN where a value is undefined.
"""

from organoid.statistics.bursts import bursts_max_interval
from organoid.statistics.correlograms import correlation, cross_correlograms
from organoid.statistics.distances import van_rossum, victor_purpura
from organoid.statistics.evoked import first_spikes, psth, response_latency
from organoid.statistics.intervals import cv, cv2, isi_histogram, lv, lvr
from organoid.statistics.network import network_burst_evidence, network_bursts
from organoid.statistics.population_rate import population_rate_bursts
from organoid.statistics.rates import fano, firing_rates
from organoid.statistics.summary import remarks, summary
from organoid.statistics.tiling import sttc

__all__ = [
    "bursts_max_interval",
    "correlation",
    "cross_correlograms",
    "cv",
    "cv2",
    "fano",
    "firing_rates",
    "first_spikes",
    "isi_histogram",
    "lv",
    "lvr",
    "network_burst_evidence",
    "network_bursts",
    "population_rate_bursts",
    "psth",
    "remarks",
    "response_latency",
    "sttc",
    "summary",
    "van_rossum",
    "victor_purpura",
]
