"""A protocol behind checks: what it raises or returns wrongly is one sentence with file, line and tick."""

import asyncio
import inspect
import json
import math
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from organoid.closed_loop.contracts import Command, DeviceInfo, Protocol, Reporting, Tick
from organoid.closed_loop.journal import schema
from organoid.closed_loop.journal.provenance import describe
from organoid.errors import OrganoidError, ProtocolError

# A tick with more is a mistake: the largest arrays have some thousand electrodes that can be stimulated.
MAX_COMMANDS = 4096
_ARGUMENTS = {"start": ("info", "rng"), "decide": ("tick", "state"), "finish": ("state",)}
_EXPECTED = {
    "start": "the first state",
    "decide": "(commands, state), for example ([], state)",
    "report": "a mapping of names to numbers, for example {'rate': 1.5}",
    "finish": "a dictionary of plain values, for example {}",
}
_PACKAGE = "organoid."


class CheckedProtocol:
    """Call a protocol, and check at once what comes back.

    Parameters
    ----------
    protocol : Protocol

    Raises
    ------
    ProtocolError
        If it lacks a method or takes other arguments; here, before anything has been started.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._decide = _methods(protocol)["decide"]
        self.tick_rate: float = protocol.tick_rate
        self.report_names: tuple[str, ...] = ()

    def start(self, info: DeviceInfo, rng: np.random.Generator) -> Any:
        """Return the first state; the names the protocol reports are known from here on."""
        state = self._call("start", None, info, rng)
        if inspect.isgenerator(state) or asyncio.iscoroutine(state):
            raise self._wrong("start", None, state)
        self._check_names(state)
        return state

    def decide(self, tick: Tick, state: Any) -> tuple[Sequence[Command], Any]:
        """Return the commands of a tick and the next state."""
        try:
            returned = self._decide(tick, state)
        except Exception as error:
            raise self._raised(error, "decide", tick.index) from error
        if type(returned) is not tuple or len(returned) != 2:
            raise self._wrong("decide", tick.index, returned)
        commands, state = returned
        if type(commands) not in (list, tuple) or commands:
            commands = self._commands(commands, tick.index)
        return commands, state

    def report(self, state: Any, tick: int | None = None) -> tuple[float, ...]:
        """Return the numbers reported of a state, in the order of `report_names`."""
        if not self.report_names:
            return ()
        found = self._reported(state, tick)
        if tuple(found) != self.report_names:
            raise self._wrong("report", tick, tuple(found), f"the names of the first tick, {self.report_names}")
        try:
            return tuple(map(float, found.values()))
        except (TypeError, ValueError):
            name = next(name for name, value in found.items() if not _is_number(value))
            raise self._wrong("report", tick, {name: found[name]}) from None

    def describe(self) -> tuple[dict[str, Any], str]:
        """Return the protocol's description and source text, see `provenance.describe`."""
        try:
            found, source = describe(self.protocol)
            json.dumps(found)
        except Exception as error:
            raise self._raised(error, "describe", None) from error
        return found, source

    def finish(self, state: Any) -> dict[str, Any]:
        """Return the outcome."""
        found = self._call("finish", None, state)
        if not isinstance(found, Mapping):
            raise self._wrong("finish", None, found)
        return dict(found)

    def _call(self, method: str, tick: int | None, *arguments: Any) -> Any:
        try:
            return getattr(self.protocol, method)(*arguments)
        except Exception as error:
            raise self._raised(error, method, tick) from error

    def _commands(self, commands: Any, tick: int) -> Sequence[Command]:
        if not isinstance(commands, Sequence) or isinstance(commands, str):
            raise self._wrong("decide", tick, commands, "a list of commands first, then the state")
        if len(commands) > MAX_COMMANDS:
            raise self._wrong("decide", tick, f"{len(commands)} commands", f"at most {MAX_COMMANDS} in one tick")
        for command in commands:
            if not isinstance(command, Command):
                raise self._wrong("decide", tick, command, "Command(pulse) objects in the list of commands")
        return commands

    def _check_names(self, state: Any) -> None:
        if not isinstance(self.protocol, Reporting):
            return
        names = tuple(self._reported(state, None))
        odd = [name for name in names if not isinstance(name, str)]
        if odd:
            raise self._wrong("report", None, odd[0])
        taken = [name for name in names if name in schema.FIXED_TICK_COLUMNS or name.startswith(schema.WALL)]
        if taken:
            raise ProtocolError(
                f"{self._at('report', None)}: it reports {taken[0]!r}, a name the journal uses itself; rename it"
            )
        self.report_names = names
        self.report(state)

    def _reported(self, state: Any, tick: int | None) -> Mapping[str, Any]:
        found = self._call("report", tick, state)
        if type(found) is not dict and not isinstance(found, Mapping):
            raise self._wrong("report", tick, found)
        return found

    def _at(self, method: str, tick: int | None) -> str:
        return _place(_defined(getattr(self.protocol, method)), method, tick)

    def _wrong(self, method: str, tick: int | None, returned: Any, expected: str = "") -> ProtocolError:
        shown = returned if isinstance(returned, str) and returned.endswith("commands") else _shown(returned)
        return ProtocolError(f"{self._at(method, tick)}: it returned {shown}; expected {expected or _EXPECTED[method]}")

    def _raised(self, error: Exception, method: str, tick: int | None) -> Exception:
        """Return the error to raise instead: the author's mistakes with their place, this package's own as they are."""
        if type(self.protocol).__module__.startswith(_PACKAGE) or isinstance(error, ProtocolError):
            return error
        name = "" if isinstance(error, OrganoidError) else f"{type(error).__name__}: "
        return ProtocolError(f"{_place(_line_of(error, self.protocol), method, tick)}: {name}{error}")


