"""The options every command that reads a recording has, in one place: what a user supplies beside the file."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from organoid.cli.support import UsageError
from organoid.io.supplied import NOISE, ReadOptions

NONE = "none"
_READING = "reading"  # the parameter of a command that takes what the options say

Rate = Annotated[
    float | None,
    typer.Option("--sampling-rate", metavar="HZ", help="Sampling rate, where the file lacks it or is wrong."),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="LABEL", help="Keep only units with this label; may be repeated.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="LABEL", help="Leave out units with this label (default: noise; 'none' keeps all)."
    ),
]
Stimuli = Annotated[
    str | None,
    typer.Option(
        metavar="CSV|events:KIND|artefacts",
        help="Times of stimuli: a log or CSV, the file's own events of a kind, or pulses found by their artefacts.",
    ),
]
Events = Annotated[Path | None, typer.Option(metavar="CSV", help="Times of other marks, as a CSV.")]
Map = Annotated[
    Path | None, typer.Option("--map", metavar="TOML", help="How to read a layout of your own; see `organoid map`.")
]
Sorted = Annotated[
    bool | None,
    typer.Option("--sorted/--channels", help="Take sorted units, or channels, where the file holds both."),
]
_OPTIONS: dict[str, Any] = {
    "sampling_rate": Rate,
    "label": Labels,
    "exclude": Exclude,
    "stimuli": Stimuli,
    "events": Events,
    "map": Map,
    "sorted_units": Sorted,
}


def reads(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of reading; it gets them as one value, `reading`.

    Parameters
    ----------
    command : callable
        A command of the command line with a keyword parameter ``reading: ReadOptions``.

    Returns
    -------
    callable
        The command as typer takes it.
    """
    own = inspect.signature(command)
    kept = [parameter for name, parameter in own.parameters.items() if name != _READING]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]

    @wraps(command)
    def wrapped(*arguments: Any, **named: Any) -> None:
        supplied = {name: named.pop(name, None) for name in _OPTIONS}
        command(*arguments, **named, **{_READING: options_of(supplied)})

    wrapped.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in kept] + options
    )
    wrapped.__annotations__ = {**command.__annotations__, **_OPTIONS}
    del wrapped.__annotations__[_READING]
    return wrapped


def options_of(supplied: dict[str, Any]) -> ReadOptions:
    """Return the options of reading from what was given on the command line."""
    exclude = supplied["exclude"]
    return ReadOptions(
        sampling_rate=supplied["sampling_rate"],
        labels=tuple(supplied["label"]) if supplied["label"] else None,
        exclude=NOISE if not exclude else tuple(label for label in exclude if label != NONE),
        stimuli=supplied["stimuli"],
        events=supplied["events"],
        mapping=supplied["map"],
        sorted_units=supplied["sorted_units"],
    )


def as_metadata(given: list[str] | None) -> dict[str, Any]:
    """Return ``NAME=VALUE`` texts as metadata; values that are numbers become numbers.

    Raises
    ------
    UsageError
        If one has no ``=`` or no name.
    """
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {text!r} is not NAME=VALUE, such as --set age=21")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if abs(value) < float("inf"):
            return value
    return text
