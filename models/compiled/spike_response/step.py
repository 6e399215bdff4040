"""Compiled steps of the escape-noise LIF network; one thread, event-driven in the synapses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.compiled.spike_response.lagged import read_lagged, send_lagged
from organoid.models.compiled.spike_response.population import (
    feed_regions,
    field_features,
    pack_fields,
    pack_local,
    room_for_regions,
    weigh_local,
)
from organoid.models.compiled.spike_response.sampling import draw, place_draws, screen
from organoid.models.spike_response.brake import braked, update_brake
from organoid.models.spike_response.latent_drive import next_value

_CHUNK_SPIKES = 65536
_NOTHING = 1e-30


@kernel()
def pack_units(par: Any, copies: int) -> Any:
    """Return bias, lowest and highest drive, ceiling and capacity of the units, `copies` times each."""
    return (
        _repeat(par.bias, copies),
        _repeat(par.drive_low, copies),
        _repeat(par.drive_high, copies),
        _repeat(par.ceiling, copies),
        _repeat(par.capacity, copies),
    )


@kernel()
def _repeat(values: NDArray[Any], copies: int) -> NDArray[Any]:
    out = np.empty(copies * values.size)
    for at in range(out.size):
        out[at] = values[at % values.size]
    return out


@kernel()
def add_spike(traces: NDArray[Any], unit: int, saturation: float, jump: NDArray[Any]) -> None:
    """Add one spike to the traces of a unit; `jump` receives what each trace gained."""
    for k in range(traces.shape[0]):
        jump[k] = 1.0 - traces[k, unit] / saturation
        traces[k, unit] += jump[k]


@kernel()
def potentials(units: Any, drive: NDArray[Any], from_fields: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``V`` of every unit; `units` as packed, `drive` one row a time constant, `from_fields` what fields add."""
    bias, low, high, ceiling, _ = units
    out[:] = 0.0
    for k in range(drive.shape[0]):
        row = drive[k]
        for i in range(out.size):
            out[i] += row[i]
    for i in range(out.size):
        out[i] = min(bias[i] + min(max(out[i], low[i]), high[i]) + from_fields[i], ceiling[i])


