"""What a session ran with: versions, machine, and the source of its protocol."""

import hashlib
import inspect
import platform
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from organoid._version import __version__
from organoid.closed_loop.contracts import Described, Protocol


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"organoid": __version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "h5py"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found |= {"machine": platform.machine(), "processor": processor()}
    return tuple(found.items())


def versions() -> dict[str, str]:
    """Return versions of this package, Python and the numerical libraries, and the CPU."""
    return dict(_versions())


def processor() -> str:
    """Return the name of the CPU as far as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


# What decides how a session runs; readers, figures and fits do not.
_PARTS = ("closed_loop", "culture", "devices", "models", "protocols", "stimulation")


@lru_cache(maxsize=1)
def package_hash() -> str:
    """Return a hash over the Python files that decide how a session runs."""
    digest = hashlib.sha256()
    for part in _PARTS:
        spec = find_spec(f"organoid.{part}")
        folders = spec.submodule_search_locations if spec is not None else None
        for folder in map(Path, folders or ()):
            for file in sorted(folder.rglob("*.py")):
                digest.update(f"{part}/{file.relative_to(folder).as_posix()}".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def describe(protocol: Protocol) -> tuple[dict[str, Any], str]:
    """Return a protocol's JSON-able description and its source text.

    The description has at least ``name``, ``class`` and ``source_sha256``; a `Described` protocol adds
    ``parameters`` and ``sites``. The text is empty for protocols of this package.
    """
    kind = type(protocol)
    file = _source_file(kind)
    text = Path(file).read_text() if file is not None and Path(file).is_file() else ""
    found: dict[str, Any] = {
        "name": kind.__qualname__,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "file": str(Path(file).resolve()) if text and file is not None else "",
        "source_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    if isinstance(protocol, Described):
        found |= protocol.describe()
    return found, "" if kind.__module__.startswith("organoid.") else text


def _source_file(kind: type) -> str | None:
    """Return the file a class was written in; None for one typed at a prompt or in a notebook."""
    try:
        return inspect.getsourcefile(kind) if kind.__module__ in sys.modules else None
    except (TypeError, OSError):
        return None
