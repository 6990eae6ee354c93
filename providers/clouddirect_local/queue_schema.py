"""The queue file: its tables, how one is made, and how it is told from other files.

Each message has a row in two tables: what changes while it travels (``message``, small rows that are rewritten on
every step) and what never changes (``content``, written once and deleted once). A message is in one of four states:

====== ============================================================== ====================================
state  meaning                                                        ``due``
====== ============================================================== ====================================
ready  may be delivered now                                           0, so that the index is in send order
held   on lease, or waiting for the delay of a nack                   when that ends, monotonic seconds
later  waiting for the delay it was sent with                         when that ends, seconds since 1970
behind an earlier message of its ordering key is still in the queue   when its own delay ends, or 0
====== ============================================================== ====================================

Only the first message of an ordering key may be ready or later, so that finding what is ready never looks at the
messages behind it. Several of one key are held when one call received them together.

Leases and the delays of nacks are in seconds of the monotonic clock, which every process of the machine shares and no
correction of the system clock moves. It restarts when the machine does: ``since``, when the lease began, then lies in
the future and tells that the lease is void.

A text that a message does not have is stored as the empty one, which it cannot have: Python's sqlite3 module passes on
NULL much more slowly than text.
"""

# ruff: noqa: S608 - statements are put together from constants of ours alone

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from clouddirect.errors import ConfigurationError

__all__ = [
    "BEHIND",
    "DEAD_SUFFIX",
    "HELD",
    "LATER",
    "MAX_SECONDS",
    "Queue",
    "QueueSettings",
    "READY",
    "READY_OR_BEHIND",
    "check_name",
    "create_tables",
    "find_queue",
    "insert_queue",
    "is_ours",
    "try_writing",
]

READY, HELD, LATER, BEHIND = 0, 1, 2, 3

#: A queue's dead-letter queue is the queue's name with this behind it.
DEAD_SUFFIX = "/$dead"
#: Longest lease, delay of a nack and deduplication window: seven days.
MAX_SECONDS = 604_800.0

_APPLICATION = int.from_bytes(b"clqu", "big")
_FORMAT = 1

#: The state of a message that is neither on lease nor delayed, for an UPDATE.
READY_OR_BEHIND = f"""CASE WHEN ordering_key <> '' AND EXISTS (
    SELECT 1 FROM message AS earlier WHERE earlier.queue = message.queue AND earlier.ordering_key = message.ordering_key
    AND earlier.ordering_key <> '' AND earlier.id < message.id
) THEN {BEHIND} ELSE {READY} END"""

