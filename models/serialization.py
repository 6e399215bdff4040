"""Networks and trained models in HDF5 groups: one dataset per parameter.

A free-running network is stored by its kind, the attribute ``model``; kinds are registered in `_KINDS`. A trained
model is stored by its name in `organoid.models.MODELS`, its fixed properties and the state of its parameters.
"""

import json
from collections.abc import Callable, Container
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from organoid.errors import ModelError
from organoid.models.contracts import TrainableModel
from organoid.models.culture_lif.network import CultureLIFNetwork, CultureLIFParameters
from organoid.models.registry import MODELS
from organoid.models.simulators.dense_lif import FreeLIFParameters, LIFSimulator
from organoid.models.simulators.event_connections import Rows
from organoid.models.simulators.event_driven import EventDrivenLIF, EventLIFParameters
from organoid.models.simulators.stepwise import StepwiseSimulator
from organoid.models.spike_response.dose import Dose
from organoid.models.spike_response.fatigue import Resource
from organoid.models.spike_response.network import SpikeResponseNetwork, SpikeResponseParameters
from organoid.models.spike_response.terms.registry import ADDED_TERMS, TERMS, name_of
from organoid.models.spike_response.terms.stimulus import NO_FATIGUE, StimulusKernels
from organoid.models.surrogate import SURROGATES
from organoid.models.synapses.serialization import described, rebuilt

_MODEL = "model"
_STIMULUS = "stimulus"  # absent where no pulses were fitted
_ROWS = "rows"
_JSON_PARTS = {"resource", "dose", "scores"}  # of the responses to pulses
_ADDED = "added"  # terms; absent where there are none
_STATE = "state"
_TRAINED = "trained"


class _Kind(NamedTuple):
    """How one class of networks is written and read."""

    network: type
    put: Callable[[h5py.Group, Any], None]
    take: Callable[[h5py.Group], Any]


def write_network(group: h5py.Group, network: Any) -> None:
    """Write a network into an empty group.

    Raises
    ------
    ModelError
        If this kind of network cannot be stored.
    """
    name = next((name for name, kind in _KINDS.items() if isinstance(network, kind.network)), None)
    if name is None:
        known = " or ".join(kind.network.__name__ for kind in _KINDS.values())
        raise ModelError(f"a network of type {type(network).__name__} cannot be stored; expected {known}")
    group.attrs[_MODEL] = name
    _KINDS[name].put(group, network)


def read_network(group: h5py.Group) -> Any:
    """Read a network that `write_network` wrote; all numbers come back bit for bit.

    Raises
    ------
    ModelError
        If the group holds another model or lacks a parameter.
    """
    name = group.attrs.get(_MODEL)
    if name not in _KINDS:
        raise ModelError(f"group {group.name!r} holds model {name!r}; expected {' or '.join(map(repr, _KINDS))}")
    return _KINDS[name].take(group)


def _put_terms(group: h5py.Group, network: SpikeResponseNetwork | CultureLIFNetwork) -> None:
    for name, value in network.parameters._asdict().items():
        if name in TERMS:
            _put_term(group.create_group(name), value)
        elif name == _ADDED:
            for term in value:
                _put_term(group.create_group(f"{_ADDED}/{name_of(term)}"), term)
        else:
            group.create_dataset(name, data=value)
    if network.stimulus is not None:
        _put_kernels(group.create_group(_STIMULUS), network.stimulus)


def _put_term(group: h5py.Group, constants: Any) -> None:
    for part, value in constants._asdict().items():
        group.create_dataset(part, data=value)


def _take_added(group: h5py.Group) -> tuple[Any, ...]:
    """Return the constants of added terms, in the order of their names: the one they are saved in."""
    unknown = [name for name in group if name not in ADDED_TERMS]
    if unknown:
        raise ModelError(
            f"the network has the term {unknown[0]!r}, which is not registered here; put it into "
            "organoid.models.spike_response.terms.registry.ADDED_TERMS before loading"
        )
    kinds: dict[str, Any] = {name: ADDED_TERMS[name].constants for name in group}
    return tuple(kind(*(_value(group[name][part]) for part in kind._fields)) for name, kind in kinds.items())


def _take_escape(group: h5py.Group) -> SpikeResponseNetwork:
    values, kernels = _take_terms(group, SpikeResponseParameters)
    return SpikeResponseNetwork(SpikeResponseParameters(**values), kernels)


def _take_culture(group: h5py.Group) -> CultureLIFNetwork:
    values, kernels = _take_terms(group, CultureLIFParameters)
    return CultureLIFNetwork(CultureLIFParameters(**values), kernels)


