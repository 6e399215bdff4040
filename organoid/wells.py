"""`fit_wells`: every culture of a file, or of several recordings, fitted, several at a time."""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from organoid import parallel
from organoid.culture import simulate
from organoid.errors import FitError, OrganoidError
from organoid.fitting import Fit, GradientFit, fit
from organoid.fitting.loading import fit_in
from organoid.fitting.methods import method_for, settings_for
from organoid.fitting.serialization import write_fit
from organoid.hdf5.atomic import replace_file
from organoid.io.cultures import cultures
from organoid.io.supplied import DEFAULT, ReadOptions
from organoid.recording import SpikeRecording
from organoid.report import report_page

TABLE = "wells.csv"
REPORT_RUN = 300.0  # s: longest free run shown in a report
_FREE_RUN = ("rate_ratio", "burst_rate_ratio", "sttc_correlation", "passed", "runaway", "reasons", "drift")

Source = str | PathLike[str] | SpikeRecording | Iterable[SpikeRecording]


@dataclass(frozen=True)
class WellFits:
    """Fits of many cultures.

    Parameters
    ----------
    rows : list of dict
        One for each culture, in order: name, well, recording, ``status`` ("fitted"; "skipped", there is too little to
        fit; "failed", a bug), ``reason``, and of a fit its scores, ``free_run`` and ``notes``.
    fits : dict of str to Fit
        The fits by the name of their culture.
    """

    rows: list[dict[str, Any]]
    fits: dict[str, Fit]

    @property
    def table(self) -> pd.DataFrame:
        """The numbers of all cultures, one row each, free-run medians among them (``free_run_...``)."""
        flat = []
        for row in self.rows:
            free_run = row.get("free_run") or {}
            plain = {key: value for key, value in row.items() if key not in ("free_run", "notes")}
            flat.append(plain | {f"free_run_{name}": free_run[name] for name in _FREE_RUN if name in free_run})
        return pd.DataFrame(flat)


def fit_wells(
    source: Source,
    *,
    out: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    recording: str | None = None,
    reading: ReadOptions = DEFAULT,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
    **options: Any,
) -> WellFits:
    """Fit every culture; one that cannot be fitted, or fails, does not stop the others.

    Parameters
    ----------
    source : path, SpikeRecording or iterable of SpikeRecording
        A file, all wells and recordings of which are fitted, or recordings, all wells of which are.
    out : path, optional
        An existing folder; every fit is written there as soon as it is made, at the end a table of all, ``wells.csv``.
    report : path, optional
        An existing folder for a report of each.
    recording : str, optional
        Only this recording of the file.
    reading : ReadOptions
        What is supplied beside the file.
    workers, scheduler, progress
        As of `organoid.parallel.map`: local processes, or a Dask scheduler.
    **options
        Of `organoid.fit`: model, loss, seed, settings, or single settings by name.

    Returns
    -------
    WellFits
        ``table`` and ``fits``.

    Raises
    ------
    FitError
        If an option of the fit is unknown; nothing has been fitted then.

    Examples
    --------
    >>> import organoid
    >>> wells = organoid.fit_wells("plate.h5", free_run=False)  # doctest: +SKIP
    >>> wells.table[["well", "status", "heldout_bits_per_spike"]]  # doctest: +SKIP
    """
    _check(options)
    tasks = list(_tasks(source, recording, reading, report is not None, options))
    folder, pages = (None if each is None else Path(each) for each in (out, report))
    fits: dict[str, Fit] = {}
    rows: list[dict[str, Any]] = [{} for _ in tasks]

    def keep(k: int, outcome: "_Outcome") -> None:
        name = tasks[k].name
        places = {"out": None if folder is None else folder / f"{name}.h5"}
        places["report"] = None if pages is None else pages / f"{name}.html"
        if outcome.content is None:
            rows[k] = outcome.row
            return
        fits[name] = _from_bytes(outcome.content)
        rows[k] = outcome.row | places
        for path, content in ((places["out"], outcome.content), (places["report"], outcome.page)):
            if path is not None and content is not None:
                replace_file(path, content)

    spread = {"workers": workers, "scheduler": scheduler, "progress": progress}
    parallel.map(_fit_one, tasks, label="fitting", each=keep, **spread)  # type: ignore[arg-type]
    result = WellFits(rows, {task.name: fits[task.name] for task in tasks if task.name in fits})
    if folder is not None:
        replace_file(folder / TABLE, result.table.to_csv(index=False).encode())
    return result


