"""EscapeLIF against a plain numpy reference: spike for spike, cut anywhere, stopped when it runs away."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import escape_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import LOCAL, dense, random_parameters
from scipy.stats import binom, chi2

from organoid.errors import ModelError
from organoid.models.free_running import Injection
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters

DT = 1e-3


def random_injection(rng: np.random.Generator, n_units: int, n_steps: int) -> tuple[Injection, np.ndarray]:
    n = int(rng.integers(1, 60))
    steps = np.sort(rng.integers(0, n_steps, n))
    units = rng.integers(0, n_units, n)
    forced = np.zeros((n_steps, n_units), dtype=np.int64)
    np.add.at(forced, (steps, units), 1)
    volley = np.where(rng.uniform(size=n_steps) < 0.1, rng.uniform(0, 5, n_steps), 0.0)
    return Injection(steps, units, float(rng.uniform(0, 3)), volley), forced


# --- against the reference ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(24), *range(LOCAL, LOCAL + 8)])
def test_spike_for_spike_as_the_reference(seed: int) -> None:
    p = random_parameters(seed)
    net = SpikeResponseNetwork(p)
    done = net.advance(net.initial_state(seed), 400)
    reference = oracle.simulate(p, oracle.key_of(seed, "escape_lif"), 400)
    assert reference.counts.sum() > 20
    assert np.array_equal(dense(net.n_units, done), reference.counts)
    assert np.all(np.diff(done.steps) >= 0)
    state = done.state
    np.testing.assert_allclose(state.traces, reference.traces, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state.population, reference.population, rtol=1e-12)
    np.testing.assert_allclose(state.activity, reference.activity, rtol=1e-12)
    np.testing.assert_allclose(state.drive, np.einsum("kj,kji->ki", reference.traces, p.weights), atol=1e-9)


@pytest.mark.parametrize("seed", [*range(100, 116), *range(LOCAL, LOCAL + 8)])
def test_stimulated_spike_for_spike_as_the_reference(seed: int) -> None:
    p = random_parameters(seed)
    net, rng = SpikeResponseNetwork(p), np.random.default_rng(seed)
    injection, forced = random_injection(rng, net.n_units, 300)
    done = net.advance(net.initial_state(seed), 300, injection)
    reference = oracle.simulate(
        p,
        oracle.key_of(seed, "escape_lif"),
        300,
        forced=forced,
        field_weight=injection.field_weight,
        volley=injection.volley,
    )
    assert np.array_equal(dense(net.n_units, done), reference.counts), "forced spikes are not among the network's own"
    np.testing.assert_allclose(done.state.traces, reference.traces, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(done.state.population, reference.population, rtol=1e-12)
    np.testing.assert_allclose(done.state.activity, reference.activity, rtol=1e-12)


def test_state_from_traces_continues_as_the_reference() -> None:
    p, rng = random_parameters(4), np.random.default_rng(1)
    net = SpikeResponseNetwork(p)
    traces = rng.uniform(0, 1.2, (p.tau.size, net.n_units))
    population = rng.uniform(0, 9, p.fields.mean.size)
    before = traces.copy(), population.copy()
    done = net.advance(net.state_from_traces(traces, population, 8), 200)
    reference = oracle.simulate(
        p, oracle.key_of(8, "escape_lif"), 200, traces=traces.copy(), population=population.copy()
    )
    assert np.array_equal(dense(net.n_units, done), reference.counts)
    assert np.array_equal(traces, before[0]) and np.array_equal(population, before[1])


def test_forced_spikes_fill_the_capacity() -> None:
    """A unit of capacity 2 with two forced spikes has no own spike left in that step, with one forced at most one."""
    p = plain_parameters(
        dt=DT, tau=np.array([0.01]), weights=np.zeros((1, 1, 1)), bias=np.array([20.0]), capacity=np.array([2])
    )
    net = SpikeResponseNetwork(p)
    injection = Injection(np.array([1, 1, 2, 3, 3, 3]), np.zeros(6, dtype=np.int64), 1.0, np.zeros(5))
    done = net.advance(net.initial_state(0), 5, injection)
    assert np.bincount(done.steps, minlength=5).tolist() == [2, 0, 1, 0, 2]


def test_traces_never_exceed_the_saturation() -> None:
    p = random_parameters(2, saturation=1.5, bias=np.full(random_parameters(2).bias.size, 3.0))
    net = SpikeResponseNetwork(p)
    state = net.advance(net.initial_state(0), 500).state
    assert 0.5 < state.traces.max() <= 1.5


# --- cutting a run ------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 500),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    stimulated=st.booleans(),
)
def test_cutting_a_run_changes_nothing(seed: int, cuts: list[int], stimulated: bool) -> None:
    p = random_parameters(seed)
    net = SpikeResponseNetwork(p)
    injection = random_injection(np.random.default_rng(seed), net.n_units, 300)[0] if stimulated else None
    whole = net.advance(net.initial_state(seed), 300, injection)
    state, pieces = net.initial_state(seed), []
    edges = [0, *sorted(cuts), 300]
    for a, b in pairwise(edges):
        part = None
        if injection is not None:
            here = (injection.steps >= a) & (injection.steps < b)
            part = Injection(
                injection.steps[here] - a, injection.units[here], injection.field_weight, injection.volley[a:b]
            )
        done = net.advance(state, b - a, part)
        assert done.n_steps == b - a and not done.runaway
        pieces.append(dense(net.n_units, done))
        state = done.state
    assert np.array_equal(np.concatenate(pieces), dense(net.n_units, whole))
    for name in ("traces", "drive", "population", "activity", "step"):
        assert np.array_equal(getattr(state, name), getattr(whole.state, name)), name


def test_a_run_longer_than_the_output_buffer() -> None:
    """More spikes than one internal buffer holds (65,536) come out complete and in order."""
    n = 40
    p = plain_parameters(dt=DT, tau=np.array([0.01]), weights=np.zeros((1, n, n)), bias=np.full(n, 1.0))
    net = SpikeResponseNetwork(p)
    done = net.advance(net.initial_state(1), 5000)
    assert done.steps.size > 2 * 65536 and done.n_steps == 5000
    assert np.all(np.diff(done.steps) >= 0)
    first = net.advance(net.initial_state(1), 2345)
    rest = net.advance(first.state, 5000 - 2345)
    assert np.array_equal(np.r_[first.steps, rest.steps + 2345], done.steps)
    assert np.array_equal(np.r_[first.units, rest.units], done.units)


def test_a_state_can_be_used_twice() -> None:
    net = SpikeResponseNetwork(random_parameters(11))
    state = net.advance(net.initial_state(3), 50).state
    names = ("key", "step", "traces", "drive", "population", "activity", "latent", "future")
    kept = {name: np.copy(getattr(state, name)) for name in names}
    one, other = net.advance(state, 100), net.advance(state, 100)
    assert np.array_equal(one.steps, other.steps) and np.array_equal(one.units, other.units)
    for name, value in kept.items():
        assert np.array_equal(getattr(state, name), value), name


def test_no_steps_is_no_spikes() -> None:
    net = SpikeResponseNetwork(random_parameters(0))
    done = net.advance(net.initial_state(0), 0)
    assert done.steps.size == done.units.size == done.n_steps == 0 and not done.runaway


# --- seeds, counts, runaway -----------------------------------------------------------------------------------------


def test_same_seed_same_bytes_other_seed_other_spikes() -> None:
    net = SpikeResponseNetwork(random_parameters(5))
    runs = [net.advance(net.initial_state(seed), 500) for seed in (0, 0, 1, 2)]
    assert runs[0].steps.tobytes() == runs[1].steps.tobytes() and runs[0].units.tobytes() == runs[1].units.tobytes()
    assert len({run.steps.tobytes() + run.units.tobytes() for run in runs}) == 3


def test_counts_of_capacity_three_are_binomial() -> None:
    """Four units that influence nobody, each with its own probability: chi-square of 0, 1, 2, 3 spikes a step."""
    probability = np.array([0.02, 0.3, 0.5, 0.93])
    p = plain_parameters(
        dt=DT,
        tau=np.array([0.01]),
        weights=np.zeros((1, 4, 4)),
        bias=np.log(probability / (1 - probability)),
        capacity=np.full(4, 3),
    )
    net = SpikeResponseNetwork(p)
    n_steps = 60_000
    counts = dense(4, net.advance(net.initial_state(7), n_steps))
    for unit in range(4):
        seen = np.bincount(counts[:, unit], minlength=4)
        expected = n_steps * binom.pmf(np.arange(4), 3, probability[unit])
        statistic = np.sum((seen - expected) ** 2 / np.maximum(expected, 1e-9))
        assert seen.size == 4 and chi2.sf(statistic, 3) > 1e-4, (unit, seen, expected)
    correlations = np.corrcoef(counts.T)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(n_steps)


@pytest.mark.parametrize("bias, rate", [(-800.0, 0), (800.0, 3)])
def test_extreme_potentials_are_never_and_always(bias: float, rate: int) -> None:
    p = plain_parameters(
        dt=DT, tau=np.array([0.01]), weights=np.zeros((1, 2, 2)), bias=np.full(2, bias), capacity=np.full(2, 3)
    )
    net = SpikeResponseNetwork(p)
    assert np.all(dense(2, net.advance(net.initial_state(0), 100)) == rate)


def test_a_network_that_runs_away_is_stopped_where_the_reference_stops() -> None:
    n = 5
    p = plain_parameters(
        dt=DT, tau=np.array([0.01]), weights=np.full((1, n, n), 2.0), bias=np.full(n, -4.0), rate_limit=800.0
    )
    net = SpikeResponseNetwork(p)
    done = net.advance(net.initial_state(1), 20_000)
    reference = oracle.simulate(p, oracle.key_of(1, "escape_lif"), 5000)
    assert done.runaway and reference.runaway
    assert done.n_steps == done.state.step == len(reference.counts) < 5000
    assert np.array_equal(dense(n, done), reference.counts)
    assert done.state.activity > 800
    calm = SpikeResponseNetwork(p._replace(rate_limit=np.inf)).advance(net.initial_state(1), 5000)
    assert not calm.runaway and calm.n_steps == 5000


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_runaway_does_not_depend_on_how_a_run_is_cut(piece: int) -> None:
    n = 5
    net = SpikeResponseNetwork(
        plain_parameters(
            dt=DT, tau=np.array([0.01]), weights=np.full((1, n, n), 2.0), bias=np.full(n, -4.0), rate_limit=800.0
        )
    )
    whole = net.advance(net.initial_state(1), 20_000)
    state, total = net.initial_state(1), 0
    while True:
        done = net.advance(state, piece)
        total += done.n_steps
        state = done.state
        if done.runaway:
            break
    assert total == whole.n_steps


def test_forced_spikes_count_for_runaway() -> None:
    p = plain_parameters(
        dt=DT, tau=np.array([0.01]), weights=np.zeros((1, 2, 2)), bias=np.full(2, -30.0), rate_limit=10.0
    )
    net = SpikeResponseNetwork(p)
    steps = np.arange(100)
    done = net.advance(net.initial_state(0), 100, Injection(steps, steps % 2, 1.0, np.zeros(100)))
    assert done.runaway and done.steps.size == 0
    assert done.n_steps == 21  # 0.5 /s a spike, leaking little in 20 ms


# --- names and refusals -----------------------------------------------------------------------------------------------


def test_describe_changes_with_every_parameter() -> None:
    seed = next(s for s in range(LOCAL, LOCAL + 50) if random_parameters(s).fields.product_shift.size)
    n = random_parameters(seed).bias.size
    lagged = {"lags": np.ones((1, 3)), "lag_weights": np.zeros((1, n, n))}
    p = random_parameters(seed, rate_limit=1000.0, saturation=3.0)._replace(**lagged)
    variants = [p]
    names = [name for name in p._fields if name != "added"]  # those are in test_added_term
    for name in names:
        value = getattr(p, name)
        if name == "fields":
            for part in value._fields:
                changed = getattr(value, part).copy()
                changed[-1] = (changed[-1] + 1) % 3 if changed.dtype.kind == "i" else changed[-1] + 1e-9
                variants.append(p._replace(fields=value._replace(**{part: changed})))
        elif name == "latent":
            variants.append(p._replace(latent=value._replace(loadings=np.full(p.bias.size, 1e-9))))
        elif name == "brake":
            one = np.ones(1)
            variants.append(p._replace(brake=value._replace(decay=0.5 * one, mean=one, top=one, driven_top=one)))
        elif isinstance(value, float):
            variants.append(p._replace(**{name: value * (1 + 1e-12)}))
        else:
            changed = value.copy()
            changed.flat[-1] += 1 if name == "capacity" else 1e-9
            variants.append(p._replace(**{name: changed}))
    said = [SpikeResponseNetwork(variant).describe() for variant in variants]
    assert len({d["sha256"] for d in said}) == len(variants) == 1 + len(names) - 1 + len(p.fields._fields)
    again = random_parameters(seed, rate_limit=1000.0, saturation=3.0)._replace(**lagged)
    assert said[0] == SpikeResponseNetwork(again).describe()
    assert said[0]["n_units"] == p.bias.size and said[0]["model"] == "escape_lif" and said[0]["dt"] == DT


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.zeros((1, 2, 3))},
        {"capacity": np.ones(3, dtype=np.int64)},
        {"capacity": np.array([1, 0])},
        {"bias": np.array([0.0, np.nan])},
        {"weights": np.full((1, 2, 2), np.inf)},
        {"field_weights": np.zeros((1, 2))},
        {"drive_low": np.zeros(1)},
        {"dt": 0.0},
        {"dt": float("nan")},
        {"tau": np.array([-0.01])},
        {"saturation": 1.0},
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, Any]) -> None:
    p = plain_parameters(dt=DT, tau=np.array([0.01]), weights=np.zeros((1, 2, 2)), bias=np.zeros(2))
    with pytest.raises(ModelError):
        SpikeResponseNetwork(p._replace(**changes))


NOTHING = np.empty(0, dtype=np.int64)


@pytest.mark.parametrize(
    "injection",
    [
        Injection(NOTHING, NOTHING, 1.0, np.zeros(3)),
        Injection(np.array([1]), np.array([-1]), 1.0, np.zeros(10)),
        Injection(np.array([5, 1]), np.array([0, 0]), 1.0, np.zeros(10)),
    ],
    ids=["volley too short", "no such unit", "not in order"],
)
def test_impossible_injections_are_refused(injection: Injection) -> None:
    net = SpikeResponseNetwork(random_parameters(0))
    with pytest.raises(ModelError):
        net.advance(net.initial_state(0), 10, injection)
