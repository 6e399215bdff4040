"""Sparse event-driven networks that spike."""

from __future__ import annotations

from typing import Any

import numpy as np
from free_networks import DT, N

from organoid.models import AdaptiveLIFParameters, LIFParameters
from organoid.models.simulators.event_builder import event_lif
from organoid.models.simulators.event_connections import Connections
from organoid.models.simulators.event_driven import EventDrivenLIF


def wires(n: int, fan_out: int, rng: np.random.Generator, delays: tuple[float, float]) -> Connections:
    """Random connections of both signs into two currents, some pairs twice, in no order."""
    pre, post = rng.integers(0, n, (2, n * fan_out))
    twice = rng.integers(0, pre.size, pre.size // 10)
    pre, post = np.append(pre, pre[twice]), np.append(post, post[twice])
    steps = rng.integers(delays[0], delays[1] + 1, pre.size)
    return Connections(pre, post, rng.normal(0, 3 / fan_out, pre.size), steps * DT, rng.integers(0, 2, pre.size))


def lively(
    n: int = N, seed: int = 0, delays: tuple[int, int] = (2, 5), soft: bool = False, adapt: bool = True, **lif: Any
) -> EventDrivenLIF:
    rng = np.random.default_rng(seed)
    cells: Any = LIFParameters(**{"refractory": 0.004, **lif})
    cells = AdaptiveLIFParameters(cells, increment=0.2) if adapt else cells
    bias = rng.uniform(1.0, 1.8, n)
    return event_lif(n, DT, wires(n, min(n, 8), rng, delays), cells, bias=bias, soft=soft)
