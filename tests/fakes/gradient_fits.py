"""Small fits by gradient, and the culture they are fitted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import organoid
from organoid import SpikeRecording
from organoid.fitting import GradientFit, GradientSettings

TINY = GradientSettings(n_steps=3, batch=4, window=0.2, warmup=0.1, free_run=False)


def culture(duration: float = 30.0, seed: int = 0) -> SpikeRecording:
    """Four units of different rates that burst together; positions, a name that is not ASCII, a note."""
    rng = np.random.default_rng(seed)
    onsets = np.arange(0.5, duration - 0.5, 1.0) + rng.uniform(0, 0.3, int(duration - 1))
    times, units = [], []
    for unit in range(4):
        spikes = [rng.uniform(0, duration, rng.poisson(0.5 * duration))]
        spikes += [onset + rng.uniform(0, 0.2, rng.poisson(3 + 2 * unit)) for onset in onsets]
        times.append(np.concatenate(spikes))
        units.append(np.full(times[-1].size, unit))
    table = pd.DataFrame({"name": ["a", "b", "ü", ""], "x_um": [0.0, 20.0, 40.0, np.nan], "channel": [1, None, 3, 3]})
    return SpikeRecording(
        np.concatenate(times) + 5.0,
        np.concatenate(units),
        t_start=5.0,
        t_stop=5.0 + duration,
        units=table,
        notes=("made up",),
    )


def gradient(rec: SpikeRecording, **options: Any) -> GradientFit:
    given = {"model": "lif", "loss": "van_rossum", "free_run": False, "settings": TINY, **options}
    found = organoid.fit(rec, **given)
    assert isinstance(found, GradientFit)
    return found


def load(path: Path) -> GradientFit:
    found = organoid.load_fit(path)
    assert isinstance(found, GradientFit)
    return found


class ForeignModel(torch.nn.Module):
    """A model of another kind: independent units with a rate; it keeps the contract and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.n_units, self.dt = 4, 0.002
        self.level = torch.nn.Parameter(torch.full((4,), -2.0))

    def initial_state(self, batch: int = 1) -> tuple[torch.Tensor]:
        return (self.level.new_zeros(batch, 4),)

    def trajectory(self, x: Any, state: Any = None, *, forced: Any = None) -> Any:
        from organoid.models import Trajectory

        logits = self.level + x
        return Trajectory((logits > 0).to(x) + 0 * logits, logits, state or self.initial_state(len(x)))

    def noise(self, batch: int, n_steps: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(batch, n_steps, 4, generator=generator)

    def step(self, x: Any, state: Any) -> Any:
        return self.trajectory(x[:, None], state).spikes[:, 0], state

    def run(self, x: Any, state: Any = None) -> Any:
        out = self.trajectory(x, state)
        return out.spikes, out.state
