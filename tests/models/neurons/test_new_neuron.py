"""A neuron is parameters, a cell and an equation: one of a user's own is a class and a line in the registry."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import organoid
from organoid import ModelError, SpikeRecording
from organoid.fitting import GradientFit, GradientSettings
from organoid.models import LIF, MODELS, LIFParameters
from organoid.models.recurrent import NetworkConstants, RecurrentNetwork, loop
from organoid.models.surrogate import FastSigmoid, SpikeFunction

DT = 0.004


@dataclass(frozen=True)
class QuadraticParameters:
    """Fixed properties of a quadratic integrate-and-fire network; `curvature` is dimensionless, `tau` in s."""

    tau: float = 0.02
    curvature: float = 0.5

    @property
    def network(self) -> NetworkConstants:
        """What the network needs to know beside its cells."""
        return NetworkConstants(self.tau, (0.01,), DT, 0.2, 0.1, 0.25, ())


class QuadraticState(NamedTuple):
    """Potential, thresholds, (batch, unit)."""

    voltage: Tensor


class QuadraticCell(nn.Module):
    """Quadratic integrate-and-fire neurons; see `Quadratic` for the equation."""

    def __init__(self, n_units: int, dt: float, parameters: QuadraticParameters, spike: SpikeFunction) -> None:
        super().__init__()
        self.n_units, self.spike, self.fixed, self.part = n_units, spike, parameters, dt / parameters.tau

    def initial_state(self, batch: int, like: Tensor) -> QuadraticState:
        """Return cells at rest."""
        return QuadraticState(like.new_zeros(batch, self.n_units))

    def step(self, drive: Tensor, state: QuadraticState) -> tuple[Tensor, Tensor, QuadraticState]:
        """Advance one step."""
        v = state.voltage
        v = v + self.part * (self.fixed.curvature * v * (v - 1) + drive)
        spikes = self.spike(v - 1)
        return spikes, v - 1, QuadraticState(v * (1 - spikes.detach()))

    def scan(self, drive: Tensor, state: QuadraticState) -> tuple[Tensor, Tensor, QuadraticState]:
        """Advance over (batch, time, unit) drive."""
        return loop(self, drive, state)


class Quadratic(RecurrentNetwork[QuadraticParameters]):
    r"""Network of quadratic integrate-and-fire neurons, :math:`\tau \dot V = c V (V - 1) + \text{drive}`."""

    usual = QuadraticParameters()
    cell_type = QuadraticCell


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(MODELS, "quadratic", Quadratic)
    return "quadratic"


def culture(duration: float = 12.0) -> SpikeRecording:
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0, duration, int(rate * duration))) for rate in (4, 8, 12)]
    return SpikeRecording(
        np.concatenate(times), np.repeat(np.arange(3), [t.size for t in times]), t_start=0.0, t_stop=duration
    )


def test_a_new_neuron_keeps_the_contract(registered: str) -> None:
    organoid.check_model(MODELS[registered](4, DT, seed=1))
    organoid.check_model(Quadratic(4, DT, QuadraticParameters(curvature=0.2)).double())


def test_a_new_neuron_is_trained_saved_loaded_and_simulated(registered: str, tmp_path: Path) -> None:
    settings = GradientSettings(
        n_steps=4, batch=4, window=0.2, warmup=0.1, bin_width=DT, learning_rate=0.05, free_run=False
    )
    fitted = organoid.fit(culture(), model=registered, loss="van_rossum", settings=settings)
    assert isinstance(fitted, GradientFit)
    trained, untrained = fitted.network.model, Quadratic(3, DT)
    assert isinstance(trained, Quadratic)
    assert not torch.equal(trained.bias, untrained.bias)

    fitted.save(tmp_path / "fit.h5")
    back = organoid.load_fit(tmp_path / "fit.h5")
    assert back.network.model.fixed == QuadraticParameters()
    weights, kept = trained.state_dict(), back.network.model.state_dict()
    assert all(torch.equal(weights[name], kept[name]) for name in weights)

    with torch.no_grad():
        for model in (trained, back.network.model):
            model.bias.fill_(0.8)
    runs = [organoid.simulate(network, 2.0, seed=5) for network in (fitted.network, back.network)]
    assert runs[0].spike_times.size > 10
    assert np.array_equal(runs[0].spike_times, runs[1].spike_times)


def test_no_neuron_has_a_constructor_of_its_own() -> None:
    neurons = [model for model in MODELS.values() if isinstance(model, type) and issubclass(model, RecurrentNetwork)]
    assert len(neurons) >= 5
    for neuron in neurons:
        assert "__init__" not in vars(neuron)
        assert ".. math::" in inspect.cleandoc(neuron.__doc__ or "")


def test_parameters_of_another_neuron_are_rejected() -> None:
    with pytest.raises(ModelError, match="LIF takes LIFParameters, got parameters=QuadraticParameters"):
        LIF(3, DT, QuadraticParameters())  # type: ignore[arg-type]


def test_a_spike_function_of_ones_own_replaces_the_usual_one() -> None:
    own = FastSigmoid(3.0)
    assert LIF(3, DT, LIFParameters(), spike=own).cell.spike is own
    assert LIF(3, DT).cell.spike == LIF.usual_spike(LIF.usual)
