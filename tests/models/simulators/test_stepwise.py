"""Any trained model left alone, and trained models in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from free_networks import CELLS, DT, Bare, N, lively_of, raster, trained

from organoid import ModelError
from organoid.culture import serialization as storage
from organoid.models import LIF, MODELS, AdaptiveLIFParameters, LIFParameters
from organoid.models.conformance import tensors
from organoid.models.free_running import Advance, Injection
from organoid.models.serialization import read_trained, write_trained
from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.simulators.stepwise import StepwiseSimulator, free_network
from organoid.models.surrogate import ArcTan, FastSigmoid
from organoid.models.synapses.exponential import ExponentialSynapses

# --- networks of any cells ----------------------------------------------------------------------------------------


# A model that brings a faster form of its own (`free_running`) is tested with that form.
STEPWISE = sorted(name for name, make in MODELS.items() if not hasattr(make, "free_running"))


def any_network(name: str = "lif", seed: int = 0, **options: Any) -> StepwiseSimulator:
    model: Any = MODELS[name](N, DT, seed=seed)
    with torch.no_grad():
        model.bias.fill_(1.3)
        model.synapses.weight.mul_(3)
    return StepwiseSimulator(model, **options)


def same_runs(a: Advance, b: Advance) -> bool:
    states = zip(tensors(a.state.model), tensors(b.state.model), strict=True)
    same = (a.state.key, a.state.step, a.state.activity) == (b.state.key, b.state.step, b.state.activity)
    return same and all(torch.equal(x, y) for x, y in states)


@pytest.mark.parametrize("name", STEPWISE)
def test_any_network_equals_its_model(name: str) -> None:
    network: Any = any_network(name)
    state = network.initial_state(1)
    with torch.no_grad():
        z, end = network.model.run(network.noise(state, 600), state.model)
    done = network.advance(state, 600)
    np.testing.assert_array_equal(raster(done, 600), z[0].numpy())
    for one, other in zip(tensors(done.state.model), tensors(end), strict=True):
        # single precision (1.2e-7 of values of order 1): a current cut in two is rounded once more
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=5e-7, atol=5e-7)
    assert z.sum() > 50


@pytest.mark.parametrize("name", STEPWISE)
@pytest.mark.slow
def test_any_network_can_be_cut_and_leaves_its_state_alone(name: str) -> None:
    network = any_network(name)
    state = network.initial_state(0)
    whole = network.advance(state, 600)
    first = network.advance(state, 271)
    second = network.advance(first.state, 329)
    assert np.array_equal(whole.steps, np.append(first.steps, second.steps + 271))
    assert same_runs(whole, second) and same_runs(network.advance(state, 600), whole)
    assert not any(t.any() for t in tensors(state.model.synapse))


def test_any_network_takes_forced_spikes_as_the_compiled_one_does() -> None:
    model = trained(LIFParameters(refractory=0.0, delay=0.006))
    with torch.no_grad():
        model.log_noise.fill_(-50.0)  # the two draw different noise
        model.bias.sub_(0.3)
    slow, fast = StepwiseSimulator(model), lively_of(model)
    rng = np.random.default_rng(0)
    steps, units = np.sort(rng.integers(0, 300, 100)), rng.integers(0, N, 100)
    inject = Injection(steps, units, 1.0, np.zeros(300))
    one = fast.advance(fast.initial_state(0), 300, inject)
    other = slow.advance(slow.initial_state(0), 300, inject)
    np.testing.assert_array_equal(raster(one, 300), raster(other, 300))
    np.testing.assert_allclose(other.state.model.cell.voltage[0].numpy(), one.state.voltage, atol=1e-10)
    assert one.steps.size > 30
    assert one.state.activity == pytest.approx(other.state.activity)


@pytest.mark.parametrize("name", STEPWISE)
def test_a_forced_spike_resets_and_reaches_the_others(name: str) -> None:
    network = any_network(name)
    state = network.advance(network.initial_state(0), 200).state
    done = network.advance(state, 1, Injection(np.array([0]), np.array([2]), 1.0, np.zeros(1)))
    assert 2 not in done.units
    assert done.state.model.synapse.pending[0, -1, 2] == 1
    with pytest.raises(ModelError, match="units"):
        network.advance(state, 1, Injection(np.array([0]), np.array([N]), 1.0, np.zeros(1)))


def test_any_network_stops_when_it_runs_away() -> None:
    network = any_network(rate_limit=10.0)
    done = network.advance(network.initial_state(0), 2000)
    assert done.runaway and done.n_steps < 2000 and done.state.activity > 10
    with pytest.raises(ModelError, match="rate_limit"):
        any_network(rate_limit=0.0)


@pytest.mark.parametrize("name", STEPWISE)
def test_any_network_comes_back_from_a_file(tmp_path: Path, name: str) -> None:
    network = any_network(name, rate_limit=1e4)
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        storage.write_network(h5.create_group("net"), network)
    with h5py.File(tmp_path / "n.h5") as h5:
        back: Any = storage.read_network(h5["net"])
    assert back.describe() == network.describe()
    assert back.describe() != any_network(name, seed=1, rate_limit=1e4).describe()
    assert back.describe() != any_network(name, rate_limit=1e5).describe()
    state = network.initial_state(0)
    assert same_runs(back.advance(state, 200), network.advance(state, 200))


def test_cells_without_a_compiled_form_run_all_the_same() -> None:
    forms = {name: type(free_network(MODELS[name](N, DT))) for name in MODELS}
    assert forms["lif"] is forms["adaptive_lif"] is LIFSimulator
    assert {form for name, form in forms.items() if "lif" not in name} <= {StepwiseSimulator}


class OtherSynapses(ExponentialSynapses):
    """Synapses of another kind, which the compiled form knows nothing of."""


def test_networks_with_synapses_of_another_kind_are_not_compiled() -> None:
    model = LIF(N, DT)
    model.synapses.__class__ = OtherSynapses
    assert isinstance(free_network(model), StepwiseSimulator)


# --- trained models in files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", CELLS, ids=range(len(CELLS)))
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_trained_model_comes_back_exactly(
    tmp_path: Path, fixed: LIFParameters | AdaptiveLIFParameters, precision: torch.dtype
) -> None:
    mask = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.5
    model = trained(fixed, spike=ArcTan(alpha=3.0), mask=mask).to(precision)
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        write_trained(h5.create_group("m"), model)
        back: Any = read_trained(h5["m"])
    assert type(back) is type(model)
    assert back.fixed == model.fixed
    assert [type(part) for part in back.modules()] == [type(part) for part in model.modules()]
    for (name, one), (_, other) in zip(model.state_dict().items(), back.state_dict().items(), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other), name
    x = model.noise(2, 200, torch.Generator().manual_seed(0)).detach()
    losses = [(each.run(x)[0] * x).sum() for each in (model, back)]
    for each, loss in zip((model, back), losses):
        loss.backward()
        assert each.synapses.weight.grad is not None
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(model.synapses.weight.grad, back.synapses.weight.grad)


class Unregistered(LIF):
    """Not in the registry."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unregistered(N, DT), "Unregistered"),
        (lambda: LIF(N, DT, spike=FastSigmoid().relaxed), "spike function"),
        (Bare, "Bare"),
    ],
)
def test_models_nobody_could_build_again(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as h5, pytest.raises(ModelError, match=message):
        write_trained(h5.create_group("m"), make())


@pytest.mark.parametrize("name", ["state/bias", "state", "state/synapses.weight"])
def test_incomplete_models_are_refused(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        write_trained(h5.create_group("m"), trained(CELLS[0]))
        del h5["m"][name]
        with pytest.raises(ModelError, match=name.split("/")[-1]):
            read_trained(h5["m"])


def test_models_of_unknown_name_or_wrong_size(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as h5:
        write_trained(h5.create_group("m"), trained(CELLS[0]))
        h5["m"].attrs["n_units"] = N + 1
        with pytest.raises(ModelError, match="no complete lif"):
            read_trained(h5["m"])
        h5["m"].attrs["model"] = "hodgkin_huxley"
        with pytest.raises(ModelError, match="hodgkin_huxley"):
            read_trained(h5["m"])
