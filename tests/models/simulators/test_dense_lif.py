"""The free-running LIF network does what the torch model does, whatever the cut, and takes forced spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from free_networks import CELLS, DT, Bare, N, lively, lively_of, raster, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import organoid
from organoid import ModelError, OrganoidError
from organoid.culture import serialization as storage
from organoid.models import LIF, MODELS, AdaptiveLIFParameters, LIFParameters
from organoid.models.free_running import Injection
from organoid.models.serialization import read_network, write_network
from organoid.models.simulators import dense_lif as module
from organoid.models.simulators.dense_lif import FreeLIFParameters, FreeLIFState, LIFSimulator
from organoid.models.simulators.stepwise import free_network
from organoid.models.surrogate import FastSigmoid
from organoid.protocols import RateClamp
from organoid.sessions import replay

ARRAYS = ("voltage", "adaptation", "refractory", "current", "pending")


def same_states(a: FreeLIFState, b: FreeLIFState) -> bool:
    scalars = (a.key, a.step, a.activity) == (b.key, b.step, b.activity)
    return scalars and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


# --- it is the trained model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", CELLS, ids=range(len(CELLS)))
def test_it_equals_the_torch_model_step_by_step(fixed: LIFParameters | AdaptiveLIFParameters) -> None:
    model = trained(fixed)
    network: Any = free_network(model)
    state, torch_state = network.initial_state(3), model.initial_state()
    x = torch.from_numpy(network.noise(state, 600))
    total = 0
    with torch.no_grad():
        for t in range(600):
            z, torch_state = model.step(x[t][None], torch_state)
            done = network.advance(state, 1)
            state = done.state
            np.testing.assert_array_equal(raster(done, 1), z.numpy())
            cell = torch_state.cell
            membrane = cell if isinstance(fixed, LIFParameters) else cell.membrane
            np.testing.assert_allclose(state.voltage, membrane.voltage[0].numpy(), rtol=0, atol=1e-10)
            np.testing.assert_array_equal(state.refractory, membrane.refractory[0].numpy())
            if not isinstance(fixed, LIFParameters):
                np.testing.assert_allclose(state.adaptation, cell.adaptation[0].numpy(), rtol=0, atol=1e-10)
            weight = model.synapses.effective_weight()
            current = torch.einsum("kj,kji->ki", torch_state.synapse.trace[0], weight).numpy()
            np.testing.assert_allclose(state.current, current, rtol=0, atol=1e-10)
            total += int(z.sum())
    assert total > 80


@pytest.mark.parametrize("name", ["adaptive_lif", "lif"])
def test_it_equals_a_single_precision_model_to_single_precision(name: str) -> None:
    model: Any = MODELS[name](N, DT, seed=1)
    with torch.no_grad():
        model.bias.fill_(0.9)
    network: Any = free_network(model)
    state = network.initial_state(0)
    x = torch.from_numpy(network.noise(state, 400)).float()
    with torch.no_grad():
        z, end = model.run(x[None])
    done = network.advance(state, 400)
    np.testing.assert_array_equal(raster(done, 400), z[0].numpy())
    cell = getattr(end.cell, "membrane", end.cell)
    np.testing.assert_allclose(done.state.voltage, cell.voltage[0].numpy(), rtol=0, atol=1e-5)
    assert z.sum() > 50


def test_it_runs_as_often_as_the_torch_model_under_its_own_noise() -> None:
    model, n_steps = trained(CELLS[0]), 40_000
    with torch.no_grad():
        z, _ = model.run(model.noise(1, n_steps, torch.Generator().manual_seed(0)))
    done = lively_of(model).advance(lively_of(model).initial_state(1), n_steps)
    np.testing.assert_allclose(raster(done, n_steps).mean(0), z[0].mean(0).numpy(), rtol=0.1)


# --- noise --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_noise_is_white_gaussian_of_the_strength_asked_for(n: int) -> None:
    from scipy.stats import kstest

    network = lively(n)
    x = network.noise(network.initial_state(0), 50_000) / network.parameters.noise_sd
    for unit in range(n):
        assert kstest(x[:, unit], "norm").pvalue > 1e-3
    pairs = np.corrcoef(np.concatenate([x.T, np.roll(x, 1, axis=0).T])) - np.eye(2 * n)
    assert np.abs(pairs).max() < 5 / np.sqrt(50_000)
    other = network.noise(network.initial_state(1), 50_000) / network.parameters.noise_sd
    assert abs((x * other).mean()) < 5 / np.sqrt(50_000)


def test_noise_depends_on_the_step_alone() -> None:
    network = lively(5)
    state = network.initial_state(4)
    later = network.advance(state, 13).state
    np.testing.assert_array_equal(network.noise(state, 20)[13:], network.noise(later, 7))


# --- runs in pieces -----------------------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, 40), max_size=8), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_cutting_a_run_changes_nothing(cuts: list[int], seed: int) -> None:
    network = lively()
    whole = network.advance(network.initial_state(seed), sum(cuts) + 30)
    state, found, first = network.initial_state(seed), [], 0
    for n_steps in (*cuts, 30):
        part = network.advance(state, n_steps)
        assert part.n_steps == n_steps
        found += list(zip(part.steps + first, part.units))
        state, first = part.state, first + n_steps
    assert found == list(zip(whole.steps, whole.units))
    assert same_states(state, whole.state)


def test_advance_leaves_its_state_alone() -> None:
    network = lively()
    state = network.advance(network.initial_state(0), 50).state
    before = {name: getattr(state, name).tobytes() for name in ARRAYS}
    first, second = network.advance(state, 300), network.advance(state, 300)
    assert before == {name: getattr(state, name).tobytes() for name in ARRAYS}
    assert same_states(first.state, second.state)
    assert first.steps.size > 20


def test_more_spikes_than_fit_the_buffer() -> None:
    busy = lively().parameters._replace(bias=np.full(N, 50.0), refractory=0, increment=np.zeros(N))
    network = LIFSimulator(busy)
    n_steps = 3 * module._CHUNK_SPIKES // N
    done = network.advance(network.initial_state(0), n_steps)
    assert done.steps.size == n_steps * N
    assert done.n_steps == n_steps
    assert np.all(np.diff(done.steps) >= 0)


def test_seeds_differ() -> None:
    network = lively()
    one, other = (network.advance(network.initial_state(seed), 500) for seed in (0, 1))
    assert not np.array_equal(raster(one, 500), raster(other, 500))


# --- forced spikes ------------------------------------------------------------------------------------------------


def plain_reference(
    p: FreeLIFParameters, x: NDArray[np.float64], forced: set[tuple[int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The equations of the docstring, one unit at a time; own and forced spikes."""
    n_steps, n = x.shape
    own, all_spikes = np.zeros((n_steps, n)), np.zeros((n_steps, n))
    v, a, left, s = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((p.synapse_decay.size, n))
    for t in range(n_steps):
        s = p.synapse_decay[:, None] * s + (all_spikes[t - p.delay] if t >= p.delay else 0)
        for i in range(n):
            drive = p.bias[i] + x[t, i] + sum(s[k] @ p.weights[k, :, i] for k in range(len(s)))
            now = v[i] if left[i] else p.membrane_decay[i] * v[i] + (1 - p.membrane_decay[i]) * drive
            threshold = p.threshold[i] + p.increment[i] * a[i]
            if (t, i) not in forced:
                own[t, i] = float(not left[i] and now >= threshold)
            spike = all_spikes[t, i] = max(own[t, i], float((t, i) in forced))
            v[i] = now if not spike else (0.0 if p.hard_reset else now - threshold)
            left[i] = p.refractory if spike else max(left[i] - 1, 0)
            a[i] = p.adaptation_decay[i] * a[i] + spike
    return own, v


