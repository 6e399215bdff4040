"""``organoid analyze`` and ``organoid compare``: what the library computes, as values for text and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from organoid import analysis
from organoid.analysis.comparison import compare_summary
from organoid.analysis.files import read_parameters
from organoid.analysis.groups import read_groups
from organoid.io.supplied import DEFAULT, ReadOptions


def analyze_files(
    files: Sequence[Path],
    out: Path,
    progress: bool,
    reading: ReadOptions = DEFAULT,
    groups: Path | None = None,
    parameters: Path | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Analyse files, compare groups where they are given, and return what to show."""
    table = None if groups is None else read_groups(groups)  # before any work
    settings = None if parameters is None else read_parameters(parameters)
    found = analysis.analyze(files, out, settings=settings, reading=reading, progress=progress, **request)
    compared = None if table is None else compare_summary(out, found.summary, table, request.get("table_format", "csv"))
    return {
        "out": out,
        "summary": out / "summary.csv",
        "index": out / "index.html",
        "cultures": found.rows,
        "groups": compared,
    }


def compare_files(
    first: Path, second: Path, well: str | None, recording: str | None, options: ReadOptions = DEFAULT
) -> dict[str, Any]:
    """Return the same statistics of two recordings, each judged by the same rule and by itself."""
    return analysis.compare(first, second, well=well, recording=recording, reading=options)
