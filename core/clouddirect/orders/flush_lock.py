"""`FlushLock`: keeps others, threads and processes, from flushing an outbox at the same time."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clouddirect.durable import make_private_directory
from clouddirect.errors import UnavailableError
from clouddirect.forking import Forked, around_fork

__all__ = ["FlushLock"]


class FlushLock(Forked):
    """A lock beside a journal. It is one of SQLite's on a file of its own: it works alike on all systems, and ends with
    the process."""

    def __init__(self, journal: Path) -> None:
        """Use the file ``…-flush.lock`` beside ``journal``; opens nothing yet."""
        self._journal = journal
        self._path = journal.with_name(f"{journal.stem}-flush.lock")
        self._thread_lock = threading.Lock()
        self._calling = threading.Lock()  # held during calls of SQLite, which a fork must not cut in two
        self._connection: sqlite3.Connection | None = None
        around_fork(self)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock in a with block; yields False, at once, if another thread or process holds it.

        Raises:
            UnavailableError: the file cannot be locked.
        """
        thread_lock = self._thread_lock
        if not thread_lock.acquire(blocking=False):
            yield False
            return
        connection: sqlite3.Connection | None = None
        try:
            with self._calling:
                self._connection = connection = self._open()
                locked = self._is_locked(connection)
            yield locked
        finally:
            with self._calling:
                if connection is not None:
                    connection.close()
                self._connection = None
            thread_lock.release()

    def before_fork(self) -> None:
        """Wait for the end of a call of SQLite."""
        self._calling.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._calling.release()

    def after_fork_in_child(self) -> None:
        """Let go of what the parent holds. SQLite keeps a list of its own of what a process has locked; closing here
        clears it in the child, and is nothing to the parent: locks of files belong to one process (POSIX)."""
        self._calling.release()
        self._thread_lock = threading.Lock()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_locked(self, connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise self._cannot_lock(error) from error
            return False
        return True

    def _open(self) -> sqlite3.Connection:
        try:
            make_private_directory(self._path.parent)
            try:  # never opened where it is there: closing it would end another thread's lock (POSIX)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                pass
            return sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._cannot_lock(error) from error

    def _cannot_lock(self, error: Exception) -> UnavailableError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC
        what = "the disk is full; make room" if full else "this user needs to write to its directory"
        return UnavailableError(
            f"the outbox beside {self._journal} cannot be locked ({type(error).__name__}): {what}", operation="outbox",
            retryable=False,
        )  # fmt: skip
