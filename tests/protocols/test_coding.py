"""Encoders and decoders: against closed forms, however time is cut."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from closed_loop_fakes import FakeCulture
from hypothesis import given
from hypothesis import strategies as st

from organoid.closed_loop import SessionError
from organoid.protocols import coding

RATE = Fraction(20_000)
INFO = FakeCulture(n_units=6).info


def encoded(part, values, cuts):
    events, state = [], None
    for start, stop in pairwise(cuts):
        found, state = part.encode(np.asarray(values, dtype=float), start, stop, RATE, state)
        assert found == sorted(found) and all(start <= frame < stop for frame, _ in found)
        events += found
    return events


@given(st.floats(1.0, 300.0), st.lists(st.integers(1, 40_000), min_size=1, max_size=20))
def test_a_rate_code_is_a_regular_train_however_time_is_cut(rate, lengths):
    part = coding.RateEncoder(rate, rate)
    cuts = [0, *np.cumsum(lengths).tolist()]
    frames = np.array([frame for frame, _ in encoded(part, [0.3], cuts)])
    expected = np.arange(1, cuts[-1] * rate / 20_000 + 2) * 20_000 / rate
    sure = expected[expected < cuts[-1] - 1]
    assert sure.size <= frames.size <= sure.size + 1
    assert np.all(np.abs(frames[: sure.size] - sure) <= 1 + 1e-3)


@given(st.floats(-1.0, 2.0))
def test_a_rate_code_maps_values_linearly(value):
    events = encoded(coding.RateEncoder(10.0, 50.0), [value, 0.0], [0, 20_000 * 10])
    rates = np.bincount([site for _, site in events], minlength=2) / 10.0
    # one pulse in 10 s, and the frame it falls on
    assert abs(rates[0] - (10 + 40 * np.clip(value, 0, 1))) <= 0.101 and abs(rates[1] - 10) <= 0.101


def test_the_lowest_rate_may_be_silence():
    assert encoded(coding.RateEncoder(0.0, 50.0), [0.0], [0, 100_000]) == []


@pytest.mark.parametrize(("value", "site"), [(-0.2, 0), (0.0, 0), (0.26, 1), (0.999, 3), (1.0, 3), (7.0, 3)])
def test_a_place_code_chooses_one_site(value, site):
    part = coding.PlaceEncoder(n_places=4, highest=20.0)
    events = encoded(part, [value], [0, 20_000])
    assert {found for _, found in events} == {site} and abs(len(events) - 20) <= 1 and part.n_sites(1) == 4


def test_a_place_code_takes_the_rate_from_its_second_value():
    part = coding.PlaceEncoder(n_places=2, lowest=5.0, highest=25.0)
    assert abs(len(encoded(part, [0.9, 0.5], [0, 200_000])) - 150) <= 1
    with pytest.raises(SessionError, match="1 or 2 values"):
        part.n_sites(3)


def test_a_latency_code_puts_large_values_first():
    events, _ = coding.LatencyEncoder(0.01).encode(np.array([0.0, 1.0, 0.5, -3.0]), 1000, 2000, RATE, None)
    assert events == [(1000, 1), (1100, 2), (1200, 0), (1200, 3)]
    cut, _ = coding.LatencyEncoder(0.01).encode(np.array([0.0]), 0, 50, RATE, None)
    assert cut == [(49, 0)]


def test_a_population_vector_is_the_mean_direction_of_the_spikes():
    part = coding.PopulationVector(((-1.0, 0.0), (1.0, 0.0), (0.0, 2.0)), ((0, 1), (2, 3), (4, 5)), window=1e9)
    values, state = part.decode(np.array([1, 0, 2, 1, 0, 0]), 0.1, part.start(INFO))
    assert np.allclose(values, [(3 - 1) / 4, 0])  # three spikes vote right, one left
    values, _ = part.decode(np.array([0, 0, 0, 0, 2, 2]), 0.1, state)
    assert np.allclose(values, [2 / 8, 8 / 8])
    silent, _ = part.decode(np.zeros(6, dtype=int), 0.1, part.start(INFO))
    assert silent.tolist() == [0.0, 0.0]


def mean_vote(part, rates, n=6000, extra=None):
    """The first output, and its mean after a minute, for Poisson units in ticks of 10 ms."""
    rng, state, values = np.random.default_rng(0), part.start(INFO), []
    for k in range(n):
        counts = rng.poisson(np.array(rates) * 0.01)
        if extra is not None and k % 100 < 10:
            counts = counts + extra
        value, state = part.decode(counts, 0.01, state)
        values.append(value[0])
    return np.array(values)


def test_with_a_baseline_the_busier_group_has_no_louder_vote():
    rates = [30.0, 30.0, 30.0, 3.0, 3.0, 3.0]
    assert mean_vote(coding.PopulationVector(), rates)[1000:].mean() < -0.75
    level = mean_vote(coding.PopulationVector(baseline=20.0), rates)[2000:]
    assert abs(level.mean()) < 0.15
    answered = mean_vote(coding.PopulationVector(baseline=20.0), rates, extra=np.array([0, 0, 0, 1, 1, 1]))[2000:]
    during = (np.arange(2000, 6000) % 100 >= 5) & (np.arange(2000, 6000) % 100 < 15)
    assert answered[during].mean() > 0.3, "an answer of the quiet group counts"


def test_a_baseline_is_each_groups_own_mean_over_its_window():
    part = coding.PopulationVector(((-1.0,), (1.0,)), ((0,), (3,)), window=0.05, baseline=0.4)
    counts = np.random.default_rng(2).poisson(1, (60, 6))
    state = part.start(INFO)
    for row in counts:
        values, state = part.decode(row, 0.01, state)
    fast, slow = (np.exp(-0.01 / tau) ** np.arange(60)[::-1] for tau in (0.05, 0.4))
    left, right = ((fast @ counts[:, k] / fast.sum()) / (slow @ counts[:, k] / slow.sum()) for k in (0, 3))
    assert values[0] == pytest.approx((right - left) / (right + left))
    with pytest.raises(SessionError, match=r"a baseline of 0\.05 s; expected more than the window"):
        coding.PopulationVector(window=0.1, baseline=0.05)


def test_a_linear_readout_weighs_rates_of_the_window():
    weights = np.random.default_rng(0).normal(size=(2, 6))
    part, counts = coding.LinearReadout(weights, (0.5, -1.0), window=0.2), np.random.default_rng(1).poisson(1, (50, 6))
    state = part.start(INFO)
    for row in counts:
        values, state = part.decode(row, 0.05, state)
    decay = np.exp(-0.05 / 0.2) ** np.arange(50)[::-1]
    rates = decay @ counts / (decay.sum() * 0.05)
    assert np.allclose(values, weights @ rates + [0.5, -1.0])


def test_decoding_leaves_the_state_it_was_given_alone():
    part = coding.PopulationVector()
    state = part.start(INFO)
    before = repr(state)
    first = part.decode(np.arange(6), 0.1, state)
    assert repr(state) == before and repr(part.decode(np.arange(6), 0.1, state)) == repr(first)


def test_groups_are_divided_along_the_array():
    assert coding.unit_groups(INFO, 2) == ((0, 1, 2), (3, 4, 5))
    assert sorted(unit for group in coding.unit_groups(INFO, 4) for unit in group) == list(range(6))


PARTS = [
    coding.RateEncoder(1.0, 2.0),
    coding.PlaceEncoder(3),
    coding.LatencyEncoder(0.2),
    coding.PopulationVector(((1, 2),), ((0, 3),), 0.3),
    coding.LinearReadout(((1, 2),), (3,)),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.kind)
def test_parts_come_back_from_plain_values(part):
    values = json.loads(json.dumps(coding.to_dict(part)))
    again = (coding.encoder if part.kind in coding.ENCODERS else coding.decoder)(values)
    assert again == part


def test_every_part_is_tested():
    assert {part.kind for part in PARTS} == {*coding.ENCODERS, *coding.DECODERS}


WRONG = [
    (lambda: coding.encoder("morse"), "choices: rate, place, latency"),
    (lambda: coding.encoder({"kind": "rate", "speed": 3}), "does not take"),
    (lambda: coding.RateEncoder(5.0, 4.0), "lowest <= highest"),
    (lambda: coding.RateEncoder(0.0, float("nan")), "lowest <= highest"),
    (lambda: coding.PlaceEncoder(0), "1 or more"),
    (lambda: coding.LatencyEncoder(0.0), "positive"),
    (lambda: coding.PopulationVector(window=0.0), "positive"),
    (lambda: coding.PopulationVector(((1.0,), (1.0, 2.0))), "equal length"),
    (lambda: coding.PopulationVector(((1.0,),), ((0,), (1,))), "2 groups of units for 1"),
    (lambda: coding.PopulationVector(((1.0,),), ((99,),)).start(INFO), "names unit 99"),
    (lambda: coding.PopulationVector(((1.0,),), ((),)).start(INFO), "is empty"),
    (lambda: coding.LinearReadout(((1.0, 2.0),)).start(INFO), "has 6"),
    (lambda: coding.LinearReadout(((1.0,),), (1.0, 2.0)), "2 biases"),
    (lambda: coding.unit_groups(INFO, 9), "cannot be divided into 9"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG)
def test_wrong_parts_are_rejected_in_one_sentence(wrong, sentence):
    with pytest.raises(SessionError, match=sentence):
        wrong()
