"""A small culture and a session-like object to draw."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from organoid import SpikeRecording


def culture(*, n_units=12, duration=60.0, seed=0, bursts=True, **more):
    """Poisson background, a burst of the whole culture every 5 s."""
    rng = np.random.default_rng(seed)
    times, units = rng.uniform(0, duration, int(2 * duration * n_units)), None
    units = rng.integers(0, n_units, times.size)
    if bursts:
        onsets = np.arange(2.0, duration - 1, 5.0)
        burst = (onsets[:, None] + rng.uniform(0, 0.3, (onsets.size, 15 * n_units))).ravel()
        times, units = np.append(times, burst), np.append(units, np.tile(np.arange(n_units), burst.size // n_units))
    k = np.arange(n_units)
    table = pd.DataFrame({"name": [f"u{i}" for i in k], "x_um": 200.0 * (k % 4), "y_um": 200.0 * (k // 4)})
    return SpikeRecording(times, units, **{"n_units": n_units, "t_stop": duration, "units": table, **more})


def fake_session(**more):
    rec = culture(duration=20.0, stimuli=pd.DataFrame({"time_s": [1.0, 1.0, 4.0], "electrode": [1, 2, 1]}), **more)
    time = np.arange(0, 20, 0.1)
    ticks = pd.DataFrame({"index": range(200), "frame": 0, "time_s": time, "n_spikes": 1, "n_commands": 0})
    ticks = ticks.assign(n_accepted=0, rate=5.0, error=np.sin(time), nothing=np.nan)
    return SimpleNamespace(recording=rec, ticks=ticks, outcome={"status": "completed"})
