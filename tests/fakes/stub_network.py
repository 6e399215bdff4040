"""A network simple enough to know what it must do: independent Poisson units and a few couplings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organoid.models.free_running import Advance, Injection
from organoid.models.rng import stream_key, uniform


class StubState(NamedTuple):
    """What the next step depends on."""

    key: int
    step: int
    last: tuple[int, ...]
    volley: float


class StubNetwork:
    """Unit j spikes with probability `rate` dt a step, and surely one step after unit i where (i, j) is coupled.

    A volley of size v makes each unit spike with probability v / 10 in the next step.
    """

    def __init__(
        self,
        n_units: int = 5,
        rate: float = 5.0,
        *,
        dt: float = 1e-3,
        couplings: tuple[tuple[int, int], ...] = (),
        capacity: int = 1,
        runaway_step: int | None = None,
    ) -> None:
        self.n_units, self.dt, self.rate = n_units, dt, rate
        self.couplings, self.capacity, self.runaway_step = couplings, capacity, runaway_step

    def initial_state(self, seed: int) -> StubState:
        return StubState(int(stream_key(seed, "stub")), 0, (), 0.0)

    def advance(self, state: StubState, n_steps: int, injection: Injection | None = None) -> Advance:
        steps: list[int] = []
        units: list[int] = []
        done, runaway = 0, False
        while done < n_steps and not runaway:
            forced = [] if injection is None else injection.units[injection.steps == done].tolist()
            own = self._step(state, forced)
            steps += [done] * len(own)
            units += own
            heard = 0.0 if injection is None else injection.volley[done] + injection.field_weight * 0.0
            state = StubState(state.key, state.step + 1, tuple(own + forced), float(heard))
            done += 1
            runaway = self.runaway_step is not None and state.step >= self.runaway_step
        return Advance(np.array(steps, np.int64), np.array(units, np.int64), state, done, runaway)

    def _step(self, state: StubState, forced: list[int]) -> list[int]:
        p = min(1.0, self.rate * self.dt + state.volley / 10)
        counters = state.step * self.n_units * self.capacity + np.arange(self.n_units * self.capacity)
        drawn = uniform(np.uint64(state.key), counters).reshape(self.capacity, self.n_units) < p
        counts = drawn.sum(axis=0)
        for pre, post in self.couplings:
            if pre in state.last:
                counts[post] = max(counts[post], 1)
        counts = np.minimum(counts, self.capacity - np.bincount(forced, minlength=self.n_units)).clip(0)
        return np.repeat(np.arange(self.n_units), counts).tolist()

    def describe(self) -> dict[str, Any]:
        return {"model": "stub", "n_units": self.n_units, "dt": self.dt, "sha256": "0"}


class StubResult:
    """Looks like a fit: a network with the tables of its recording."""

    def __init__(self, network: StubNetwork, units: pd.DataFrame, electrodes: pd.DataFrame | None = None) -> None:
        self.network, self.units, self.electrodes = network, units, electrodes


def line(n_units: int, pitch_um: float = 200.0) -> pd.DataFrame:
    """Units on a line."""
    return pd.DataFrame({"x_um": pitch_um * np.arange(n_units), "y_um": 0.0})
