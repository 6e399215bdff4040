"""The parts of a report on one recorded culture: activity, units, synchrony, bursts, stimuli, parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from organoid import figures
from organoid.errors import OrganoidError
from organoid.figures.template import number
from organoid.recording import SpikeRecording
from organoid.report.page import Panel, Section, Table
from organoid.report.tables import cell
from organoid.statistics import CultureAnalysis

_MAX_UNITS = 25

CAPTIONS = {
    "spikes": "Every spike of the recording, one row per unit. Blue: network bursts. The curve is the mean rate "
    "over all "
    "units; its slider moves and widens what is shown.",
    "raster": "Each stroke is a spike; units are rows. Blue columns, where there are any, are network bursts. "
    "The curve "
    "below is the mean rate over all units.",
    "array-map": "Where the culture is active. Darker electrodes see more spikes; open ones saw none.",
    "rates-distribution": "Rates in a culture are spread over decades; a mean over units is the mean of the "
    "busiest few. "
    "The dotted line is the rate from which on units count as active.",
    "isi": "Short intervals come from spikes inside bursts, long ones from the pauses between. Intervals below 1 "
    "ms are "
    "shorter than a neuron's refractory time: several neurons on one electrode, or spikes detected twice.",
    "sttc-matrix": "Synchrony beyond what the rates of a pair give: 1 is perfect, 0 none.",
    "sttc-distance": "Whether near units are more synchronous than distant ones. One point per pair.",
    "evidence": "Above: how many units burst at once, with the number asked for at the peak (dotted) and at the edges "
    "(dashed) of a network burst. Below left: how many intervals reach a number of units, as recorded and after "
    "every unit "
    "was shifted circularly by a random time, which leaves its own bursts and destroys synchrony. Below right: units "
    "that fire in each network burst.",
    "burst-shape": "Onset, height and decay of the mean network burst, and how much bursts differ.",
    "gallery": "One row per network burst. Bursts that change along the recording, or come in kinds, show here.",
    "evoked-raster": "Spikes around each stimulus. The red line is the stimulus; answers are counted in the grey "
    "100 ms.",
    "psth": "Mean rate of the units around stimuli of each electrode.",
    "site-matrix": "Which units answer which electrode. Red: more spikes than before the stimulus, blue: fewer.",
    "dose": "The answer of the whole culture over the strength of the stimulus.",
}

_UNIT_COLUMNS = {
    "name": "unit",
    "rate_hz": "rate (Hz)",
    "cv2": "CV2",
    "lv": "LV",
    "isi_below_1ms": "ISI < 1 ms",
    "bursts_per_minute": "bursts/min",
    "burst_duration_s": "burst (s)",
    "burst_spikes": "spikes/burst",
    "fraction_in_bursts": "in bursts",
    "participation": "participation",
    "backbone": "backbone",
}


def recorded_sections(
    rec: SpikeRecording,
    found: CultureAnalysis,
    *,
    alone: bool,
    simulated: SpikeRecording | None = None,
) -> list[Section]:
    """Return the sections on the activity of one culture.

    Parameters
    ----------
    rec : SpikeRecording
    found : CultureAnalysis
    alone : bool
        Whether no free run of a fit stands beside it, which then shows intervals and burst shapes of both.
    simulated : SpikeRecording, optional
        Drawn over the responses to stimuli, where it was stimulated, too.
    """
    bursts, dt = found.network_bursts, found.settings.sttc_dt
    activity = [
        panel("spikes", lambda: figures.full_raster(rec, bursts=bursts)),
        panel("raster", lambda: figures.raster(rec, bursts=bursts)),
        panel("array-map", lambda: figures.array_map(rec)),
    ]
    units: list[Panel | Table | str] = [
        panel("rates-distribution", lambda: figures.rate_distribution(rec, found.settings.active_rate))
    ]
    if alone:
        units.append(panel("isi", lambda: figures.isi_comparison(rec)))
    units.append(unit_table(found.units))
    synchrony = [
        panel("sttc-matrix", lambda: figures.sttc_matrix(rec, _tiling(found), dt)),
        panel("sttc-distance", lambda: figures.sttc_distance(rec, _tiling(found), dt)),
    ]
    network: list[Panel | Table | str] = [
        panel("evidence", lambda: figures.burst_evidence(rec, bursts, found.evidence))
    ]
    if alone:
        network.append(panel("burst-shape", lambda: figures.burst_shape(rec, bursts=bursts)))
    network.append(panel("gallery", lambda: figures.burst_gallery(rec, bursts)))
    sections = [
        Section("activity", "Recorded activity", list(activity)),
        Section("units", "Units", units),
        Section("synchrony", "Synchrony", list(synchrony)),
        Section("bursts", "Network bursts", network),
    ]
    return [*sections, *stimulation_sections(rec, simulated)]


def stimulation_sections(rec: SpikeRecording, simulated: SpikeRecording | None = None) -> list[Section]:
    """Return the section on stimuli; none where there are none."""
    if not len(rec.stimuli):
        return []
    other = simulated if simulated is not None and len(simulated.stimuli) else None
    parts = [
        panel("evoked-raster", lambda: figures.evoked_raster(rec)),
        panel("psth", lambda: figures.psth_by_site(rec, other)),
        panel("site-matrix", lambda: figures.site_matrix(rec)),
        panel("dose", lambda: figures.dose_curve(rec, other)),
    ]
    return [Section("stimulation", "Responses to stimuli", list(parts))]


def method_section(found: CultureAnalysis, methods: str, tables: list[str]) -> Section:
    """Return how it was done: a paragraph, the parameters, links to the tables."""
    rows = [(name.replace("_", " "), number(value, 4)) for name, value in found.settings.as_mapping().items()]
    parts: list[Panel | Table | str] = [methods] if methods else []
    parts.append(Table("Parameters; times in s, rates in Hz.", ("parameter", "value"), rows))
    if tables:
        parts.append(Table("Tables beside this page.", ("file",), [(name,) for name in tables], links=tables))
    return Section("methods", "Methods", parts)


def unit_table(units: pd.DataFrame) -> Table:
    """Return the busiest units and what they do."""
    order = units.sort_values("rate_hz", ascending=False, na_position="last").head(_MAX_UNITS)
    shown = {name: label for name, label in _UNIT_COLUMNS.items() if name in units}
    percent = {"isi_below_1ms", "fraction_in_bursts", "participation"}
    rows = [
        tuple(_percent(row[name]) if name in percent else cell(row[name]) for name in shown)
        for _, row in order.iterrows()
    ]
    some = f"the {_MAX_UNITS} busiest of {len(units):,} units" if len(units) > _MAX_UNITS else f"{len(units):,} units"
    return Table(f"Rates, intervals and bursts of {some}; all are in units.csv.", tuple(shown.values()), rows)


def panel(name: str, draw: Callable[[], Any]) -> Panel:
    """Return a panel, or the reason why it cannot be drawn."""
    try:
        return Panel(name, draw(), CAPTIONS[name])
    except OrganoidError as error:
        return Panel(name, None, CAPTIONS[name], reason=f"{str(error)[:1].upper()}{str(error)[1:]}.")


def _tiling(found: CultureAnalysis) -> Any:
    if found.sttc is None:
        from organoid.errors import RecordingError

        raise RecordingError("there are too many units for a table of pairs")
    return found.sttc


def _percent(value: Any) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"
