"""Tables of a report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from organoid.figures.template import number, seconds
from organoid.recording import SpikeRecording
from organoid.report.page import Table
from organoid.statistics import CultureAnalysis, summary

_MAX_EDGES = 12
_SIGNIFICANT = 0.05

_SUMMARY = {
    "n_units": "units",
    "n_active_units": "active units",
    "n_spikes": "spikes",
    "duration_s": "duration (s)",
    "observed_s": "observed (s)",
    "mean_rate_hz": "mean rate (Hz)",
    "active_rate_hz": "mean rate of active units (Hz)",
    "median_cv": "median CV of inter-spike intervals",
    "bursts_per_minute": "network bursts per minute",
    "n_bursts": "network bursts",
    "bursts_by_chance": "network bursts expected by chance (units shifted)",
    "burst_duration_s": "network burst duration (s)",
    "burst_interval_cv": "CV of intervals between bursts",
    "fraction_in_bursts": "fraction of spikes in network bursts",
    "burst_units": "mean fraction of units that fire in a network burst",
    "unit_bursts_per_minute": "bursts per minute of an active unit",
    "fraction_in_unit_bursts": "fraction of spikes in bursts of units",
    "mean_sttc": "mean synchrony of pairs (STTC)",
}
_SCORES = {
    "heldout_bits_per_spike": "held-out score, coupled (bits/spike)",
    "heldout_bits_per_spike_uncoupled": "held-out score, uncoupled (bits/spike)",
    "heldout_bits_per_spike_free": "held-out score, weights for free run (bits/spike)",
    "heldout_pseudo_r2": "held-out pseudo-R2 (McFadden)",
    "heldout_pseudo_r2_uncoupled": "held-out pseudo-R2, uncoupled",
    "heldout_calibration_slope": "calibration slope (1 is right)",
    "heldout_calibration_slope_uncoupled": "calibration slope, uncoupled",
    "heldout_expected_ratio": "held-out spikes, expected / observed",
    "heldout_ks_units": "time-rescaled intervals of units, KS distance",
    "heldout_ks_population": "time-rescaled intervals of any unit, KS distance",
    "heldout_ks_identity": "which unit fired, KS distance",
    "heldout_bits_per_spike_evoked": "held-out score after test pulses (bits/spike)",
    "heldout_bits_per_spike_evoked_without_filters": "held-out score after test pulses, without responses (bits/spike)",
    "heldout_evoked_r": "evoked spikes at 20 to 100 ms, simulated against held out, r",
    "heldout_evoked_site_r": "the same without means of units and electrodes, r",
    "heldout_evoked_amount_ratio": "evoked spikes at 20 to 100 ms, simulated / recorded",
    "heldout_evoked_r_late": "evoked spikes at 100 to 500 ms, simulated against held out, r",
    "n_response_pulses": "pulses the responses rest on",
    "n_response_electrodes": "electrodes with pulses",
    "n_units": "units",
    "n_spikes": "spikes",
    "n_coupled_units": "units with couplings or fields",
    "n_fields_only_units": "of these with fields alone",
    "n_own_history_units": "units that follow their own history",
    "n_constant_rate_units": "units with a constant rate",
    "chosen": "chosen in validation",
    "converged": "solver converged",
    "seconds": "time to fit (s)",
    "peak_rss_mb": "peak memory (MB)",
}
_MAX_UNITS = 20
_PER_UNIT = {
    "name": "unit",
    "rate_hz": "rate (Hz)",
    "follows": "follows",
    "bits_per_spike": "bits/spike",
    "bits_per_spike_uncoupled": "uncoupled",
    "pseudo_r2": "pseudo-R2",
    "calibration_slope": "calibration slope",
    "expected_ratio": "expected / observed",
    "ks": "KS distance",
}
_FREE_RUN = {
    "rate_ratio": ("mean rate, simulated / recorded", "1"),
    "rate_correlation": ("correlation of unit rates", "1"),
    "burst_rate_ratio": ("network bursts per minute, simulated / recorded", "1"),
    "burst_duration_ratio": ("network burst duration, simulated / recorded", "1"),
    "ibi_cv_ratio": ("CV of intervals between bursts, simulated / recorded", "1"),
    "fraction_in_bursts": ("share of spikes in bursts", "as recorded"),
    "isi_cv_ratio": ("CV of inter-spike intervals, simulated / recorded", "1"),
    "sttc_correlation": ("correlation of pairwise synchrony (STTC)", "1"),
    "extra_bursts_per_minute": ("network bursts per minute, simulated - recorded", "0"),
    "runaway": ("runs away", "no"),
    "passed": ("passes: rate and bursts near the recorded ones", "yes"),
}


def summary_table(recordings: Mapping[str, SpikeRecording], analysis: CultureAnalysis | None = None) -> Table:
    """Return the headline numbers side by side; the rule found on the recording serves its simulation."""
    columns: dict[str, Mapping[str, Any]] = {}
    thresholds = None
    for name, rec in recordings.items():
        if name == "recorded" and analysis is not None:
            thresholds = analysis.network_bursts.attrs["thresholds"]
            columns[name] = analysis.summary
        else:
            columns[name] = dict(summary(rec, thresholds if name == "simulated" else None))
    rows = [(label, *(cell(values[key]) for values in columns.values())) for key, label in _SUMMARY.items()]
    return Table("Undefined values are dashes.", ("", *columns), rows)


def wells_table(name: str, rec: SpikeRecording) -> Table:
    """Return the headline numbers of every well; each is a culture of its own."""
    keys = ["n_units", "n_spikes", "mean_rate_hz", "median_cv", "bursts_per_minute", "fraction_in_bursts", "mean_sttc"]
    rows = []
    for well in rec.wells:
        values = summary(rec, well=well)
        rows.append((well, *(cell(values[key]) for key in keys)))
    total = f"{rec.n_units:,} units, {rec.n_spikes:,} spikes in {len(rec.wells)} wells"
    caption = f"{name.capitalize()}: {total}, {seconds(rec.duration)}; each well is a culture of its own."
    return Table(caption, ("well", *(_SUMMARY[key] for key in keys)), rows)


def score_table(scores: "pd.Series[Any]") -> Table:
    """Return the scores of a fit that are single values."""
    rows = [
        (_SCORES.get(str(key), str(key).replace("_", " ")), cell(value))
        for key, value in scores.items()
        if np.isscalar(value) or value is None
    ]
    return Table("Scores of the fit.", ("", "value"), rows)


def unit_table(per_unit: pd.DataFrame) -> Table:
    """Return how well each unit is predicted; the worst first, 20 at most."""
    shown = {key: label for key, label in _PER_UNIT.items() if key in per_unit}
    order = per_unit.sort_values("bits_per_spike", na_position="last").head(_MAX_UNITS)
    rows = [tuple(cell(row[key]) for key in shown) for _, row in order.iterrows()]
    caption = "How well single units are predicted on held-out data, the worst first"
    more = f" ({_MAX_UNITS} of {len(per_unit):,})" if len(per_unit) > _MAX_UNITS else ""
    return Table(f"{caption}{more}.", tuple(shown.values()), rows)


def free_run_table(free_run: Mapping[str, Any]) -> Table:
    """Return how the free-running network compares with the recording."""
    rows = []
    for key, (label, ideal) in _FREE_RUN.items():
        if key in free_run:
            spread = free_run.get(f"{key}_range")
            recorded, halves = free_run.get(f"{key}_recorded"), free_run.get(f"{key}_split_half")
            beside = (cell(spread) if spread else "", cell(recorded) if recorded else ideal, cell(halves))
            rows.append((label, cell(free_run[key]), *beside))
    caption = (
        "Seeded free runs of the network against the recording. The last column compares the recording's second half "
        "with its first: no model can be asked to agree better than the culture does with itself."
    )
    return Table(caption, ("", "median", "range", "ideal", "recorded halves"), rows)


def edge_table(edges: pd.DataFrame | None, units: pd.DataFrame | None = None) -> Table | None:
    """Return the most significant connections, None without a table of them; `units` gives names to indices."""
    if edges is None or not {"pre", "post", "weight", "z", "q"} <= set(edges.columns):
        return None
    sure = edges[edges["q"] < _SIGNIFICANT]
    top = sure.reindex(sure["z"].abs().sort_values(ascending=False).index).head(_MAX_EDGES)
    rows = [
        (f"{_name(row.pre, units)} → {_name(row.post, units)}", *(cell(value) for value in (row.weight, row.z, row.q)))
        for row in top.itertuples()
    ]
    found = f"{len(sure):,} of {len(edges):,} possible connections have q < {_SIGNIFICANT}"
    shown = f"; the {len(rows)} most significant are listed." if rows else "."
    return Table(found + shown, ("connection", "weight", "z", "q"), rows)


def _name(unit: Any, units: pd.DataFrame | None) -> str:
    known = units is not None and "name" in units and isinstance(unit, int | np.integer) and unit < len(units)
    return str(units["name"].iloc[int(unit)]) if known and units is not None else str(unit)


def cell(value: Any) -> str:
    """Return a value as a reader wants it: numbers short, undefined a dash, ranges in brackets."""
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return number(float(value))
    if isinstance(value, list | tuple | np.ndarray):
        return " to ".join(cell(item) for item in value)
    return str(value)
