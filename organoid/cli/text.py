"""How commands speak to people: short aligned lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MAX_NOTES = 12
_STATUSES = ("fitted", "skipped", "failed")


def number(value: Any, digits: int = 3) -> str:
    """Return a number for reading; missing ones become "undefined"."""
    if value is None or value != value:
        return "undefined"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def lines(pairs: Mapping[str, Any]) -> str:
    """Return ``name  value`` lines, aligned."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs.items())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an aligned table."""
    body = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(row[k]) for row in body) for k in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in body)


def notes(found: Sequence[str]) -> str:
    """Return notes as a list; a long one is cut, saying so."""
    shown = [f"  - {note}" for note in found[:_MAX_NOTES]]
    if len(found) > _MAX_NOTES:
        shown.append(f"  - and {len(found) - _MAX_NOTES} more (all of them with --json)")
    return "\n".join(["notes", *shown]) if shown else ""


def info_text(info: Mapping[str, Any]) -> str:
    """Return what `file_info` found, for reading."""
    window = "nothing read" if info["t_start"] is None else f"{info['t_start']:g} to {info['t_stop']:g} s"
    rate = info["sampling_rate"]
    head = {
        "file": info["file"],
        "format": f"{info['title']} ({info['format']})",
        "units": number(info["n_units"]),
        "spikes": number(info["n_spikes"]),
        "stimuli": number(info["n_stimuli"]),
        "window": window,
        "sampling rate": "unknown, or not the same everywhere" if rate is None else f"{rate:g} Hz",
    }
    if info["n_events"]:
        head["events"] = f"{number(info['n_events'])} (marks that are not stimuli)"
    if info["labels"]:
        head["labels"] = ", ".join(f"{label} {n}" for label, n in info["labels"].items())
    if info["wells"]:
        head["wells"] = ", ".join(info["wells"])
    if "session" in info:
        head |= _became(info["session"])
    parts = [lines(head)]
    if len(info["entries"]) > 1:
        parts.append(_entries(info["entries"]))
    return "\n\n".join(part for part in [*parts, notes(info["notes"])] if part)


def _became(session: Mapping[str, Any]) -> dict[str, str]:
    """Return what became of a session: completed, failed and why, or interrupted, and its commands."""
    status = {"running": "interrupted (its writer was killed, or still runs)"}.get(session["status"], session["status"])
    ticks = "1 tick" if session["n_ticks"] == 1 else f"{number(session['n_ticks'])} ticks"
    why = f": {session['error']}" if session["error"] and session["status"] == "failed" else ""
    return {
        "session": f"{session['protocol']} on {session['device']}, {ticks}, {status}{why}",
        "commands": f"{number(session['n_commands'])}, {number(session['n_accepted'])} accepted",
        **_rejected(session["rejected"], session["late"], session["missed"]),
        **_lateness(session["lateness_ms"] if session["late"] else {}),
    }


def _rejected(rows: Sequence[Mapping[str, Any]], late: int, missed: int) -> dict[str, str]:
    """Return rejected commands by reason, and what came late; nothing where there is neither."""
    found = {}
    if rows:
        found["rejected"] = "; ".join(
            f"{number(row['n'])} by {row['stage']}{f' ({reason})' if (reason := row['reason']) else ''}" for row in rows
        )
    if late or missed:
        found["late"] = f"{number(late)} commands came later than asked, {number(missed)} ticks after the next decision"
    return found


def _lateness(found: Mapping[str, float]) -> dict[str, str]:
    """Return how late commands were; nothing where none was."""
    return {"lateness": ", ".join(f"{name} {number(value)} ms" for name, value in found.items())} if found else {}


def _entries(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (row["well"] or "-", row["recording"] or "-", number(row["n_units"]), number(row["n_spikes"]))
        for row in entries
    ]
    return table(("well", "recording", "units", "spikes"), rows)


