"""The quick stable sort of spike times: exactly numpy's stable order, whatever the times are like."""

import numpy as np
import pytest

from organoid import RecordingError, SpikeRecording
from organoid.io.numbering import distinct
from organoid.recording.validation import time_order

N = 30_000


def cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    runs = np.concatenate([np.sort(rng.integers(0, 45_000_000, N // 60)) for _ in range(60)]) / 25000
    close = 1000.0 + rng.integers(0, 50, N) * 2.0**-43
    return {
        "sixty units one after the other": runs,
        "few distinct times": rng.integers(0, 7, N).astype(float),
        "descending": np.arange(N, 0, -1.0),
        "negative and positive": rng.normal(0, 1e5, N),
        "so close that they share a key, and one far away": np.append(close, 1e9),
        "from the smallest to large": 10.0 ** rng.uniform(-300, 6, N),
        "all but equal": np.where(rng.random(N) < 0.5, 1.0, np.nextafter(1.0, 2.0)),
        "zeros of both signs": np.where(rng.random(N) < 0.5, 0.0, -0.0) + (np.arange(N) % 2),
        "one size class of places": rng.random(2**15),
        "few": rng.random(100),
    }


@pytest.mark.parametrize("name", cases())
def test_the_order_is_that_of_a_stable_sort(name: str) -> None:
    times = cases()[name]
    order, by_time = time_order(times)
    np.testing.assert_array_equal(order, np.argsort(times, kind="stable"))
    np.testing.assert_array_equal(by_time, np.sort(times, kind="stable"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_time_that_is_none_is_refused_among_many(bad: float) -> None:
    times = cases()["negative and positive"]
    times[1234] = bad
    with pytest.raises(RecordingError, match="1 of 30000 spike times are NaN or infinite"):
        SpikeRecording(times, np.zeros(N, dtype=int))


def test_arrays_given_by_others_are_copied_and_not_frozen() -> None:
    times, units = np.arange(5.0), np.arange(5)
    rec = SpikeRecording(times, units)
    times[0] = units[0] = -1
    assert rec.spike_times[0] == 0
    assert rec.spike_units[0] == 0
    for held in (rec.spike_times, rec.spike_units):
        with pytest.raises(ValueError, match="read-only"):
            held[0] = 3


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8", "u8"])
def test_distinct_numbers_are_those_numpy_finds(kind: str) -> None:
    rng = np.random.default_rng(5)
    for numbers in (rng.integers(0, 100, 999), rng.integers(0, 60, 999) * 2 + 5, np.arange(60), np.empty(0, int)):
        found, places = distinct(numbers.astype(kind))
        expected = np.unique(numbers, return_inverse=True)
        np.testing.assert_array_equal(found, expected[0])
        np.testing.assert_array_equal(places, expected[1])
    found, places = distinct(np.array([-5, 10**12, 7, -5]))
    assert (found.tolist(), places.tolist()) == ([-5, 7, 10**12], [0, 2, 1, 0])
