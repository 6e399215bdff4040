"""Compiled steps of the escape-noise LIF network; one thread, event-driven in the synapses."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from organoid.models.counter_rng import uniform_at
from organoid.models.fields import LOG_GAIN

_CHUNK_SPIKES = 65536


@numba.njit(cache=True)
def log_fields(mean: NDArray[Any], population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``log(1 + 4 q / mean q)`` of each field."""
    for m in range(mean.size):
        out[m] = np.log1p(LOG_GAIN * population[m] / mean[m])


@numba.njit(cache=True)
def field_features(fields: Any, population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the standardised, clipped fields and their standardised products."""
    n = fields.decay.size
    log_fields(fields.mean, population, out)
    for m in range(n):
        z = (out[m] - fields.shift[m]) / fields.scale[m]
        out[m] = min(max(z, fields.low[m]), fields.high[m])
    n_products = fields.product_shift.size
    if n_products == 0:
        return
    paired = int(np.sqrt(2.0 * n_products))  # of the m (m + 1) / 2 products of m fields
    k = 0
    for a in range(paired):
        for b in range(a, paired):
            out[n + k] = (out[a] * out[b] - fields.product_shift[k]) / fields.product_scale[k]
            k += 1


@numba.njit(cache=True)
def add_spike(traces: NDArray[Any], unit: int, saturation: float, jump: NDArray[Any]) -> None:
    """Add one spike to the traces of a unit; `jump` receives what each trace gained."""
    for k in range(traces.shape[0]):
        jump[k] = 1.0 - traces[k, unit] / saturation
        traces[k, unit] += jump[k]


@numba.njit(cache=True, inline="always")
def binomial(u: float, p: float, n: int) -> int:
    """Return the number of successes of `n` trials by inverting the distribution at `u`."""
    if n <= 0:
        return 0
    mass = (1.0 - p) ** n
    cumulative = mass
    k = 0
    while u >= cumulative and k < n:
        mass *= (n - k) / (k + 1.0) * p / (1.0 - p) if p < 1.0 else 0.0
        k = k + 1 if p < 1.0 else n
        cumulative += mass
    return k


@numba.njit(cache=True)
def potentials(
    par: Any, drive: NDArray[Any], population: NDArray[Any], features: NDArray[Any], out: NDArray[Any]
) -> None:
    """Write ``V`` of every unit."""
    field_features(par.fields, population, features)
    for i in range(out.size):
        synaptic = 0.0
        for k in range(drive.shape[0]):
            synaptic += drive[k, i]
        out[i] = par.bias[i] + min(max(synaptic, par.drive_low[i]), par.drive_high[i])
    for f in range(features.size):
        g = features[f]
        for i in range(out.size):
            out[i] += g * par.field_weights[f, i]
    for i in range(out.size):
        out[i] = min(out[i], par.ceiling[i])


@numba.njit(cache=True)
def receive(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    counts: NDArray[Any],
    jump: NDArray[Any],
) -> None:
    """Let every spike of this step enter the traces and the drive of all units."""
    n = counts.size
    for j in range(n):
        for _ in range(counts[j]):
            add_spike(traces, j, par.saturation, jump)
            for k in range(jump.size):
                for i in range(n):
                    drive[k, i] += jump[k] * par.weights[k, j, i]


@numba.njit(cache=True)
def _run(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    activity: float,
    activity_tau: float,
    key: np.uint64,
    first_step: int,
    done: int,
    n_steps: int,
    inj_steps: NDArray[Any],
    inj_units: NDArray[Any],
    field_weight: float,
    volley: NDArray[Any],
) -> Any:
    n = par.bias.size
    room = int(np.sum(par.capacity))
    out_steps = np.empty(_CHUNK_SPIKES + room, dtype=np.int64)
    out_units = np.empty(_CHUNK_SPIKES + room, dtype=np.int64)
    decay = np.exp(-par.dt / par.tau)
    leak = np.exp(-par.dt / activity_tau)
    features = np.empty(par.field_weights.shape[0])
    v = np.empty(n)
    counts = np.empty(n, dtype=np.int64)
    jump = np.empty(par.tau.size)
    n_out = 0
    next_injection = int(np.searchsorted(inj_steps, done))
    runaway = False
    while done < n_steps and n_out < _CHUNK_SPIKES and not runaway:
        counts[:] = 0
        n_forced = 0
        while next_injection < inj_steps.size and inj_steps[next_injection] == done:
            counts[inj_units[next_injection]] += 1
            n_forced += 1
            next_injection += 1
        potentials(par, drive, population, features, v)
        base = np.uint64(first_step + done) * np.uint64(n)
        n_own = 0
        for i in range(n):
            p = 1.0 / (1.0 + np.exp(-v[i]))
            own = binomial(uniform_at(key, base + np.uint64(i)), p, par.capacity[i] - counts[i])
            for _ in range(own):
                out_steps[n_out] = done
                out_units[n_out] = i
                n_out += 1
            counts[i] += own
            n_own += own
        for k in range(decay.size):
            for i in range(n):
                traces[k, i] *= decay[k]
                drive[k, i] *= decay[k]
        receive(par, traces, drive, counts, jump)
        for m in range(population.size):
            population[m] = population[m] * par.fields.decay[m] + n_own + field_weight * n_forced + volley[done]
        activity = activity * leak + (n_own + n_forced) / activity_tau
        done += 1
        runaway = activity > par.rate_limit
    return out_steps[:n_out], out_units[:n_out], done, activity, runaway


def advance_kernel(
    parameters: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    activity: float,
    activity_tau: float,
    key: np.uint64,
    first_step: int,
    done: int,
    n_steps: int,
    injection: Any,
) -> tuple[NDArray[np.int64], NDArray[np.int64], int, float, bool]:
    """Advance in place until `n_steps`, a full output buffer, or runaway.

    Returns
    -------
    steps, units : ndarray of int64
        Spikes of the network's own.
    done : int
        Steps done so far.
    activity : float
    runaway : bool
    """
    result: tuple[NDArray[np.int64], NDArray[np.int64], int, float, bool] = _run(
        parameters,
        traces,
        drive,
        population,
        activity,
        activity_tau,
        key,
        first_step,
        done,
        n_steps,
        injection.steps,
        injection.units,
        injection.field_weight,
        injection.volley,
    )
    return result
