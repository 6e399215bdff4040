"""Threads that wait for each other inside compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from organoid.models.compiled.event.barrier import close, meet, new_barrier
from organoid.models.compiled.recurrent.threads import side_by_side


@njit(nogil=True)  # type: ignore[untyped-decorator]
def relay(gate: Any, part: int, n_parts: int, values: Any) -> None:
    """In each round every part writes the sum of what all wrote in the round before, plus its number."""
    for k in range(1, values.shape[0]):
        total = 0
        for other in range(n_parts):
            total += values[k - 1, other]
        values[k, part] = total % 1009 + part
        meet(gate, n_parts)


@pytest.mark.parametrize("n_parts", [1, 2, 3])
def test_what_is_written_before_a_meeting_is_seen_after_it(n_parts: int) -> None:
    gate, values = new_barrier(), np.zeros((300, n_parts), np.int64)
    side_by_side(lambda part: relay(gate, part, n_parts, values), n_parts, lambda: close(gate))
    expected = np.zeros_like(values)
    for k in range(1, len(values)):
        expected[k] = expected[k - 1].sum() % 1009 + np.arange(n_parts)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("faulty", [0, 1])
def test_what_a_thread_raises_reaches_the_caller_and_nobody_waits_for_it(faulty: int) -> None:
    gate = new_barrier()

    def work(part: int) -> None:
        if part == faulty:
            raise KeyboardInterrupt(f"in part {part}")
        assert not meet(gate, 3)

    with pytest.raises(KeyboardInterrupt, match=f"part {faulty}"):
        side_by_side(work, 3, lambda: close(gate))
