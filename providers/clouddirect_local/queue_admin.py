"""Making, removing and listing the queues of a file.

This is administration, outside the portable interface: with a cloud, somebody makes the queues with the cloud's own
tools and hands over credentials that can only send or receive.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clouddirect.errors import AlreadyExistsError, NotFoundError
from clouddirect_local.queue_errors import translating
from clouddirect_local.queue_file import QueueFile
from clouddirect_local.queue_schema import Queue, QueueSettings, check_name, find_queue, insert_queue

__all__ = ["QueueInfo", "create_queue", "delete_queue", "list_queues"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """One queue of a file.

    Attributes:
        name: its name.
        settings: what it was made with.
        messages: how many messages are in it, on lease and delayed ones included.
        dead_letters: how many are in its dead-letter queue.
    """

    name: str
    settings: QueueSettings
    messages: int
    dead_letters: int


def create_queue(
    path: str | os.PathLike[str],
    name: str,
    *,
    lease: float = 30.0,
    max_deliveries: int | None = 10,
    deduplication_window: float = 300.0,
) -> None:
    """Make a queue and its dead-letter queue ``<name>/$dead``, and the file if it is missing.

    A new file can be read and written by its owner alone. See `LocalBrokerOptions` for what the settings mean.

    Raises:
        AlreadyExistsError: the file has a queue of this name; it stays as it is.
        ConfigurationError: the name or a setting is not possible, or the file is not a queue file.
        PermissionDeniedError, UnavailableError: the file cannot be written.
    """
    check_name(name)
    settings = QueueSettings(lease=lease, max_deliveries=max_deliveries, deduplication_window=deduplication_window)

    def work(connection: sqlite3.Connection) -> None:
        if find_queue(connection, name):
            raise AlreadyExistsError(
                f"there is a queue {name!r} in {path} already",
                provider="local",
                operation="create_queue",
                resource=name,
            )
        insert_queue(connection, name, settings)

    _run(path, work, create=True)


def delete_queue(path: str | os.PathLike[str], name: str) -> None:
    """Delete a queue and its dead-letter queue with all messages in them.

    Raises:
        NotFoundError: there is no such file or queue.
        ConfigurationError: the name is a dead-letter queue's, which goes with its queue; or the file is not a queue
            file.
        PermissionDeniedError, UnavailableError: the file cannot be written.
    """
    check_name(name)

    def work(connection: sqlite3.Connection) -> None:
        queue = find_queue(connection, name)
        if queue is None:
            raise NotFoundError(
                f"there is no queue {name!r} in {path}", provider="local", operation="delete_queue", resource=name
            )
        for each in (queue.id, queue.dead):
            connection.execute("DELETE FROM content WHERE id IN (SELECT id FROM message WHERE queue = ?)", (each,))
            connection.execute("DELETE FROM message WHERE queue = ?", (each,))
            connection.execute("DELETE FROM seen WHERE queue = ?", (each,))
            connection.execute("DELETE FROM queue WHERE id = ?", (each,))

    _run(path, work, create=False)


def list_queues(path: str | os.PathLike[str]) -> list[QueueInfo]:
    """Return the queues of a file by name; dead-letter queues are counted with theirs.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: the file is not a queue file.
        PermissionDeniedError, UnavailableError: the file cannot be read.
    """

    def work(connection: sqlite3.Connection) -> list[QueueInfo]:
        counts = dict(connection.execute("SELECT queue, count(*) FROM message GROUP BY queue").fetchall())
        rows = connection.execute(
            """SELECT id, name, dead, lease, max_deliveries, deduplication_window FROM queue
            WHERE dead IS NOT NULL ORDER BY name"""
        ).fetchall()
        return [_info(Queue(*row), counts) for row in rows]

    return _run(path, work, create=False)


def _info(queue: Queue, counts: dict[int, int]) -> QueueInfo:
    settings = QueueSettings(
        lease=queue.lease, max_deliveries=queue.max_deliveries, deduplication_window=queue.deduplication_window
    )
    assert queue.dead is not None
    return QueueInfo(queue.name, settings, counts.get(queue.id, 0), counts.get(queue.dead, 0))


def _run(path: str | os.PathLike[str], work: Callable[[sqlite3.Connection], T], *, create: bool) -> T:
    with (
        closing(QueueFile(Path(path), create=create)) as file,
        translating(file.path),
        file.write(timeout=5.0) as connection,
    ):
        return work(connection)
