"""Compiled ticks against the tissue step by step: the same spikes and states, however frames are cut."""

import numpy as np
import pytest
from random_networks import LOCAL, random_parameters

import organoid
from organoid.culture import ticks
from organoid.culture.calibration import StimulationCalibration
from organoid.culture.geometry import place
from organoid.culture.recruitment import TIRING
from organoid.culture.running import RunningCultures, network_of
from organoid.culture.source import find_source
from organoid.culture.tissue import Tissue
from organoid.models.spike_response.network import SpikeResponseNetwork
from organoid.stimulation import Pulse

CUTS = (1, 3, 6, 20, 33, 200, 400)


def tissue_of(source, **options):
    found = find_source(source)
    geometry = place(found.network.n_units, found.units, found.electrodes, found.responding)
    return Tissue(found.network, geometry, TIRING, **options)


@pytest.fixture(scope="module", params=["bursting", "volleys"])
def tissue(request):
    calibration = StimulationCalibration(gamma=0.7, beta=0.3) if request.param == "volleys" else None
    return tissue_of(organoid.preset("bursting_culture"), calibration=calibration)


def plan(rng, n, n_electrodes):
    """Yield ends of calls, with pulses before them."""
    frame = 0
    for _ in range(n):
        until = frame + int(rng.choice(CUTS))
        times = np.sort(rng.integers(frame, until, rng.integers(3)))
        yield until, [(int(t), Pulse.biphasic([int(rng.integers(n_electrodes))], 3e-6, 2e-4)) for t in times]
        frame = until


def run(running, until, pulses):
    parts = []
    for frame, pulse in pulses:
        parts += running.advance(frame)
        running.give(0, pulse)
    parts += running.advance(until)
    return tuple(np.concatenate(column) for column in zip(*parts))


@pytest.mark.parametrize("seed", range(3))
def test_the_same_spikes_as_step_by_step(tissue, seed):
    state, running = tissue.initial_state(seed), RunningCultures(tissue, [tissue.initial_state(seed)])
    n = 0
    for k, (until, pulses) in enumerate(plan(np.random.default_rng(seed), 150, tissue.geometry.n_electrodes)):
        block = tissue.advance(state, until, pulses)
        frames, units = run(running, until, pulses)
        assert np.array_equal(frames, block.spike_frames) and np.array_equal(units, block.spike_units)
        state, n = block.state, n + frames.size
        if k % 40 == 7:  # begun again from a snapshot, in the middle of a step too
            snapshot = running.snapshot()
            assert_same(snapshot, state)
            running = RunningCultures(tissue, [snapshot])
    assert n > 100 and state.n_pulses > 100


def assert_same(one, other):
    for name in ("step", "frame", "n_pulses", "last_spike", "resource", "last_pulse"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    for names in (("forced_steps", "forced_units"), ("direct_frames", "direct_units"), ("volley_steps", "volleys")):
        pairs = (sorted(zip(*(getattr(state, name).tolist() for name in names))) for state in (one, other))
        assert next(pairs) == next(pairs)
    assert one.network.traces.tobytes() == other.network.traces.tobytes()
    assert one.network.memory.population.tobytes() == other.network.memory.population.tobytes()


def test_copies_side_by_side_do_what_they_do_alone(tissue):
    seeds = (3, 4, 5)
    together = RunningCultures(tissue, [tissue.initial_state(seed) for seed in seeds])
    alone = [RunningCultures(tissue, [tissue.initial_state(seed)]) for seed in seeds]
    rng = np.random.default_rng(1)
    for k in range(80):
        until = together.frame + int(rng.choice(CUTS))
        found = together.advance(until)
        for c, one in enumerate(alone):
            (expected,) = one.advance(until)
            assert np.array_equal(found[c][0], expected[0]) and np.array_equal(found[c][1], expected[1])
        if k % 3 == 0:
            pulse = Pulse.biphasic([int(rng.integers(64))], 3e-6, 2e-4)
            together.give(k % 3, pulse)
            alone[k % 3].give(0, pulse)
    assert together.snapshot(1).n_pulses == alone[1].snapshot().n_pulses


@pytest.mark.parametrize("number", [0, 1, 2, 3, LOCAL, LOCAL + 1])
def test_networks_of_any_shape(number):
    plain = random_parameters(number)
    rng, n = np.random.default_rng(number), plain.bias.size
    lagged = {"lags": rng.uniform(0.2, 1.0, (2, 6)), "lag_weights": rng.normal(0.0, 0.3, (2, n, n))}
    for network in (SpikeResponseNetwork(plain), SpikeResponseNetwork(random_parameters(number, **lagged))):
        tissue = tissue_of(network)
        state, running = tissue.initial_state(1), RunningCultures(tissue, [tissue.initial_state(1)])
        for k, (until, pulses) in enumerate(plan(np.random.default_rng(3), 40, tissue.geometry.n_electrodes)):
            block = tissue.advance(state, until, pulses)
            frames, units = run(running, until, pulses)
            assert np.array_equal(frames, block.spike_frames) and np.array_equal(units, block.spike_units)
            state = block.state
            if k % 10 == 5:
                running = RunningCultures(tissue, [running.snapshot()])


def test_more_spikes_than_the_room_for_them(tissue):
    (expected,) = RunningCultures(tissue, [tissue.initial_state(1)]).advance(2_400_000)
    assert expected[0].size > 1.2 * ticks.OUT
    running = RunningCultures(tissue, [tissue.initial_state(1)])
    parts = [running.advance(frame)[0] for frame in range(200_000, 2_400_001, 200_000)]
    frames, units = (np.concatenate(column) for column in zip(*parts))
    assert np.array_equal(frames, expected[0]) and np.array_equal(units, expected[1])


def test_many_pulses_at_once_make_room(tissue):
    state, running = tissue.initial_state(2), RunningCultures(tissue, [tissue.initial_state(2)])
    pulses = [(100 + k // 8, Pulse.biphasic([k % 64], 9e-6, 4e-4)) for k in range(400)]
    block = tissue.advance(state, 4000, pulses)
    frames, units = run(running, 4000, pulses)
    assert np.array_equal(frames, block.spike_frames) and np.array_equal(units, block.spike_units)


def test_a_network_that_runs_away_stops_at_the_same_frame():
    preset = organoid.preset("bursting_culture")
    network = preset.network
    wild = type(network)(network.parameters._replace(rate_limit=60.0))
    tissue = tissue_of(wild)
    block = tissue.advance(tissue.initial_state(0), 2_000_000)
    running = RunningCultures(tissue, [tissue.initial_state(0)])
    ((frames, units),) = running.advance(2_000_000)
    assert block.state.runaway and running.ran_away[0] == running.frame == block.stop_frame
    assert np.array_equal(frames, block.spike_frames) and np.array_equal(units, block.spike_units)


def test_other_networks_are_left_to_the_tissue():
    class Other:
        n_units, dt = 2, 1e-3

    assert network_of(tissue_of(organoid.preset("bursting_culture"))) is not None
    tissue = tissue_of(organoid.preset("bursting_culture"))
    tissue.network = Other()
    assert network_of(tissue) is None
