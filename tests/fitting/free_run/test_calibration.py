"""The gate of the free run: how far corrections go, and what a single wild run does to a verdict."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_recordings import bursting, known_network, poisson, recorded

import organoid
from organoid.errors import FitError
from organoid.fitting.data.history import bin_history
from organoid.fitting.free_run import calibration as gate
from organoid.fitting.free_run.comparison import summarize_activity
from organoid.fitting.free_run.criteria import FAR, discrepancy, reasons
from organoid.fitting.free_run.settings import FreeRunSettings
from organoid.fitting.teacher_forced.design import forced_design
from organoid.fitting.teacher_forced.estimate import fit_forced, negative_log_likelihood, without_products
from organoid.fitting.teacher_forced.model_selection import constant_rates
from organoid.fitting.teacher_forced.notes import CHOICES

FINE = {
    "runaway": False,
    "rate_ratio": 1.0,
    "rate_ratio_range": [0.9, 1.1],
    "rate_correlation": 1.0,
    "extra_bursts_per_minute": 0.0,
}


FORCED = np.zeros((3, 2))


def loss(theta: NDArray[np.float64]) -> float:
    return float(np.mean(theta**2))


@pytest.mark.parametrize(("size", "share"), [(0.1, 1.0), (0.2, 1.0), (0.4, 0.5), (2.0, 0.1)])
def test_a_correction_goes_as_far_as_its_loss_allows(size: float, share: float) -> None:
    found = gate._share(FORCED, np.full((3, 2), size), loss, 0.2**2 + 1e-12)
    assert share - 1 / 64 <= found <= share


def test_a_correction_that_diverged_is_not_gone_at_all() -> None:
    theta = np.array([[1.0, np.nan]] * 3)
    assert gate._share(FORCED, theta, loss, 1.0) == 0.0


def test_each_correction_is_tried_whole_then_half_and_only_when_asked_for() -> None:
    worked_out = []

    def fits() -> Any:
        for everything, size in ((False, 0.1), (True, 0.4)):
            worked_out.append(everything)
            yield SimpleNamespace(
                plan=SimpleNamespace(everything=everything), theta=np.full((3, 2), size), moments_off=()
            )

    tried = gate._corrections(FORCED, fits(), loss, 0.2**2 + 1e-12)
    name, theta, _ = next(tried)
    assert (name, theta[0, 0], worked_out) == ("rates", 0.1, [False])
    names, sizes = zip(*((name, theta[0, 0]) for name, theta, _ in tried))
    assert names == ("between", "between", "between")
    np.testing.assert_allclose(sizes, [0.05, 0.2, 0.1], atol=0.4 / 64)


def test_a_single_run_far_above_the_recorded_rate_counts_whatever_the_median() -> None:
    wild = FINE | {"rate_ratio_range": [0.9, 6.15]}
    assert discrepancy(FINE, False) < 1e-9 and not list(reasons(FINE, False))
    assert discrepancy(wild, False) >= FAR
    assert any("6.15 times" in reason for reason in reasons(wild, False))


def test_all_biases_move_alike_to_the_recorded_mean_rate() -> None:
    rec = recorded(known_network(), 60.0, seed=1)
    portrait, training = summarize_activity(rec), bin_history(rec, 1e-3)
    true = known_network().parameters
    quiet = true._replace(bias=true.bias - 0.4)
    found = gate._by_whole_runs(quiet, None, training, portrait, 0, FreeRunSettings(check_duration=60.0), each=False)
    np.testing.assert_allclose(found.bias - true.bias, found.bias[0] - true.bias[0])
    assert found.bias[0] - true.bias[0] == pytest.approx(0.0, abs=0.1)


def test_the_mean_rate_may_cost_only_so_much_likelihood() -> None:
    runs = FreeRunSettings(check_duration=60.0, check_runs=1)
    rec = recorded(known_network(), 60.0, seed=1)
    portrait, training = summarize_activity(rec), bin_history(rec, 1e-3)
    true = known_network().parameters
    quiet = gate.FreeWeights(true._replace(bias=true.bias - 0.4), "rates", 9.0, 0.0)
    theta = np.zeros((3, 8))
    allowed = runs.max_loss[1] + gate.RATE_LOSS
    for scale, reaches in ((1e-3, True), (4.0, False)):
        found = gate._with_mean_rate(
            quiet, theta, lambda theta, scale=scale: scale * float(theta[-1, 0] ** 2), None, training, portrait, 0, runs
        )
        moved = found.parameters.bias - quiet.parameters.bias
        np.testing.assert_allclose(moved, moved[0])
        assert 0 < found.loss <= allowed and (moved[0] > 0.3) == reaches
    dear = gate._with_mean_rate(
        gate.FreeWeights(quiet.parameters, "rates", 0.0, 0.0), theta, loss, None, training, portrait, 0, runs
    )
    assert dear.parameters is quiet.parameters, "what does not help is not kept"


def test_a_large_network_gets_its_rates_by_whole_free_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = FreeRunSettings(check_duration=100.0, check_runs=1)
    monkeypatch.setattr(gate, "LikelihoodLoss", lambda design, forced: lambda theta: float(theta[-1].mean()))
    truth = known_network()
    rec = recorded(truth, 200.0, seed=11)
    wrong = truth.parameters._replace(bias=truth.parameters.bias + np.linspace(-1, 1, 8))
    forced: Any = SimpleNamespace(parameters=wrong, stimulus=None, theta=np.zeros((3, 8)))
    found = gate.choose_large_weights(rec, bin_history(rec, 1e-3), cast(Any, None), forced, seed=0, settings=runs)
    assert found.choice == "rates" and found.discrepancy < 0.1
    assert np.abs(found.parameters.bias - truth.parameters.bias).max() < 0.2
    assert found.loss == pytest.approx(np.mean(found.parameters.bias - wrong.bias))
    forced.parameters = truth.parameters
    found = gate.choose_large_weights(rec, bin_history(rec, 1e-3), cast(Any, None), forced, seed=0, settings=runs)
    assert found.choice == "forced"


@pytest.mark.parametrize(
    ("alive", "lags", "choice"), [(True, 0, "forced"), (True, 1, "forced"), (False, 1, "forced, other basis")]
)
def test_a_network_that_is_alive_is_never_said_not_to_be(
    monkeypatch: pytest.MonkeyPatch, alive: bool, lags: int, choice: str
) -> None:
    monkeypatch.setattr(gate, "check_free_runs", lambda *_: gate.FreeRunCheck(0.1, False, alive))
    rec, p = poisson([4.0] * 8, 20.0, seed=1), known_network().parameters
    forced: Any = SimpleNamespace(parameters=p, stimulus=None, theta=np.zeros((3, 8)))
    design: Any = SimpleNamespace(basis=SimpleNamespace(lags=np.zeros(lags)))
    runs = FreeRunSettings(min_segment=np.inf)
    found = gate.choose_free_weights(rec, bin_history(rec, 1e-3), design, forced, seed=0, settings=runs)
    assert found.choice == choice and found.parameters is p


def test_weights_that_were_changed_are_not_called_those_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    rec, p = poisson([4.0] * 8, 20.0, seed=1), known_network().parameters
    training, other = bin_history(rec, 1e-3), p._replace(bias=p.bias + 0.1)
    monkeypatch.setattr(gate, "check_free_runs", lambda *_: gate.FreeRunCheck(0.1, True, True))
    monkeypatch.setattr(gate, "_by_whole_runs", lambda *_, **__: other)
    monkeypatch.setattr(gate, "fit_drive", lambda *_, **__: other)
    for before, rates, driven in (("forced, not alive", "rates", "driven"), ("free", "free", "free")):
        best = gate.FreeWeights(p, before, 9.0, 0.0)
        moved = gate._with_mean_rate(best, np.zeros((3, 8)), lambda _: 0.0, None, training, summarize_activity(rec), 0)
        assert moved.choice == rates and moved.parameters is not p
        assert gate.with_latent_drive(best, rec, training, seed=0).choice == driven
    assert {"rates", "driven", "simpler", "culture_lif", *gate.NOT_ALIVE} <= set(CHOICES)


@pytest.mark.parametrize("option", [{"edge_null": "shifted"}, {"refit": True}, {"exact": True}, {"device": "cpu"}])
def test_a_fit_by_gradient_refuses_options_of_the_likelihood_fit(option: dict[str, Any]) -> None:
    with pytest.raises(FitError, match=f"{next(iter(option))}=.* belongs to the likelihood fit"):
        organoid.fit(poisson([4.0, 6.0], 20.0, seed=1), model="lif", loss="rate", **option)


@pytest.mark.slow
def test_without_products_a_fit_is_as_good_as_it_can_be() -> None:
    training = bin_history(bursting(6, 60.0, 0), 1e-3).training()
    design = forced_design(training, np.random.default_rng(0))
    forced = fit_forced(training, design)
    fields = design.basis.fields
    assert forced.candidate.fields != "none" and fields.product_shift.size
    with_products = replace(forced, candidate=replace(forced.candidate, fields="products"))
    simpler = without_products(training, design, with_products)
    products = slice(design.n_couplings + fields.n_whole, design.n_couplings + fields.n_features)
    assert not simpler.theta[products].any() and not simpler.parameters.field_weights[fields.n_whole :].any()
    assert simpler.candidate.fields == "linear" and "no products" in simpler.chosen
    best = negative_log_likelihood(design, simpler.theta)
    assert best < negative_log_likelihood(design, constant_rates(design, design.sample))
    rng = np.random.default_rng(0)
    for _ in range(3):
        other = simpler.theta + (simpler.theta != 0) * rng.normal(0, 0.3, simpler.theta.shape)
        assert negative_log_likelihood(design, other) > best