@kernel(fastmath={"contract"})
def weigh_fields(weights: NDArray[Any], features: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``features @ weights``, four rows a pass: rows as arrays of their own become vector instructions."""
    out[:] = 0.0
    f = 0
    while f + 4 <= features.size:
        w_0, w_1, w_2, w_3 = weights[f], weights[f + 1], weights[f + 2], weights[f + 3]
        g_0, g_1, g_2, g_3 = features[f], features[f + 1], features[f + 2], features[f + 3]
        for i in range(out.size):
            out[i] += g_0 * w_0[i] + g_1 * w_1[i] + g_2 * w_2[i] + g_3 * w_3[i]
        f += 4
    for rest in range(f, features.size):
        w_0, g_0 = weights[rest], features[rest]
        for i in range(out.size):
            out[i] += g_0 * w_0[i]


@kernel()
def fade(values: NDArray[Any], decay: NDArray[Any]) -> None:
    """Let every row decay; what is too small to matter becomes 0 (denormal numbers are slow)."""
    for k in range(decay.size):
        row, factor = values[k], decay[k]
        for i in range(row.size):
            faded = row[i] * factor
            row[i] = faded if abs(faded) > _NOTHING else 0.0


@kernel()
def receive(
    weights: NDArray[Any],
    saturation: float,
    traces: NDArray[Any],
    drive: NDArray[Any],
    counts: NDArray[Any],
    jump: NDArray[Any],
) -> None:
    """Let every spike of this step enter the traces and the drive of all units."""
    for j in range(counts.size):
        for _ in range(counts[j]):
            add_spike(traces, j, saturation, jump)
            for k in range(jump.size):
                row, from_j, gain = drive[k], weights[k, j], jump[k]
                for i in range(counts.size):
                    row[i] += gain * from_j[i]


@kernel(nogil=True)
def _run(
    par: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    activity: float,
    activity_tau: float,
    latent: float,
    latent_key: np.uint64,
    key: np.uint64,
    first_step: int,
    done: int,
    n_steps: int,
    inj_steps: NDArray[Any],
    inj_units: NDArray[Any],
    field_weight: float,
    volley: NDArray[Any],
    drive_steps: NDArray[Any],
    pushed: NDArray[Any],
    future: NDArray[Any],
    brake_traces: NDArray[Any],
) -> Any:
    n = par.bias.size
    packed, fields = pack_units(par, 1), pack_fields(par.fields, 1)
    weights, field_weights, saturation, capacity = par.weights, par.field_weights, par.saturation, par.capacity
    field_decay, home, n_whole = par.fields.decay, par.fields.home, par.fields.decay.size - par.fields.region.size
    local, entering = pack_local(par.fields, field_weights), room_for_regions(par.fields)
    share = np.zeros(entering.size)
    for i in range(home.size):
        share[home[i]] += 1.0 / n
    everyones = field_weights[: field_weights.shape[0] - par.fields.region.size]
    room = int(np.sum(par.capacity))
    out_steps = np.empty(_CHUNK_SPIKES + room, dtype=np.int64)
    out_units = np.empty(_CHUNK_SPIKES + room, dtype=np.int64)
    decay = np.exp(-par.dt / par.tau)
    leak = np.exp(-par.dt / activity_tau)
    features = np.empty(par.field_weights.shape[0])
    places, bound, may_fire = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int32), np.empty(n, dtype=np.bool_)
    place_draws(key, n, places)
    loadings, keep, pair = par.latent.loadings, np.exp(-par.dt / par.latent.tau), np.empty(2, dtype=np.float32)
    v, from_fields, left = np.empty(n), np.empty(n), np.empty(n)
    has_lags, drives = future.shape[0] > 0, np.empty((par.tau.size + 1, n))
    counts = np.empty(n, dtype=np.int64)
    jump = np.empty(par.tau.size)
    n_out = 0
    next_injection = int(np.searchsorted(inj_steps, done))
    next_push = int(np.searchsorted(drive_steps, done))
    runaway = False
    while done < n_steps and n_out < _CHUNK_SPIKES and not runaway:
        counts[:] = 0
        n_forced = 0
        while next_injection < inj_steps.size and inj_steps[next_injection] == done:
            counts[inj_units[next_injection]] += 1
            if home.size:
                entering[home[inj_units[next_injection]]] += field_weight
            n_forced += 1
            next_injection += 1
        field_features(fields, 1, population, features)
        weigh_fields(everyones, features[: everyones.shape[0]], from_fields)
        if share.size:
            weigh_local(local, features, from_fields)
        for i in range(loadings.size):
            from_fields[i] += loadings[i] * latent
        if has_lags:
            read_lagged(future, first_step + done, drive, drives)
            potentials(packed, drives, from_fields, v)
        else:
            potentials(packed, drive, from_fields, v)
        driven = next_push < drive_steps.size and drive_steps[next_push] == done
        brake = braked(par.brake, brake_traces, driven)
        if brake > 0.0:
            for i in range(n):
                v[i] -= brake
        if driven:
            push = pushed[next_push]
            for i in range(n):
                v[i] += push[i]
            next_push += 1
        screen(places, first_step + done, n, v, packed[4], left, bound, may_fire)
        n_own = 0
        for i in range(n):
            if not may_fire[i]:
                continue
            own = draw(left[i], v[i], capacity[i] - counts[i])
            for _ in range(own):
                out_steps[n_out] = done
                out_units[n_out] = i
                n_out += 1
            if own and home.size:
                entering[home[i]] += own
            counts[i] += own
            n_own += own
        fade(traces, decay)
        fade(drive, decay)
        receive(weights, saturation, traces, drive, counts, jump)
        if has_lags:
            send_lagged(future, first_step + done, par.lags, par.lag_weights, counts)
        for m in range(n_whole):
            population[m] = population[m] * field_decay[m] + n_own + field_weight * n_forced + volley[done]
        update_brake(par.brake, n_own + field_weight * n_forced + volley[done], brake_traces)
        for r in range(share.size):
            entering[r] += volley[done] * share[r]
        feed_regions(par.fields, entering, population)
        activity = activity * leak + (n_own + n_forced) / activity_tau
        if loadings.size:
            latent = next_value(latent, keep, latent_key, first_step + done, pair)
        done += 1
        runaway = activity > par.rate_limit
    return out_steps[:n_out], out_units[:n_out], done, activity, latent, runaway


def advance_kernel(
    parameters: Any,
    traces: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    activity: float,
    activity_tau: float,
    latent: float,
    latent_key: np.uint64,
    key: np.uint64,
    first_step: int,
    done: int,
    n_steps: int,
    injection: Any,
    future: NDArray[Any],
    brake_traces: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int, float, float, bool]:
    """Advance in place until `n_steps`, a full output buffer, or runaway.

    Returns
    -------
    steps, units : ndarray of int64
        Spikes of the network's own.
    done : int
        Steps done so far.
    activity, latent : float
    runaway : bool
    """
    result: tuple[NDArray[np.int64], NDArray[np.int64], int, float, float, bool] = _run(
        parameters,
        traces,
        drive,
        population,
        activity,
        activity_tau,
        latent,
        latent_key,
        key,
        first_step,
        done,
        n_steps,
        injection.steps,
        injection.units,
        injection.field_weight,
        injection.volley,
        injection.drive_steps,
        injection.drive,
        future,
        brake_traces,
    )
    return result