def _check(options: dict[str, Any]) -> None:
    """Reject unknown options of the fit, before any work."""
    own = {name: value for name, value in options.items() if name not in ("model", "loss", "seed", "settings")}
    if "well" in own:
        raise FitError(f"fit_wells fits every well; for well {own['well']!r} alone use fit(rec, well=...)")
    method = method_for(options.get("model", "escape_lif"), options.get("loss", "likelihood"))
    settings_for(method, options.get("settings"), own)


@dataclass(frozen=True)
class _Task:
    """One culture to fit, as it travels to a worker."""

    name: str
    well: str | None
    recording: str | None
    rec: SpikeRecording
    options: dict[str, Any]
    title: str
    with_report: bool


@dataclass(frozen=True)
class _Outcome:
    """What comes back: the file of the fit and the page of its report, if there is a fit."""

    row: dict[str, Any]
    content: bytes | None = None
    page: bytes | None = None


def _tasks(
    source: Source, recording: str | None, reading: ReadOptions, with_report: bool, options: dict[str, Any]
) -> Iterator[_Task]:
    """Yield one task for each culture, under a name of its own."""
    taken: set[str] = set()
    for words, task in _cultures(source, recording, reading):
        stem = "_".join(re.sub(r"[^\w.-]+", "-", word) for word in words if word)
        names = (stem, *(f"{stem}_{k}" for k in range(2, len(taken) + 3)))
        name = next(each for each in names if each not in taken)
        taken.add(name)
        yield replace(task, name=name, options=options, with_report=with_report)


def _cultures(source: Source, recording: str | None, reading: ReadOptions) -> Iterator[tuple[tuple[str, ...], _Task]]:
    """Yield the cultures of a file or of recordings, and the words of their names."""
    if isinstance(source, str | PathLike):
        file = Path(source)
        for each in cultures(file, reading):
            if recording is not None and each.recording != recording:
                continue
            words = tuple(word for word in (each.well, None if recording else each.recording) if word)
            yield (
                words or (file.stem,),
                _Task("", each.well, each.recording, each.rec, {}, f"Fit of {file.name}", False),
            )
        return
    for rec in [source] if isinstance(source, SpikeRecording) else source:
        for well in rec.wells or (None,):
            yield (
                (well or "culture",),
                _Task("", well, None, rec.culture(well), {}, f"Fit of {well or 'a culture'}", False),
            )


def _fit_one(task: _Task) -> _Outcome:
    """Fit one culture; what goes wrong is part of the answer."""
    place = {"name": task.name, "well": task.well, "recording": task.recording}
    try:
        result = fit(task.rec, **task.options)
        row = {**place, "status": "fitted", "reason": None, **described(task.rec, result)}
        page = fit_page(task.rec, result, task.title).encode() if task.with_report else None
        return _Outcome(row, _to_bytes(result), page)
    except OrganoidError as error:
        return _Outcome({**place, "status": "skipped", "reason": str(error)})
    except Exception as error:  # a bug in one well must not cost the others
        return _Outcome({**place, "status": "failed", "reason": f"{type(error).__name__}: {error}"})


def described(rec: SpikeRecording, result: Fit) -> dict[str, Any]:
    """Return what there is to say of a fit in plain values: its scores, free run and notes."""
    asked = {name: result.settings[name] for name in ("model", "loss", "seed")}
    counts = {"n_units": rec.n_units, "n_spikes": rec.n_spikes}
    return asked | counts | dict(result.scores) | {"free_run": dict(result.free_run), "notes": list(result.notes)}


def fit_page(rec: SpikeRecording, result: Fit, title: str) -> str:
    """Return the report of a fit, with a free run of it where it was scored in free run."""
    simulated = None
    if result.free_run and result.network is not None:
        simulated = simulate(result, min(rec.duration, REPORT_RUN), seed=result.settings["seed"])
    gradient = result if isinstance(result, GradientFit) else None
    return report_page(recording=rec, fit=result, simulated=simulated, gradient=gradient, title=title)


def _to_bytes(result: Fit) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        write_fit(result, h5)
    return buffer.getvalue()


def _from_bytes(content: bytes) -> Fit:
    with h5py.File(io.BytesIO(content), "r") as h5:
        return fit_in(h5)
