"""What every command needs: outputs checked before long work, JSON without NaN, errors as one sentence."""

import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from organoid.errors import OrganoidError

_OPTIONS = {"sampling_rate": "sampling-rate", "labels": "label", "mapping": "map"}
_ARGUMENT = re.compile(r"\b(well|recording|stimuli|events|sampling_rate|labels|mapping)=(?=[\s,;)']|$)")


class OutputError(OrganoidError, OSError):
    """A file cannot be written where it was requested; nothing has been done."""


class UsageError(OrganoidError, ValueError):
    """Options that do not go together."""


def check_output(path: Path | None, *, new: bool = False, inputs: tuple[Path, ...] = ()) -> None:
    """Reject an output that cannot be written, before any work is done.

    The folder is tried by making a temporary file in it: permissions alone do not tell.

    Parameters
    ----------
    path : Path or None
        None is fine: there is no output.
    new : bool
        Reject an existing file.
    inputs : tuple of Path
        Files the output must not replace.

    Raises
    ------
    OutputError
    """
    if path is None:
        return
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    if new and path.exists():
        raise OutputError(f"cannot write {path}: it exists already, and a session is never overwritten")
    if any(source.exists() and path.exists() and path.samefile(source) for source in inputs):
        raise OutputError(f"cannot write {path}: it is also the input; choose another name")
    check_folder(path.parent, path)


def check_folder(folder: Path, path: Path) -> None:
    """Reject a folder in which no file can be made."""
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {folder}")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".organoid-"):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def check_different(*paths: Path | None) -> None:
    """Reject outputs of one name."""
    given = [path.resolve() for path in paths if path is not None]
    if len(set(given)) < len(given):
        raise OutputError(f"two outputs have the same name, {given[0]}; give different ones")


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, or say why that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"cannot write to {folder}: it is a file, not a folder") from None
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror or error}") from None
    check_folder(folder, folder)


def plain(value: Any) -> Any:
    """Return plain JSON values; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_json(value: Any) -> None:
    """Print one JSON value, alone, on standard output."""
    print(json.dumps(plain(value), indent=2, allow_nan=False))


def print_anywhere() -> None:
    """Let texts that the terminal or the pipe cannot show be printed with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shows_progress(as_json: bool) -> bool:
    """Return whether progress bars are wanted: on a terminal, and not for machines."""
    return not as_json and sys.stderr.isatty()


def sentence(error: BaseException) -> str:
    """Return an error as one line; arguments it names become options."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, OrganoidError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = _ARGUMENT.sub(lambda match: "--" + _OPTIONS.get(match[1], match[1]), " ".join(text.split()))
    return text or type(error).__name__


def show(found: Any, as_json: bool, as_text: Callable[[Any], str]) -> None:
    """Print what a command found, as one JSON value or as text."""
    if as_json:
        print_json(found)
    else:
        print(as_text(found))
