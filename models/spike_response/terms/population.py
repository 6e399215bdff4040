r"""Population fields: the mean-field drive every unit gets from the network.

With ``n(t)`` the summed spike count of all units in step ``t`` and time constants from 3 ms to 3 s:

.. math::

    q_m(t+1) &= q_m(t) e^{-dt/\tau_m} + n(t) \\
    z_m      &= \mathrm{clip}\big((\log(1 + 4 q_m/\bar q_m) - \mu_m)/\sigma_m\big), \qquad
    g        = (z_1, \dots, z_F, \text{standardised products } z_a z_b, a \le b)

Products may be those of the first few fields only; the fields after them, slow ones, follow a drifting
baseline. Log compression gives a high gain when the culture is quiet and saturation in a burst; slow fields
carry depression and recovery.

On a large array activity is local. There the last fields may be those of regions: the same equations, with ``n(t)``
the spikes of one region's units. They have no products, and come last among the features.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.jit import borrowing, inner, kernel

Array = NDArray[np.float64]

FIELD_TAUS = (0.003, 0.010, 0.030, 0.100, 0.300, 1.0, 3.0)  # s
LOG_GAIN = 4.0
_NONE = np.empty(0, dtype=np.int64)
_LANES = 8  # rows are filled up to a multiple of it
_MANTISSA = 0x000FFFFFFFFFFFFF
_OVER_SQRT_2 = 0x6A09E667F3BCC  # mantissa bits of the square root of 2
_BIAS = 1023
_LOG_2 = float(np.log(2.0))


class PopulationFields(NamedTuple):
    """Constants of the fields.

    Parameters
    ----------
    decay : ndarray, shape (n_fields,)
        Factor a step.
    mean : ndarray, shape (n_fields,)
        ``q`` at the mean rate, spikes.
    shift, scale, low, high : ndarray, shape (n_fields,)
        Standardisation of the logarithm, and the recorded range it is clipped to.
    product_shift, product_scale : ndarray, shape (n_products,)
        Standardisation of the products of the first m fields, in the order (0,0), (0,1), ..., (1,1), ...; the size,
        m (m + 1) / 2, tells m. Empty without products.
    home : ndarray of int64, shape (n_units,)
        Region of each unit; empty without local fields.
    region : ndarray of int64, shape (n_local,)
        The last `n_local` of the fields are local ones: whose spikes enter each of them.
    """

    decay: Array
    mean: Array
    shift: Array
    scale: Array
    low: Array
    high: Array
    product_shift: Array
    product_scale: Array
    home: NDArray[np.int64] = _NONE
    region: NDArray[np.int64] = _NONE

    @property
    def n_features(self) -> int:
        """Fields and products together."""
        return int(self.decay.size + self.product_shift.size)

    @property
    def n_whole(self) -> int:
        """Fields of the whole population."""
        return int(self.decay.size - self.region.size)

    @property
    def present(self) -> bool:
        """Whether the hash of a network covers the fields: always."""
        return True

    def check(self, n_units: int) -> None:
        """Raise a ModelError where regions do not fit a network of `n_units` units."""
        home, region = self.home, self.region
        if home.size != (n_units if region.size else 0) or region.size > self.decay.size:
            raise ModelError(
                f"{region.size} local fields with a region for {home.size} units; expected one region for each of "
                f"{n_units} units, and none without local fields"
            )
        if region.size and (min(home.min(), region.min()) < 0 or home.max() > region.max()):
            raise ModelError(
                "regions of units and of local fields must be 0 or more, and every unit's must have a field"
            )


def no_fields() -> PopulationFields:
    """Return the constants of a network without population fields."""
    none = np.empty(0)
    return PopulationFields(none, none, none, none, none, none, none, none)


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


@kernel()
def log_fields(packed: Any, population: NDArray[Any]) -> Any:
    """Return ``log(1 + 4 q / mean q)`` of each field, 1e-15 off at most where it is below 10."""
    _write_logs(packed, population)
    return packed[2][5]


@borrowing(error_model="numpy", fastmath={"contract"})
def _write_logs(packed: Any, population: NDArray[Any]) -> None:
    r"""Write the logarithms into the last array of the room to work in.

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


@borrowing(error_model="numpy", fastmath={"contract"})
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
    _write_logs(packed, population)
    z = packed[2][5]
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


