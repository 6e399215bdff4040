"""Standardises population fields on a recording: mean, spread and range of each, and of their products."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.compiled import kernel
from organoid.fitting.history import History
from organoid.models.field_kernels import field_features, log_fields, pack_fields
from organoid.models.fields import PopulationFields

Array = NDArray[np.float64]

_TOGETHER = 64  # bins whose fields are worked out in one pass


@kernel()
def _fill_population(
    bins: NDArray[Any],
    at: int,
    start: int,
    stop: int,
    decay: NDArray[Any],
    population: NDArray[Any],
    out: NDArray[Any],
) -> int:
    """Write the traces before each of the bins ``[start, stop)``, carry them on, and return how far `bins` was read."""
    for t in range(start, stop):
        out[:, t - start] = population
        here = at
        while at < bins.size and bins[at] == t:
            at += 1
        for m in range(decay.size):
            population[m] = population[m] * decay[m] + (at - here)
    return at


@kernel()
def _add_moments(
    values: NDArray[Any], observed: NDArray[Any], start: int, stop: int, first: NDArray[Any], second: NDArray[Any]
) -> None:
    for m in range(first.size):
        for t in range(start, stop):
            if observed[t]:
                value = values[m, t - start]
                first[m] += value
                second[m] += value * value


@kernel()
def _field_moments(bins: NDArray[Any], n_bins: int, observed: NDArray[Any], fields: Any) -> Any:
    n, packed = fields.decay.size, pack_fields(fields, _TOGETHER)
    population, at = fields.mean.copy(), 0
    q = np.empty((n, _TOGETHER))
    q[:] = 1.0
    first, second = np.zeros(n), np.zeros(n)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for start in range(0, n_bins, _TOGETHER):
        stop = min(start + _TOGETHER, n_bins)
        at = _fill_population(bins, at, start, stop, fields.decay, population, q)
        z = log_fields(packed, q.reshape(-1))[: n * _TOGETHER].reshape((n, _TOGETHER))
        _add_moments(z, observed, start, stop, first, second)
        for m in range(n):
            for t in range(start, stop):
                if observed[t]:
                    low[m] = min(low[m], z[m, t - start])
                    high[m] = max(high[m], z[m, t - start])
    used = np.sum(observed)
    return first / used, second / used, low, high


@kernel()
def _product_moments(bins: NDArray[Any], n_bins: int, observed: NDArray[Any], fields: Any) -> Any:
    n, n_products = fields.decay.size, fields.product_shift.size
    packed, population, at = pack_fields(fields, _TOGETHER), fields.mean.copy(), 0
    q, g = np.empty((n, _TOGETHER)), np.empty((n + n_products, _TOGETHER))
    q[:] = 1.0
    first, second = np.zeros(n_products), np.zeros(n_products)
    for start in range(0, n_bins, _TOGETHER):
        stop = min(start + _TOGETHER, n_bins)
        at = _fill_population(bins, at, start, stop, fields.decay, population, q)
        field_features(packed, _TOGETHER, q.reshape(-1), g.reshape(-1))
        _add_moments(g[n:], observed, start, stop, first, second)
    used = np.sum(observed)
    return first / used, second / used


def fit_fields(history: History, tau: Array, *, products: int) -> PopulationFields:
    """Standardise population fields on a recording.

    Parameters
    ----------
    history : History
        The training part.
    tau : ndarray, shape (n_fields,), s
    products : int
        How many of the fields, the first ones, have products that are features too.
    """
    decay = np.exp(-history.bin_width / tau)
    rate = max(history.bins.size / max(history.n_bins, 1), 1e-9)
    mean = rate / (1.0 - decay)
    n_products, zero = products * (products + 1) // 2, np.zeros(tau.size)
    fields = PopulationFields(
        decay=decay,
        mean=mean,
        shift=zero,
        scale=zero + 1.0,
        low=zero,
        high=zero,
        product_shift=np.zeros(n_products),
        product_scale=np.ones(n_products),
    )
    first, second, low, high = _field_moments(history.bins, history.n_bins, history.observed, fields)
    scale = _scale(first, second)
    fields = fields._replace(shift=first, scale=scale, low=(low - first) / scale, high=(high - first) / scale)
    if not products:
        return fields
    first, second = _product_moments(history.bins, history.n_bins, history.observed, fields)
    return fields._replace(product_shift=first, product_scale=_scale(first, second))


def _scale(first: Array, second: Array) -> Array:
    deviation = np.sqrt(np.maximum(second - first**2, 0.0))
    return np.where(deviation > 1e-9, deviation, 1.0)
