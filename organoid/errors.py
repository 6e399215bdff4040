"""Errors raised on purpose; each message says what came, what was expected and what to do."""

from importlib import import_module
from typing import Any


class OrganoidError(Exception):
    """Base of every error this package raises on purpose."""


class RecordingError(OrganoidError, ValueError):
    """A recording or a file does not hold what it should."""


class FitError(OrganoidError, ValueError):
    """A recording cannot be fitted, or a fit cannot be used as asked."""


class ModelError(OrganoidError, ValueError):
    """A model breaks the model contract or was given impossible parameters."""


class StimulationError(OrganoidError, ValueError):
    """A stimulus is malformed or not allowed."""


class DeviceError(OrganoidError, RuntimeError):
    """A device failed or breaks the device contract."""


class RunawayError(OrganoidError, RuntimeError):
    """A culture fires far beyond what it ever did by itself; stimulation was stopped."""


class DeadlineError(OrganoidError, TimeoutError):
    """A closed-loop tick came too late."""


class SessionError(OrganoidError, ValueError):
    """A session was requested that cannot be run; nothing has been started."""


class ProtocolError(SessionError):
    """A protocol raised an error or returned what it must not; the text names file, line and tick."""


class JournalError(OrganoidError, OSError):
    """A journal cannot be created, read or rebuilt from."""


class ParallelError(OrganoidError, RuntimeError):
    """Work cannot be spread over processes or a cluster."""


class MissingPackageError(OrganoidError, ImportError):
    """An optional package is not installed."""


def need(module: str, package: str, extra: str) -> Any:
    """Return an optional module, or say how to get it.

    Parameters
    ----------
    module : str
        Full name of the module.
    package : str
        Name people install it by.
    extra : str
        The extra of this package that brings it.

    Raises
    ------
    MissingPackageError
    """
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and not module.startswith(error.name):
            raise
        raise MissingPackageError(
            f"this needs {package}, which is not installed; pip install 'organoid[{extra}]'"
        ) from None
