"""Spike-response networks with random parameters, and their spikes as dense counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoid.models.free_running import Advance
from organoid.models.spike_response.network import SpikeResponseParameters
from organoid.models.spike_response.terms.population import PopulationFields, no_fields

DT = 1e-3


def random_fields(
    rng: np.random.Generator, n_fields: int, *, products: bool, home: NDArray[np.int64] | None = None
) -> PopulationFields:
    """Fields of all units, and for each region (numbered in `home`) two more."""
    tau = 0.003 * 4.0 ** np.arange(n_fields)
    region = np.empty(0, dtype=np.int64) if home is None else np.repeat(np.unique(home), 2)
    n_products = n_fields * (n_fields + 1) // 2 if products else 0
    fields = PopulationFields(
        decay=np.exp(-DT / tau),
        mean=rng.uniform(0.5, 3.0, n_fields),
        shift=rng.normal(1.0, 0.2, n_fields),
        scale=rng.uniform(0.3, 1.0, n_fields),
        low=rng.uniform(-1.5, -0.5, n_fields),
        high=rng.uniform(0.5, 1.5, n_fields),
        product_shift=rng.normal(0.0, 0.3, n_products),
        product_scale=rng.uniform(0.5, 1.5, n_products),
    )
    if home is None:
        return fields
    more = random_fields(rng, region.size, products=False)
    joined = {name: np.concatenate([getattr(fields, name), getattr(more, name)]) for name in fields._fields}
    return PopulationFields(**joined | {"home": home, "region": region})


LOCAL = 1000  # random networks with a number from here on have fields of regions


def random_parameters(seed: int, **changes: Any) -> SpikeResponseParameters:
    """A lively network of any shape: several spikes a step, fields with products, clipped, saturating."""
    rng = np.random.default_rng(seed)
    n, n_tau = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    n_fields = int(rng.integers(0, 4))
    fields = random_fields(rng, n_fields, products=bool(rng.integers(2))) if n_fields else no_fields()
    if seed >= LOCAL:
        n = n + 2
        fields = random_fields(rng, n_fields, products=bool(seed % 2), home=rng.permutation(np.arange(n) % 3))
    p = SpikeResponseParameters(
        dt=DT,
        tau=rng.uniform(0.002, 0.05, n_tau),
        saturation=float(rng.choice([1.5, 3.0, np.inf])),
        weights=rng.normal(0.0, 1.0, (n_tau, n, n)),
        bias=rng.normal(-1.5, 0.5, n),
        capacity=rng.integers(1, 4, n),
        fields=fields,
        field_weights=rng.normal(0.0, 0.5, (fields.n_features, n)),
        drive_low=rng.uniform(-3.0, -0.5, n),
        drive_high=rng.uniform(0.5, 3.0, n),
        ceiling=rng.uniform(0.0, 2.0, n),
        rate_limit=np.inf,
    )
    return p._replace(**changes)


def dense(n_units: int, done: Advance) -> np.ndarray:
    counts = np.zeros((done.n_steps, n_units), dtype=np.int64)
    np.add.at(counts, (done.steps, done.units), 1)
    return counts
