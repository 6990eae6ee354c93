"""Taking messages from a queue on lease, within the caller's transaction."""

# ruff: noqa: S608 - statements are put together from constants of ours alone

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from clouddirect.messaging import Message
from clouddirect_local.queue_schema import HELD, LATER, READY, READY_OR_BEHIND, Queue
from clouddirect_local.queue_send import bury, promote

__all__ = ["Moment", "Outlook", "Row", "has_void_leases", "look", "take", "to_message", "to_time", "void_leases"]

#: A call stops taking messages once their bodies come to this many bytes, so that memory stays within bounds.
_MAX_BYTES = 16 * 1024 * 1024

#: Most messages that one call drops because they have expired or puts aside, so that no transaction takes long.
_MAX_DROPPED = 1000

_SELECT = """SELECT m.id, m.lease, m.deliveries, m.expires_at, m.ordering_key, m.state, m.due, c.message_id,
    c.correlation_id, c.content_type, c.subject, c.attributes, c.enqueued_at, c.body
    FROM message m CROSS JOIN content c ON c.id = m.id"""


class Moment(NamedTuple):
    """One point in time on both clocks: seconds since 1970, and monotonic seconds."""

    wall: float
    monotonic: float


class Row(NamedTuple):
    """A message as it is stored; ``lease`` and ``deliveries`` are from before it was taken."""

    id: int
    lease: int
    deliveries: int
    expires_at: float
    ordering_key: str
    state: int
    due: float
    message_id: str
    correlation_id: str
    content_type: str
    subject: str
    attributes: str
    enqueued_at: float
    body: bytes


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether something can be taken now; if not, in how many seconds to look again, None if there is nothing."""

    now: bool
    wait: float | None = None


def look(connection: sqlite3.Connection, queue: Queue, moment: Moment) -> Outlook:
    """See, without changing anything, whether there is something to take."""
    ready, held, later = connection.execute(
        f"""SELECT EXISTS (SELECT 1 FROM message WHERE queue = :queue AND state = {READY}),
            (SELECT min(due) FROM message WHERE queue = :queue AND state = {HELD}),
            (SELECT min(due) FROM message WHERE queue = :queue AND state = {LATER})""",
        {"queue": queue.id},
    ).fetchone()
    waits = []
    if held is not None:
        waits.append(held - moment.monotonic)
    if later is not None:
        waits.append(later - moment.wall)
    wait = min(waits, default=None)
    return Outlook(bool(ready) or (wait is not None and wait <= 0), wait)


def has_void_leases(connection: sqlite3.Connection, queue: Queue, moment: Moment) -> bool:
    """Whether `void_leases` has something to do."""
    found = connection.execute(
        f"SELECT 1 FROM message WHERE queue = ? AND state = {HELD} AND since > ? LIMIT 1", (queue.id, moment.monotonic)
    )
    return found.fetchone() is not None


def void_leases(connection: sqlite3.Connection, queue: Queue, moment: Moment) -> None:
    """End the leases that were given before the machine was started.

    Every process starts after the machine, so each needs to do this only once for a queue.
    """
    _bring_forward(connection, queue, "since > :monotonic", moment)


def take(
    connection: sqlite3.Connection, queue: Queue, most: int, lease: float, moment: Moment
) -> tuple[list[Row], bool]:
    """Put up to ``most`` messages on lease for ``lease`` seconds and return them, oldest first.

    What has expired is dropped, and what was delivered too often goes to the dead-letter queue; the second value tells
    whether there was such a message, so that it is worth calling again when nothing was returned. First come the
    messages that are ready; while there is room, those behind them with the same ordering keys follow.
    """
    _bring_forward(connection, queue, "due <= :monotonic", moment)
    connection.execute(
        f"UPDATE message SET state = {READY}, due = 0 WHERE queue = ? AND state = {LATER} AND due <= ?",
        (queue.id, moment.wall),
    )
    basket = _Basket(connection, queue, most, lease, moment)
    ready = f"{_SELECT} WHERE m.queue = ? AND m.state = {READY} AND m.due = 0 ORDER BY m.id"
    while basket.room and basket.fill(ready, (queue.id,)) and basket.dropped < _MAX_DROPPED:
        pass  # what was dropped may have let others come forward
    behind = f"{_SELECT} WHERE m.queue = ? AND m.ordering_key = ? AND m.ordering_key <> '' AND m.id > ? ORDER BY m.id"
    for head in [row for row in basket.rows if row.ordering_key]:
        if basket.room:
            basket.fill(behind, (queue.id, head.ordering_key, head.id))
    return sorted(basket.rows), basket.dropped > 0


class _Basket:
    """The messages that one call takes."""

    def __init__(self, connection: sqlite3.Connection, queue: Queue, most: int, lease: float, moment: Moment) -> None:
        self._connection = connection
        self._queue = queue
        self._lease = lease
        self._moment = moment
        self._bytes = 0
        self.room = most
        self.rows: list[Row] = []
        self.dropped = 0

    def fill(self, query: str, parameters: tuple[object, ...]) -> bool:
        """Take what the query finds until something stands in the way; returns whether any was dropped or put aside."""
        taken: list[Row] = []
        expired: list[Row] = []
        worn: list[Row] = []
        for row in self._read(query, parameters):
            if 0 < row.expires_at <= self._moment.wall:
                expired.append(row)
            elif self._queue.max_deliveries is not None and row.deliveries >= self._queue.max_deliveries:
                worn.append(row)
            else:
                taken.append(row)
                self.room -= 1
                self._bytes += len(row.body)
            if self._bytes >= _MAX_BYTES:
                self.room = 0
            if not self.room or len(expired) + len(worn) >= _MAX_DROPPED:
                break
        self._hold(taken)
        self._drop(expired)
        self._bury(worn)
        promote(self._connection, self._queue, _keys(expired) | _keys(worn), self._moment.wall)
        self.rows += taken
        self.dropped += len(expired) + len(worn)
        return bool(expired or worn)

    def _read(self, query: str, parameters: tuple[object, ...]) -> Iterator[Row]:
        """Yield rows until one of a key that is on lease to somebody, or not yet visible."""
        cursor = self._connection.execute(query, parameters)
        try:
            for row in map(Row._make, cursor):
                if row.state == HELD or row.due > self._moment.wall:
                    return
                yield row
        finally:
            cursor.close()

    def _hold(self, rows: list[Row]) -> None:
        since = self._moment.monotonic
        self._connection.executemany(
            f"""UPDATE message SET state = {HELD}, due = ?, since = ?, lease = lease + 1, deliveries = deliveries + 1
            WHERE id = ?""",
            [(since + self._lease, since, row.id) for row in rows],
        )

    def _drop(self, rows: list[Row]) -> None:
        ids = [(row.id,) for row in rows]
        self._connection.executemany("DELETE FROM message WHERE id = ?", ids)
        self._connection.executemany("DELETE FROM content WHERE id = ?", ids)

    def _bury(self, rows: list[Row]) -> None:
        for row in rows:
            description = f"delivered {row.deliveries} times, at most {self._queue.max_deliveries} are permitted"
            bury(self._connection, self._queue, row.id, "MaxDeliveryCountExceeded", description)


def _bring_forward(connection: sqlite3.Connection, queue: Queue, which: str, moment: Moment) -> None:
    """Make held messages available again: ready, or behind the earlier ones of their ordering key."""
    connection.execute(
        f"""UPDATE message SET due = 0, state = {READY_OR_BEHIND}
        WHERE queue = :queue AND state = {HELD} AND {which}""",
        {"queue": queue.id, "monotonic": moment.monotonic},
    )


def _keys(rows: list[Row]) -> set[str]:
    return {row.ordering_key for row in rows if row.ordering_key}


def to_message(row: Row) -> Message:
    """Return the message as it was sent."""
    return Message(
        body=row.body, id=row.message_id, correlation_id=row.correlation_id or None,
        content_type=row.content_type or None, subject=row.subject or None,
        attributes=json.loads(row.attributes) if row.attributes else {}, ordering_key=row.ordering_key or None,
    )  # fmt: skip


def to_time(seconds: float) -> datetime:
    """Return seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
