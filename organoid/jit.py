"""Compiled loops, kept on disk and compiled again when anything they were made from has changed.

numba keeps what it compiled beside the source, and looks at that one file to see whether it is still true. A loop that
calls loops of other files, or freezes their constants, would go on with the old ones after an update: at best a
wrong number, at worst a crash. `kernel` looks at all of them.

In what `kernel` compiles, arrays are copied by loops, not by slices (``a[:] = b``): numba takes seconds to compile the
messages of a misfit, for every new kind of array.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

_PACKAGE = __name__.split(".")[0]
_FROZEN = (bool, int, float, str, tuple)  # globals that numba writes into the compiled code


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with numba and keep the result on disk, where a folder can be written.

    Parameters
    ----------
    **options
        Of `numba.njit`, but for ``cache``.

    Returns
    -------
    callable
        A decorator.
    """

    def compile_later(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:  # no folder can be written: compiled again in every process
            pass
        return dispatcher

    return compile_later


def borrowing(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only works in the arrays it is given: it makes none, and returns and keeps none.

    It becomes a part of its caller, and need not count who holds an array. A step that passes a network's state and
    working room on as tuples of arrays would spend most of its time with that.
    """
    return inner(_nrt=False, forceinline=True, **options)


def inner(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only compiled functions call: for Python it has no door, which takes long to compile."""
    return kernel(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


class _Cache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """numba's cache, whose stamp covers every file a function is made from."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Index(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp(function)
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, but not for classes of another package: their files are not looked at."""
        if all(_at_home(part) for part in sig):
            super().save_overload(sig, data)


class _Index(IndexDataCacheFile):  # type: ignore[misc]  # numba has no types
    """numba's index of what is on disk; one that names classes of another version counts as empty."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except (AttributeError, ImportError, EOFError, pickle.UnpicklingError):
            return {}


def _at_home(kind: Any) -> bool:
    """Return whether a type that numba knows is made of classes of this package only."""
    of_class = getattr(kind, "instance_class", None)
    if of_class is not None and of_class.__module__.split(".")[0] != _PACKAGE:
        return False
    return all(_at_home(part) for part in getattr(kind, "types", ()))


def stamp(function: Callable[..., Any]) -> str:
    """Return a hash of the files, and of the constants from other files, that a function is compiled from."""
    digest = hashlib.sha256()
    for path in sorted(set(_files(function, set()))):
        digest.update(_contents(path))
    names = function.__globals__
    constants = sorted((name, repr(value)) for name, value in names.items() if isinstance(value, _FROZEN))
    digest.update(repr([pair for pair in constants if not pair[0].startswith("__")]).encode())
    return digest.hexdigest()


def _files(function: Callable[..., Any], seen: set[str]) -> Iterator[str]:
    path = function.__code__.co_filename
    if path in seen:
        return
    seen.add(path)
    yield path
    for value in list(function.__globals__.values()):
        part = value.py_func if isinstance(value, Dispatcher) else getattr(value, "_defn", None)  # of an intrinsic
        if isinstance(part, FunctionType):
            yield from _files(part, seen)


@cache
def _contents(path: str) -> bytes:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:  # typed at a prompt, or inside an archive
        return path.encode()
