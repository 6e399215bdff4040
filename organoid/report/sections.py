"""What a report says: its notes, tables and panels, each only where its input is given."""

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from organoid import figures
from organoid.errors import OrganoidError
from organoid.figures.template import number, seconds
from organoid.recording import SpikeRecording
from organoid.report.page import Note, Panel, Section, Table
from organoid.report.recorded import CAPTIONS, panel, recorded_sections
from organoid.report.tables import edge_table, free_run_table, score_table, summary_table, unit_table, wells_table
from organoid.statistics import CultureAnalysis

_CAPTIONS = CAPTIONS | {
    "held-out": "How well the model predicts spikes it was not fitted to, beyond knowing each unit's mean rate. "
    "The difference between the bars is what the connections between units are worth.",
    "unit-scores": "One point per unit. Above the dashed line, coupling improves its prediction.",
    "goodness": "Left: where the model expects a rate, that rate should be seen (dashed line; bars are two standard "
    "errors). Right: intervals between spikes, measured in expected spikes, should be spread evenly; the flatter the "
    "lines, the less of the timing the model misses: of single units, of the population, and of who fires when.",
    "rates": "One point a unit. On the dashed line, it fires as often in the simulation as in the culture.",
    "simulated-raster": "The fitted network in free run, with no recorded spike fed in.",
    "side-by-side": "The culture above, the fitted network in free run below, with no recorded spike fed in. "
    "Compare rhythm, bursts and silence.",
    "sttc": "One point a pair of units: how tightly both fire together. On the dashed line, a pair is as "
    "synchronous in the simulation as in the culture.",
    "training": "The loss on data the model trained on and on data it never saw. A model has learnt something "
    "only where its held-out loss lies below every flat line.",
    "session": "What the culture did while the protocol watched and stimulated it. Triangles mark stimuli; the lowest "
    "rows show what the protocol itself reported.",
}


def lead(*, recording: Any, fit: Any, simulated: Any, gradient: Any, session: Any) -> str:
    """Return the sentence under the title: what the page is about."""
    parts = []
    if recording is not None:
        parts.append(f"a recording of {_units(recording)} over {seconds(recording.duration)}")
    named = ((fit, "a network fitted to it"), (simulated, "a free run"), (gradient, "a model trained by gradient"))
    parts += [words for value, words in (*named, (session, "a closed-loop session")) if value is not None]
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return text[0].upper() + text[1:] + "."


def _units(rec: SpikeRecording) -> str:
    return "1 unit" if rec.n_units == 1 else f"{rec.n_units:,} units"


def notes(
    *, recording: Any, fit: Any, simulated: Any, gradient: Any, session: Any, analysis: CultureAnalysis | None
) -> list[Note]:
    """Return everything a reader must know before believing a number."""
    found = list(_warnings(fit, gradient, session))
    found += [
        Note("Recording", f"{text[:1].upper()}{text[1:]}.", True) for text in (analysis.remarks if analysis else ())
    ]
    of_session, known = getattr(session, "recording", None), tuple(getattr(recording, "notes", None) or ())
    sources = (("Recording", recording), ("Fit", fit), ("Simulation", simulated))
    for source, value in (*sources, ("Training", gradient), ("Session", of_session)):
        said = known if source in ("Fit", "Training") else ()  # a fit repeats the notes of its recording
        found += [Note(source, str(text)) for text in getattr(value, "notes", None) or () if text not in said]
    if session is not None and (getattr(session, "header", None) or {}).get("runaway_limit_hz") is None:
        found.append(Note("Session", "No reference rate was given, so no watch from outside stops a runaway."))
    metadata = getattr(simulated, "metadata", None) or {}
    if "synaptic_operations_per_s" in metadata:
        found.append(Note("Simulation", _operations(metadata)))
    if recording is not None and recording.duration > 0:
        share = recording.observed_duration / recording.duration
        if share < 0.999:
            found.append(Note("Recording", f"{share:.1%} of the window was observed; rates refer to that part."))
    first: dict[tuple[str, str], Note] = {}
    for note in found:  # a warning comes before a plain note of the same words
        first.setdefault((note.source, note.text), note)
    return list(first.values())


def _warnings(fit: Any, gradient: Any, session: Any) -> Iterator[Note]:
    scores = getattr(fit, "scores", None)
    free_run = getattr(fit, "free_run", None) or {}
    if free_run.get("runaway"):
        yield Note("Fit", "The free-running network runs away; do not use it for simulation.", True)
    elif free_run.get("passed") is False:
        yield Note("Fit", "In free run, the network does not match the culture; the notes below say why.", True)
    if scores is not None and scores.get("heldout_bits_per_spike", 1.0) <= 0:
        yield Note("Fit", "On held-out data the model is no better than a constant rate.", True)
    held_out = getattr(gradient, "held_out", None)
    if held_out is not None and held_out.get("fitted", 0.0) >= held_out.get("constant_rate", float("inf")):
        yield Note("Training", "On held-out data the trained model is no better than a constant rate.", True)
    outcome = dict(getattr(session, "outcome", None) or {})
    if outcome.get("status") not in (None, "completed"):
        why = f" ({outcome['error']})" if outcome.get("error") else ""
        yield Note("Session", f"The session did not complete: {outcome['status']}{why}.", True)
    for text in outcome.get("warnings") or ():
        yield Note("Session", str(text), True)
    yield from _command_notes(session, dict(outcome.get("commands") or {}))
    device = dict(getattr(session, "header", None) or {}).get("device")
    for text in (device or {}).get("warnings", ()) if isinstance(device, dict) else ():
        yield Note("Session", str(text), True)


