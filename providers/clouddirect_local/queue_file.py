"""`QueueFile`: connections to the SQLite file, transactions, and the news that something in it has changed.

What all users of one file in this process have in common is in `_Shared`: the turn to write, so that threads queue up
instead of sleeping and trying again as SQLite has them do, and the bell that wakes waiting receivers. Changes made by
other processes are seen by asking SQLite for the file's data version, which costs a few microseconds.

A connection must never cross a ``fork``: SQLite's locks belong to the process. So all connections are closed, when no
transaction is under way, before the process forks, and opened again when needed, on both sides.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from clouddirect.durable import make_private_directory
from clouddirect.errors import ClosedError, NotFoundError, UnavailableError
from clouddirect.forking import Forked, around_fork
from clouddirect.retry import Interrupt
from clouddirect_local.queue_errors import translate, translating
from clouddirect_local.queue_schema import create_tables, is_ours

__all__ = ["QueueFile"]

#: Connections kept open for later; writers take turns, so more would hardly be used.
_IDLE = 4
#: Seconds that a transaction waits for its turn, at most; core then tries again.
_BUSY = 5.0


class _Shared:
    """What the users of one file in this process have in common."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._listeners: Counter[Interrupt] = Counter()
        self.rings = 0

    def ring(self) -> None:
        """Wake every waiting receiver: there may be something to receive."""
        with self._lock:
            self.rings += 1
            listeners = list(self._listeners)
        for one in listeners:
            one.wake()

    @contextmanager
    def listening(self, interrupt: Interrupt) -> Iterator[None]:
        with self._lock:
            self._listeners[interrupt] += 1
        try:
            yield
        finally:
            with self._lock:
                self._listeners[interrupt] -= 1
                if not self._listeners[interrupt]:
                    del self._listeners[interrupt]


class QueueFile(Forked):
    """The SQLite file, used by any number of threads. Opens nothing until it is asked for something."""

    rank = 1  # a transaction of a journal may be using it

    def __init__(self, path: Path, *, create: bool) -> None:
        """``create``: make the file, and its directory, when it is missing."""
        self.path = Path(os.path.realpath(path.expanduser()))
        self._create = create
        self._lock = threading.Condition(threading.Lock())
        self._idle: list[sqlite3.Connection] = []
        self._busy = 0
        self._closed = False
        self._identity: _Identity | None = None
        self._watch: sqlite3.Connection | None = None
        self._watches = 0
        #: Counts the files that were found under the path: another number means another file.
        self.epoch = 0
        self.shared = _registry.shared(self.path)
        around_fork(self)

    # -- transactions ---------------------------------------------------------------------------------------

    @contextmanager
    def write(self, timeout: float, *, sending: bool = False) -> Iterator[sqlite3.Connection]:
        """Run a transaction that changes the file; it is durable when this returns, and undone when the body raises.

        With ``sending``, the error of a commit whose outcome is unknown says ``maybe_sent``.

        Raises:
            NotFoundError: the file does not exist.
            UnavailableError: others kept the file locked for ``timeout`` seconds (5 at most), the disk is full, …
        """
        ends = monotonic() + min(timeout, _BUSY)
        if not self.shared.turn.acquire(timeout=max(0.0, ends - monotonic())):
            raise UnavailableError(f"the queue file {self.path} is busy; other threads are writing to it")
        try:
            with self._connection() as connection:
                left = max(0.0, ends - monotonic())  # other threads and other processes have one patience together
                connection.execute(f"PRAGMA busy_timeout = {int(left * 1000)}")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                self._commit(connection, sending)
        finally:
            self.shared.turn.release()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for single SELECT statements."""
        with self._connection() as connection:
            yield connection

    def _commit(self, connection: sqlite3.Connection, sending: bool) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            connection.rollback()
            translated = translate(error, self.path)
            if translated is None:
                raise
            # should the machine fail now, before the log is written again, the transaction may be found complete in it
            translated.maybe_sent = sending
            raise translated from error

    # -- changes --------------------------------------------------------------------------------------------

    def version(self) -> tuple[int, int]:
        """Return a value that is another one once any other connection has changed the file."""
        with self._lock:
            if self._watch is None:
                self._identify()
                self._watch = self._open()
                self._watches += 1
            return self._watches, self._watch.execute("PRAGMA data_version").fetchone()[0]

    # -- connections ----------------------------------------------------------------------------------------

    def connect(self) -> sqlite3.Connection:
        """Return a new connection, for the caller to close."""
        with translating(self.path), self._lock:
            self._identify()
            return self._open()

    def close(self) -> None:
        """Close the connections, those in use when they are no longer; nothing works afterwards."""
        with self._lock:
            self._closed = True
            self._close_idle()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection, identity = self._take()
        try:
            yield connection
        finally:
            with self._lock:
                self._busy -= 1
                keep = identity == self._identity and not connection.in_transaction and not self._closed
                if keep and len(self._idle) < _IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()
                self._lock.notify_all()

    def _take(self) -> tuple[sqlite3.Connection, _Identity]:
        with self._lock:
            identity = self._identify()
            self._busy += 1
            try:
                return self._idle.pop() if self._idle else self._open(), identity
            except BaseException:
                self._busy -= 1
                raise

    def _identify(self) -> _Identity:
        """Find out which file is there now, and make it if it is missing and may be made. Caller holds the lock.

        A file that was deleted or replaced while connections were open would still take messages, which nobody would
        ever see.
        """
        if self._closed:
            raise ClosedError(f"the queue file {self.path} has been closed")
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            if not self._create:
                raise NotFoundError(
                    f"there is no queue file {self.path}; make one with create_queue of clouddirect_local.queue_admin, "
                    "or set the option create"
                ) from None
            found = self._make()
        identity = (found.st_dev, found.st_ino)
        if identity != self._identity:
            self._close_idle()
            self._identity = identity
            self.epoch += 1
        return identity

    def _make(self) -> os.stat_result:
        make_private_directory(self.path.parent)
        # Exclusively: closing a descriptor of a file that is in use would drop the locks that SQLite holds on it. And
        # in turn, so that no other thread can begin to use it in the moment between opening and closing.
        with _registry.lock:
            try:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                pass
            return os.stat(self.path)

    def _open(self) -> sqlite3.Connection:
        with _registry.lock:
            connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw", uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
            connection.execute("PRAGMA journal_size_limit = 16777216")
            if not is_ours(connection):
                if not self._create:
                    raise NotFoundError(f"the file {self.path} is empty; make a queue in it with create_queue")
                create_tables(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close_idle(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # -- forking --------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait for the end of the transactions, and close all connections."""
        self._lock.acquire()
        try:
            while self._busy:
                self._lock.wait()
            self._close_idle()
        except BaseException:  # Ctrl-C, for one: the process forks all the same
            self._lock.release()
            raise

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on with locks of the child's own."""
        self._lock = threading.Condition(threading.Lock())
        self.shared = _registry.shared(self.path)


_Identity = tuple[int, int]


class _Registry(Forked):
    """What the users of each file have in common, in this process."""

    rank = 2  # files need it in order to come to rest

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._shared: weakref.WeakValueDictionary[Path, _Shared] = weakref.WeakValueDictionary()
        around_fork(self)

    def shared(self, path: Path) -> _Shared:
        """Return what the users of the file at ``path`` have in common."""
        with self.lock:
            return self._shared.setdefault(path, _Shared())

    def before_fork(self) -> None:
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def after_fork_in_child(self) -> None:
        self._shared.clear()  # threads that the child does not have may hold turns, and listen
        self.lock.release()


_registry = _Registry()
