"""Compiled free windows of the escape-noise LIF network: several run in step, so that a pass serves them all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.spike_response.population import field_features, pack_fields, room_for_regions
from organoid.models.compiled.spike_response.sampling import draw, place_draws, screen
from organoid.models.compiled.spike_response.step import fade, pack_units, potentials, receive
from organoid.models.spike_response.stimulus import evoked


@kernel()
def _add_moments(
    traces: NDArray[Any], features: NDArray[Any], window: int, counts: NDArray[Any], moments: NDArray[Any]
) -> None:
    """Add the features of one window at its spikes of this step to `moments[unit]`."""
    n_tau, n = traces.shape
    for i in range(n):
        if counts[i] == 0:
            continue
        target = moments[i]
        for k in range(n_tau):
            row, into = traces[k], target[k * n : (k + 1) * n]
            for j in range(n):
                into[j] += counts[i] * row[j]
        into = target[n_tau * n :]
        for f in range(features.shape[0]):
            into[f] += counts[i] * features[f, window]
        target[-1] += counts[i]


@kernel()
def _draw_window(
    left: NDArray[Any], v: NDArray[Any], capacity: NDArray[Any], may_fire: NDArray[Any], counts: NDArray[Any]
) -> float:
    """Write the spikes of one window in this step, and return how many they are."""
    own = 0
    for i in range(counts.size):
        counts[i] = draw(left[i], v[i], capacity[i]) if may_fire[i] else 0
        own += counts[i]
    return float(own)


@kernel()
def _count_by_region(home: NDArray[Any], counts: NDArray[Any], own: NDArray[Any], entering: NDArray[Any]) -> None:
    """Write the spikes of every region in this step, window by window."""
    entering[:] = 0.0
    for w in range(own.size):
        if own[w]:
            for i in range(home.size):
                entering[w, home[i]] += counts[w, i]


@kernel()
def _push_windows(
    now: NDArray[Any], n_before: NDArray[Any], response: Any, n: int, push: NDArray[Any], v: NDArray[Any]
) -> None:
    """Add what pulses evoke to the potentials of every window, which stands at the recorded bin `now`."""
    steps, which, sizes, curves, low, high = response
    for w in range(now.size):
        while n_before[w] < steps.size and steps[n_before[w]] <= now[w]:
            n_before[w] += 1
        if evoked(now[w], n_before[w], steps, which, sizes, curves, low, high, push):
            for i in range(n):
                v[w * n + i] += push[i]


@kernel(nogil=True)
def free_windows(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    keys: NDArray[Any],
    allowed: NDArray[Any],
    moments: NDArray[Any],
    done: NDArray[Any],
    starts: NDArray[Any],
    response: Any,
) -> None:
    """Run windows freely and add the features at every spike to `moments[unit]`.

    Parameters
    ----------
    par : SpikeResponseParameters
    traces, drive : ndarray, shape (n_tau, n_windows, n_units)
        State of every window, changed in place.
    population : ndarray, shape (n_fields, n_windows)
    keys : ndarray of uint64, shape (n_windows,)
    allowed : ndarray, shape (n_steps,)
        Spikes a window may hold after each bin; with more it is given up.
    moments : ndarray, shape (n_units, n_features)
    done : ndarray of int64, shape (n_windows,)
        Receives the bins run: fewer than `n_steps` where a window was given up.
    starts : ndarray of int64, shape (n_windows,)
        Recorded bin each window starts in.
    response : tuple of arrays
        Recorded pulses (steps, curves, sizes) and their kernels (curves, low, high); no pulses for none.
    """
    n_tau, n_windows, n = traces.shape
    n_steps = allowed.size
    units, fields = pack_units(par, n_windows), pack_fields(par.fields, n_windows)
    weights, field_weights, saturation, capacity = par.weights, par.field_weights, par.saturation, par.capacity
    decay, field_decay, home, region = np.exp(-par.dt / par.tau), par.fields.decay, par.fields.home, par.fields.region
    entering, n_whole = np.zeros((n_windows, room_for_regions(par.fields).size)), field_decay.size - region.size
    features, from_fields = np.empty((field_weights.shape[0], n_windows)), np.empty((n_windows, n))
    flat_traces, flat_drive = traces.reshape(n_tau, -1), drive.reshape(n_tau, -1)
    flat_population, flat_features, flat_from_fields = population.ravel(), features.ravel(), from_fields.ravel()
    v, left, jump = np.empty(n_windows * n), np.empty(n_windows * n), np.empty(n_tau)
    places, bound = np.empty(v.size, dtype=np.uint64), np.empty(v.size, dtype=np.int32)
    may_fire = np.empty(v.size, dtype=np.bool_)
    counts, own, total = np.zeros((n_windows, n), dtype=np.int64), np.zeros(n_windows), np.zeros(n_windows)
    for w in range(n_windows):
        place_draws(keys[w], n, places[w * n : (w + 1) * n])
    done[:] = n_steps
    now, n_before, push = starts.copy(), np.searchsorted(response[0], starts, side="right"), np.empty(n)
    for t in range(n_steps):
        field_features(fields, n_windows, flat_population, flat_features)
        np.dot(features.T, field_weights, from_fields)
        potentials(units, flat_drive, flat_from_fields, v)
        if response[0].size:
            _push_windows(now, n_before, response, n, push, v)
            now += 1
        screen(places, t, n, v, units[4], left, bound, may_fire)
        for w in range(n_windows):
            own[w] = 0.0
            if done[w] < n_steps:
                continue
            part = slice(w * n, (w + 1) * n)
            own[w] = _draw_window(left[part], v[part], capacity, may_fire[part], counts[w])
            if own[w]:
                _add_moments(traces[:, w], features, w, counts[w], moments)
        fade(flat_traces, decay)
        fade(flat_drive, decay)
        for w in range(n_windows):
            if own[w]:
                receive(weights, saturation, traces[:, w], drive[:, w], counts[w], jump)
                total[w] += own[w]
                if total[w] > allowed[t]:
                    done[w] = t + 1
        for m in range(n_whole):
            for w in range(n_windows):
                population[m, w] = population[m, w] * field_decay[m] + own[w]
        if region.size:
            _count_by_region(home, counts, own, entering)
        for m in range(region.size):
            for w in range(n_windows):
                at = n_whole + m
                population[at, w] = population[at, w] * field_decay[at] + entering[w, region[m]]
