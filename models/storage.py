"""Networks in HDF5 groups: one dataset a parameter."""

from typing import Any

import h5py
import numpy as np
from organoid.models.escape_lif import EscapeLIF, EscapeLIFParameters
from organoid.models.fields import PopulationFields

from organoid.errors import ModelError

_MODEL = "model"
_FIELDS = "fields"


def put_network(group: h5py.Group, network: Any) -> None:
    """Write a network into an empty group.

    Raises
    ------
    ModelError
        If this kind of network cannot be stored.
    """
    if not isinstance(network, EscapeLIF):
        raise ModelError(f"a network of type {type(network).__name__} cannot be stored; expected EscapeLIF")
    group.attrs[_MODEL] = "escape_lif"
    for name, value in network.parameters._asdict().items():
        if name == _FIELDS:
            for part, constants in value._asdict().items():
                group.create_dataset(f"{_FIELDS}/{part}", data=constants)
        else:
            group.create_dataset(name, data=value)


def take_network(group: h5py.Group) -> EscapeLIF:
    """Read a network that `put_network` wrote; all numbers come back bit for bit.

    Raises
    ------
    ModelError
        If the group holds another model or lacks a parameter.
    """
    if group.attrs.get(_MODEL) != "escape_lif":
        raise ModelError(f"group {group.name!r} holds model {group.attrs.get(_MODEL)!r}; expected 'escape_lif'")
    names = [name for name in EscapeLIFParameters._fields if name != _FIELDS]
    parts = [f"{_FIELDS}/{part}" for part in PopulationFields._fields]
    absent = [name for name in (*names, *parts) if name not in group]
    if absent:
        raise ModelError(f"group {group.name!r} lacks the parameter {absent[0]!r} of an escape_lif network")
    values = {name: _value(group[name]) for name in names}
    fields = PopulationFields(*(np.asarray(group[part][()]) for part in parts))
    return EscapeLIF(EscapeLIFParameters(**values, fields=fields))


def _value(dataset: h5py.Dataset) -> Any:
    return float(dataset[()]) if dataset.shape == () else np.asarray(dataset[()])
