"""Commands that let a network spike: simulate, run, experiment, replay."""

from pathlib import Path
from typing import Annotated

import typer

from organoid.cli.arguments import Json, Report, Seed
from organoid.cli.support import make_folder, show, shows_progress

DIFFERENT, NOT_COMPARABLE = 3, 4


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    for command in (simulate, run, experiment):
        app.command()(command)
    app.command(epilog="Exit codes: 0 same, 3 different, 4 not comparable (other versions or CPU).")(replay)


def simulate(
    source: Annotated[str, typer.Argument(metavar="FIT.h5", help="A fit, or preset:NAME.")],
    duration: Annotated[float, typer.Option(metavar="S", help="Seconds to simulate.")],
    out: Annotated[Path, typer.Option(metavar="SIM.h5", help="Where to write the simulated recording.")],
    seed: Seed = 0,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Simulate a fitted network in free run.

    What it does is written as a recording, which every other command reads.
    """
    from organoid.cli.text import simulation_text
    from organoid.cli.work import simulate_file

    show(simulate_file(source, duration, out, seed, report), as_json, simulation_text)


def run(
    protocol: Annotated[
        str, typer.Argument(metavar="PROTOCOL", help="periodic_pulses, rate_clamp, a .toml file, or file.py:Class.")
    ],
    culture: Annotated[str, typer.Option(metavar="CULTURE", help="FIT.h5, or preset:NAME.")],
    out: Annotated[Path | None, typer.Option(metavar="SESSION.h5", help="The journal; a new file.")] = None,
    duration: Annotated[float, typer.Option(metavar="S", help="Seconds to run.")] = 60.0,
    seed: Seed = 0,
    latency: Annotated[str, typer.Option(help="Latency profile: ideal, cl1, maxone, finalspark.")] = "ideal",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print pulses, charge and duration; run nothing.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Follow it on a page in the browser, at real time.")] = False,
    speed: Annotated[float, typer.Option(metavar="X", help="With --live: times real time.")] = 1.0,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Run a protocol on a simulated culture."""
    from organoid.cli import text as cli_text
    from organoid.cli.work import SessionRequest, plan_session, run_protocol

    pace = speed if live else None
    request = SessionRequest(protocol, culture, out, duration, seed, latency, report, pace)
    if dry_run:
        plan = plan_session(request)
        show(plan, as_json, lambda found: cli_text.dry_run_text(found, found["table"]))
    else:
        show(run_protocol(request, shows_progress(as_json)), as_json, cli_text.session_text)


def experiment(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Cultures, protocol, conditions, controls, seeds.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for results; begun ones are continued.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes; default: one for each core.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to run on.")] = None,
    as_json: Json = False,
) -> None:
    """Run a protocol on cultures under conditions and controls.

    Writes a row per session, a comparison per condition, and a report. Interrupted, it goes on where it was.
    """
    make_folder(out)
    from organoid.cli.text import experiment_text
    from organoid.cli.work import run_experiment_file

    show(run_experiment_file(file, out, workers, scheduler, shows_progress(as_json)), as_json, experiment_text)


def replay(
    session: Annotated[Path, typer.Argument(metavar="SESSION.h5", help="The journal of a session.")],
    as_json: Json = False,
) -> None:
    """Run a session again and compare.

    Says whether, and where first, it differs from its journal.
    """
    from organoid.cli.text import replay_text
    from organoid.cli.work import replay_file

    found = replay_file(session)
    show(found, as_json, replay_text)
    code = {"same": 0, "different": DIFFERENT}.get(found["status"], NOT_COMPARABLE)
    raise typer.Exit(code)
