"""Experiments: controls, statistics against brute force, resuming after a kill, the same results wherever they run."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import organoid
from organoid.cli import main
from organoid.experiments import (
    CONTROLS,
    ExperimentError,
    ExperimentResult,
    compare_paired,
    load_experiment,
    run_experiment,
)
from organoid.experiments.controls import evenly, random_times, same_pulses, shuffled
from organoid.experiments.statistics import sign_flip_p
from organoid.protocols.substituted import Scheduled
from organoid.stimulation import Pulse

ROOT = Path(__file__).parents[2]
PLAN = {
    "experiment": {
        "name": "clamp",
        "duration": 3.0,
        "seeds": 4,
        "outcome": "mean_absolute_error_hz",
        "curve": "rate",
        "blocks": 3,
        "better": "lower",
        "controls": ["silent", "yoked", "frozen"],
    },
    "cultures": {"bursting": "preset:bursting_culture"},
    "protocol": {"name": "rate_clamp", "parameters": {"target_rate": 12.0, "baseline": 0.5}},
    "conditions": {"closed_loop": {}, "weaker": {"parameters": {"gain": 0.1}}},
}
TOML = """
[experiment]
name = "clamp"
duration = 3.0
seeds = 4
outcome = "mean_absolute_error_hz"
curve = "rate"
blocks = 3
better = "lower"
controls = ["silent", "yoked", "frozen"]
[cultures]
bursting = "preset:bursting_culture"
[protocol]
name = "rate_clamp"
parameters = {target_rate = 12.0, baseline = 0.5}
[conditions.closed_loop]
[conditions.weaker]
parameters = {gain = 0.1}
"""


def changed(**head):
    return {**PLAN, "experiment": {**PLAN["experiment"], **head}}


class TestStatistics:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.floats(-5, 5), min_size=2, max_size=7))
    def test_the_permutation_p_is_that_of_all_sign_flips(self, values):
        d = np.array(values)
        sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=d.size)]
        assert sign_flip_p(d, np.random.default_rng(0)) == np.mean(np.array(sums) >= abs(d.sum()) * (1 - 1e-12))

    def test_many_pairs_are_drawn_and_agree_with_the_exact_p(self):
        d = np.random.default_rng(1).normal(0.5, 1.0, 16)
        exact = sign_flip_p(d, np.random.default_rng(0))
        doubled = sign_flip_p(np.append(d, 0.0), np.random.default_rng(0))  # a zero changes nothing; 17 pairs are drawn
        assert doubled == pytest.approx(exact, abs=0.01)

    def test_the_p_is_uniform_without_an_effect(self):
        rng = np.random.default_rng(3)
        p = [compare_paired(rng.normal(size=8), rng.normal(size=8)).p for _ in range(300)]
        assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09

    def test_intervals_cover_the_true_effect(self):
        rng = np.random.default_rng(4)
        hits = 0
        for _ in range(200):
            found = compare_paired(rng.normal(1.0, 1.0, 20), np.zeros(20))
            hits += found.low <= 1.0 <= found.high
        assert hits / 200 > 0.87

    def test_missing_and_constant(self):
        found = compare_paired([1.0, np.nan, 2.0], [0.0, 1.0, 1.0])
        assert found.n == 2 and found.mean_difference == 1.0 and np.isnan(found.effect) and found.p == 0.5
        assert np.isnan(compare_paired([1.0], [2.0]).p)


class TestSchedules:
    PULSES = tuple(Scheduled(100 * k, Pulse.biphasic([k % 3], 1e-6, 1e-4), str(k % 3)) for k in range(1, 30))

    @pytest.mark.parametrize("change", [same_pulses, random_times, shuffled, evenly])
    def test_as_many_pulses_in_order(self, change):
        found = change(self.PULSES, np.random.default_rng(0), 5000)
        frames = [item.frame for item in found]
        assert len(found) == len(self.PULSES) and frames == sorted(frames) and 100 <= frames[0] and frames[-1] < 5000
        assert change((), np.random.default_rng(0), 5000) == ()
        if change is not evenly:
            assert sorted(i.label for i in found) == sorted(i.label for i in self.PULSES)
        if change is shuffled:
            assert frames == [i.frame for i in self.PULSES] and found != self.PULSES


class TestPlan:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({**PLAN, "cultures": {}}, "cultures"),
            (changed(duration=-1), "duration"),
            (changed(seeds=1), "two seeds"),
            (changed(seeds=[3, 3]), "each once"),
            (changed(controls=["magic"]), "no control 'magic'; choices: silent"),
            (changed(reference="closed"), "is no condition"),
            (changed(mood="good"), "mood"),
            ({**PLAN, "arms": {}}, "'arms' is wrong"),
            ({**PLAN, "conditions": {"silent": {}}}, "both a condition and a control"),
        ],
    )
    def test_wrong_plans_are_one_sentence(self, values, message):
        with pytest.raises(ExperimentError, match=message):
            load_experiment(values)

    def test_the_file_says_the_same(self, tmp_path):
        path = tmp_path / "e.toml"
        path.write_text(TOML)
        assert load_experiment(path) == load_experiment(PLAN)
        path.write_text("[experiment")
        with pytest.raises(ExperimentError, match="not TOML"):
            load_experiment(path)
        with pytest.raises(FileNotFoundError):
            load_experiment(tmp_path / "none.toml")

    def test_wrong_parameters_are_found_before_any_work(self, tmp_path):
        plan = {**PLAN, "conditions": {"closed_loop": {}, "odd": {"parameters": {"speed": 1}}}}
        with pytest.raises(organoid.OrganoidError, match="speed"):
            run_experiment(plan, tmp_path)
        assert not list((tmp_path / "sessions").iterdir())
        with pytest.raises(organoid.OrganoidError, match="policy"):
            run_experiment(changed(controls=["oracle_policy"]), tmp_path)

    def test_an_unknown_outcome_names_the_known_ones(self, tmp_path):
        with pytest.raises(ExperimentError, match=r"no 'joy'; it has: .*target_rate_hz"):
            run_experiment(changed(outcome="joy", controls=[]), tmp_path, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    return folder, run_experiment(PLAN, folder, workers=1)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "sessions").iterdir())}


class TestRun:
    def test_every_arm_and_seed_is_there(self, finished):
        folder, result = finished
        assert len(result.sessions) == 5 * 4 == len(files(folder))
        table = result.summary().set_index("arm")
        assert list(table.index) == ["closed_loop", "weaker", "silent", "yoked", "frozen"] and (table["n"] == 4).all()
        assert np.isnan(table.loc["closed_loop", "p"]) and table["p"].iloc[1:].between(0, 1).all()

    def test_controls_do_what_they_say(self, finished):
        rows = finished[1].sessions.set_index(["arm", "seed"])
        for seed in range(4):
            assert rows.loc[("silent", seed), "n_pulses"] == 0 == rows.loc[("frozen", seed), "n_pulses"]
            assert rows.loc[("yoked", seed), "n_pulses"] == rows.loc[("closed_loop", seed), "n_pulses"] > 5
            assert rows.loc[("yoked", seed), "n_spikes"] != rows.loc[("closed_loop", seed), "n_spikes"]

    def test_the_effect_is_lacking_in_the_control(self, finished):
        rates = {arm: finished[1].curve("bursting", arm)[2].mean() for arm in ("closed_loop", "silent", "frozen")}
        assert rates["closed_loop"] > 1.2 * rates["silent"]
        table = finished[1].summary().set_index("arm")
        assert table.loc["silent", "difference"] < 0  # the error of the closed loop is the smaller one

    def test_it_is_read_back(self, finished):
        again = ExperimentResult.read(finished[0])
        assert again.sessions.equals(finished[1].sessions) and again.summary().equals(finished[1].summary())
        assert any("learns" in text or "Learning" in text for text in again.findings())

    @pytest.mark.slow
    def test_more_seeds_and_controls_are_added(self, finished, tmp_path):
        first = run_experiment(changed(seeds=2, controls=["silent"]), tmp_path, workers=1)
        assert len(first.sessions) == 6
        stamps = {name: (tmp_path / "sessions" / name).stat().st_mtime_ns for name in files(tmp_path)}
        second = run_experiment(PLAN, tmp_path, workers=1)
        assert second.summary().equals(finished[1].summary())
        kept = [name for name in stamps if (tmp_path / "sessions" / name).stat().st_mtime_ns == stamps[name]]
        assert set(stamps) - set(kept) <= {"bursting-closed_loop-0.json", "bursting-closed_loop-1.json"}
        with pytest.raises(ExperimentError, match="another experiment"):
            run_experiment(changed(duration=4.0), tmp_path, workers=1)

    def test_the_report(self, finished, tmp_path):
        from organoid.report.experiments import write_experiment_report

        text = write_experiment_report(tmp_path / "page.html", finished[1]).read_text()
        assert "the pulses must answer this culture" in text and "closed_loop" in text
        names = [path.name for path in finished[1].save_tables(tmp_path)]
        assert names == ["sessions.csv", "summary.csv", "curves.csv"]

    def test_the_command_line(self, tmp_path, capsys):
        path = tmp_path / "e.toml"
        path.write_text(TOML.replace("seeds = 4", "seeds = 2").replace('["silent", "yoked", "frozen"]', '["silent"]'))
        said = []
        for extra in ([], ["--json"]):
            with pytest.raises(SystemExit) as left:
                main(["experiment", str(path), "--out", str(tmp_path / "out"), "--workers", "1", *extra])
            assert left.value.code == 0
            said.append(capsys.readouterr().out)
        assert "bursting  silent" in said[0] and "report" in said[0]
        found = json.loads(said[1])
        assert found["n_sessions"] == 6 and len(found["summary"]) == 3 and (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
def test_two_processes_give_the_same(finished, tmp_path):
    run_experiment(PLAN, tmp_path, workers=2)
    assert files(tmp_path) == files(finished[0])


@pytest.mark.slow
def test_a_cluster_gives_the_same(finished, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        run_experiment(PLAN, tmp_path, scheduler=cluster.scheduler_address)
    assert files(tmp_path) == files(finished[0])


@pytest.mark.slow
def test_a_killed_experiment_goes_on_where_it_was(finished, tmp_path):
    code = (
        "import json, sys; from organoid.experiments import run_experiment\n"
        "if __name__ == '__main__': run_experiment(json.loads(sys.argv[1]), sys.argv[2], workers=1)"
    )
    arguments = [sys.executable, "-c", code, json.dumps(PLAN), str(tmp_path)]
    process = subprocess.Popen(arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("sessions/*.json"))) < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = files(tmp_path)
    result = run_experiment(PLAN, tmp_path, workers=1)
    assert len(begun) >= 4 and files(tmp_path) == files(finished[0])
    assert result.summary().equals(finished[1].summary())


def test_every_control_says_what_it_is_for():
    assert len(CONTROLS) >= 9 and all(control.says for control in CONTROLS.values())
