"""Escape noise: probabilities against closed forms, draws from counters, and free runs as it was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import organoid
from organoid.errors import FitError
from organoid.fitting import GradientFit
from organoid.models import EscapeNoiseLIF, LIFParameters
from organoid.models.neurons.escape_noise_lif import seeded_state, uniforms
from organoid.models.rng import uniform
from organoid.models.simulators.stepwise import free_network

DT = 0.002


def test_draws_are_those_of_the_counters() -> None:
    stream = torch.tensor([[5, 7], [2**60, 3]])
    got = uniforms(stream, 9).numpy()
    for row, (key, step) in zip(got, stream.tolist(), strict=True):
        np.testing.assert_array_equal(row, uniform(np.uint64(key), step * 9 + np.arange(9)))


def test_a_unit_held_at_a_potential_spikes_with_its_probability() -> None:
    # No memory (tau of a tenth of a step), no refractoriness: V is the drive, bins are independent.
    p = LIFParameters(tau_mem=DT / 10, refractory=0.0, weight_scale=0.0, escape_width=0.2)
    model = EscapeNoiseLIF(5, DT, p).double()
    drive = torch.tensor([0.3, 0.8, 1.0, 1.1, 1.6], dtype=torch.float64)
    with torch.no_grad():
        out = model.trajectory(drive.expand(16, 1000, 5))
    expected = 1 / (1 + np.exp(-(drive.numpy() * (1 - np.exp(-10)) - 1) / 0.2))
    np.testing.assert_allclose(torch.sigmoid(out.logits[:, 0]), np.tile(expected, (16, 1)), atol=0.01)
    measured = out.spikes.mean((0, 1)).numpy()
    assert (np.abs(measured - expected) < 4 * np.sqrt(expected * (1 - expected) / 16_000) + 2e-4).all()


def test_the_gradient_of_a_spike_is_that_of_its_probability() -> None:
    p = LIFParameters(tau_mem=DT / 10, refractory=0.0, weight_scale=0.0, escape_width=0.2)
    model = EscapeNoiseLIF(3, DT, p).double()
    x = torch.tensor([[[0.7, 1.0, 1.4]]], dtype=torch.float64, requires_grad=True)
    model.run(x)[0].sum().backward()
    share = 1 - np.exp(-10)
    q = 1 / (1 + np.exp(-(x.detach().numpy() * share - 1) / 0.2))
    np.testing.assert_allclose(x.grad, q * (1 - q) / 0.2 * share, rtol=1e-9)


def test_copies_and_seeds_draw_differently_and_repeat() -> None:
    model, x = EscapeNoiseLIF(4, DT), torch.full((2, 300, 4), 0.9)
    with torch.no_grad():
        spikes = model.run(x)[0]
        assert torch.equal(spikes, model.run(x)[0])
        assert not torch.equal(spikes[0], spikes[1])
        runs = [model.run(x, seeded_state(model, 2, torch.Generator().manual_seed(s)))[0] for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    network = free_network(model)
    one, other = (network.advance(network.initial_state(s), 300) for s in (0, 1))
    assert not np.array_equal(one.steps, other.steps)


def test_fitted_by_likelihood_it_runs_freely_at_the_recorded_rates() -> None:
    rng = np.random.default_rng(0)
    rate = np.array([4.0, 10.0, 25.0])
    spikes = [np.sort(rng.uniform(0, 16, rng.poisson(16 * r))) for r in rate]
    units = np.repeat(np.arange(3), [len(s) for s in spikes])
    rec = organoid.SpikeRecording(np.concatenate(spikes), units, n_units=3, t_start=0.0, t_stop=16.0)
    options = {"n_steps": 40, "window": 0.2, "warmup": 0.1, "learning_rate": 0.05, "bin_width": 0.004}
    fit = organoid.fit(rec, model=EscapeNoiseLIF(3, 0.004), loss="likelihood", free_run=False, **options)
    assert isinstance(fit, GradientFit)
    assert fit.held_out["fitted"] < fit.curve.held_out_loss.iloc[0]
    assert not any("hard threshold" in note for note in fit.notes)
    found = np.bincount(organoid.simulate(fit, 16.0).spike_units, minlength=3) / 16
    np.testing.assert_allclose(found, rate, rtol=0.4)


def test_fits_by_gradient_need_a_loss_that_exists() -> None:
    rec = organoid.SpikeRecording([0.1, 0.2], [0, 1], t_stop=10.0)
    with pytest.raises(FitError, match="unknown loss"):
        organoid.fit(rec, model="escape_lif", loss="nothing")