def _methods(protocol: Any) -> dict[str, Any]:
    """Return the methods every protocol has; raise ProtocolError where one is missing or takes other arguments."""
    if isinstance(protocol, type):
        raise ProtocolError(f"{protocol.__name__} is a class; give an object of it: {protocol.__name__}()")
    try:
        lacking = [name for name in ("tick_rate", *_ARGUMENTS) if not hasattr(protocol, name)]
    except Exception as error:
        place = _place(_line_of(error, protocol), "tick_rate", None)
        raise ProtocolError(f"{place}: {type(error).__name__}: {error}") from error
    kind = type(protocol).__name__
    if lacking:
        raise ProtocolError(f"{kind} is no protocol: it has no {lacking[0]!r} (of tick_rate, start, decide, finish)")
    found = {name: getattr(protocol, name) for name in _ARGUMENTS}
    for name, arguments in {**_ARGUMENTS, "report": ("state",)}.items():
        if hasattr(protocol, name):
            _check_method(getattr(protocol, name), name, arguments)
    return found


def _check_method(method: Any, name: str, arguments: tuple[str, ...]) -> None:
    wanted = f"{name}({', '.join(('self', *arguments))})"
    place = _place(_defined(method), name, None)
    if not callable(method):
        raise ProtocolError(f"{name} is {_shown(method)}; expected a method {wanted}")
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        raise ProtocolError(f"{place}: it is asynchronous or yields; expected a plain method {wanted}")
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError:
        raise ProtocolError(f"{place}: it takes {inspect.signature(method)}; expected {wanted}") from None
    except ValueError:  # a compiled callable that does not name its arguments
        pass


def _defined(method: Any) -> tuple[str, int] | None:
    """Return file and line at which a method is defined, where that is known."""
    code = getattr(inspect.unwrap(getattr(method, "__func__", method)), "__code__", None)
    return None if code is None else (code.co_filename, code.co_firstlineno)


def _line_of(error: BaseException, protocol: Any) -> tuple[str, int] | None:
    """Return the last line of the protocol's own file on the way to an error, else the first below this package."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    here = str(Path(__file__))
    frames = [frame for frame in frames if frame[0] != here]
    try:
        own = inspect.getsourcefile(type(protocol))
    except TypeError:
        own = None
    inside = [frame for frame in frames if frame[0] == own]
    return inside[-1] if inside else (frames[0] if frames else None)


def failed_at(error: BaseException, file: str) -> str:
    """Return ``"file, line n: Error: text"`` for an error raised while a file of the user's ran."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{file}{f', line {line}' if line else ''}: {type(error).__name__}: {text}"


def _place(where: tuple[str, int] | None, method: str, tick: int | None) -> str:
    named = "" if where is None else f"{where[0]}, line {where[1]}, "
    return f"{named}in {method}" + ("" if tick is None else f" at tick {tick}")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    kind = "" if value is None else f"{type(value).__name__} "
    return f"{kind}{text if len(text) <= 60 else text[:57] + '...'}"


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value)) or True
    except (TypeError, ValueError):
        return False
