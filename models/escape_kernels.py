"""Compiled steps of the escape-noise LIF network; one thread, event-driven in the synapses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from organoid.models.counter_rng import uniform_at
from organoid.models.fields import LOG_GAIN

from organoid.compiled import kernel

_CHUNK_SPIKES = 65536
_FLOOR, _CELLS_A_LOGIT = -40.0, 16.0  # below the floor no draw of 53 bits can be a spike
_BOUND = 1.0 / (1.0 + np.exp(-(_FLOOR + (np.arange(1280) + 1.0) / _CELLS_A_LOGIT)))  # of p in each cell of V
_BOUND[0], _BOUND[-1] = 0.0, 1.0
_ROUNDING = 1e-12
_NOTHING = 1e-30


@kernel()
def log_fields(mean: NDArray[Any], population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``log(1 + 4 q / mean q)`` of each field."""
    for m in range(mean.size):
        out[m] = np.log1p(LOG_GAIN * population[m] / mean[m])


@kernel()
def field_features(fields: Any, population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the standardised, clipped fields and their standardised products."""
    _field_features(pack_fields(fields), pack_products(fields), population, out)


@kernel()
def pack_fields(fields: Any) -> NDArray[Any]:
    """Return mean, shift, scale, low and high as rows (taking them from the tuple in every step is slow)."""
    packed = np.empty((5, fields.mean.size))
    packed[0], packed[1], packed[2], packed[3], packed[4] = (
        fields.mean,
        fields.shift,
        fields.scale,
        fields.low,
        fields.high,
    )
    return packed


@kernel()
def pack_products(fields: Any) -> NDArray[Any]:
    """Return shift and scale of the products as rows."""
    packed = np.empty((2, fields.product_shift.size))
    packed[0], packed[1] = fields.product_shift, fields.product_scale
    return packed


@kernel()
def pack_units(par: Any) -> NDArray[Any]:
    """Return bias, lowest and highest drive and ceiling of the units as rows."""
    packed = np.empty((4, par.bias.size))
    packed[0], packed[1], packed[2], packed[3] = par.bias, par.drive_low, par.drive_high, par.ceiling
    return packed


@kernel()
def _field_features(fields: NDArray[Any], products: NDArray[Any], population: NDArray[Any], out: NDArray[Any]) -> None:
    mean, shift, scale, low, high = fields[0], fields[1], fields[2], fields[3], fields[4]
    n = mean.size
    log_fields(mean, population, out)
    for m in range(n):
        z = (out[m] - shift[m]) / scale[m]
        out[m] = min(max(z, low[m]), high[m])
    if products.size == 0:
        return
    product_shift, product_scale = products[0], products[1]
    paired = int(np.sqrt(2.0 * product_shift.size))  # of the m (m + 1) / 2 products of m fields
    k = 0
    for a in range(paired):
        first = out[a]
        for b in range(a, paired):
            out[n + k] = (first * out[b] - product_shift[k]) / product_scale[k]
            k += 1


@kernel()
def add_spike(traces: NDArray[Any], unit: int, saturation: float, jump: NDArray[Any]) -> None:
    """Add one spike to the traces of a unit; `jump` receives what each trace gained."""
    for k in range(traces.shape[0]):
        jump[k] = 1.0 - traces[k, unit] / saturation
        traces[k, unit] += jump[k]


@kernel(inline="always")
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


@kernel(inline="always")
def draw(u: float, v: float, n: int) -> int:
    """Return the spikes of `n` trials at potential `v`.

    Nearly all draws are none, and a tabled bound on p shows it: ``(1 - p)^n >= 1 - n p``.
    """
    cell = int(min(max((v - _FLOOR) * _CELLS_A_LOGIT, 0.0), _BOUND.size - 1.0))
    if u < 1.0 - n * _BOUND[cell] - _ROUNDING * (cell > 0):
        return 0
    count: int = binomial(u, 1.0 / (1.0 + np.exp(-v)), n)
    return count


@kernel()
def potentials(
    units: NDArray[Any],
    weights: NDArray[Any],
    fields: NDArray[Any],
    products: NDArray[Any],
    drive: NDArray[Any],
    population: NDArray[Any],
    features: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Write ``V`` of every unit; `units`, `fields` and `products` as packed, `weights` those of the fields."""
    _field_features(fields, products, population, features)
    bias, low, high, ceiling = units[0], units[1], units[2], units[3]
    out[:] = 0.0
    for k in range(drive.shape[0]):
        row = drive[k]
        for i in range(out.size):
            out[i] += row[i]
    for i in range(out.size):
        out[i] = bias[i] + min(max(out[i], low[i]), high[i])
    _add_rows(weights, features, out)
    for i in range(out.size):
        out[i] = min(out[i], ceiling[i])


@kernel()
def _add_rows(weights: NDArray[Any], features: NDArray[Any], out: NDArray[Any]) -> None:
    """Add ``features @ weights``, four rows a pass: rows as arrays of their own become vector instructions."""
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
    packed, fields, products = pack_units(par), pack_fields(par.fields), pack_products(par.fields)
    weights, field_weights, saturation, capacity = par.weights, par.field_weights, par.saturation, par.capacity
    field_decay = par.fields.decay
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
        potentials(packed, field_weights, fields, products, drive, population, features, v)
        base = np.uint64(first_step + done) * np.uint64(n)
        n_own = 0
        for i in range(n):
            own = draw(uniform_at(key, base + np.uint64(i)), v[i], capacity[i] - counts[i])
            for _ in range(own):
                out_steps[n_out] = done
                out_units[n_out] = i
                n_out += 1
            counts[i] += own
            n_own += own
        fade(traces, decay)
        fade(drive, decay)
        receive(weights, saturation, traces, drive, counts, jump)
        for m in range(population.size):
            population[m] = population[m] * field_decay[m] + n_own + field_weight * n_forced + volley[done]
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
