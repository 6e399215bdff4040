"""Which kind of synapses a model has, as plain values in a file; the numbers are in the state of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.models.registry import SYNAPSES
from organoid.models.synapses.dales_law import DalesLaw
from organoid.models.synapses.exponential import ExponentialSynapses
from organoid.models.synapses.short_term import ShortTermPlasticity
from organoid.models.synapses.sparse import SparseSynapses


def described(synapses: ExponentialSynapses) -> dict[str, Any]:
    """Return what `rebuilt` needs beside the stored state.

    Raises
    ------
    ModelError
        If their class is not in `organoid.models.SYNAPSES`.
    """
    kind = next((name for name, make in SYNAPSES.items() if make is type(synapses)), None)
    if kind is None:
        raise ModelError(f"{type(synapses).__name__} cannot be stored; expected one of {', '.join(SYNAPSES)}")
    release = getattr(synapses, "release", None)
    return {
        "kind": kind,
        "tau": synapses.tau,
        "delay": synapses.delay,
        "trainable": ["tau_syn"] if synapses.trains_constants else [],
        "dale": None if synapses.dale is None else asdict(synapses.dale),
        "release": None if release is None else asdict(release),
    }


def rebuilt(found: dict[str, Any], n_units: int, dt: float, state: Mapping[str, NDArray[Any]]) -> ExponentialSynapses:
    """Return synapses of the kind, with the connections and delays of a stored state; their numbers are still to load.

    Parameters
    ----------
    found : dict
        What `described` returned.
    n_units : int
    dt : float
        Step, s.
    state : mapping of arrays
        The state of the synapses by name.
    """
    make: Callable[..., ExponentialSynapses] = SYNAPSES[found["kind"]]
    options: dict[str, Any] = {
        "tau": tuple(found["tau"]),
        "trainable": tuple(found["trainable"]),
        "dale": None if found["dale"] is None else _dale(**found["dale"]),
        "mask": None,
        "delay": found["delay"] * dt,
    }
    if found["release"] is not None:
        options["release"] = ShortTermPlasticity(**found["release"])
    if issubclass(SYNAPSES[found["kind"]], SparseSynapses):
        at = torch.from_numpy(state["pre"]), torch.from_numpy(state["post"])
        options["mask"] = torch.zeros(n_units, n_units, dtype=torch.bool).index_put(at, torch.tensor(True))
        lag = torch.from_numpy(state["lag"]).double()
        options["delay"] = torch.zeros(n_units, n_units, dtype=torch.float64).index_put(at, lag) * dt
    return make(n_units, dt, scale=1.0, generator=torch.Generator(), **options)


def _dale(signs: list[int] | None, strength: float) -> DalesLaw:
    return DalesLaw(None if signs is None else tuple(signs), strength)
