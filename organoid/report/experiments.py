"""The report of an experiment: what was found, one figure, one table."""

import os
from pathlib import Path
from typing import Any

from organoid import figures
from organoid._version import __version__
from organoid.figures.template import number
from organoid.hdf5.atomic import replace_file
from organoid.report.page import Note, Panel, Section, Table, page

_CAPTION = (
    "Every point is a session; sessions of one seed are paired. A condition is credited only with what its controls "
    "lack. The curves below are means over seeds."
)


def write_experiment_report(path: str | os.PathLike[str], result: Any) -> Path:
    """Write the page of an experiment.

    Parameters
    ----------
    path : path
        The HTML file; an existing one is replaced.
    result : ExperimentResult

    Returns
    -------
    Path
        Where it was written.
    """
    from plotly.offline import get_plotlyjs

    plan = result.plan
    notes = [Note("Finding", text) for text in result.findings()]
    notes += [
        Note(f"Control {arm}", f"a difference from it means: {says}.") for arm, says in result.explanations().items()
    ]
    lead = (
        f"{plan.protocol.name} on {len(plan.cultures)} cultures, {len(plan.seed_list)} seeds of {plan.duration:g} s "
        f"each, compared by {plan.outcome}."
    )
    parts: list[Any] = [Panel("experiment", figures.experiment(result), _CAPTION), _table(result)]
    text = page(
        f"Experiment: {plan.name}",
        lead,
        notes,
        [Section("experiment", "Conditions and controls", parts)],
        get_plotlyjs(),
        f"Written by organoid {__version__}.",
    )
    return replace_file(path, text.encode())


def _table(result: Any) -> Table:
    columns = (
        "culture, condition",
        "n",
        "mean (95 %)",
        "reference minus it (95 %)",
        "effect d (95 %)",
        "p",
        "learning p",
    )
    rows = [
        (
            f"{row.culture}, {row.arm}",
            str(row.n),
            f"{number(row.mean)} ({number(row.low)} to {number(row.high)})",
            _interval(row.difference, row.difference_low, row.difference_high),
            _interval(row.effect, row.effect_low, row.effect_high),
            number(row.p),
            number(row.learning_p),
        )
        for row in result.summary().itertuples()
    ]
    return Table("Paired over seeds: sign-flip permutation test, bootstrap intervals.", columns, rows)


def _interval(value: float, low: float, high: float) -> str:
    return "–" if value != value else f"{number(value)} ({number(low)} to {number(high)})"
