"""Analysis of many files: one folder per culture, one table of all, pages to look at; interrupted runs go on."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from organoid import parallel
from organoid._version import __version__
from organoid.analysis.cultures import metadata_of, title_of
from organoid.analysis.methods import methods_paragraph
from organoid.analysis.tables import FORMATS, write_table
from organoid.errors import OrganoidError, RecordingError
from organoid.hdf5.atomic import replace_file
from organoid.io.cultures import Culture, cultures
from organoid.io.registry import read_with
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.recording import SpikeRecording
from organoid.report import write_analysis_pages, write_report, write_script
from organoid.statistics import network_bursts, remarks, summary
from organoid.statistics.culture import AnalysisSettings, CultureAnalysis, analyze_culture

RECORDS = "records"  # one small file per analysed file: what a later run adds to
PLACE = ("file", "well", "recording", "folder", "status", "reason", "remarks")


@dataclass(frozen=True)
class Analysis:
    """What an analysis wrote.

    Parameters
    ----------
    out : Path
    summary : DataFrame
        One row per culture in the folder, those of earlier runs included; also ``summary.csv``.
    rows : list of dict
        The rows of this run, in the order of its files.
    """

    out: Path
    summary: pd.DataFrame
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class _Work:
    """One file to analyse, as it travels to another process."""

    file: Path
    out: Path
    suffix: str  # of the names of its folders, where another file has the same name
    settings: AnalysisSettings
    reading: ReadOptions
    table_format: str
    again: bool


def analyze(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    settings: AnalysisSettings | None = None,
    reading: ReadOptions = DEFAULT,
    table_format: str = "csv",
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
    again: bool = False,
) -> Analysis:
    """Analyse every culture of some files: tables, a report of each, a table and a page of all.

    A file that cannot be analysed becomes a row with its reason, and the others go on. A later run into the same folder
    adds its cultures, or replaces those of the same files; what was analysed already with the same settings is not
    computed again, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    files : sequence of path
    out : path
        A folder; made where it does not exist.
    settings : AnalysisSettings, optional
    reading : ReadOptions, optional
        What is supplied beside the files.
    table_format : {"csv", "xlsx", "parquet"}
        Of the tables of each culture. The summary is always a CSV, and in this format too.
    workers, scheduler
        As in `organoid.parallel.map`: local processes, or the address of a Dask scheduler.
    progress : bool
    again : bool
        Compute also what is there already.

    Returns
    -------
    Analysis

    Raises
    ------
    RecordingError
        If there are no files, the format is unknown, or no file of this run could be analysed.

    Examples
    --------
    >>> import organoid.analysis, organoid.sample_culture, tempfile
    >>> with organoid.sample_culture.sample_path() as path, tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     organoid.analysis.analyze([path], folder).summary["n_units"].tolist()
    """
    if not files:
        raise RecordingError("no files to analyse; give one or more")
    if table_format not in FORMATS:
        raise RecordingError(f"table format {table_format!r}; expected one of {', '.join(FORMATS)}")
    folder, use = Path(out), settings or AnalysisSettings()
    (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    write_script(folder)
    work = [
        _Work(Path(file), folder, suffix, use, reading, table_format, again)
        for file, suffix in zip(files, _suffixes(folder, [Path(file) for file in files]))
    ]
    found = parallel.map(_one_file, work, workers=workers, scheduler=scheduler, progress=progress, label="analyzing")
    rows = [row for part in found for row in part]
    table = _collected(folder)
    _write_overview(folder, table, use, table_format)
    if all(row["status"] != "analysed" for row in rows):
        reasons = "; ".join(f"{Path(row['file']).name}: {row['reason']}" for row in rows)
        raise RecordingError(f"none of the files could be analysed ({reasons})")
    return Analysis(folder, table, rows)


def compare(
    first: str | Path,
    second: str | Path,
    *,
    well: str | None = None,
    recording: str | None = None,
    reading: ReadOptions = DEFAULT,
) -> dict[str, Any]:
    """Return the same statistics of two recordings, each judged by the same rule and by itself.

    Parameters
    ----------
    first, second : path
    well, recording : str, optional
        Which, where a file holds several.
    reading : ReadOptions, optional

    Returns
    -------
    dict
        a, b (paths), and by "a" and "b": statistics (Series), thresholds (of network bursts), remarks.
    """
    recs = [read_with(reading, Path(file), well, recording).culture() for file in (first, second)]
    bursts = [network_bursts(rec) for rec in recs]
    return {
        "a": str(first),
        "b": str(second),
        "statistics": {name: summary(rec, bursts=found) for name, rec, found in zip("ab", recs, bursts)},
        "thresholds": {name: found.attrs["thresholds"] for name, found in zip("ab", bursts)},
        "remarks": {name: remarks(rec, found) for name, rec, found in zip("ab", recs, bursts)},
    }


def _one_file(work: _Work) -> list[dict[str, Any]]:
    """Analyse the cultures of one file, or return the rows of an earlier run; a failure is a row."""
    record = _record_path(work.out, work.file)
    stamp = _stamp(work)
    if not work.again and (known := _read_record(record)) and known["stamp"] == stamp:
        rows: list[dict[str, Any]] = known["rows"]
        return rows
    rows, taken = [], set[str]()
    try:
        for culture in cultures(work.file, work.reading):
            rows.append(_one_culture(culture, work, taken))
    except Exception as error:
        rows.append(_failed(work.file, None, None, error))
    content = {"file": str(work.file.resolve()), "suffix": work.suffix, "stamp": stamp, "rows": _plain(rows)}
    replace_file(record, json.dumps(content, indent=1, allow_nan=False).encode())
    return rows


def _one_culture(culture: Culture, work: _Work, taken: set[str]) -> dict[str, Any]:
    try:
        found = analyze_culture(culture.rec, work.settings)
        folder = _folder(work, culture, taken)
        write_culture(culture, found, work.out / folder, work.table_format)
    except Exception as error:  # a bug in one culture must not cost the others
        return _failed(culture.file, culture.well, culture.recording, error)
    place = {
        "file": str(culture.file),
        "well": culture.well,
        "recording": culture.recording,
        "folder": folder,
        "status": "analysed",
        "reason": None,
        "remarks": "; ".join(found.remarks) or None,
    }
    taken_names = {*place, *found.summary}
    said = {(f"file_{name}" if name in taken_names else name): value for name, value in metadata_of(culture).items()}
    return {**place, **said, **found.summary}


def _failed(file: Path, well: str | None, recording: str | None, error: Exception) -> dict[str, Any]:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if not isinstance(error, OrganoidError | OSError):
        reason = f"a bug in this program, {type(error).__name__}: {reason}"
    place = {"file": str(file), "well": well, "recording": recording, "folder": None}
    return {**place, "status": "failed", "reason": " ".join(reason.split()), "remarks": None}


def write_culture(culture: Culture, found: CultureAnalysis, folder: Path, table_format: str = "csv") -> None:
    """Write the tables and the report of one culture.

    Parameters
    ----------
    culture : Culture
    found : CultureAnalysis
    folder : Path
        Made where it does not exist; the page takes its script from the folder above.
    table_format : {"csv", "xlsx", "parquet"}
    """
    folder.mkdir(exist_ok=True)
    names = culture.rec.units["name"].astype("string").fillna("").to_list()
    bursts = found.network_bursts.assign(
        n_found=len(found.network_bursts), n_expected_by_chance=found.network_bursts.attrs["chance"]["expected"]
    )
    tables = {"units": found.units, "bursts": found.bursts, "network_bursts": bursts, "burst_evidence": found.evidence}
    if found.sttc is not None:
        tables["sttc"] = pd.DataFrame(found.sttc, columns=pd.Index(names, dtype=object)).assign(unit=names)
        tables["sttc"] = tables["sttc"][["unit", *names]] if len(set(names)) == len(names) else tables["sttc"]
    if len(found.responses):
        tables |= {"responses": found.responses, "psth": found.psth}
    for name, table in tables.items():
        write_table(table, folder / name, table_format)
    write_report(
        folder / "report.html",
        recording=culture.rec,
        analysis=found,
        title=title_of(culture),
        methods=methods_paragraph(found.settings, stimulated=bool(len(found.responses))),
        tables=[f"{name}.{table_format}" for name in tables],
        script="../plotly.min.js",
        home="../index.html",
    )


def _folder(work: _Work, culture: Culture, taken: set[str]) -> str:
    """Return the name of a culture's folder, no other culture's of this file."""
    parts = (culture.file.name.split(".")[0] or culture.file.stem, culture.well, culture.recording)
    name = "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts if part) + work.suffix
    name = next(free for free in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if free not in taken)
    taken.add(name)
    return name


def _suffixes(folder: Path, files: Sequence[Path]) -> list[str]:
    """Return what keeps folders of files of one name apart: nothing for the first, _2 for the second, ..."""
    known = [record for path in sorted((folder / RECORDS).glob("*.json")) if (record := _read_record(path))]
    given = {record["file"]: record["suffix"] for record in known}
    used = {(Path(file).stem, suffix) for file, suffix in given.items()}
    suffixes = []
    for file in files:
        whole = str(file.resolve())
        if whole not in given:
            free = next(s for s in ("", *(f"_{k}" for k in range(2, len(used) + 3))) if (file.stem, s) not in used)
            given[whole] = free
            used.add((file.stem, free))
        suffixes.append(given[whole])
    return suffixes


def _record_path(out: Path, file: Path) -> Path:
    return out / RECORDS / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]}.json"


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if {"file", "suffix", "stamp", "rows"} <= set(record) else None


def _stamp(work: _Work) -> str:
    """Return what a result depends on: the file as it is, settings, options and this program."""
    try:
        status = work.file.stat()
        seen: tuple[float, ...] = (status.st_size, status.st_mtime)
    except OSError:
        seen = ()
    parts = (seen, work.settings.as_mapping(), asdict(work.reading), work.table_format, __version__)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _collected(folder: Path) -> pd.DataFrame:
    """Return one row per culture of every record in the folder; places first, then what files say, then numbers."""
    records = [record for path in (folder / RECORDS).glob("*.json") if (record := _read_record(path))]
    rows = [row for record in sorted(records, key=lambda one: (one["file"], one["suffix"])) for row in record["rows"]]
    numbers = [str(name) for name in summary(SpikeRecording([], [])).index]
    said = dict.fromkeys(name for row in rows for name in row if name not in PLACE and name not in numbers)
    return pd.DataFrame(rows, columns=[*PLACE, *said, *numbers])


def _write_overview(folder: Path, table: pd.DataFrame, settings: AnalysisSettings, table_format: str) -> None:
    write_table(table.convert_dtypes(), folder / "summary", "csv")  # counts beside missing ones stay integers
    if table_format != "csv":
        write_table(table, folder / "summary", table_format)
    used = {"organoid": __version__, "parameters": settings.as_mapping()}
    replace_file(folder / "parameters.json", json.dumps(used, indent=2).encode())
    write_analysis_pages(folder, table, methods_paragraph(settings))


def read_parameters(path: str | Path) -> AnalysisSettings:
    """Return the settings in a ``parameters.json``, that of an earlier analysis for example.

    Parameters
    ----------
    path : path
        A JSON object of parameters, or one that holds it under "parameters".

    Returns
    -------
    AnalysisSettings

    Raises
    ------
    RecordingError
        If it is no such file, or names an unknown parameter.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordingError(f"{path} is not JSON ({error}); expected a parameters.json") from None
    values = content.get("parameters", content) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise RecordingError(f"{path} holds no parameters; expected a JSON object of names and numbers")
    return replace(AnalysisSettings.of(values))


def _plain(value: Any) -> Any:
    """Return plain JSON values; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
