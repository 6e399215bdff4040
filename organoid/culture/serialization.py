"""Networks and cultures in HDF5 groups, to be brought to life again exactly.

A network is stored by its kind: the attribute ``kind`` and one attribute or dataset for each parameter. Kinds are
registered in `NETWORK_KINDS`; a network of another kind cannot be stored.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import h5py

from organoid.culture.calibration import StimulationCalibration
from organoid.culture.presets import PresetCulture
from organoid.culture.recruitment import Recruitment
from organoid.errors import ModelError
from organoid.hdf5.layout import read_table, write_table
from organoid.models import serialization as model_storage
from organoid.models.culture_lif.network import CultureLIFNetwork
from organoid.models.free_running import FreeRunningNetwork
from organoid.models.simulators.dense_lif import LIFSimulator
from organoid.models.simulators.event_driven import EventDrivenLIF
from organoid.models.simulators.stepwise import StepwiseSimulator
from organoid.models.spike_response.network import SpikeResponseNetwork

KIND = "kind"
_NETWORK, _UNITS, _ELECTRODES = "network", "units", "electrodes"


class NetworkKind(NamedTuple):
    """How one class of networks is written and read."""

    network: type
    put: Callable[[h5py.Group, Any], None]
    take: Callable[[h5py.Group], FreeRunningNetwork]


def can_store(network: FreeRunningNetwork) -> bool:
    """Return whether `write_network` knows the kind of this network."""
    return _kind_of(network) is not None


def write_network(group: h5py.Group, network: FreeRunningNetwork) -> None:
    """Write a network into an empty group.

    Raises
    ------
    ModelError
        If its kind is not registered.
    """
    name = _kind_of(network)
    if name is None:
        raise ModelError(f"{type(network).__name__} cannot be stored; networks that can: {', '.join(NETWORK_KINDS)}")
    group.attrs[KIND] = name
    NETWORK_KINDS[name].put(group, network)


def read_network(group: h5py.Group) -> FreeRunningNetwork:
    """Read the network `write_network` wrote.

    Raises
    ------
    ModelError
        If its kind is not registered here, or part of it is missing.
    """
    kind = group.attrs.get(KIND)
    if kind not in NETWORK_KINDS:
        raise ModelError(f"a stored network of kind {kind!r}; expected one of {', '.join(NETWORK_KINDS)}")
    return NETWORK_KINDS[kind].take(group)


def _kind_of(network: FreeRunningNetwork) -> str | None:
    return next((name for name, kind in NETWORK_KINDS.items() if isinstance(network, kind.network)), None)


def write_settings(group: h5py.Group, recruitment: Recruitment, calibration: StimulationCalibration) -> None:
    """Write how pulses reach a culture."""
    group.attrs["recruitment"] = json.dumps(asdict(recruitment))
    group.attrs["calibration"] = json.dumps(asdict(calibration))


def read_settings(group: h5py.Group) -> tuple[Recruitment, StimulationCalibration]:
    """Read what `write_settings` wrote."""
    recruitment, calibration = (json.loads(group.attrs[name]) for name in ("recruitment", "calibration"))
    return Recruitment(**recruitment), StimulationCalibration(**calibration)


def _put_preset(group: h5py.Group, culture: PresetCulture) -> None:
    group.attrs["preset"] = culture.name
    write_network(group.create_group(_NETWORK), culture.network)
    write_table(group, _UNITS, culture.units)
    write_table(group, _ELECTRODES, culture.electrodes)


def _take_preset(group: h5py.Group) -> PresetCulture:
    tables = read_table(group, _UNITS), read_table(group, _ELECTRODES)
    return PresetCulture(str(group.attrs["preset"]), read_network(group[_NETWORK]), *tables)


NETWORK_KINDS: dict[str, NetworkKind] = {
    "culture_lif": NetworkKind(CultureLIFNetwork, model_storage.write_network, model_storage.read_network),
    "escape_lif": NetworkKind(SpikeResponseNetwork, model_storage.write_network, model_storage.read_network),
    "event_lif": NetworkKind(EventDrivenLIF, model_storage.write_network, model_storage.read_network),
    "free_lif": NetworkKind(LIFSimulator, model_storage.write_network, model_storage.read_network),
    "free_model": NetworkKind(StepwiseSimulator, model_storage.write_network, model_storage.read_network),
    "preset": NetworkKind(PresetCulture, _put_preset, _take_preset),
}
