"""Fitting the culture LIF network: contrast without a membrane is the moment stage; bounds hold; test part unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_recordings import another_end, bursting, known_network, recorded

import organoid
from organoid import FitResult
from organoid.fitting.culture_lif.columns import Columns, make_columns
from organoid.fitting.culture_lif.contrast import Chains, contrast, lead_bins, run_windows
from organoid.fitting.culture_lif.forced import ForcedCultureFit, fit_forced_culture, outgoing_signs
from organoid.fitting.culture_lif.free import ContrastPlan, FreeStage, NaturalSteps
from organoid.fitting.culture_lif.prediction import culture_expected_counts, culture_negative_log_likelihood
from organoid.fitting.culture_lif.states import collect_culture_states
from organoid.fitting.data.history import History, bin_history
from organoid.fitting.free_run.window_states import collect_states
from organoid.fitting.free_run.windows import compare_windows
from organoid.fitting.teacher_forced.features import Basis
from organoid.fitting.teacher_forced.population import fit_fields
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.models.spike_response.network import SpikeResponseParameters


@pytest.fixture(scope="module")
def training() -> History:
    return bin_history(recorded(known_network(), 60.0, 1), 0.001).training()


@pytest.fixture(scope="module")
def columns(training: History) -> Columns:
    return make_columns(training, np.random.default_rng(0))


@pytest.fixture(scope="module")
def forced(training: History, columns: Columns) -> ForcedCultureFit:
    return fit_forced_culture(training, columns)


def as_filters(training: History) -> tuple[SpikeResponseParameters, Columns, CultureLIFParameters]:
    """A spike-response network, and the same one as a culture LIF network without membrane and reset."""
    n, rng = training.n_units, np.random.default_rng(2)
    fields = fit_fields(training, np.array([0.003, 0.03, 0.3]), products=3)
    common: dict[str, Any] = {
        "dt": 0.001,
        "tau": np.array([0.003, 0.012]),
        "saturation": 3.0,
        "weights": rng.normal(0, 0.5, (2, n, n)),
        "fields": fields,
        "field_weights": rng.normal(0, 0.1, (fields.n_features, n)),
        "drive_low": np.full(n, -2.0),
        "drive_high": np.full(n, 2.0),
        "ceiling": np.full(n, 1.0),
        "capacity": np.ones(n, dtype=np.int64),
        "rate_limit": np.inf,
    }
    linear = SpikeResponseParameters(**common, bias=np.full(n, -4.0))
    limit = CultureLIFParameters(
        **common,
        bias=np.full(n, -4.0),
        use=np.zeros(2),
        recovery=np.ones(2),
        membrane_decay=0.0,
        hard_reset=False,
        threshold=np.zeros(n),
        threshold_tau=np.empty(0),
        threshold_steps=np.empty((0, n)),
    )
    n_columns = 2 * n + fields.n_features + 2
    return linear, Columns(limit, np.ones(n_columns), np.arange(10), np.ones(10)), limit


def test_without_a_membrane_contrast_is_the_difference_of_moments(training: History) -> None:
    linear, columns, limit = as_filters(training)
    assert lead_bins(columns) == 0
    basis = Basis(linear.tau, linear.saturation, linear.fields)
    states, others = collect_states(training, basis, 800), collect_culture_states(training, columns, 800)
    same, at, too = np.intersect1d(states.bins, others.bins, return_indices=True)
    pick = np.linspace(0, same.size - 1, 12).astype(int)
    # Windows draw by the number of their state: both get the number of the one.
    relabelled = type(others)(
        *(np.asarray(getattr(others, name))[too] for name in ("bins", "traces", "depleted", "raised", "population")),
        others.allowed,
    )
    mine = type(states)(states.bins[at], states.traces[at], states.population[at], states.allowed)
    moments = compare_windows(training, linear, mine, pick, 800, 5)
    both = contrast(training, columns, limit, relabelled, pick, 800, 5)
    n = moments.recorded.shape[0]
    assert moments.simulated[-1].sum() > 0
    np.testing.assert_allclose(both.recorded[:n], moments.recorded, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(both.simulated[:n], moments.simulated, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(both.recorded[n], -moments.recorded[-1], rtol=1e-6)


def test_the_recorded_side_is_the_gradient_of_the_likelihoods_spike_term(
    training: History, columns: Columns, forced: ForcedCultureFit
) -> None:
    """Finite differences of ``sum u z`` over a window, at the weights of the fit."""
    states = collect_culture_states(training, columns, 600)
    lead, chosen = lead_bins(columns), np.array([states.bins.size // 2])
    base = columns.parameters(forced.theta)
    found = run_windows(training, columns, base, states, chosen, 500, lead + 500, 0).sums

    def spike_term(theta: np.ndarray) -> float:
        from organoid.models.culture_lif.forced_pass import forced_log_odds

        p = columns.parameters(theta)
        u = np.empty((lead + 500, training.n_units))
        start = int(states.bins[chosen[0]])
        forced_log_odds(p, training.bins, training.units, start, *states.arrays(int(chosen[0]), p.weights), u)
        return float((u * training.counts(start, start + lead + 500))[lead:].sum())

    rng = np.random.default_rng(0)
    for _ in range(25):
        place = int(rng.integers(columns.n_columns)), int(rng.integers(training.n_units))
        ahead, behind = forced.theta.copy(), forced.theta.copy()
        ahead[place] += 0.5
        behind[place] -= 0.5
        slope = spike_term(ahead) - spike_term(behind)  # u is linear in the weights
        assert found[place] / columns.scale[place[0]] == pytest.approx(slope, rel=1e-3, abs=2e-3)


def test_the_forced_fit_is_the_optimum_within_its_bounds(
    training: History, columns: Columns, forced: ForcedCultureFit
) -> None:
    low, high = columns.bounds()
    assert forced.converged
    assert np.all(forced.theta >= low) and np.all(forced.theta <= high)
    assert np.all(forced.theta[columns.threshold + 1 :] >= 0), "thresholds only rise"
    slow = columns.n_couplings + np.flatnonzero(np.isinf(columns.template.fields.high))
    assert slow.size == 2 and np.all(forced.theta[slow] <= 0), "slow population features only inhibit"
    best = culture_negative_log_likelihood(training, columns.parameters(forced.theta))
    rng = np.random.default_rng(1)
    for _ in range(5):
        other = np.clip(forced.theta + rng.normal(0, 0.5, forced.theta.shape), low, high)
        assert culture_negative_log_likelihood(training, columns.parameters(other)) > best


def test_the_spike_term_is_that_of_all_spikes(training: History, columns: Columns, forced: ForcedCultureFit) -> None:
    seen = np.bincount(training.units, minlength=training.n_units)
    np.testing.assert_allclose(-forced.spike_term[columns.threshold], seen)


def test_dales_law_gives_every_unit_one_sign(training: History, columns: Columns, forced: ForcedCultureFit) -> None:
    lawful = fit_forced_culture(training, columns, dales_law=True)
    np.testing.assert_array_equal(lawful.signs, outgoing_signs(columns, forced.theta))
    others = np.where(columns.own, 0.0, lawful.theta)[: columns.n_couplings]
    by_sender = others.reshape(-1, training.n_units, training.n_units)
    assert np.all(by_sender * lawful.signs[None, :, None] >= 0)
    assert set(lawful.signs) == {-1, 1}


def test_steps_stay_within_the_bounds(columns: Columns, forced: ForcedCultureFit) -> None:
    solver, theta = NaturalSteps(columns, forced), forced.theta
    rng = np.random.default_rng(0)
    for n in range(30):
        theta, _ = solver.step(theta, rng.normal(0, 1e-2, theta.shape), n)
        assert np.all(theta >= solver.low) and np.all(theta <= solver.high)
    assert np.all(np.isfinite(theta))


def test_chains_go_on_and_wild_ones_begin_anew(training: History, columns: Columns, forced: ForcedCultureFit) -> None:
    states = collect_culture_states(training, columns, 2000)
    chains = Chains(columns, states, 3, 1000, np.random.default_rng(0))
    parameters = columns.parameters(forced.theta)
    before = [state[1].copy() for state in chains.at]
    term = chains.run(parameters, 0)
    assert term.n_bins == 3000 and term.n_given_up == 0
    assert any(not np.array_equal(a, state[1]) for a, state in zip(before, chains.at))
    wild = parameters._replace(threshold=np.full(training.n_units, -5.0))
    assert chains.run(wild, 1).n_given_up == 3
    assert chains.run(parameters, 2).n_given_up == 0


def test_a_plan_brings_a_network_back_to_its_rate(
    training: History, columns: Columns, forced: ForcedCultureFit
) -> None:
    """Started from weights that are too quiet, contrast finds the recorded rate again."""
    stage = FreeStage.prepare(training, columns, forced, 0)
    quiet = forced.theta.copy()
    quiet[columns.threshold] += 0.6
    plan = ContrastPlan(((0.3, 10), (1.0, 10)), 20_000)
    back = stage.run(quiet, plan).theta

    def rate(theta: np.ndarray) -> float:
        network = CultureLIFNetwork(stage.network(theta))
        return network.advance(network.initial_state(0), 100_000).steps.size / 100.0

    wanted = training.bins.size / (training.n_bins * training.bin_width)
    assert rate(quiet) < 0.75 * wanted
    assert rate(back) == pytest.approx(wanted, rel=0.12)


@pytest.fixture(scope="module")
def result() -> FitResult:
    return organoid.fit(bursting(6, 90.0, 0), model="culture_lif", free_run=False)


def test_a_fit_predicts_is_saved_and_simulates(result: FitResult, tmp_path: Path) -> None:
    rec = bursting(6, 90.0, 0)
    assert result.settings["model"] == "culture_lif"
    assert result.scores["heldout_bits_per_spike"] > result.scores["heldout_bits_per_spike_uncoupled"]
    result.save(tmp_path / "fit.h5")
    back = organoid.load_fit(tmp_path / "fit.h5")
    expected = result.predict(rec, t_start=80.0)
    assert expected.shape == (10_000, 6)
    np.testing.assert_array_equal(back.predict(rec, t_start=80.0), expected)
    assert organoid.simulate(back, 5.0, seed=1).equals(organoid.simulate(result, 5.0, seed=1))
    whole = result.predict(rec)
    np.testing.assert_array_equal(whole[80_000:], expected)


def test_predictions_are_the_mean_of_one_step_simulations(result: FitResult) -> None:
    history = bin_history(bursting(6, 90.0, 0), 0.001)
    p: Any = result.forced.parameters
    (_, mu), *_ = culture_expected_counts(history, p, 2000, 2001)
    arrays = CultureLIFNetwork(p).initial_state(0)
    from organoid.models.culture_lif.forced_pass import forced_log_odds

    state = [arrays.voltage, arrays.traces, arrays.depleted, arrays.drive, arrays.raised, arrays.population]
    forced_log_odds(p, history.bins, history.units, 0, *state, np.empty((2000, 6)))
    total = np.zeros(6)
    network = CultureLIFNetwork(p)
    for seed in range(4000):
        start = network.initial_state(seed)
        names = ("voltage", "traces", "depleted", "drive", "raised", "population")
        here = type(start)(**{**vars(start), **dict(zip(names, state, strict=True))})
        total += np.bincount(network.advance(here, 1).units, minlength=6)
    np.testing.assert_allclose(total / 4000, mu[0], atol=5 * np.sqrt(mu[0].max() / 4000) + 1e-3)


def test_nothing_of_the_test_part_is_seen(result: FitResult) -> None:
    other = organoid.fit(another_end(bursting(6, 90.0, 0), 3), model="culture_lif", free_run=False)
    for name, value in result.forced.parameters._asdict().items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other.forced.parameters, name), err_msg=name)
