"""Groups of cultures: tests that take the culture, not the recording, as the unit; changes within cultures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organoid.analysis.effect_sizes import MIN_CULTURES, mixed_model, two_groups
from organoid.errors import RecordingError
from organoid.statistics.connectivity import benjamini_hochberg

KEYS = ("file", "well", "group", "age", "culture", "dose")


def read_groups(path: str | Path) -> pd.DataFrame:
    """Read which culture belongs to which group.

    Parameters
    ----------
    path : path
        CSV with a column ``file`` (name or path, with or without folders and suffixes) and any of well, group, age,
        culture, dose, condition; further columns are kept.

    Returns
    -------
    DataFrame

    Raises
    ------
    RecordingError
        If it is no such table.
    """
    try:
        table = pd.read_csv(path, dtype={"file": str, "well": str, "group": str, "culture": str, "condition": str})
    except (ValueError, pd.errors.ParserError) as error:
        raise RecordingError(f"{path} is no table of groups ({error}); expected a CSV") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    if "file" not in table or not {"group", "age", "dose", "condition"} & set(table.columns):
        raise RecordingError(
            f"{path} has the columns {', '.join(table.columns)}; expected file and one or more of group, age, dose, "
            "condition (and well, culture)"
        )
    return table


def with_groups(summary: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary that a table of groups names, its columns beside them.

    A culture that is not named is a culture of its own: file and well.

    Parameters
    ----------
    summary : DataFrame
        As ``summary.csv``.
    groups : DataFrame
        As `read_groups` returns.

    Returns
    -------
    DataFrame

    Raises
    ------
    RecordingError
        If no row fits, or rows of groups fit nothing (they are named).
    """
    left = summary.assign(_file=summary["file"].map(_short), _well=summary["well"].fillna("").astype(str))
    right = groups.assign(_file=groups["file"].map(_short))
    keys = ["_file"]
    if "well" in groups:
        right["_well"] = right["well"].astype(object).fillna("").astype(str).str.strip()
        keys.append("_well")
    more = [name for name in right.columns if name not in ("file", "well", *keys)]
    joined = left.drop(columns=[name for name in more if name in left]).merge(
        right[[*keys, *more]], on=keys, how="inner"
    )
    fitting = set(map(tuple, joined[keys].to_numpy()))
    lost = [" ".join(key).strip() for key in map(tuple, right[keys].to_numpy()) if key not in fitting]
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
        raise RecordingError(f"{len(lost)} rows of the groups fit no analysed culture: {shown}")
    own = (joined["_file"] + " " + joined["_well"]).str.strip()
    joined["culture"] = joined["culture"].fillna(own) if "culture" in joined else own
    return pd.DataFrame(joined.drop(columns=["_file", "_well"]))


def _short(file: Any) -> str:
    return Path(str(file)).name.split(".")[0]