def analysis_text(found: Mapping[str, Any]) -> str:
    """Return what was analyzed, for reading."""
    done = [row for row in found["cultures"] if row["status"] == "analysed"]
    failed = [f"{row['file']}: {row['reason']}" for row in found["cultures"] if row["status"] != "analysed"]
    rows = [
        (
            row["folder"],
            number(row["n_units"]),
            number(row["n_spikes"]),
            number(row["mean_rate_hz"]),
            number(row["n_bursts"]),
            number(row["bursts_by_chance"]),
        )
        for row in done
    ]
    columns = ("culture", "units", "spikes", "Hz per unit", "network bursts", "by chance")
    parts = [table(columns, rows), _not_analysed(failed), _groups(found["groups"]), f"written to {found['out']}"]
    return "\n\n".join(part for part in parts if part)


def _not_analysed(failed: Sequence[str]) -> str:
    return "\n".join([f"{len(failed)} not analysed", *(f"  - {line}" for line in failed)]) if failed else ""


def _groups(compared: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the comparisons of groups, the most significant first."""
    if not compared:
        return ""
    ordered = sorted(compared, key=lambda row: row["p_permutation"] if row["p_permutation"] is not None else 2.0)
    rows = [
        (
            row["feature"],
            f"{row['b']} - {row['a']}",
            f"{row['n_a']}, {row['n_b']}",
            number(row["difference"]),
            number(row["hedges_g"]),
            number(row["p_permutation"]),
            number(row["q"]),
        )
        for row in ordered[:_MAX_NOTES]
    ]
    return table(("feature", "groups", "cultures", "difference", "Hedges' g", "p", "q"), rows)


def comparison_text(found: Mapping[str, Any]) -> str:
    """Return the statistics of two recordings side by side."""
    a, b = found["statistics"]["a"], found["statistics"]["b"]
    rows = [(name.replace("_", " "), number(a[name]), number(b[name])) for name in a.index]
    said = [f"{name.upper()}: {text}" for name, texts in found["remarks"].items() for text in texts]
    parts = (f"A  {found['a']}\nB  {found['b']}", table(("", "A", "B"), rows), notes(said))
    return "\n\n".join(part for part in parts if part)


def fit_text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a fit, for reading."""
    head = {
        "model and loss": f"{found['model']}, {found['loss']}",
        "units, spikes": f"{number(found['n_units'])}, {number(found['n_spikes'])}",
    }
    alone = number(found["heldout_bits_per_spike_uncoupled"])
    head["held out"] = f"{number(found['heldout_bits_per_spike'])} bits/spike (without couplings: {alone})"
    for name in (name for name in found if name.startswith("held_out_loss")):
        head[name.replace("_", " ")] = number(found[name])
    for name, value in found["free_run"].items():
        if not name.endswith(("_range", "_split_half", "reasons", "drift", "alive")):
            halves = found["free_run"].get(f"{name}_split_half")
            beside = f" (recorded halves: {number(halves)})" if halves is not None else ""
            head[f"free run, {name.replace('_', ' ')}"] = number(value) + beside
    head["time, memory"] = f"{number(found['seconds'])} s, {number(found['peak_rss_mb'])} MB at most"
    return "\n\n".join(part for part in (lines(head | written(found)), notes(found["notes"])) if part)


def wells_text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a fit of several wells, for reading."""
    columns = ("well", "units", "spikes", "bits/spike", "uncoupled", "rate", "bursts", "passed", "")
    rows: list[Sequence[str]] = []
    for row in found["wells"]:
        name = " ".join(part for part in (row["well"], row["recording"]) if part) or "-"
        if row["status"] != "fitted":
            rows.append((name, *("-",) * 7, f"{row['status']}: {row['reason']}"))
            continue
        free_run, bits = row["free_run"], ("heldout_bits_per_spike", "heldout_bits_per_spike_uncoupled")
        lived = tuple(number(free_run.get(key)) if free_run else "-" for key in ("rate_ratio", "burst_rate_ratio"))
        passed = number(free_run["passed"]) if free_run else "-"
        counts = (number(row["n_units"]), number(row["n_spikes"]))
        why = "; ".join(free_run.get("reasons", ()))
        rows.append((name, *counts, *(number(row[key]) for key in bits), *lived, passed, why))
    said = [f"{sum(row['status'] == status for row in found['wells'])} {status}" for status in _STATUSES]
    return table(columns, rows) + f"\n\n{', '.join(said)}; written to {found['out']}"


def simulation_text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a simulation, for reading."""
    head = {
        "units, spikes": f"{number(found['n_units'])}, {number(found['n_spikes'])}",
        "time": f"{number(found['duration_s'])} s",
        "ran away": number(found["runaway"]),
    }
    return "\n\n".join(part for part in (lines(head | written(found)), notes(found["notes"])) if part)


def written(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written where."""
    return {name: found[name] for name in ("out", "report") if found[name]}


def session_text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a session, for reading."""
    head = {
        "protocol": found["protocol"],
        "status": found["status"],
        "time": f"{number(found['duration_s'])} s in {number(found['n_ticks'])} ticks",
        "spikes": number(found["n_spikes"]),
        "pulses": f"{number(found['n_pulses'])} given, {number(found['commands'].get('given', 0))} asked for",
    }
    head |= _rejected(found["rejected"], found["late"], found["missed"])
    if "synaptic_operations" in found["work"]:
        per_s = number(found["work"]["synaptic_operations_per_s"])
        head["synaptic operations"] = f"{number(found['work']['synaptic_operations'])}, {per_s} per s"
    values = {name.replace("_", " "): _value(value) for name, value in found["values"].items()}
    return "\n\n".join(part for part in (lines(head | values | written(found)), notes(found["warnings"])) if part)


def _value(value: Any) -> str:
    """Return one outcome for reading; tables and long lists are left to --json."""
    if isinstance(value, dict | list | tuple) and len(value) > 6:
        return f"{len(value)} values (--json)"
    return str(value) if isinstance(value, str | dict | list | tuple) else number(value, 4)


def dry_run_text(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what a protocol would give, for reading."""
    dose = f"{number(summary['dose'])} {summary['dose_unit'] or ''}".strip()
    pulses = f"{number(summary['pulses'])} ({summary['method']})"
    head = {"duration": f"{number(summary['duration_s'])} s", "pulses": pulses, "dose": dose}
    rehearsal = summary["rehearsal"]
    found = _rejected(summary["rejected"], rehearsal["late"], rehearsal["missed"])
    head |= {name: f"{text} (rehearsed for {number(rehearsal['duration_s'])} s)" for name, text in found.items()}
    columns = ("site", "electrodes", "amplitude", "pulses", "largest phase", "dose")
    body = [
        (
            str(row["site"]) or "-",
            ", ".join(map(str, row["electrodes"])),
            f"{number(row['amplitude'])} {row['amplitude_unit']}",
            number(row["n_pulses"]),
            number(row["phase_area"]),
            number(row["dose"]),
        )
        for row in rows
    ]
    refused = [f"refused: {reason}" for reason in summary["refused"]]
    parts = (lines(head), table(columns, body), notes([*refused, *summary["warnings"]]))
    return "\n\n".join(part for part in parts if part)


def experiment_text(found: Mapping[str, Any]) -> str:
    """Return what an experiment found, for reading."""
    head = {"experiment": found["experiment"], "sessions": number(found["n_sessions"])}
    columns = (
        "culture",
        "condition",
        "n",
        found["outcome"].replace("_", " "),
        "effect of reference",
        "p",
        "learning p",
    )
    rows = [
        (row["culture"], row["arm"], number(row["n"]), *(number(row[k]) for k in ("mean", "effect", "p", "learning_p")))
        for row in found["summary"]
    ]
    parts = (lines(head), table(columns, rows), notes(found["findings"]), lines(written(found)))
    return "\n\n".join(part for part in parts if part)


def replay_text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a replay, for reading."""
    head = {
        "status": found["status"],
        "mode": found["mode"],
        "compared": f"{number(found['n_ticks'])} ticks, {number(found['n_datasets'])} datasets",
        "first difference": found["difference"] or "none",
    }
    return "\n\n".join(part for part in (lines(head), notes(found["notes"])) if part)
