"""Errors of sessions and journals."""

from organoid.errors import OrganoidError


class SessionError(OrganoidError, ValueError):
    """A session was asked for that cannot be run; nothing has been started."""


class JournalError(OrganoidError, OSError):
    """A journal cannot be created, read or rebuilt from."""
