"""Options of ``organoid fit``, made from the fields of the settings of all ways to fit."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from typing import Annotated, Any, get_args, get_type_hints

import typer

from organoid.fitting.methods import METHODS

_SHARED = ("free_run",)  # a pair of flags, written out by the command


def setting_fields() -> Iterator[tuple[Field[Any], Any]]:
    """Yield the fields of all settings that have a help text, and their types; one of a name."""
    seen = set(_SHARED)
    for method in METHODS.values():
        types = get_type_hints(method.settings)
        for each in fields(method.settings):
            if each.name not in seen and "help" in each.metadata:
                seen.add(each.name)
                yield each, types[each.name]


def _parameter(each: Field[Any], kind: Any) -> inspect.Parameter:
    """Make one option; not given, it is None, and the default is that of the settings."""
    name = "--" + each.metadata.get("name", each.name).replace("_", "-")
    plain = next((one for one in get_args(kind) if one is not type(None)), kind)
    several = isinstance(each.default, tuple)
    annotation: Any = list[plain] | None if several else plain | None  # type: ignore[valid-type]
    if each.metadata.get("pair"):
        name = f"{name}/--no-{name[2:]}"
    option = typer.Option(name, help=each.metadata["help"], metavar=each.metadata.get("metavar"))
    return inspect.Parameter(
        each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
    )


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes ``**settings`` one option for each field; those not given are left out.

    Parameters
    ----------
    command : callable
    """
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    made = {each.name: _parameter(each, kind) for each, kind in setting_fields()}

    def called(**given: Any) -> None:
        asked = {name: value for name, value in given.items() if name not in made or value not in (None, [], ())}
        command(**{name: tuple(v) if isinstance(v, list) and name in made else v for name, v in asked.items()})

    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    called.__signature__ = inspect.Signature([*keyword, *made.values()])  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in [*keyword, *made.values()]}
    called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
    return called
