"""Compiled draws and fields: what is settled quickly is settled right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoid.models.compiled.spike_response.sampling import binomial, place_draws, screen
from organoid.models.rng import uniform
from organoid.models.spike_response.terms.population import LOG_GAIN, PopulationFields, log_fields, pack_fields

N = 37


@given(st.integers(0, 2**63), st.integers(0, 10**6), st.floats(-60.0, 60.0), st.floats(0.0, 30.0), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_no_spike_is_screened_out(key: int, step: int, centre: float, spread: float, most: int) -> None:
    rng = np.random.default_rng(key)
    v, capacity = centre + spread * rng.normal(size=N), rng.integers(1, most + 1, N)
    places, left = np.empty(N, dtype=np.uint64), np.empty(N)
    place_draws(np.uint64(key), N, places)
    may_fire = np.empty(N, dtype=bool)
    screen(places, step, N, v, capacity.astype(float), left, np.empty(N, dtype=np.int32), may_fire)
    u = uniform(np.uint64(key), step * N + np.arange(N))
    assert np.array_equal(1.0 - left, u), "the draws are those of the stream"
    with np.errstate(over="ignore"):
        p = 1.0 / (1.0 + np.exp(-v))
    counts = np.array([binomial(u[i], p[i], capacity[i]) for i in range(N)])
    assert not np.any(counts[~may_fire])


def test_most_quiet_units_are_screened_out() -> None:
    n = 100_000
    places = np.empty(n, dtype=np.uint64)
    place_draws(np.uint64(1), n, places)
    may_fire = np.empty(n, dtype=bool)
    screen(places, 0, n, np.full(n, -6.0), np.ones(n), np.empty(n), np.empty(n, dtype=np.int32), may_fire)
    p = 1.0 / (1.0 + np.exp(6.0))
    assert p < may_fire.mean() < 1.2 * p


@pytest.mark.parametrize("copies", [1, 5])
def test_the_logarithm_written_out_is_the_library_s(copies: int) -> None:
    mean = np.array([0.3, 7.0, 1e3])
    one = np.ones(3)
    fields = PopulationFields(one, mean, 0 * one, one, one, one, np.empty(0), np.empty(0))
    packed = pack_fields(fields, copies)
    for q in (0.0, 1e-12, 1e-3, 0.07, 0.0725, 0.2, 1.0, 3.3, 4e2, 1e7):
        found = log_fields(packed, np.full(3 * copies, q))[: 3 * copies]
        np.testing.assert_allclose(found, np.log1p(LOG_GAIN * q / np.repeat(mean, copies)), rtol=4e-15, atol=4e-16)