def _operations(work: dict[str, Any]) -> str:
    per_s = number(work["synaptic_operations_per_s"])
    return f"{work['synaptic_operations']:,} synaptic operations (connections crossed by spikes), {per_s} per second."


def _command_notes(session: Any, counts: dict[str, Any]) -> Iterator[Note]:
    """Yield what became of commands that were rejected or came late."""
    rejected = getattr(session, "rejections", None)
    for row in () if rejected is None else rejected.itertuples():
        reason = f": {row.reason}" if row.reason else ""
        yield Note("Session", f"{row.n:,} commands were rejected ({row.stage}){reason}.", True)
    work = dict(dict(getattr(session, "outcome", None) or {}).get("work") or {})
    if "synaptic_operations" in work:
        yield Note("Session", _operations(work))
    if counts.get("late"):
        missed = f"; {counts['missed']:,} ticks missed their deadline" if counts.get("missed") else ""
        quantiles = ", ".join(f"{name} {number(value)} ms" for name, value in session.lateness.items())
        yield Note("Session", f"{counts['late']:,} commands came later than asked (all: {quantiles}){missed}.")


def sections(
    *, recording: Any, fit: Any, simulated: Any, gradient: Any, session: Any, analysis: CultureAnalysis | None
) -> list[Section]:
    """Return the sections of the page, in order."""
    found = [_summary(recording, simulated, session, analysis)]
    if analysis is not None:
        found += recorded_sections(recording, analysis, alone=simulated is None, simulated=simulated)
    elif recording is not None:
        found.append(_wells_activity(recording))
    if fit is not None:
        found.append(_fit(fit))
    if simulated is not None or getattr(fit, "free_run", None):
        found.append(_free_run(recording, fit, simulated))
    if gradient is not None:
        found.append(_training(gradient))
    if session is not None:
        found.append(Section("session", "Closed-loop session", [_panel("session", figures.session, session)]))
    return [section for section in found if section.parts]


def _panel(name: str, draw: Callable[..., Any], *inputs: Any, caption: str = "") -> Panel:
    caption = caption or _CAPTIONS[name]
    try:
        return Panel(name, draw(*inputs), caption)
    except OrganoidError as error:
        return Panel(name, None, caption, reason=f"{str(error)[:1].upper()}{str(error)[1:]}.")


def _summary(recording: Any, simulated: Any, session: Any, analysis: CultureAnalysis | None) -> Section:
    columns: dict[str, SpikeRecording] = {}
    for name, rec in (
        ("recorded", recording),
        ("simulated", simulated),
        ("session", getattr(session, "recording", None)),
    ):
        if rec is not None:
            columns[name] = rec
    parts: list[Panel | Table | str] = []
    several = {name: rec for name, rec in columns.items() if len(rec.wells) > 1}
    single = {name: rec for name, rec in columns.items() if name not in several}
    if single:
        parts.append(summary_table(single, analysis))
    parts += [wells_table(name, rec) for name, rec in several.items()]
    return Section("summary", "Summary", parts)


def _wells_activity(recording: SpikeRecording) -> Section:
    parts = [
        panel("spikes", lambda: figures.full_raster(recording)),
        panel("raster", lambda: figures.raster(recording)),
        panel("array-map", lambda: figures.array_map(recording)),
        panel("isi", lambda: figures.isi_comparison(recording)),
    ]
    return Section("activity", "Recorded activity", list(parts))


def _fit(fit: Any) -> Section:
    parts: list[Panel | Table | str] = [_panel("held-out", figures.held_out_scores, fit.scores)]
    per_unit = getattr(fit, "per_unit", None)
    if per_unit is not None and len(per_unit):
        parts.append(_panel("unit-scores", figures.unit_scores, per_unit))
    curves = getattr(fit, "goodness", None)
    if curves is not None and len(curves):
        parts.append(_panel("goodness", figures.goodness, curves, fit.bin_width))
    parts.append(score_table(pd.Series(fit.scores)))
    if per_unit is not None and len(per_unit):
        parts.append(unit_table(per_unit))
    edges = edge_table(getattr(fit, "edges", None), getattr(fit, "units", None))
    if edges is not None:
        parts.append(edges)
    return Section("fit", "Fit", parts)


def _free_run(recording: Any, fit: Any, simulated: Any) -> Section:
    parts: list[Panel | Table | str] = []
    free_run = getattr(fit, "free_run", None)
    if free_run:
        parts.append(free_run_table(free_run))
    if simulated is not None:
        beside = recording is not None and len(recording.wells) < 2
        if not beside:
            parts.append(_panel("simulated-raster", _raster_of, simulated))
        if beside:
            parts.append(_panel("side-by-side", figures.side_by_side, recording, simulated))
            parts.append(_panel("rates", figures.rates_comparison, recording, simulated))
            parts.append(_panel("burst-shape", figures.burst_shape, recording, simulated))
            parts.append(_panel("isi", figures.isi_comparison, recording, simulated))
            parts.append(_panel("sttc", figures.sttc_comparison, recording, simulated))
    return Section("free-run", "Free run", parts)


def _raster_of(simulated: SpikeRecording) -> Any:
    fig = figures.raster(simulated)
    return fig.update_layout(title_text=f"In simulation, {fig.layout.title.text}")


def _training(gradient: Any) -> Section:
    held_out = getattr(gradient, "held_out", None)
    return Section(
        "training", "Training by gradient", [_panel("training", figures.training_curve, gradient.curve, held_out)]
    )
