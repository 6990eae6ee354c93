"""SQLite's errors and the system's, translated in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    IntegrityError,
    PermissionDeniedError,
    UnavailableError,
)

__all__ = ["translate", "translating"]

#: Primary result code -> (error, whether trying again can help, what to tell).
_TABLE: dict[int, tuple[type[CloudDirectError], bool, str]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, True, "another program is keeping it locked; see which one has it open"),
    sqlite3.SQLITE_LOCKED: (UnavailableError, True, "another program is keeping it locked; see which one has it open"),
    sqlite3.SQLITE_FULL: (UnavailableError, True, "the disk is full; make room"),
    sqlite3.SQLITE_IOERR: (UnavailableError, True, "reading or writing the disk failed; see the system's log"),
    sqlite3.SQLITE_NOMEM: (UnavailableError, True, "memory ran out"),
    sqlite3.SQLITE_PROTOCOL: (UnavailableError, True, "too many processes are starting to use it at once"),
    sqlite3.SQLITE_READONLY: (
        PermissionDeniedError, False,
        "it cannot be written; this user needs to write to the file and to its directory",
    ),
    sqlite3.SQLITE_PERM: (PermissionDeniedError, False, "the system denies access; see the file's permissions"),
    sqlite3.SQLITE_CANTOPEN: (
        PermissionDeniedError, False,
        "it cannot be opened; this user needs to read and write the file and to write to its directory",
    ),
    sqlite3.SQLITE_NOTADB: (ConfigurationError, False, "it is not a queue file; name another one"),
    sqlite3.SQLITE_CORRUPT: (IntegrityError, False, "it is damaged; put it aside and restore it from a backup"),
}  # fmt: skip


def translate(error: Exception, path: Path) -> CloudDirectError | None:
    """Return our error for SQLite's or the system's, or None for a bug of ours. It names the path, never contents."""
    if isinstance(error, OSError):
        denied = isinstance(error, PermissionError)
        kind: type[CloudDirectError] = PermissionDeniedError if denied else UnavailableError
        return kind(
            f"the queue file {path}: {error.strerror or type(error).__name__}; see that its directory exists, is on a "
            "disk of this machine and may be written by this user",
            provider="local",
            retryable=not denied,
            code=None if error.errno is None else str(error.errno),
        )
    if not isinstance(error, sqlite3.Error):
        return None
    # errors of the Python module itself, such as the use of a closed connection, have no code
    code: int | None = getattr(error, "sqlite_errorcode", None)
    found = None if code is None else _TABLE.get(code & 0xFF)
    if found is None:
        return None
    kind, retryable, what = found
    return kind(f"the queue file {path}: {what}", provider="local", retryable=retryable, code=error.sqlite_errorname)


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Translate what the body raises; for calls that do not come from core, which does it itself."""
    try:
        yield
    except CloudDirectError as error:
        error.provider = error.provider or "local"
        raise
    except Exception as error:
        translated = translate(error, path)
        if translated is None:
            raise
        raise translated from error
