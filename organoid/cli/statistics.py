"""``organoid analyze`` and ``organoid compare``: the statistics of recordings as tables, numbers and reports."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from organoid import statistics
from organoid.io.cultures import Culture, cultures
from organoid.io.registry import detect_format, read_with
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.recording import SpikeRecording
from organoid.report import write_report

MAX_UNITS_FOR_PAIRS = 2000  # a table of pairs grows with the square of the units


def analyze_files(files: Sequence[Path], out: Path, progress: bool, options: ReadOptions = DEFAULT) -> dict[str, Any]:
    """Write tables and a report for every culture of some files, and a table of all into `out`."""
    for file in files:
        detect_format(file, options)  # all of them before any work
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(files), desc="analyzing", unit="file", disable=not progress) as bar:
        for file in files:
            for culture in cultures(file, options):
                folder = _folder(out, culture, {row["folder"] for row in rows})
                write_tables(culture.rec, folder)
                title = f"{file.name} {culture.well or ''} {culture.recording or ''}".strip()
                write_report(folder / "report.html", recording=culture.rec, title=title)
                rows.append(_row(culture, folder))
            bar.update()
    pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    return {"out": out, "summary": out / "summary.csv", "cultures": rows}


def _folder(out: Path, culture: Culture, taken: set[str]) -> Path:
    """Make the folder of a culture; one of an earlier analysis is written over, one of this analysis never."""
    parts = (culture.file.stem, culture.well, culture.recording)
    name = "_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts if part)
    names = (name if k == 1 else f"{name}_{k}" for k in range(1, len(taken) + 2))
    folder = out / next(free for free in names if free not in taken)
    folder.mkdir(exist_ok=True)
    return folder


def _row(culture: Culture, folder: Path) -> dict[str, Any]:
    place = {"file": str(culture.file), "well": culture.well, "recording": culture.recording, "folder": folder.name}
    return place | {str(name): value for name, value in statistics.summary(culture.rec).items()}


def write_tables(rec: SpikeRecording, folder: Path) -> None:
    """Write units, bursts, network bursts and synchrony of one culture as CSV tables."""
    unit_table(rec).to_csv(folder / "units.csv", index=False)
    statistics.bursts_max_interval(rec).to_csv(folder / "bursts.csv", index=False)
    statistics.network_bursts(rec).to_csv(folder / "network_bursts.csv", index=False)
    if rec.n_units <= MAX_UNITS_FOR_PAIRS:
        names = rec.units["name"]
        pd.DataFrame(statistics.sttc(rec), index=names, columns=names).to_csv(folder / "sttc.csv")


def unit_table(rec: SpikeRecording) -> pd.DataFrame:
    """Return one row a unit: who it is, and the statistics of its spikes."""
    measured = {
        "rate_hz": statistics.firing_rates(rec),
        "cv": statistics.cv(rec),
        "cv2": statistics.cv2(rec),
        "lv": statistics.lv(rec),
        "lvr": statistics.lvr(rec),
        "fano": statistics.fano(rec),
    }
    return rec.units.assign(**measured)


def compare_files(
    first: Path, second: Path, well: str | None, recording: str | None, options: ReadOptions = DEFAULT
) -> dict[str, Any]:
    """Return the same statistics of two recordings, each judged by the same rule and by itself."""
    recs = [read_with(options, file, well, recording).culture() for file in (first, second)]
    bursts = [statistics.network_bursts(rec) for rec in recs]
    summaries = [statistics.summary(rec, bursts=found) for rec, found in zip(recs, bursts)]
    return {
        "a": str(first),
        "b": str(second),
        "statistics": dict(zip("ab", summaries)),
        "thresholds": {name: found.attrs["thresholds"] for name, found in zip("ab", bursts)},
        "remarks": {name: statistics.remarks(rec, found) for name, rec, found in zip("ab", recs, bursts)},
    }