@pytest.mark.parametrize("fixed", CELLS, ids=range(len(CELLS)))
def test_forced_spikes_act_like_any_spike(fixed: LIFParameters | AdaptiveLIFParameters) -> None:
    network = lively_of(trained(fixed))
    rng = np.random.default_rng(2)
    forced = {(int(t), int(i)) for t, i in zip(rng.integers(0, 300, 150), rng.integers(0, N, 150))}
    steps, units = np.array(sorted(forced)).T
    state = network.initial_state(5)
    done = network.advance(state, 300, Injection(steps, units, 1.0, np.zeros(300)))
    own, voltage = plain_reference(network.parameters, network.noise(state, 300), forced)
    np.testing.assert_array_equal(raster(done, 300), own)
    np.testing.assert_allclose(done.state.voltage, voltage, atol=1e-10)
    assert not forced & set(zip(done.steps.tolist(), done.units.tolist()))


def test_what_an_injection_holds_for_other_networks_is_ignored() -> None:
    network, at = lively(), np.array([40, 40, 60])
    state, units = network.initial_state(0), np.array([2, 2, 0])
    one = network.advance(state, 200, Injection(at, units, 1.0, np.zeros(200)))
    other = network.advance(state, 200, Injection(at[1:], units[1:], 7.0, np.full(200, 9.0)))
    assert same_states(one.state, other.state)  # nor does a second forced spike of a unit in one step count
    none = network.advance(state, 200)
    before = none.steps <= 40 - 1
    assert np.array_equal(none.steps[before], one.steps[: before.sum()])
    assert not same_states(one.state, none.state)


def test_injections_are_cut_with_the_run() -> None:
    network = lively()
    state, steps, units = network.initial_state(0), np.array([3, 10, 11, 30]), np.array([1, 2, 2, 6])
    whole = network.advance(state, 50, Injection(steps, units, 1.0, np.zeros(50)))
    first = network.advance(state, 11, Injection(steps[:2], units[:2], 1.0, np.zeros(11)))
    second = network.advance(first.state, 39, Injection(steps[2:] - 11, units[2:], 1.0, np.zeros(39)))
    assert same_states(whole.state, second.state)