_TABLES = (
    # the ids of queues are never reused: another process may still hold an old one
    """CREATE TABLE queue (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        dead INTEGER,                  -- id of the dead-letter queue; NULL for a dead-letter queue itself
        lease REAL NOT NULL,
        max_deliveries INTEGER,
        deduplication_window REAL NOT NULL
    )""",
    """CREATE TABLE message (
        id INTEGER PRIMARY KEY,        -- from sequence: the order of sending
        queue INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due REAL NOT NULL,
        since REAL NOT NULL,           -- when the lease began, monotonic seconds
        lease INTEGER NOT NULL,        -- number of the lease; settling names it
        deliveries INTEGER NOT NULL,
        expires_at REAL NOT NULL,      -- seconds since 1970, 0 for never
        ordering_key TEXT NOT NULL
    )""",
    "CREATE INDEX message_by_state ON message (queue, state, due)",
    "CREATE INDEX message_by_key ON message (queue, ordering_key, id) WHERE ordering_key <> ''",
    """CREATE TABLE content (
        id INTEGER PRIMARY KEY,        -- the same as the message's
        message_id TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        content_type TEXT NOT NULL,
        subject TEXT NOT NULL,
        attributes TEXT NOT NULL,      -- a JSON object of texts
        enqueued_at REAL NOT NULL,     -- seconds since 1970
        body BLOB NOT NULL
    )""",
    """CREATE TABLE seen (               -- the ids within the deduplication window
        queue INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        until REAL NOT NULL,           -- seconds since 1970
        message INTEGER NOT NULL,
        PRIMARY KEY (queue, message_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX seen_by_age ON seen (queue, until)",
    "CREATE TABLE sequence (next INTEGER NOT NULL)",
    "INSERT INTO sequence VALUES (1)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What is stored with a queue when it is made. Times are seconds.

    Raises:
        ConfigurationError: a value is out of range; the text names it.
    """

    lease: float = 30.0
    max_deliveries: int | None = 10
    deduplication_window: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.lease <= MAX_SECONDS:
            raise ConfigurationError(f"lease is {self.lease:g} s; it must be above 0 and at most {MAX_SECONDS:g}")
        if self.max_deliveries is not None and self.max_deliveries < 1:
            raise ConfigurationError(
                f"max_deliveries is {self.max_deliveries}; it must be at least 1, or None for no limit"
            )
        if not 0 <= self.deduplication_window <= MAX_SECONDS:
            raise ConfigurationError(
                f"deduplication_window is {self.deduplication_window:g} s; it must be from 0 (off) to {MAX_SECONDS:g}"
            )


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue's row; ``dead`` is the id of its dead-letter queue, None for a dead-letter queue itself."""

    id: int
    name: str
    dead: int | None
    lease: float
    max_deliveries: int | None
    deduplication_window: float


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the file holds queues; False for an empty file.

    Raises:
        ConfigurationError: it belongs to another application, or to another version of this one.
    """
    # in one statement, for another process may be making the tables just now
    application, version, used = connection.execute(
        """SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_master)
        FROM pragma_application_id, pragma_user_version"""
    ).fetchone()
    if application == _APPLICATION:
        if version == _FORMAT:
            return True
        raise ConfigurationError(
            f"the queue file has format {version}, this version of clouddirect reads format {_FORMAT}; "
            "use the version that wrote it, or another file"
        )
    if application or version or used:
        raise ConfigurationError("the file is a database of another application; name a file of its own for the queues")
    return False


def create_tables(connection: sqlite3.Connection) -> None:
    """Turn an empty file into a queue file; does nothing if another process did so first."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_ours(connection):
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def try_writing(connection: sqlite3.Connection, timeout: float) -> None:
    """Raise what stands in the way of writing to the file; changes nothing."""
    connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE sequence SET next = next")  # to begin alone is permitted on a read-only file
    finally:
        connection.execute("ROLLBACK")


def check_name(name: str) -> None:
    """Refuse a name that no queue can have.

    Raises:
        ConfigurationError: empty, with control characters, or reserved for dead-letter queues.
    """
    if not name or not name.isprintable():
        raise ConfigurationError(f"{name!r} cannot be the name of a queue; it must be printable and not empty")
    if name.endswith(DEAD_SUFFIX):
        raise ConfigurationError(
            f"{name!r} cannot be made: names ending in {DEAD_SUFFIX} are for dead-letter queues, "
            "which come with their queue"
        )


def find_queue(connection: sqlite3.Connection, name: str) -> Queue | None:
    """Return the queue of this name, or None."""
    row = connection.execute(
        "SELECT id, name, dead, lease, max_deliveries, deduplication_window FROM queue WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else Queue(*row)


def insert_queue(connection: sqlite3.Connection, name: str, settings: QueueSettings) -> Queue:
    """Make a queue and its dead-letter queue, within the caller's transaction."""
    check_name(name)
    insert = "INSERT INTO queue (name, dead, lease, max_deliveries, deduplication_window) VALUES (?, ?, ?, ?, ?)"
    dead = connection.execute(insert, (name + DEAD_SUFFIX, None, settings.lease, None, 0.0)).lastrowid
    connection.execute(insert, (name, dead, settings.lease, settings.max_deliveries, settings.deduplication_window))
    queue = find_queue(connection, name)
    assert queue is not None
    return queue
