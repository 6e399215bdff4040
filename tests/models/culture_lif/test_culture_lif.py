"""The culture LIF network: its limits, its oracle in plain torch, its adjoint, files and simulated cultures."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import organoid
from organoid.errors import ModelError
from organoid.models import CultureLIF, CultureLIFConstants
from organoid.models.compiled.culture_lif import forced as compiled_forced
from organoid.models.compiled.culture_lif import step as compiled_step
from organoid.models.culture_lif.forced_pass import (
    collect_forced,
    forced_log_odds,
    forced_ranges,
    membrane_adjoint,
    membrane_rows,
    run_window,
)
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters, CultureLIFState
from organoid.models.free_running import Injection
from organoid.models.serialization import read_network, write_network
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from organoid.models.spike_response.terms.brake import Brake
from organoid.models.spike_response.terms.population import PopulationFields

N, STEPS = 6, 500
Array = NDArray[np.float64]


def module(seed: int = 0, **constants: Any) -> CultureLIF:
    """Return a network in which every term acts, in double precision."""
    model = CultureLIF(N, 0.001, CultureLIFConstants(use=(0.1, 0.3, 0.5), **constants), seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.field_weights.normal_(0, 0.3, generator=generator)
        model.bias.fill_(1.5)
    return model


def spikes(seed: int = 0, rate: float = 0.05) -> Array:
    return (np.random.default_rng(seed).random((STEPS, N)) < rate).astype(float)


def at_rest(p: CultureLIFParameters) -> tuple[Array, ...]:
    s = CultureLIFNetwork(p).initial_state(0)
    return s.voltage, s.traces, s.depleted, s.drive, s.raised, s.population


def weights_of(p: CultureLIFParameters) -> Array:
    parts = p.weights.reshape(-1, N), p.field_weights, p.bias[None], p.threshold[None], p.threshold_steps
    return np.concatenate(parts)


def raster(done: Any, n_steps: int) -> NDArray[np.int64]:
    out = np.zeros((n_steps, N), dtype=np.int64)
    np.add.at(out, (done.steps, done.units), 1)
    return out


# --- the family -----------------------------------------------------------------------------------------------------


def filter_network(seed: int) -> tuple[SpikeResponseParameters, CultureLIFParameters]:
    """Return a spike-response network and the same network as a limit: no membrane, no reset, no depression."""
    rng = np.random.default_rng(seed)
    n_fields, n_products = 3, 6
    decay = np.exp(-0.001 / np.array([0.003, 0.03, 0.3]))
    fields = PopulationFields(
        decay=decay,
        mean=N * 0.02 / (1 - decay),
        shift=np.full(n_fields, 1.4),
        scale=np.full(n_fields, 0.7),
        low=np.full(n_fields, -1.5),
        high=np.full(n_fields, 2.0),
        product_shift=np.zeros(n_products),
        product_scale=np.ones(n_products),
    )
    common: dict[str, Any] = {
        "dt": 0.001,
        "tau": np.array([0.002, 0.008, 0.04]),
        "saturation": 3.0,
        "weights": rng.normal(0, 0.6, (3, N, N)),
        "fields": fields,
        "field_weights": rng.normal(0, 0.3, (n_fields + n_products, N)),
        "drive_low": np.full(N, -2.0),
        "drive_high": np.full(N, 2.5),
        "ceiling": np.full(N, 0.5),
        "capacity": np.array([1, 1, 2, 1, 3, 1]),
        "rate_limit": np.inf,
    }
    none = np.empty(0)
    linear = SpikeResponseParameters(**common, bias=np.full(N, -3.0))
    limit = CultureLIFParameters(
        **common,
        bias=np.full(N, -2.0),
        use=np.zeros(3),
        recovery=np.ones(3),
        membrane_decay=0.0,
        hard_reset=False,
        threshold=np.full(N, 1.0),
        threshold_tau=none,
        threshold_steps=np.empty((0, N)),
    )
    return linear, limit


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_spike_response_network_is_a_limit_spike_by_spike(seed: int) -> None:
    linear, limit = filter_network(seed)
    one, other = SpikeResponseNetwork(linear), CultureLIFNetwork(limit)
    start = one.initial_state(seed)
    a = one.advance(start, 20_000)
    b = other.advance(CultureLIFState(**{**vars(other.initial_state(seed)), "key": start.key}), 20_000)
    assert a.steps.size > 3000
    np.testing.assert_array_equal(a.steps, b.steps)
    np.testing.assert_array_equal(a.units, b.units)


def test_the_free_run_is_that_of_the_torch_form() -> None:
    model = module()
    network = model.free_running()
    state = network.initial_state(3)
    done = network.advance(state, STEPS)
    key = np.uint64(state.key).astype(np.int64)
    rest = model.initial_state(1)._replace(stream=torch.tensor([[int(key), 0]]))
    with torch.no_grad():
        z, end = model.run(torch.zeros(1, STEPS, N, dtype=torch.float64), rest)
    assert done.steps.size > 50
    np.testing.assert_array_equal(raster(done, STEPS), z[0].numpy())
    for name in ("voltage", "traces", "depleted", "raised", "population"):
        np.testing.assert_allclose(getattr(done.state, name), getattr(end, name)[0].numpy(), atol=1e-10)


# --- recorded spikes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["hard", "none"])
def test_forced_log_odds_are_those_of_the_torch_form_and_linear_in_the_weights(reset: str) -> None:
    model, z = module(reset=reset), spikes()
    with torch.no_grad():
        expected = model.forced_voltages(torch.from_numpy(z)[None]).logits[0].numpy()
    p, (bins, units) = model.network_parameters(), np.nonzero(z)
    found = np.empty((STEPS, N))
    forced_log_odds(p, bins, units, 0, *at_rest(p), found)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    w = weights_of(p)
    rows, term = np.empty((N, STEPS, len(w)), np.float32), np.zeros((N, len(w)))
    everything = np.ones(STEPS, bool), np.arange(STEPS), np.arange(N)
    membrane_rows(p, bins, units, *everything, np.ones(len(w)), rows, term)
    np.testing.assert_allclose(np.einsum("itp,pi->ti", rows, w), expected, atol=1e-5)
    np.testing.assert_allclose(term, np.einsum("itp,ti->ip", rows, z), atol=1e-4)


def test_what_was_not_observed_is_history_and_no_data() -> None:
    model, z = module(), spikes()
    p, (bins, units) = model.network_parameters(), np.nonzero(z)
    seen = np.arange(STEPS) % 100 < 60
    w, targets = weights_of(p), np.array([1, 4])
    rows, term = np.empty((2, STEPS, len(w)), np.float32), np.zeros((2, len(w)))
    scale = np.linspace(0.5, 2.0, len(w))
    membrane_rows(p, bins, units, seen, np.arange(STEPS), targets, scale, rows, term)
    np.testing.assert_allclose(term, np.einsum("itp,ti->ip", rows[:, seen], z[np.ix_(seen, targets)]), atol=1e-4)
    np.testing.assert_allclose(
        np.einsum("itp,pi->ti", rows, w[:, targets] * scale[:, None]),
        model.forced_voltages(torch.from_numpy(z)[None]).logits[0].detach().numpy()[:, targets],
        atol=1e-5,
    )


def spike_term(p: CultureLIFParameters, z: Array, lead: int, adjoint: Any = membrane_adjoint) -> Array:
    """Return the gradient of ``sum u z`` over the bins from `lead` on, from a forced window."""
    bins, units = np.nonzero(z)
    features = np.empty((len(z), weights_of(p).shape[0] - 1 - p.threshold_tau.size), np.float32)
    counts, raised = np.empty((len(z), N), np.uint8), np.zeros((p.threshold_tau.size, N))
    endless = np.full(len(z) - lead, np.inf)
    done = run_window(p, bins, units, 0, len(z), lead, endless, np.uint64(1), *at_rest(p), features, counts, raised)
    assert done == len(z)
    np.testing.assert_array_equal(counts, z)
    back = np.empty((len(z), N))
    adjoint(p.membrane_decay, p.hard_reset, counts, lead, done, back)
    return np.concatenate([features.T @ back, -z[lead:].sum(0, keepdims=True), -raised])


def torch_gradient(model: CultureLIF, z: Array, lead: int) -> Array:
    named = model.weights, model.field_weights, model.bias, model.threshold, model.threshold_steps
    out = model.forced_voltages(torch.from_numpy(z)[None]).logits[0, lead:]
    g = torch.autograd.grad((out * torch.from_numpy(z[lead:])).sum(), named)
    return torch.cat([g[0].reshape(-1, N), g[1], g[2][None], g[3][None], g[4]]).numpy()


@pytest.mark.parametrize("reset", ["hard", "none"])
def test_the_gradient_of_a_window_is_that_of_automatic_differentiation(reset: str) -> None:
    model, z = module(reset=reset), spikes()
    found, expected = spike_term(model.network_parameters(), z, 40), torch_gradient(model, z, 40)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beta * later[i]", "later[i]"),
        ("beta * later[i]", "0.0"),
        ("hard_reset and z > 0.0", "False"),
        ("(z if t >= first_scored else 0.0)", "z"),
        ("+ (z if t >= first_scored else 0.0)", ""),
        ("(1.0 - beta) * later[i]", "later[i]"),
    ],
)
def test_every_term_of_the_adjoint_matters(old: str, new: str) -> None:
    source = inspect.getsource(compiled_forced.membrane_adjoint.py_func)
    body = source[source.index("def ") :]
    assert body.count(old) == 1
    names: dict[str, Any] = {"np": np, "NDArray": NDArray, "Any": Any}
    exec(body.replace(old, new), names)
    model, z = module(), spikes()
    found = spike_term(model.network_parameters(), z, 40, names["membrane_adjoint"])
    assert not np.allclose(found, torch_gradient(model, z, 40), rtol=1e-4, atol=1e-3)


def test_without_a_membrane_the_gradient_is_the_moment() -> None:
    """Features times spikes, as in the moment stage, to rounding."""
    _, p = filter_network(0)
    z = spikes(4)
    bins, units = np.nonzero(z)
    x = np.empty((STEPS, 3 * N + 9 + 1), np.float32)
    none, nothing = np.empty((0, 1, 1), np.float32), np.empty((0, 1), np.float32)
    collect_forced(p, bins, units, STEPS, np.arange(STEPS), none, none, np.empty((STEPS, 0, N), np.float32), nothing, x)
    moments = np.concatenate([x.T.astype(float) @ z, -z.sum(0, keepdims=True)])
    np.testing.assert_allclose(spike_term(p, z, 0), moments, rtol=1e-6, atol=1e-6)


def test_a_free_window_is_the_free_run() -> None:
    p = module().network_parameters()._replace(ceiling=np.full(N, -1.0), drive_high=np.full(N, 0.5))
    network = CultureLIFNetwork(p)
    start = network.initial_state(5)
    done = network.advance(start, STEPS)
    x, counts = np.empty((STEPS, weights_of(p).shape[0] - 5), np.float32), np.empty((STEPS, N), np.uint8)
    none = np.empty(0, np.int64)
    key = np.uint64(start.key)
    ended = run_window(p, none, none, 0, 0, 0, np.full(STEPS, np.inf), key, *at_rest(p), x, counts, np.zeros((4, N)))
    assert ended == STEPS
    np.testing.assert_array_equal(counts, raster(done, STEPS))
    few = np.full(STEPS, 5.0)
    assert run_window(p, none, none, 0, 0, 0, few, key, *at_rest(p), x, counts, np.zeros((4, N))) < STEPS


def test_ranges_are_the_largest_values_of_the_forced_pass() -> None:
    p, z = module().network_parameters(), spikes()
    bins, units = np.nonzero(z)
    u = np.empty((STEPS, N))
    forced_log_odds(p, bins, units, 0, *at_rest(p), u)
    low, high, ceiling = np.full(N, np.inf), np.full(N, -np.inf), np.full(N, -np.inf)
    forced_ranges(p, bins, units, 0, STEPS, 50, *at_rest(p), low, high, ceiling)
    np.testing.assert_allclose(ceiling, u[50:].max(0), atol=1e-12)
    assert np.all(low < 0) and np.all(high > 0)


# --- the contract -----------------------------------------------------------------------------------------------------


def test_cutting_a_run_changes_nothing_and_states_are_left_alone() -> None:
    network = module().free_running()
    state = network.initial_state(0)
    whole = network.advance(state, 3000)
    first = network.advance(state, 1234)
    second = network.advance(first.state, 3000 - 1234)
    np.testing.assert_array_equal(whole.steps, np.append(first.steps, second.steps + 1234))
    np.testing.assert_array_equal(whole.state.drive, second.state.drive)
    assert not state.voltage.any() and not state.traces.any()


def test_injected_spikes_act_like_its_own_and_a_drive_moves_the_membrane() -> None:
    network = module().free_running()
    state = network.initial_state(0)
    one = Injection(np.array([0]), np.array([2]), 0.5, np.array([3.0]))
    done = network.advance(state, 1, one)
    assert done.state.voltage[2] == 0.0 and done.state.raised[:, 2].min() == 1.0
    own = np.bincount(done.units, minlength=N).sum()
    np.testing.assert_allclose(done.state.population, state.population * network.parameters.fields.decay + own + 3.5)
    none = np.empty(0, np.int64)
    push = Injection(none, none, 1.0, np.zeros(2), np.array([1]), np.full((1, N), 100.0))
    assert network.advance(state, 2, push).steps.tolist().count(1) == N


def test_a_brake_holds_down_what_was_never_recorded_and_nothing_else() -> None:
    p = module().network_parameters()
    decay = np.exp(-0.001 / np.array([0.3]))
    mean, top = N * 0.02 / (1 - decay), np.array([50.0])
    far = CultureLIFNetwork(p._replace(brake=Brake(5.0, decay, mean, top, top)))
    plain = CultureLIFNetwork(p)
    a, b = (network.advance(network.initial_state(1), 3000) for network in (plain, far))
    np.testing.assert_array_equal(a.steps, b.steps)
    near = CultureLIFNetwork(p._replace(brake=Brake(5.0, decay, mean, np.array([0.5]), np.array([0.5]))))
    held = near.advance(near.initial_state(1), 3000)
    assert held.steps.size < 0.8 * a.steps.size


def test_it_stops_when_it_runs_away() -> None:
    network = CultureLIFNetwork(module().network_parameters(rate_limit=20.0))
    done = network.advance(network.initial_state(0), 5000)
    assert done.runaway and done.n_steps < 5000


def test_it_comes_back_from_a_file_and_runs_in_a_simulated_culture(tmp_path: Path) -> None:
    network = module().free_running()
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        write_network(h5.create_group("net"), network)
    with h5py.File(tmp_path / "n.h5") as h5:
        back = read_network(h5["net"])
    assert back.describe() == network.describe()
    one, other = (organoid.simulate(each, 2.0, seed=1) for each in (network, back))
    assert one.n_spikes > 20 and one.equals(other)
    assert organoid.SimulatedCulture(network) is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use": np.array([0.1, 0.3])}, "use has shape"),
        ({"use": np.array([0.1, 0.3, 1.5])}, "use must lie"),
        ({"membrane_decay": 1.0}, "membrane_decay"),
        ({"tau": np.array([0.003, 0.0, 0.04])}, "time constants"),
        ({"bias": np.full(N, np.nan)}, "not finite"),
        ({"threshold_steps": np.zeros((2, N))}, "threshold_steps has shape"),
    ],
)
def test_what_does_not_fit_is_rejected(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        CultureLIFNetwork(module().network_parameters()._replace(**change))


def test_constants_that_cannot_be_are_rejected() -> None:
    with pytest.raises(ModelError, match="reset must be"):
        CultureLIFConstants(reset="soft")
    with pytest.raises(ModelError, match="one value for each synapse type"):
        CultureLIFConstants(use=(0.1,))
    with pytest.raises(ModelError, match="border of its range"):
        CultureLIF(2, 0.001, CultureLIFConstants(trainable=("use",)))


def test_the_compiled_parts_change_what_they_say_they_change() -> None:
    """Release uses resources: the second of two spikes adds less by what the first used."""
    traces, depleted, jump = np.zeros((2, 1)), np.zeros((2, 1)), np.empty(2)
    use = np.array([0.0, 0.4])
    compiled_step.add_release(traces, depleted, 0, use, np.inf, jump)
    np.testing.assert_allclose(jump, [1.0, 1.0])
    compiled_step.add_release(traces, depleted, 0, use, np.inf, jump)
    np.testing.assert_allclose(jump, [1.0, 0.6])
    np.testing.assert_allclose(depleted[:, 0], [0.0, 1 - 0.36])