@pytest.mark.parametrize(
    ("steps", "units", "volley"),
    [([5, 4], [0, 0], 10), ([10], [0], 10), ([0], [N], 10), ([0], [-1], 10), ([0], [0], 9)],
)
def test_impossible_injections_are_refused(steps: list[int], units: list[int], volley: int) -> None:
    network = lively()
    with pytest.raises(ModelError):
        network.advance(
            network.initial_state(0), 10, Injection(np.array(steps), np.array(units), 1.0, np.zeros(volley))
        )


# --- runaway ------------------------------------------------------------------------------------------------------


def test_it_stops_when_it_runs_away() -> None:
    network = LIFSimulator(lively().parameters._replace(bias=np.full(N, 5.0), rate_limit=100.0))
    done = network.advance(network.initial_state(0), 10_000)
    assert done.runaway
    assert done.n_steps < 10_000
    assert done.state.activity > 100.0
    assert done.state.step == done.n_steps
    rec = organoid.simulate(network, 20.0)
    assert rec.metadata["runaway"] is True
    assert rec.duration == pytest.approx(done.n_steps * DT, abs=DT)


def test_below_its_limit_it_goes_on() -> None:
    network = lively()
    done = network.advance(network.initial_state(0), 10_000)
    limited = LIFSimulator(network.parameters._replace(rate_limit=1.5 * done.steps.size / (10_000 * DT)))
    again = limited.advance(limited.initial_state(0), 10_000)
    assert not again.runaway
    assert np.array_equal(again.steps, done.steps)


# --- names, files, cultures ---------------------------------------------------------------------------------------


def test_it_says_what_it_is() -> None:
    network = lively()
    said = network.describe()
    assert (said["model"], said["n_units"], said["dt"]) == ("free_lif", N, DT)
    assert said == lively().describe()
    for name, value in network.parameters._asdict().items():
        changed = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 0.9
        if name in ("increment", "rate_limit", "weights", "bias") or not np.array_equal(changed, value):
            other = LIFSimulator(network.parameters._replace(**{name: 1e6 if name == "rate_limit" else changed}))
            assert other.describe()["sha256"] != said["sha256"], name


@pytest.mark.parametrize("module_of", [(write_network, read_network), (storage.write_network, storage.read_network)])
def test_a_file_gives_it_back_bit_for_bit(tmp_path: Path, module_of: tuple[Any, Any]) -> None:
    network, (put, take) = lively(), module_of
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        put(h5.create_group("net"), network)
    with h5py.File(tmp_path / "n.h5") as h5:
        back = take(h5["net"])
    assert back.describe() == network.describe()
    for one, other in zip(back.parameters, network.parameters):
        assert type(one) is type(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    state = network.initial_state(0)
    assert same_states(back.advance(state, 100).state, network.advance(state, 100).state)


@pytest.mark.parametrize(
    ("name", "value"), [("weights", None), ("bias", b"text"), ("increment", np.zeros(3)), ("dt", b"soon"), ("delay", 0)]
)
def test_damaged_networks_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        write_network(h5.create_group("net"), lively())
        del h5["net"][name]
        if value is not None:
            h5["net"][name] = value
        with pytest.raises(OrganoidError, match=name):
            read_network(h5["net"])


def test_a_session_on_it_is_replayed_from_its_journal(tmp_path: Path) -> None:
    culture = organoid.SimulatedCulture(lively())
    path = tmp_path / "session.h5"
    session = organoid.run_session(RateClamp(target_rate=80.0, baseline=1.0), culture, 5.0, journal=path)
    assert len(session.stimuli)
    assert replay(path).status == "same"


def test_it_passes_the_device_check() -> None:
    organoid.check_device(organoid.SimulatedCulture(lively()))


# --- refusals -----------------------------------------------------------------------------------------------------


class OwnForm:
    def free_running(self, rate_limit: float) -> tuple[str, float]:
        return "mine", rate_limit


def test_models_of_other_kinds() -> None:
    with pytest.raises(ModelError, match="Bare has no free-running form"):
        free_network(Bare())
    assert free_network(OwnForm(), 3.0) == ("mine", 3.0)  # type: ignore[comparison-overlap]
    with pytest.raises(ModelError, match="fractions"):
        free_network(LIF(N, DT, spike=FastSigmoid().relaxed))


@pytest.mark.parametrize(
    "change",
    [
        {"dt": 0.0},
        {"delay": 0},
        {"refractory": -1},
        {"rate_limit": 0.0},
        {"weights": np.zeros((1, N, N))},
        {"bias": np.full(N, np.nan)},
        {"bias": np.zeros(N, dtype=np.float32)},
        {"noise_sd": np.full(N, -1.0)},
        {"membrane_decay": np.ones(N)},
        {"synapse_decay": np.array([0.5, 1.5])},
    ],
)
def test_impossible_parameters(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        LIFSimulator(lively().parameters._replace(**change))
