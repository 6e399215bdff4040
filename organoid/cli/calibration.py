"""The command that calibrates the responses of a fit on recordings with test pulses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from organoid.cli.arguments import Json, Report, Seed, Well, Which
from organoid.cli.reading import reads
from organoid.cli.support import UsageError, check_different, check_output, show
from organoid.cli.text import lines, notes, number, table, written
from organoid.io.supplied import ReadOptions

_WINDOWS = {"20_100ms": "20-100 ms", "100_500ms": "100-500 ms"}


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command()(reads(calibrate))


def calibrate(
    fit: Annotated[Path, typer.Argument(metavar="FIT.h5", help="A fit of the culture's spontaneous spikes.")],
    stimulated: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings of the same culture with test pulses.")
    ],
    out: Annotated[Path, typer.Option(metavar="NEW.h5", help="Where to write the calibrated fit.")],
    n_pulses: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Fit the first N pulses of each electrode (default: every other one)."),
    ] = None,
    seed: Seed = 0,
    well: Well = None,
    recording: Which = None,
    report: Report = None,
    *,
    reading: ReadOptions,
    as_json: Json = False,
) -> None:
    """Calibrate how a fitted network answers pulses.

    Ten to twenty pulses of an electrode are enough. Answers are judged on pulses that were held out. The network itself
    stays as it is: without pulses it runs spike by spike as before.
    """
    inputs = (fit, *stimulated)
    check_different(out, report)
    for path in (out, report):
        check_output(path, inputs=inputs)
    show(_calibrated(fit, stimulated, out, report, n_pulses, seed, (reading, well, recording)), as_json, _text)


def _calibrated(
    fit: Path,
    stimulated: Sequence[Path],
    out: Path,
    report: Path | None,
    n_pulses: int | None,
    seed: int,
    how: tuple[ReadOptions, str | None, str | None],
) -> dict[str, Any]:
    """Calibrate, save and report; return what to say of it."""
    from organoid.fitting import FitResult, load_fit
    from organoid.hdf5.atomic import replace_file
    from organoid.io.registry import read_with
    from organoid.wells import fit_page

    result = load_fit(fit)
    if not isinstance(result, FitResult):
        raise UsageError(f"{fit} is a {type(result).__name__}; responses are calibrated for fits by likelihood only")
    reading, well, recording = how
    recs = [read_with(reading, path, well, recording).culture() for path in stimulated]
    found = result.calibrate(recs, n_pulses=n_pulses, seed=seed)
    found.save(out)
    if report is not None:
        replace_file(report, fit_page(recs[0], found, f"Calibration of {fit.name}").encode())
    return {
        "file": fit,
        "stimulated": list(stimulated),
        "out": out,
        "report": report,
        "calibration": found.calibration_status,
        "evoked": found.evoked,
        "notes": list(found.notes),
    }


def _text(found: Mapping[str, Any]) -> str:
    """Return the outcome of a calibration, for reading."""
    evoked = found["evoked"]
    rows = [
        (str(electrode), label, *(number(evoked[name][kind][k]) for kind in ("recorded", "training", "simulated")))
        for name, label in _WINDOWS.items()
        for k, electrode in enumerate(evoked["electrodes"])
    ]
    head = {"responses": found["calibration"]}
    for name, label in _WINDOWS.items():
        own, training = number(evoked[name]["r"]), number(evoked[name]["r_training"])
        head[f"r over units and electrodes, {label}"] = f"{own} (training pulses themselves: {training})"
    rates = ("recorded", "simulated")
    head["between responses"] = ", ".join(
        f"{kind} {' '.join(number(rate) for rate in evoked['background_hz'][kind])} Hz" for kind in rates
    )
    columns = ("electrode", "after a pulse", "recorded", "training pulses", "simulated")
    spikes = "spikes per unit and held-out pulse, beyond those expected\n" + table(columns, rows)
    parts = (lines(head | written(found)), spikes, notes(found["notes"]))
    return "\n\n".join(part for part in parts if part)
