"""Moments of free windows: against plain loops, and torch's batch against the compiled loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from escape_oracle import after_spikes, entering, features_of, potential_of
from numpy.typing import NDArray
from synthetic_recordings import bursting

from organoid.fitting.data.history import History, bin_history
from organoid.fitting.data.stimuli import RecordedPulses
from organoid.fitting.free_run.window_states import RecordedStates, collect_states
from organoid.fitting.free_run.windows import Moments, compare_windows
from organoid.fitting.teacher_forced.features import Basis
from organoid.fitting.teacher_forced.population import fit_fields
from organoid.fitting.teacher_forced.regions import Regions
from organoid.models.spike_response.network import SpikeResponseParameters, plain_parameters
from organoid.models.spike_response.terms.stimulus import StimulusKernels

N, STEPS = 5, 60
TAU = np.array([0.003, 0.02])


@pytest.fixture(scope="module")
def training() -> History:
    return bin_history(bursting(N, 40.0, 2), 1e-3)


def network(training: History, bias: NDArray[np.float64], scale: float, **changes: Any) -> SpikeResponseParameters:
    rng = np.random.default_rng(0)
    regions = Regions(np.array([0, 1, 1, 0, 1]), np.array([0.02, 0.4]), np.ones((2, N), dtype=bool))
    fields = fit_fields(training, np.array([0.01, 0.1, 1.0, 10.0]), products=3, regions=regions)
    p = plain_parameters(
        dt=1e-3,
        tau=TAU,
        weights=scale * rng.normal(0, 1, (2, N, N)),
        bias=bias,
        capacity=np.array([1, 2, 1, 3, 1]),
        fields=fields,
        field_weights=0.3 * scale * rng.normal(0, 1, (fields.n_features, N)),
    )
    return p._replace(drive_low=np.full(N, -1.0), drive_high=np.full(N, 2.0), ceiling=np.full(N, 80.0), **changes)


def states_of(training: History, p: SpikeResponseParameters) -> RecordedStates:
    return collect_states(training, Basis(p.tau, p.saturation, p.fields), STEPS)


def pulsed(training: History) -> tuple[History, StimulusKernels]:
    """The training part with a pulse every 37 bins on electrode 2, which sets off unit 1 and stops unit 4."""
    bins = np.arange(5, training.n_bins, 37)
    pulses = RecordedPulses(bins, np.full(bins.size, 2), np.full(bins.size, np.nan), np.full(bins.size, ""))
    curves = np.zeros((1, 7, N))
    curves[0, 2:4, 1], curves[0, :, 4] = 150.0, -170.0
    one, wide = np.array([2]), np.full(N, 500.0)
    return replace(training, pulses=pulses), StimulusKernels(1e-3, one, one - 2, one, curves, -wide, wide)


def by_hand(
    training: History,
    p: SpikeResponseParameters,
    states: RecordedStates,
    chosen: NDArray[Any],
    stimulus: StimulusKernels | None = None,
) -> Moments:
    """Windows of a network whose units always or never fire, and the recorded stretches, one bin at a time."""
    push = np.zeros((training.n_bins + 10, N))
    for pulse in training.pulses.bins if stimulus is not None else ():
        push[pulse : pulse + stimulus.n_lags] += stimulus.curves[0]
    shape = (p.tau.size * N + p.fields.n_features + 1, N)
    simulated, recorded = np.zeros(shape), np.zeros(shape)
    decay = np.exp(-p.dt / p.tau)[:, None]
    for state in chosen:
        for total, free in ((simulated, True), (recorded, False)):
            s, q = states.traces[state].astype(float), states.population[state].astype(float)
            for t in range(int(states.bins[state]), int(states.bins[state]) + STEPS):
                fires = p.capacity * (potential_of(p, s, q) + push[t] > 0)
                counts = fires if free else training.counts(t, t + 1)[0]
                x = np.concatenate([s.ravel(), features_of(p.fields, q), [1.0]])
                total += np.outer(x, counts)
                s, q = after_spikes(s * decay, counts, p.saturation), q * p.fields.decay + entering(p.fields, counts)
    n_bins = chosen.size * STEPS
    return Moments(simulated / n_bins, recorded / n_bins, 0.0)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_certain_spikes_give_the_moments_of_plain_loops(training: History, device: str | None) -> None:
    p = network(training, np.array([60.0, -60.0, -60.0, -60.0, 60.0]), 1.0)
    states = replace(states_of(training, p), allowed=np.full(STEPS, np.inf))
    chosen = np.linspace(0, states.bins.size - 1, 40).astype(int)
    found = compare_windows(training, p, states, chosen, STEPS, 0, device=device)
    expected = by_hand(training, p, states, chosen)
    np.testing.assert_allclose(found.recorded, expected.recorded, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.simulated, expected.simulated, rtol=1e-4, atol=1e-5)
    assert found.share_given_up == 0.0 and expected.recorded[-1].sum() > 0


@pytest.mark.parametrize("device", [None, "cpu"])
def test_recorded_pulses_come_in_the_windows(training: History, device: str | None) -> None:
    p = network(training, np.array([60.0, -60.0, -60.0, -60.0, 60.0]), 1.0)
    states = replace(states_of(training, p), allowed=np.full(STEPS, np.inf))
    chosen = np.linspace(0, states.bins.size - 1, 20).astype(int)
    training, stimulus = pulsed(training)
    found = compare_windows(training, p, states, chosen, STEPS, 0, device=device, stimulus=stimulus)
    expected = by_hand(training, p, states, chosen, stimulus)
    np.testing.assert_allclose(found.simulated, expected.simulated, rtol=1e-4, atol=1e-5)
    assert 0.02 < found.simulated[-1, 1] / p.capacity[1] < 0.1 and found.simulated[-1, 4] < 0.9


def test_torch_and_compiled_loops_draw_from_one_distribution(training: History) -> None:
    p = network(training, np.full(N, -3.0), 0.7)
    states = states_of(training, p)
    chosen = np.linspace(0, states.bins.size - 1, 150).astype(int)

    def drawn(device: str | None) -> NDArray[np.float64]:
        runs = [compare_windows(training, p, states, chosen, STEPS, seed, device=device) for seed in range(12)]
        return np.array([run.simulated for run in runs])

    a, b = drawn(None), drawn("cpu")
    error = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 12)
    assert np.max(np.abs(a.mean(0) - b.mean(0)) / (error + 1e-6)) < 6
    assert np.median(error / np.abs(a.mean(0))) < 0.05, "a difference of a tenth would be seen"


@pytest.mark.parametrize("device", [None, "cpu"])
def test_a_wild_window_is_given_up(training: History, device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    p = network(training, np.full(N, 60.0), 0.1, capacity=np.full(N, 200))
    states = states_of(training, p)
    found = compare_windows(training, p, states, np.array([0, 5]), STEPS, 0, device=device)
    assert found.share_given_up == 1.0
    assert found.simulated[-1] == pytest.approx(np.full(N, 200.0)), "bins after the stop do not count"


def test_windows_may_hold_twice_what_any_stretch_of_the_recording_held(training: History) -> None:
    allowed = states_of(training, network(training, np.full(N, -3.0), 0.7)).allowed
    counts = np.bincount(training.bins, minlength=training.n_bins)
    for length, rounded_up in ((1, 1), (3, 4), (50, 64), (60, 64)):
        most = np.lib.stride_tricks.sliding_window_view(counts, rounded_up).sum(1).max()
        assert allowed[length - 1] == 2 * most + 20
    assert allowed.size == STEPS


@pytest.mark.parametrize("device", [None, "cpu"])
def test_same_seed_same_moments(training: History, device: str | None) -> None:
    p = network(training, np.full(N, -3.0), 0.7)
    states = states_of(training, p)
    one, again, other = (
        compare_windows(training, p, states, np.arange(8), STEPS, seed, device=device) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.simulated, again.simulated) and not np.array_equal(one.simulated, other.simulated)
