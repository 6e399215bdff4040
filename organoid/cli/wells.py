"""``organoid fit --all-wells``: every culture of a file fitted, several at a time, one table of all."""

import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from organoid.cli.statistics import cultures
from organoid.cli.support import OutputError, UsageError, make_folder
from organoid.cli.work import FitRequest, check_names, fit_file
from organoid.errors import OrganoidError

TABLE = "wells.csv"
_FREE_RUN = ("rate_ratio", "burst_rate_ratio", "sttc_correlation", "passed", "runaway", "reasons", "drift")


def fit_wells(request: FitRequest, progress: bool, pool: Callable[[int], Executor] | None = None) -> dict[str, Any]:
    """Fit every culture of a file; one that cannot be fitted, or fails, does not stop the others.

    Parameters
    ----------
    request : FitRequest
        ``out`` is the folder for the fits and their table, ``report`` one for a report of each.
    progress : bool
    pool : callable, optional
        Makes the executor for a number of workers. Default: processes, as many as there are processors.

    Returns
    -------
    dict
        file, out, table and ``wells``, a list with one entry a culture in the file's order: well, recording,
        ``status`` ("fitted"; "skipped", there is too little to fit; "failed", a bug), ``reason``, and what
        ``organoid fit`` says of one.
    """
    requests = _requests(request)
    rows: dict[int, dict[str, Any]] = {}
    with (pool or _processes)(min(len(requests), os.cpu_count() or 1)) as workers:
        waiting = {workers.submit(fit_well, each): k for k, each in enumerate(requests)}
        for done in tqdm(as_completed(waiting), "fitting", len(waiting), unit="well", disable=not progress):
            rows[waiting[done]] = done.result()
    found = [rows[k] for k in range(len(requests))]
    assert request.out is not None
    _table(found).to_csv(request.out / TABLE, index=False)
    return {"file": request.file, "out": request.out, "table": request.out / TABLE, "wells": found}


def _processes(n: int) -> Executor:
    return ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"))


def _requests(request: FitRequest) -> list[FitRequest]:
    """Return one request a culture, the names of its files taken from its well and recording."""
    check_names(request)
    if request.well is not None:
        raise UsageError("--well and --all-wells do not go together; give one of them")
    if request.out is None:
        raise UsageError("--all-wells needs --out DIR, a folder for the fits")
    for folder in (request.out, request.report):
        if folder is not None:
            if folder.suffix in (".h5", ".html"):
                raise OutputError(f"with --all-wells outputs are folders; got {folder}")
            make_folder(folder)
    return list(_each(request, request.out))


def _each(request: FitRequest, out: Path) -> Iterator[FitRequest]:
    taken: set[str] = set()
    for culture in cultures(request.file, request.reading):
        if request.recording is not None and culture.recording != request.recording:
            continue
        words = (culture.well, culture.recording if request.recording is None else None)
        name = "_".join(re.sub(r"[^\w.-]+", "-", word) for word in words if word) or request.file.stem
        name = next(free for free in (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3))) if free not in taken)
        taken.add(name)
        report = None if request.report is None else request.report / f"{name}.html"
        yield replace(request, well=culture.well, recording=culture.recording, out=out / f"{name}.h5", report=report)


def fit_well(request: FitRequest) -> dict[str, Any]:
    """Fit one culture; what goes wrong is part of the answer."""
    place = {"well": request.well, "recording": request.recording}
    try:
        return {**place, "status": "fitted", "reason": None, **fit_file(request, progress=False)}
    except OrganoidError as error:
        return {**place, "status": "skipped", "reason": str(error)}
    except Exception as error:  # a bug in one well must not cost the others
        return {**place, "status": "failed", "reason": f"{type(error).__name__}: {error}"}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the numbers of all cultures, free-run medians among them."""
    flat = []
    for row in rows:
        free_run = row.get("free_run") or {}
        plain = {key: value for key, value in row.items() if key not in ("free_run", "notes")}
        flat.append(plain | {f"free_run_{name}": free_run[name] for name in _FREE_RUN if name in free_run})
    return pd.DataFrame(flat)
