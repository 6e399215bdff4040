"""Local fields: regions, who sees which, and a culture of travelling waves fitted with and without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_recordings import travelling_waves
from test_model_selection import BIN

import organoid
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.teacher_forced import design as design_module
from organoid.fitting.teacher_forced import regions as regions_module
from organoid.fitting.teacher_forced.coupling_drive import MAX_COUPLED, coupling_drive, own_history
from organoid.fitting.teacher_forced.design import Candidate, Design, forced_design
from organoid.fitting.teacher_forced.model_selection import ALONE, BASES, choose, fit_alone
from organoid.fitting.teacher_forced.regions import find_regions, places
from organoid.fitting.teacher_forced.solver import UNUSED, solve

N = 24
LOCAL = Candidate("local", 300.0, "linear", local=True)


@pytest.fixture(scope="module")
def waves() -> organoid.SpikeRecording:
    return travelling_waves(N, 120.0, 0)


@pytest.fixture(scope="module")
def training(waves: organoid.SpikeRecording) -> History:
    return bin_history(waves, BIN).training()


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Let 24 units count as a large array of four regions, fitted on few control bins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions_module, "MIN_UNITS", N)
        patch.setattr(regions_module, "UNITS_A_REGION", 6)
        patch.setattr(regions_module, "N_SEEN", 2)
        patch.setattr(design_module, "N_CONTROL_BINS", 4_000)
        yield


@pytest.fixture(scope="module")
def design(small: None, waves: organoid.SpikeRecording, training: History) -> Design:
    return forced_design(training, np.random.default_rng(0), find_regions(places(waves)))


# --- regions ------------------------------------------------------------------------------------------------------


def test_regions_are_compact_equal_and_do_not_depend_on_the_order_of_units() -> None:
    rng = np.random.default_rng(1)
    place = np.concatenate([rng.uniform(0, 2600, (250, 2)), rng.normal(700, 90, (150, 2))])  # one dense spot
    found = find_regions(place)
    assert found is not None and found.n_regions == 20
    assert np.bincount(found.home).tolist() == [20] * 20
    spread = [np.sqrt(place[found.home == r].var(0).sum()) for r in range(20)]
    assert max(spread) < 0.4 * np.sqrt(place.var(0).sum())
    order = rng.permutation(400)
    again = find_regions(place[order])
    assert again is not None and np.array_equal(again.home, found.home[order])
    assert np.array_equal(again.seen, found.seen[:, order])


def test_units_see_their_own_region_and_the_nearest_others() -> None:
    place = np.random.default_rng(2).uniform(0, 1000, (200, 2))
    found = find_regions(place)
    assert found is not None and found.seen.shape == (10, 200)
    assert np.all(found.seen.sum(0) == regions_module.N_SEEN) and np.all(found.seen[found.home, np.arange(200)])
    centre = np.array([place[found.home == r].mean(0) for r in range(10)])
    for unit in range(0, 200, 17):
        near = np.argsort(np.hypot(*(centre - place[unit]).T))
        others = [r for r in near if r != found.home[unit]][: regions_module.N_SEEN - 1]
        assert set(np.flatnonzero(found.seen[:, unit])) == {found.home[unit], *others}


@pytest.mark.parametrize(
    "place",
    [None, np.zeros((400, 2)), np.full((400, 2), np.nan), np.random.default_rng(0).uniform(size=(119, 2))],
    ids=["unknown", "all in one place", "not known", "small"],
)
def test_small_arrays_and_unknown_places_have_no_regions(place: np.ndarray | None) -> None:
    assert find_regions(place) is None


# --- candidates ---------------------------------------------------------------------------------------------------


def test_columns_of_local_candidates(design: Design) -> None:
    fields, n_tau = design.basis.fields, len(regions_module.LOCAL_TAUS)
    first = design.n_couplings + fields.n_features - fields.region.size
    whole = design.columns(BASES[2])
    assert whole.max() == design.scale.size - 1 and not np.any((whole >= first) & (whole < whole.max()))
    assert np.array_equal(design.columns(LOCAL)[-1 - fields.region.size : -1], np.arange(first, design.scale.size - 1))
    assert design.regions is not None
    for unit in (0, 7, 23):
        seen = np.flatnonzero(design.regions.seen[:, unit])
        expected = [first + r * n_tau + k for r in seen for k in range(n_tau)]
        columns = design.field_columns(LOCAL, unit)
        assert columns[columns >= first].tolist() == [*expected, design.scale.size - 1]


def test_a_coupled_solution_is_that_of_each_unit_with_its_own_columns(design: Design) -> None:
    """All units in one batch, what they do not see shut off by the prior, against one unit at a time without it."""
    problem = design.problem(design.sample, LOCAL)
    together = solve(problem, tolerance=1e-4).theta
    assert float(together[problem.ridge >= UNUSED].abs().max()) < 1e-4
    for unit in (0, 11, 19):
        used = problem.ridge[:, unit] < UNUSED
        part = problem.units(torch.tensor([unit]))
        alone = solve(
            replace(part, rows=part.rows[:, used], spike_term=part.spike_term[used], ridge=part.ridge[used]),
            tolerance=1e-4,
        ).theta[:, 0]
        assert float(((alone - together[used, unit]) * problem.rows[:, used].std(0)).abs().max()) < 0.02
        a, b = (
            part.negative_log_likelihood(torch.where(used, t, 0.0)[:, None])
            for t in (together[:, unit], torch.zeros(used.numel()).masked_scatter(used, alone))
        )
        assert float(a) == pytest.approx(float(b), abs=0.3)


def test_without_couplings_a_unit_uses_only_what_it_sees(design: Design) -> None:
    theta = fit_alone(design, design.sample, replace(ALONE[0], local=True), np.array([3]))
    used = np.flatnonzero(theta[:, 3])
    allowed = {*design.own_columns(3).tolist(), *design.field_columns(replace(LOCAL, coupling_ridge=None), 3).tolist()}
    assert set(used.tolist()) <= allowed and used.size > 15


@pytest.mark.slow
def test_waves_choose_local_fields_which_know_where_units_are(
    design: Design, waves: organoid.SpikeRecording, training: History
) -> None:
    chosen = choose(design)
    assert chosen.best.local
    rng = np.random.default_rng(0)
    elsewhere = find_regions(places(waves)[rng.permutation(N)])
    shuffled = choose(forced_design(training, np.random.default_rng(0), elsewhere))
    assert shuffled.pooled(shuffled.best.name) < chosen.pooled(chosen.best.name)


# --- a whole fit --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fit_of_waves_end_to_end(small: None, waves: organoid.SpikeRecording, tmp_path: Path) -> None:
    fitted = organoid.fit(waves, free_run=False)
    p = fitted.forced.parameters
    assert "local fields" in fitted.settings["chosen"] and p.fields.region.size == 4 * len(regions_module.LOCAL_TAUS)
    fitted.save(tmp_path / "waves.h5")
    again = organoid.load_fit(tmp_path / "waves.h5")
    one, other = (organoid.simulate(f, 20.0, seed=4) for f in (fitted, again))
    assert np.array_equal(one.spike_times, other.spike_times) and np.array_equal(one.spike_units, other.spike_units)
    assert np.array_equal(fitted.predict(waves, 100.0, 102.0), again.predict(waves, 100.0, 102.0))
    assert fitted.scores["heldout_bits_per_spike"] > fitted.scores["heldout_bits_per_spike_uncoupled"] + 0.1


def test_drive_of_own_histories_is_the_same_as_with_all_zeros_multiplied() -> None:
    n, rng = MAX_COUPLED + 1, np.random.default_rng(0)
    weights, traces = np.zeros((2 * n, n), dtype=np.float32), rng.random((3, 2 * n), dtype=np.float32)
    weights[np.arange(2 * n), np.arange(2 * n) % n] = rng.normal(size=2 * n)
    own = own_history(weights)
    assert own is not None and own.shape == (2, n)
    np.testing.assert_allclose(coupling_drive(traces, weights, own), traces @ weights, rtol=1e-5, atol=1e-6)
    weights[3, 5] = 0.1
    assert own_history(weights) is None and own_history(weights[: 2 * MAX_COUPLED, :MAX_COUPLED]) is None
