"""The command line: options and help; what commands do is in `organoid.cli.work`, imported when needed."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from organoid._version import __version__
from organoid.cli import calibration, simulation
from organoid.cli.arguments import Json, Recorded, Report, Seed, Well, Which
from organoid.cli.options import with_settings
from organoid.cli.reading import as_metadata, reads
from organoid.cli.support import check_output, make_folder, print_anywhere, print_json, sentence, show, shows_progress
from organoid.errors import OrganoidError, RecordingError
from organoid.io.supplied import ReadOptions

BAD_INPUT, BUG = 2, 1

app = typer.Typer(
    name="organoid",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"organoid {__version__}")
        raise typer.Exit


@app.callback(epilog="Exit codes: 0 done, 2 bad input (one sentence says what), 1 a bug in this program.")
def _organoid(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
) -> None:
    """From a recording of cultured neurons to a network that matches it and rehearses closed-loop protocols."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("organoid-demo"),
    as_json: Json = False,
) -> None:
    """Run the whole chain on a sample culture.

    Reads, fits, trains, simulates, closes the loop, replays, and writes a report at the end.
    """
    make_folder(out)
    from organoid.demo import run_demo

    found = run_demo(out, say=(lambda line: None) if as_json else print, progress=shows_progress(as_json))
    if as_json:
        print_json(found)


