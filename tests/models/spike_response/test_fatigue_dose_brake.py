"""What keeps a stimulated culture in bounds: fatigue, all-or-none doses and the brake, in closed form."""

import numpy as np
import pytest

from organoid.errors import ModelError
from organoid.fitting.data.history import History
from organoid.fitting.evoked.dose import fit_dose
from organoid.fitting.free_run.recorded_range import recorded_brake, with_driven_range
from organoid.models.free_running import Injection
from organoid.models.spike_response.dose import Dose
from organoid.models.spike_response.fatigue import Resource, strengths
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters
from organoid.models.spike_response.terms.brake import GAIN, NO_BRAKE, Brake, braked


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0, 20.0])
def test_a_long_train_finds_the_resource_of_its_interval(rate: float) -> None:
    resource = Resource(0.3, 1.0)
    found = strengths(resource, np.arange(400) / rate, np.zeros(400, dtype=np.int64))
    assert found[0] == 1.0
    assert found[-1] == pytest.approx(Resource(0.3, 1.0, 1.0 / rate).at_interval, rel=1e-6)


def test_pulses_at_the_recorded_interval_act_as_recorded_and_sites_tire_on_their_own() -> None:
    resource = Resource(0.5, 2.0, interval=0.5)
    times, sites = np.arange(100) * 0.5, np.arange(100) % 2
    one = strengths(resource, times[:50], np.zeros(50, dtype=np.int64))
    both = strengths(resource, np.repeat(times[:50], 2), np.tile([0, 1], 50))
    assert one[-1] == pytest.approx(1.0, rel=1e-6)
    assert np.allclose(both[::2], one) and np.allclose(both[1::2], one)
    assert np.all(strengths(resource, times, sites) >= np.repeat(one, 2)[:100] - 1e-12)


def test_doses_follow_the_strength_duration_laws() -> None:
    for law, factor in (("lapicque", 1 / (1 - np.exp(-1.0))), ("weiss", 2.0)):
        dose = Dose(0.2, 250e-6, 15.0, law)
        half = dose.half_amplitude(np.array(250e-6))
        assert half == pytest.approx(0.2 * factor)
        assert dose.probability(half, np.array(250e-6)) == pytest.approx(0.5)
    widths = np.array([100e-6, 200e-6, 400e-6])
    assert np.all(np.diff(dose.half_amplitude(widths)) < 0)
    assert dose.probability(np.array(np.nan), np.array(np.nan)) == 1.0


def test_a_dose_fitted_to_two_widths_predicts_a_third() -> None:
    rng = np.random.default_rng(0)
    true = Dose(0.24, 250e-6, 18.0)
    amplitudes = np.tile(np.repeat(np.arange(1, 8) / 10, 8), 2)
    widths = np.repeat([200e-6, 400e-6], 56)
    answered = rng.uniform(size=112) < true.probability(amplitudes, widths)
    found = fit_dose(amplitudes, widths, answered)
    assert found.half_amplitude(np.array(300e-6)) == pytest.approx(
        float(true.half_amplitude(np.array(300e-6))), abs=0.05
    )


def history(counts: np.ndarray) -> History:
    bins = np.repeat(np.arange(counts.size), counts)
    return History(bins, np.zeros_like(bins), counts.size, 2, 1e-3, np.ones(counts.size, dtype=bool))


def test_the_brake_is_zero_in_the_recorded_range_and_grows_beyond_it() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.02, 60_000)
    brake = recorded_brake(history(counts))
    traces, highest = brake.mean.copy(), np.zeros(4)
    for count in counts:
        traces = traces * brake.decay + count
        highest = np.maximum(highest, traces)
        assert braked(brake, traces, False) == 0.0 or np.all(traces <= highest)
    assert braked(brake, highest * (1 - 1e-9), False) == 0.0
    expected = GAIN * np.sum(np.log1p(4 * 2 * highest / brake.mean) - np.log1p(4 * highest / brake.mean))
    assert braked(brake, 2 * highest, False) == pytest.approx(expected)
    wider = with_driven_range(brake, [history(5 * counts)])
    assert braked(wider, 2 * highest, True) == 0.0 and braked(wider, 2 * highest, False) == pytest.approx(expected)


def braking(brake: Brake) -> SpikeResponseNetwork:
    plain = plain_parameters(
        dt=1e-3, tau=np.array([0.01]), weights=np.full((1, 5, 5), 0.05), bias=np.full(5, -4.5), rate_limit=5000.0
    )
    return SpikeResponseNetwork(plain._replace(brake=brake))


def test_a_brake_that_is_never_reached_changes_no_spike_and_one_that_is_holds_a_driven_network() -> None:
    free = braking(NO_BRAKE)
    alone = free.advance(free.initial_state(1), 5_000)
    recorded = recorded_brake(history(np.bincount(alone.steps, minlength=5_000)))
    far = recorded._replace(top=recorded.top + 5.0, driven_top=recorded.top + 5.0)
    same = braking(far).advance(braking(far).initial_state(1), 5_000)
    assert np.array_equal(alone.steps, same.steps) and np.array_equal(alone.units, same.units)
    none = np.empty(0, dtype=np.int64)
    push = Injection(none, none, 1.0, np.zeros(5_000), np.arange(5_000), np.full((5_000, 5), 3.0))
    rates = [net.advance(net.initial_state(1), 5_000, push).steps.size for net in (free, braking(recorded))]
    assert rates[1] < 0.5 * rates[0]


def test_a_brake_in_pieces_is_the_brake_in_one() -> None:
    low = recorded_brake(history(np.random.default_rng(0).poisson(0.005, 20_000)))
    net = braking(low)
    whole = net.advance(net.initial_state(4), 3_000)
    first = net.advance(net.initial_state(4), 1_234)
    second = net.advance(first.state, 3_000 - 1_234)
    assert np.array_equal(whole.steps, np.concatenate([first.steps, second.steps + 1_234]))


def test_constants_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(ModelError, match="a brake needs"):
        braking(Brake(5.0, np.array([0.9]), np.array([-1.0]), np.array([1.0]), np.array([1.0])))
