"""`Inbox`: remembers which events and results have been handled, so that each is handled effectively once.

A broker delivers at least once, and IRIS may send a message again. Both repeat the ``TransactionId``. The inbox knows
it for every message that has been handled, in the journal: across restarts, for all processes that use the same file.

What it cannot do alone: between a handler's own work and the note that it is done, the process may die. Then the
handler runs again. Where that matters, do both in one transaction: see `Inbox.transaction`, and for a database of
one's own the pattern in the documentation.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Literal

from clouddirect.clock import Clock, SystemClock
from clouddirect.orders.journal import Journal
from clouddirect.orders.models import Event, OrderResult

__all__ = ["Inbox", "inbox_key"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, done INTEGER NOT NULL, owner TEXT NOT NULL,
  message_id TEXT NOT NULL, at TEXT NOT NULL
)
"""

#: How long another process may take for a message before it is believed dead.
_TAKE_OVER = timedelta(minutes=10)
#: The inbox is pruned after so many messages.
_PRUNE_EVERY = 1000
#: What was begun and not finished is forgotten after this: its process died, and the message never came again.
_FORGOTTEN = timedelta(days=7)


def inbox_key(message: Event | OrderResult, body: bytes) -> str:
    """Return what identifies a message: its TransactionId, or a digest of the body where it has none.

    .NET writes an unset GUID as zeros; taken for an id, it would make every message the repeat of the first.
    """
    known = str(message.transaction_id or "").strip(" {}").lower()
    if known.strip("0-"):
        return known
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class Inbox:
    """The inbox in one journal. Thread-safe, and several processes may use it at once."""

    def __init__(self, journal: Journal, clock: Clock | None = None, *, capacity: int = 100_000) -> None:
        """Use ``journal``; at least the last ``capacity`` messages are remembered."""
        self._journal = journal
        self._clock = clock or SystemClock()
        self._capacity = capacity
        self._owner = uuid.uuid4().hex
        self._handling: set[str] = set()  # what a handler of this process is at, at this moment
        journal.define("inbox", _SCHEMA)

    def begin(self, key: str, message_id: str, *, hold: bool = False) -> Literal["new", "done", "elsewhere"]:
        """Ask whether a message is to be handled, and take it on if so.

        ``hold`` says that handling begins now: see `hold`.

        Returns:
            ``new``: handle it, then call `finish` or `give_up`. ``done``: it has been handled; acknowledge it.
            ``elsewhere``: a copy of it is being handled at this moment; give it back, to come again later.

        A message that comes again itself (the same ``message_id``) has lost its lease before, and is taken over; so is
        one that another process has not finished within ten minutes.
        """
        now = self._clock.now()
        with self._journal.write() as connection:
            row = connection.execute("SELECT done, owner, message_id, at FROM inbox WHERE key = ?", [key]).fetchone()
            if row is not None:
                done, owner, other, at = row
                if done:
                    return "done"
                # a moment in the future: the clock has been set back since, and says nothing of how long it has been
                age = now - datetime.fromisoformat(at)
                waits = timedelta(0) <= age < _TAKE_OVER or owner == self._owner
                if (other != message_id and waits) or key in self._handling:
                    return "elsewhere"
                connection.execute("DELETE FROM inbox WHERE key = ?", [key])
            self._insert(connection, key, message_id, now, done=False)
            if hold:
                self._handling.add(key)
        return "new"

    def hold(self, key: str) -> None:
        """Say that a message is being handled, until `finish` or `give_up`: no copy is new meanwhile, not even one
        with the same message id, as brokers deliver now and then."""
        self._handling.add(key)

    def finish(self, key: str) -> None:
        """Note that a message has been handled; on the disk when this returns.

        That holds too where another has taken it over meanwhile, and has given it up.
        """
        self._handling.discard(key)
        with self._journal.write() as connection:
            if connection.execute("UPDATE inbox SET done = 1 WHERE key = ?", [key]).rowcount == 0:
                self._insert(connection, key, "", self._clock.now(), done=True)

    def give_up(self, key: str) -> None:
        """Note that a message was taken on and could not be handled: it will come again."""
        self._handling.discard(key)
        with self._journal.write() as connection:
            connection.execute("DELETE FROM inbox WHERE key = ? AND NOT done AND owner = ?", [key, self._owner])

    @contextmanager
    def transaction(self, key: str) -> Iterator[sqlite3.Connection | None]:
        """Handle a message and note it in one transaction: both happen, or neither.

        Yields a connection to the journal's own file, for tables of the caller's own in it; or None when the message
        has been handled before. Leaving the block commits, an exception undoes all of it. One at a time.
        """
        with self._journal.write() as connection:
            row = connection.execute("SELECT 1 FROM inbox WHERE key = ? AND done", [key]).fetchone()
            if row is not None:
                yield None
                return
            connection.execute("DELETE FROM inbox WHERE key = ?", [key])
            self._insert(connection, key, "", self._clock.now(), done=True)
            yield connection

    def has_begun(self, key: str) -> bool:
        """Whether this inbox itself, not another process, has taken a message on and not finished it."""
        statement = "SELECT 1 FROM inbox WHERE key = ? AND NOT done AND owner = ?"
        with self._journal.read() as connection:
            return connection.execute(statement, [key, self._owner]).fetchone() is not None

    def knows(self, key: str) -> bool:
        """Whether a message has been handled."""
        with self._journal.read() as connection:
            found = connection.execute("SELECT 1 FROM inbox WHERE key = ? AND done", [key]).fetchone()
        return found is not None

    def prune(self, older_than: timedelta) -> int:
        """Forget what was handled longer ago than this; returns how many. What comes again then is handled again."""
        before = (self._clock.now() - older_than).isoformat()
        with self._journal.write() as connection:
            return connection.execute("DELETE FROM inbox WHERE done AND at < ?", [before]).rowcount

    def _insert(self, connection: sqlite3.Connection, key: str, message_id: str, now: datetime, *, done: bool) -> None:
        added = connection.execute(
            "INSERT INTO inbox (key, done, owner, message_id, at) VALUES (?, ?, ?, ?, ?)",
            [key, done, self._owner, message_id, now.isoformat()],
        )
        seq = added.lastrowid or 0
        if seq % _PRUNE_EVERY == 0:  # keeps the inbox bounded
            connection.execute("DELETE FROM inbox WHERE done AND seq <= ?", [seq - self._capacity])
            before = (now - _FORGOTTEN).isoformat()
            connection.execute("DELETE FROM inbox WHERE NOT done AND at < ?", [before])
