"""`run_experiment`: all sessions of an experiment, here or on a cluster, resumed where it was interrupted."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from organoid import parallel
from organoid.experiments.controls import CONTROLS
from organoid.experiments.plan import ExperimentError, ExperimentPlan, load_experiment
from organoid.experiments.results import ExperimentResult
from organoid.experiments.work import make_protocol, run_piece
from organoid.hdf5.atomic import replace_file

_SEEDS_PER_PIECE = 5
_RESULTS = "sessions"


def run_experiment(
    plan: ExperimentPlan | Mapping[str, Any] | str | PathLike[str],
    out: str | PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> ExperimentResult:
    """Run an experiment: every condition and control, on every culture, with every seed.

    Results of finished sessions are kept in `out` while it runs. Started again, it goes on from there: with more seeds,
    conditions or controls only those are run. The results do not depend on where they are computed.

    Parameters
    ----------
    plan : ExperimentPlan, mapping or path of a TOML file
    out : path
        Folder for results; made where it does not exist.
    workers : int, optional
        Local processes; default: one for each core.
    scheduler : str, optional
        Address of a Dask scheduler; its workers must see the files of the cultures under the same names.
    progress : bool

    Returns
    -------
    ExperimentResult

    Raises
    ------
    ExperimentError, SessionError
        If the experiment is not described as it should be, or the folder holds another one.
    """
    known = plan if isinstance(plan, ExperimentPlan) else load_experiment(plan)
    folder = Path(out)
    (folder / _RESULTS).mkdir(parents=True, exist_ok=True)
    _claim(folder, known)
    for arm in known.arms:  # wrong parameters are found before any work
        control = CONTROLS.get(arm)
        condition = known.conditions[known.first if control else arm]
        make_protocol(known, condition, control.parameters if control else None)
    options = {"workers": workers, "scheduler": scheduler, "progress": progress}
    conditions = list(known.conditions)
    _run_missing(folder, known, [arm for arm in conditions if arm == known.first], {}, options)
    pulses = _reference_pulses(folder, known)
    _run_missing(folder, known, [arm for arm in known.arms if arm != known.first], pulses, options)
    return ExperimentResult.read(folder, known)


def _claim(folder: Path, plan: ExperimentPlan) -> None:
    """Make the folder that of this experiment, or find that it is another's."""
    path, mine = folder / "experiment.json", plan.model_dump(mode="json")
    if path.exists():
        before = ExperimentPlan.model_validate(json.loads(path.read_text()))
        if before.digest() != plan.digest() or any(
            before.conditions[name] != condition
            for name, condition in plan.conditions.items()
            if name in before.conditions
        ):
            raise ExperimentError(
                f"{folder} holds results of another experiment ({before.name!r}); give another folder, or remove it"
            )
    _write(path, mine)


def _write(path: Path, values: Any) -> None:
    replace_file(path, json.dumps(values, sort_keys=True).encode())


def result_path(folder: Path, culture: str, arm: str, seed: int) -> Path:
    """Return where the result of one session is kept."""
    return folder / _RESULTS / f"{culture}-{arm}-{seed}.json"


def _pieces(
    folder: Path, plan: ExperimentPlan, arms: Sequence[str], pulses: Mapping[tuple[str, int], Any]
) -> Iterator[dict[str, Any]]:
    """Yield the pieces of work that have no result yet."""
    values = plan.model_dump(mode="json")
    for culture in plan.cultures:
        for arm in arms:
            needed = CONTROLS[arm].needs_reference if arm in CONTROLS else False
            missing = [seed for seed in plan.seed_list if not result_path(folder, culture, arm, seed).exists()]
            for first in range(0, len(missing), _SEEDS_PER_PIECE):
                seeds = missing[first : first + _SEEDS_PER_PIECE]
                given = {str(seed): pulses[culture, seed] for seed in seeds} if needed else {}
                yield {"plan": values, "culture": culture, "arm": arm, "seeds": seeds, "pulses": given}


def _run_missing(
    folder: Path,
    plan: ExperimentPlan,
    arms: Sequence[str],
    pulses: Mapping[tuple[str, int], Any],
    options: dict[str, Any],
    work: Callable[[Mapping[str, Any]], list[dict[str, Any]]] = run_piece,
) -> None:
    """Run what is missing, some pieces at a time, and keep every result as soon as its batch is done."""
    pieces = list(_pieces(folder, plan, arms, pulses))
    at_once = max(8, 4 * (options["workers"] or 2))
    for first in range(0, len(pieces), at_once):
        batch = pieces[first : first + at_once]
        for rows in parallel.map(work, batch, label=f"{plan.name}: sessions", **options):
            for row in rows:
                _write(result_path(folder, row["culture"], row["arm"], row["seed"]), row)


def _reference_pulses(folder: Path, plan: ExperimentPlan) -> dict[tuple[str, int], Any]:
    """Return the pulses of all reference sessions, where a control needs them."""
    if not any(CONTROLS[name].needs_reference for name in plan.controls):
        return {}
    found: dict[tuple[str, int], Any] = {}
    for culture in plan.cultures:
        for seed in plan.seed_list:
            path = result_path(folder, culture, plan.first, seed)
            row = json.loads(path.read_text())
            if "pulses" not in row:  # run before any control needed them
                path.unlink()
                _run_missing(folder, plan, [plan.first], {}, {"workers": 1, "scheduler": None, "progress": False})
                row = json.loads(path.read_text())
            found[culture, seed] = row["pulses"]
    return found
