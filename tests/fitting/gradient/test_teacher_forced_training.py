"""Training on recorded history alone: losses, predictions, the network that runs freely, and what the notes say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from synthetic_recordings import bursting, known_network, recorded

import organoid
from organoid.fitting import FitResult, GradientFit, GradientSettings
from organoid.fitting.data.windows import split_windows
from organoid.fitting.gradient.notes import shortfalls
from organoid.fitting.gradient.prediction import free_form
from organoid.fitting.gradient.training import drawn, has_forced_pass, window_loss
from organoid.fitting.methods.gradient import fit_gradient
from organoid.losses import Likelihood
from organoid.models import MODELS

DT = 0.002
BRIEF = GradientSettings(n_steps=10, batch=16, window=0.2, warmup=0.1, free_run=False, teacher_forced=True)


def network(name: str, n: int = 4, seed: int = 2) -> Any:
    """A network whose units spike at some tens of Hz, with couplings that can be seen."""
    model: Any = MODELS[name](n, DT, seed=seed)
    with torch.no_grad():
        model.bias.copy_(torch.linspace(0.0, 0.4, n))
    return model


def test_which_models_have_a_forced_pass() -> None:
    found = {name for name in MODELS if has_forced_pass(MODELS[name](2, DT))}
    assert {"lif", "adaptive_lif", "escape_lif"} <= found and not {"adex", "izhikevich"} & found


@pytest.mark.parametrize("pieces", [{}, {"checkpoint": 0.01}, {"truncate": 0.02}])
def test_the_loss_of_a_window_is_that_of_its_recorded_history(pieces: dict[str, float]) -> None:
    counts = torch.from_numpy((np.random.default_rng(0).random((400, 4)) < 0.1).astype(np.uint8))
    windows = split_windows(counts, np.ones(400, dtype=bool), held_out=0.2, warmup=20, length=50)
    model, starts = network("adaptive_lif"), windows.training_starts[:3]
    settings = GradientSettings(window=0.1, warmup=0.04, **pieces)  # type: ignore[arg-type]
    value = window_loss(model, Likelihood(DT), windows, starts, torch.Generator(), None, settings)
    spikes = windows.cut(starts)
    logits = model.forced_voltages(spikes).logits[:, 20:]
    torch.testing.assert_close(value, Likelihood(DT)(logits, spikes[:, 20:]))


def test_the_likelihood_keeps_a_loss_of_spikes_from_impossible_spikes() -> None:
    """Without it the probabilities of some spikes that come all the same go to 0, and predictions are worthless."""
    rec = bursting(4, 60.0, 3)
    settings = GradientSettings(n_steps=60, batch=32, window=0.3, warmup=0.1, learning_rate=0.05, free_run=False)
    nats = {}
    for weight in (0.0, 1.0):
        fitted = fit_gradient(
            rec,
            model="lif",
            loss="van_rossum",
            settings=settings,
            progress=False,
            likelihood_weight=weight,
            teacher_forced=True,
        )
        spikes = torch.from_numpy(np.minimum(rec.counts(DT), 1)).float()[None]
        with torch.no_grad():
            nats[weight] = float(Likelihood(DT)(fitted.model.forced_voltages(spikes).logits, spikes))  # type: ignore[attr-defined]
    assert nats[1.0] < nats[0.0]


def test_draws_have_the_probability_and_its_gradient() -> None:
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64).expand(20_000, 7).clone().requires_grad_()
    spikes = drawn(logits, torch.Generator().manual_seed(0))
    assert set(spikes.detach().unique().tolist()) <= {0.0, 1.0}
    p = torch.sigmoid(logits.detach())
    assert torch.allclose(spikes.mean(0), p[0], atol=5 * 0.5 / 20_000**0.5)
    (grad,) = torch.autograd.grad(spikes.sum(), logits)
    torch.testing.assert_close(grad, p * (1 - p))


@pytest.mark.parametrize("name", ["lif", "adaptive_lif", "escape_lif"])
def test_the_free_network_spikes_with_the_probabilities_that_were_trained(name: str) -> None:
    """Its spikes, fed back as a record: expected and drawn spikes agree, in every band of probability."""
    model = network(name)
    free, said = free_form(model, np.inf, resets=True)
    assert free is not None and said == ()
    ran = free.advance(free.initial_state(7), 20_000)
    spikes = torch.zeros(1, 20_000, 4)
    spikes[0, ran.steps, ran.units] = 1.0
    with torch.no_grad():
        p = torch.sigmoid(model.forced_voltages(spikes).logits)[0].double()
    ready = torch.cat([torch.ones(1, 4), 1 - spikes[0, :-1]]) > 0  # a refractory step cannot spike
    assert spikes.sum() > 1000
    for low, high in ((0.0, 0.02), (0.02, 0.05), (0.05, 1.0)):
        chosen = ready & (p >= low) & (p < high)
        expected, deviation = p[chosen].sum(), (p * (1 - p))[chosen].sum().sqrt()
        assert abs(spikes[0][chosen].sum() - expected) < 4 * deviation + 1


def test_predictions_are_the_probabilities_of_the_recorded_history() -> None:
    rec = bursting(4, 30.0, 3)
    fitted = fit_gradient(rec, model="lif", loss="van_rossum", settings=BRIEF, progress=False)
    spikes = torch.from_numpy(np.minimum(rec.counts(DT), 1)).float()[None]
    with torch.no_grad():
        p = torch.sigmoid(fitted.model.forced_voltages(spikes).logits)[0]  # type: ignore[attr-defined]
    share, mean = fitted.settings["share_of_mean"], fitted.per_unit["training_mean_count"].to_numpy()
    expected = (1 - share) * p.numpy() + share * mean
    settled = slice(250, None)  # a prediction lets the membranes settle before the first bin
    np.testing.assert_allclose(fitted.predict(rec)[settled], expected[settled], rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(fitted.predict(rec, 10.0, 12.0), fitted.predict(rec)[5000:6000])


def test_a_likelihood_predicts_better_than_with_resets_of_its_own() -> None:
    rec = recorded(known_network(), 60.0, seed=4)
    settings = GradientSettings(n_steps=60, batch=32, window=0.3, warmup=0.1, learning_rate=0.03, free_run=False)
    bits = {
        forced: fit_gradient(
            rec, model="escape_lif", loss="likelihood", settings=settings, progress=False, teacher_forced=forced
        ).scores["heldout_bits_per_spike"]
        for forced in (None, False)
    }
    assert bits[None] > bits[False]


def test_own_history_is_the_baseline_of_the_likelihood_fit() -> None:
    rec = bursting(4, 60.0, 3)
    default = organoid.fit(rec, free_run=False, bin_width=DT)
    fitted = organoid.fit(rec, model="lif", loss="rate", settings=BRIEF)
    assert isinstance(default, FitResult) and isinstance(fitted, GradientFit)
    name = "bits_per_spike_uncoupled"
    assert fitted.scores["heldout_bits_per_spike_own_history"] == default.scores[f"heldout_{name}"]
    np.testing.assert_array_equal(fitted.per_unit[name], default.per_unit[name])
    held_out = default.held_out
    assert held_out["constant_rate"] - held_out["fitted"] == pytest.approx(default.scores["heldout_bits_per_spike"])
    assert held_out["own_history"] - held_out["fitted"] == pytest.approx(
        default.scores["heldout_bits_per_spike"] - default.scores[f"heldout_{name}"]
    )
    assert list(held_out.index) == list(fitted.held_out.index)


PASSES = {"passed": True, "runaway": False, "rate_ratio": 1.0}


@pytest.mark.parametrize(
    ("bits", "free_run", "said"),
    [
        (1.5, PASSES, []),
        (1.5, {}, []),
        (float("nan"), {}, []),
        (1.0, PASSES, ["worse than each unit's own history (1.00 of 1.20"]),
        (1.5, {"passed": False, "runaway": False, "rate_ratio": 15.0}, ["locks at 15.00 times"]),
        (1.5, {"passed": False, "runaway": True, "rate_ratio": 9.0}, ["runs away (9.00 times"]),
        (1.5, {"passed": False, "runaway": False, "rate_ratio": 0.1}, ["silent (0.10 times"]),
        (1.5, {"passed": False, "runaway": False, "rate_ratio": None}, ["silent (an undefined number"]),
        (1.5, {"passed": False, "runaway": False, "rate_ratio": 1.3}, ["does not meet the free-run criteria"]),
    ],
)
def test_what_falls_short_is_said(bits: float, free_run: dict[str, Any], said: list[str]) -> None:
    found = list(shortfalls(bits, 1.2, free_run))
    assert len(found) == len(said) and all(part in note for part, note in zip(said, found))