@app.command()
def tutorial(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which one; without it, they are listed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy a tutorial into this folder as a notebook."""
    from organoid.tutorials import copy_tutorial, title, tutorials

    if name is None:
        rows = [{"name": known, "title": title(page)} for known, page in tutorials().items()]
        show(rows, as_json, lambda found: "\n".join(f"{row['name']:20} {row['title']}" for row in found))
    else:
        show({"notebook": copy_tutorial(name, Path.cwd())}, as_json, lambda found: f"{found['notebook']}")


@app.command()
@reads
def info(file: Recorded, *, reading: ReadOptions, as_json: Json = False) -> None:
    """Say what is in a file."""
    from organoid.cli.text import info_text
    from organoid.io.info import file_info

    found = file_info(file, reading)
    if (found["metadata"] or {}).get("protocol") is not None and found["format"] == "organoid":
        from organoid.closed_loop.journal.reader import session_summary

        found["session"] = session_summary(file)
    show(found, as_json, info_text)


@app.command()
def formats(as_json: Json = False) -> None:
    """List the formats read, and on what evidence."""
    from organoid.cli.text import table
    from organoid.io.registry import formats as known

    rows = [{"name": fmt.name, "title": fmt.title, "evidence": str(fmt.evidence)} for fmt in known()]
    show(rows, as_json, lambda found: table(("name", "title", "evidence"), [tuple(row.values()) for row in found]))


@app.command()
@reads
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording, in any format read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .h5, .nwb or .csv.")],
    well: Well = None,
    recording: Which = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Metadata to add; may be repeated.")
    ] = None,
    *,
    reading: ReadOptions,
    as_json: Json = False,
) -> None:
    """Write a recording in the format that the suffix of OUT names.

    .h5 or .hdf5: an HDF5 file in a documented layout, which is read back exactly; .nwb: NWB; .csv: spike times.
    """
    added = as_metadata(metadata)
    check_output(out, inputs=(source,))
    from organoid.cli.conversion import check_suffix, write_as
    from organoid.io.registry import read_with

    check_suffix(out)
    rec = read_with(reading, source, well, recording)
    rec = rec.replace(metadata={**rec.metadata, **added})
    write_as(rec, out)
    found = {"out": out, "n_units": rec.n_units, "n_spikes": rec.n_spikes, "n_stimuli": len(rec.stimuli)}
    show(found, as_json, lambda _: f"{out}: {rec.n_units} units, {rec.n_spikes} spikes")


@app.command("map")
def propose_mapping(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file in a layout of your own.")],
    out: Annotated[Path | None, typer.Option(metavar="TOML", help="Write it there instead of printing it.")] = None,
) -> None:
    """Propose how to read a layout of your own.

    Prints a mapping, to be looked at, edited and given to the other commands as --map. Reads HDF5 (MATLAB 7.3 too),
    MATLAB 5, NumPy and CSV.
    """
    check_output(out, inputs=(file,))
    from organoid.io.map_proposal import propose

    found = propose(file)
    if out is None:
        print(found, end="")
    else:
        from organoid.hdf5.atomic import replace_file

        replace_file(out, found.encode())
        print(out)


@app.command()
def detect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Voltage: MaxWell, MCS, 3Brain, CL1, NWB.")],
    out: Annotated[Path, typer.Option(metavar="SPIKES.h5", help="Where to write the spikes.")],
    well: Well = None,
    recording: Which = None,
    threshold: Annotated[float, typer.Option(help="Multiple of the noise of each channel.")] = 5.0,
    low: Annotated[float, typer.Option(metavar="HZ", help="Lower end of the pass band.")] = 300.0,
    high: Annotated[float, typer.Option(metavar="HZ", help="Upper end of the pass band.")] = 3000.0,
    sign: Annotated[str, typer.Option(help="negative, positive or both.")] = "negative",
    dead_time: Annotated[float, typer.Option("--dead-time", metavar="S", help="Least time between spikes.")] = 1e-3,
    blank: Annotated[float, typer.Option(metavar="S", help="Also blank this time after each known stimulus.")] = 0.0,
    artefacts: Annotated[
        bool, typer.Option("--artefacts/--no-artefacts", help="Blank what is large on many channels at once.")
    ] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one for each core).")] = None,
    report: Report = None,
    as_json: Json = False,
) -> None:
    """Detect spikes in raw voltage.

    Band pass, a robust threshold on every channel, artefacts blanked; the spikes are written as an organoid file. The
    report shows noise levels and example cut-outs.
    """
    from organoid.cli.detection import DetectRequest, detect_file, detection_text
    from organoid.detection.settings import DetectionSettings

    settings = DetectionSettings(threshold, (low, high), sign=sign, dead_time=dead_time, blank_artefacts=artefacts)
    request = DetectRequest(file, out, well, recording, settings, blank, workers, report)
    show(detect_file(request, shows_progress(as_json)), as_json, detection_text)


@app.command()
@reads
def analyze(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, in any format read.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for tables and reports; may hold earlier ones.")],
    groups: Annotated[
        Path | None, typer.Option(metavar="CSV", help="file, well, group, age, culture, dose, condition: compare them.")
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Parameters, such as the parameters.json of an earlier analysis."),
    ] = None,
    tables: Annotated[str, typer.Option(metavar="FORMAT", help="Of the tables: csv, xlsx or parquet.")] = "csv",
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes (default: one per core).")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to work at instead.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute also what was analysed before.")] = False,
    *,
    reading: ReadOptions,
    as_json: Json = False,
) -> None:
    """Write statistics as tables and reports.

    One folder per culture, with tables and report.html; summary.csv and index.html over all of them, a page per plate.
    A file that cannot be analysed is a row with its reason, the others go on, and the exit code is 2.
    An interrupted run goes on where it stopped.
    """
    make_folder(out)
    from organoid.cli.statistics import analyze_files
    from organoid.cli.text import analysis_text

    request = {"table_format": tables, "workers": workers, "scheduler": scheduler, "again": again}
    found = analyze_files(files, out, shows_progress(as_json), reading, groups, parameters, **request)
    show(found, as_json, analysis_text)
    failed = [row for row in found["cultures"] if row["status"] != "analysed"]
    if failed:
        names = ", ".join(sorted({Path(row["file"]).name for row in failed}))
        raise RecordingError(
            f"{len(failed)} of {len(found['cultures'])} could not be analysed ({names}); summary.csv says why"
        )


@app.command()
@reads
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A recording.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one, or a simulation of the first.")],
    well: Well = None,
    recording: Which = None,
    *,
    reading: ReadOptions,
    as_json: Json = False,
) -> None:
    """Print the statistics of two recordings.

    Network bursts of each are found by the same rule, with the number expected by chance beside them.
    """
    from organoid.cli.statistics import compare_files
    from organoid.cli.text import comparison_text

    show(compare_files(first, second, well, recording, reading), as_json, comparison_text)


@app.command()
@reads
@with_settings
def fit(
    file: Recorded,
    out: Annotated[
        Path | None, typer.Option(metavar="FIT.h5", help="Where to write the fit (a folder with --all-wells).")
    ] = None,
    well: Well = None,
    recording: Which = None,
    report: Report = None,
    model: Annotated[str, typer.Option(help="escape_lif, lif, adaptive_lif or another registered one.")] = "escape_lif",
    loss: Annotated[str, typer.Option(help="likelihood, van_rossum, rate or another registered one.")] = "likelihood",
    seed: Seed = 0,
    free_run: Annotated[
        bool, typer.Option("--free-run/--no-free-run", help="Score free runs against the recording.")
    ] = True,
    all_wells: Annotated[
        bool, typer.Option("--all-wells", help="Fit every well; --out (and --report) name folders.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --all-wells: processes at a time. Default: one for each core.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --all-wells: work at a Dask scheduler instead.")
    ] = None,
    *,
    reading: ReadOptions,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Fit a spiking network to a recording.

    It is scored on held-out data and in free run. The last 20 % of the recording are never fitted to. Options that
    begin with "Likelihood" belong to the default model and loss, those with "Gradient" to all others.
    """
    from organoid.cli.text import fit_text, wells_text
    from organoid.cli.work import FitRequest, fit_file

    asked = {"free_run": free_run, **settings}
    request = FitRequest(file, well, recording, out, report, model, loss, seed, asked, reading)
    if all_wells:
        from organoid.cli.wells import fit_all

        found = fit_all(request, shows_progress(as_json), workers=workers, scheduler=scheduler)
        show(found, as_json, wells_text)
        return
    show(fit_file(request, shows_progress(as_json)), as_json, fit_text)


calibration.add_commands(app)
simulation.add_commands(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 2 and one sentence on bad input, 1 on a bug."""
    print_anywhere()
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app([argument for argument in given if argument != "--debug"], prog_name="organoid")
    except (OrganoidError, OSError) as error:
        _fail(f"Error: {sentence(error)}", BAD_INPUT, debug)
    except Exception as error:
        hint = "" if debug else "; run the same with --debug to see where"
        _fail(f"Bug in organoid: {type(error).__name__}: {sentence(error)}{hint}", BUG, debug)


def _fail(text: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(text, file=sys.stderr)
    sys.exit(code)
