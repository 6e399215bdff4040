"""Large sparse networks: the trained model's spikes, a plain loop's bits, any cut, any number of threads."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from event_networks import lively
from free_networks import CELLS, DT, N, raster, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kstest

import organoid
from organoid import OrganoidError
from organoid.culture import serialization as culture_storage
from organoid.models import LIF, AdaptiveLIFParameters, LIFParameters
from organoid.models import serialization as model_storage
from organoid.models.compiled.event import step as kernels
from organoid.models.compiled.event.noise import gaussian, logistic
from organoid.models.free_running import Advance, Injection
from organoid.models.simulators.event_builder import event_lif, to_event_driven
from organoid.models.simulators.event_connections import Connections, random_connections
from organoid.models.simulators.event_driven import EventDrivenLIF, EventLIFState
from organoid.models.synapses.sparse import SparseSynapses
from organoid.protocols import RateClamp
from organoid.sessions import replay

Array = NDArray[np.float64]
ARRAYS = ("voltage", "adaptation", "refractory", "current", "ring")
BIG = kernels.TILE + 75  # odd, and more than a tile


def same_states(a: EventLIFState, b: EventLIFState) -> bool:
    scalars = all(getattr(a, k) == getattr(b, k) for k in ("key", "step", "activity", "synaptic_operations"))
    return scalars and all(getattr(a, k).tobytes() == getattr(b, k).tobytes() for k in ARRAYS)


# --- it is the trained model --------------------------------------------------------------------------------------


def assert_equals_torch(model: Any, n_steps: int = 400) -> None:
    network = to_event_driven(model)
    state = network.initial_state(3)
    x = torch.from_numpy(network.noise(state, n_steps))
    with torch.no_grad():
        z, end = model.run(x[None])
    done = network.advance(state, n_steps)
    np.testing.assert_array_equal(raster(done, n_steps, model.n_units), z[0].numpy())
    cell = getattr(end.cell, "membrane", end.cell)
    np.testing.assert_allclose(done.state.voltage, cell.voltage[0].numpy(), rtol=0, atol=1e-10)
    assert z.sum() > 50


@pytest.mark.parametrize("fixed", CELLS, ids=range(len(CELLS)))
def test_it_equals_the_torch_model(fixed: LIFParameters | AdaptiveLIFParameters) -> None:
    assert_equals_torch(trained(fixed))


def test_it_equals_a_torch_model_with_sparse_synapses_and_delays_of_their_own() -> None:
    draw = torch.Generator().manual_seed(0)
    delay = 0.002 + 0.01 * torch.rand(N, N, generator=draw)
    mask = torch.rand(N, N, generator=draw) < 0.6
    synapses = SparseSynapses(N, DT, tau=(0.005, 0.05), delay=delay, mask=mask, scale=0.4, generator=draw)
    model = LIF(N, DT, synapses=synapses)
    with torch.no_grad():
        model.bias.fill_(1.4)
    assert_equals_torch(model.double())


def test_it_equals_a_torch_model_with_trained_constants() -> None:
    model: Any = trained(LIFParameters(trainable=("tau_mem", "threshold", "tau_syn")))
    with torch.no_grad():
        for part in (model.cell.log_tau_mem, model.cell.log_threshold, model.synapses.log_tau_syn):
            part.add_(0.2 * torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
    assert_equals_torch(model)


# --- it is a plain loop, bit for bit ------------------------------------------------------------------------------


def logistic_numbers(network: EventDrivenLIF, state: EventLIFState, n_steps: int) -> Array:
    out = np.empty((n_steps, network.n_units + network.n_units % 2), dtype=np.float32)
    for t in range(n_steps):
        logistic(np.uint64(state.escape_key), state.step + t, out.shape[1] // 2, 0, out[t])
    return out[:, : network.n_units].astype(np.float64)


def plain_reference(network: EventDrivenLIF, n_steps: int, forced: set[tuple[int, int]]) -> tuple[Array, Array, int]:
    """The equations of the docstring, step by step: own spikes, potential, connections crossed."""
    p, rows, n = network.parameters, network.rows, network.n_units
    state = network.initial_state(0)
    x, luck = network.noise(state, n_steps), logistic_numbers(network, state, n_steps)
    delay = np.broadcast_to(rows.delay, rows.target.shape).astype(int)
    arriving = np.zeros((n_steps + delay.max(), p.synapse_decay.size * n))
    own, v, a, left = np.zeros((n_steps, n)), np.zeros(n), np.zeros(n), np.zeros(n)
    current, crossed = np.zeros((p.synapse_decay.size, n)), 0
    for t in range(n_steps):
        drive = p.bias + x[t]
        for k, decay in enumerate(p.synapse_decay):
            current[k] = decay * current[k] + arriving[t, k * n : (k + 1) * n]
            drive = drive + current[k]
        now = np.where(left > 0, v, p.membrane_decay * v + (1 - p.membrane_decay) * drive)
        over = now - (p.threshold + p.increment * a)
        push = np.array([(t, i) in forced for i in range(n)])
        own[t] = (over + p.escape_width * luck[t] >= 0) & (left <= 0) & ~push
        spike = push | (own[t] > 0)
        v = np.where(spike, 0.0 if p.hard_reset else over, now)
        left = np.where(spike, p.refractory, np.maximum(left - 1, 0))
        a = p.adaptation_decay * a + spike
        for unit in np.flatnonzero(spike):
            for c in range(rows.start[unit], rows.start[unit + 1]):
                arriving[t + delay[c], rows.target[c]] += rows.weight[c]
                crossed += 1
    return own, v, crossed


NETWORKS: dict[str, dict[str, Any]] = {
    "cells alike": {"adapt": False},
    "cells alike, subtracted, no noise": {"adapt": False, "reset": "subtract", "noise_sd": 0.0, "n": 20},
    "one delay": {"delays": (3, 3)},
    "many delays": {"delays": (1, 9)},
    "subtracted, many delays": {"delays": (4, 30), "reset": "subtract"},
    "no noise, no refractory period": {"noise_sd": 0.0, "refractory": 0.0},
    "soft threshold": {"soft": True, "escape_width": 0.1},
    "several tiles": {"n": BIG},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_equals_a_plain_loop_bit_for_bit(name: str) -> None:
    network = lively(**NETWORKS[name])
    n_steps, n = 250, network.n_units
    rng = np.random.default_rng(2)
    forced = {(int(t), int(i)) for t, i in zip(rng.integers(0, n_steps, 60), rng.integers(0, n, 60))}
    steps, units = np.array(sorted(forced)).T
    done = network.advance(network.initial_state(0), n_steps, Injection(steps, units, 1.0, np.zeros(n_steps)))
    own, voltage, crossed = plain_reference(network, n_steps, forced)
    np.testing.assert_array_equal(raster(done, n_steps, n), own)
    np.testing.assert_array_equal(done.state.voltage, voltage)
    assert done.state.synaptic_operations == crossed
    assert own.sum() > 20
    assert np.all(np.diff(done.steps * n + done.units) > 0)


# --- threads and cuts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3])
def test_the_number_of_threads_changes_nothing(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively(2 * BIG, delays=(2, 5))
    alone = network.advance(network.initial_state(0), 150)
    monkeypatch.setattr(network, "_n_parts", lambda: parts)
    together = network.advance(network.initial_state(0), 150)
    assert same_states(alone.state, together.state)
    assert np.array_equal(alone.units, together.units) and np.array_equal(alone.steps, together.steps)
    assert alone.steps.size > 1000


@given(cuts=st.lists(st.integers(0, 20), max_size=6), seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_cutting_a_run_changes_nothing(cuts: list[int], seed: int) -> None:
    network = lively(soft=True)
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
    assert same_states(network.advance(state, 100).state, network.advance(state, 100).state)
    assert before == {name: getattr(state, name).tobytes() for name in ARRAYS}


def test_more_spikes_than_fit_the_buffer() -> None:
    network = lively(BIG, noise_sd=0.0, refractory=0.0)
    busy = EventDrivenLIF(network.parameters._replace(bias=np.full(BIG, 1e4)), network.rows)
    n_steps = 3 * kernels._ROOM // BIG
    done = busy.advance(busy.initial_state(0), n_steps)
    assert done.steps.size == n_steps * BIG
    assert np.array_equal(done.units[:BIG], np.arange(BIG))


def test_it_stops_where_it_runs_away() -> None:
    network = lively(delays=(5, 9))
    limit = 0.7 * network.advance(network.initial_state(0), 4000).state.activity
    limited = EventDrivenLIF(network.parameters._replace(rate_limit=limit), network.rows)
    done = limited.advance(limited.initial_state(0), 4000)
    assert done.runaway and done.n_steps < 4000 and done.state.step == done.n_steps
    assert done.state.activity > limit
    before = limited.advance(limited.initial_state(0), done.n_steps - 1)
    assert not before.runaway
    assert same_states(network.advance(network.initial_state(0), done.n_steps).state, done.state)
    parts: list[Advance] = [before, limited.advance(before.state, 50)]
    assert parts[1].runaway and parts[1].n_steps == 1


# --- random numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draw", "law"), [(gaussian, "norm"), (logistic, "logistic")])
def test_numbers_follow_their_law_and_are_independent(draw: Any, law: str) -> None:
    x = np.empty((400, 500), dtype=np.float32)
    for t in range(len(x)):
        draw(np.uint64(7), t, 250, 0, x[t])
    assert kstest(x.ravel().astype(np.float64), law).pvalue > 1e-3
    unit, step = np.corrcoef(x[:, ::2].ravel(), x[:, 1::2].ravel()), np.corrcoef(x[1:].ravel(), x[:-1].ravel())
    assert max(abs(unit[0, 1]), abs(step[0, 1])) < 5 / np.sqrt(x.size / 2)
    part = np.empty(100, dtype=np.float32)
    draw(np.uint64(7), 3, 250, 60, part)
    assert np.array_equal(part, x[3, 120:220])


def test_noise_gives_a_free_potential_its_standard_deviation() -> None:
    n = 4000
    cells = LIFParameters(noise_sd=0.2, tau_mem=0.01)
    network = event_lif(n, 1e-3, Connections([], [], 0.0), cells, bias=-5.0)
    voltage = network.advance(network.initial_state(0), 100).state.voltage
    assert voltage.std() == pytest.approx(0.2, rel=5 / np.sqrt(2 * n))
    assert voltage.mean() == pytest.approx(-5.0, abs=5 * 0.2 / np.sqrt(n) + 5 * np.exp(-10))


@pytest.mark.parametrize("below", [0.0, 0.1, 0.3])
def test_a_soft_threshold_spikes_with_logistic_probability(below: float) -> None:
    n, width = 50_000, 0.1
    cells = LIFParameters(noise_sd=0.0, escape_width=width, tau_mem=1e-9)  # the potential is the bias at once
    network = event_lif(n, DT, Connections([], [], 0.0), cells, bias=1 - below, soft=True)
    share = network.advance(network.initial_state(0), 1).steps.size / n
    p = 1 / (1 + np.exp(below / width))
    assert share == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / n))


# --- what a user does ---------------------------------------------------------------------------------------------


def test_simulate_returns_a_recording_that_counts_its_work() -> None:
    network = lively()
    rec = organoid.simulate(network, 5.0, seed=1)
    fan_out = np.diff(network.rows.start)
    assert rec.n_spikes > 50
    # A spike within the last delays has been sent, not yet received.
    assert rec.metadata["synaptic_operations"] == fan_out[rec.spike_units].sum()
    assert rec.metadata["neuron_updates"] == N * round(5.0 / DT)
    assert rec.metadata["network"]["n_connections"] == network.n_connections
    again = organoid.simulate(network, 5.0, seed=1)
    assert np.array_equal(rec.spike_times, again.spike_times)
    assert rec.n_spikes != organoid.simulate(network, 5.0, seed=2).n_spikes


def test_memory_grows_with_connections_not_with_pairs() -> None:
    n, fan_out = 20_000, 20
    organoid.simulate(lively(), 0.02)  # compiling would count
    tracemalloc.start()
    pre, post = random_connections(n, fan_out, seed=1)
    network = event_lif(n, 1e-4, Connections(pre, post, np.float32(0.1)), LIFParameters(), bias=1.2)
    rec = organoid.simulate(network, 0.02)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rec.n_units == n
    assert network.rows.weight.nbytes + network.rows.target.nbytes == 8 * n * fan_out
    assert peak < 90e6 < n * n / 4  # one bit a pair would be 50 MB, one byte 400 MB


@pytest.mark.parametrize(("n", "fan_out"), [(50, 3), (50, 0), (10, 9), (10, 7), (1, 0)])
def test_random_connections(n: int, fan_out: int) -> None:
    pre, post = random_connections(n, fan_out, seed=4)
    assert np.array_equal(pre, np.repeat(np.arange(n), fan_out))
    assert np.all(pre != post)
    assert len(set(zip(pre.tolist(), post.tolist()))) == n * fan_out
    assert np.array_equal(post, random_connections(n, fan_out, seed=4)[1])


def test_every_receiver_is_as_likely() -> None:
    n, fan_out = 200, 60
    counts = sum(np.bincount(random_connections(n, fan_out, seed=s)[1], minlength=n) for s in range(20))
    expected = 20 * fan_out
    assert ((counts - expected) ** 2 / (expected * (1 - fan_out / n))).sum() < n + 5 * np.sqrt(2 * n)


def test_it_says_what_it_is() -> None:
    network = lively()
    said = network.describe()
    assert (said["model"], said["n_units"], said["dt"]) == ("event_lif", N, DT)
    assert said == lively().describe()
    heavier = EventDrivenLIF(network.parameters, network.rows._replace(weight=2 * network.rows.weight))
    other = EventDrivenLIF(network.parameters._replace(escape_width=0.3), network.rows)
    assert len({said["sha256"], heavier.describe()["sha256"], other.describe()["sha256"]}) == 3


@pytest.mark.parametrize("of", [model_storage, culture_storage])
def test_a_file_gives_it_back_bit_for_bit(tmp_path: Path, of: Any) -> None:
    network = lively()
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        of.write_network(h5.create_group("net"), network)
    with h5py.File(tmp_path / "n.h5") as h5:
        back = of.read_network(h5["net"])
    assert back.describe() == network.describe()
    state = network.initial_state(0)
    assert same_states(back.advance(state, 100).state, network.advance(state, 100).state)


@pytest.mark.parametrize(("name", "value"), [("rows/target", None), ("bias", b"text"), ("rows/delay", np.zeros(2))])
def test_damaged_networks_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as h5:
        model_storage.write_network(h5.create_group("net"), lively())
        del h5["net"][name]
        if value is not None:
            h5["net"][name] = value
        with pytest.raises(OrganoidError):
            model_storage.read_network(h5["net"])


def test_a_session_on_it_is_replayed_from_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "session.h5"
    session = organoid.run_session(
        RateClamp(target_rate=80.0, baseline=1.0), organoid.SimulatedCulture(lively()), 3.0, journal=path
    )
    assert len(session.stimuli)
    assert replay(path).status == "same"


def test_the_page_on_large_networks_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "large-networks.md"
    (block,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) <= 12
    names: dict[str, Any] = {}
    exec(block.replace("10_000", "1_000").replace("8_000", "800"), names)  # the same in a tenth of the time
    assert 1 < names["rec"].n_spikes / 1000 < 100
    assert "synaptic operations" in capsys.readouterr().out