class PopulationRoom(NamedTuple):
    """What the compiled step works out once, and where it works.

    Parameters
    ----------
    packed : tuple
        From `pack_fields`.
    features : ndarray, shape (n_features * n_copies,)
    whole, local : ndarray, tuple
        Weights of the features of the whole population, and those of regions as packed.
    share : ndarray, shape (n_regions,)
        Part of all units that each region holds.
    by_region : ndarray, shape (n_copies * n_regions,)
        What enters each region in a step.
    """

    packed: Any
    features: Array
    whole: Array
    local: Any
    share: Array
    by_region: Array


def resting_population(fields: PopulationFields, copies: int) -> Array:
    """Return the traces of networks at their mean rate, shape (n_fields * copies,)."""
    return np.repeat(fields.mean, copies)


@inner()
def room_for_regions(fields: Any, copies: int) -> Any:
    """Return a zero for each region of every copy: what enters its fields in a step."""
    return np.zeros(copies * (np.max(fields.region) + 1) if fields.region.size else 0)


@inner()
def prepare_population(fields: Any, weights: NDArray[Any], copies: int) -> Any:
    """Return room for the features of some copies of a network."""
    share = room_for_regions(fields, 1)
    for i in range(fields.home.size):
        share[fields.home[i]] += 1.0 / fields.home.size
    whole = weights[: weights.shape[0] - fields.region.size]
    features, by_region = np.empty(weights.shape[0] * copies), room_for_regions(fields, copies)
    return PopulationRoom(pack_fields(fields, copies), features, whole, pack_local(fields, weights), share, by_region)


@borrowing()
def write_features(room: Any, population: NDArray[Any], copies: int) -> None:
    """Write the features of the population into the room for them."""
    field_features(room.packed, copies, population, room.features)


@borrowing()
def write_from_population(
    weights: NDArray[Any], room: Any, population: NDArray[Any], copies: int, out: NDArray[Any]
) -> None:
    """Write what the population adds to the potential of every unit, copy by copy."""
    write_features(room, population, copies)
    if copies == 1:
        weigh_fields(room.whole, room.features[: room.whole.shape[0]], out)
        if room.share.size:
            weigh_local(room.local, room.features, out)
    else:
        _weigh_copies(weights, room.features, copies, out)


@kernel(_nrt=True)  # what numpy's product is made of counts references
def _weigh_copies(weights: NDArray[Any], features: NDArray[Any], copies: int, out: NDArray[Any]) -> None:
    by_feature = features.reshape((weights.shape[0], copies))
    np.dot(by_feature.T, weights, out.reshape((copies, weights.shape[1])))


@inner(fastmath={"contract"})
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


@borrowing()
def add_spikes_to_population(fields: Any, room: Any, spikes: Any, population: NDArray[Any]) -> None:
    """Let the spikes of a step (`organoid.models.spike_response.terms.spikes.Spikes`) enter the traces."""
    if room.share.size:
        _count_by_region(fields.home, room, spikes)
    update_population(fields, spikes.entering, room.by_region, population)


@borrowing()
def _count_by_region(home: NDArray[Any], room: Any, spikes: Any) -> None:
    n, n_regions = home.size, room.share.size
    for c in range(spikes.entering.size):
        first = c * n_regions
        for r in range(n_regions):
            room.by_region[first + r] = spikes.unseen[c] * room.share[r]
        for s in range(spikes.begin[c], spikes.begin[c + 1]):
            room.by_region[first + home[spikes.which[s] - c * n]] += spikes.weight[s]


@inner()
def add_count(decay: NDArray[Any], entering: float, population: NDArray[Any]) -> None:
    """Let the traces of one copy decay, then a count enter them; for a population without regions."""
    for m in range(decay.size):
        population[m] = population[m] * decay[m] + entering


@inner()
def update_population(fields: Any, entering: NDArray[Any], by_region: NDArray[Any], population: NDArray[Any]) -> None:
    """Let the traces decay, then what enters the population, and each region, enter them, copy by copy."""
    copies, n_whole = entering.size, fields.decay.size - fields.region.size
    for m in range(n_whole):
        for c in range(copies):
            population[m * copies + c] = population[m * copies + c] * fields.decay[m] + entering[c]
    n_regions = by_region.size // copies
    for m in range(n_whole, fields.decay.size):
        for c in range(copies):
            at = m * copies + c
            population[at] = population[at] * fields.decay[m] + by_region[c * n_regions + fields.region[m - n_whole]]


@inner()
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


@inner()
def weigh_local(packed: Any, features: NDArray[Any], out: NDArray[Any]) -> None:
    """Add what local fields contribute to every unit."""
    begin, feature, weight = packed
    for i in range(out.size):
        for k in range(begin[i], begin[i + 1]):
            out[i] += features[feature[k]] * weight[k]
