"""``organoid fit --all-wells``: every culture of a file fitted, several at a time, one table of all."""

from typing import Any

from organoid.cli.support import OutputError, UsageError, make_folder
from organoid.cli.work import FitRequest, check_names
from organoid.wells import TABLE, fit_wells


def fit_all(
    request: FitRequest, progress: bool, *, workers: int | None = None, scheduler: str | None = None
) -> dict[str, Any]:
    """Fit every culture of a file, as `organoid.fit_wells` does.

    Parameters
    ----------
    request : FitRequest
        ``out`` is the folder for the fits and their table, ``report`` one for a report of each.
    progress : bool
    workers, scheduler
        See `organoid.parallel.map`.

    Returns
    -------
    dict
        file, out, table and ``wells``, the rows of `organoid.wells.WellFits`.
    """
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
    fits = fit_wells(
        request.file,
        out=request.out,
        report=request.report,
        recording=request.recording,
        reading=request.reading,
        workers=workers,
        scheduler=scheduler,
        progress=progress,
        model=request.model,
        loss=request.loss,
        seed=request.seed,
        **request.settings,
    )
    rows = [{"file": request.file, **row} for row in fits.rows]
    return {"file": request.file, "out": request.out, "table": request.out / TABLE, "wells": rows}
