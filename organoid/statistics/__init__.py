"""Statistics of recordings and simulations alike.

Every function takes a `SpikeRecording`, works in SI units, keeps the recording's unit order, looks only
at the observed time and returns NaN where a value is undefined.
"""

from organoid.statistics.avalanches import avalanches, branching_ratio
from organoid.statistics.bursts import bursts_max_interval
from organoid.statistics.connectivity import benjamini_hochberg, connectivity
from organoid.statistics.correlograms import correlation, cross_correlograms
from organoid.statistics.culture import AnalysisSettings, CultureAnalysis, analyze_culture, stimuli_by_electrode
from organoid.statistics.distances import van_rossum, victor_purpura
from organoid.statistics.evoked import first_spikes, psth, response_latency
from organoid.statistics.graphs import graph_measures
from organoid.statistics.intervals import cv, cv2, isi_histogram, lv, lvr
from organoid.statistics.isi_n import bursts_isi_n
from organoid.statistics.log_isi import bursts_log_isi
from organoid.statistics.network import network_burst_evidence, network_bursts
from organoid.statistics.participation import participation
from organoid.statistics.population import effective_dimension, population_coupling
from organoid.statistics.population_rate import population_rate_bursts
from organoid.statistics.rates import fano, firing_rates
from organoid.statistics.spike_distances import isi_distance, spike_distance, spike_synchronisation
from organoid.statistics.summary import remarks, summary
from organoid.statistics.surrogates import circular_shifts
from organoid.statistics.tiling import sttc

__all__ = [
    "AnalysisSettings",
    "CultureAnalysis",
    "analyze_culture",
    "stimuli_by_electrode",
    "avalanches",
    "benjamini_hochberg",
    "branching_ratio",
    "bursts_isi_n",
    "bursts_log_isi",
    "bursts_max_interval",
    "circular_shifts",
    "connectivity",
    "correlation",
    "cross_correlograms",
    "cv",
    "cv2",
    "effective_dimension",
    "fano",
    "firing_rates",
    "first_spikes",
    "graph_measures",
    "isi_distance",
    "isi_histogram",
    "lv",
    "lvr",
    "network_burst_evidence",
    "network_bursts",
    "participation",
    "population_coupling",
    "population_rate_bursts",
    "psth",
    "remarks",
    "response_latency",
    "spike_distance",
    "spike_synchronisation",
    "sttc",
    "summary",
    "van_rossum",
    "victor_purpura",
]
