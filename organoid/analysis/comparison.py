"""The group part of an analysis: tests, changes and dose-response of all features, as tables and a page."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid._version import __version__
from organoid.analysis.dose_response import dose_response, hill_curve
from organoid.analysis.groups import compare_groups, culture_means, paired_changes, with_groups
from organoid.analysis.tables import write_table
from organoid.errors import OrganoidError, RecordingError
from organoid.figures.groups import age_trajectories, dose_response_curve, group_feature
from organoid.hdf5.atomic import replace_file
from organoid.report.analysis import SCRIPT
from organoid.report.page import Panel, Section, Table, page
from organoid.report.tables import cell

FEATURES = {
    "active_rate_hz": "rate of active units (Hz)",
    "n_active_units": "active units",
    "median_cv": "median CV of inter-spike intervals",
    "bursts_per_minute": "network bursts per minute",
    "burst_duration_s": "network burst duration (s)",
    "burst_interval_cv": "CV of intervals between network bursts",
    "burst_units": "fraction of units in a network burst",
    "fraction_in_bursts": "fraction of spikes in network bursts",
    "unit_bursts_per_minute": "bursts per minute of an active unit",
    "fraction_in_unit_bursts": "fraction of spikes in bursts of units",
    "mean_sttc": "mean STTC",
}
_METHODS = (
    "The culture is the unit of every test: values of one culture are averaged, after the mean over groups at each age "
    "is taken off where cultures were recorded at several ages. p is that of a permutation of cultures between the "
    "two groups (of the difference of means), q its false discovery rate over all features and pairs (Benjamini and "
    "Hochberg). "
    "Mann-Whitney's test and Hedges' g with its 95 % interval stand beside it. Conditions within cultures are "
    "compared by Wilcoxon's "
    "signed-rank test. Dose-response curves are Hill functions; intervals of EC50 come from resampled residuals."
)


def compare_summary(
    out: Path, summary: pd.DataFrame, groups: pd.DataFrame, table_format: str = "csv"
) -> list[dict[str, Any]]:
    """Compare groups, conditions and doses of analysed cultures; write groups.csv, changes.csv, doses.csv, groups.html.

    Parameters
    ----------
    out : Path
        The folder of the analysis.
    summary : DataFrame
        As ``summary.csv``.
    groups : DataFrame
        As `read_groups` returns.
    table_format : {"csv", "xlsx", "parquet"}

    Returns
    -------
    list of dict
        Rows of the comparison of groups; empty where there is no column ``group``.

    Raises
    ------
    RecordingError
        If the groups fit no culture, or there is nothing to compare.
    """
    table = with_groups(summary[summary["status"] == "analysed"], groups)
    features = [name for name in FEATURES if name in table]
    parts: list[tuple[str, pd.DataFrame]] = []
    tests: pd.DataFrame | None = None
    if "group" in table and table["group"].nunique() > 1:
        tests = compare_groups(table, features, mixed=_repeated(table) and _has_statsmodels())
        parts.append(("groups", tests))
    if "condition" in table and table["condition"].nunique() > 1:
        parts.append(("changes", paired_changes(table, features, group="group" if "group" in table else None)))
    curves = _curves(table, features) if "dose" in table else {}
    if curves:
        rows = [{"feature": f, "group": name, **fit} for f, each in curves.items() for name, fit, _, _ in each]
        parts.append(("doses", pd.DataFrame(rows)))
    trajectories = "age" in table and pd.to_numeric(table["age"], errors="coerce").nunique() > 1
    if not parts and not trajectories:
        raise RecordingError("the groups hold nothing to compare; expected two groups, conditions, doses or ages")
    for name, rows_of in parts:
        write_table(rows_of, out / name, table_format)
    write_table(table, out / "grouped", table_format)
    _write_page(out, table, features, tests, curves, trajectories, [f"{name}.{table_format}" for name, _ in parts])
    return [] if tests is None else [{str(k): v for k, v in row.items()} for row in tests.to_dict("records")]


def _repeated(table: pd.DataFrame) -> bool:
    return bool(table.groupby("culture").size().max() > 1)


def _has_statsmodels() -> bool:
    from importlib.util import find_spec

    return find_spec("statsmodels") is not None


def _curves(table: pd.DataFrame, features: list[str]) -> dict[str, list[tuple[str, dict[str, float], Any, Any]]]:
    """Return the fitted curves of each feature and group over four doses or more."""
    dose = pd.to_numeric(table["dose"], errors="coerce").to_numpy(dtype=float)
    if np.unique(dose[np.isfinite(dose)]).size < 4:
        return {}
    group = table["group"].astype(str).to_numpy() if "group" in table else np.full(len(table), "all")
    found: dict[str, list[tuple[str, dict[str, float], Any, Any]]] = {}
    for feature in features:
        value = pd.to_numeric(table[feature], errors="coerce").to_numpy(dtype=float)
        for name in np.unique(group):
            own = group == name
            fit = dose_response(dose[own], value[own])
            found.setdefault(feature, []).append((str(name), fit, *hill_curve(fit, dose[own])))
    return found


def _write_page(
    out: Path,
    table: pd.DataFrame,
    features: list[str],
    tests: pd.DataFrame | None,
    curves: dict[str, Any],
    trajectories: bool,
    files: list[str],
) -> None:
    sections: list[Section] = []
    if tests is not None:
        panels: list[Panel | Table | str] = [_test_table(tests)]
        for name in features:
            means = culture_means(table, name)
            panels.append(
                _panel(
                    f"group-{name}", group_feature, table, name, FEATURES[name], means, tests[tests["feature"] == name]
                )
            )
        sections.append(Section("groups", "Groups", panels))
    if trajectories:
        drawn = [_panel(f"age-{name}", age_trajectories, table, name, FEATURES[name]) for name in features]
        sections.append(Section("ages", "Over age", list(drawn)))
    if curves:
        drawn = [_panel(f"dose-{f}", dose_response_curve, table, f, FEATURES[f], each) for f, each in curves.items()]
        sections.append(Section("doses", "Dose and response", list(drawn)))
    links = Table("Tables beside this page.", ("file",), [(name,) for name in files], links=files)
    sections.append(Section("methods", "Methods", [_METHODS, links]))
    lead = f"{table['culture'].nunique()} cultures, {len(table)} recordings."
    text = page(
        "Groups of cultures",
        lead,
        [],
        sections,
        None,
        f"Written by organoid {__version__}.",
        script=SCRIPT,
        home="index.html",
    )
    replace_file(out / "groups.html", text.encode())


def _test_table(tests: pd.DataFrame) -> Table:
    columns = ("feature", "groups", "cultures", "difference", "Hedges' g", "95 %", "p", "q", "Mann-Whitney p")
    rows = [
        (
            FEATURES.get(row["feature"], row["feature"]),
            f"{row['b']} - {row['a']}",
            f"{row['n_a']}, {row['n_b']}",
            cell(row["difference"]),
            cell(row["hedges_g"]),
            cell([row["g_low"], row["g_high"]]),
            cell(row["p_permutation"]),
            cell(row["q"]),
            cell(row["p_mann_whitney"]),
        )
        for _, row in tests.iterrows()
    ]
    return Table("A click on a heading sorts.", columns, rows, sortable=True)


def _panel(name: str, draw: Any, *inputs: Any) -> Panel:
    try:
        return Panel(name.replace("_", "-"), draw(*inputs), "")
    except OrganoidError as error:
        return Panel(name.replace("_", "-"), None, "", reason=f"{str(error)[:1].upper()}{str(error)[1:]}.")
