"""Recordings made up for fits: from a known network, from independent units, and odd ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organoid import SpikeRecording
from organoid.models.spike_response.network import SpikeResponseNetwork, plain_parameters

DT = 1e-3
SYNAPSES = (  # pre, post, logit per unit of the 12 ms trace
    (0, 1, 2.2),
    (1, 2, 2.0),
    (2, 3, 1.8),
    (3, 4, 2.0),
    (0, 5, 2.0),
    (6, 0, -2.5),
    (6, 3, -2.5),
    (7, 5, -2.5),
    (7, 2, -2.0),
    (4, 6, 2.0),
)


def known_network(bias: float = -4.3) -> SpikeResponseNetwork:
    """Eight units, ten strong connections, a reset; time constants that are not those of the fit."""
    n = 8
    weights = np.zeros((2, n, n))
    weights[0, np.arange(n), np.arange(n)] = -4.0
    for pre, post, weight in SYNAPSES:
        weights[1, pre, post] = weight
    return SpikeResponseNetwork(
        plain_parameters(dt=DT, tau=np.array([0.003, 0.012]), weights=weights, bias=np.full(n, bias))
    )


def recorded(network: SpikeResponseNetwork, duration: float, seed: int, *, t_start: float = 0.0) -> SpikeRecording:
    """What a network does when left alone, each spike in the middle of its step."""
    done = network.advance(network.initial_state(seed), round(duration / network.dt))
    return SpikeRecording(
        t_start + (done.steps + 0.5) * network.dt,
        done.units,
        n_units=network.n_units,
        t_start=t_start,
        t_stop=t_start + duration,
    )


def poisson(rates: Sequence[float], duration: float, seed: int) -> SpikeRecording:
    """Independent units of constant rate (Hz)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.array(rates) * duration)
    times = rng.uniform(0, duration, counts.sum())
    return SpikeRecording(
        np.floor(times * 1e6) / 1e6,
        np.repeat(np.arange(len(rates)), counts),
        n_units=len(rates),
        t_start=0.0,
        t_stop=duration,
    )


def bursting(n_units: int, duration: float, seed: int) -> SpikeRecording:
    """Population bursts every few seconds over a low background."""
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.uniform(1.5, 4.0, int(duration)))
    times, units = [rng.uniform(0, duration, rng.poisson(0.3 * n_units * duration))], []
    units.append(rng.integers(0, n_units, times[0].size))
    for onset in onsets[onsets < duration - 1]:
        n = rng.poisson(12 * n_units)
        times.append(onset + rng.gamma(2.0, 0.06, n))
        units.append(rng.integers(0, n_units, n))
    t, u = np.concatenate(times), np.concatenate(units)
    inside = t < duration - 1e-3
    return SpikeRecording(t[inside], u[inside], n_units=n_units, t_start=0.0, t_stop=duration)


def changed(
    rec: SpikeRecording,
    *,
    times: np.ndarray | None = None,
    units: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    shift: float = 0.0,
) -> SpikeRecording:
    """The same recording with other spikes, holes, or moved in time."""
    spans = rec.observed if observed is None else observed
    return SpikeRecording(
        (rec.spike_times if times is None else times) + shift,
        rec.spike_units if units is None else units,
        n_units=rec.n_units,
        t_start=rec.t_start + shift,
        t_stop=rec.t_stop + shift,
        sampling_rate=rec.sampling_rate,
        observed=np.asarray(spans) + shift,
    )


def another_end(rec: SpikeRecording, seed: int, rate: float = 30.0) -> SpikeRecording:
    """Every spike of the last 20 % replaced by others (bursts of several in one bin, other rates)."""
    rng = np.random.default_rng(seed)
    edge = rec.t_start + 0.8 * rec.duration
    kept = rec.spike_times < edge
    n = int(rate * 0.2 * rec.duration)
    new = rng.uniform(edge, rec.t_stop - 1e-3, n)
    new = np.concatenate([new, np.repeat(new[:20], 5)])
    return changed(
        rec,
        times=np.concatenate([rec.spike_times[kept], new]),
        units=np.concatenate([rec.spike_units[kept], rng.integers(0, rec.n_units, new.size)]),
    )


def travelling_waves(n_units: int, duration: float, seed: int, width: float = 1000.0) -> SpikeRecording:
    """Units scattered over a square (um); waves start anywhere every 4 s or so and pass at 1 mm/s, over parts of it."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, width, (n_units, 2))
    times = [rng.uniform(0, duration, rng.poisson(0.2 * n_units * duration))]
    units = [rng.integers(0, n_units, times[0].size)]
    for onset in np.cumsum(rng.exponential(4.0, int(duration))):
        distance = np.hypot(*(place - rng.uniform(0, width, 2)).T)
        reached = np.flatnonzero(distance < rng.uniform(0.3, 0.8) * width)
        n = rng.poisson(8.0, reached.size)
        units.append(np.repeat(reached, n))
        times.append(onset + np.repeat(distance[reached] / 1000.0, n) + rng.gamma(2.0, 0.1, n.sum()))
    t, u = np.concatenate(times), np.concatenate(units)
    inside = t < duration - 1e-3
    table = pd.DataFrame({"x_um": place[:, 0], "y_um": place[:, 1]})
    return SpikeRecording(t[inside], u[inside], n_units=n_units, units=table, t_start=0.0, t_stop=duration)
