"""Compiled population fields, of one network or of several copies that run in step.

Copies lie side by side in memory, so that one pass over a row serves them all with vector instructions; the
logarithm is written out for the same reason (a call to the library's cannot be vectorised).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.jit import kernel
from organoid.models.spike_response.population import LOG_GAIN

_LANES = 8  # rows are filled up to a multiple of it
_MANTISSA = 0x000FFFFFFFFFFFFF
_OVER_SQRT_2 = 0x6A09E667F3BCC  # mantissa bits of the square root of 2
_BIAS = 1023
_LOG_2 = float(np.log(2.0))


@kernel()
def pack_fields(fields: Any, copies: int) -> Any:
    """Return the constants of the fields, every one `copies` times, those of their products, and room to work in.

    A tuple of arrays: to take rows from a table in every step costs more than the arithmetic.
    """
    n = fields.mean.size
    width = -(-n * copies // _LANES) * _LANES
    gain, shift, rate, low, high = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    for m in range(n):
        for at in range(m * copies, (m + 1) * copies):
            gain[at] = LOG_GAIN / fields.mean[m]
            shift[at] = fields.shift[m]
            rate[at] = 1.0 / fields.scale[m]
            low[at] = fields.low[m]
            high[at] = fields.high[m]
    x, exponent, mantissa, z = np.ones(width), np.empty(width), np.empty(width), np.empty(width)
    room = (x, x.view(np.int64), exponent, mantissa, mantissa.view(np.int64), z)
    products = (fields.product_shift.copy(), 1.0 / fields.product_scale, n - fields.region.size)
    return (gain, shift, rate, low, high), products, room


@kernel(error_model="numpy", fastmath={"contract"})
def log_fields(packed: Any, population: NDArray[Any]) -> Any:
    r"""Return ``log(1 + 4 q / mean q)`` of each field, 1e-15 off at most where it is below 10.

    The logarithm is written out, to be worked out in vector registers (as the division is without a check for zero).
    With :math:`x = 2^e m` and m between the square roots of 1/2 and 2, :math:`\log x = e \log 2 + 2
    \operatorname{artanh} s`, :math:`s = (m - 1)/(m + 1)`, whose series in s ends below rounding after ten terms.
    """
    gain = packed[0][0]
    x, x_bits, exponent, mantissa, mantissa_bits, z = packed[2]
    for i in range(population.size):
        x[i] = 1.0 + gain[i] * population[i]
    for i in range(x.size):
        low = x_bits[i] & _MANTISSA
        above = np.int64(low > _OVER_SQRT_2)
        exponent[i] = (x_bits[i] >> 52) - _BIAS + above
        mantissa_bits[i] = low | ((_BIAS - above) << 52)
    for i in range(x.size):
        s = (mantissa[i] - 1.0) / (mantissa[i] + 1.0)
        q = s * s
        series = ((((q * (1 / 19) + 1 / 17) * q + 1 / 15) * q + 1 / 13) * q + 1 / 11) * q + 1 / 9
        series = (((series * q + 1 / 7) * q + 1 / 5) * q + 1 / 3) * q + 1.0
        z[i] = exponent[i] * _LOG_2 + 2.0 * s * series
    return z


@kernel(error_model="numpy", fastmath={"contract"})
def field_features(packed: Any, copies: int, population: NDArray[Any], out: NDArray[Any]) -> None:
    """Write the standardised, clipped fields of the whole population, their standardised products, and local fields.

    Parameters
    ----------
    packed : tuple
        From `pack_fields`.
    copies : int
    population : ndarray, shape (n_fields * copies,)
    out : ndarray, shape (n_features * copies,)
    """
    _, shift, rate, low, high = packed[0]
    middle, gain, n_whole = packed[1]
    z = log_fields(packed, population)
    for i in range(z.size):
        z[i] = min(max((z[i] - shift[i]) * rate[i], low[i]), high[i])
    at = n_whole * copies
    for i in range(at):
        out[i] = z[i]
    paired = int(np.sqrt(2.0 * middle.size))  # of the m (m + 1) / 2 products of m fields
    k = 0
    for a in range(paired):
        for b in range(a, paired):
            for c in range(copies):
                out[at + c] = (z[a * copies + c] * z[b * copies + c] - middle[k]) * gain[k]
            at += copies
            k += 1
    for i in range(n_whole * copies, population.size):
        out[at] = z[i]
        at += 1


@kernel()
def room_for_regions(fields: Any) -> Any:
    """Return a zero for each region: what enters its fields in a step."""
    return np.zeros(np.max(fields.region) + 1 if fields.region.size else 0)


@kernel()
def feed_regions(fields: Any, entering: NDArray[Any], population: NDArray[Any]) -> None:
    """Let what enters each region in a step (set to 0 then) enter its fields, which decay before."""
    first = fields.decay.size - fields.region.size
    for m in range(fields.region.size):
        at = first + m
        population[at] = population[at] * fields.decay[at] + entering[fields.region[m]]
    entering[:] = 0.0


@kernel()
def pack_local(fields: Any, weights: NDArray[Any]) -> Any:
    """Return the weights of local fields that are not 0, unit by unit: where each unit's begin, features, weights."""
    first, n = weights.shape[0] - fields.region.size, weights.shape[1]
    begin = np.zeros(n + 1, dtype=np.int64)
    for f in range(first, weights.shape[0]):
        for i in range(n):
            begin[i + 1] += weights[f, i] != 0.0
    begin = np.cumsum(begin)
    at, feature, weight = begin.copy(), np.empty(begin[-1], dtype=np.int64), np.empty(begin[-1])
    for f in range(first, weights.shape[0]):
        for i in range(n):
            if weights[f, i] != 0.0:
                feature[at[i]] = f
                weight[at[i]] = weights[f, i]
                at[i] += 1
    return begin, feature, weight


@kernel()
def weigh_local(packed: Any, features: NDArray[Any], out: NDArray[Any]) -> None:
    """Add what local fields contribute to every unit."""
    begin, feature, weight = packed
    for i in range(out.size):
        for k in range(begin[i], begin[i + 1]):
            out[i] += features[feature[k]] * weight[k]