def _take_terms(group: h5py.Group, parameters: Any) -> tuple[dict[str, Any], StimulusKernels | None]:
    values = {name: _value(group[name]) for name in _stored(group, parameters, "", {*TERMS, _ADDED})}
    if _ADDED in group:
        values[_ADDED] = _take_added(group[_ADDED])
    for name, kind in TERMS.items():
        if name in group or name in set(parameters._fields) - set(parameters._field_defaults):
            values[name] = kind(**{part: _value(group[name][part]) for part in _stored(group, kind, f"{name}/")})
    return values, _take_kernels(group[_STIMULUS]) if _STIMULUS in group else None


def _stored(group: h5py.Group, kind: Any, prefix: str, without: Container[str] = ()) -> list[str]:
    """Return the values of a NamedTuple that a group holds; files of earlier versions lack those with a default."""
    names = [name for name in kind._fields if name not in without]
    found = [name for name in names if f"{prefix}{name}" in group or name not in kind._field_defaults]
    _check_present(group, tuple(f"{prefix}{name}" for name in found))
    return found


def _put_kernels(group: h5py.Group, kernels: StimulusKernels) -> None:
    for entry in fields(kernels):
        value = getattr(kernels, entry.name)
        if isinstance(value, np.ndarray):
            group.create_dataset(entry.name, data=value)
        elif entry.name in _JSON_PARTS:
            group.attrs[entry.name] = json.dumps(value._asdict() if hasattr(value, "_asdict") else value, default=dict)
        else:
            group.attrs[entry.name] = value


def _take_kernels(group: h5py.Group) -> StimulusKernels:
    stored = [entry for entry in fields(StimulusKernels) if entry.name in group or entry.name in group.attrs]
    needed = {entry.name for entry in fields(StimulusKernels) if entry.default is entry.default_factory is MISSING}
    absent = sorted(needed - {entry.name for entry in stored})
    if absent:
        raise ModelError(f"group {group.name!r} lacks the parameter {absent[0]!r} of the responses to pulses")
    values: dict[str, Any] = {
        entry.name: group[entry.name][()] if entry.name in group else group.attrs[entry.name] for entry in stored
    }
    for name in _JSON_PARTS & set(values):
        values[name] = json.loads(values[name])
    for name in ("baseline_steps", "blanked", "default_curve"):
        values[name] = int(values.get(name, StimulusKernels.__dataclass_fields__[name].default))
    values["resource"] = Resource(**values["resource"]) if "resource" in values else NO_FATIGUE
    values["dose"] = Dose(**values["dose"]) if values.get("dose") else None
    return StimulusKernels(**values)


def _put_lif(group: h5py.Group, network: LIFSimulator) -> None:
    for name, value in network.parameters._asdict().items():
        group.create_dataset(name, data=value)


def _take_lif(group: h5py.Group) -> LIFSimulator:
    _check_present(group, tuple(name for name in FreeLIFParameters._fields if name != "threshold"))
    values = {name: _value(group[name]) for name in FreeLIFParameters._fields if name in group}
    _one_for_each_unit(values)
    numbers = [name for name, value in values.items() if isinstance(value, int | float | np.ndarray)]
    if len(numbers) < len(values):
        raise ModelError(f"group {group.name!r} holds {set(values) - set(numbers)} that are no numbers")
    return LIFSimulator(FreeLIFParameters(**values))


def _one_for_each_unit(values: dict[str, Any]) -> None:
    """Repeat constants that files of earlier versions hold once, the threshold of 1 not at all."""
    values.setdefault("threshold", 1.0)
    for name in ("membrane_decay", "threshold", "adaptation_decay"):
        if isinstance(values[name], float):
            values[name] = np.full(np.shape(values["bias"]), values[name])


def _put_event(group: h5py.Group, network: EventDrivenLIF) -> None:
    for name, value in network.parameters._asdict().items():
        group.create_dataset(name, data=value)
    for part, values in network.rows._asdict().items():
        group.create_dataset(f"{_ROWS}/{part}", data=values)


def _take_event(group: h5py.Group) -> EventDrivenLIF:
    parts = [f"{_ROWS}/{part}" for part in Rows._fields]
    _check_present(group, (*EventLIFParameters._fields, *parts))
    values = {name: _value(group[name]) for name in EventLIFParameters._fields}
    wrong = [name for name, value in values.items() if not isinstance(value, int | float | np.ndarray)]
    if wrong:
        raise ModelError(f"group {group.name!r} holds {wrong} that are no numbers")
    return EventDrivenLIF(EventLIFParameters(**values), Rows(*(np.asarray(group[part][()]) for part in parts)))


def _put_model(group: h5py.Group, network: StepwiseSimulator) -> None:
    write_trained(group.create_group(_TRAINED), network.model)
    group.attrs["rate_limit"] = network.rate_limit


def _take_model(group: h5py.Group) -> StepwiseSimulator:
    _check_present(group, (_TRAINED,))
    model: Any = read_trained(group[_TRAINED])
    return StepwiseSimulator(model, float(group.attrs["rate_limit"]))


