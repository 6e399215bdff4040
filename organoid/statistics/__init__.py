"""Statistics of recordings and simulations alike.

Every function takes a `SpikeRecording`, works in SI units, keeps the recording's unit order, looks only
at the observed time and returns NaN where a value is undefined.
"""

from organoid.statistics.intervals import cv, cv2, isi_histogram, lv, lvr
from organoid.statistics.network import network_bursts
from organoid.statistics.rates import fano, firing_rates
from organoid.statistics.tiling import sttc

__all__ = [
    "cv",
    "cv2",
    "fano",
    "firing_rates",
    "isi_histogram",
    "lv",
    "lvr",
    "network_bursts",
    "sttc",
]
