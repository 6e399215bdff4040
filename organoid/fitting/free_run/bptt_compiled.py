"""Compiled free-running windows of the escape-noise network that keep a tape, and their adjoint."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.spike_response.population import (
    feed_regions,
    field_features,
    pack_fields,
    room_for_regions,
)
from organoid.models.compiled.spike_response.sampling import binomial
from organoid.models.compiled.spike_response.step import pack_units, potentials, receive, weigh_fields
from organoid.models.rng import uniform_at
from organoid.models.spike_response.population import LOG_GAIN

OPEN_DRIVE, OPEN_POTENTIAL = 1, 2


class Tape(NamedTuple):
    """What the adjoint needs of every step of every window; all have the shape (window, step, ...).

    Parameters
    ----------
    traces : ndarray, shape (..., n_tau * n_units)
        Before the step.
    population : ndarray, shape (..., n_fields)
    features : ndarray, shape (..., n_features)
    counts, probability : ndarray, shape (..., n_units)
    flags : ndarray of uint8, shape (..., n_units)
        Whether the drive and the potential were inside their range.
    """

    traces: NDArray[Any]
    population: NDArray[Any]
    features: NDArray[Any]
    counts: NDArray[Any]
    probability: NDArray[Any]
    flags: NDArray[Any]


def blank_tape(n_windows: int, n_steps: int, parameters: Any, dtype: Any) -> Tape:
    """Return room for a tape."""
    n, n_tau, fields = parameters.bias.size, parameters.tau.size, parameters.fields

    def room(width: int, kind: Any = dtype) -> NDArray[Any]:
        return np.empty((n_windows, n_steps, width), dtype=kind)

    return Tape(room(n_tau * n), room(fields.decay.size), room(fields.n_features), room(n), room(n), room(n, np.uint8))


@kernel(inline="always")
def gain_of(count: float, probability: float, capacity: int, saturation: float, expected: bool) -> float:
    """Return ``c``, what the spikes of a step add to an empty trace: of a count, or expected of a probability."""
    if capacity == 1 or saturation == np.inf:
        return count
    if expected:
        return saturation * float(1.0 - (1.0 - probability / saturation) ** capacity)
    return saturation * float(1.0 - (1.0 - 1.0 / saturation) ** count)


@kernel()
def _receive_expected(
    par: Any, traces: NDArray[Any], drive: NDArray[Any], counts: NDArray[Any], probability: NDArray[Any]
) -> None:
    n_tau, n = traces.shape
    for j in range(n):
        c = gain_of(counts[j], probability[j], par.capacity[j], par.saturation, True)
        for k in range(n_tau):
            jump = c * (1.0 - traces[k, j] / par.saturation)
            traces[k, j] += jump
            for i in range(n):
                drive[k, i] += jump * par.weights[k, j, i]


@kernel()
def _flags(par: Any, drive: NDArray[Any], v: NDArray[Any], out: NDArray[Any]) -> None:
    for i in range(v.size):
        synaptic = 0.0
        for k in range(drive.shape[0]):
            synaptic += drive[k, i]
        out[i] = 0
        if par.drive_low[i] <= synaptic <= par.drive_high[i]:
            out[i] += OPEN_DRIVE
        if v[i] < par.ceiling[i]:
            out[i] += OPEN_POTENTIAL


@kernel(nogil=True)
def run_window(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    key: np.uint64,
    expected: bool,
    window: int,
    tape: Any,
) -> None:
    """Run one window from its state (changed in place); sampled, or on expected counts."""
    n_tau, n = traces.shape
    decay = np.exp(-par.dt / par.tau)
    features, from_fields = np.empty(par.field_weights.shape[0]), np.empty(n)
    v, jump = np.empty(n), np.empty(n_tau)
    whole, counts, p = np.empty(n, dtype=np.int64), np.empty(n), np.empty(n)
    units, fields = pack_units(par, 1), pack_fields(par.fields, 1)
    home, entering = par.fields.home, room_for_regions(par.fields)
    for t in range(tape.counts.shape[1]):
        field_features(fields, 1, population, features)
        weigh_fields(par.field_weights, features, from_fields)
        potentials(units, drive, from_fields, v)
        _flags(par, drive, v, tape.flags[window, t])
        for k in range(n_tau):
            for j in range(n):
                tape.traces[window, t, k * n + j] = traces[k, j]
        tape.population[window, t] = population
        tape.features[window, t] = features
        base, total = np.uint64(t) * np.uint64(n), 0.0
        for i in range(n):
            p[i] = 1.0 / (1.0 + np.exp(-v[i]))
            if expected:
                counts[i] = par.capacity[i] * p[i]
            else:
                whole[i] = binomial(uniform_at(key, base + np.uint64(i)), p[i], par.capacity[i])
                counts[i] = whole[i]
            total += counts[i]
            if home.size:
                entering[home[i]] += counts[i]
        tape.counts[window, t] = counts
        tape.probability[window, t] = p
        for k in range(n_tau):
            for i in range(n):
                traces[k, i] *= decay[k]
                drive[k, i] *= decay[k]
        if expected:
            _receive_expected(par, traces, drive, counts, p)
        else:
            receive(par.weights, par.saturation, traces, drive, whole, jump)
        for m in range(population.size - par.fields.region.size):
            population[m] = population[m] * par.fields.decay[m] + total
        feed_regions(par.fields, entering, population)


@kernel()
def _through_fields(
    fields: Any,
    population: NDArray[Any],
    features: NDArray[Any],
    by_features: NDArray[Any],
    by_z: NDArray[Any],
    by_population: NDArray[Any],
) -> None:
    """Add the gradient with respect to the population traces, given that with respect to all features."""
    n, n_products = population.size, fields.product_shift.size
    n_whole = n - fields.region.size
    for m in range(n):
        by_z[m] = by_features[m if m < n_whole else m + n_products]
    if n_products:
        at, paired = n_whole, int(np.sqrt(2.0 * n_products))  # as in `field_features`
        for a in range(paired):
            for b in range(a, paired):
                g = by_features[at] / fields.product_scale[at - n_whole]
                by_z[a] += g * features[b]
                by_z[b] += g * features[a]
                at += 1
    for m in range(n):
        raw = (np.log1p(LOG_GAIN * population[m] / fields.mean[m]) - fields.shift[m]) / fields.scale[m]
        if fields.low[m] <= raw <= fields.high[m]:
            slope = LOG_GAIN / (fields.mean[m] + LOG_GAIN * population[m]) / fields.scale[m]
            by_population[m] += by_z[m] * slope


@kernel(nogil=True)
def walk_back(
    par: Any,
    back_weights: NDArray[Any],
    back_fields: NDArray[Any],
    tape: Any,
    expected: bool,
    memory: int,
    window: int,
    by_count: NDArray[Any],
    by_drive: NDArray[Any],
    by_potential: NDArray[Any],
) -> None:
    """Write the gradients with respect to the drive and ``V`` of one window, given that with respect to its spikes.

    Parameters
    ----------
    back_weights : ndarray, shape (n_tau, n_post, n_pre)
    back_fields : ndarray, shape (n_post, n_features)
    memory : int
        Steps after which what is carried back is dropped.
    by_count, by_drive, by_potential : ndarray, shape (window, step, unit)
    """
    n_tau, n, n_fields = par.tau.size, par.bias.size, par.fields.decay.size
    decay, s_max = np.exp(-par.dt / par.tau), par.saturation
    by_traces, by_population = np.zeros((n_tau, n)), np.zeros(n_fields)
    by_features, by_z = np.empty(par.field_weights.shape[0]), np.empty(n_fields)
    by_v, by_d = np.empty(n), np.empty(n)
    region, home, by_region = par.fields.region, par.fields.home, room_for_regions(par.fields)
    n_whole = n_fields - region.size
    for t in range(tape.counts.shape[1] - 1, -1, -1):
        shared = by_population[:n_whole].sum()
        by_region[:] = 0.0
        for m in range(region.size):
            by_region[region[m]] += by_population[n_whole + m]
        for i in range(n):
            p, capacity = tape.probability[window, t, i], par.capacity[i]
            gain = gain_of(tape.counts[window, t, i], p, capacity, s_max, expected)
            by_gain = 0.0
            for k in range(n_tau):
                decayed = tape.traces[window, t, k * n + i] * decay[k]
                by_gain += by_traces[k, i] * (1.0 - decayed / s_max)
                by_traces[k, i] *= decay[k] * (1.0 - gain / s_max)
            if capacity > 1:
                by_gain *= (1.0 - p / s_max) ** (capacity - 1)
            flags = tape.flags[window, t, i]
            slope = capacity * p * (1.0 - p) if flags & OPEN_POTENTIAL else 0.0
            by_fields = shared + by_region[home[i]] if home.size else shared
            by_v[i] = slope * (by_count[window, t, i] + by_fields + by_gain)
            by_d[i] = by_v[i] if flags & OPEN_DRIVE else 0.0
        by_potential[window, t] = by_v
        by_drive[window, t] = by_d
        for k in range(n_tau):
            for i in range(n):
                for j in range(n):
                    by_traces[k, j] += back_weights[k, i, j] * by_d[i]
        for m in range(n_fields):
            by_population[m] *= par.fields.decay[m]
        by_features[:] = 0.0
        for i in range(n):
            for f in range(by_features.size):
                by_features[f] += back_fields[i, f] * by_v[i]
        _through_fields(
            par.fields, tape.population[window, t], tape.features[window, t], by_features, by_z, by_population
        )
        if t % memory == 0:
            by_traces[:] = 0.0
            by_population[:] = 0.0
