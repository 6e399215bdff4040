"""One step of the culture LIF network, in four parts, and the free run made of them.

`synaptic_current` -> `membrane` -> `log_odds` -> (spikes: drawn, or recorded) -> `transmit`. Free runs, forced passes
and windows call the same parts. Arrays of the state are changed in place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import borrowing, inner, kernel
from organoid.models.compiled.spike_response.sampling import draw, place_draws, screen
from organoid.models.spike_response.terms.brake import brake_potential, update_brake
from organoid.models.spike_response.terms.population import field_features, pack_fields, weigh_fields
from organoid.models.spike_response.terms.traces import NOTHING, decay_rows

_CHUNK_SPIKES = 65536


@inner()
def step_constants(par: Any) -> Any:
    """Return what is left after a step of traces, of what is depleted, and of thresholds raised."""
    n_types = par.tau.size
    decay, refill, relax = np.exp(-par.dt / par.tau), np.empty(n_types), np.exp(-par.dt / par.threshold_tau)
    for k in range(n_types):
        refill[k] = np.exp(-par.dt / par.recovery[k]) if par.use[k] > 0.0 else 0.0
    return decay, refill, relax


@kernel()
def add_release(
    traces: NDArray[Any], depleted: NDArray[Any], j: int, use: NDArray[Any], saturation: float, jump: NDArray[Any]
) -> None:
    """Let unit `j` release once: ``jump`` is what each of its traces gains, of resources that are then used."""
    for k in range(jump.size):
        jump[k] = (1.0 - depleted[k, j]) * (1.0 - traces[k, j] / saturation)
        traces[k, j] += jump[k]
        depleted[k, j] += use[k] * (1.0 - depleted[k, j])


@inner()
def synaptic_current(
    par: Any,
    fields: Any,
    drive: NDArray[Any],
    population: NDArray[Any],
    features: NDArray[Any],
    from_fields: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Write the current of every unit: bias, synapses (clipped) and population features."""
    field_features(fields, 1, population, features)
    weigh_fields(par.field_weights, features, from_fields)
    out[:] = 0.0
    for k in range(drive.shape[0]):
        row = drive[k]
        for i in range(out.size):
            out[i] += row[i]
    for i in range(out.size):
        out[i] = par.bias[i] + min(max(out[i], par.drive_low[i]), par.drive_high[i]) + from_fields[i]


@kernel()
def membrane(beta: float, current: NDArray[Any], voltage: NDArray[Any]) -> None:
    """Let potentials relax towards the current."""
    for i in range(voltage.size):
        voltage[i] = beta * voltage[i] + (1.0 - beta) * current[i]


@kernel()
def log_odds(
    threshold: NDArray[Any], increments: NDArray[Any], raised: NDArray[Any], voltage: NDArray[Any], out: NDArray[Any]
) -> None:
    """Write potentials minus thresholds."""
    for i in range(out.size):
        out[i] = voltage[i] - threshold[i]
    for c in range(increments.shape[0]):
        step, trace = increments[c], raised[c]
        for i in range(out.size):
            out[i] -= step[i] * trace[i]


@inner()
def transmit(
    par: Any,
    constants: Any,
    counts: NDArray[Any],
    entering: float,
    traces: NDArray[Any],
    depleted: NDArray[Any],
    drive: NDArray[Any],
    raised: NDArray[Any],
    population: NDArray[Any],
    voltage: NDArray[Any],
    jump: NDArray[Any],
) -> None:
    """Let time pass, then let the spikes of the step act: reset, release, raise thresholds, enter the population."""
    decay, refill, relax = constants
    decay_rows(traces, decay, NOTHING)
    decay_rows(drive, decay, NOTHING)
    decay_rows(depleted, refill, NOTHING)
    decay_rows(raised, relax, NOTHING)
    for j in range(counts.size):
        if counts[j] == 0:
            continue
        if par.hard_reset:
            voltage[j] = 0.0
        for c in range(raised.shape[0]):
            raised[c, j] += counts[j]
        for _ in range(counts[j]):
            add_release(traces, depleted, j, par.use, par.saturation, jump)
            for k in range(jump.size):
                row, from_j, gain = drive[k], par.weights[k, j], jump[k]
                for i in range(row.size):
                    row[i] += gain * from_j[i]
    for m in range(population.size):
        population[m] = population[m] * par.fields.decay[m] + entering


