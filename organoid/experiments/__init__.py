"""Experiments: a protocol on several cultures, under several conditions and controls, over many seeds."""

from organoid.experiments.controls import CONTROLS, Control
from organoid.experiments.plan import ExperimentError, ExperimentPlan, load_experiment
from organoid.experiments.results import ExperimentResult
from organoid.experiments.run import run_experiment
from organoid.experiments.statistics import PairedComparison, compare_paired

__all__ = [
    "CONTROLS",
    "Control",
    "ExperimentError",
    "ExperimentPlan",
    "ExperimentResult",
    "PairedComparison",
    "compare_paired",
    "load_experiment",
    "run_experiment",
]
