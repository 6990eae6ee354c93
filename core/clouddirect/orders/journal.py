"""`Journal`: the SQLite file in which the client keeps what must survive a restart: outbox, inbox and ledger.

Any number of threads and processes may use one file. Every write is a transaction that is on the disk when it is
reported as done. The file, and those that SQLite lays beside it, are readable by their owner alone where the system
knows owners.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from clouddirect.durable import make_private_directory
from clouddirect.errors import (
    ClosedError,
    CloudDirectError,
    ConfigurationError,
    IntegrityError,
    PermissionDeniedError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.forking import Forked, around_fork

__all__ = ["Journal", "journal_path", "storable"]

#: Seconds that a transaction waits for others.
_BUSY = 30.0
#: Marks a file as a journal of ours ("CdJ1").
_APPLICATION_ID = 0x43644A31

_TABLE: dict[int, tuple[type[CloudDirectError], bool, str]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, True, "another program is keeping it locked; see which one has it open"),
    sqlite3.SQLITE_LOCKED: (UnavailableError, True, "another program is keeping it locked; see which one has it open"),
    sqlite3.SQLITE_FULL: (UnavailableError, False, "the disk is full; make room"),
    sqlite3.SQLITE_IOERR: (
        UnavailableError, False, "reading or writing the disk failed; see whether it is full, and the system's log",
    ),
    sqlite3.SQLITE_READONLY: (
        PermissionDeniedError, False,
        "it cannot be written; this user needs to write to the file and to its directory",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        PermissionDeniedError, False,
        "it cannot be opened; this user needs to read and write the file and to write to its directory",
    ),
    sqlite3.SQLITE_NOTADB: (ConfigurationError, False, "it is no journal; set another data_dir or put the file aside"),
    sqlite3.SQLITE_CORRUPT: (IntegrityError, False, "it is damaged; put it aside and restore it from a backup"),
}  # fmt: skip


def journal_path(data_dir: Path | None) -> Path:
    """Return where the journal is: ``clouddirect.db`` in ``data_dir``, or in the user's data directory."""
    if data_dir is None:
        import platformdirs

        data_dir = Path(platformdirs.user_data_dir("clouddirect", appauthor=False))
    return data_dir / "clouddirect.db"


def storable(text: str) -> str:
    """Text that a database takes: JSON may hold half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


class Journal(Forked):
    """One SQLite file with the tables that its users need; it is made, with its directory, on first use."""

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``. Opens nothing yet."""
        self.path = path.expanduser()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._forgotten: sqlite3.Connection | None = None  # a parent's: neither used nor closed on this side of a fork
        self._schemas: dict[str, str] = {}
        self._closed = False
        around_fork(self)

    def define(self, name: str, schema: str) -> None:
        """Have the tables of ``schema`` (statements with IF NOT EXISTS) made in the file, once for each ``name``."""
        with self._lock:
            if name in self._schemas:
                return
            self._schemas[name] = schema
            if self._connection is not None:
                self._discard()  # opened again, with all schemas, when it is next used

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction; it is durable when this returns, and undone when the body raises. One at a time.

        Raises:
            UnavailableError: others keep the file locked, the disk is full, …
            PermissionDeniedError: the file or its directory cannot be written.
            ConfigurationError, IntegrityError: the file is no journal, or damaged.
            UnsupportedError: this thread has a transaction open already, or this process was forked within one.
        """
        with self._lock, self.translating():
            connection = self._open()
            if connection.in_transaction:  # the lock is held: it is this thread's own
                raise UnsupportedError(
                    "a transaction of the journal is open in this thread: leave its block first, then submit or settle",
                    operation="journal",
                )
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                self._refuse_forgotten()
                connection.execute("COMMIT")
            except BaseException:
                if self._forgotten is None:
                    connection.rollback()
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for SELECT statements; raises like `write`."""
        with self._lock, self.translating():
            yield self._open()

    def connect(self) -> sqlite3.Connection:
        """Return a connection of the caller's own, who closes it, before a fork, too; raises like `write`.

        For what takes long, such as reading an image, so that nobody has to wait for it.
        """
        with self._lock, self.translating():
            self._open()
            return self._connect()

    def close(self) -> None:
        """Close the file; nothing works afterwards."""
        with self._lock:
            self._closed = True
            self._discard()

    def before_fork(self) -> None:
        """Wait for the end of a transaction, and close the file: SQLite's locks of it belong to one process. It is
        opened again, on both sides, when it is next used."""
        self._lock.acquire()
        if self._connection is not None and not self._connection.in_transaction:
            self._discard()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on with a lock of the child's own. A transaction that the thread has forked in is the parent's alone."""
        self._lock = threading.RLock()
        if self._connection is not None:
            import ctypes  # for this alone, which hardly ever happens

            # closing it, even as Python ends, would undo the transaction in memory that the parent uses, too
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._forgotten, self._connection = self._connection, None

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise ClosedError(f"the journal {self.path} has been closed")
        self._refuse_forgotten()
        if self._connection is None:
            self._make()
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _refuse_forgotten(self) -> None:
        if self._forgotten is not None:
            raise UnsupportedError(
                f"this process was forked within a transaction of the journal {self.path}, the parent's alone: "
                "leave the block before forking",
                operation="journal",
            )

    def _make(self) -> None:
        make_private_directory(self.path.parent)
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{_uri(self.path.resolve())}?mode=rw", uri=True, timeout=_BUSY, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted names patients
        connection.execute("PRAGMA journal_size_limit = 16777216")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")  # both of one moment: another process may be making the tables just now
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if found != _APPLICATION_ID and tables:
            raise ConfigurationError(
                f"the file {self.path} belongs to another program; set another data_dir or put the file aside"
            )
        _switch_to_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        for schema in self._schemas.values():
            for statement in schema.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("COMMIT")

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Raise what goes wrong with the file, on this connection or on one from `connect`, as `write` does."""
        try:
            yield
        except sqlite3.Error as error:
            found = _TABLE.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
            if found is None:
                raise
            kind, retryable, what = found
            raise kind(
                f"the journal {self.path}: {what}",
                operation="journal",
                retryable=retryable,
                code=error.sqlite_errorname,
            ) from error
        except OSError as error:
            if isinstance(error, CloudDirectError):
                raise
            denied = isinstance(error, PermissionError)
            raise (PermissionDeniedError if denied else UnavailableError)(
                f"the journal {self.path}: {error.strerror or type(error).__name__}; see that its directory may be "
                "written by this user, or set another data_dir",
                operation="journal", retryable=False,
            ) from error  # fmt: skip


def _uri(path: PurePath) -> str:
    """The file as SQLite wants it named: it knows no host, so ``//server/share`` is all path."""
    uri = path.as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Make the file one with a write-ahead log. SQLite does not wait for its turn here: two that do it at once fail."""
    ends = time.monotonic() + _BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
        time.sleep(0.02)  # no event tells of another process's end; once a file, at most `_BUSY` seconds in all