def compare_groups(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    group: str = "group",
    culture: str = "culture",
    age: str | None = "age",
    mixed: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare features between every two groups, the culture being the unit of the test.

    Recordings of one culture at several ages are not independent: each feature is first averaged within a culture,
    after the mean over all cultures at that age is taken off where ages differ between groups. Then Mann-Whitney's
    test and a permutation of cultures between the groups (of the difference of means; all arrangements where there are
    few), Hedges' g with its 95 % interval, and Benjamini and Hochberg's rate over all features and pairs.

    Parameters
    ----------
    table : DataFrame
        One row per recording of a culture, as `with_groups` returns.
    features : sequence of str
        Columns to compare.
    group, culture : str
        Names of columns.
    age : str, optional
        Column of ages; left out of account where absent or the same everywhere.
    mixed : bool
        Also fit a linear mixed model, feature ~ group (+ age), with the culture as random effect (needs statsmodels).
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        One row per feature and pair of groups: feature, a, b, n_a, n_b (cultures), mean_a, mean_b, difference (b - a),
        hedges_g, g_low, g_high, p_mann_whitney, p_permutation, q (of the permutation test), and with `mixed`
        mixed_difference, mixed_p. NaN with fewer than 3 cultures in a group.

    Raises
    ------
    RecordingError
        If a column is missing, there are fewer than two groups, or a culture lies in two groups.

    References
    ----------
    L. V. Hedges, "Distribution theory for Glass's estimator of effect size and related estimators", 1981;
    E. Aarts, M. Verhage, J. V. Veenvliet, C. V. Dolan, S. van der Sluis, "A solution to dependency: using multilevel
    analysis to accommodate nested data", 2014.

    Examples
    --------
    >>> table = pd.DataFrame({"group": list("aaabbb"), "culture": list("123456"), "rate": [1, 2, 3, 7, 8, 9.0]})
    >>> float(compare_groups(table, ["rate"])["p_permutation"].iloc[0])
    0.1
    """
    _need(table, [group, culture, *features])
    names = sorted(table[group].dropna().astype(str).unique())
    if len(names) < 2:
        raise RecordingError(f"the groups are {names}; expected two or more")
    several = table.groupby(culture)[group].nunique()
    if (several > 1).any():
        raise RecordingError(
            f"cultures {', '.join(map(str, several[several > 1].index[:5]))} lie in several groups; for before and "
            f"after in "
            "one culture give a column condition instead"
        )
    rng = np.random.default_rng(seed)
    rows = []
    for feature in features:
        means = culture_means(table, feature, group=group, culture=culture, age=age)
        for first, second in ((a, b) for k, a in enumerate(names) for b in names[k + 1 :]):
            a, b = (means.loc[means[group] == name, feature].to_numpy(dtype=float) for name in (first, second))
            row: dict[str, Any] = {"feature": feature, "a": first, "b": second, **two_groups(a, b, rng)}
            if mixed:
                row |= mixed_model(table, feature, (first, second), group, culture, age)
            rows.append(row)
    found = pd.DataFrame(rows)
    found.insert(
        list(found.columns).index("p_permutation") + 1,
        "q",
        benjamini_hochberg(found["p_permutation"].to_numpy(float)),
    )
    return found


def culture_means(
    table: pd.DataFrame, feature: str, *, group: str = "group", culture: str = "culture", age: str | None = "age"
) -> pd.DataFrame:
    """Return the mean of a feature per culture; with several ages, of its distance from the mean at each age.

    Parameters
    ----------
    table : DataFrame
    feature, group, culture : str
    age : str, optional

    Returns
    -------
    DataFrame
        group, culture, feature: one row per culture, those without a value left out.
    """
    values = table[[group, culture, feature]].assign(**{feature: pd.to_numeric(table[feature], errors="coerce")})
    values = values[np.isfinite(values[feature])]
    if age is not None and age in table and table[age].nunique() > 1:
        ages = table.loc[values.index, age]
        # The mean over cultures at an age, groups weighted alike, so that an effect of group is not taken off.
        per_group = values.groupby([ages, values[group]])[feature].mean()
        common = per_group.groupby(level=0).mean()
        values[feature] += float(common.mean()) - ages.map(common)
    return pd.DataFrame(values.groupby([group, culture], as_index=False)[feature].mean())


def paired_changes(
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    condition: str = "condition",
    culture: str = "culture",
    group: str | None = None,
    baseline: str | None = None,
) -> pd.DataFrame:
    """Compare conditions within cultures, such as before and after a drug.

    Parameters
    ----------
    table : DataFrame
        One row per recording of a culture.
    features : sequence of str
    condition, culture : str
        Names of columns.
    group : str, optional
        Do it for each group apart.
    baseline : str, optional
        The condition that others are compared with. Default: the first in the table.

    Returns
    -------
    DataFrame
        One row per feature, condition (and group): n (cultures with both), mean_baseline, mean, change (mean of
        differences), ratio (geometric mean, NaN where a value is 0 or less), p (Wilcoxon's signed-rank test) and q.

    Raises
    ------
    RecordingError
        If a column or the baseline is missing.
    """
    from scipy.stats import wilcoxon

    _need(table, [condition, culture, *features, *([group] if group else [])])
    names = list(dict.fromkeys(table[condition].dropna().astype(str)))
    first = names[0] if baseline is None and names else baseline
    if first not in names or len(names) < 2:
        raise RecordingError(f"the conditions are {names}, the baseline {first!r}; expected it among two or more")
    rows = []
    for label, part in table.groupby(group) if group else [(None, table)]:
        for feature in features:
            wide = part.pivot_table(index=culture, columns=part[condition].astype(str), values=feature, aggfunc="mean")
            for other in (name for name in names if name != first and name in wide and first in wide):
                both = wide[[first, other]].dropna().to_numpy(dtype=float)
                before, after = both[:, 0], both[:, 1]
                moved = np.ptp(after - before) > 0 or np.any(after != before) if len(both) else False
                positive = len(both) and (both > 0).all()
                rows.append(
                    {
                        **({group: label} if group else {}),
                        "feature": feature,
                        "baseline": first,
                        "condition": other,
                        "n": len(both),
                        "mean_baseline": float(before.mean()) if len(both) else np.nan,
                        "mean": float(after.mean()) if len(both) else np.nan,
                        "change": float((after - before).mean()) if len(both) else np.nan,
                        "ratio": float(np.exp(np.log(after / before).mean())) if positive else np.nan,
                        "p": float(wilcoxon(after, before).pvalue) if moved and len(both) >= MIN_CULTURES else np.nan,
                    }
                )
    found = pd.DataFrame(rows)
    return found.assign(q=benjamini_hochberg(found["p"].to_numpy(float))) if len(found) else found


def _need(table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise RecordingError(f"the table lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
