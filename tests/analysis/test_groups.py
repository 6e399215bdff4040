"""Groups of cultures: tests that know the culture, changes within cultures, dose-response."""

import numpy as np
import pandas as pd
import pytest

from organoid import RecordingError
from organoid.analysis import compare_groups, dose_response, paired_changes, read_groups
from organoid.analysis.comparison import compare_summary
from organoid.analysis.effect_sizes import hedges_g
from organoid.analysis.groups import culture_means, with_groups


def simulated(rng, *, n=8, ages=(7, 14, 21), effect=0.0, of_recording=0.5):
    rows = []
    for k, group in enumerate("ab"):
        for culture in range(n):
            level = rng.normal(effect * k, 1.0)
            rows += [(group, f"{group}{culture}", age, level + 0.2 * age + rng.normal(0, of_recording)) for age in ages]
    return pd.DataFrame(rows, columns=["group", "culture", "age", "x"])


def test_repeated_ages_of_null_cultures_give_no_more_than_nominal_false_positives():
    rng = np.random.default_rng(0)
    found = pd.concat([compare_groups(simulated(rng, n=6), ["x"]) for _ in range(150)])
    assert (found["p_permutation"] < 0.05).mean() <= 0.09 and (found["p_mann_whitney"] < 0.05).mean() <= 0.09
    rows = pd.concat([simulated(rng, n=6) for _ in range(1)])
    naive = rows.assign(culture=np.arange(len(rows)).astype(str))  # each recording taken for a culture of its own
    assert compare_groups(naive, ["x"])["n_a"].iloc[0] == 18


def test_a_large_effect_is_found_and_its_size_is_right():
    rng = np.random.default_rng(1)
    found = pd.concat([compare_groups(simulated(rng, effect=2.0), ["x"], mixed=k < 2) for k in range(30)])
    assert (found["p_permutation"] < 0.05).mean() > 0.8
    assert found["difference"].mean() == pytest.approx(2.0, abs=0.3)
    if found["mixed_p"].notna().any():
        assert found["mixed_difference"].dropna().mean() == pytest.approx(2.0, abs=1.2)


def test_values_are_those_of_scipy_and_the_exact_permutation():
    stats = pytest.importorskip("scipy.stats")
    a, b = np.array([1.0, 2, 4, 3]), np.array([5.0, 9, 6, 4.5, 7])
    table = pd.DataFrame({"group": ["a"] * 4 + ["b"] * 5, "culture": list("123456789"), "x": np.r_[a, b]})
    row = compare_groups(table, ["x"]).iloc[0]
    statistic = lambda u, v, axis: np.mean(u, axis=axis) - np.mean(v, axis=axis)  # noqa: E731
    exact = stats.permutation_test((a, b), statistic, n_resamples=np.inf)
    assert row["p_permutation"] == pytest.approx(exact.pvalue)
    assert row["p_mann_whitney"] == pytest.approx(stats.mannwhitneyu(a, b).pvalue)
    pooled = np.sqrt((3 * a.var(ddof=1) + 4 * b.var(ddof=1)) / 7)
    assert row["hedges_g"] == pytest.approx((b.mean() - a.mean()) / pooled * (1 - 3 / (4 * 9 - 9)))
    assert hedges_g(np.ones(3), np.ones(3))[0] != hedges_g(np.ones(3), np.ones(3))[0]


def test_ages_that_differ_between_groups_are_taken_off():
    rows = [("a", f"a{k}", age, age + 0.01 * k) for k in range(4) for age in (7, 14)]
    rows += [("b", f"b{k}", age, age + 0.01 * k) for k in range(4) for age in (14, 21)]
    table = pd.DataFrame(rows, columns=["group", "culture", "age", "x"])
    means = culture_means(table, "x").groupby("group")["x"].mean()
    assert means["a"] == pytest.approx(means["b"], abs=1e-9)


def test_few_cultures_are_undefined_and_mistakes_named():
    table = pd.DataFrame({"group": list("aabb"), "culture": list("1234"), "x": [1.0, 2, 3, 4]})
    assert compare_groups(table, ["x"])[["p_permutation", "hedges_g"]].isna().all().all()
    with pytest.raises(RecordingError, match="lie in several groups"):
        compare_groups(table.assign(culture="1"), ["x"])
    with pytest.raises(RecordingError, match="lacks y"):
        compare_groups(table, ["y"])
    with pytest.raises(RecordingError, match="two or more"):
        compare_groups(table.assign(group="a"), ["x"])


def test_changes_within_cultures_use_pairs():
    rng = np.random.default_rng(2)
    level = rng.normal(10, 3, 8)
    rows = [(f"c{k}", name, level[k] * factor) for k in range(8) for name, factor in (("before", 1.0), ("after", 1.5))]
    table = pd.DataFrame(rows, columns=["culture", "condition", "x"])
    row = paired_changes(table, ["x"]).iloc[0]
    assert (row["baseline"], row["condition"], row["n"]) == ("before", "after", 8)
    assert row["ratio"] == pytest.approx(1.5) and row["change"] == pytest.approx(level.mean() / 2)
    assert row["p"] == pytest.approx(2 / 2**8)


def test_dose_response_recovers_ec50_within_its_interval():
    rng = np.random.default_rng(3)
    dose = np.repeat([0, 0.1, 0.3, 1, 3, 10, 30], 4).astype(float)
    with np.errstate(divide="ignore"):
        clean = 1 + 4 / (1 + (2 / dose) ** 1.5)
    exact = dose_response(dose, clean, n_bootstrap=20)
    assert exact["ec50"] == pytest.approx(2, rel=1e-3) and exact["hill"] == pytest.approx(1.5, rel=1e-2)
    noisy = dose_response(dose, clean + rng.normal(0, 0.3, dose.size))
    assert noisy["ec50_low"] < 2 < noisy["ec50_high"] and noisy["r2"] > 0.9
    assert np.isnan(dose_response(dose, np.ones(dose.size))["ec50"])
    with pytest.raises(RecordingError, match="dose is -1"):
        dose_response(np.array([-1.0, 2]), np.zeros(2))


def test_groups_are_read_matched_and_written(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("File,Well,Group,Age\n" + "".join(f"rec{k}.h5,,{'ab'[k % 2]},{7 + k // 4}\n" for k in range(12)))
    groups = read_groups(path)
    summary = pd.DataFrame(
        {
            "file": [f"/data/rec{k}.h5" for k in range(13)],
            "well": None,
            "status": "analysed",
            "bursts_per_minute": np.arange(13.0),
            "mean_sttc": 0.1,
        }
    )
    table = with_groups(summary, groups)
    assert len(table) == 12 and table["culture"].nunique() == 12
    rows = compare_summary(tmp_path, summary, groups)
    assert {row["feature"] for row in rows} == {"bursts_per_minute", "mean_sttc"}
    assert {"groups.csv", "grouped.csv", "groups.html"} <= {file.name for file in tmp_path.iterdir()}
    lost = groups.assign(file="other.h5")
    with pytest.raises(RecordingError, match="fit no analysed culture: other"):
        with_groups(summary, lost)
    path.write_text("name,x\n1,2\n")
    with pytest.raises(RecordingError, match="expected file"):
        read_groups(path)