@inner()
def read_counts(steps: NDArray[Any], units: NDArray[Any], at: int, t: int, counts: NDArray[Any]) -> int:
    """Write how often every unit spikes in step `t`, from entry `at` on; return the first entry behind it."""
    counts[:] = 0
    while at < steps.size and steps[at] == t:
        counts[units[at]] += 1
        at += 1
    return at


@borrowing()
def _draw_own(
    capacity: NDArray[Any],
    left: NDArray[Any],
    u: NDArray[Any],
    may_fire: NDArray[Any],
    t: int,
    counts: NDArray[Any],
    out_steps: NDArray[Any],
    out_units: NDArray[Any],
    n_out: int,
) -> int:
    """Draw spikes beside those `counts` holds, add them there and to the output; return how far that is filled."""
    for i in range(u.size):
        if not may_fire[i]:
            continue
        own = draw(left[i], u[i], capacity[i] - counts[i])
        for _ in range(own):
            out_steps[n_out], out_units[n_out] = t, i
            n_out += 1
        counts[i] += own
    return n_out


@kernel(nogil=True)
def _run(
    par: Any,
    voltage: NDArray[Any],
    traces: NDArray[Any],
    depleted: NDArray[Any],
    drive: NDArray[Any],
    raised: NDArray[Any],
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
    drive_steps: NDArray[Any],
    pushed: NDArray[Any],
    brake_traces: NDArray[Any],
) -> Any:
    n, constants, fields = par.bias.size, step_constants(par), pack_fields(par.fields, 1)
    room = int(np.sum(par.capacity))
    out_steps, out_units = np.empty(_CHUNK_SPIKES + room, np.int64), np.empty(_CHUNK_SPIKES + room, np.int64)
    places, bound, may_fire = np.empty(n, np.uint64), np.empty(n, np.int32), np.empty(n, np.bool_)
    place_draws(key, n, places)
    capacity, left = par.capacity.astype(np.float64), np.empty(n)
    current, from_fields, u = np.empty(n), np.empty(n), np.empty(n)
    features, jump, counts = np.empty(par.field_weights.shape[0]), np.empty(par.tau.size), np.empty(n, np.int64)
    entered = np.empty(1)
    leak, n_out, runaway = np.exp(-par.dt / activity_tau), 0, False
    forced_at, push_at = int(np.searchsorted(inj_steps, done)), int(np.searchsorted(drive_steps, done))
    while done < n_steps and n_out < _CHUNK_SPIKES and not runaway:
        n_forced = -forced_at
        forced_at = read_counts(inj_steps, inj_units, forced_at, done, counts)
        n_forced += forced_at
        synaptic_current(par, fields, drive, population, features, from_fields, current)
        membrane(par.membrane_decay, current, voltage)
        log_odds(par.threshold, par.threshold_steps, raised, voltage, u)
        for i in range(n):
            u[i] = min(u[i], par.ceiling[i])
        driven = push_at < drive_steps.size and drive_steps[push_at] == done
        brake_potential(par.brake, brake_traces, driven, 1, u)
        if driven:
            for i in range(n):
                u[i] += pushed[push_at, i]
            push_at += 1
        screen(places, first_step + done, n, u, capacity, left, bound, may_fire)
        n_own = -n_out
        n_out = _draw_own(par.capacity, left, u, may_fire, done, counts, out_steps, out_units, n_out)
        n_own += n_out
        entering = n_own + field_weight * n_forced + volley[done]
        transmit(par, constants, counts, entering, traces, depleted, drive, raised, population, voltage, jump)
        entered[0] = entering
        update_brake(par.brake, entered, brake_traces)
        activity = activity * leak + (n_own + n_forced) / activity_tau
        done += 1
        runaway = activity > par.rate_limit
    return out_steps[:n_out], out_units[:n_out], done, activity, runaway


def advance_free(
    parameters: Any, state: Any, activity: float, activity_tau: float, done: int, n_steps: int, injection: Any
) -> Any:
    """Advance the arrays of a state in place until `n_steps`, a full output buffer, or runaway.

    Returns
    -------
    steps, units : ndarray of int64
        Spikes of the network's own.
    done : int
        Steps done so far.
    activity : float
    runaway : bool
    """
    return _run(
        parameters,
        state.voltage,
        state.traces,
        state.depleted,
        state.drive,
        state.raised,
        state.population,
        activity,
        activity_tau,
        np.uint64(state.key),
        state.step,
        done,
        n_steps,
        injection.steps,
        injection.units,
        injection.field_weight,
        injection.volley,
        injection.drive_steps,
        injection.drive,
        state.brake,
    )
