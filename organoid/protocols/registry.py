"""Protocols by name, by TOML file, or by a class in a Python file."""

import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from os import PathLike
from pathlib import Path
from typing import Any

from organoid.closed_loop import Protocol, SessionError
from organoid.closed_loop.checked_protocol import CheckedProtocol
from organoid.protocols.substituted import ForkedProtocol, SubstitutedStimuli, from_values

# Adding a protocol takes its module and one line here. Each module holds `PROTOCOL`, its class.
MODULES = {
    "periodic_pulses": "organoid.protocols.periodic_pulses",
    "rate_clamp": "organoid.protocols.rate_clamp",
    "causal_map": "organoid.protocols.causal_map",
    "dose_response": "organoid.protocols.dose_response",
    "tetanus": "organoid.protocols.tetanus",
    "pong": "organoid.protocols.pong",
    "force": "organoid.protocols.force",
    "cartpole": "organoid.tasks.cartpole",
    "gym": "organoid.tasks.gym_protocol",
}
ENTRY_POINT_GROUP = "organoid.protocols"


def protocol_names() -> tuple[str, ...]:
    """Return the names of all protocols: the built-in ones, then those of other installed packages."""
    return tuple(dict.fromkeys([*MODULES, *_points()]))


def protocol_classes() -> Iterator[tuple[str, Any]]:
    """Yield name and class of every protocol."""
    for name in protocol_names():
        yield name, protocol_class(name)


def protocol_class(name: str) -> Any:
    """Return the class of a registered protocol.

    Raises
    ------
    SessionError
        If there is none of that name; the choices are listed.
    """
    if name in MODULES:
        return import_module(MODULES[name]).PROTOCOL
    points = _points()
    if name in points:
        return points[name].load()
    raise SessionError(f"no protocol {name!r}; choices: {', '.join(protocol_names())}, a .toml file, or file.py:Class")


def _points() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_protocol(spec: str | PathLike[str], **parameters: Any) -> Protocol:
    """Return a protocol.

    Parameters
    ----------
    spec : str or path
        A registered name, the path of a ``.toml`` file, or ``file.py:Class``.
    **parameters
        Given to the protocol; over those of a ``.toml`` file.

    Returns
    -------
    Protocol

    Raises
    ------
    FileNotFoundError
    SessionError
        If it is unknown, or its parameters are wrong.

    Examples
    --------
    >>> load_protocol("periodic_pulses", rate=2.0).parameters.rate
    2.0
    """
    text = str(spec)
    file, colon, name = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _make(class_in_file(Path(file), name), name, parameters)
    if text.endswith(".toml"):
        return _from_toml(Path(text), parameters)
    if text.endswith(".py"):
        raise SessionError(f"{text} is a Python file; say which class in it: {text}:MyProtocol")
    return _make(protocol_class(text), text, parameters)


def _from_toml(path: Path, parameters: dict[str, Any]) -> Protocol:
    if not path.exists():
        raise FileNotFoundError(f"no such protocol file: {path}")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SessionError(f"{path} is not TOML: {error}") from None
    known = {"protocol", "parameters", "sites", "stimuli"}
    unknown = sorted(values.keys() - known)
    head = values.get("protocol")
    if unknown or not isinstance(head, dict) or set(head) != {"name"}:
        odd = f"it has {unknown[0]!r}" if unknown else f"[protocol] is {head!r}"
        raise SessionError(f"{path}: expected [protocol] with a name, [parameters], [sites], [stimuli]; {odd}")
    return _make(_named(head["name"], path.parent), head["name"], _arguments(values, parameters))


def _named(name: str, folder: Path) -> Any:
    """Return a registered class, or one in a Python file beside the TOML file."""
    file, colon, kind = name.rpartition(":")
    return class_in_file(folder / file, kind) if colon and file.endswith(".py") else protocol_class(name)


def _arguments(values: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    tables = {key: values[key] for key in ("sites", "stimuli") if values.get(key)}
    return {**values.get("parameters", {}), **tables, **parameters}


def class_in_file(path: Path, name: str) -> Any:
    """Return a class from a Python file, which is run for that."""
    if not path.exists():
        raise FileNotFoundError(f"no such protocol file: {path}")
    module_name = f"organoid_protocol_file_{path.stem}"
    spec = spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise SessionError(f"{path} cannot be run as Python")
    module = module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        own = (key for key, value in vars(module).items() if getattr(value, "__module__", "") == module_name)
        found = [key for key in own if isinstance(getattr(module, key), type)]
        raise SessionError(f"{path} has no class {name!r}; it has: {', '.join(found) or 'none'}")
    return getattr(module, name)


def _make(kind: Any, name: str, arguments: dict[str, Any]) -> Protocol:
    try:
        protocol: Protocol = kind(**arguments)
    except TypeError as error:
        raise SessionError(f"protocol {name!r} does not take these parameters: {error}") from None
    CheckedProtocol(protocol)
    return protocol


def _substituted(parameters: dict[str, Any]) -> Protocol:
    return SubstitutedStimuli(rebuild_protocol(parameters["inner"]), from_values(parameters["schedule"]))


def _forked(parameters: dict[str, Any]) -> Protocol:
    then = parameters["then"]
    return ForkedProtocol(
        rebuild_protocol(parameters["first"]), None if then is None else rebuild_protocol(then), int(parameters["at"])
    )


# Protocols made of other sessions: journals name them, users do not.
DERIVED: dict[str, Callable[[dict[str, Any]], Protocol]] = {"substituted": _substituted, "forked": _forked}


def rebuild_protocol(description: dict[str, Any]) -> Protocol:
    """Return the protocol a journal describes.

    Raises
    ------
    SessionError
        If it is neither registered nor in a file that is still there.
    """
    name = description["name"]
    if name in DERIVED:
        return DERIVED[name](description["parameters"])
    arguments = _arguments(description, {})
    if name in protocol_names():
        return _make(protocol_class(name), name, arguments)
    file = Path(description.get("file") or "")
    if file.suffix != ".py" or not file.exists():
        raise SessionError(f"protocol {name!r} is not registered, and its file ({file}) is gone; give the protocol")
    return _make(class_in_file(file, description["class"].rpartition(":")[2]), name, arguments)
