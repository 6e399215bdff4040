"""Standardises population fields on a recording: mean, spread and range of each, and of their products."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.fitting.data.history import History
from organoid.fitting.teacher_forced.regions import Regions
from organoid.jit import inner, kernel
from organoid.models.spike_response.terms.population import (
    PopulationFields,
    field_features,
    log_fields,
    pack_fields,
    room_for_regions,
    update_population,
)

Array = NDArray[np.float64]

_TOGETHER = 64  # bins whose fields are worked out in one pass


@inner()
def _fill_population(
    bins: NDArray[Any],
    units: NDArray[Any],
    at: int,
    start: int,
    stop: int,
    fields: Any,
    population: NDArray[Any],
    by_region: NDArray[Any],
    out: NDArray[Any],
) -> int:
    """Write the traces before each of the bins ``[start, stop)``, carry them on, and return how far `bins` was read."""
    entering = np.empty(1)
    for t in range(start, stop):
        for m in range(population.size):
            out[m, t - start] = population[m]
        here = at
        by_region[:] = 0.0
        while at < bins.size and bins[at] == t:
            if by_region.size:
                by_region[fields.home[units[at]]] += 1.0
            at += 1
        entering[0] = at - here
        update_population(fields, entering, by_region, population)
    return at


@inner()
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
def _field_moments(bins: NDArray[Any], units: NDArray[Any], n_bins: int, observed: NDArray[Any], fields: Any) -> Any:
    n, packed = fields.decay.size, pack_fields(fields, _TOGETHER)
    population, by_region, at = fields.mean.copy(), room_for_regions(fields, 1), 0
    q = np.empty((n, _TOGETHER))
    q[:] = 1.0
    first, second = np.zeros(n), np.zeros(n)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for start in range(0, n_bins, _TOGETHER):
        stop = min(start + _TOGETHER, n_bins)
        at = _fill_population(bins, units, at, start, stop, fields, population, by_region, q)
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
def _product_moments(bins: NDArray[Any], units: NDArray[Any], n_bins: int, observed: NDArray[Any], fields: Any) -> Any:
    n, n_products, n_whole = fields.decay.size, fields.product_shift.size, fields.decay.size - fields.region.size
    packed, population, by_region, at = (
        pack_fields(fields, _TOGETHER),
        fields.mean.copy(),
        room_for_regions(fields, 1),
        0,
    )
    q, g = np.empty((n, _TOGETHER)), np.empty((n + n_products, _TOGETHER))
    q[:] = 1.0
    first, second = np.zeros(n_products), np.zeros(n_products)
    for start in range(0, n_bins, _TOGETHER):
        stop = min(start + _TOGETHER, n_bins)
        at = _fill_population(bins, units, at, start, stop, fields, population, by_region, q)
        field_features(packed, _TOGETHER, q.reshape(-1), g.reshape(-1))
        _add_moments(g[n_whole : n_whole + n_products], observed, start, stop, first, second)
    used = np.sum(observed)
    return first / used, second / used


def fit_fields(history: History, tau: Array, *, products: int, regions: Regions | None = None) -> PopulationFields:
    """Standardise population fields, and those of regions where there are any, on a recording.

    Parameters
    ----------
    history : History
        The training part.
    tau : ndarray, shape (n_fields,), s
    products : int
        How many of the fields, the first ones, have products that are features too.
    regions : Regions, optional
    """
    tau, source, home = _with_regions(tau, regions)
    decay = np.exp(-history.bin_width / tau)
    spikes = [history.bins.size, *(np.bincount(home[history.units]) if home.size else ())]
    rate = np.maximum(np.array(spikes)[source + 1] / max(history.n_bins, 1), 1e-9)
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
        home=home,
        region=source[source >= 0],
    )
    spiked = history.bins, history.units, history.n_bins, history.observed
    first, second, low, high = _field_moments(*spiked, fields)
    scale = _scale(first, second)
    fields = fields._replace(shift=first, scale=scale, low=(low - first) / scale, high=(high - first) / scale)
    if not products:
        return fields
    first, second = _product_moments(*spiked, fields)
    return fields._replace(product_shift=first, product_scale=_scale(first, second))


def _with_regions(tau: Array, regions: Regions | None) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return the time constant of all fields, the region each is of (-1: all units), and every unit's region."""
    everyone = np.full(tau.size, -1)
    if regions is None:
        return tau, everyone, np.empty(0, dtype=np.int64)
    source = np.repeat(np.arange(regions.n_regions), regions.tau.size)
    return np.concatenate([tau, np.tile(regions.tau, regions.n_regions)]), np.append(everyone, source), regions.home


def _scale(first: Array, second: Array) -> Array:
    deviation = np.sqrt(np.maximum(second - first**2, 0.0))
    return np.where(deviation > 1e-9, deviation, 1.0)
