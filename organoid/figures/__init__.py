"""Figures of recordings, fits and sessions; each function returns a plotly Figure and never shows it."""

from organoid.figures.arrays import array_map
from organoid.figures.comparison import burst_shape, isi_comparison, rates_comparison
from organoid.figures.evoked import dose_curve, evoked_raster, psth_by_site, site_matrix
from organoid.figures.experiments import experiment
from organoid.figures.free_run import side_by_side, sttc_comparison
from organoid.figures.goodness import goodness
from organoid.figures.network import burst_evidence, burst_gallery
from organoid.figures.raster import full_raster, raster
from organoid.figures.sessions import session
from organoid.figures.template import template
from organoid.figures.training import held_out_scores, training_curve, unit_scores
from organoid.figures.units import rate_distribution, sttc_distance, sttc_matrix

__all__ = [
    "burst_evidence",
    "burst_gallery",
    "full_raster",
    "dose_curve",
    "evoked_raster",
    "psth_by_site",
    "site_matrix",
    "rate_distribution",
    "sttc_distance",
    "sttc_matrix",
    "array_map",
    "burst_shape",
    "experiment",
    "goodness",
    "held_out_scores",
    "isi_comparison",
    "raster",
    "rates_comparison",
    "session",
    "side_by_side",
    "sttc_comparison",
    "template",
    "training_curve",
    "unit_scores",
]
