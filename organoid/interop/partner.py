"""Importing a partner when it is needed, with an error that says how to install it."""

from importlib import import_module
from typing import Any

from organoid.errors import RecordingError


def partner(name: str, extra: str = "interop") -> Any:
    """Return a package, or raise saying how to install it.

    Raises
    ------
    RecordingError
    """
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise RecordingError(f'{top} is not installed ({error}); pip install "organoid[{extra}]"') from None
