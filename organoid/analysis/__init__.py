"""Many recordings analysed alike: tables and reports of every culture, and comparisons of groups of cultures."""

from organoid.analysis.dose_response import dose_response
from organoid.analysis.files import Analysis, analyze, compare
from organoid.analysis.groups import compare_groups, paired_changes, read_groups
from organoid.analysis.methods import methods_paragraph
from organoid.io.cultures import Culture, cultures
from organoid.statistics.culture import AnalysisSettings, CultureAnalysis, analyze_culture

__all__ = [
    "Analysis",
    "AnalysisSettings",
    "Culture",
    "CultureAnalysis",
    "analyze",
    "analyze_culture",
    "compare",
    "compare_groups",
    "cultures",
    "dose_response",
    "methods_paragraph",
    "paired_changes",
    "read_groups",
]