def _check_present(group: h5py.Group, names: tuple[str, ...]) -> None:
    absent = [name for name in names if name not in group]
    if absent:
        raise ModelError(f"group {group.name!r} lacks the parameter {absent[0]!r} of {group.attrs.get(_MODEL)}")


def _value(dataset: h5py.Dataset) -> Any:
    value = dataset[()]
    return value.item() if isinstance(value, np.generic) else value


_KINDS: dict[str, _Kind] = {
    "escape_lif": _Kind(SpikeResponseNetwork, _put_terms, _take_escape),
    "culture_lif": _Kind(CultureLIFNetwork, _put_terms, _take_culture),
    "event_lif": _Kind(EventDrivenLIF, _put_event, _take_event),
    "free_lif": _Kind(LIFSimulator, _put_lif, _take_lif),
    "free_model": _Kind(StepwiseSimulator, _put_model, _take_model),
}


def write_trained(group: h5py.Group, model: TrainableModel) -> None:
    """Write a trained model into an empty group.

    Raises
    ------
    ModelError
        If it is not of a class registered in `organoid.models.MODELS`, or its spike function not in `SURROGATES`.
    """
    name = registered_name(model)
    if name is None or not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"a trained {type(model).__name__} cannot be stored; expected a model registered in organoid.models.MODELS"
        )
    fixed = getattr(model, "fixed", None)
    group.attrs[_MODEL] = name
    group.attrs["n_units"], group.attrs["dt"] = model.n_units, model.dt
    group.attrs["fixed"] = json.dumps(asdict(fixed) if is_dataclass(fixed) and not isinstance(fixed, type) else None)
    group.attrs["spike"] = json.dumps(_spike_of(model))
    synapses: Any = getattr(model, "synapses", None)
    group.attrs["synapses"] = json.dumps(None if synapses is None else described(synapses))
    for key, tensor in model.state_dict().items():
        group.create_dataset(f"{_STATE}/{key}", data=tensor.detach().cpu().numpy())


def read_trained(group: h5py.Group) -> TrainableModel:
    """Read a model that `write_trained` wrote; it computes the same numbers bit for bit.

    Raises
    ------
    ModelError
        If its class is not registered here, or a parameter is missing or does not fit.
    """
    name = group.attrs.get(_MODEL)
    if name not in MODELS:
        raise ModelError(f"group {group.name!r} holds a trained {name!r}; expected one of {', '.join(MODELS)}")
    try:
        state = {key: np.array(values[()]) for key, values in group[_STATE].items()}
        model = _build(name, dict(group.attrs), state)
        model.load_state_dict({key: torch.from_numpy(values) for key, values in state.items()}, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"group {group.name!r} holds no complete {name}: {reason}") from None
    trained: TrainableModel = model
    return trained


def registered_name(model: Any) -> str | None:
    """Return the name of a model's class in `organoid.models.MODELS`, or None."""
    return next((name for name, make in MODELS.items() if make is type(model)), None)


def _build(name: str, attributes: dict[str, Any], state: dict[str, NDArray[Any]]) -> Any:
    """Return an untrained model with the fixed properties and the spike function that were stored."""
    make, n_units, dt = MODELS[name], int(attributes["n_units"]), float(attributes["dt"])
    fixed, spike = json.loads(attributes["fixed"]), json.loads(attributes["spike"])
    options: dict[str, Any] = {} if spike is None else {"spike": SURROGATES[spike["name"]](**spike["settings"])}
    synapses = json.loads(attributes.get("synapses", "null"))  # absent in files of earlier versions
    if synapses is not None:
        prefix = "synapses."
        own = {key.removeprefix(prefix): values for key, values in state.items() if key.startswith(prefix)}
        options["synapses"] = rebuilt(synapses, n_units, dt, own)
    if fixed is None:
        return make(n_units, dt, **options)
    # A default model tells the class of the fixed properties.
    usual: Any = make(1, dt)
    return make(n_units, dt, _filled(usual.fixed, fixed), **options)


def _filled(usual: Any, values: dict[str, Any]) -> Any:
    """Return a copy of a (nested) dataclass with the values that `asdict` and JSON made of another."""
    found = {}
    for entry in fields(usual):
        before = getattr(usual, entry.name)
        value = values.get(entry.name, before)  # absent in files of earlier versions
        if is_dataclass(before):
            value = _filled(before, value)
        found[entry.name] = tuple(value) if isinstance(before, tuple) else value
    return replace(usual, **found)


def _spike_of(model: torch.nn.Module) -> dict[str, Any] | None:
    spike: Any = next((part.spike for part in model.modules() if hasattr(part, "spike")), None)
    if spike is None:
        return None
    name = next((name for name, kind in SURROGATES.items() if kind is type(spike)), None)
    if name is None:
        raise ModelError(f"the spike function {spike!r} cannot be stored; expected one of {', '.join(SURROGATES)}")
    return {"name": name, "settings": asdict(spike)}
