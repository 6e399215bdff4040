"""Comparisons of fits, bit for bit."""

from __future__ import annotations

import numpy as np

from organoid.fitting import FitResult


def leaves(value: object) -> list[bytes]:
    """Every array and number of parameters, those of nested terms included, as bytes."""
    return [x for part in value for x in leaves(part)] if isinstance(value, tuple) else [np.asarray(value).tobytes()]


def same_network(one: FitResult, other: FitResult) -> None:
    for a, b in ((one.network, other.network), (one.uncoupled, other.uncoupled)):
        assert leaves(a.parameters) == leaves(b.parameters)
